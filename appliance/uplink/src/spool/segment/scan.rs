//! Finding records again in bytes that may be torn or damaged.
//!
//! Pure. Called by eviction, recovery and the reader, and by a fuzz target.

use std::collections::BTreeMap;

use postern_protocol::id::Lane;

use super::{End, Header, Kind, Label, SegmentId, Skipped, header_at};

/// One thing found at an offset of the bytes walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The bytes end inside the record that begins `at`; its header is known when it is whole.
    Cut {
        /// Where it begins.
        at: usize,
        /// What it would be.
        header: Option<Header>,
    },
    /// A record whose header is whole and whose payload is not what was written.
    Damaged {
        /// Where it begins.
        at: usize,
        /// What it was.
        header: Header,
    },
    /// A record as it was written.
    Record(Found<'a>),
    /// Bytes in which no record begins.
    Unreadable {
        /// Where they begin.
        at: usize,
    },
}

/// A record as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Where it begins.
    pub at: usize,
    /// What it is.
    pub header: Header,
    /// Its content, sealed as it may be.
    pub body: &'a [u8],
}

impl Found<'_> {
    /// Returns where the next record begins.
    pub fn end(&self) -> usize {
        self.at.saturating_add(self.header.record_bytes())
    }
}

/// Walks over the records in a part of a segment.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    id: SegmentId,
    base: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// Begins at the first of `bytes`, which is the segment's byte number `base`.
    pub fn new(id: SegmentId, base: u32, bytes: &'a [u8]) -> Self {
        Self { id, base, bytes, at: 0 }
    }

    /// Returns the place of the next valid header behind `at`, or where one that is not yet here whole could begin.
    fn resume(&self, at: usize) -> usize {
        let needle = self.id.epoch.0.to_le_bytes();
        let rest = self.bytes.get(at.saturating_add(1)..).unwrap_or_default();
        let ahead = rest
            .windows(self.id.header_bytes())
            .enumerate()
            .filter(|(_, window)| window.starts_with(&needle))
            .map(|(index, _)| at.saturating_add(1).saturating_add(index))
            .find(|place| header_at(self.id, self.base, self.bytes, *place).is_some());
        ahead.unwrap_or_else(|| self.bytes.len().saturating_sub(self.id.header_bytes() - 1).max(at.saturating_add(1)))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        if rest.len() < self.id.header_bytes() {
            self.at = self.bytes.len();
            return Some(Step::Cut { at, header: None });
        }
        let Some(header) = header_at(self.id, self.base, self.bytes, at) else {
            self.at = self.resume(at);
            return Some(Step::Unreadable { at });
        };
        let Some(record) = rest.get(..header.record_bytes()) else {
            self.at = self.bytes.len();
            return Some(Step::Cut { at, header: Some(header) });
        };
        self.at = at.saturating_add(record.len());
        let (checked, check) = record.split_last_chunk::<4>()?;
        if crc32c::crc32c(checked).to_le_bytes() != *check {
            return Some(Step::Damaged { at, header });
        }
        Some(Step::Record(Found { at, header, body: checked.get(self.id.header_bytes()..).unwrap_or_default() }))
    }
}

/// Whether a segment's end may be the unfinished write of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// All of it was durable once: a later segment exists, which is only made after that.
    Durable,
    /// It is the newest segment: what no later commit testifies to may be unfinished.
    Open,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub struct Scan<'a> {
    /// The records of whole commits, in order.
    pub records: Vec<Found<'a>>,
    /// How much of the segment is to be kept; what lies behind was never durable.
    pub keep: usize,
    /// How much of it is known to be durable.
    pub durable: usize,
    /// Records that were durable once and cannot be read, at least; what left no trace of its number counts as one.
    pub damaged: u64,
    /// Of these, the records of lanes: first and last sequence of what is missing between those that left a trace, and of each of
    /// those that cannot be read.
    pub missing: Vec<(Lane, (u64, u64))>,
    /// Of these, places at which no record begins, beyond what `missing` explains: each had one at least, of whatever kind.
    pub unexplained: u64,
    /// First and last sequence of each lane that left a trace.
    pub lanes: BTreeMap<Lane, (u64, u64)>,
    /// The last commit's end.
    pub last: Option<End>,
}

/// Finds every record of a whole commit in the bytes of a segment.
///
/// Whatever the bytes are, this ends, does not panic, and returns no record that was not written to this place of this segment.
pub fn scan(id: SegmentId, bytes: &[u8], tail: Tail) -> Scan<'_> {
    let mut steps: Vec<_> = Walk::new(id, 0, bytes).collect();
    let (keep, durable) = match tail {
        Tail::Durable => (bytes.len(), bytes.len()),
        Tail::Open => open_end(&steps),
    };
    let (keep, durable) = (keep.min(bytes.len()), durable.min(bytes.len()));
    steps.retain(|step| place(step) < keep);
    let Damage { damaged, missing, unexplained, lanes } = assess(&steps);
    let records: Vec<_> = steps.iter().filter_map(|step| if let Step::Record(found) = step { Some(*found) } else { None }).collect();
    let last = records.iter().rev().find(|found| found.header.label.kind == Kind::End).and_then(|found| End::decode(found.body));
    Scan { records, keep, durable, damaged, missing, unexplained, lanes, last }
}

fn place(step: &Step<'_>) -> usize {
    match step {
        Step::Cut { at, .. } | Step::Damaged { at, .. } | Step::Unreadable { at } => *at,
        Step::Record(found) => found.at,
    }
}

/// Returns where the newest segment is to be cut, and how far it is known to be durable.
///
/// A group of commits is written only after the one before is durable, and each commit's [`End`] says how far that reaches. So
/// a fault below the highest such mark is damage to durable bytes; the first fault above it is where a crash cut the last write,
/// and everything from the commit in which it lies was never durable.
fn open_end(steps: &[Step<'_>]) -> (usize, usize) {
    let ends = || {
        steps.iter().filter_map(|step| match step {
            Step::Record(found) if found.header.label.kind == Kind::End => End::decode(found.body).map(|end| (found.end(), end)),
            Step::Cut { .. } | Step::Damaged { .. } | Step::Record(_) | Step::Unreadable { .. } => None,
        })
    };
    let durable = ends().map(|(_, end)| end.durable as usize).max().unwrap_or(0);
    let fault = steps.iter().filter(|step| !matches!(step, Step::Record(_))).map(place).find(|at| *at >= durable);
    let whole = ends().map(|(at, _)| at).filter(|at| fault.is_none_or(|fault| *at <= fault)).max().unwrap_or(0);
    (whole.max(durable), durable)
}

/// What cannot be read of a segment, as [`Scan`] tells it.
#[derive(Default)]
struct Damage {
    damaged: u64,
    missing: Vec<(Lane, (u64, u64))>,
    unexplained: u64,
    lanes: BTreeMap<Lane, (u64, u64)>,
}

fn assess(steps: &[Step<'_>]) -> Damage {
    let mut damage = Damage::default();
    let (mut unreadable, mut holes) = (0_u64, 0_u64);
    let mut in_a_row = false;
    for step in steps {
        let (header, body) = match step {
            Step::Cut { header, .. } => (*header, None),
            Step::Damaged { header, .. } => (Some(*header), None),
            Step::Record(found) => (Some(found.header), Some(found.body)),
            Step::Unreadable { .. } => (None, None),
        };
        unreadable = unreadable.saturating_add(u64::from(header.is_none() && !in_a_row));
        in_a_row = matches!(step, Step::Unreadable { .. });
        let Some(Label { kind, sequence: first, .. }) = header.map(|header| header.label) else { continue };
        damage.damaged = damage.damaged.saturating_add(u64::from(body.is_none()));
        let (lane, to) = match kind {
            Kind::Record(lane) => {
                damage.missing.extend(body.is_none().then_some((lane, (first, first))));
                (lane, first)
            }
            Kind::Skipped(lane) => (lane, body.and_then(Skipped::decode).map_or(first, |skipped| skipped.to)),
            Kind::Checkpoint | Kind::Delta | Kind::End | Kind::Key | Kind::Standing => continue,
        };
        let (_, last) = damage.lanes.entry(lane).or_insert((first, first.saturating_sub(1)));
        if first > last.saturating_add(1) {
            holes = holes.saturating_add(first.saturating_sub(*last).saturating_sub(1));
            damage.missing.push((lane, (last.saturating_add(1), first.saturating_sub(1))));
        }
        *last = to;
    }
    damage.damaged = damage.damaged.saturating_add(unreadable.max(holes));
    damage.unexplained = unreadable.saturating_sub(holes);
    damage
}

#[cfg(test)]
mod tests {
    use postern_protocol::id::Epoch;
    use postern_protocol::timestamp::Timestamp;

    use super::super::{HEADER_BYTES, append};
    use super::*;

    const ID: SegmentId = SegmentId::new(3, Epoch(0x1122_3344_5566_7788));

    /// Appends one commit of one record as a group of its own.
    fn commit(out: &mut Vec<u8>, number: u64, text: &str) {
        let durable = u32::try_from(out.len()).unwrap();
        append((ID, 0), out, Label::plain(Kind::Record(Lane::Alerts), number), text.as_bytes());
        append((ID, 0), out, Label::plain(Kind::End, number), &End { at: Timestamp::from_secs(5), durable, clean: false }.encode());
    }

    fn texts(scan: &Scan<'_>) -> Vec<String> {
        let lane = scan.records.iter().filter(|found| found.header.label.kind == Kind::Record(Lane::Alerts));
        lane.map(|found| String::from_utf8(found.body.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_damaged_header_costs_its_record_only() {
        let mut out = Vec::new();
        for (number, text) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
            commit(&mut out, number, text);
        }
        let at = out.windows(3).position(|window| window == b"two").unwrap();
        out[at - HEADER_BYTES + 24] ^= 0xff;
        let found = scan(ID, &out, Tail::Open);
        assert_eq!((texts(&found), found.damaged), (vec!["one".into(), "three".into(), "four".into()], 1));
    }

    #[test]
    fn a_fault_in_the_last_group_is_a_torn_write_and_takes_the_commits_behind_it_along() {
        let mut out = Vec::new();
        commit(&mut out, 1, "durable");
        let durable = u32::try_from(out.len()).unwrap();
        for (number, text) in [(2, "also"), (3, "torn"), (4, "after")] {
            append((ID, 0), &mut out, Label::plain(Kind::Record(Lane::Alerts), number), text.as_bytes());
            append((ID, 0), &mut out, Label::plain(Kind::End, number), &End { at: Timestamp::default(), durable, clean: false }.encode());
        }
        let at = out.windows(4).position(|window| window == b"torn").unwrap();
        out[at] = 0;
        let found = scan(ID, &out, Tail::Open);
        assert_eq!((texts(&found), found.damaged), (vec!["durable".into(), "also".into()], 0));
        let found = scan(ID, &out, Tail::Durable);
        assert_eq!((texts(&found), found.damaged), (vec!["durable".into(), "also".into(), "after".into()], 1));
    }

    #[test]
    fn a_record_in_another_place_epoch_or_segment_is_not_one() {
        let mut out = Vec::new();
        commit(&mut out, 1, "one");
        let mut moved = vec![0; 7];
        moved.extend_from_slice(&out);
        assert_eq!(scan(ID, &moved, Tail::Durable).records, []);
        assert_eq!(scan(SegmentId { number: 4, ..ID }, &out, Tail::Durable).records, []);
        assert_eq!(scan(SegmentId { epoch: Epoch(1), ..ID }, &out, Tail::Durable).records, []);
    }

    #[test]
    fn the_count_of_the_lost_follows_the_gap_in_the_sequence() {
        let mut out = Vec::new();
        for number in 1..=9 {
            commit(&mut out, number, "text");
        }
        let record = out.len() / 9;
        out[record * 2..record * 5].fill(0);
        let found = scan(ID, &out, Tail::Open);
        assert_eq!((texts(&found).len(), found.damaged), (6, 3));
    }
}
