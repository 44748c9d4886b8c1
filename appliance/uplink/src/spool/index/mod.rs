//! What lies where in the spool: for each segment its lanes, and over all of them what is acknowledged and what was evicted.
//!
//! Pure: no file, no clock. Kept in memory and small: one mark for every [`MARK_BYTES`] of a segment, not one for every record.
//! The writer notes what became durable, the tunnel what was acknowledged; both go through the lock of [`super::Spool`].

pub(crate) mod ahead;
mod loss;
pub(crate) mod sequences;
pub(crate) mod standing;
pub(crate) mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::LanePosition;
use postern_protocol::status::LaneFill;

use self::sequences::{Range, Sequences};
use self::value::{Latest, Newest, Reason};
use super::rate::Rate;
use super::seal::Cipher;
use super::segment::{Label, SegmentId, Worth};

/// Bytes of a segment between two marks, about.
const MARK_BYTES: u32 = 64 * 1024;

/// The spool's table of contents. No `Debug`: it holds keys.
pub(crate) struct Index {
    segments: BTreeMap<u32, Segment>,
    heads: BTreeMap<(Lane, Epoch), u64>,
    acknowledged: BTreeMap<(Lane, Epoch), u64>,
    /// What a durable standing says of that: only such records are removed. A restart that forgot an acknowledgement and has not the
    /// records any more could not tell that the control plane's database was set back.
    settled: BTreeMap<(Lane, Epoch), u64>,
    evicted: BTreeMap<(Lane, Reason), u64>,
    evictions: u64,
    /// Every open alert is to be committed again, and the control plane has not taken the word that it was.
    is_owed: bool,
    rewritings: u64,
    /// The last rewriting that a durable standing counts.
    recorded: u64,
    damaged: u64,
    /// What of that is known by its sequence.
    lost: Sequences,
    /// The losses of alerts that a durable standing tells of.
    told: u64,
    /// What was given up and has no mark any more: the segments that it was in are removed.
    gone: Sequences,
    /// The segments of which a durable standing says what goes when they are removed.
    listed: BTreeSet<u32>,
    /// The epochs whose account has no gap: a sequence that is neither acknowledged, nor here, nor gone, is lost.
    accounted: BTreeSet<Epoch>,
    locked: u64,
    newest: Newest,
    changed: bool,
    present: Epoch,
    checkpoint_wanted: bool,
    checkpoints_queued: u32,
    /// How fast the spool grows.
    pub(crate) rate: Rate,
}

/// What is known of one segment.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Its name.
    pub(crate) id: SegmentId,
    /// How much of it is durable.
    pub(crate) bytes: u64,
    /// It holds a checkpoint.
    pub(crate) has_checkpoint: bool,
    /// Opens what is sealed in it.
    pub(crate) cipher: Option<Arc<Cipher>>,
    /// Its records are sealed under another machine key: it is kept, and nothing of it is touched.
    pub(crate) is_locked: bool,
    /// Number of the rewriting of which its marks tell; 0 for none.
    pub(crate) rewriting: u64,
    /// The last of [`Index::evictions`] of which only this segment bears witness; 0 for none.
    pub(crate) loss: u64,
    /// The first and the last sequence of each lane that it has, or has a mark for.
    pub(crate) extents: BTreeMap<Lane, Range>,
    lanes: BTreeMap<Lane, Span>,
    /// Alert records that a newer one of their key supersedes, and those that are the last word on an alert that is over.
    superseded: u64,
    ended: u64,
}

impl Segment {
    /// Makes an empty one.
    pub(crate) const fn new(id: SegmentId, cipher: Option<Arc<Cipher>>) -> Self {
        Self {
            id,
            bytes: 0,
            has_checkpoint: false,
            cipher,
            is_locked: false,
            rewriting: 0,
            loss: 0,
            extents: BTreeMap::new(),
            lanes: BTreeMap::new(),
            superseded: 0,
            ended: 0,
        }
    }

    /// Returns the first and the last sequence of each lane.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Lane, Range)> + '_ {
        self.lanes.iter().map(|(lane, span)| (*lane, (span.first, span.last)))
    }

    /// Notes a record.
    pub(crate) fn note(&mut self, entry: &Entry) {
        let (first, last) = self.extents.entry(entry.lane).or_insert((entry.sequence, entry.sequence));
        (*first, *last) = (entry.sequence.min(*first), entry.sequence.max(*last));
        let span = self.lanes.entry(entry.lane).or_default();
        if span.records == 0 {
            span.first = entry.sequence;
        }
        if span.marks.last().is_none_or(|(_, last)| entry.offset.saturating_sub(*last) >= MARK_BYTES) {
            span.marks.push((entry.sequence, entry.offset));
        }
        span.last = entry.sequence;
        span.records = span.records.saturating_add(1);
        span.bytes = span.bytes.saturating_add(entry.bytes);
    }
}

/// One record of a lane, as it lies in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Its lane.
    pub(crate) lane: Lane,
    /// Its sequence.
    pub(crate) sequence: u64,
    /// Where it begins.
    pub(crate) offset: u32,
    /// Bytes of the whole record on the disk.
    pub(crate) bytes: u64,
    /// What it is about.
    pub(crate) key: u64,
    /// What it is worth.
    pub(crate) worth: Worth,
}

impl Entry {
    /// Makes an entry of a record's label.
    pub(crate) const fn new(lane: Lane, label: Label, (offset, bytes): (u32, u64)) -> Self {
        Self { lane, sequence: label.sequence, offset, bytes, key: label.key, worth: label.worth }
    }
}

/// The records of one lane in one segment.
#[derive(Clone, Debug, Default)]
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
#[derive(Clone)]
pub(crate) struct Place {
    /// In which segment.
    pub(crate) segment: SegmentId,
    /// From which byte.
    pub(crate) offset: u32,
    /// Up to which byte.
    pub(crate) end: u64,
    /// Behind which sequence.
    pub(crate) behind: u64,
    /// The sequence that the first record there should have, unless a mark says otherwise.
    pub(crate) from: u64,
    /// What opens the records.
    pub(crate) cipher: Option<Arc<Cipher>>,
}

impl Place {
    /// Says whether both are the same place, with the same bytes behind it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.segment, self.offset, self.end, self.behind) == (other.segment, other.offset, other.end, other.behind)
    }
}

impl Index {
    /// Makes an index of nothing, for a run that writes in `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            segments: BTreeMap::new(),
            heads: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            settled: BTreeMap::new(),
            evicted: BTreeMap::new(),
            evictions: 0,
            is_owed: false,
            rewritings: 0,
            recorded: 0,
            damaged: 0,
            lost: Sequences::default(),
            told: 0,
            gone: Sequences::default(),
            listed: BTreeSet::new(),
            accounted: BTreeSet::new(),
            locked: 0,
            newest: Newest::default(),
            changed: false,
            present: epoch,
            checkpoint_wanted: false,
            checkpoints_queued: 0,
            rate: Rate::default(),
        }
    }

    /// Adds a segment.
    pub(crate) fn add(&mut self, segment: Segment) {
        self.segments.insert(segment.id.number, segment);
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

    /// Says that a record lies in the segment.
    pub(crate) fn note_record(&mut self, number: u32, entry: &Entry) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        segment.note(entry);
        self.heads.insert((entry.lane, segment.id.epoch), entry.sequence);
        if entry.lane == Lane::Alerts {
            self.note_worth(number, entry);
        }
    }

    /// Says that records up to `sequence` were there once.
    pub(crate) fn note_head(&mut self, lane: Lane, epoch: Epoch, sequence: u64) {
        let head = self.heads.entry((lane, epoch)).or_default();
        *head = (*head).max(sequence);
    }

    fn note_worth(&mut self, number: u32, entry: &Entry) {
        let latest = Latest { segment: number, sequence: entry.sequence, worth: entry.worth };
        if let Some(before) = self.newest.note(entry.key, latest)
            && let Some(segment) = self.segments.get_mut(&before.segment)
        {
            segment.superseded = segment.superseded.saturating_add(1);
            segment.ended = segment.ended.saturating_sub(u64::from(before.worth == Worth::Ended));
        }
        if entry.worth == Worth::Ended
            && let Some(segment) = self.segments.get_mut(&number)
        {
            segment.ended = segment.ended.saturating_add(1);
        }
    }

    /// Takes note of an acknowledgement; says whether it was news. What lies beyond the lane's head is not believed.
    pub(crate) fn acknowledge(&mut self, lane: Lane, epoch: Epoch, sequence: Sequence) -> bool {
        let sequence = sequence.0.min(self.head(lane, epoch).0);
        let known = self.acknowledged(lane, epoch).0;
        if sequence <= known {
            return false;
        }
        self.acknowledged.insert((lane, epoch), sequence);
        if known == 0 {
            self.forget_epochs();
        }
        self.changed = true;
        true
    }

    /// Returns the last acknowledged sequence of `lane` in `epoch`.
    pub(crate) fn acknowledged(&self, lane: Lane, epoch: Epoch) -> Sequence {
        Sequence(self.acknowledged.get(&(lane, epoch)).copied().unwrap_or(0))
    }

    /// Says which epoch's records are written from now on.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch) {
        let before = std::mem::replace(&mut self.present, epoch);
        self.accounted.insert(before);
    }

    /// Returns the epoch that is written.
    pub(crate) fn epoch(&self) -> Epoch {
        self.present
    }

    /// Returns what is acknowledged, in every epoch that is still known.
    pub(crate) fn acknowledged_places(&self) -> Vec<LanePosition> {
        let place = |((lane, epoch), sequence): (&(Lane, Epoch), &u64)| LanePosition {
            lane: u32::from(lane.number()),
            epoch: epoch.0,
            sequence: *sequence,
        };
        self.acknowledged.iter().map(place).collect()
    }

    /// Returns a place in each lane of the present epoch.
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

    /// Returns the number of the first segment that may hold something behind `after`.
    fn first_segment(&self, after: Option<(Epoch, Sequence)>) -> u32 {
        let begin = after.and_then(|(epoch, _)| self.segments.iter().find(|(_, segment)| segment.id.epoch == epoch));
        begin.map_or(0, |(number, _)| *number)
    }

    /// Finds the first unacknowledged records of `lane` behind `after`.
    pub(crate) fn seek(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> Option<Place> {
        self.segments.range(self.first_segment(after)..).find_map(|(_, segment)| {
            let span = segment.lanes.get(&lane)?;
            let sent = after.filter(|(epoch, _)| *epoch == segment.id.epoch).map_or(0, |(_, sequence)| sequence.0);
            let behind = sent.max(self.acknowledged(lane, segment.id.epoch).0);
            if span.last <= behind {
                return None;
            }
            let mark = span.marks.partition_point(|(sequence, _)| *sequence <= behind.saturating_add(1)).saturating_sub(1);
            let offset = span.marks.get(mark).map_or(0, |(_, offset)| *offset);
            Some(Place {
                segment: segment.id,
                offset,
                end: segment.bytes,
                behind,
                from: span.first.max(behind.saturating_add(1)),
                cipher: segment.cipher.clone(),
            })
        })
    }

    /// Counts records that are sealed under another machine key.
    pub(crate) fn note_locked(&mut self, records: u64) {
        self.locked = self.locked.saturating_add(records);
    }

    /// Returns how many records are sealed under another machine key.
    pub(crate) fn locked(&self) -> u64 {
        self.locked
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
        let Some(keep_from) = self.needed_from() else { return Vec::new() };
        let done = self.segments.range(..keep_from).map(|(_, segment)| segment);
        // Marks, and the holes that damage left, stay until what they tell is told elsewhere.
        let done = done.filter(|segment| {
            !segment.is_locked
                && segment.rewriting <= self.recorded
                && segment.loss <= self.told
                && self.is_settled(segment)
                && self.is_listed(segment)
        });
        let done: Vec<_> = done.map(|segment| segment.id).collect();
        self.forget(&done);
        done
    }

    /// Returns the number of the segment with the last checkpoint but one: local state before it is not needed.
    pub(crate) fn needed_from(&self) -> Option<u32> {
        self.checkpoints().nth(1)
    }

    fn checkpoints(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().rev().filter(|(_, segment)| segment.has_checkpoint && !segment.is_locked).map(|(number, _)| *number)
    }

    fn forget(&mut self, ids: &[SegmentId]) {
        for segment in ids.iter().filter_map(|id| self.segments.get(&id.number)) {
            for (lane, range) in self.leaving(segment).collect::<Vec<_>>() {
                self.gone.note((lane, segment.id.epoch), range);
            }
        }
        for id in ids {
            self.segments.remove(&id.number);
        }
        // The present epoch's places are kept: its sequences go on from there.
        let is_gone = |epoch: Epoch| self.present != epoch && self.segments.values().all(|segment| segment.id.epoch != epoch);
        let gone: Vec<_> = ids.iter().map(|id| id.epoch).filter(|epoch| is_gone(*epoch)).collect();
        self.heads.retain(|(_, epoch), _| !gone.contains(epoch));
        self.accounted.retain(|epoch| !gone.contains(epoch));
        self.lost.forget(&gone);
        self.gone.forget(&gone);
        self.forget_epochs();
        if !ids.is_empty() {
            let segments = &self.segments;
            self.newest.retain(|latest| segments.contains_key(&latest.segment));
        }
    }

    /// Forgets what is acknowledged in epochs of which no segment is left, once the present epoch, which is newer than all, has an
    /// acknowledgement of the lane: until then whoever has not committed that far any more was set back.
    fn forget_epochs(&mut self) {
        let here: BTreeSet<Epoch> = self.segments.values().map(|segment| segment.id.epoch).collect();
        for lane in Lane::ALL.into_iter().filter(|lane| self.acknowledged(*lane, self.present).0 > 0).collect::<Vec<_>>() {
            self.acknowledged.retain(|(of, epoch), _| *of != lane || *epoch == self.present || here.contains(epoch));
        }
    }

    fn is_settled(&self, segment: &Segment) -> bool {
        let settled = |lane: Lane| self.settled.get(&(lane, segment.id.epoch)).copied().unwrap_or(0);
        segment.lanes.iter().all(|(lane, span)| span.waiting(settled(*lane)).0 == 0)
    }

    /// Returns what waits in each lane, and what was evicted from it.
    pub(crate) fn lanes(&self) -> BTreeMap<String, LaneFill> {
        let fill = |lane: Lane| {
            let mut fill = LaneFill { evicted: self.evicted_of(lane), ..LaneFill::default() };
            for (segment, span) in self.segments.values().filter_map(|segment| Some((segment, segment.lanes.get(&lane)?))) {
                let (records, bytes) = span.waiting(self.acknowledged(lane, segment.id.epoch).0);
                fill.records = fill.records.saturating_add(records);
                fill.bytes = fill.bytes.saturating_add(bytes);
            }
            fill
        };
        Lane::ALL.into_iter().map(|lane| (lane.name().to_owned(), fill(lane))).collect()
    }

    /// Counts the times in this run that the only word on an alert was given up.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Says whether what [`Index::standing`] returns has changed since the last time this was asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::{Skipped, Version};
    use super::standing::Mark;
    use super::*;

    const OLD: Epoch = Epoch(7);
    const NEW: Epoch = Epoch(3);

    fn entry(sequence: u64, key: u64, worth: Worth) -> Entry {
        Entry { lane: Lane::Alerts, sequence, offset: u32::try_from(sequence % 100).unwrap() * 100, bytes: 50, key, worth }
    }

    /// Segments 1 (old epoch, records 1 to 10), 2 (old, 11 to 20) and 3 (new, 1 to 10), each with a checkpoint.
    fn index() -> Index {
        let mut index = Index::new(NEW);
        for (number, epoch, first) in [(1, OLD, 1), (2, OLD, 11), (3, NEW, 1)] {
            index.add(Segment::new(SegmentId::new(number, epoch), None));
            index.note_checkpoint(number);
            for step in 0..10 {
                index.note_record(number, &entry(first + step, 0, Worth::Plain));
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
        assert!(index.seek(Lane::Logs, None).is_none());
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
        assert_eq!(index.trim(), [], "a restart would not know what is acknowledged");
        index.standing_written(index.stand());
        assert_eq!(index.trim(), [SegmentId::new(1, OLD)]);
        assert_eq!(index.trim(), []);
    }

    #[test]
    fn a_segment_whose_hole_alone_tells_of_a_lost_alert_stays_until_a_standing_tells_of_it() {
        let mut index = index();
        index.acknowledge(Lane::Alerts, OLD, Sequence(10));
        index.standing_written(index.stand());
        assert_eq!(index.note_lost(Lane::Alerts, SegmentId::new(1, OLD), &[(9, 12)]), 4);
        assert_eq!(index.note_lost(Lane::Alerts, SegmentId::new(1, OLD), &[(8, 12)]), 1, "each counts once");
        assert_eq!((index.damaged(), index.evictions()), (5, 2));
        assert_eq!(index.trim(), []);
        index.standing_written(index.stand());
        assert_eq!(index.trim(), [SegmentId::new(1, OLD)]);
    }

    #[test]
    fn a_start_knows_what_went_with_its_marks() {
        let mut before = Index::new(NEW);
        for (number, first) in [(1, 1), (2, 11), (3, 21)] {
            before.add(Segment::new(SegmentId::new(number, NEW), None));
            before.note_checkpoint(number);
            (first..first + 10).for_each(|sequence| before.note_record(number, &entry(sequence, 0, Worth::Plain)));
        }
        // All of the first is given up, and marks stand in it.
        let mut made = Segment::new(SegmentId::new(1, NEW).rewritten(), None);
        made.extents = BTreeMap::from([(Lane::Alerts, (1, 10))]);
        let given_up: Vec<_> = (1..=10).map(|sequence| (entry(sequence, 0, Worth::Plain), Reason::Superseded)).collect();
        before.replace(made, &given_up, &[]);
        assert_eq!(before.trim(), [], "no standing tells of it");
        let start = |standing: &[u8], from: u32| {
            let mut after = Index::new(OLD);
            (from..=3).for_each(|number| after.add(Segment::new(SegmentId::new(number, NEW), None)));
            after.restore_standing((Version::Two, standing), &[]);
            after.unaccounted((Lane::Alerts, NEW), (1, 12))
        };
        let listed = before.standing();
        before.standing_written(before.stand());
        assert_eq!(before.trim().len(), 1);
        assert_eq!(start(&listed, 2), [(11, 12)], "removed since");
        assert_eq!(start(&listed, 1), [(1, 12)], "still here: its marks tell");
        assert_eq!(start(&before.standing(), 2), [(11, 12)], "removed before");
    }

    #[test]
    fn an_acknowledgement_outlives_its_records_until_the_present_epoch_has_one() {
        let mut index = index();
        index.note_record(2, &Entry { lane: Lane::Samples, ..entry(1, 0, Worth::Plain) });
        let third = Epoch(11);
        for number in [4, 5] {
            index.add(Segment::new(SegmentId::new(number, third), None));
            index.note_checkpoint(number);
        }
        index.present = third;
        index.acknowledge(Lane::Alerts, OLD, Sequence(20));
        index.acknowledge(Lane::Samples, OLD, Sequence(1));
        index.acknowledge(Lane::Alerts, NEW, Sequence(10));
        index.standing_written(index.stand());
        assert_eq!(index.trim().len(), 3);
        let known = |index: &Index| index.acknowledged.keys().copied().collect::<Vec<_>>();
        assert_eq!(known(&index), [(Lane::Alerts, NEW), (Lane::Alerts, OLD), (Lane::Samples, OLD)]);
        // So it does over a restart, until the lane has a newer one.
        let mut after = Index::new(third);
        after.add(Segment::new(SegmentId::new(5, third), None));
        after.restore_standing((Version::Two, &index.standing()), &[]);
        assert_eq!(known(&after), known(&index));
        after.note_record(5, &entry(1, 0, Worth::Plain));
        after.acknowledge(Lane::Alerts, third, Sequence(1));
        assert_eq!(known(&after), [(Lane::Alerts, third), (Lane::Samples, OLD)]);
    }

    #[test]
    fn what_goes_first_follows_its_worth_and_the_newest_state_of_an_open_alert_is_never_a_victim() {
        let mut index = Index::new(NEW);
        for number in 1..=3 {
            index.add(Segment::new(SegmentId::new(number, NEW), None));
            index.note_checkpoint(number);
            index.grow(number, 1000);
        }
        let (a, b) = (entry(1, 7, Worth::Open), entry(2, 8, Worth::Ended));
        index.note_record(1, &a);
        index.note_record(1, &b);
        let first = SegmentId::new(1, NEW);
        assert_eq!((index.class_of(first, &a), index.class_of(first, &b)), (None, Some(value::Class::Ended)));
        assert_eq!(index.victim(value::Class::Superseded, |_| false), None);
        assert_eq!(index.victim(value::Class::Ended, |_| false), Some(first));
        index.note_record(2, &entry(3, 7, Worth::Ended));
        assert_eq!(index.class_of(first, &a), Some(value::Class::Superseded));
        assert_eq!(index.victim(value::Class::Superseded, |_| false), Some(first));
        index.note_record(3, &entry(4, 8, Worth::Open));
        assert_eq!(index.victim(value::Class::Ended, |_| false), Some(SegmentId::new(2, NEW)), "nothing in the first is a last word now");
        assert_eq!(index.victim(value::Class::Ended, |number| number == 2), None, "the last checkpoint's segment is spared");
    }

    #[test]
    fn the_standing_survives_its_bytes_and_any_cut_of_them() {
        let mut before = index();
        before.acknowledge(Lane::Alerts, OLD, Sequence(7));
        before.acknowledge(Lane::Alerts, NEW, Sequence(3));
        before.count_evicted(Lane::Logs, Reason::Quota, 5);
        let bytes = before.standing();
        let mut after = index();
        assert!(!after.restore_standing((Version::Two, &bytes), &[]), "no state of an alert was lost");
        assert_eq!((&after.acknowledged, &after.evicted), (&before.acknowledged, &before.evicted));
        for cut in 0..bytes.len() {
            index().restore_standing((Version::Two, &bytes[..cut]), &[]);
        }
    }

    #[test]
    fn what_a_rewriting_gave_up_after_the_last_standing_is_counted_from_its_marks_once() {
        let mut index = index();
        let mark = |rewriting, reason: Reason| Mark {
            place: (Lane::Alerts, OLD),
            from: 3,
            skipped: Skipped { to: 6, rewriting, reason: reason.number() },
        };
        index.rewritings = 4;
        let bytes = index.standing();
        assert!(
            index.restore_standing((Version::Two, &bytes), &[mark(4, Reason::Quota), mark(5, Reason::Quota), mark(6, Reason::Damaged)])
        );
        assert_eq!(index.evicted_of(Lane::Alerts), 4);
        assert_eq!(index.next_rewriting(), 7);
    }

    #[test]
    fn marks_are_sparse_and_lead_before_the_record() {
        let mut index = Index::new(NEW);
        index.add(Segment::new(SegmentId::new(1, NEW), None));
        for sequence in 1..=10_000_u32 {
            index.note_record(1, &Entry { offset: sequence * 100, ..entry(u64::from(sequence), 0, Worth::Plain) });
        }
        index.grow(1, 1_000_100);
        let place = index.seek(Lane::Alerts, Some((NEW, Sequence(5000)))).unwrap();
        assert!(place.offset <= 5001 * 100 && place.offset + 2 * MARK_BYTES > 5001 * 100, "{}", place.offset);
        assert!(index.segments[&1].lanes[&Lane::Alerts].marks.len() < 20);
    }
}
