//! What is left after a kill -9 at the worst moment, and after an orderly stop.

use std::os::unix::process::ExitStatusExt as _;

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;
use postern_tests::snmp::{LINK_DOWN as DOWN, Sender, TRAP_V2, link};
use postern_tests::tools::{LINK_DOWN, LINK_UP, link_trap};

#[test]
fn an_open_alert_outlives_the_trim_of_its_record_and_a_kill_9() {
    let mut rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    for _ in 0..3 {
        link_trap(to, LINK_DOWN, 4);
    }
    rig.api.wait_for_alert("the alert", |alert| is_link(alert, 4) && alert["count"] == 3);
    rig.wait_until_delivered();
    rig.kill_gateway();
    rig.start_gateway();
    assert_eq!(rig.status().unwrap().open_alerts, 1, "it is remembered without its record");
    link_trap(to, LINK_UP, 4);
    let alert = rig.api.wait_for_alert("the clear", |alert| is_link(alert, 4) && alert["state"] == "cleared");
    assert_eq!(alert["count"], 3, "its count is kept");
    assert_eq!(rig.api.alerts().len(), 1);
}

#[test]
fn the_same_after_many_segments_were_written_and_trimmed() {
    let options = crate::harness::rig::Options { gateway_toml: "\n[spool]\nsegment_bytes = 65536\n", ..Default::default() };
    let mut rig = Rig::start_with(&options);
    let to = rig.prepared.sockets.snmp_trap();
    link_trap(to, LINK_DOWN, 4);
    rig.api.wait_for_alert("the alert", |alert| is_link(alert, 4));
    let sender = Sender::new(to);
    let volley = sender.inform(1000..3000, std::time::Duration::from_secs(60), |_| ());
    assert_eq!(volley.acknowledged, 2000);
    rig.wait_until_delivered();
    rig.kill_gateway();
    rig.start_gateway();
    // So many at once are a storm of the source and one of all sources.
    assert_eq!(rig.status().unwrap().open_alerts, 2001 + 2);
    link_trap(to, LINK_UP, 4);
    rig.api.wait_for_alert("the clear", |alert| is_link(alert, 4) && alert["state"] == "cleared" && alert["count"] == 1);
}

#[test]
fn an_orderly_stop_hands_on_what_is_there_and_leaves_no_crash_window() {
    let mut rig = Rig::start();
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    for if_index in 1..=200 {
        sender.send(&link(TRAP_V2, i32::try_from(if_index).unwrap(), DOWN, if_index));
    }
    rig.wait_for_status("all traps", |status| status.ledger.totals.received == 200);
    let (status, took) = rig.stop_gateway();
    assert!(status.success(), "{status}");
    println!("the gateway stopped in {took:?}");
    rig.start_gateway();
    let ledger = rig.status().unwrap().ledger;
    assert!(ledger.crash_windows.is_empty(), "{ledger:?}");
    assert_eq!(ledger.totals.accepted, 200);
    rig.wait_until_delivered();
    assert_eq!(rig.api.alerts().iter().filter(|alert| alert["kind"] != "storm").count(), 200);
    let (status, took) = rig.stop_control();
    assert!(status.success(), "{status}");
    println!("the control plane stopped in {took:?}");
}

#[test]
fn datagrams_wait_in_the_passed_socket_while_the_gateway_restarts() {
    let mut rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    rig.stop_gateway();
    for if_index in 1..=20 {
        link_trap(to, LINK_DOWN, if_index);
    }
    rig.start_gateway();
    rig.wait_for_status("what came meanwhile", |status| status.ledger.totals.accepted == 20);
}

#[test]
fn an_unclean_stop_is_written_into_the_ledger() {
    let mut rig = Rig::start();
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 1);
    rig.wait_until_delivered();
    rig.kill_gateway();
    rig.start_gateway();
    let windows = rig.status().unwrap().ledger.crash_windows;
    assert_eq!(windows.len(), 1, "{windows:?}");
    assert!(windows[0].from > 0 && windows[0].from < windows[0].to, "{windows:?}");
}

#[test]
fn a_stop_at_any_moment_of_the_start_is_clean() {
    let mut rig = Rig::start();
    for round in 0..12 {
        let moment = std::time::Duration::from_millis(round * 25);
        for stopped in [Program::Gateway, Program::Control] {
            let (status, took) = match stopped {
                Program::Gateway => rig.stop_gateway(),
                Program::Control => rig.stop_control(),
            };
            // In its first milliseconds a program has no handler yet, and nothing to put in order.
            let clean = status.success() || status.signal() == Some(nix::sys::signal::Signal::SIGTERM as i32);
            assert!(clean, "{stopped:?} {moment:?} after its start: {status}");
            assert!(took < std::time::Duration::from_secs(6), "{stopped:?} took {took:?}");
        }
        rig.spawn_control();
        rig.spawn_gateway();
        // Not a wait for something: the moment itself is what is tried.
        std::thread::sleep(moment);
    }
}

#[derive(Debug)]
enum Program {
    Control,
    Gateway,
}
