//! Says on standard output what a long test does, and how long each step took.

use std::time::Instant;

/// Runs one step of a test.
pub(crate) fn step<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    println!("-- {what}");
    let outcome = run();
    println!("   {:.1} s", start.elapsed().as_secs_f32());
    outcome
}
