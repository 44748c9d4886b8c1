//! The bytes of a segment: encoding of records, and finding them again in bytes that may be torn or damaged.
//!
//! Pure: bytes in, bytes out; the format is specified in the [parent module](super). Called by the writer, by recovery and by
//! the reader, and by a fuzz target.

use std::collections::BTreeMap;

use postern_protocol::id::{Epoch, Lane};
use postern_protocol::timestamp::Timestamp;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 36;

/// Bytes of a record beside its payload: the header and the payload's check.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 4;

/// Names a segment: its number, which orders segments, and the one epoch of its records. Both stand in the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    /// Its number, greater than that of every segment made before it.
    pub number: u32,
    /// Its epoch.
    pub epoch: Epoch,
}

impl SegmentId {
    /// Returns the name of the segment's file.
    pub fn file_name(self) -> String {
        format!("{:08x}-{:016x}.v1", self.number, self.epoch.0)
    }

    /// Returns the segment that has a file of this name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (number, epoch) = name.strip_suffix(".v1")?.split_once('-')?;
        let id = Self { number: u32::from_str_radix(number, 16).ok()?, epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?) };
        (id.file_name() == name).then_some(id)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole local state.
    Checkpoint,
    /// Local state that changed.
    Delta,
    /// The end of a commit; its payload is an [`End`].
    End,
    /// A record for the control plane.
    Record(Lane),
    /// What is acknowledged and what was evicted; its payload is specified in the [parent module](super).
    Standing,
}

impl Kind {
    const fn numbers(self) -> (u8, u8) {
        match self {
            Self::Checkpoint => (1, 0),
            Self::Record(lane) => (2, lane.number()),
            Self::Delta => (3, 0),
            Self::Standing => (4, 0),
            Self::End => (5, 0),
        }
    }

    fn from_numbers(kind: u8, lane: u8) -> Option<Self> {
        match (kind, lane) {
            (1, 0) => Some(Self::Checkpoint),
            (2, lane) => Lane::from_number(lane).map(Self::Record),
            (3, 0) => Some(Self::Delta),
            (4, 0) => Some(Self::Standing),
            (5, 0) => Some(Self::End),
            _ => None,
        }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Sequence of a [`Kind::Record`], number of the commit for a [`Kind::End`], else 0.
    pub sequence: u64,
    /// Bytes of the payload.
    pub length: u32,
}

impl Header {
    /// Returns the bytes of the whole record.
    pub fn record_bytes(&self) -> usize {
        (self.length as usize).saturating_add(OVERHEAD_BYTES)
    }
}

/// Payload of a [`Kind::End`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When the commit was made.
    pub at: Timestamp,
    /// How many bytes of this segment were durable before this commit was written.
    pub durable: u32,
    /// Whether the program stopped in good order after this commit.
    pub clean: bool,
}

impl End {
    /// Encodes the payload.
    pub fn encode(&self) -> [u8; 13] {
        let mut out = [0; 13];
        for (to, from) in
            out.iter_mut().zip(self.at.as_nanos().to_le_bytes().into_iter().chain(self.durable.to_le_bytes()).chain([u8::from(self.clean)]))
        {
            *to = from;
        }
        out
    }

    /// Decodes the payload.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (at, rest) = payload.split_first_chunk()?;
        let (durable, rest) = rest.split_first_chunk()?;
        let [clean @ (0 | 1)] = rest else { return None };
        Some(Self { at: Timestamp::from_nanos(i64::from_le_bytes(*at)), durable: u32::from_le_bytes(*durable), clean: *clean == 1 })
    }
}

/// Appends one record to `out`, which holds the segment's bytes from offset `base`.
///
/// The caller keeps a segment under 4 GiB; beyond that the record would be unreadable, and a debug build stops.
pub fn append(id: SegmentId, base: u32, out: &mut Vec<u8>, (kind, sequence): (Kind, u64), payload: &[u8]) {
    let at = u64::from(base).saturating_add(out.len() as u64);
    debug_assert!(at.saturating_add((payload.len() + OVERHEAD_BYTES) as u64) <= u64::from(u32::MAX), "a segment stays under 4 GiB");
    let (number, lane) = kind.numbers();
    let from = out.len();
    out.reserve(payload.len().saturating_add(OVERHEAD_BYTES));
    out.extend_from_slice(&id.epoch.0.to_le_bytes());
    out.extend_from_slice(&id.number.to_le_bytes());
    out.extend_from_slice(&u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[number, lane, 0, 0]);
    let header = crc32c::crc32c(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&header.to_le_bytes());
    out.extend_from_slice(payload);
    let whole = crc32c::crc32c(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&whole.to_le_bytes());
}

fn header_at(id: SegmentId, base: u32, bytes: &[u8], at: usize) -> Option<Header> {
    let header: &[u8; HEADER_BYTES] = bytes.get(at..)?.first_chunk()?;
    let (epoch, rest) = header.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let ([kind, lane, 0, 0], check) = rest.split_first_chunk()? else { return None };
    let place = u64::from(base).saturating_add(at as u64);
    let fits = u64::from_le_bytes(*epoch) == id.epoch.0
        && u32::from_le_bytes(*number) == id.number
        && u64::from(u32::from_le_bytes(*offset)) == place
        && crc32c::crc32c(header.get(..HEADER_BYTES - 4)?).to_le_bytes() == *check;
    if !fits {
        return None;
    }
    Some(Header { kind: Kind::from_numbers(*kind, *lane)?, sequence: u64::from_le_bytes(*sequence), length: u32::from_le_bytes(*length) })
}

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
    /// Its content.
    pub payload: &'a [u8],
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
            .windows(HEADER_BYTES)
            .enumerate()
            .filter(|(_, window)| window.starts_with(&needle))
            .map(|(index, _)| at.saturating_add(1).saturating_add(index))
            .find(|place| header_at(self.id, self.base, self.bytes, *place).is_some());
        ahead.unwrap_or_else(|| self.bytes.len().saturating_sub(HEADER_BYTES - 1).max(at.saturating_add(1)))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        if rest.len() < HEADER_BYTES {
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
        Some(Step::Record(Found { at, header, payload: checked.get(HEADER_BYTES..).unwrap_or_default() }))
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
    let damaged = count_damaged(&steps);
    let records: Vec<_> = steps.iter().filter_map(|step| if let Step::Record(found) = step { Some(*found) } else { None }).collect();
    let last = records.iter().rev().find(|found| found.header.kind == Kind::End).and_then(|found| End::decode(found.payload));
    Scan { records, keep, durable, damaged, last }
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
            Step::Record(found) if found.header.kind == Kind::End => End::decode(found.payload).map(|end| (found.end(), end)),
            Step::Cut { .. } | Step::Damaged { .. } | Step::Record(_) | Step::Unreadable { .. } => None,
        })
    };
    let durable = ends().map(|(_, end)| end.durable as usize).max().unwrap_or(0);
    let fault = steps.iter().filter(|step| !matches!(step, Step::Record(_))).map(place).find(|at| *at >= durable);
    let whole = ends().map(|(at, _)| at).filter(|at| fault.is_none_or(|fault| *at <= fault)).max().unwrap_or(0);
    (whole.max(durable), durable)
}

fn count_damaged(steps: &[Step<'_>]) -> u64 {
    let (mut damaged, mut unreadable, mut missing) = (0_u64, 0_u64, 0_u64);
    let mut last: BTreeMap<Lane, u64> = BTreeMap::new();
    let mut in_a_row = false;
    for step in steps {
        let header = match step {
            Step::Cut { header, .. } => {
                unreadable += u64::from(!in_a_row);
                *header
            }
            Step::Damaged { header, .. } => {
                damaged += 1;
                Some(*header)
            }
            Step::Record(found) => Some(found.header),
            Step::Unreadable { .. } => {
                unreadable += u64::from(!in_a_row);
                None
            }
        };
        in_a_row = matches!(step, Step::Unreadable { .. });
        if let Some(Header { kind: Kind::Record(lane), sequence, .. }) = header
            && let Some(before) = last.insert(lane, sequence)
        {
            missing = missing.saturating_add(sequence.saturating_sub(before).saturating_sub(1));
        }
    }
    damaged.saturating_add(unreadable.max(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SegmentId = SegmentId { number: 3, epoch: Epoch(0x1122_3344_5566_7788) };

    /// Appends one commit of one record as a group of its own.
    fn commit(out: &mut Vec<u8>, number: u64, text: &str) {
        let durable = u32::try_from(out.len()).unwrap();
        append(ID, 0, out, (Kind::Record(Lane::Alerts), number), text.as_bytes());
        append(ID, 0, out, (Kind::End, number), &End { at: Timestamp::from_secs(5), durable, clean: false }.encode());
    }

    fn texts(scan: &Scan<'_>) -> Vec<String> {
        let lane = scan.records.iter().filter(|found| found.header.kind == Kind::Record(Lane::Alerts));
        lane.map(|found| String::from_utf8(found.payload.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_layout_is_the_specified_one() {
        let mut out = Vec::new();
        append(ID, 0x100, &mut out, (Kind::Record(Lane::Logs), 9), b"hello");
        let expected =
            [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 3, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 3, 0, 0];
        assert_eq!(out[..32], expected);
        assert_eq!(out[32..36], crc32c::crc32c(&expected).to_le_bytes());
        assert_eq!(out[36..41], *b"hello");
        assert_eq!(out[41..], crc32c::crc32c(&out[..41]).to_le_bytes());
        assert_eq!(ID.file_name(), "00000003-1122334455667788.v1");
        assert_eq!(SegmentId::from_file_name(&ID.file_name()), Some(ID));
        assert_eq!(SegmentId::from_file_name("3-1122334455667788.v1"), None);
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
            append(ID, 0, &mut out, (Kind::Record(Lane::Alerts), number), text.as_bytes());
            append(ID, 0, &mut out, (Kind::End, number), &End { at: Timestamp::default(), durable, clean: false }.encode());
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
