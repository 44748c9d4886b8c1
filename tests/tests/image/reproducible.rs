//! The same root packed twice: the same bytes, or a reason.

use std::path::Path;

use postern_tests::tools::{printed, run};

use crate::harness::artefacts::Artefacts;

/// Files that may differ, and why.
const MAY_DIFFER: [(&str, &str); 2] = [("timings.json", "how long it took"), ("provenance.json", "when it was made")];

#[test]
#[ignore = "needs an image: make ci-image"]
fn packing_the_same_root_again_gives_the_same_bytes() {
    let root = std::env::var("POSTERN_IMAGE_ROOT").expect("POSTERN_IMAGE_ROOT is set by tests/image/run");
    let (image, again) = (Artefacts::shipped(), tempfile::tempdir().unwrap());
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/pack");
    let (keys, out) = (image.path("keys"), again.path().to_str().unwrap());
    let output = run(tool.to_str().unwrap(), &["--root", &root, "--out", out, "--keys", keys.to_str().unwrap()]);
    assert!(output.status.success(), "{}", printed(&output));
    let excluded: Vec<String> = MAY_DIFFER.iter().map(|(name, _)| format!("--exclude={name}")).collect();
    let excluded: Vec<&str> = excluded.iter().map(String::as_str).collect();
    let first = image.path(".");
    // The keys were given to the second packing and made by the first.
    let compared = run("diff", &[&["--recursive", "--brief", "--exclude=keys"], &excluded[..], &[first.to_str().unwrap(), out]].concat());
    assert!(compared.status.success(), "{}", printed(&compared));
}
