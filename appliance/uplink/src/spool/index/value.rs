//! What goes first when room is short: classes of records by value, and where the next of a class is to be found.
//!
//! The order: what nobody needs any more (old local state, acknowledged records), logs, samples, alert revisions that a newer one
//! supersedes, inventory, and the last word on alerts that are over. The newest revision of an open alert is never given up.

use std::collections::{BTreeMap, HashMap};

use postern_protocol::id::Lane;

use super::super::segment::{SegmentId, Worth};
use super::sequences::Range;
use super::{Entry, Index, Segment};

/// Most keys that are followed; records of further ones count as the newest of their key.
const MAX_KEYS: usize = 1 << 20;

/// Share of a segment that must be needless before that alone is a reason to rewrite it.
const NEEDLESS_SHARE: u64 = 4;

/// What can be given up, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// What nobody needs: local state before the last two checkpoints, acknowledged records.
    Needless,
    /// Log lines.
    Logs,
    /// Samples.
    Samples,
    /// Alert records that a newer one of their key supersedes: no state is lost.
    Superseded,
    /// Inventory.
    Inventory,
    /// The last word on alerts that are over.
    Ended,
}

impl Class {
    /// Every class, the first to go first.
    pub(crate) const ALL: [Self; 6] = [Self::Needless, Self::Logs, Self::Samples, Self::Superseded, Self::Inventory, Self::Ended];
}

/// Why records were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The lane had used up its share of the quota.
    Share,
    /// The quota was used up.
    Quota,
    /// The disk was full.
    DiskFull,
    /// A newer record of the same key is there: no state is lost.
    Superseded,
    /// They were unreadable.
    Damaged,
    /// The control plane had them.
    Acknowledged,
}

impl Reason {
    const ALL: [Self; 6] = [Self::Share, Self::Quota, Self::DiskFull, Self::Superseded, Self::Damaged, Self::Acknowledged];

    /// Returns the number that stands for it on disk.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Share => 1,
            Self::Quota => 2,
            Self::DiskFull => 3,
            Self::Superseded => 4,
            Self::Damaged => 5,
            Self::Acknowledged => 6,
        }
    }

    /// Returns the reason that `number` stands for.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    /// Returns its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Share => "lane_share",
            Self::Quota => "quota",
            Self::DiskFull => "disk_full",
            Self::Superseded => "superseded",
            Self::Damaged => "damaged",
            Self::Acknowledged => "acknowledged",
        }
    }

    /// Says whether an alert's state goes with a record that is given up for it.
    pub(crate) const fn loses_state(self) -> bool {
        match self {
            Self::Damaged | Self::DiskFull | Self::Quota | Self::Share => true,
            Self::Acknowledged | Self::Superseded => false,
        }
    }
}

/// The newest record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    /// In which segment it lies.
    pub(crate) segment: u32,
    /// Its sequence.
    pub(crate) sequence: u64,
    /// What it is worth.
    pub(crate) worth: Worth,
}

/// The newest record of each key on the alerts lane.
#[derive(Debug, Default)]
pub(crate) struct Newest(HashMap<u64, Latest>);

impl Newest {
    /// Notes a record; returns the one that it supersedes.
    pub(crate) fn note(&mut self, key: u64, latest: Latest) -> Option<Latest> {
        if key == 0 || (self.0.len() >= MAX_KEYS && !self.0.contains_key(&key)) {
            return None;
        }
        self.0.insert(key, latest)
    }

    /// Keeps those for which `keep` holds.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Latest) -> bool) {
        self.0.retain(|_, latest| keep(latest));
    }

    /// Returns the newest record of a key.
    pub(crate) fn latest(&self, key: u64) -> Option<&Latest> {
        self.0.get(&key)
    }

    /// Goes through all keys, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Latest)> {
        self.0.iter().map(|(key, latest)| (*key, latest))
    }

    fn is_superseded(&self, number: u32, entry: &Entry) -> bool {
        self.0.get(&entry.key).is_some_and(|latest| (latest.segment, latest.sequence) != (number, entry.sequence))
    }
}

impl Index {
    /// Returns the class of a record in a segment; `None` for what is never given up.
    pub(crate) fn class_of(&self, id: SegmentId, entry: &Entry) -> Option<Class> {
        if entry.sequence <= self.acknowledged(entry.lane, id.epoch).0 {
            return Some(Class::Needless);
        }
        match (entry.lane, entry.worth) {
            (Lane::Logs, _) => Some(Class::Logs),
            (Lane::Samples, _) => Some(Class::Samples),
            (Lane::Inventory, _) => Some(Class::Inventory),
            (Lane::Alerts, _) if self.newest.is_superseded(id.number, entry) => Some(Class::Superseded),
            (Lane::Alerts, Worth::Ended) => Some(Class::Ended),
            (Lane::Alerts, Worth::Open | Worth::Plain) => None,
        }
    }

    /// Returns the oldest segment that holds something of `class` and may be rewritten: one before the last checkpoint, and not one
    /// for which `avoid` holds.
    pub(crate) fn victim(&self, class: Class, avoid: impl Fn(u32) -> bool) -> Option<SegmentId> {
        let last_checkpoint = self.checkpoints().next()?;
        let needed_from = self.needed_from().unwrap_or(0);
        let candidates = self.segments.range(..last_checkpoint).filter(|(number, segment)| !segment.is_locked && !avoid(**number));
        candidates.map(|(_, segment)| segment).find(|segment| self.holds(segment, class, needed_from)).map(|segment| segment.id)
    }

    fn holds(&self, segment: &Segment, class: Class, needed_from: u32) -> bool {
        let waits = |lane| segment.lanes.get(&lane).is_some_and(|span| span.waiting(self.acknowledged(lane, segment.id.epoch).0).0 > 0);
        match class {
            Class::Needless => {
                let needed: u64 =
                    segment.lanes.iter().map(|(lane, span)| span.waiting(self.acknowledged(*lane, segment.id.epoch).0).1).sum();
                let needless = segment.bytes.saturating_sub(needed);
                segment.id.number < needed_from && needless > segment.bytes / NEEDLESS_SHARE && needless > SMALL_BYTES
            }
            Class::Logs => waits(Lane::Logs),
            Class::Samples => waits(Lane::Samples),
            Class::Superseded => segment.superseded > 0 && waits(Lane::Alerts),
            Class::Inventory => waits(Lane::Inventory),
            Class::Ended => segment.ended > 0 && waits(Lane::Alerts),
        }
    }

    /// Returns the segment of that name as it is known.
    pub(crate) fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(&id.number).filter(|segment| segment.id == id)
    }

    /// Returns the number of the next rewriting.
    pub(crate) fn next_rewriting(&self) -> u64 {
        self.rewritings.saturating_add(1)
    }

    /// Puts a rewritten segment in place of what it was made of; `damaged` says what of each lane was not to be read in that any more.
    pub(crate) fn replace(&mut self, segment: Segment, given_up: &[(Entry, Reason)], damaged: &[(Lane, Range)]) {
        let (id, number) = (segment.id, segment.id.number);
        self.rewritings = self.rewritings.saturating_add(1);
        let loss = self.segments.get(&number).map_or(0, |old| old.loss);
        self.segments.insert(number, Segment { rewriting: self.rewritings, loss, ..segment });
        let mut is_state_lost = false;
        for (entry, reason) in given_up {
            self.count_evicted(entry.lane, *reason, 1);
            is_state_lost |= entry.lane == Lane::Alerts && reason.loses_state() && *reason != Reason::Damaged;
        }
        self.evictions = self.evictions.saturating_add(u64::from(is_state_lost));
        for (lane, range) in damaged {
            self.note_lost(*lane, id, &[*range]);
        }
        self.changed |= !given_up.is_empty();
        for (entry, _) in given_up.iter().filter(|(entry, _)| entry.lane == Lane::Alerts) {
            self.newest.forget(number, entry);
        }
    }

    /// Counts what a segment holds of the classes of alert records, after it was rewritten.
    pub(crate) fn weigh(&self, segment: &mut Segment, entry: &Entry) {
        match self.class_of(segment.id, entry) {
            Some(Class::Ended) => segment.ended = segment.ended.saturating_add(1),
            Some(Class::Superseded) => segment.superseded = segment.superseded.saturating_add(1),
            Some(Class::Inventory | Class::Logs | Class::Needless | Class::Samples) | None => {}
        }
    }

    /// Says that nothing more can be given up of the alerts in a segment.
    pub(crate) fn exhaust(&mut self, id: SegmentId) {
        if let Some(segment) = self.segments.get_mut(&id.number) {
            (segment.superseded, segment.ended) = (0, 0);
        }
    }

    /// Counts records that were given up; damaged ones are counted where they are met.
    pub(crate) fn count_evicted(&mut self, lane: Lane, reason: Reason, records: u64) {
        match reason {
            Reason::Acknowledged | Reason::Damaged => {}
            Reason::DiskFull | Reason::Quota | Reason::Share | Reason::Superseded => {
                let count = self.evicted.entry((lane, reason)).or_default();
                *count = count.saturating_add(records);
            }
        }
    }

    /// Returns how many records of a lane were given up.
    pub(crate) fn evicted_of(&self, lane: Lane) -> u64 {
        self.evicted.iter().filter(|((of, _), _)| *of == lane).fold(0, |sum, (_, records)| sum.saturating_add(*records))
    }

    /// Returns how many records were given up, by reason.
    pub(crate) fn evicted_by_reason(&self) -> BTreeMap<String, u64> {
        let mut out: BTreeMap<String, u64> = BTreeMap::new();
        for ((_, reason), records) in &self.evicted {
            let count = out.entry(reason.name().to_owned()).or_default();
            *count = count.saturating_add(*records);
        }
        out
    }

    /// Returns how many bytes of a lane wait.
    pub(crate) fn waiting_bytes(&self, lane: Lane) -> u64 {
        let spans = self.segments.values().filter_map(|segment| Some((segment, segment.lanes.get(&lane)?)));
        spans.map(|(segment, span)| span.waiting(self.acknowledged(lane, segment.id.epoch).0).1).sum()
    }
}

/// A segment that is this small is not worth rewriting.
const SMALL_BYTES: u64 = 1024;

impl Newest {
    fn forget(&mut self, number: u32, entry: &Entry) {
        if self.0.get(&entry.key).is_some_and(|latest| (latest.segment, latest.sequence) == (number, entry.sequence)) {
            self.0.remove(&entry.key);
        }
    }
}
