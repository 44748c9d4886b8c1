//! Sets of sequences: which records cannot be read, so that each is counted once, whoever meets the damage; and which are gone with
//! their marks.
//!
//! Pure. Recovery, the reader and rewriting all come upon the same damage.

use std::collections::BTreeMap;

use postern_protocol::id::{Epoch, Lane};

/// Sequences from the first to the second.
pub(crate) type Range = (u64, u64);

/// Sequences by lane and epoch: first and last of each range, no two of which touch.
#[derive(Debug, Default)]
pub(crate) struct Sequences(BTreeMap<(Lane, Epoch), BTreeMap<u64, u64>>);

impl Sequences {
    /// Adds a range; returns how many of its sequences were not there yet.
    pub(crate) fn note(&mut self, place: (Lane, Epoch), (first, last): Range) -> u64 {
        if first > last {
            return 0;
        }
        let ranges = self.0.entry(place).or_default();
        let touching = ranges.range(..=last.saturating_add(1)).filter(|(_, to)| to.saturating_add(1) >= first);
        let touching: Vec<Range> = touching.map(|(from, to)| (*from, *to)).collect();
        let (mut from, mut to, mut known) = (first, last, 0_u64);
        for (start, end) in touching {
            ranges.remove(&start);
            known = known.saturating_add(length((start.max(first), end.min(last))));
            (from, to) = (from.min(start), to.max(end));
        }
        ranges.insert(from, to);
        length((first, last)).saturating_sub(known)
    }

    /// Goes through the ranges.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ((Lane, Epoch), Range)> + '_ {
        self.0.iter().flat_map(|(place, ranges)| ranges.iter().map(|(first, last)| (*place, (*first, *last))))
    }

    /// Forgets epochs.
    pub(crate) fn forget(&mut self, gone: &[Epoch]) {
        self.0.retain(|(_, epoch), _| !gone.contains(epoch));
    }
}

/// Returns how many sequences a range has.
pub(crate) const fn length((first, last): Range) -> u64 {
    if first > last { 0 } else { (last - first).saturating_add(1) }
}

/// Returns what of a range is in none of `parts`, which may come in any order and overlap.
pub(crate) fn without((first, last): Range, parts: &[Range]) -> Vec<Range> {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    let mut next = first;
    let mut left = Vec::new();
    for (from, to) in parts.into_iter().filter(|(from, to)| *to >= first && *from <= last) {
        if from > next {
            left.push((next, from - 1));
        }
        next = next.max(to.saturating_add(1));
    }
    if next <= last {
        left.push((next, last));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_counted_once() {
        let mut lost = Sequences::default();
        let mut note = |range| lost.note((Lane::Logs, Epoch(1)), range);
        assert_eq!(
            [note((5, 7)), note((1, 2)), note((6, 9)), note((3, 3)), note((1, 12)), note((1, 12)), note((9, 3))],
            [3, 2, 2, 1, 4, 0, 0]
        );
        assert_eq!(lost.note((Lane::Logs, Epoch(2)), (1, 12)), 12);
        lost.forget(&[Epoch(2)]);
        assert_eq!(lost.note((Lane::Logs, Epoch(2)), (u64::MAX, u64::MAX)), 1);
    }

    #[test]
    fn what_no_part_has_is_left() {
        assert_eq!(without((3, 10), &[(5, 6), (1, 3), (6, 6), (10, 20)]), [(4, 4), (7, 9)]);
        assert_eq!(without((3, 10), &[(11, 12)]), [(3, 10)]);
        assert_eq!(without((3, 10), &[(1, u64::MAX)]), []);
        assert_eq!(without((3, 2), &[]), []);
    }
}
