//! kill -9 in the middle of ten thousand, of either side: acknowledged is there exactly once, and the counts agree.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::rig::Rig;
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::snmp::{LINK_DOWN, Sender, TRAP_V2, link};

const MANY: u32 = 10_000;
const LONG: Duration = Duration::from_secs(180);

pub(crate) fn counts(rig: &Rig) -> BTreeMap<String, u64> {
    // So many at once are a storm, and the gateway may have something to say of itself: those are other alerts.
    let alerts: Vec<_> = rig.api.alerts().into_iter().filter(|alert| alert["kind"] == "link-down").collect();
    let total = alerts.len();
    let counts: BTreeMap<String, u64> =
        alerts.iter().map(|alert| (alert["resource"].as_str().unwrap().to_owned(), alert["count"].as_u64().unwrap())).collect();
    assert_eq!(counts.len(), total, "an alert is there twice");
    counts
}

#[test]
fn informs_acknowledged_before_and_after_kill_9_of_the_gateway_are_there_exactly_once() {
    let mut rig = Rig::start();
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    let mut kills = [1000, 3000, 5000, 7000, 9000].into_iter().peekable();
    let volley = sender.inform(1..=MANY, LONG, |acknowledged| {
        if kills.next_if(|at| acknowledged >= *at).is_some() {
            rig.kill_gateway();
            rig.spawn_gateway();
        }
    });
    println!("{volley:?}");
    assert!(kills.peek().is_none(), "all kills happened");
    rig.wait_until_delivered();
    let counts = counts(&rig);
    assert_eq!(counts.len(), MANY as usize, "every acknowledged inform has its alert");
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "counted more than once: {doubled:?}");
    let ledger = rig.status().unwrap().ledger;
    assert_eq!(ledger.totals.accepted, u64::from(MANY), "{ledger:#?}");
    assert_eq!(ledger.crash_windows.len(), 5);
}

#[test]
fn traps_before_and_after_kill_9_of_the_gateway_are_counted_as_the_ledger_says() {
    let mut rig = Rig::start();
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    for number in 1..=MANY {
        sender.send(&link(TRAP_V2, i32::try_from(number).unwrap(), LINK_DOWN, number % 50));
        if number % 2500 == 0 {
            rig.kill_gateway();
            rig.spawn_gateway();
        }
        if number % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    rig.wait_for_status("the tunnel", |status| status.tunnel.state == postern_protocol::status::TunnelState::Up);
    // What is only counted again is committed within a second.
    let (total, quiet) = wait_for("alerts and ledger to agree", SOON, || {
        let quiet = rig.wait_until_delivered();
        let total: u64 = counts(&rig).values().sum();
        if total == quiet.ledger.totals.accepted { Ok((total, quiet)) } else { Err(format!("{total} of {:#?}", quiet.ledger)) }
    });
    assert!(total <= u64::from(MANY));
    println!("{total} of {MANY} traps over four kills; windows: {:?}", quiet.ledger.crash_windows);
}

#[test]
fn nothing_is_doubled_or_lost_by_kill_9_of_the_control_plane_during_ingest() {
    let mut rig = Rig::start();
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    let mut kills = [1500, 3500, 5500, 7500].into_iter().peekable();
    let volley = sender.inform((0..MANY).map(|number| number % 1000 + 1), LONG, |acknowledged| {
        if kills.next_if(|at| acknowledged >= *at).is_some() {
            rig.kill_control();
            rig.spawn_control();
        }
    });
    println!("{volley:?}");
    rig.wait_until_delivered();
    let counts = counts(&rig);
    assert_eq!(counts.len(), 1000);
    let wrong: Vec<_> = counts.iter().filter(|(_, count)| **count != 10).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(rig.status().unwrap().ledger.totals.accepted, u64::from(MANY));
}
