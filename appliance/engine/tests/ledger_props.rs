//! Whatever happens, every account adds up: `received = accepted + in_flight + Σ dropped`, also after a restart.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use postern_engine::event::Protocol;
use postern_engine::ledger::{Detail, DropReason, Ledger, OTHERS};
use postern_protocol::status::{self, Account};
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Received {
        protocol: usize,
        source: u8,
        n: u64,
    },
    /// Settles a share of what is in flight from the source.
    Settled {
        protocol: usize,
        source: u8,
        share: u8,
        reason: Option<usize>,
    },
    KernelDropped {
        protocol: usize,
        n: u64,
    },
    CrashWindow {
        from: i64,
    },
    /// A commit with a delta.
    Commit {
        sources: bool,
    },
    /// Time passes.
    Seconds(i64),
    /// From the first checkpoint and all deltas.
    Restart,
}

/// What the model knows: in flight by protocol and source, and the totals by protocol.
#[derive(Default)]
struct Model {
    in_flight: BTreeMap<(usize, u8), u64>,
    totals: BTreeMap<usize, Account>,
}

fn run(steps: &[Step]) -> (Ledger, Model) {
    let (mut ledger, mut model) = (Ledger::new(), Model::default());
    let (checkpoint, mut deltas) = (ledger.encode(), Vec::new());
    let mut now = 1_800_000_000;
    for step in steps {
        ledger.roll(Timestamp::from_secs(now), &[Protocol::Syslog]);
        match *step {
            Step::Received { protocol, source, n } => {
                ledger.received(Protocol::ALL[protocol], address(source), n);
                *model.in_flight.entry((protocol, source)).or_default() += n;
                model.totals.entry(protocol).or_default().received += n;
            }
            Step::Settled { protocol, source, share, reason } => {
                let in_flight = model.in_flight.entry((protocol, source)).or_default();
                let n = *in_flight * u64::from(share) / u64::from(u8::MAX);
                *in_flight -= n;
                let total = model.totals.entry(protocol).or_default();
                match reason.map(|reason| DropReason::ALL[reason]) {
                    None => {
                        ledger.accepted(Protocol::ALL[protocol], address(source), n);
                        total.accepted += n;
                    }
                    Some(reason) => {
                        ledger.dropped(Protocol::ALL[protocol], address(source), reason, n);
                        count(total, reason, n);
                    }
                }
            }
            Step::KernelDropped { protocol, n } => {
                ledger.kernel_dropped(Protocol::ALL[protocol], n);
                let total = model.totals.entry(protocol).or_default();
                total.received += n;
                count(total, DropReason::KernelBuffer, n);
            }
            Step::CrashWindow { from } => ledger.crash_window(Timestamp::from_nanos(from), Timestamp::from_nanos(from + 1)),
            Step::Commit { sources } => deltas.push(ledger.encode_changes(if sources { Detail::Sources } else { Detail::Totals })),
            Step::Seconds(seconds) => now += seconds,
            Step::Restart => {
                let windows = ledger.snapshot().crash_windows;
                deltas.push(ledger.encode_changes(Detail::Totals));
                assert!(deltas.last().is_some_and(|delta| delta.len() < 4_000), "a delta has what changed");
                ledger = Ledger::restore(&checkpoint).expect("what was encoded is read back");
                deltas.iter().for_each(|delta| ledger.apply(delta).expect("a delta is read back"));
                ledger.settle_others();
                // The daemon's first commit after that has a checkpoint, and with it these.
                windows.iter().for_each(|window| ledger.crash_window(Timestamp::from_nanos(window.from), Timestamp::from_nanos(window.to)));
                for ((protocol, _), in_flight) in std::mem::take(&mut model.in_flight) {
                    model.totals.entry(protocol).or_default().received -= in_flight;
                }
            }
        }
    }
    for ((protocol, _), in_flight) in &model.in_flight {
        model.totals.entry(*protocol).or_default().in_flight += in_flight;
    }
    (ledger, model)
}

fn count(account: &mut Account, reason: DropReason, n: u64) {
    if n > 0 {
        *account.dropped.entry(reason.name().to_owned()).or_default() += n;
    }
}

fn address(source: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, source])
}

fn adds_up(account: &Account) -> bool {
    account.received == account.accepted + account.in_flight + account.dropped.values().sum::<u64>()
}

/// The sum of all sources, by protocol.
fn by_source(snapshot: &status::Ledger) -> BTreeMap<&str, Account> {
    let mut sums: BTreeMap<&str, Account> = BTreeMap::new();
    for source in &snapshot.top_sources {
        let sum = sums.entry(&source.protocol).or_default();
        sum.received += source.account.received;
        sum.accepted += source.account.accepted;
        sum.in_flight += source.account.in_flight;
        source.account.dropped.iter().for_each(|(reason, n)| *sum.dropped.entry(reason.clone()).or_default() += n);
    }
    sums
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Kernel drops have no source, so no source is settled with that reason.
    let reason = (0..DropReason::ALL.len()).prop_filter("a reason of a source", |n| DropReason::ALL[*n] != DropReason::KernelBuffer);
    let step = prop_oneof![
        8 => (0..3_usize, any::<u8>(), 0..100_u64).prop_map(|(protocol, source, n)| Step::Received { protocol, source, n }),
        8 => (0..3_usize, any::<u8>(), any::<u8>(), prop::option::of(reason))
            .prop_map(|(protocol, source, share, reason)| Step::Settled { protocol, source, share, reason }),
        1 => (0..3_usize, 0..100_u64).prop_map(|(protocol, n)| Step::KernelDropped { protocol, n }),
        1 => (0..1_000_i64).prop_map(|from| Step::CrashWindow { from }),
        2 => any::<bool>().prop_map(|sources| Step::Commit { sources }),
        2 => (-70..200_i64).prop_map(Step::Seconds),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_ledger_adds_up_and_is_the_model(steps in steps()) {
        let (ledger, model) = run(&steps);
        let snapshot = ledger.snapshot();
        prop_assert!(adds_up(&snapshot.totals));
        for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
            let account = &snapshot.by_protocol[protocol.name()];
            prop_assert!(adds_up(account));
            prop_assert_eq!(account, &model.totals.get(&number).cloned().unwrap_or_default());
            let mut of_sources = by_source(&snapshot).remove(protocol.name()).unwrap_or_default();
            let kernel = account.dropped.get("kernel_buffer").copied().unwrap_or(0);
            count(&mut of_sources, DropReason::KernelBuffer, kernel);
            of_sources.received += kernel;
            prop_assert_eq!(account, &of_sources, "the sources and the kernel's drops are the whole");
        }
        prop_assert!(snapshot.top_sources.iter().all(|source| adds_up(&source.account)));
        prop_assert!(snapshot.top_sources.iter().filter(|source| source.source != OTHERS).count() <= 20);
    }

    #[test]
    fn the_minutes_are_the_totals(steps in steps()) {
        let (mut ledger, _) = run(&steps);
        let totals = ledger.snapshot().by_protocol;
        ledger.roll(Timestamp::from_secs(1_900_000_000), &[]);
        let minutes = ledger.minutes(0..=u64::MAX);
        let is_interrupted = steps.iter().any(|step| matches!(step, Step::Restart));
        for protocol in Protocol::ALL {
            let rows: Vec<_> = minutes.iter().filter(|row| row.protocol == protocol.name()).collect();
            let mut sum = Account { in_flight: totals[protocol.name()].in_flight, ..Account::default() };
            for row in &rows {
                sum.received += row.received;
                sum.accepted += row.accepted;
                row.dropped.iter().for_each(|(reason, n)| *sum.dropped.entry(reason.clone()).or_default() += n);
                prop_assert!(row.sources.len() <= 8);
                prop_assert!(row.sources.iter().map(|source| source.received).sum::<u64>() <= row.received || is_interrupted);
            }
            let total = totals[protocol.name()].clone();
            if is_interrupted {
                // What was in flight at a restart was received and is nowhere.
                prop_assert!(sum.received >= total.received);
                sum.received = total.received;
            }
            prop_assert_eq!(sum, total);
        }
    }

    #[test]
    fn a_ledger_survives_its_encoding(steps in steps()) {
        let (ledger, _) = run(&steps);
        let restored = Ledger::restore(&ledger.encode()).expect("what was encoded is read back");
        prop_assert_eq!(restored.in_flight(), 0);
        prop_assert_eq!(restored.snapshot().totals.received, ledger.snapshot().totals.received - ledger.in_flight());
        prop_assert_eq!(&Ledger::restore(&restored.encode()), &Ok(restored));
    }

    #[test]
    fn bytes_that_are_no_ledger_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Ledger::restore(&bytes);
    }
}
