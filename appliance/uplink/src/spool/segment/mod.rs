//! The bytes of a segment: names, headers and bodies. [`scan`] finds them again in bytes that may be torn or damaged.
//!
//! Pure: bytes in, bytes out; the format is specified in the [parent module](super), and what is sealed stays so here. Called by
//! the core, by eviction, recovery and the reader, and by a fuzz target.

pub mod scan;

use postern_protocol::id::{Epoch, Lane};
use postern_protocol::timestamp::Timestamp;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 48;

/// Bytes of a record beside its body: the header and the body's check.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 4;

/// Bytes of a header of version 1.
const HEADER_BYTES_1: usize = 36;

/// Bytes of a whole record of version 1 beside its body.
const OVERHEAD_BYTES_1: usize = HEADER_BYTES_1 + 4;

/// Version of the format that a segment is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Before keys, digests and worth: read, never written.
    One,
    /// The one that is written.
    Two,
}

/// Names a segment: its number, which orders segments, the one epoch of its records, and how often it was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    /// Its number, greater than that of every segment made before it.
    pub number: u32,
    /// Its epoch.
    pub epoch: Epoch,
    /// 0, and one more with each rewriting.
    pub generation: u32,
    /// Its format.
    pub version: Version,
}

impl SegmentId {
    /// Names a segment that was never rewritten.
    pub const fn new(number: u32, epoch: Epoch) -> Self {
        Self { number, epoch, generation: 0, version: Version::Two }
    }

    /// Names what this segment is rewritten to.
    pub const fn rewritten(self) -> Self {
        Self { generation: self.generation.saturating_add(1), version: Version::Two, ..self }
    }

    const fn header_bytes(self) -> usize {
        match self.version {
            Version::One => HEADER_BYTES_1,
            Version::Two => HEADER_BYTES,
        }
    }

    /// Returns the name of the segment's file.
    pub fn file_name(self) -> String {
        match self.version {
            Version::One => format!("{:08x}-{:016x}.v1", self.number, self.epoch.0),
            Version::Two => format!("{:08x}-{:016x}-{:08x}.v2", self.number, self.epoch.0, self.generation),
        }
    }

    /// Returns the segment that has a file of this name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (stem, version) = match name.strip_suffix(".v1") {
            Some(stem) => (stem, Version::One),
            None => (name.strip_suffix(".v2")?, Version::Two),
        };
        let mut parts = stem.split('-');
        let number = u32::from_str_radix(parts.next()?, 16).ok()?;
        let epoch = Epoch(u64::from_str_radix(parts.next()?, 16).ok()?);
        let generation = parts.next().map_or(Some(0), |part| u32::from_str_radix(part, 16).ok())?;
        let id = Self { number, epoch, generation, version };
        (id.file_name() == name).then_some(id)
    }
}

/// How much a record is worth when room is short; the spool judges without understanding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// An alert's state that is over: given up before [`Worth::Open`] ones.
    Ended,
    /// An alert's state that lasts: its newest revision is never given up.
    Open,
    /// Nothing but its lane says what it is worth.
    #[default]
    Plain,
}

impl Worth {
    const fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Ended => 1,
            Self::Open => 2,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Ended),
            2 => Some(Self::Open),
            _ => None,
        }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole local state.
    Checkpoint,
    /// Local state that changed.
    Delta,
    /// The end of a commit; its body is an [`End`].
    End,
    /// The segment's key, wrapped under the machine key.
    Key,
    /// A record for the control plane.
    Record(Lane),
    /// Records of a lane that were given up; its body is a [`Skipped`].
    Skipped(Lane),
    /// What is acknowledged and what was evicted; its body is specified in the [parent module](super).
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
            Self::Key => (6, 0),
            Self::Skipped(lane) => (7, lane.number()),
        }
    }

    fn from_numbers(kind: u8, lane: u8) -> Option<Self> {
        match (kind, lane) {
            (1, 0) => Some(Self::Checkpoint),
            (2, lane) => Lane::from_number(lane).map(Self::Record),
            (3, 0) => Some(Self::Delta),
            (4, 0) => Some(Self::Standing),
            (5, 0) => Some(Self::End),
            (6, 0) => Some(Self::Key),
            (7, lane) => Lane::from_number(lane).map(Self::Skipped),
            _ => None,
        }
    }
}

/// What a header says beside the record's place and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// What the record is.
    pub kind: Kind,
    /// Sequence of a [`Kind::Record`], first one of a [`Kind::Skipped`], number of the commit for a [`Kind::End`], else 0.
    pub sequence: u64,
    /// Digest of what a [`Kind::Record`] is about, or 0.
    pub key: u64,
    /// What it is worth.
    pub worth: Worth,
    /// The body is encrypted under the segment's key.
    pub is_sealed: bool,
    /// What is encrypted was compressed before.
    pub is_compressed: bool,
}

impl Label {
    /// Labels a record that is neither sealed nor compressed.
    pub const fn plain(kind: Kind, sequence: u64) -> Self {
        Self { kind, sequence, key: 0, worth: Worth::Plain, is_sealed: false, is_compressed: false }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record is.
    pub label: Label,
    /// Bytes of the body.
    pub length: u32,
    /// Bytes of the record beside its body.
    overhead: usize,
}

impl Header {
    /// Returns the bytes of the whole record.
    pub fn record_bytes(&self) -> usize {
        (self.length as usize).saturating_add(self.overhead)
    }
}

/// Body of a [`Kind::End`].
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
    /// Encodes the body.
    pub fn encode(&self) -> [u8; 13] {
        let mut out = [0; 13];
        for (to, from) in
            out.iter_mut().zip(self.at.as_nanos().to_le_bytes().into_iter().chain(self.durable.to_le_bytes()).chain([u8::from(self.clean)]))
        {
            *to = from;
        }
        out
    }

    /// Decodes the body.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (at, rest) = body.split_first_chunk()?;
        let (durable, rest) = rest.split_first_chunk()?;
        let [clean @ (0 | 1)] = rest else { return None };
        Some(Self { at: Timestamp::from_nanos(i64::from_le_bytes(*at)), durable: u32::from_le_bytes(*durable), clean: *clean == 1 })
    }
}

/// Body of a [`Kind::Skipped`]: what stands in the place of records that were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The last of them.
    pub to: u64,
    /// Number of the rewriting that gave them up, since the spool was made.
    pub rewriting: u64,
    /// Why: the number of a reason.
    pub reason: u8,
}

impl Skipped {
    /// Encodes the body.
    pub fn encode(&self) -> Vec<u8> {
        [&self.to.to_le_bytes()[..], &self.rewriting.to_le_bytes(), &[self.reason]].concat()
    }

    /// Decodes the body.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (to, rest) = body.split_first_chunk()?;
        let (rewriting, rest) = rest.split_first_chunk()?;
        let [reason] = rest else { return None };
        Some(Self { to: u64::from_le_bytes(*to), rewriting: u64::from_le_bytes(*rewriting), reason: *reason })
    }
}

/// Returns the header, without its check, of a record that begins at byte `offset` of the segment: what a seal covers.
pub fn header(id: SegmentId, offset: u32, label: Label, length: usize) -> [u8; HEADER_BYTES - 4] {
    let (kind, lane) = label.kind.numbers();
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let flags = u8::from(label.is_compressed) | (u8::from(label.is_sealed) << 1);
    let parts = id.epoch.0.to_le_bytes().into_iter().chain(id.number.to_le_bytes()).chain(id.generation.to_le_bytes());
    let parts = parts.chain(offset.to_le_bytes()).chain(length.to_le_bytes()).chain(label.sequence.to_le_bytes());
    let parts = parts.chain(label.key.to_le_bytes()).chain([kind, lane, label.worth.number(), flags]);
    let mut out = [0; HEADER_BYTES - 4];
    for (to, from) in out.iter_mut().zip(parts) {
        *to = from;
    }
    out
}

/// Appends one record to `out`, which holds the segment's bytes from offset `base`; `write` appends the body of `length` bytes and
/// is given the header, without its check.
///
/// The caller keeps a segment under 4 GiB; beyond that the record would be unreadable, and a debug build stops.
pub fn append_with(
    (id, base): (SegmentId, u32),
    out: &mut Vec<u8>,
    (label, length): (Label, usize),
    write: impl FnOnce(&[u8; HEADER_BYTES - 4], &mut Vec<u8>),
) {
    let at = u64::from(base).saturating_add(out.len() as u64);
    debug_assert!(at.saturating_add((length + OVERHEAD_BYTES) as u64) <= u64::from(u32::MAX), "a segment stays under 4 GiB");
    debug_assert!(id.version == Version::Two, "version 1 is never written");
    let from = out.len();
    out.reserve(length.saturating_add(OVERHEAD_BYTES));
    let header = header(id, u32::try_from(at).unwrap_or(u32::MAX), label, length);
    out.extend_from_slice(&header);
    out.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    write(&header, out);
    debug_assert!(out.len() == from + HEADER_BYTES + length, "the body has the length that its header says");
    let whole = crc32c::crc32c(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&whole.to_le_bytes());
}

/// Appends one record whose body is `body`.
pub fn append(place: (SegmentId, u32), out: &mut Vec<u8>, label: Label, body: &[u8]) {
    append_with(place, out, (label, body.len()), |_, out| out.extend_from_slice(body));
}

fn header_at(id: SegmentId, base: u32, bytes: &[u8], at: usize) -> Option<Header> {
    let place = u32::try_from(u64::from(base).saturating_add(at as u64)).ok()?;
    match id.version {
        Version::One => header_1_at(id, place, bytes.get(at..)?.first_chunk()?),
        Version::Two => header_2_at(id, place, bytes.get(at..)?.first_chunk()?),
    }
}

fn header_2_at(id: SegmentId, place: u32, bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    let (checked, check) = bytes.split_last_chunk::<4>()?;
    let (epoch, rest) = checked.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let [kind, lane, worth, flags @ 0..=3] = rest else { return None };
    let fits = u64::from_le_bytes(*epoch) == id.epoch.0
        && u32::from_le_bytes(*number) == id.number
        && u32::from_le_bytes(*generation) == id.generation
        && u32::from_le_bytes(*offset) == place
        && crc32c::crc32c(checked).to_le_bytes() == *check;
    if !fits {
        return None;
    }
    let label = Label {
        kind: Kind::from_numbers(*kind, *lane)?,
        sequence: u64::from_le_bytes(*sequence),
        key: u64::from_le_bytes(*key),
        worth: Worth::from_number(*worth)?,
        is_compressed: flags & 1 != 0,
        is_sealed: flags & 2 != 0,
    };
    Some(Header { label, length: u32::from_le_bytes(*length), overhead: OVERHEAD_BYTES })
}

/// Version 1: epoch (8), number (4), offset (4), sequence (8), length (4), kind (1), lane (1), 0 (2), check (4).
fn header_1_at(id: SegmentId, place: u32, bytes: &[u8; HEADER_BYTES_1]) -> Option<Header> {
    let (checked, check) = bytes.split_last_chunk::<4>()?;
    let (epoch, rest) = checked.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let [kind @ 1..=5, lane, 0, 0] = rest else { return None };
    let fits = u64::from_le_bytes(*epoch) == id.epoch.0
        && u32::from_le_bytes(*number) == id.number
        && u32::from_le_bytes(*offset) == place
        && crc32c::crc32c(checked).to_le_bytes() == *check;
    if !fits {
        return None;
    }
    let label = Label::plain(Kind::from_numbers(*kind, *lane)?, u64::from_le_bytes(*sequence));
    Some(Header { label, length: u32::from_le_bytes(*length), overhead: OVERHEAD_BYTES_1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SegmentId = SegmentId::new(3, Epoch(0x1122_3344_5566_7788));

    #[test]
    fn the_layout_is_the_specified_one() {
        let mut out = Vec::new();
        let label =
            Label { key: 0xaabb, worth: Worth::Open, is_sealed: true, is_compressed: true, ..Label::plain(Kind::Record(Lane::Logs), 9) };
        append((SegmentId { generation: 2, ..ID }, 0x100), &mut out, label, b"hello");
        let expected = [
            [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 3, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]
                .as_slice(),
            &[0xbb, 0xaa, 0, 0, 0, 0, 0, 0, 2, 3, 2, 3],
        ]
        .concat();
        assert_eq!(out[..44], expected);
        assert_eq!(out[44..48], crc32c::crc32c(&expected).to_le_bytes());
        assert_eq!(out[48..53], *b"hello");
        assert_eq!(out[53..], crc32c::crc32c(&out[..53]).to_le_bytes());
    }

    #[test]
    fn a_file_name_says_which_segment_it_is() {
        assert_eq!(ID.file_name(), "00000003-1122334455667788-00000000.v2");
        for id in [ID, ID.rewritten(), SegmentId { version: Version::One, ..ID }] {
            assert_eq!(SegmentId::from_file_name(&id.file_name()), Some(id));
        }
        for name in ["3-1122334455667788.v1", "00000003-1122334455667788.v2", "00000003-1122334455667788-00000001.v1", "lock"] {
            assert_eq!(SegmentId::from_file_name(name), None, "{name}");
        }
    }
}
