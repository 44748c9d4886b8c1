//! How fast the spool grows: over ten minutes and over a day, so that `status` can say how long the free quota lasts.
//!
//! Pure: the time since opening is passed in. Owned by the [`super::index`].

use std::collections::VecDeque;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// What came in over the two spans.
#[derive(Debug)]
pub(crate) struct Rate {
    soon: Span,
    day: Span,
}

/// Bytes by slot of time, for the last slots.
#[derive(Debug)]
struct Span {
    slot: Duration,
    slots: u64,
    sums: VecDeque<(u64, u64)>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { soon: Span::new(MINUTE / 6, 60), day: Span::new(10 * MINUTE, 144) }
    }
}

impl Rate {
    /// Says that `bytes` were written `now`.
    pub(crate) fn note(&mut self, now: Duration, bytes: u64) {
        self.soon.note(now, bytes);
        self.day.note(now, bytes);
    }

    /// Returns how many seconds `free` bytes last at the faster of the rates of the last ten minutes and the last day; `None` when
    /// nothing came in.
    pub(crate) fn seconds_left(&self, now: Duration, free: u64) -> Option<u64> {
        [&self.soon, &self.day].into_iter().filter_map(|span| span.seconds_left(now, free)).min()
    }
}

impl Span {
    const fn new(slot: Duration, slots: u64) -> Self {
        Self { slot, slots, sums: VecDeque::new() }
    }

    fn slot_of(&self, now: Duration) -> u64 {
        now.as_secs().checked_div(self.slot.as_secs()).unwrap_or(0)
    }

    fn oldest(&self, now: Duration) -> u64 {
        self.slot_of(now).saturating_sub(self.slots.saturating_sub(1))
    }

    fn note(&mut self, now: Duration, bytes: u64) {
        let slot = self.slot_of(now);
        match self.sums.back_mut() {
            Some((last, sum)) if *last == slot => *sum = sum.saturating_add(bytes),
            Some(_) | None => self.sums.push_back((slot, bytes)),
        }
        let oldest = self.oldest(now);
        while self.sums.front().is_some_and(|(slot, _)| *slot < oldest) {
            self.sums.pop_front();
        }
    }

    fn seconds_left(&self, now: Duration, free: u64) -> Option<u64> {
        let oldest = self.oldest(now);
        let bytes = self.sums.iter().filter(|(slot, _)| *slot >= oldest).fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        // A spool that was opened a moment ago has no rate yet; its checkpoint is not one.
        let span = now.as_secs().saturating_sub(oldest.saturating_mul(self.slot.as_secs())).max(MINUTE.as_secs());
        let left = u128::from(free) * u128::from(span) / u128::from(bytes.max(1));
        (bytes > 0).then(|| u64::try_from(left).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_came_in_and_nothing_is_said() {
        assert_eq!(Rate::default().seconds_left(at(5), 1000), None);
    }

    #[test]
    fn a_burst_tells_at_once_and_is_forgotten_by_the_short_span_only() {
        let mut rate = Rate::default();
        rate.note(at(600), 60_000);
        assert_eq!(rate.seconds_left(at(600), 1000), Some(9), "60,000 bytes in less than ten minutes");
        assert_eq!(rate.seconds_left(at(4000), 1000), Some(66), "the day remembers");
        assert_eq!(rate.seconds_left(at(90_000), 1000), None);
    }

    #[test]
    fn the_worse_of_both_rates_counts() {
        let mut rate = Rate::default();
        for second in 0..86_400 {
            rate.note(at(second), 10);
        }
        let steady = rate.seconds_left(at(86_400), 1_000_000).unwrap();
        assert!((99_000..=101_000).contains(&steady), "{steady}");
        for second in 86_400..87_000 {
            rate.note(at(second), 1000);
        }
        let busy = rate.seconds_left(at(87_000), 1_000_000).unwrap();
        assert!((990..=1030).contains(&busy), "{busy}");
    }
}
