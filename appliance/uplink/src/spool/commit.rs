//! What goes into the spool and what comes out of it.

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;

use super::Worth;

/// A record for the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which lane.
    pub lane: Lane,
    /// Its content.
    pub bytes: Bytes,
    /// Digest of what it is about; on the alerts lane a newer record of the same key supersedes it. 0: nothing supersedes it.
    pub key: u64,
    /// What it is worth.
    pub worth: Worth,
}

impl Record {
    /// Makes a record that is worth what its lane is, and that nothing supersedes.
    pub const fn plain(lane: Lane, bytes: Bytes) -> Self {
        Self { lane, bytes, key: 0, worth: Worth::Plain }
    }
}

/// Number of a commit since the spool was opened, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitNumber(pub u64);

/// What becomes durable together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Records for the control plane, in order.
    pub records: Vec<Record>,
    /// Local state that changed with them; never sent. Empty: none.
    pub delta: Vec<u8>,
    /// The whole local state after this commit, when [`Spool::wants_checkpoint`] asks for it.
    pub checkpoint: Option<Vec<u8>>,
    /// When.
    pub at: Timestamp,
}

/// What an earlier run left behind.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The newest readable checkpoint.
    pub checkpoint: Option<Vec<u8>>,
    /// What was committed after (or together with) it, in order.
    pub later: Vec<Replayed>,
    /// Time of the last commit, when the run did not end with [`Spool::close`].
    pub unclean_since: Option<Timestamp>,
    /// Records that were durable once and are unreadable now, at least.
    pub damaged_records: u64,
    /// Something was damaged, or evicted by the last run, before the control plane had it, or the last run had to do so for another
    /// reason and the control plane has not taken its word that it did: commit every open alert again.
    pub resend_open_alerts: bool,
}

/// One thing that was committed after the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Local state.
    Delta(Vec<u8>),
    /// A record for the control plane.
    Record {
        /// Its lane.
        lane: Lane,
        /// Its content.
        bytes: Bytes,
    },
}

/// Records of one lane and epoch, in order and without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutBatch {
    /// Their epoch.
    pub epoch: Epoch,
    /// Sequence of the first.
    pub first: Sequence,
    /// The records.
    pub records: Vec<Bytes>,
}
