//! How fast the spool grows: bytes in the last minute, so that `status` can say how long the free quota lasts.
//!
//! Pure: the time since opening is passed in. Owned by the [`super::index`].

use std::collections::VecDeque;
use std::time::Duration;

const SPAN: Duration = Duration::from_secs(60);

/// Bytes by second, for the last minute.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    seconds: VecDeque<(u64, u64)>,
}

impl Rate {
    /// Says that `bytes` were written `now`.
    pub(crate) fn note(&mut self, now: Duration, bytes: u64) {
        match self.seconds.back_mut() {
            Some((second, sum)) if *second == now.as_secs() => *sum = sum.saturating_add(bytes),
            Some(_) | None => self.seconds.push_back((now.as_secs(), bytes)),
        }
        self.forget(now);
    }

    /// Returns how many seconds `free` bytes last at the rate of the last minute; `None` when nothing came in.
    pub(crate) fn seconds_left(&mut self, now: Duration, free: u64) -> Option<u64> {
        self.forget(now);
        let bytes: u64 = self.seconds.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let span = now.min(SPAN).as_secs().max(1);
        free.saturating_mul(span).checked_div(bytes)
    }

    fn forget(&mut self, now: Duration) {
        let oldest = now.saturating_sub(SPAN).as_secs();
        while self.seconds.front().is_some_and(|(second, _)| now > SPAN && *second <= oldest) {
            self.seconds.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let at = Duration::from_secs;
        let mut rate = Rate::default();
        assert_eq!(rate.seconds_left(at(5), 1000), None);
        rate.note(at(10), 500);
        rate.note(at(10), 500);
        assert_eq!(rate.seconds_left(at(10), 1000), Some(10));
        assert_eq!(rate.seconds_left(at(60), 1000), Some(60));
        assert_eq!(rate.seconds_left(at(71), 1000), None);
    }
}
