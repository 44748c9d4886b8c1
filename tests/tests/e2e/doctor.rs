//! The doctor and the view of what left, beside the real control plane: what is found when all is well, when this gateway was revoked,
//! and when the control plane is gone, by the daemon itself inside its sandbox.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_protocol::status::doctor::{Grade, Report};
use postern_protocol::status::{Status, TunnelState};
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{logger, push, run};
use serde_json::Value;

use crate::harness::rig::{Options, Rig};

/// Runs a command of the gateway and returns its exit code and what it printed.
fn gateway(rig: &Rig, arguments: &[&str]) -> (i32, String) {
    let (program, config) = (rig.prepared.binaries.gateway.clone(), rig.layout().gateway_config());
    let output = run(program.to_str().unwrap(), &[arguments, &["--config", config.to_str().unwrap()]].concat());
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
}

fn doctor(rig: &Rig) -> (i32, Report) {
    let (code, text) = gateway(rig, &["doctor", "--json"]);
    (code, serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn grade(report: &Report, id: &str) -> Option<Grade> {
    report.findings.iter().find(|finding| finding.id == id).map(|finding| finding.grade)
}

#[test]
fn a_healthy_pair_has_no_fault_and_a_revoked_gateway_is_told_so() {
    let rig = Rig::start();
    let (code, report) = doctor(&rig);
    for good in ["way", "tunnel", "clock", "identity", "listeners", "spool", "disk"] {
        assert_eq!(grade(&report, good), Some(Grade::Good), "{good}: {report:#?}");
    }
    assert!(code < 2, "{report:#?}");
    assert_eq!(rig.status().unwrap().tunnel.state, TunnelState::Up, "the examination is no second session");
    rig.control_command(&["gateway", "revoke", &rig.gateway_id()]).unwrap();
    let report = wait_for("the doctor to see it", SOON, || {
        let (code, report) = doctor(&rig);
        if code == 2 { Ok(report) } else { Err(format!("{report:#?}")) }
    });
    assert_eq!(report.findings[0].id, "identity-revoked", "{report:#?}");
}

#[test]
fn the_daemon_examines_by_itself_and_keeps_the_report_over_a_restart() {
    let mut rig = Rig::start_with(&Options { gateway_toml: "[sandbox]\nrequire = true\n", ..Options::default() });
    let is_fault = |status: &Status, id: &str| status.doctor.as_ref().is_some_and(|report| grade(report, id) == Some(Grade::Fault));
    rig.kill_control();
    let within = Duration::from_secs(60);
    let status = rig.wait_for_status_within("the daemon's own examination", within, |status| is_fault(status, "refused"));
    let report = status.doctor.unwrap();
    assert_eq!(grade(&report, "disk"), Some(Grade::Good), "the sandbox leaves the doctor its disk: {report:#?}");
    assert_eq!(grade(&report, "listeners"), Some(Grade::Good), "and its listeners: {report:#?}");
    rig.stop_gateway();
    rig.spawn_gateway();
    rig.wait_for_status("the report of the run before", |status| is_fault(status, "refused"));
    rig.start_control();
    rig.wait_for_status("the tunnel", |status| status.tunnel.state == TunnelState::Up);
}

#[test]
fn everything_that_left_is_in_the_ring_and_every_field_of_it_in_the_contract() {
    let rig = Rig::start();
    let secret = "MARKZqz7vk3wd9tp2xr";
    logger(rig.prepared.sockets.syslog(), &["--udp", "--priority", "daemon.err", "--tag", "app", secret]);
    let event = r#"{"events":[{"resource":"press-4","kind":"temperature","severity":"major","summary":"hot"}]}"#;
    assert_eq!(push(&rig.prepared, event, &[]).0, 200);
    rig.wait_until_delivered();
    let lines = wait_for("the ring", SOON, || {
        let (code, text) = gateway(&rig, &["outbound", "tail", "--json", "--since", "1h"]);
        assert_eq!(code, 0, "{text}");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: BTreeSet<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
        let wanted = ["Batch", "heartbeat", "hello", "status"];
        if wanted.iter().all(|kind| kinds.contains(kind)) { Ok(lines) } else { Err(format!("{kinds:?}")) }
    });
    let text = serde_json::to_string(&lines).unwrap();
    assert!(text.contains("press-4"), "the alert that left is shown");
    assert!(!text.contains(secret), "and what no rule released is not");
    let strangers: Vec<&Value> = lines.iter().filter(|line| line.to_string().contains("not in the contract")).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
    let missed: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "missed").collect();
    assert!(missed.is_empty(), "{missed:?}");
    let numbers: Vec<u64> = lines.iter().map(|line| line["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is missing: {numbers:?}");
}
