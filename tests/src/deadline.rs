//! Waiting in tests: look again and again until a wall-clock deadline, never sleep in the hope that something has happened.

// A test that waits in vain has failed.
#![allow(clippy::panic)]

use std::time::{Duration, Instant};

/// Within this a thing that shall happen must have happened, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// Time between two looks.
pub const LOOK: Duration = Duration::from_millis(20);

/// Looks until `probe` finds something.
///
/// # Panics
/// With what it saw last, when `deadline` has passed.
pub fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > deadline => panic!("waited {deadline:?} for {what}; last seen: {seen}"),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
