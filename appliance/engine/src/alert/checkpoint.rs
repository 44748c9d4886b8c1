//! The engine's whole state as bytes (protobuf): what each spool segment begins with.

use postern_protocol::alert::{Alert, AlertError, AlertKey, AlertState};
use prost::Message as _;

use super::table::Table;

/// The format that this build writes and reads.
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
}

impl WireEnd {
    fn new(revision: u64, key: &AlertKey) -> Self {
        let AlertKey { resource, kind, qualifier } = key.clone();
        Self { resource, kind, qualifier, revision }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSlot {
    #[prost(bytes = "vec", tag = "1")]
    alert: Vec<u8>,
    /// Whether it changed since the last drain.
    #[prost(bool, tag = "2")]
    changed: bool,
}

/// Encodes the table; the same state always gives the same bytes.
pub(super) fn encode(table: &Table) -> Vec<u8> {
    let mut slots: Vec<_> = table.slots().collect();
    slots.sort_unstable_by_key(|(alert, _)| alert.revision);
    let open = slots.into_iter().map(|(alert, changed)| WireSlot { alert: alert.encode(), changed }).collect();
    let ended = table.ended().iter().map(Alert::encode).collect();
    let ends = table.ends().map(|(revision, key)| WireEnd::new(revision, key)).collect();
    WireCheckpoint { format: FORMAT, last_revision: table.last_revision(), open, ended, ends }.encode_to_vec()
}

/// Decodes and checks a table.
pub(super) fn decode(bytes: &[u8]) -> Result<Table, CheckpointError> {
    let wire = WireCheckpoint::decode(bytes)?;
    if wire.format != FORMAT {
        return Err(CheckpointError::Format(wire.format));
    }
    let mut open = Vec::with_capacity(wire.open.len());
    for slot in wire.open {
        let alert = Alert::decode(&slot.alert)?;
        if alert.state != AlertState::Open {
            return Err(CheckpointError::Field("state"));
        }
        open.push((alert, slot.changed));
    }
    let ended = wire.ended.iter().map(|record| Alert::decode(record)).collect::<Result<Vec<_>, _>>()?;
    if ended.iter().any(|alert| alert.state == AlertState::Open) {
        return Err(CheckpointError::Field("state"));
    }
    if open.iter().map(|(alert, _)| alert).chain(&ended).any(|alert| alert.revision > wire.last_revision) {
        return Err(CheckpointError::Field("revision"));
    }
    let mut table = Table::from_parts(wire.last_revision, open, ended);
    for WireEnd { resource, kind, qualifier, revision } in wire.ends {
        table.note_end(&AlertKey { resource, kind, qualifier }, revision);
    }
    Ok(table)
}
