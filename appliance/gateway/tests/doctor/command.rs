//! `doctor` and `outbound` as a person uses them.

use std::process::{Command, Output};

use postern_protocol::status::doctor::Report;

use crate::pki::Authority;

/// A gateway's directory, its control plane out of reach.
fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let identity = dir.path().join("data/identity");
    std::fs::create_dir_all(&identity).unwrap();
    Authority::new("control CA").identity(&identity, &[[7; 32]]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!("data_dir = \"data\"\n[server]\nurl = \"https://127.0.0.1:{port}\"\n");
    std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
    dir
}

fn gateway(arguments: &[&str], dir: &tempfile::TempDir) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-gateway"));
    command.args(arguments).arg("--config").arg(dir.path().join("gateway.toml")).output().unwrap()
}

#[test]
fn a_fault_is_one_line_with_mark_evidence_and_advice_and_exit_code_2() {
    let dir = site();
    let output = gateway(&["doctor"], &dir);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("✗ refused: ") && first.contains(" · seen: ") && first.contains(" · do: "), "{text}");
    assert!(text.lines().any(|line| line.starts_with("! daemon-not-running: ")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("✓ disk: ")), "{text}");
}

#[test]
fn the_report_is_json_for_programs() {
    let dir = site();
    let output = gateway(&["doctor", "--json"], &dir);
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), report.findings[0].id.as_str()), (Some(2), "refused"));
    std::fs::remove_dir_all(dir.path().join("data/identity")).unwrap();
    let report: Report = serde_json::from_slice(&gateway(&["doctor", "--json"], &dir).stdout).unwrap();
    assert_eq!(report.findings[0].id, "not-enrolled");
}

#[test]
fn the_contract_is_printed_and_an_empty_ring_is_told() {
    let dir = site();
    let contract = Command::new(env!("CARGO_BIN_EXE_postern-gateway")).args(["outbound", "contract"]).output().unwrap();
    let contract: serde_json::Value = serde_json::from_slice(&contract.stdout).unwrap();
    assert!(contract["messages"]["Alert"]["fields"].is_array());
    let tail = gateway(&["outbound", "tail"], &dir);
    let told = String::from_utf8_lossy(&tail.stderr).into_owned();
    assert!(!tail.status.success() && told.contains("nothing has left yet"), "{told}");
}
