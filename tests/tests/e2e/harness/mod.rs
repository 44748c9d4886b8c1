//! What the end-to-end tests stand on: real programs, real tools, deadlines instead of sleeps.

pub(crate) mod api;
pub(crate) mod browser;
pub(crate) mod relay;
pub(crate) mod rig;
pub(crate) mod snmp;
pub(crate) mod tools;

use std::time::{Duration, Instant};

/// Within this a thing that shall happen must have happened, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Time between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// Looks until `probe` finds something, and panics with what it saw last when `deadline` has passed.
pub(crate) fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > deadline => panic!("waited {deadline:?} for {what}; last seen: {seen}"),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
