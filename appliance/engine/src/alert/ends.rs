//! The last ends of alerts. What is not open may have ended after others, who give it back when a disk was set back, last heard of it;
//! and a report may come that was made before its alert ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use postern_protocol::alert::AlertKey;

use super::moment::{Clock, Moment};

/// Most ends that are remembered, of the newest. Of an older one, others have heard, unless it waits with very many in the spool.
const MAX_ENDS: usize = 4_096;

/// The newest ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    ends: HashMap<Arc<AlertKey>, End>,
    /// The keys by revision, to forget the oldest.
    keys: BTreeMap<u64, Arc<AlertKey>>,
}

/// How an alert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) revision: u64,
    /// What the sender's clock said when it reported the end.
    pub(super) clock: Option<Clock>,
}

impl Ends {
    /// Notes that the alert of `key` ended with `revision`, unless a later end is known.
    pub(super) fn note(&mut self, key: &AlertKey, revision: u64, clock: Option<Clock>) {
        if self.is_after(key, revision) {
            return;
        }
        let key = Arc::new(key.clone());
        if let Some(before) = self.ends.insert(Arc::clone(&key), End { revision, clock }) {
            self.keys.remove(&before.revision);
        }
        self.keys.insert(revision, key);
        if self.ends.len() > MAX_ENDS
            && let Some((_, oldest)) = self.keys.pop_first()
        {
            self.ends.remove(&oldest);
        }
    }

    /// Says whether an end of `key` is remembered that came after `revision`.
    pub(super) fn is_after(&self, key: &AlertKey, revision: u64) -> bool {
        self.ends.get(key).is_some_and(|end| end.revision > revision)
    }

    /// Says whether something about `key` was reported before the end that is remembered, although it arrived after it.
    pub(super) fn is_late(&self, key: &AlertKey, moment: Moment) -> bool {
        moment.clock.is_some() && self.ends.get(key).is_some_and(|end| moment.is_late(end.clock))
    }

    /// Returns what is remembered, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AlertKey, End)> {
        self.keys.values().filter_map(|key| Some((&**key, *self.ends.get(key)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> AlertKey {
        AlertKey { resource: number.to_string(), kind: "k".to_owned(), qualifier: String::new() }
    }

    #[test]
    fn the_newest_ends_are_remembered_each_key_once() {
        let mut ends = Ends::default();
        for number in 0..=MAX_ENDS {
            ends.note(&key(number), number as u64 + 10, None);
            ends.note(&key(1), number as u64 + 1_000_000, None);
        }
        ends.note(&key(1), 5, None);
        assert_eq!((ends.ends.len(), ends.keys.len()), (MAX_ENDS, MAX_ENDS));
        assert!(!ends.is_after(&key(0), 0), "the oldest is forgotten");
        assert!(ends.is_after(&key(1), 1_000_000) && ends.is_after(&key(2), 11) && !ends.is_after(&key(2), 12));
    }
}
