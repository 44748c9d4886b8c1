//! A long backlog, and the one thing in it that matters came last: on return of the control plane it goes first, and nothing of what
//! it overtook is missing.
//!
//! The order is proven by the ring of what left, not by timing.

use serde_json::Value;

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;
use postern_protocol::status::TunnelState;
use postern_tests::snmp::{LINK_DOWN, LINK_UP, Sender, TRAP_V2, link};
use postern_tests::tools::{printed, push, run, succeeded};

const INTERFACES: u32 = 1250;
const ROUNDS: u32 = 4;

#[test]
fn the_newest_open_alert_goes_before_a_backlog_and_every_step_of_the_others_is_kept() {
    let mut rig = Rig::start();
    rig.wait_until_delivered();
    rig.kill_control();
    rig.wait_for_status("the cut", |status| status.tunnel.state != TunnelState::Up);
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    let before = rig.status().unwrap().ledger.totals.accepted;
    for round in 0..ROUNDS {
        let oid = if round % 2 == 0 { LINK_DOWN } else { LINK_UP };
        for if_index in 1..=INTERFACES {
            let number = round * INTERFACES + if_index;
            sender.send(&link(TRAP_V2, i32::try_from(number).unwrap(), oid, if_index));
        }
        // Each step of each alert is a record of its own only when the one before is in the spool.
        let waiting = u64::from((round + 1) * INTERFACES);
        rig.wait_for_status("the round", |status| {
            status.ledger.totals.accepted >= before + waiting
                && status.spool.lanes.get("alerts").is_some_and(|lane| lane.records >= waiting)
        });
    }
    let event = r#"{"events":[{"resource":"press-4","kind":"temperature","severity":"critical","summary":"hot"}]}"#;
    assert_eq!(push(&rig.prepared, event, &[]).0, 200);
    let left = outbound(&rig).len();
    rig.start_control();
    rig.wait_for_status("the tunnel", |status| status.tunnel.state == TunnelState::Up);
    rig.wait_until_delivered();

    let lines = outbound(&rig);
    let batches: Vec<&Value> = lines.iter().skip(left).filter(|line| line["stream"] == "alerts").collect();
    let first = batches.first().expect("batches left");
    assert_eq!(first["content"]["ahead"], true, "{first}");
    let overtakers = records(first);
    assert_eq!(overtakers.first().map(|record| &record["resource"]), Some(&Value::from("press-4")), "the newest is the first: {first}");
    assert!(overtakers.len() < 20, "what is over does not go ahead: {}", overtakers.len());
    let ordered = batches.iter().filter(|batch| batch["content"]["ahead"] != true);
    let in_order: usize = ordered.map(|batch| records(batch).len()).sum();
    assert!(in_order >= usize::try_from(INTERFACES * ROUNDS).unwrap(), "everything comes in its order, too: {in_order}");

    let critical = rig.api.wait_for_alert("the critical one", |alert| alert["resource"] == "press-4");
    assert_eq!((&critical["state"], &critical["count"]), (&"open".into(), &1.into()));
    assert_eq!(steps(&rig, &critical), ["raised"], "once, though it came twice");
    for if_index in [1, INTERFACES / 2, INTERFACES] {
        let alert = rig.api.wait_for_alert("an interface", |alert| is_link(alert, if_index) && alert["state"] == "cleared");
        assert_eq!(steps(&rig, &alert), ["raised", "cleared", "raised", "cleared"], "interface {if_index}");
    }
}

/// What left, line by line.
fn outbound(rig: &Rig) -> Vec<Value> {
    let config = rig.layout().gateway_config();
    let output = run(
        rig.prepared.binaries.gateway.to_str().unwrap(),
        &["outbound", "tail", "--json", "--since", "1h", "--config", config.to_str().unwrap()],
    );
    succeeded(&output);
    printed(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn records(batch: &Value) -> Vec<Value> {
    batch["content"]["records_zstd"]["records"].as_array().cloned().unwrap_or_default()
}

/// What happened to an alert, by the words of its history; that so many at once are folded under one is another matter.
fn steps(rig: &Rig, alert: &Value) -> Vec<String> {
    let history = rig.api.get(&format!("/api/v1/alerts/{}/history", alert["id"].as_str().unwrap())).ok().json();
    let steps = history["items"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap().to_owned());
    steps.filter(|what| what != "folded").collect()
}
