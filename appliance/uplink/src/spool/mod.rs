//! The durable outbound queue: what is committed here survives `kill -9` and power loss until the control plane has acknowledged it.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::LanePosition;
use postern_protocol::status;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::watch;

/// Why the spool cannot go on, or refuses a commit.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool was closed or its thread has ended.
    #[error("the spool is closed")]
    Closed,
    /// A file cannot be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

/// Where a spool lies and how big it may grow.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Its directory; made when absent.
    pub dir: PathBuf,
    /// Size at which a segment counts as full.
    pub segment_bytes: u64,
    /// Most bytes of all segments; beyond it the oldest are evicted.
    pub max_bytes: u64,
}

/// Number of a commit since the spool was opened, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitNumber(pub u64);

/// What becomes durable together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Records for the control plane, in order.
    pub records: Vec<(Lane, Bytes)>,
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
    /// Records that were durable once and are unreadable now.
    pub damaged_records: u64,
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

/// Draws a random epoch.
///
/// # Errors
/// [`SpoolError::Random`].
pub fn fresh_epoch() -> Result<Epoch, SpoolError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SpoolError::Random)?;
    Ok(Epoch(u64::from_le_bytes(bytes)))
}

/// A handle to the spool; clones share it.
#[derive(Clone)]
pub struct Spool {
    durable: watch::Receiver<CommitNumber>,
}

/// The spool's thread, to be awaited by one task of the daemon.
pub struct SpoolWriter(());

impl SpoolWriter {
    /// Waits until the thread has ended: after [`Spool::close`], after the last handle is gone, or by an error.
    ///
    /// # Errors
    /// What stopped the thread: the daemon must not go on.
    pub async fn finished(self) -> Result<(), SpoolError> {
        Err(SpoolError::Closed)
    }
}

impl Spool {
    /// Opens the spool and starts its thread; `epoch` is new for every start (see [`fresh_epoch`]).
    ///
    /// # Errors
    /// [`SpoolError`] when the directory cannot be used.
    pub fn open(_options: SpoolOptions, _epoch: Epoch, _now: Timestamp) -> Result<(Self, Recovered, SpoolWriter), SpoolError> {
        Err(SpoolError::Closed)
    }

    /// Queues a commit; waits while the queue is full, and returns once it is queued, not yet durable (see [`Spool::durable`]).
    ///
    /// # Errors
    /// [`SpoolError::Closed`], or why the commit can never be stored.
    pub async fn commit(&self, _commit: Commit) -> Result<CommitNumber, SpoolError> {
        Err(SpoolError::Closed)
    }

    /// Returns a view of the highest commit that is durable; it closes when the spool's thread ends.
    pub fn durable(&self) -> watch::Receiver<CommitNumber> {
        self.durable.clone()
    }

    /// Says that the next commit should carry a checkpoint.
    pub fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Returns the next durable, unacknowledged records of `lane` after `after`, or `None` when there are none. Reads files.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub fn next_batch(&self, _lane: Lane, _after: Option<(Epoch, Sequence)>) -> Result<Option<OutBatch>, SpoolError> {
        Ok(None)
    }

    /// Takes note that the control plane has committed everything in `lane` and `epoch` up to `sequence`.
    pub fn acknowledge(&self, _lane: Lane, _epoch: Epoch, _sequence: Sequence) {}

    /// Returns the durable head of each lane in the present epoch.
    pub fn heads(&self) -> Vec<LanePosition> {
        Vec::new()
    }

    /// Says how full the spool is.
    pub fn fill(&self) -> status::Spool {
        status::Spool { lanes: std::collections::BTreeMap::new(), bytes_on_disk: 0, seconds_left: None }
    }

    /// Counts the times that something unacknowledged was evicted; when it grows, open alerts are to be committed again.
    pub fn evictions(&self) -> u64 {
        0
    }

    /// Commits `last`, marks the stop as clean and ends the thread; every other handle then gets [`SpoolError::Closed`].
    ///
    /// # Errors
    /// [`SpoolError`] when that could not be made durable.
    pub async fn close(self, _last: Commit) -> Result<(), SpoolError> {
        Err(SpoolError::Closed)
    }
}
