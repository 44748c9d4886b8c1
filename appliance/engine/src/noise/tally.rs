//! How often something happened lately, for very many things in bounded memory: what thresholds and flaps count with.

use std::collections::VecDeque;
use std::time::Duration;

use postern_protocol::timestamp::Timestamp;

use super::recent::{Digest, Recent};

/// The last times at which each key happened.
#[derive(Debug)]
pub(super) struct Tally {
    times: Recent<VecDeque<Timestamp>>,
    /// Times of all keys together.
    held: usize,
    most: usize,
}

/// How often, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Times within the span, at most as many as were asked for.
    pub(super) times: usize,
    /// The first of them.
    pub(super) since: Timestamp,
}

/// What counts together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// So many times are looked for.
    pub(super) count: u32,
    /// Within so many seconds; what happened exactly so long ago still counts.
    pub(super) within_s: u32,
}

impl Tally {
    /// Makes a tally of at most `keys` keys with `times` times in all.
    pub(super) fn of_at_most(keys: usize, times: usize) -> Self {
        Self { times: Recent::of_at_most(keys), held: 0, most: times }
    }

    /// Counts `key` at `at`, and says how often it happened within the span that ends then.
    pub(super) fn count(&mut self, key: Digest, at: Timestamp, span: Span) -> Count {
        if let Some(times) = self.times.touch(key) {
            let before = times.len();
            prune(times, at, span);
            times.push_back(at);
            let count = Count { times: times.len(), since: times.front().copied().unwrap_or(at) };
            self.held = self.held.saturating_add(count.times).saturating_sub(before);
            self.make_room();
            return count;
        }
        self.held = self.held.saturating_add(1);
        let gone = self.times.insert(key, VecDeque::from([at]));
        self.held = self.held.saturating_sub(gone.map_or(0, |times| times.len()));
        self.make_room();
        Count { times: 1, since: at }
    }

    /// Says whether `key` is counted.
    pub(super) fn knows(&mut self, key: Digest) -> bool {
        self.times.touch(key).is_some()
    }

    /// Forgets `key`.
    pub(super) fn forget(&mut self, key: Digest) {
        self.held = self.held.saturating_sub(self.times.remove(key).map_or(0, |times| times.len()));
    }

    /// Returns how many keys were forgotten for want of room.
    pub(super) const fn forgotten(&self) -> u64 {
        self.times.forgotten()
    }

    /// Returns keys and their times, the key that was not touched for longest first.
    pub(super) fn oldest_first(&self) -> Vec<(Digest, &VecDeque<Timestamp>)> {
        self.times.oldest_first()
    }

    /// Puts a key back that [`Tally::oldest_first`] gave.
    pub(super) fn put_back(&mut self, key: Digest, times: VecDeque<Timestamp>) {
        self.held = self.held.saturating_add(times.len());
        let gone = self.times.insert(key, times);
        self.held = self.held.saturating_sub(gone.map_or(0, |times| times.len()));
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.held > self.most {
            let Some(gone) = self.times.forget_oldest() else { return };
            self.held = self.held.saturating_sub(gone.len());
        }
    }
}

/// Drops what is too long ago, or too far ahead since the clock was set back, and leaves room for one more.
fn prune(times: &mut VecDeque<Timestamp>, at: Timestamp, span: Span) {
    let within = Duration::from_secs(span.within_s.into());
    if times.back().is_some_and(|last| last.saturating_since(at) > within) {
        times.clear();
    }
    while times.front().is_some_and(|first| at.saturating_since(*first) > within) {
        times.pop_front();
    }
    while times.len() >= usize::try_from(span.count).unwrap_or(usize::MAX).max(1) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { count: 3, within_s: 10 };

    fn second(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn counts(times: &[i64]) -> Vec<usize> {
        let mut tally = Tally::of_at_most(10, 100);
        let key = Digest::of(&["k"]);
        times.iter().map(|time| tally.count(key, second(*time), SPAN).times).collect()
    }

    #[test]
    fn the_span_slides_and_its_edge_counts() {
        assert_eq!(counts(&[0, 5, 10]), [1, 2, 3]);
        assert_eq!(counts(&[0, 5, 11]), [1, 2, 2]);
        assert_eq!(counts(&[0, 5, 10, 15, 26]), [1, 2, 3, 3, 1]);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_count_what_lies_ahead() {
        assert_eq!(counts(&[1_000, 1_001, 0, 1]), [1, 2, 1, 2]);
        assert_eq!(counts(&[8, 9, 7]), [1, 2, 3]);
    }

    #[test]
    fn a_million_keys_stay_within_both_bounds() {
        let mut tally = Tally::of_at_most(500, 700);
        for number in 0..1_000_000_u32 {
            let key = Digest::of(&[&(number / 2).to_string()]);
            tally.count(key, second(0), SPAN);
            assert!(tally.held <= 700);
        }
        let held: usize = tally.oldest_first().iter().map(|(_, times)| times.len()).sum();
        assert_eq!(held, tally.held);
        assert_eq!(tally.oldest_first().len(), 350, "two times each");
        assert_eq!(tally.forgotten(), 500_000 - 350);
    }

    #[test]
    fn what_was_put_back_counts_on() {
        let (mut tally, key) = (Tally::of_at_most(10, 100), Digest::of(&["k"]));
        tally.count(key, second(0), SPAN);
        tally.count(key, second(1), SPAN);
        let mut other = Tally::of_at_most(10, 100);
        for (key, times) in tally.oldest_first() {
            other.put_back(key, times.clone());
        }
        assert_eq!(other.count(key, second(2), SPAN), Count { times: 3, since: second(0) });
        other.forget(key);
        assert!(!other.knows(key));
        assert_eq!(other.held, 0);
    }
}
