//! The gateway's audit log: what is changed, removed or cut off in its files is found, and what was written while there was no
//! control plane arrives and is countersigned.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use postern_tests::deadline::wait_for;
use postern_tests::tools::printed;
use serde_json::Value;

use crate::harness::rig::Rig;
use crate::revisions;

const SOON: Duration = Duration::from_secs(30);

fn gateway(rig: &Rig, args: &[&str]) -> Output {
    Command::new(&rig.prepared.binaries.gateway).args(args).arg("--config").arg(rig.layout().gateway_config()).output().unwrap()
}

fn file(rig: &Rig) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(rig.layout().gateway_dir().join("audit")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// What `audit verify --json` says, and its exit code.
fn verify(rig: &Rig) -> (Option<i32>, Value) {
    let checked = gateway(rig, &["audit", "verify", "--json"]);
    let found = serde_json::from_slice(&checked.stdout).unwrap_or_else(|_| panic!("{}", printed(&checked)));
    (checked.status.code(), found)
}

/// Waits until everything in the log is countersigned; returns the entry's number.
fn countersigned(rig: &Rig) -> u64 {
    let status = rig.wait_for_status_within("the countersignature", SOON, |status| {
        status.audit.as_ref().is_some_and(|audit| audit.number > 0 && audit.countersigned == audit.number && audit.damage.is_none())
    });
    status.audit.unwrap().number
}

fn entries(rig: &Rig) -> Vec<Value> {
    let page = rig.api.get(&format!("/api/v1/gateways/{}/audit", rig.gateway_id())).ok().json();
    assert_eq!(page["breaks"], serde_json::json!([]), "{page:#}");
    page["items"].as_array().unwrap().clone()
}

#[test]
fn what_was_done_during_an_outage_arrives_and_is_countersigned() {
    let mut rig = Rig::start();
    let before = countersigned(&rig);
    rig.kill_control();
    let (_, _) = rig.stop_gateway();
    rig.spawn_gateway();
    rig.wait_for_status("the gateway without its control plane", |status| status.audit.as_ref().is_some_and(|audit| audit.number > before));
    let made = gateway(&rig, &["listener-csr", "--name", "gw.example"]);
    assert!(made.status.success(), "{}", printed(&made));
    rig.start_control();
    let after = countersigned(&rig);
    assert!(after >= before + 3, "the stop, the start and the key: {before} {after}");
    let what: Vec<String> = entries(&rig).iter().map(|entry| entry["entry"]["what"].as_str().unwrap().to_owned()).collect();
    for wanted in ["stopped", "started", "listener-key-made"] {
        assert!(what.iter().any(|what| what == wanted), "{wanted}: {what:?}");
    }
    assert_eq!(verify(&rig).0, Some(0), "{:#}", verify(&rig).1);
    let text = gateway(&rig, &["audit"]);
    assert!(printed(&text).contains("started: version"), "{}", printed(&text));
}

#[test]
fn a_line_that_was_changed_removed_or_cut_off_is_found() {
    let mut rig = Rig::start();
    let document = revisions::one_rule("1.3.6.1.4.1.55555.0.1", "audited");
    rig.api.put_configuration(&rig.gateway_id(), &document, postern_tests::api::Force::Checked).ok();
    rig.wait_for_status("the revision", |status| status.revision.effective.is_some());
    countersigned(&rig);
    let (_, _) = rig.stop_gateway();
    let (path, whole) = (file(&rig), std::fs::read_to_string(file(&rig)).unwrap());
    assert_eq!(verify(&rig).0, Some(0), "{:#}", verify(&rig).1);

    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let changed = whole.replacen("\"what\":\"started\"", "\"what\":\"stopped\"", 1);
    let removed: String = [&lines[..2], &lines[3..]].concat().concat();
    let truncated: String = lines[..2].concat();
    for (text, fault) in [(changed, "broken"), (removed, "broken"), (truncated, "truncated")] {
        std::fs::write(&path, text).unwrap();
        let (code, found) = verify(&rig);
        assert_eq!((code, found["faults"][0]["fault"].as_str()), (Some(2), Some(fault)), "{found:#}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(verify(&rig).0, Some(0));
}

#[test]
fn a_log_that_was_cut_off_is_an_alert_of_the_control_planes_own() {
    let mut rig = Rig::start();
    countersigned(&rig);
    let (_, _) = rig.stop_gateway();
    let path = file(&rig);
    let whole = std::fs::read_to_string(&path).unwrap();
    let kept: String = whole.split_inclusive('\n').take(2).collect();
    std::fs::write(&path, kept).unwrap();
    rig.start_gateway();
    let alert = rig.api.wait_for_alert_within("the fork", SOON, |alert| alert["kind"] == "audit-forked");
    assert_eq!((alert["severity"].as_str(), alert["resource"].as_str()), (Some("critical"), Some(rig.gateway_id().as_str())));
    wait_for("both branches", SOON, || {
        let page = rig.api.get(&format!("/api/v1/gateways/{}/audit", rig.gateway_id())).ok().json();
        if page["breaks"][0]["kind"] == "forked" { Ok(()) } else { Err(format!("{page:#}")) }
    });
    let checked = rig.control_command(&["audit", "verify"]).unwrap();
    assert!(checked.contains("whole"), "{checked}");
}
