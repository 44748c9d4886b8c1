//! Flaps: an alert that comes and goes too often stays open and says so, and its clears do not count until it is quiet.
//!
//! A change is a new occurrence, or the clear that ends one. What a person closes, or what ends for want of reports, is no change.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::alert::{AlertKey, Evidence};
use postern_protocol::revision::noise::Flap;
use postern_protocol::timestamp::Timestamp;

use super::recent::Digest;
use super::tally::{Span, Tally};

/// Most alerts whose changes are counted, and changes of all of them together.
const MAX_KEYS: usize = 65_536;
const MAX_CHANGES: usize = 524_288;

/// Most alerts that flap at once; further ones come and go.
const MAX_FLAPPING: usize = 16_384;

/// Changes, and what flaps.
#[derive(Debug)]
pub(super) struct Flaps {
    changes: Tally,
    flapping: BTreeMap<AlertKey, Flapping>,
}

/// An alert that flaps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flapping {
    /// Which occurrence of it.
    pub(super) occurrence: u64,
    pub(super) last_change: Timestamp,
    /// It flaps no more after so many seconds without a change.
    pub(super) quiet_s: u32,
    /// The clear that would have ended it, when that was reported last.
    pub(super) over: Option<Box<Over>>,
}

/// A clear that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Over {
    /// The rule that decided.
    pub(super) rule: String,
    pub(super) evidence: Evidence,
    pub(super) at: Timestamp,
}

/// A change of an alert.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) key: &'a AlertKey,
    /// The occurrence that opened or is to end.
    pub(super) occurrence: u64,
    pub(super) at: Timestamp,
}

impl Default for Flaps {
    fn default() -> Self {
        Self { changes: Tally::of_at_most(MAX_KEYS, MAX_CHANGES), flapping: BTreeMap::new() }
    }
}

impl Flaps {
    /// Counts that an alert opened; says whether it flaps from now on. One that never ended is not counted: it may last.
    pub(super) fn opened(&mut self, change: Change<'_>, flap: &Flap) -> bool {
        let digest = digest(change.key);
        self.changes.knows(digest) && self.changed(digest, change, flap)
    }

    /// Counts a clear of an alert that opened at `since`; says whether it flaps from now on, so that the clear is not to be carried out:
    /// hand it to [`Flaps::hold`].
    pub(super) fn cleared(&mut self, change: Change<'_>, since: Timestamp, flap: &Flap) -> bool {
        let digest = digest(change.key);
        if !self.changes.knows(digest) {
            self.changes.count(digest, since, span(flap));
        }
        self.changed(digest, change, flap)
    }

    fn changed(&mut self, digest: Digest, change: Change<'_>, flap: &Flap) -> bool {
        let count = self.changes.count(digest, change.at, span(flap));
        if count.times < usize::try_from(flap.changes).unwrap_or(usize::MAX) || self.flapping.len() >= MAX_FLAPPING {
            return false;
        }
        self.changes.forget(digest);
        let Change { key, occurrence, at } = change;
        self.flapping.insert(key.clone(), Flapping { occurrence, last_change: at, quiet_s: flap.quiet_s, over: None });
        true
    }

    /// Takes up an alert that flaps without this table's knowledge: its record says so.
    pub(super) fn adopt(&mut self, change: Change<'_>, flap: &Flap) {
        let Change { key, occurrence, at } = change;
        let new = Flapping { occurrence, last_change: at, quiet_s: flap.quiet_s, over: None };
        self.flapping.entry(key.clone()).or_insert(new).occurrence = occurrence;
    }

    /// Says whether the alert of `key` flaps.
    pub(super) fn is_flapping(&self, key: &AlertKey) -> bool {
        !self.flapping.is_empty() && self.flapping.contains_key(key)
    }

    /// Notes that an alert that flaps was reported again.
    pub(super) fn reported(&mut self, key: &AlertKey, at: Timestamp) {
        if let Some(flapping) = self.flapping.get_mut(key).filter(|flapping| flapping.over.is_some()) {
            (flapping.over, flapping.last_change) = (None, at);
        }
    }

    /// Notes a clear of an alert that flaps; the newest is the one that counts in the end.
    pub(super) fn hold(&mut self, key: &AlertKey, over: Over) {
        if let Some(flapping) = self.flapping.get_mut(key) {
            if flapping.over.is_none() {
                flapping.last_change = over.at;
            }
            flapping.over = Some(Box::new(over));
        }
    }

    /// Forgets that the alert of `key` flaps: it ended otherwise.
    pub(super) fn forget(&mut self, key: &AlertKey) {
        self.flapping.remove(key);
    }

    /// Takes out what has been quiet for long enough, in the order of keys.
    pub(super) fn quiet(&mut self, now: Timestamp) -> Vec<(AlertKey, Flapping)> {
        let is_quiet = |flapping: &Flapping| {
            let elapsed = now.saturating_since(flapping.last_change);
            // A change that lies ahead was before the clock was set back.
            elapsed >= Duration::from_secs(flapping.quiet_s.into())
        };
        for flapping in self.flapping.values_mut().filter(|flapping| flapping.last_change > now) {
            flapping.last_change = now;
        }
        self.flapping.extract_if(.., |_, flapping| is_quiet(flapping)).collect()
    }

    /// Returns the changes that are counted.
    pub(super) const fn changes(&self) -> &Tally {
        &self.changes
    }

    /// Returns the changes that are counted, to put back what a checkpoint holds.
    pub(super) const fn changes_mut(&mut self) -> &mut Tally {
        &mut self.changes
    }

    /// Returns what flaps, in the order of keys.
    pub(super) fn flapping(&self) -> impl Iterator<Item = (&AlertKey, &Flapping)> {
        self.flapping.iter()
    }

    /// Puts back what a checkpoint holds.
    pub(super) fn put_back(&mut self, key: AlertKey, flapping: Flapping) {
        if self.flapping.len() < MAX_FLAPPING {
            self.flapping.insert(key, flapping);
        }
    }
}

const fn span(flap: &Flap) -> Span {
    Span { count: flap.changes, within_s: flap.within_s }
}

fn digest(key: &AlertKey) -> Digest {
    Digest::of(&[&key.resource, &key.kind, &key.qualifier])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAP: Flap = Flap { changes: 4, within_s: 60, quiet_s: 100 };

    fn key(resource: &str) -> AlertKey {
        AlertKey { resource: resource.to_owned(), kind: "k".to_owned(), qualifier: String::new() }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn change(key: &AlertKey, at: i64) -> Change<'_> {
        Change { key, occurrence: 1, at: second(at) }
    }

    fn over(at: i64) -> Over {
        Over { rule: "up".to_owned(), evidence: Evidence::default(), at: second(at) }
    }

    /// Down at 0, up at 1, down at 2, and up at `last`: whether it flaps then.
    fn flaps_at(last: i64) -> (Flaps, bool) {
        let (mut flaps, key) = (Flaps::default(), key("a"));
        assert!(!flaps.opened(change(&key, 0), &FLAP));
        assert!(!flaps.cleared(change(&key, 1), second(0), &FLAP));
        assert!(!flaps.opened(change(&key, 2), &FLAP));
        let flapping = flaps.cleared(change(&key, last), second(2), &FLAP);
        (flaps, flapping)
    }

    #[test]
    fn so_many_changes_in_time_are_a_flap() {
        assert!(flaps_at(3).1);
        assert!(flaps_at(60).1, "the edge counts");
        assert!(!flaps_at(61).1);
    }

    #[test]
    fn it_ends_after_quiet_and_the_last_report_decides() {
        let (mut flaps, _) = flaps_at(3);
        flaps.hold(&key("a"), over(3));
        flaps.reported(&key("a"), second(10));
        flaps.reported(&key("a"), second(50));
        flaps.hold(&key("a"), over(20));
        flaps.hold(&key("a"), over(90));
        assert_eq!(flaps.quiet(second(119)), []);
        let ended = flaps.quiet(second(120));
        let [(_, flapping)] = ended.as_slice() else { panic!("{ended:?}") };
        assert_eq!((flapping.last_change, flapping.over.as_ref().map(|over| over.at)), (second(20), Some(second(90))));
        assert!(!flaps.is_flapping(&key("a")));
        assert!(!flaps.opened(change(&key("a"), 121), &FLAP), "the changes before are forgotten");
    }

    #[test]
    fn a_report_after_the_clear_leaves_it_open_in_the_end() {
        let (mut flaps, _) = flaps_at(3);
        flaps.hold(&key("a"), over(3));
        flaps.reported(&key("a"), second(10));
        assert_eq!(flaps.quiet(second(110)).first().map(|(_, flapping)| flapping.over.is_some()), Some(false));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_flap_for_ever() {
        let (mut flaps, _) = flaps_at(3);
        assert_eq!(flaps.quiet(second(-10_000)), []);
        assert_eq!(flaps.quiet(second(-9_900)).len(), 1);
    }

    #[test]
    fn a_million_alerts_that_come_and_go_stay_within_the_bounds() {
        let mut flaps = Flaps::default();
        for number in 0..1_000_000 {
            let key = key(&number.to_string());
            for at in [0, 2] {
                flaps.opened(change(&key, at), &FLAP);
                flaps.cleared(change(&key, at + 1), second(at), &FLAP);
            }
        }
        assert_eq!(flaps.flapping.len(), MAX_FLAPPING);
        assert!(flaps.changes.oldest_first().len() <= MAX_KEYS);
    }
}
