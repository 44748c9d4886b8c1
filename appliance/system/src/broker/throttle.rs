//! How often each user may ask: a burst, then a steady rate. What is beyond is refused and counted. Root may always ask.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const BURST: u32 = 30;
const REFILL: Duration = Duration::from_millis(500);
/// Users beyond this number share nothing: the kernel lets only members of the socket's group in, and they are few.
const MAX_USERS: usize = 64;

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may go on.
    Admitted,
    /// Too many: the first one since the user was quiet.
    FirstRefused,
    /// Too many.
    Refused,
}

/// The budget of every user.
#[derive(Debug, Default)]
pub(crate) struct Throttle(BTreeMap<u32, Budget>);

#[derive(Debug)]
struct Budget {
    left: u32,
    refilled: Instant,
    refusing: bool,
}

impl Throttle {
    /// Takes one from the budget of `uid`.
    pub(crate) fn admit(&mut self, uid: u32, now: Instant) -> Admission {
        if uid == 0 {
            return Admission::Admitted;
        }
        self.0.retain(|_, budget| now.saturating_duration_since(budget.refilled) < REFILL.saturating_mul(BURST.saturating_mul(2)));
        if self.0.len() >= MAX_USERS && !self.0.contains_key(&uid) {
            return Admission::Refused;
        }
        let budget = self.0.entry(uid).or_insert(Budget { left: BURST, refilled: now, refusing: false });
        let earned = now.saturating_duration_since(budget.refilled).as_millis() / REFILL.as_millis();
        let earned = u32::try_from(earned).unwrap_or(BURST);
        budget.left = budget.left.saturating_add(earned).min(BURST);
        budget.refilled = budget.refilled.checked_add(REFILL.saturating_mul(earned)).unwrap_or(now);
        match budget.left.checked_sub(1) {
            Some(left) => {
                budget.left = left;
                budget.refusing = false;
                Admission::Admitted
            }
            None if std::mem::replace(&mut budget.refusing, true) => Admission::Refused,
            None => Admission::FirstRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_one_by_one() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let admitted = (0..100).filter(|_| throttle.admit(1, start) == Admission::Admitted).count();
        assert_eq!(admitted, usize::try_from(BURST).unwrap());
        assert_eq!(throttle.admit(2, start), Admission::Admitted, "another user is not concerned");
        assert!((0..100).all(|_| throttle.admit(0, start) == Admission::Admitted));
        let later = start + REFILL;
        assert_eq!(throttle.admit(1, later), Admission::Admitted);
        assert_eq!(throttle.admit(1, later), Admission::FirstRefused);
        assert_eq!(throttle.admit(1, later), Admission::Refused);
        let quiet = (0..100).filter(|_| throttle.admit(1, later + REFILL * 1000) == Admission::Admitted).count();
        assert_eq!(quiet, usize::try_from(BURST).unwrap());
    }
}
