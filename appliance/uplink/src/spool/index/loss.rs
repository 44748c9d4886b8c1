//! The account of what is lost: which records should be here and cannot be read, each counted once.
//!
//! Pure. A record is accounted for when it is acknowledged, here, marked as given up, or *gone*: given up, and its mark removed with
//! the segment that it was in. What the newest standing does not say to have been there nobody misses.

use postern_protocol::id::{Epoch, Lane};

use super::sequences::{Range, without};
use super::{Index, Place, Segment};
use crate::spool::segment::SegmentId;

impl Index {
    /// Says that nothing readable lies behind `place.behind`: the records of `lane` there are left out, and those for which none of
    /// `marks` stands are counted as damaged.
    pub(crate) fn give_up(&mut self, lane: Lane, place: &Place, marks: &[Range]) {
        let Some(span) = self.segments.get_mut(&place.segment.number).and_then(|segment| segment.lanes.get_mut(&lane)) else { return };
        let last = span.last;
        span.last = last.min(place.behind);
        self.note_lost(lane, place.segment, &without((place.from, last), marks));
    }

    /// Counts records of a segment that turned out to be unreadable; returns how many of them were not counted before. What that took
    /// of alerts is healed by sending the open ones again.
    pub(crate) fn note_lost(&mut self, lane: Lane, id: SegmentId, ranges: &[Range]) -> u64 {
        let news = ranges.iter().map(|range| self.lost.note((lane, id.epoch), *range)).fold(0, u64::saturating_add);
        self.damaged = self.damaged.saturating_add(news);
        if news > 0 && lane == Lane::Alerts {
            self.evictions = self.evictions.saturating_add(1);
            self.changed = true;
            if let Some(segment) = self.segments.get_mut(&id.number) {
                segment.loss = self.evictions;
            }
        }
        news
    }

    /// Takes over what a start found: records of which the sequence is known, and `others`.
    pub(crate) fn note_damaged(&mut self, known: &[((Lane, Epoch), Range)], others: u64) {
        let known = known.iter().map(|(place, range)| self.lost.note(*place, *range)).fold(0, u64::saturating_add);
        self.damaged = self.damaged.saturating_add(known).saturating_add(others);
    }

    /// Returns how many records were durable and could not be read.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Returns the sequences of a range that should be here and are not; none where an earlier version kept no account of them.
    pub(crate) fn unaccounted(&self, place: (Lane, Epoch), range: Range) -> Vec<Range> {
        if !self.is_accounted(place.1) {
            return Vec::new();
        }
        let gone: Vec<_> = self.gone.iter().filter(|(of, _)| *of == place).map(|(_, range)| range).collect();
        without(range, &gone)
    }

    /// Says whether a start will know what went with a segment.
    pub(super) fn is_listed(&self, segment: &Segment) -> bool {
        let settled = |lane: Lane| self.settled.get(&(lane, segment.id.epoch)).copied().unwrap_or(0);
        segment.rewriting == 0
            || self.listed.contains(&segment.id.number)
            || segment.extents.iter().all(|(lane, (_, last))| *last <= settled(*lane))
    }

    /// Returns what lanes of a rewritten segment have, or had, beyond what is acknowledged; nothing while a record of it waits.
    pub(super) fn leaving<'a>(&'a self, segment: &'a Segment) -> impl Iterator<Item = (Lane, Range)> + 'a {
        let acknowledged = |lane: Lane| self.acknowledged(lane, segment.id.epoch).0;
        let leaves = segment.rewriting > 0 && segment.lanes.iter().all(|(lane, span)| span.waiting(acknowledged(*lane)).0 == 0);
        let extents = segment.extents.iter().filter(move |(lane, (_, last))| leaves && *last > acknowledged(**lane));
        extents.map(|(lane, range)| (*lane, *range))
    }

    pub(super) fn is_accounted(&self, epoch: Epoch) -> bool {
        epoch == self.present || self.accounted.contains(&epoch)
    }
}
