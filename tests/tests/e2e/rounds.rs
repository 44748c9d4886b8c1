//! The gateway dies at random moments under load, again and again: what was answered is there exactly once.
//!
//! `POSTERN_CRASH_ROUNDS` deaths, 20 unless told otherwise; `SIM_SEED` repeats the moments of an earlier run as far as a real
//! machine can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_tests::snmp::Sender;
use postern_tests::tools::unix_seconds;

use crate::flood::counts;
use crate::harness::rig::Rig;

/// Informs between two deaths, about: some are on their way at each.
const PER_ROUND: u32 = 400;

/// Moments at which it dies after its start, in milliseconds: from before its sockets are read to well into the work.
const MOMENTS_MS: u64 = 700;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn answered_informs_are_there_exactly_once_however_often_it_dies() {
    let rounds = u32::try_from(number("POSTERN_CRASH_ROUNDS").unwrap_or(20)).unwrap();
    let mut random = number("SIM_SEED").unwrap_or_else(unix_seconds) | 1;
    println!("SIM_SEED={random}");
    let mut rig = Rig::start();
    let total = rounds * PER_ROUND;
    let trap = rig.prepared.sockets.snmp_trap();
    let sent = AtomicBool::new(false);
    let volley = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let deadline = Duration::from_secs(60) + Duration::from_secs(5) * rounds;
            let volley = Sender::new(trap).inform(1..=total, deadline, |_| {});
            sent.store(true, Ordering::SeqCst);
            volley
        });
        let mut deaths = 0;
        while deaths < rounds {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(Duration::from_millis(random % MOMENTS_MS));
            rig.kill_gateway();
            rig.spawn_gateway();
            deaths += 1;
        }
        sender.join().unwrap()
    });
    println!("{rounds} deaths, {volley:?}");
    rig.wait_for_status("the tunnel", |status| status.tunnel.state == postern_protocol::status::TunnelState::Up);
    rig.wait_until_delivered();
    let counts = counts(&rig);
    assert_eq!(counts.len(), total as usize, "every answered inform has its alert");
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "counted more than once: {doubled:?}");
    let ledger = rig.status().unwrap().ledger;
    assert_eq!(ledger.totals.accepted, u64::from(total), "{ledger:#?}");
}
