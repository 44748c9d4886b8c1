//! How long to wait before the next attempt: doubled from attempt to attempt, and drawn at random below that, so that many
//! gateways that lost one control plane do not come back at once.
//!
//! The first wait is drawn from the whole range, which spreads a herd that lost its sessions in one moment; later ones from its
//! upper two thirds, which keeps it spread (`herd` shows both). Pure: randomness and times are passed in. Owned by [`super::run`].

use std::time::Duration;

/// A session that lived this long shows that all is well: the waits begin anew.
const LIVED: Duration = Duration::from_secs(10);

/// One that lived shorter shows at least that the control plane is there: the waits go back to a few seconds.
const FAILURES_AFTER_A_SHORT_LIFE: u32 = 1;

/// The wait when there is little hope, at most; half of it at least.
const SELDOM: Duration = Duration::from_secs(30);

/// The wait after a session that this side ended itself, at most.
const OWN: Duration = Duration::from_millis(200);

/// How long the tunnel waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// Before the second attempt, at most.
    pub first: Duration,
    /// Between attempts, at most.
    pub longest: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        // Long enough for 10,000 gateways to be let in one after the other, short enough for a SOC that waits for its first alert.
        Self { first: Duration::from_secs(4), longest: Duration::from_secs(15) }
    }
}

/// Whether it makes sense to try again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hope {
    /// The control plane said that trying again cannot help, so it is tried seldom.
    Little,
    /// This side ended the session, to begin another.
    Own,
    /// As after any loss.
    Some,
}

/// The state of the waits.
#[derive(Debug)]
pub(crate) struct Waits {
    bounds: BackOff,
    failures: u32,
}

impl Waits {
    /// Begins with the shortest wait.
    pub(crate) fn new(bounds: BackOff) -> Self {
        Self { bounds, failures: 0 }
    }

    /// Returns the wait after a session that lived for `lived` (zero when none was established); `random` is uniform.
    pub(crate) fn next(&mut self, lived: Duration, hope: Hope, random: u32) -> Duration {
        if lived >= LIVED {
            self.failures = 0;
        } else if !lived.is_zero() {
            self.failures = self.failures.min(FAILURES_AFTER_A_SHORT_LIFE);
        }
        let drawn = |most: Duration| most.mul_f64(f64::from(random) / f64::from(u32::MAX));
        if hope == Hope::Own {
            return drawn(OWN.min(self.bounds.longest));
        }
        let doubled = self.bounds.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let most = doubled.min(self.bounds.longest);
        let least = if self.failures == 0 { Duration::ZERO } else { most / 3 };
        self.failures = self.failures.saturating_add(1).min(31);
        match hope {
            Hope::Little => (SELDOM / 2).saturating_add(drawn(SELDOM / 2)),
            Hope::Own | Hope::Some => least.saturating_add(drawn(most.saturating_sub(least))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut waits = Waits::new(BackOff::default());
        let most: Vec<_> = (0..9).map(|_| waits.next(NEVER, Hope::Some, u32::MAX).as_millis()).collect();
        assert_eq!(most, [4000, 8000, 15000, 15000, 15000, 15000, 15000, 15000, 15000]);
        for _ in 0..100 {
            assert!(waits.next(NEVER, Hope::Some, u32::MAX) <= Duration::from_secs(15));
        }
    }

    #[test]
    fn after_a_session_that_lived_the_waits_begin_anew() {
        let mut waits = Waits::new(BackOff::default());
        for _ in 0..20 {
            waits.next(NEVER, Hope::Some, 0);
        }
        assert_eq!(waits.next(LIVED, Hope::Some, u32::MAX), Duration::from_secs(4));
        assert_eq!(waits.next(LIVED, Hope::Some, 0), Duration::ZERO);
    }

    #[test]
    fn after_a_short_session_the_waits_are_short_again() {
        let mut waits = Waits::new(BackOff::default());
        for _ in 0..20 {
            waits.next(NEVER, Hope::Some, 0);
        }
        assert_eq!(waits.next(Duration::from_millis(1), Hope::Some, u32::MAX), Duration::from_secs(8));
    }

    #[test]
    fn the_first_wait_is_drawn_from_zero_on_and_later_ones_from_a_third() {
        let mut waits = Waits::new(BackOff::default());
        assert_eq!(waits.next(NEVER, Hope::Some, 0), Duration::ZERO);
        assert_eq!(waits.next(NEVER, Hope::Some, 0), Duration::from_secs(8) / 3);
        assert_eq!(waits.next(NEVER, Hope::Own, u32::MAX), Duration::from_millis(200));
        assert_eq!(waits.next(NEVER, Hope::Little, 0), Duration::from_secs(15));
    }
}
