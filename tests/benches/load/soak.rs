//! `make soak`: ten minutes of mixed load at half the rate without loss, with a revision pushed every second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::datagrams;
use crate::postern::Postern;
use crate::rows::{seal_user, with_user};
use crate::send::Sender;

/// Seconds of a search for the highest rate without loss.
const TRY: f64 = 3.0;

/// Rates of traps and of lines that are tried together.
const RATES: [f64; 6] = [20e3, 40e3, 60e3, 80e3, 100e3, 140e3];

/// How long the load lasts, in seconds; `POSTERN_SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 600;

/// Runs the soak and panics at the first loss.
pub(crate) fn run() {
    let dir = tempfile::Builder::new().prefix("postern-soak-").tempdir().unwrap();
    let postern = Postern::start(dir.path(), "");
    seal_user(&postern);
    with_user(&postern);
    let (traps, lines) = (datagrams::v2c(200_000), datagrams::syslog(200_000));
    let (trap, syslog) = (postern.trap(), postern.syslog());
    let mut best = 0.0;
    for rate in RATES {
        let before = lost(&postern);
        let load = |to: SocketAddr, datagrams: &[Vec<u8>]| Sender::new(to).paced(&repeated(datagrams, (rate * TRY) as usize), rate);
        std::thread::scope(|scope| {
            scope.spawn(|| load(trap, &traps));
            scope.spawn(|| load(syslog, &lines));
        });
        postern.gateway.settle();
        let more = lost(&postern) - before;
        println!("{rate:.0} traps and {rate:.0} lines a second: {more} lost");
        if more > 0 {
            break;
        }
        best = rate;
    }
    assert!(best > 0.0, "nothing is without loss");
    let rate = best / 2.0;
    let seconds = std::env::var("POSTERN_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    println!("{seconds} s at {rate:.0} traps and {rate:.0} lines a second, a revision every second");
    let (before, lost_before) = (postern.status().ledger.totals, lost(&postern));
    let (ended, start) = (AtomicBool::new(false), Instant::now());
    let mut memory = Vec::new();
    let flood = |to: SocketAddr, load: &[Vec<u8>]| {
        let (sender, mut sent) = (Sender::new(to), 0_u64);
        while !ended.load(Ordering::Relaxed) {
            sender.paced(load, rate);
            sent += load.len() as u64;
        }
        sent
    };
    let flood = &flood;
    let sent = std::thread::scope(|scope| {
        let second = (rate as usize).max(1);
        let (traps, lines) = (&traps[..second.min(traps.len())], &lines[..second.min(lines.len())]);
        let one = scope.spawn(move || flood(trap, traps));
        let other = scope.spawn(move || flood(syslog, lines));
        while start.elapsed() < Duration::from_secs(seconds) {
            let turn = Instant::now();
            with_user(&postern);
            memory.push(postern.gateway.resident_mib());
            std::thread::sleep(Duration::from_secs(1).saturating_sub(turn.elapsed()));
        }
        ended.store(true, Ordering::Relaxed);
        one.join().unwrap() + other.join().unwrap()
    });
    postern.gateway.settle();
    let after = postern.status().ledger.totals;
    let quarter = memory.len() / 4;
    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len().max(1) as u64;
    println!(
        "sent {sent}, received {}, accepted {}, lost {}; memory in the second quarter {} MiB, in the last {} MiB, peak {} MiB; {} revisions",
        after.received - before.received,
        after.accepted - before.accepted,
        lost(&postern) - lost_before,
        mean(&memory[quarter..2 * quarter]),
        mean(&memory[3 * quarter..]),
        postern.gateway.peak_mib(),
        memory.len(),
    );
    assert_eq!((after.received - before.received, after.accepted - before.accepted), (sent, sent), "{:?}", after.dropped);
}

fn lost(postern: &Postern) -> u64 {
    postern.status().ledger.totals.dropped.values().sum()
}

fn repeated(load: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
    load.iter().cycle().take(count).cloned().collect()
}
