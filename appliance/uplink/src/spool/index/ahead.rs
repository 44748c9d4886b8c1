//! What of the alerts lane may go ahead of its order: the newest record of each alert that lasts.
//!
//! Pure; called by [`super::super::ahead`].

use postern_protocol::id::{Epoch, Lane, Sequence};

use super::{Index, Place};
use crate::spool::segment::Worth;

/// Where the newest record of a key lies. Ordered by age: the newer one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub(crate) segment: u32,
    pub(crate) sequence: u64,
    pub(crate) key: u64,
}

/// The newest records that were found, and how far the search went.
#[derive(Debug)]
pub(crate) struct Newer {
    /// The records, the newest first.
    pub(crate) spots: Vec<Spot>,
    /// The newest record of all, whatever its worth: behind it the next search begins.
    pub(crate) newest: Option<Spot>,
}

impl Index {
    /// Counts the records of `lane` that wait behind `after`.
    pub(crate) fn waiting_behind(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> u64 {
        let from = self.first_segment(after);
        let waiting = self.segments.range(from..).filter_map(|(_, segment)| {
            let span = segment.lanes.get(&lane)?;
            Some(span.waiting(self.taken(lane, segment.id.epoch, after)).0)
        });
        waiting.fold(0, u64::saturating_add)
    }

    /// Finds the newest record of each alert that wait behind `after`: of those that last, or, with a `since`, of all that have changed
    /// since then. At most `most` of them, the newest.
    pub(crate) fn newer(&self, after: Option<(Epoch, Sequence)>, since: Option<Spot>, most: usize) -> Newer {
        let mut newest = since;
        let mut spots = Vec::new();
        // Nothing has changed where the lane's last record is one that is known.
        if since.is_some_and(|since| self.last_alert() == Some((since.segment, since.sequence))) {
            return Newer { spots, newest };
        }
        let from = self.first_segment(after);
        for (key, latest) in self.newest.iter() {
            let spot = Spot { segment: latest.segment, sequence: latest.sequence, key };
            newest = newest.max(Some(spot));
            let is_wanted = match since {
                Some(since) => spot > since,
                None => latest.worth == Worth::Open,
            };
            if is_wanted && self.waits(spot, (from, after)) {
                spots.push(spot);
            }
        }
        spots.sort_unstable_by(|one, other| other.cmp(one));
        spots.truncate(most);
        Newer { spots, newest }
    }

    /// Returns where the record at `spot` is to be looked for, if it is still the newest of its key and still waits behind `after`.
    pub(crate) fn place_of(&self, spot: Spot, after: Option<(Epoch, Sequence)>) -> Option<Place> {
        let is_newest =
            self.newest.latest(spot.key).is_some_and(|latest| (latest.segment, latest.sequence) == (spot.segment, spot.sequence));
        let segment = self.segments.get(&spot.segment).filter(|_| is_newest && self.waits(spot, (self.first_segment(after), after)))?;
        let span = segment.lanes.get(&Lane::Alerts)?;
        let mark = span.marks.partition_point(|(sequence, _)| *sequence <= spot.sequence).checked_sub(1)?;
        let (_, offset) = *span.marks.get(mark)?;
        Some(Place {
            segment: segment.id,
            offset,
            end: segment.bytes,
            behind: spot.sequence.saturating_sub(1),
            from: spot.sequence,
            cipher: segment.cipher.clone(),
        })
    }

    /// Says whether the record waits behind `after`, before segment `from` of which nothing does.
    fn waits(&self, spot: Spot, (from, after): (u32, Option<(Epoch, Sequence)>)) -> bool {
        let segment = self.segments.get(&spot.segment).filter(|segment| spot.segment >= from && !segment.is_locked);
        segment.is_some_and(|segment| spot.sequence > self.taken(Lane::Alerts, segment.id.epoch, after))
    }

    /// Returns up to where records of an epoch are acknowledged, or sent behind `after`.
    fn taken(&self, lane: Lane, epoch: Epoch, after: Option<(Epoch, Sequence)>) -> u64 {
        let sent = after.filter(|(of, _)| *of == epoch).map_or(0, |(_, sequence)| sequence.0);
        sent.max(self.acknowledged(lane, epoch).0)
    }

    /// Returns the segment and the sequence of the alerts lane's last record.
    fn last_alert(&self) -> Option<(u32, u64)> {
        self.segments.iter().rev().find_map(|(number, segment)| Some((*number, segment.lanes.get(&Lane::Alerts)?.last)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Segment};
    use super::*;
    use crate::spool::segment::SegmentId;

    const OLD: Epoch = Epoch(7);
    const NEW: Epoch = Epoch(3);

    /// Segments 1 (old epoch) and 2 (new), with ten alert records each: of the keys 1 to 5, twice.
    fn index() -> Index {
        let mut index = Index::new(NEW);
        for (number, epoch) in [(1, OLD), (2, NEW)] {
            index.add(Segment::new(SegmentId::new(number, epoch), None));
            (1..=10).for_each(|sequence| note(&mut index, number, sequence, (sequence - 1) % 5 + 1));
            index.grow(number, 4096);
        }
        index
    }

    /// Key 5 is over whenever it is said.
    fn note(index: &mut Index, number: u32, sequence: u64, key: u64) {
        let worth = if key == 5 { Worth::Ended } else { Worth::Open };
        let offset = u32::try_from(sequence).unwrap() * 100;
        index.note_record(number, &Entry { lane: Lane::Alerts, sequence, offset, bytes: 100, key, worth });
    }

    fn keys(newer: &Newer) -> Vec<u64> {
        newer.spots.iter().map(|spot| spot.key).collect()
    }

    #[test]
    fn the_newest_of_each_alert_that_lasts_comes_first_and_only_while_it_waits() {
        let mut index = index();
        assert_eq!(keys(&index.newer(None, None, 100)), [4, 3, 2, 1]);
        assert_eq!(keys(&index.newer(None, None, 2)), [4, 3]);
        assert_eq!(keys(&index.newer(Some((NEW, Sequence(7))), None, 100)), [4, 3], "the others are sent");
        assert_eq!(keys(&index.newer(Some((OLD, Sequence(10))), None, 100)), [4, 3, 2, 1]);
        index.acknowledge(Lane::Alerts, NEW, Sequence(8));
        assert_eq!(keys(&index.newer(None, None, 100)), [4]);
    }

    #[test]
    fn what_comes_later_is_found_behind_the_last_search_whatever_it_is_worth() {
        let mut index = index();
        let first = index.newer(None, None, 100);
        assert_eq!(first.newest.map(|spot| spot.key), Some(5));
        assert!(index.newer(None, first.newest, 100).spots.is_empty());
        for (sequence, key) in [(11, 2), (12, 5), (13, 9)] {
            note(&mut index, 2, sequence, key);
        }
        let later = index.newer(None, first.newest, 100);
        assert_eq!(keys(&later), [9, 5, 2]);
        assert!(index.newer(None, later.newest, 100).spots.is_empty());
    }

    #[test]
    fn a_record_that_is_sent_or_superseded_meanwhile_has_no_place_ahead() {
        let mut index = index();
        let spot = index.newer(None, None, 1).spots[0];
        let place = index.place_of(spot, None).unwrap();
        assert_eq!((place.segment.number, place.behind, place.from), (2, 8, 9));
        assert!(index.place_of(spot, Some((NEW, Sequence(9)))).is_none());
        note(&mut index, 2, 11, spot.key);
        assert!(index.place_of(spot, None).is_none());
    }

    #[test]
    fn what_waits_is_counted_over_all_epochs_behind_what_is_sent() {
        let mut index = index();
        assert_eq!(index.waiting_behind(Lane::Alerts, None), 20);
        assert_eq!(index.waiting_behind(Lane::Alerts, Some((OLD, Sequence(4)))), 16);
        assert_eq!(index.waiting_behind(Lane::Alerts, Some((NEW, Sequence(4)))), 6);
        index.acknowledge(Lane::Alerts, NEW, Sequence(9));
        assert_eq!(index.waiting_behind(Lane::Alerts, Some((NEW, Sequence(4)))), 1);
        assert_eq!(index.waiting_behind(Lane::Samples, None), 0);
    }
}
