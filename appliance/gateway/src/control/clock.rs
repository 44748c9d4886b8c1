//! Reads the two clocks by which a revision's trial goes.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use postern_protocol::timestamp::Timestamp;

use crate::revision::trial::Moment;

/// Returns the present moment.
pub(crate) fn now() -> Moment {
    // Linux has had this clock since 2.6.39, and reading it cannot fail.
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Moment { wall: Timestamp::from(SystemTime::now()), since_boot }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go() {
        let (first, second) = (now(), now());
        assert!(first.since_boot > Duration::ZERO && second.since_boot >= first.since_boot);
        assert!(first.wall.as_nanos() > 0);
    }
}
