//! Somebody puts an old state back: the gateway's disk from a snapshot, the tenant's database from a backup. Both are noticed,
//! said, and healed: within a minute every open alert is right on both sides.

use std::path::Path;
use std::time::Duration;

use postern_protocol::status::TunnelState;
use postern_tests::api::Force;
use postern_tests::deadline::wait_for;
use postern_tests::snmp::{LINK_DOWN, LINK_UP, Sender};
use postern_tests::tools::{run, succeeded};
use serde_json::Value;

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;

const MINUTE: Duration = Duration::from_secs(60);

fn inform(rig: &Rig, oid: &[u32], interfaces: std::ops::RangeInclusive<u32>) {
    Sender::new(rig.prepared.sockets.snmp_trap()).inform_of(oid, interfaces, MINUTE, |_| {});
}

/// Pushes the built-in rules once more and returns the revision's number.
fn push_revision(rig: &Rig) -> u64 {
    let reply = rig.api.put_configuration(&rig.gateway_id(), postern_protocol::revision::BUILT_IN, Force::Checked).ok().json();
    reply["number"].as_u64().unwrap_or_else(|| panic!("{reply}"))
}

/// Waits until the control plane shows exactly these as open, and these as cleared.
fn wait_until_right(rig: &Rig, open: std::ops::RangeInclusive<u32>, cleared: std::ops::RangeInclusive<u32>) {
    wait_for("every alert to be right", MINUTE, || {
        let alerts = rig.api.alerts();
        let state = |if_index: u32| alerts.iter().find(|alert| is_link(alert, if_index)).map(|alert| alert["state"].clone());
        for if_index in open.clone() {
            if state(if_index) != Some(Value::from("open")) {
                return Err(format!("interface {if_index} is {:?}, not open", state(if_index)));
            }
        }
        for if_index in cleared.clone() {
            if state(if_index) != Some(Value::from("cleared")) {
                return Err(format!("interface {if_index} is {:?}, not cleared", state(if_index)));
            }
        }
        Ok(())
    });
    let open_links = u64::from(open.end() - open.start() + 1);
    rig.wait_for_status_within("the gateway to know the same", MINUTE, |status| status.open_alerts >= open_links);
}

fn copy(from: &Path, to: &Path) {
    succeeded(&run("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]));
}

fn put_back(copy: &Path, place: &Path) {
    std::fs::remove_dir_all(place).unwrap();
    std::fs::rename(copy, place).unwrap();
}

/// What the gateway's history in the console tells.
fn history(rig: &Rig) -> String {
    rig.api.get(&format!("/api/v1/gateways/{}/history", rig.gateway_id())).ok().body
}

#[test]
fn a_gateway_whose_disk_was_set_back_learns_again_what_it_had_reported() {
    let mut rig = Rig::start();
    inform(&rig, LINK_DOWN, 1..=20);
    rig.wait_until_delivered();
    rig.kill_gateway();
    let disk = rig.layout().gateway_dir();
    let snapshot = rig.layout().root().join("snapshot");
    copy(&disk, &snapshot);
    rig.start_gateway();
    inform(&rig, LINK_DOWN, 21..=40);
    inform(&rig, LINK_UP, 1..=10);
    rig.wait_until_delivered();
    wait_until_right(&rig, 11..=40, 1..=10);
    rig.kill_gateway();
    put_back(&snapshot, &disk);
    rig.spawn_gateway();
    rig.wait_for_status_within("the tunnel", MINUTE, |status| status.tunnel.state == TunnelState::Up);
    wait_until_right(&rig, 11..=40, 1..=10);
    // It knows them, and not only the control plane: a recovery finds its alert. So many at once are a storm, too.
    rig.wait_for_status_within("the forgotten alerts", MINUTE, |status| status.open_alerts == 30 + 1);
    inform(&rig, LINK_UP, 31..=40);
    wait_until_right(&rig, 11..=30, 31..=40);
    let history = history(&rig);
    assert!(history.contains("set back"), "{history}");
}

#[test]
fn a_tenants_database_from_a_backup_is_healed_by_its_gateways() {
    let mut rig = Rig::start();
    inform(&rig, LINK_DOWN, 1..=20);
    rig.wait_until_delivered();
    rig.stop_control();
    let tenants = rig.layout().control_dir().join("tenants");
    let backup = rig.layout().root().join("backup");
    copy(&tenants, &backup);
    rig.start_control();
    rig.wait_for_status_within("the tunnel", MINUTE, |status| status.tunnel.state == TunnelState::Up);
    let pushed = push_revision(&rig);
    inform(&rig, LINK_DOWN, 21..=40);
    inform(&rig, LINK_UP, 1..=10);
    rig.wait_until_delivered();
    wait_until_right(&rig, 11..=40, 1..=10);
    rig.wait_for_status("the revision", |status| status.revision.effective.is_some_and(|number| number.0 >= pushed));
    rig.stop_control();
    put_back(&backup, &tenants);
    rig.start_control();
    rig.wait_for_status_within("the tunnel", MINUTE, |status| status.tunnel.state == TunnelState::Up);
    wait_until_right(&rig, 11..=40, 1..=10);
    let history = history(&rig);
    assert!(history.contains("database"), "{history}");
    // Numbers are never given twice.
    let next = push_revision(&rig);
    assert!(next > pushed, "revision {next} after {pushed}");
    rig.wait_for_status_within("the next revision", MINUTE, |status| status.revision.effective.is_some_and(|number| number.0 == next));
}
