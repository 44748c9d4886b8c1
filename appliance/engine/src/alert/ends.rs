//! The last ends of alerts: what is not open may have ended after others, who give it back when a disk was set back, last heard of it.

use std::collections::{BTreeMap, HashMap};

use postern_protocol::alert::AlertKey;

/// Most ends that are remembered, of the newest. Of an older one, others have heard, unless it waits with very many in the spool.
const MAX_ENDS: usize = 4_096;

/// The newest ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    revisions: HashMap<AlertKey, u64>,
    /// The same by revision, to forget the oldest.
    keys: BTreeMap<u64, AlertKey>,
}

impl Ends {
    /// Notes that the alert of `key` ended with `revision`, unless a later end is known.
    pub(super) fn note(&mut self, key: &AlertKey, revision: u64) {
        if self.is_after(key, revision) {
            return;
        }
        if let Some(before) = self.revisions.insert(key.clone(), revision) {
            self.keys.remove(&before);
        }
        self.keys.insert(revision, key.clone());
        if self.revisions.len() > MAX_ENDS
            && let Some((_, oldest)) = self.keys.pop_first()
        {
            self.revisions.remove(&oldest);
        }
    }

    /// Says whether an end of `key` is remembered that came after `revision`.
    pub(super) fn is_after(&self, key: &AlertKey, revision: u64) -> bool {
        self.revisions.get(key).is_some_and(|ended| *ended > revision)
    }

    /// Returns what is remembered, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &AlertKey)> {
        self.keys.iter().map(|(revision, key)| (*revision, key))
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
            ends.note(&key(number), number as u64 + 10);
            ends.note(&key(1), number as u64 + 1_000_000);
        }
        ends.note(&key(1), 5);
        assert_eq!((ends.revisions.len(), ends.keys.len()), (MAX_ENDS, MAX_ENDS));
        assert!(!ends.is_after(&key(0), 0), "the oldest is forgotten");
        assert!(ends.is_after(&key(1), 1_000_000) && ends.is_after(&key(2), 11) && !ends.is_after(&key(2), 12));
    }
}
