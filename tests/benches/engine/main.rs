//! What the engine alone does on one core: events a second with every pack, what ten thousand rules cost beside a hundred, and how
//! long they take to compile. Wall time, so run it on a quiet machine; `instructions` counts what does not depend on that.

// A bench is a test with figures: whatever goes wrong ends it.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(dead_code, reason = "the instructions' bench uses the rest of the mixture")]

mod mixture;

use std::hint::black_box;
use std::time::{Duration, Instant};

use postern_engine::alert::AlertEngine;
use postern_engine::event::Event;
use postern_engine::rule::RuleIndex;
use postern_protocol::revision;

/// Events of one round, after which the changes are drained as the pipeline does.
const ROUND: usize = 20_000;
const ROUNDS: usize = 100;

/// Stretches of which the best is chosen, since whatever else runs only ever makes one slower.
const BEST_OF: usize = 5;

/// Stretches by which two engines are compared, one after the other so that both suffer from whatever else runs.
const SLICES: usize = 15;

/// Rules that are compared.
const COUNTS: [usize; 2] = [100, 10_000];

fn main() {
    let events = mixture::events(ROUND);
    let full = mixture::full_pack();
    let began = Instant::now();
    let rules = RuleIndex::compile(&full).unwrap();
    println!("{} rules of all packs compile in {:?}", rules.len(), began.elapsed());
    let rate = throughput(&mut AlertEngine::new(rules), &events);
    println!("all packs: {:.2} million events/s on one core (wanted: 1.00)", rate / 1e6);

    let mut engines = COUNTS.map(|count| {
        let text = mixture::mixed_rules(count);
        let began = Instant::now();
        let document = revision::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let checked = began.elapsed();
        let began = Instant::now();
        let rules = RuleIndex::compile(&document).unwrap();
        let compiled = began.elapsed();
        let began = Instant::now();
        let warnings = revision::warnings(&document).len();
        println!(
            "{count} mixed rules: checked in {checked:?}, compiled in {compiled:?} (wanted: 1 s), {warnings} warnings in {:?}",
            began.elapsed()
        );
        AlertEngine::new(rules)
    });
    let mut slices = COUNTS.map(|_| Vec::new());
    for _ in 0..SLICES {
        for (engine, slices) in engines.iter_mut().zip(&mut slices) {
            slices.push(stretch(engine, &events, 2));
        }
    }
    let [few, many] = slices.map(|mut slices| {
        slices.sort_unstable();
        slices[SLICES / 2].as_secs_f64() / (2 * events.len()) as f64
    });
    for (count, each) in COUNTS.into_iter().zip([few, many]) {
        println!("{count} mixed rules: {:.0} ns for an event, {:.2} million events/s (median)", each * 1e9, 1e-6 / each);
    }
    println!("10,000 rules cost {:.2} times what 100 cost (wanted: below 2)", many / few);
}

/// Returns events a second, of the best of some stretches.
fn throughput(engine: &mut AlertEngine, events: &[Event]) -> f64 {
    let best = (0..BEST_OF).map(|_| stretch(engine, events, ROUNDS / BEST_OF)).min().unwrap();
    (ROUNDS / BEST_OF * events.len()) as f64 / best.as_secs_f64()
}

/// Returns how long some rounds take.
fn stretch(engine: &mut AlertEngine, events: &[Event], rounds: usize) -> Duration {
    let began = Instant::now();
    for _ in 0..rounds {
        for event in events {
            black_box(engine.handle(black_box(event), mixture::now()));
        }
        black_box(engine.drain_changes());
    }
    began.elapsed()
}
