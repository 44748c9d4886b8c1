//! The deterministic simulation: one gateway and its control plane on a virtual clock, a simulated network and simulated disks.
//!
//! The spool, the alert table, the session's and the lanes' state machines, the revision's trial, the ingest and the cursors are
//! the programs' own; what is simulated is time, chance, wires and platters (`network`, `disk`), and the few lines of the shells
//! between awaits (`gateway`, `control_plane`). `faults` says what goes wrong, `ledger` and `world` what must hold nevertheless.
//!
//! Every run follows from its seed. `SIM_SEED=n` replays one and prints its steps, `SIM_SEEDS=n` says how many fresh ones to try,
//! `SIM_FIRST=n` begins with that one instead of a fresh one, and `SIM_WITHOUT=Rot,Slow` leaves faults out.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod clocks;
mod content;
mod control_plane;
mod disk;
mod faults;
mod gateway;
mod ledger;
mod memory;
mod network;
mod random;
mod recovery;
mod revision;
mod seeds;
mod spool;
mod world;

use control_plane::{Order, new_tenant};
use disk::Honesty;
use seeds::{Betrayal, Outcome, fresh_seed, run_seed, run_seeds};

/// Fresh seeds of an ordinary test run.
const SEEDS: u64 = 1_000;

/// Within so many seeds a betrayal must be found.
const SEEDS_TO_FIND: u64 = 300;

const NONE: Betrayal = Betrayal { honesty: Honesty::Honest, order: Order::CommitFirst };

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    Some(parsed.unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Nothing is lost and nothing gets stuck, whatever goes wrong and in whatever order.
#[test]
fn every_invariant_holds_for_fresh_seeds() {
    let tenant = new_tenant();
    if let Some(seed) = number("SIM_SEED") {
        let outcome = run_seed(seed, NONE, &tenant);
        outcome.print_all();
        assert!(outcome.failure.is_none(), "seed {seed:#x} fails");
        return;
    }
    let (first, count) = (number("SIM_FIRST").unwrap_or_else(fresh_seed), number("SIM_SEEDS").unwrap_or(SEEDS));
    let (failures, summary) = run_seeds((first, count), NONE, &tenant);
    println!("{summary}");
    failures.iter().take(number("SIM_SHOW").map_or(3, |count| usize::try_from(count).unwrap())).for_each(Outcome::print_last);
    assert!(failures.is_empty(), "{} of {count} seeds fail", failures.len());
}

/// A run follows from its seed alone: otherwise a seed would be worth nothing.
#[test]
fn a_seed_gives_the_same_steps_again() {
    let tenant = new_tenant();
    let first = fresh_seed();
    for seed in first..first + 5 {
        let (once, again) = (run_seed(seed, NONE, &tenant), run_seed(seed, NONE, &tenant));
        assert_eq!(once.digest, again.digest, "seed {seed:#x} goes two ways");
    }
}

fn is_found(betrayal: Betrayal) {
    let (tenant, first) = (new_tenant(), fresh_seed());
    let found = (first..first + SEEDS_TO_FIND).position(|seed| run_seed(seed, betrayal, &tenant).failure.is_some());
    println!("{betrayal:?} is found by seed {found:?} of those from {first:#x}");
    assert!(found.is_some(), "{betrayal:?} is not found within {SEEDS_TO_FIND} seeds from {first:#x}");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found() {
    is_found(Betrayal { honesty: Honesty::LiesAboutSync, ..NONE });
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    is_found(Betrayal { order: Order::AckFirst, ..NONE });
}

#[test]
fn a_record_that_is_acknowledged_and_not_stored_is_found() {
    is_found(Betrayal { order: Order::LosesTheLast, ..NONE });
}
