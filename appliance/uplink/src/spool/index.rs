//! What lies where in the spool: for each segment its lanes, and over all of them what is acknowledged and what was evicted.
//!
//! Pure: no file, no clock. Kept in memory and small: one mark for every [`MARK_BYTES`] of a segment, not one for every record.
//! The writer notes what became durable, the tunnel what was acknowledged; both go through the lock of [`super::Spool`].

use std::collections::BTreeMap;

use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::LanePosition;
use postern_protocol::status::LaneFill;

use super::rate::Rate;
use super::segment::SegmentId;

/// Bytes of a segment between two marks, about.
const MARK_BYTES: u32 = 64 * 1024;

/// The spool's table of contents.
#[derive(Debug)]
pub(crate) struct Index {
    segments: BTreeMap<u32, Segment>,
    heads: BTreeMap<(Lane, Epoch), u64>,
    acknowledged: BTreeMap<(Lane, Epoch), u64>,
    evicted: BTreeMap<Lane, u64>,
    evictions: u64,
    damaged: u64,
    changed: bool,
    present: Epoch,
    checkpoint_wanted: bool,
    checkpoints_queued: u32,
    /// How fast the spool grows.
    pub(crate) rate: Rate,
}

#[derive(Debug)]
struct Segment {
    epoch: Epoch,
    bytes: u64,
    has_checkpoint: bool,
    lanes: BTreeMap<Lane, Span>,
}

/// The records of one lane in one segment.
#[derive(Debug, Default)]
struct Span {
    first: u64,
    last: u64,
    records: u64,
    bytes: u64,
    marks: Vec<(u64, u32)>,
}

impl Span {
    /// Returns how many records lie behind `acknowledged`, and about how many bytes they have.
    fn waiting(&self, acknowledged: u64) -> (u64, u64) {
        if acknowledged < self.first {
            return (self.records, self.bytes);
        }
        let records = self.last.saturating_sub(acknowledged).min(self.records);
        let bytes = u128::from(self.bytes) * u128::from(records) / u128::from(self.records.max(1));
        (records, u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

/// Where a lane's next records are to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In which segment.
    pub(crate) segment: SegmentId,
    /// From which byte.
    pub(crate) offset: u32,
    /// Up to which byte.
    pub(crate) end: u64,
    /// Behind which sequence.
    pub(crate) behind: u64,
}

impl Index {
    /// Makes an index of nothing, for a run that writes in `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            segments: BTreeMap::new(),
            heads: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            evicted: BTreeMap::new(),
            evictions: 0,
            damaged: 0,
            changed: false,
            present: epoch,
            checkpoint_wanted: false,
            checkpoints_queued: 0,
            rate: Rate::default(),
        }
    }

    /// Adds an empty segment.
    pub(crate) fn add(&mut self, id: SegmentId) {
        self.segments.insert(id.number, Segment { epoch: id.epoch, bytes: 0, has_checkpoint: false, lanes: BTreeMap::new() });
    }

    /// Says that the segment's first `bytes` are durable.
    pub(crate) fn grow(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes = bytes;
        }
    }

    /// Says that the segment holds a checkpoint.
    pub(crate) fn note_checkpoint(&mut self, number: u32) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.has_checkpoint = true;
        }
    }

    /// Says that a record of `bytes` lies at `offset`.
    pub(crate) fn note_record(&mut self, number: u32, (lane, sequence): (Lane, u64), offset: u32, bytes: u64) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let span = segment.lanes.entry(lane).or_default();
        if span.records == 0 {
            span.first = sequence;
        }
        if span.marks.last().is_none_or(|(_, last)| offset.saturating_sub(*last) >= MARK_BYTES) {
            span.marks.push((sequence, offset));
        }
        span.last = sequence;
        self.heads.insert((lane, segment.epoch), sequence);
        span.records = span.records.saturating_add(1);
        span.bytes = span.bytes.saturating_add(bytes);
    }

    /// Takes note of an acknowledgement; says whether it was news. What lies beyond the lane's head is not believed.
    pub(crate) fn acknowledge(&mut self, lane: Lane, epoch: Epoch, sequence: Sequence) -> bool {
        let sequence = sequence.0.min(self.head(lane, epoch).0);
        let known = self.acknowledged(lane, epoch).0;
        if sequence <= known {
            return false;
        }
        self.acknowledged.insert((lane, epoch), sequence);
        self.changed = true;
        true
    }

    /// Returns the last acknowledged sequence of `lane` in `epoch`.
    pub(crate) fn acknowledged(&self, lane: Lane, epoch: Epoch) -> Sequence {
        Sequence(self.acknowledged.get(&(lane, epoch)).copied().unwrap_or(0))
    }

    /// Says which epoch's records are written from now on.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch) {
        self.present = epoch;
    }

    /// Returns the epoch that is written.
    pub(crate) fn epoch(&self) -> Epoch {
        self.present
    }

    /// Returns a place in each lane of the present epoch: its head, or what is acknowledged.
    pub(crate) fn places(&self, place: impl Fn(&Self, Lane, Epoch) -> Sequence) -> Vec<LanePosition> {
        let position = |lane: Lane| {
            let sequence = place(self, lane, self.present).0;
            LanePosition { lane: u32::from(lane.number()), epoch: self.present.0, sequence }
        };
        Lane::ALL.into_iter().map(position).collect()
    }

    /// Says that the segment is full: the next commit should begin a new one with a checkpoint.
    pub(crate) fn request_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    /// Says that a commit with a checkpoint was queued: no other one is wanted before it is written.
    pub(crate) fn checkpoint_queued(&mut self) {
        self.checkpoints_queued = self.checkpoints_queued.saturating_add(1);
    }

    /// Says that a checkpoint is durable.
    pub(crate) fn checkpoint_written(&mut self) {
        self.checkpoints_queued = self.checkpoints_queued.saturating_sub(1);
        self.checkpoint_wanted = false;
    }

    /// Says whether the next commit should carry a checkpoint.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.checkpoint_wanted && self.checkpoints_queued == 0
    }

    /// Returns the last durable sequence of `lane` in `epoch`; 0 when there never was one, or the epoch is no longer on disk.
    pub(crate) fn head(&self, lane: Lane, epoch: Epoch) -> Sequence {
        Sequence(self.heads.get(&(lane, epoch)).copied().unwrap_or(0))
    }

    /// Finds the first unacknowledged records of `lane` behind `after`.
    pub(crate) fn seek(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> Option<Place> {
        let begin = after.and_then(|(epoch, _)| self.segments.iter().find(|(_, segment)| segment.epoch == epoch));
        let begin = begin.map_or(0, |(number, _)| *number);
        self.segments.range(begin..).find_map(|(number, segment)| {
            let span = segment.lanes.get(&lane)?;
            let sent = after.filter(|(epoch, _)| *epoch == segment.epoch).map_or(0, |(_, sequence)| sequence.0);
            let behind = sent.max(self.acknowledged(lane, segment.epoch).0);
            if span.last <= behind {
                return None;
            }
            let mark = span.marks.partition_point(|(sequence, _)| *sequence <= behind.saturating_add(1)).saturating_sub(1);
            let offset = span.marks.get(mark).map_or(0, |(_, offset)| *offset);
            Some(Place { segment: SegmentId { number: *number, epoch: segment.epoch }, offset, end: segment.bytes, behind })
        })
    }

    /// Says that nothing readable lies behind `place.behind`: the records of `lane` there are counted as damaged and left out.
    pub(crate) fn give_up(&mut self, lane: Lane, place: Place) {
        let Some(span) = self.segments.get_mut(&place.segment.number).and_then(|segment| segment.lanes.get_mut(&lane)) else { return };
        self.damaged = self.damaged.saturating_add(span.last.saturating_sub(place.behind));
        span.last = span.last.min(place.behind);
    }

    /// Counts records that turned out to be unreadable.
    pub(crate) fn note_damaged(&mut self, records: u64) {
        self.damaged = self.damaged.saturating_add(records);
    }

    /// Returns how many records were durable and could not be read.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Returns the bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Forgets the segments that nobody needs and returns them, for their files to be removed.
    ///
    /// Needed are the newest one, all from the last checkpoint but one (so that a damaged checkpoint costs nothing), and all
    /// that hold something unacknowledged.
    pub(crate) fn trim(&mut self) -> Vec<SegmentId> {
        let mut checkpoints = self.segments.iter().rev().filter(|(_, segment)| segment.has_checkpoint).map(|(number, _)| *number);
        let Some(keep_from) = checkpoints.nth(1) else { return Vec::new() };
        let done: Vec<_> = self.segments.range(..keep_from).filter(|(_, segment)| self.waiting(segment) == 0).map(id_of).collect();
        self.forget(&done);
        done
    }

    /// Forgets the oldest segment though somebody may still need it, and counts what is lost with it.
    ///
    /// Returns `None` when only the newest segment and those from the last checkpoint are left.
    pub(crate) fn evict(&mut self) -> Option<SegmentId> {
        let last_checkpoint = self.segments.iter().rev().find(|(_, segment)| segment.has_checkpoint).map(|(number, _)| *number)?;
        let (number, segment) = self.segments.first_key_value().filter(|(number, _)| **number < last_checkpoint)?;
        let id = id_of((number, segment));
        let lost: Vec<_> = segment.lanes.iter().map(|(lane, span)| (*lane, span.waiting(self.acknowledged(*lane, id.epoch).0).0)).collect();
        for (lane, records) in lost {
            let count = self.evicted.entry(lane).or_default();
            *count = count.saturating_add(records);
            self.evictions = self.evictions.saturating_add(u64::from(records > 0));
            self.changed |= records > 0;
        }
        self.forget(&[id]);
        Some(id)
    }

    fn forget(&mut self, ids: &[SegmentId]) {
        for id in ids {
            self.segments.remove(&id.number);
        }
        for id in ids {
            // The present epoch's places are kept: its sequences go on from there.
            if self.present != id.epoch && self.segments.values().all(|segment| segment.epoch != id.epoch) {
                self.acknowledged.retain(|(_, epoch), _| *epoch != id.epoch);
                self.heads.retain(|(_, epoch), _| *epoch != id.epoch);
            }
        }
    }

    fn waiting(&self, segment: &Segment) -> u64 {
        segment.lanes.iter().map(|(lane, span)| span.waiting(self.acknowledged(*lane, segment.epoch).0).0).sum()
    }

    /// Returns what waits in each lane, and what was evicted from it.
    pub(crate) fn lanes(&self) -> BTreeMap<String, LaneFill> {
        let fill = |lane: Lane| {
            let mut fill = LaneFill { evicted: self.evicted.get(&lane).copied().unwrap_or(0), ..LaneFill::default() };
            for (segment, span) in self.segments.values().filter_map(|segment| Some((segment, segment.lanes.get(&lane)?))) {
                let (records, bytes) = span.waiting(self.acknowledged(lane, segment.epoch).0);
                fill.records = fill.records.saturating_add(records);
                fill.bytes = fill.bytes.saturating_add(bytes);
            }
            fill
        };
        Lane::ALL.into_iter().map(|lane| (lane.name().to_owned(), fill(lane))).collect()
    }

    /// Counts the evictions of something unacknowledged in this run.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Says whether what [`Index::standing`] returns has changed since the last time this was asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Encodes what is acknowledged and what was evicted: the payload of a `Standing` record.
    pub(crate) fn standing(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.evictions.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.evicted.len()).unwrap_or(0).to_le_bytes());
        for (lane, records) in &self.evicted {
            out.push(lane.number());
            out.extend_from_slice(&records.to_le_bytes());
        }
        for ((lane, epoch), sequence) in &self.acknowledged {
            out.push(lane.number());
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        out
    }

    /// Takes over the payload of a `Standing` record of an earlier run; says whether that run evicted something.
    ///
    /// Call it after every segment was noted, with the newest such record. What it does not understand it leaves out: at worst
    /// records are sent again.
    pub(crate) fn restore_standing(&mut self, payload: &[u8]) -> bool {
        let Some((evictions, rest)) = payload.split_first_chunk() else { return false };
        let Some((count, rest)) = rest.split_first_chunk() else { return false };
        let evicted = rest.chunks_exact(9).take(usize::from(u16::from_le_bytes(*count)));
        let acknowledged = rest.get(evicted.len().saturating_mul(9)..).unwrap_or_default().chunks_exact(17);
        for entry in evicted {
            if let Some((lane, records)) = entry.split_first()
                && let (Some(lane), Some(records)) = (Lane::from_number(*lane), records.first_chunk())
            {
                self.evicted.insert(lane, u64::from_le_bytes(*records));
            }
        }
        for entry in acknowledged {
            if let Some((lane, place)) = entry.split_first()
                && let (Some(lane), Some((epoch, sequence))) = (Lane::from_number(*lane), place.split_first_chunk())
                && let Some(sequence) = sequence.first_chunk()
            {
                self.acknowledge(lane, Epoch(u64::from_le_bytes(*epoch)), Sequence(u64::from_le_bytes(*sequence)));
            }
        }
        self.changed = true;
        u64::from_le_bytes(*evictions) > 0
    }
}

fn id_of((number, segment): (&u32, &Segment)) -> SegmentId {
    SegmentId { number: *number, epoch: segment.epoch }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Epoch = Epoch(7);
    const NEW: Epoch = Epoch(3);

    /// Segments 1 (old epoch, records 1 to 10), 2 (old, 11 to 20) and 3 (new, 1 to 10), each with a checkpoint.
    fn index() -> Index {
        let mut index = Index::new(NEW);
        for (number, epoch, first) in [(1, OLD, 1), (2, OLD, 11), (3, NEW, 1)] {
            index.add(SegmentId { number, epoch });
            index.note_checkpoint(number);
            for step in 0..10 {
                index.note_record(number, (Lane::Alerts, first + step), u32::try_from(step).unwrap() * 100, 50);
            }
            index.grow(number, 1000);
        }
        index
    }

    fn found(index: &Index, after: Option<(Epoch, u64)>) -> Option<(u32, u64)> {
        index.seek(Lane::Alerts, after.map(|(epoch, at)| (epoch, Sequence(at)))).map(|place| (place.segment.number, place.behind))
    }

    #[test]
    fn seeking_follows_segments_not_the_size_of_epochs() {
        let index = index();
        assert_eq!(found(&index, None), Some((1, 0)));
        assert_eq!(found(&index, Some((OLD, 10))), Some((2, 10)));
        assert_eq!(found(&index, Some((OLD, 20))), Some((3, 0)));
        assert_eq!(found(&index, Some((NEW, 10))), None);
        assert_eq!(index.seek(Lane::Logs, None), None);
    }

    #[test]
    fn an_acknowledged_epoch_is_skipped_and_another_is_not() {
        let mut index = index();
        assert!(index.acknowledge(Lane::Alerts, NEW, Sequence(4)));
        assert!(!index.acknowledge(Lane::Alerts, NEW, Sequence(4)));
        assert_eq!(found(&index, None), Some((1, 0)));
        index.acknowledge(Lane::Alerts, OLD, Sequence(u64::MAX));
        assert_eq!(found(&index, None), Some((3, 4)));
        assert_eq!(index.lanes().get("alerts").map(|fill| (fill.records, fill.bytes)), Some((6, 300)));
    }

    #[test]
    fn an_acknowledgement_beyond_the_head_is_cut_to_it() {
        let mut index = index();
        index.acknowledge(Lane::Alerts, NEW, Sequence(99));
        assert_eq!(index.head(Lane::Alerts, NEW), Sequence(10));
        assert!(!index.acknowledge(Lane::Alerts, Epoch(1234), Sequence(5)));
    }

    #[test]
    fn trimming_keeps_the_last_two_checkpoints_and_what_is_unacknowledged() {
        let mut index = index();
        index.acknowledge(Lane::Alerts, OLD, Sequence(9));
        assert_eq!(index.trim(), []);
        index.acknowledge(Lane::Alerts, OLD, Sequence(20));
        index.acknowledge(Lane::Alerts, NEW, Sequence(10));
        assert_eq!(index.trim(), [SegmentId { number: 1, epoch: OLD }]);
        assert_eq!(index.trim(), []);
    }

    #[test]
    fn eviction_takes_the_oldest_counts_it_and_spares_the_last_checkpoint() {
        let mut index = index();
        index.acknowledge(Lane::Alerts, OLD, Sequence(7));
        assert_eq!(index.evict(), Some(SegmentId { number: 1, epoch: OLD }));
        assert_eq!(index.evict(), Some(SegmentId { number: 2, epoch: OLD }));
        assert_eq!(index.evict(), None);
        assert_eq!(index.evictions(), 2);
        assert_eq!(index.lanes().get("alerts").map(|fill| (fill.records, fill.evicted)), Some((10, 13)));
    }

    #[test]
    fn the_standing_survives_its_bytes_and_any_cut_of_them() {
        let mut before = index();
        before.acknowledge(Lane::Alerts, OLD, Sequence(7));
        before.acknowledge(Lane::Alerts, NEW, Sequence(3));
        before.evict();
        let bytes = before.standing();
        let mut after = index();
        assert!(after.restore_standing(&bytes));
        assert_eq!((after.acknowledged, after.evicted), (before.acknowledged, before.evicted));
        for cut in 0..bytes.len() {
            index().restore_standing(&bytes[..cut]);
        }
    }

    #[test]
    fn marks_are_sparse_and_lead_before_the_record() {
        let mut index = Index::new(NEW);
        index.add(SegmentId { number: 1, epoch: NEW });
        for sequence in 1..=10_000_u32 {
            index.note_record(1, (Lane::Alerts, u64::from(sequence)), sequence * 100, 60);
        }
        index.grow(1, 1_000_100);
        let place = index.seek(Lane::Alerts, Some((NEW, Sequence(5000)))).unwrap();
        assert!(place.offset <= 5001 * 100 && place.offset + 2 * MARK_BYTES > 5001 * 100, "{place:?}");
        assert!(index.segments[&1].lanes[&Lane::Alerts].marks.len() < 20);
    }
}
