//! The OVA as a file: whole, signed, and asking for the hardware that the documentation names.

use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use postern_tests::tools::{printed, run, succeeded};

use crate::harness::artefacts::{Artefacts, Ova};

const MAX_DOWNLOAD_BYTES: u64 = 250 * 1024 * 1024;
const DISK_BYTES: u64 = 20 * 1024 * 1024 * 1024;

fn unpacked() -> (Ova, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Artefacts::shipped().unpack(dir.path()), dir)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
#[ignore = "needs an image: make test-image"]
fn every_file_has_the_digest_in_the_manifest_and_the_manifest_is_signed() {
    let (ova, dir) = unpacked();
    let manifest = std::fs::read_to_string(ova.manifest()).unwrap();
    let mut listed = Vec::new();
    for line in manifest.lines() {
        let (file, digest) = digest(line);
        let output = run("sha256sum", &["--binary", dir.path().join(file).to_str().unwrap()]);
        succeeded(&output);
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(digest), "{line}: {}", printed(&output));
        listed.push(file.to_owned());
    }
    listed.sort_unstable();
    let mut expected = vec![name(&ova.descriptor()), name(&ova.disk())];
    expected.sort_unstable();
    assert_eq!(listed, expected, "the manifest covers all but itself and the signature");

    let certificate = std::fs::read_to_string(ova.certificate()).unwrap();
    let (file, signature) = digest(certificate.lines().next().unwrap());
    assert_eq!(file, name(&ova.manifest()));
    let (raw, key) = (dir.path().join("signature"), dir.path().join("key.pem"));
    std::fs::write(&raw, HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).unwrap()).unwrap();
    let from = ova.certificate();
    let openssl = |args: &[&str]| {
        let output = run("openssl", args);
        assert!(output.status.success(), "openssl {args:?}: {}", printed(&output));
    };
    openssl(&["x509", "-in", from.to_str().unwrap(), "-pubkey", "-noout", "-out", key.to_str().unwrap()]);
    let (key, raw, manifest) = (key.to_str().unwrap(), raw.to_str().unwrap(), ova.manifest());
    openssl(&["dgst", "-sha256", "-verify", key, "-signature", raw, manifest.to_str().unwrap()]);
}

/// `SHA256(file)= hexadecimal`
fn digest(line: &str) -> (&str, &str) {
    let rest = line.strip_prefix("SHA256(").unwrap_or_else(|| panic!("{line:?}"));
    let (file, digest) = rest.split_once(")=").unwrap_or_else(|| panic!("{line:?}"));
    (file, digest.trim())
}

#[test]
#[ignore = "needs an image: make test-image"]
fn the_download_is_small_and_its_parts_are_in_the_order_of_the_standard() {
    let ova = Artefacts::shipped().file(".ova");
    let bytes = std::fs::metadata(&ova).unwrap().len();
    println!("the OVA has {} MiB", bytes / 1024 / 1024);
    assert!(bytes <= MAX_DOWNLOAD_BYTES, "{bytes}");
    let output = run("tar", &["--list", "--file", ova.to_str().unwrap()]);
    succeeded(&output);
    let listed = String::from_utf8(output.stdout).unwrap();
    let endings: Vec<&str> = listed.lines().map(|line| line.rsplit('.').next().unwrap()).collect();
    assert_eq!(endings, ["ovf", "mf", "cert", "vmdk"], "DSP0243 §5.3");
    let magic = std::fs::read(&ova).unwrap()[257..263].to_vec();
    assert_eq!(magic, b"ustar\0", "USTAR, as ESXi wants it");
}

#[test]
#[ignore = "needs an image: make test-image"]
fn cot_reads_the_hardware_that_the_appliance_asks_for() {
    let cot = std::env::var("POSTERN_COT").unwrap_or_else(|_| "cot".to_owned());
    let output = run(&cot, &["info", "--verbose", Artefacts::shipped().file(".ova").to_str().unwrap()]);
    let text = printed(&output);
    assert!(output.status.success(), "{text}");
    println!("{text}");

    let (ova, _dir) = unpacked();
    let descriptor = std::fs::read_to_string(ova.descriptor()).unwrap();
    for wanted in ["<rasd:ResourceSubType>VirtualSCSI<", "<rasd:ResourceSubType>VmxNet3<", "<rasd:VirtualQuantity>2048<"] {
        assert!(descriptor.contains(wanted), "{wanted} in {descriptor}");
    }
    // Resource types of CIM: 5 is an IDE controller, 15 a CD-ROM drive.
    for kind in ["5", "15"] {
        assert!(descriptor.contains(&format!("<rasd:ResourceType>{kind}<")), "resource type {kind} in {descriptor}");
    }
    for property in ["hostname", "address", "gateway", "dns", "ntp", "proxy", "control_plane", "token", "ssh_key", "veto"] {
        assert!(descriptor.contains(&format!("ovf:key=\"postern.{property}\"")), "{property} in {descriptor}");
    }
    assert!(descriptor.contains("com.vmware.guestInfo") && descriptor.contains("iso"), "both transports: {descriptor}");
}

#[test]
#[ignore = "needs an image: make test-image"]
fn the_disk_is_a_stream_optimised_vmdk_of_20_gib() {
    let (ova, _dir) = unpacked();
    let disk = ova.disk();
    succeeded(&run("qemu-img", &["check", "-q", disk.to_str().unwrap()]));
    let output = run("qemu-img", &["info", "--output=json", disk.to_str().unwrap()]);
    succeeded(&output);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["virtual-size"], DISK_BYTES, "{facts:#}");
    assert_eq!(facts["format-specific"]["data"]["create-type"], "streamOptimized", "{facts:#}");
}
