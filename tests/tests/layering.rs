//! The architecture as tests: which crate may know which, how long a file may be, and what is forbidden everywhere.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Longest source file, without its tests, and longest file of tests alone.
const MAX_LINES: usize = 500;
const MAX_TEST_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--offline".into(), "--locked".into()])
        .exec()
        .unwrap()
}

#[test]
fn dependencies_run_one_way() {
    let allowed: BTreeSet<(&str, &str)> = [
        ("postern-appliance", "postern-protocol"),
        ("postern-control", "postern-protocol"),
        ("postern-engine", "postern-protocol"),
        ("postern-gateway", "postern-engine"),
        ("postern-gateway", "postern-protocol"),
        ("postern-gateway", "postern-uplink"),
        ("postern-uplink", "postern-protocol"),
    ]
    .into();
    let metadata = metadata();
    let mut found = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let ours = package.dependencies.iter().filter(|dependency| dependency.name.starts_with("postern-"));
        found.extend(ours.map(|dependency| (package.name.as_str(), dependency.name.as_str())));
    }
    found.retain(|(from, _)| *from != "postern-tests");
    assert_eq!(found, allowed, "an edge between crates was added or lost");
}

#[test]
fn pure_crates_link_no_runtime_and_only_the_control_plane_links_axum() {
    let metadata = metadata();
    for (package, banned) in [
        ("postern-appliance", &["axum", "hyper", "mio", "rusqlite", "rustls", "tokio"][..]),
        ("postern-protocol", &["axum", "hyper", "mio", "rusqlite", "rustls", "socket2", "tokio"]),
        ("postern-engine", &["axum", "hyper", "mio", "rusqlite", "rustls", "socket2", "tokio"]),
        ("postern-uplink", &["axum", "rusqlite", "postern-engine"]),
        ("postern-gateway", &["axum", "rusqlite"]),
    ] {
        let linked = linked(&metadata, package);
        let wrong: Vec<&&str> = banned.iter().filter(|name| linked.contains(**name)).collect();
        assert!(wrong.is_empty(), "{package} links {wrong:?}");
    }
    assert!(linked(&metadata, "postern-control").contains("axum"), "the walk over the graph sees indirect dependencies");
}

/// Names of every crate that `package` links, itself included.
fn linked(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let name = |id: &PackageId| metadata.packages.iter().find(|package| package.id == *id).unwrap().name.to_string();
    let mut todo: Vec<&PackageId> = resolve.nodes.iter().map(|node| &node.id).filter(|id| name(id) == package).collect();
    assert_eq!(todo.len(), 1, "{package} is in the workspace");
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
        let normal = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        todo.extend(normal.map(|dep| &dep.pkg));
    }
    seen.into_iter().map(name).collect()
}

#[test]
fn no_source_file_is_longer_than_a_reviewer_can_take_in() {
    let too_long: Vec<String> = sources(&root())
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            // Unit tests stand last in a file.
            let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
            let only_tests = path.parent().is_some_and(|dir| dir.components().any(|part| part.as_os_str() == "tests"))
                && !path.starts_with(root().join("tests/src"));
            let limit = if only_tests { MAX_TEST_LINES } else { MAX_LINES };
            (lines > limit).then(|| format!("{}: {lines}", path.display()))
        })
        .collect();
    assert!(too_long.is_empty(), "over {MAX_LINES} lines without tests, or {MAX_TEST_LINES} of tests: {too_long:#?}");
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let silent: Vec<PathBuf> = sources(&root())
        .into_iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().trim_start_matches("#![no_main]\n").trim_start().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "without module documentation: {silent:#?}");
}

#[test]
fn unsafe_is_forbidden_in_every_crate() {
    let manifest = |dir: &Path| std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    assert!(manifest(&root()).contains("unsafe_code = \"forbid\""));
    for package in metadata().workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{} does not take the workspace's lints", package.name);
    }
    let weakened: Vec<PathBuf> = sources(&root())
        .into_iter()
        .filter(|path| std::fs::read_to_string(path).unwrap().contains(concat!("allow(", "unsafe_code")))
        .collect();
    assert!(weakened.is_empty(), "{weakened:#?}");
}

#[test]
fn raw_events_have_no_encoder() {
    let text = std::fs::read_to_string(root().join("appliance/engine/src/event.rs")).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let encoders: Vec<&str> = code.filter(|line| ["Serialize", "prost", "encode"].iter().any(|word| line.contains(word))).collect();
    assert!(encoders.is_empty(), "{encoders:#?}");
}

/// Every Rust file of the tree.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
