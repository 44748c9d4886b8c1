//! Thresholds: a rule's reports are held back until there were enough of them in time.
//!
//! Counted by the time at which the gateway received them. An alert that is open already is not held back.

use postern_protocol::revision::noise::{Per, Threshold};
use postern_protocol::timestamp::Timestamp;

use super::Reported;
use super::recent::Digest;
use super::tally::{Span, Tally};

/// Most keys and sources that are counted at once, and reports of all of them together.
const MAX_KEYS: usize = 32_768;
const MAX_REPORTS: usize = 262_144;

/// What was held back, by rule and key or source.
#[derive(Debug)]
pub(super) struct Thresholds(Tally);

/// Whether a report may open its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Not yet.
    Held,
    /// Yes, with so many reports since then.
    Reached {
        /// This one included.
        reports: u64,
        /// When the first of them came.
        since: Timestamp,
    },
}

impl Default for Thresholds {
    fn default() -> Self {
        Self(Tally::of_at_most(MAX_KEYS, MAX_REPORTS))
    }
}

impl Thresholds {
    /// Counts a report of an alert that is not open.
    pub(super) fn report(&mut self, report: Reported<'_>, limit: &Threshold, at: Timestamp) -> Admission {
        let Reported { rule, key, source } = report;
        let counted = match limit.per {
            Per::Key => Digest::of(&[rule, &key.resource, &key.kind, &key.qualifier]),
            Per::Source => Digest::of(&[rule, source]),
        };
        let count = self.0.count(counted, at, Span { count: limit.count, within_s: limit.within_s });
        if count.times < usize::try_from(limit.count).unwrap_or(usize::MAX) {
            return Admission::Held;
        }
        match limit.per {
            // They are counted in the alert now; its next occurrence needs as many again.
            Per::Key => {
                self.0.forget(counted);
                Admission::Reached { reports: count.times as u64, since: count.since }
            }
            // The others were about other alerts of the source.
            Per::Source => Admission::Reached { reports: 1, since: at },
        }
    }

    /// Returns what is counted.
    pub(super) const fn tally(&self) -> &Tally {
        &self.0
    }

    /// Returns what is counted, to put back what a checkpoint holds.
    pub(super) const fn tally_mut(&mut self) -> &mut Tally {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::alert::AlertKey;

    use super::*;

    fn key(resource: &str) -> AlertKey {
        AlertKey { resource: resource.to_owned(), kind: "k".to_owned(), qualifier: String::new() }
    }

    fn limit(per: Per) -> Threshold {
        Threshold { count: 3, within_s: 60, per }
    }

    /// Whether each report, of a resource at a time, was admitted.
    fn admitted(per: Per, reports: &[(&str, i64)]) -> Vec<bool> {
        let mut thresholds = Thresholds::default();
        let report = |(resource, at): &(&str, i64)| {
            let key = key(resource);
            let report = Reported { rule: "r", key: &key, source: "s" };
            thresholds.report(report, &limit(per), Timestamp::from_secs(*at)) != Admission::Held
        };
        reports.iter().map(report).collect()
    }

    #[test]
    fn a_key_needs_its_own_reports_in_time() {
        assert_eq!(admitted(Per::Key, &[("a", 0), ("b", 1), ("a", 2), ("a", 60)]), [false, false, false, true]);
        assert_eq!(admitted(Per::Key, &[("a", 0), ("a", 2), ("a", 61), ("a", 62)]), [false, false, false, true]);
    }

    #[test]
    fn the_next_occurrence_needs_as_many_again() {
        assert_eq!(
            admitted(Per::Key, &[("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5)]),
            [false, false, true, false, false, true]
        );
    }

    #[test]
    fn a_source_s_reports_count_together_and_the_window_slides() {
        assert_eq!(
            admitted(Per::Source, &[("a", 0), ("b", 30), ("c", 60), ("d", 61), ("e", 120), ("f", 200)]),
            [false, false, true, true, true, false]
        );
    }

    #[test]
    fn all_that_were_held_back_are_counted() {
        let mut thresholds = Thresholds::default();
        let key = key("a");
        let mut report = |at| thresholds.report(Reported { rule: "r", key: &key, source: "s" }, &limit(Per::Key), Timestamp::from_secs(at));
        assert_eq!([report(5), report(6)], [Admission::Held; 2]);
        assert_eq!(report(9), Admission::Reached { reports: 3, since: Timestamp::from_secs(5) });
    }
}
