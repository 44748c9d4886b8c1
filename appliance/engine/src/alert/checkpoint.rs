//! The engine's whole state as bytes (protobuf): what each spool segment begins with.

use postern_protocol::alert::{Alert, AlertError, AlertKey, AlertState};
use postern_protocol::timestamp::Timestamp;
use prost::Message as _;

use super::moment::{Clock, ClockKind};
use super::table::{Kept, Table};

/// The format that this build writes and reads. What was added since is optional, so that builds before read what this one writes.
const FORMAT: u32 = 1;

/// Why bytes are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A record in it is no alert.
    #[error("the checkpoint holds a bad record")]
    Alert(#[from] AlertError),
    /// The encoding is broken.
    #[error("the checkpoint is not well formed")]
    Encoding(#[from] prost::DecodeError),
    /// A field has a value outside its range.
    #[error("the checkpoint has an invalid {0}")]
    Field(&'static str),
    /// Another format.
    #[error("the checkpoint has format {0}, this program reads format {FORMAT}")]
    Format(u32),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireCheckpoint {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    last_revision: u64,
    #[prost(message, repeated, tag = "3")]
    open: Vec<WireSlot>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    ended: Vec<Vec<u8>>,
    /// The newest ends; an earlier build wrote none.
    #[prost(message, repeated, tag = "5")]
    ends: Vec<WireEnd>,
    /// What the noise control remembers; an earlier build wrote none.
    #[prost(bytes = "vec", tag = "6")]
    noise: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireEnd {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    qualifier: String,
    #[prost(uint64, tag = "4")]
    revision: u64,
    #[prost(message, optional, tag = "5")]
    clock: Option<WireClock>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSlot {
    #[prost(bytes = "vec", tag = "1")]
    alert: Vec<u8>,
    /// Whether it changed since the last drain.
    #[prost(bool, tag = "2")]
    changed: bool,
    #[prost(message, optional, tag = "3")]
    clock: Option<WireClock>,
    /// When it was last reported; its last_seen when left out.
    #[prost(sfixed64, optional, tag = "4")]
    heard: Option<i64>,
    #[prost(uint32, optional, tag = "5")]
    clear_after_s: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireClock {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(fixed32, tag = "2")]
    sender: u32,
    #[prost(sfixed64, tag = "3")]
    nanos: i64,
}

impl WireClock {
    fn new(clock: Clock) -> Self {
        Self { kind: clock.kind.number(), sender: clock.sender, nanos: clock.nanos }
    }

    /// Returns the clock; none of a kind that a later build knows.
    fn clock(self) -> Option<Clock> {
        Some(Clock { kind: ClockKind::from_number(self.kind)?, sender: self.sender, nanos: self.nanos })
    }
}

/// Encodes the table, and what the noise control remembers; the same state always gives the same bytes.
pub(super) fn encode(table: &Table, noise: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut append = |part: WireCheckpoint| bytes.extend_from_slice(&part.encode_to_vec());
    append(WireCheckpoint { format: FORMAT, last_revision: table.last_revision(), ..WireCheckpoint::default() });
    // Messages one after the other are one message, so the open alerts need not be in memory twice.
    for Kept { alert, changed, clock, heard, clear_after_s } in table.kept() {
        let heard = (heard != alert.last_seen).then(|| heard.as_nanos());
        let slot = WireSlot { alert: alert.encode(), changed, clock: clock.map(WireClock::new), heard, clear_after_s };
        append(WireCheckpoint { open: vec![slot], ..WireCheckpoint::default() });
    }
    let ended = table.ended().iter().map(Alert::encode).collect();
    let ends = table.ends().iter().map(|(key, end)| {
        let AlertKey { resource, kind, qualifier } = key.clone();
        WireEnd { resource, kind, qualifier, revision: end.revision, clock: end.clock.map(WireClock::new) }
    });
    append(WireCheckpoint { ended, ends: ends.collect(), noise, ..WireCheckpoint::default() });
    bytes
}

/// Decodes and checks a table; returns what the noise control remembers beside it.
pub(super) fn decode(bytes: &[u8]) -> Result<(Table, Vec<u8>), CheckpointError> {
    let wire = WireCheckpoint::decode(bytes)?;
    if wire.format != FORMAT {
        return Err(CheckpointError::Format(wire.format));
    }
    let known = |alert: &Alert| if alert.revision > wire.last_revision { Err(CheckpointError::Field("revision")) } else { Ok(()) };
    let ended = wire.ended.iter().map(|record| Alert::decode(record)).collect::<Result<Vec<_>, _>>()?;
    if ended.iter().any(|alert| alert.state == AlertState::Open) {
        return Err(CheckpointError::Field("state"));
    }
    ended.iter().try_for_each(known)?;
    let mut table = Table::restored(wire.last_revision, ended);
    for WireSlot { alert, changed, clock, heard, clear_after_s } in wire.open {
        let alert = Alert::decode(&alert)?;
        known(&alert)?;
        if alert.state != AlertState::Open {
            return Err(CheckpointError::Field("state"));
        }
        if table.slot_of(&alert.key).is_some() {
            return Err(CheckpointError::Field("key"));
        }
        let heard = heard.map_or(alert.last_seen, Timestamp::from_nanos);
        table.put_back(Kept { alert, changed, clock: clock.and_then(WireClock::clock), heard, clear_after_s });
    }
    for WireEnd { resource, kind, qualifier, revision, clock } in wire.ends {
        table.note_end(&AlertKey { resource, kind, qualifier }, revision, clock.and_then(WireClock::clock));
    }
    Ok((table, wire.noise))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As builds wrote it before clocks, timeouts and noise were kept: two open alerts, one that had ended, and that end.
    const EARLIER: &str = include_str!("../../tests/data/checkpoint-1.hex");

    #[test]
    fn what_an_earlier_build_wrote_is_read() {
        let bytes = from_hex(EARLIER);
        let (table, noise) = decode(&bytes).unwrap();
        assert_eq!((table.open_count(), table.ended().len(), table.ends().iter().count(), noise.len()), (2, 1, 1, 0));
        assert_eq!(table.last_revision(), 1_800_000_003_000_000);
        let changed: Vec<_> = table.kept().map(|kept| (kept.alert.key.resource, kept.alert.count, kept.changed)).collect();
        assert_eq!(changed, [("a".to_owned(), 2, false), ("c".to_owned(), 1, true)]);
        assert_eq!(encode(&table, vec![]), bytes, "an earlier build does not read what this one makes of it");
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}
