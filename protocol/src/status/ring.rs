//! What a status report says of the ring of received events that a gateway keeps for replays: numbers and times, nothing of its content.

use serde::{Deserialize, Serialize};

/// How the ring stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingState {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Blocks on the disk.
    pub blocks: u64,
    /// When the oldest event in it came, nanoseconds since the Unix epoch.
    #[serde(default)]
    pub from: Option<i64>,
    /// When the newest one came that is on the disk.
    #[serde(default)]
    pub until: Option<i64>,
    /// Events since the start that it does not have: they came faster than it is written, or the disk refused.
    pub missed: u64,
    /// Why the last block could not be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
