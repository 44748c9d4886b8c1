//! Ten thousand gateways that lose one control plane at the same moment: the real [`Waits`], in virtual time, with seeded numbers.
//!
//! Prints what it saw (`cargo nextest run -p postern-uplink herd --success-output immediate`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::back_off::{BackOff, Hope, Waits};

const GATEWAYS: usize = 10_000;

/// How long an attempt waits for the control plane to take its turn.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the gateways meet.
#[derive(Clone, Copy, Debug)]
struct Outage {
    /// How long there is no control plane.
    down: Duration,
    /// How long an attempt takes to fail meanwhile: nothing when it is refused, long when it is not answered.
    fails_after: Duration,
    /// Sessions that the control plane can open in a second.
    accepts_per_second: u32,
}

/// What was seen.
#[derive(Debug)]
struct Seen {
    /// Most attempts within one second: while there was no control plane, and from its return on.
    peaks: (usize, usize),
    /// From its return until half and all of the gateways were back.
    back: (Duration, Duration),
    attempts: usize,
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}

fn run(outage: Outage, seed: u64) -> Seen {
    let mut numbers = Numbers(seed);
    let turn = Duration::from_secs(1) / outage.accepts_per_second;
    let mut herd: Vec<Waits> = (0..GATEWAYS).map(|_| Waits::new(BackOff::default())).collect();
    let (mut due, mut attempts, mut back) = (BinaryHeap::new(), Vec::new(), Vec::new());
    for (gateway, waits) in herd.iter_mut().enumerate() {
        // All lose a session of an hour within the same tenth of a second.
        let heard = Duration::from_millis(u64::from(numbers.next() % 100));
        due.push(Reverse((heard + waits.next(Duration::from_secs(3600), Hope::Some, numbers.next()), gateway)));
    }
    let mut served_until = outage.down;
    while let Some(Reverse((now, gateway))) = due.pop() {
        attempts.push(now);
        let failed_at = if now < outage.down {
            Some(now + outage.fails_after)
        } else {
            // One that has given up takes its turn all the same: the control plane finds out only then.
            served_until = served_until.max(now) + turn;
            let waited = served_until - now;
            if waited > PATIENCE { Some(now + PATIENCE) } else { None }
        };
        match failed_at {
            Some(at) => due.push(Reverse((at + herd[gateway].next(Duration::ZERO, Hope::Some, numbers.next()), gateway))),
            None => back.push(served_until - outage.down),
        }
    }
    attempts.sort();
    let up = attempts.partition_point(|at| *at < outage.down);
    let (before, after) = attempts.split_at(up);
    Seen { peaks: (peak(before), peak(after)), back: (back[GATEWAYS / 2], back[GATEWAYS - 1]), attempts: attempts.len() }
}

/// Returns the most of `sorted` that lie within one second.
fn peak(sorted: &[Duration]) -> usize {
    let within = |(index, first): (usize, &Duration)| sorted[index..].partition_point(|at| *at < *first + Duration::from_secs(1));
    sorted.iter().enumerate().map(within).max().unwrap_or(0)
}

#[test]
fn a_herd_of_10_000_gateways_comes_back_spread_out_and_soon() {
    let seconds = Duration::from_secs;
    let mut worst = (0, 0, Duration::ZERO);
    for (down, fails_after, accepts_per_second) in [
        (seconds(0), seconds(0), 1000),
        (seconds(3), seconds(0), 1000),
        (seconds(20), seconds(0), 1000),
        (seconds(20), seconds(0), 400),
        (seconds(300), seconds(0), 1000),
        (seconds(300), seconds(15), 1000),
    ] {
        let outage = Outage { down, fails_after, accepts_per_second };
        for seed in 1..=3 {
            let seen = run(outage, seed);
            println!("{outage:?} seed {seed}: {} attempts, {seen:?}", seen.attempts);
            worst = (worst.0.max(seen.peaks.0), worst.1.max(seen.peaks.1), worst.2.max(seen.back.1));
        }
    }
    println!("peak of attempts a second: {} while it is down, {} from its return on; all back within {:?}", worst.0, worst.1, worst.2);
    assert!(worst.0 <= 3_000 && worst.1 <= 3_000, "{worst:?}");
    assert!(worst.2 <= seconds(45), "{worst:?}");
}
