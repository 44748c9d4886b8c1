//! The durable outbound queue: what is committed here survives `kill -9` and power loss until the control plane has acknowledged it.
//!
//! A *commit* is a list of records for the control plane, a change of local state (*delta*), or both, and becomes durable as a
//! whole or not at all. Commits are made durable in groups, one fsync a group, strictly in order. The gateway's pipeline
//! commits, the tunnel reads batches and acknowledges; contents are opaque here.
//!
//! # Files
//! One directory (0700) with a `lock` file and *segments* (0600), named `{number:08x}-{epoch:016x}.v1`: the number grows by
//! one from segment to segment and is never used twice, the epoch is the random one of the start (or renewal) that wrote it.
//! A segment is a sequence of records and nothing else; integers are little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | epoch, as in the name |
//! | 8 | 4 | segment number, as in the name |
//! | 12 | 4 | offset of this record in the segment |
//! | 16 | 8 | sequence in (epoch, lane), from 1, for a lane record; number of the commit for an end; else 0 |
//! | 24 | 4 | bytes of the payload, *n* |
//! | 28 | 1 | kind: 1 checkpoint, 2 lane record, 3 delta, 4 standing, 5 end |
//! | 29 | 1 | lane (`Lane::number`) of a lane record, else 0 |
//! | 30 | 2 | 0 |
//! | 32 | 4 | CRC-32C of bytes 0 to 31 |
//! | 36 | *n* | payload |
//! | 36 + *n* | 4 | CRC-32C of everything before it, from offset 0 |
//!
//! Each record says where it belongs, so one that is readable is known to be in its place, and behind damage the next one is
//! found by its epoch and header check. Text in a payload cannot pose as a record: the epoch is random and no device knows it.
//!
//! A commit is, in this order: a checkpoint (when it carries one), its lane records, its delta, a standing (when that has
//! changed, and in a segment's first commit), an end.
//! * *Checkpoint*: the whole local state. A commit with one begins a new segment, unless the present one is still new.
//! * *Standing*: how often this run evicted (8 bytes); a count (2), then for each lane its number (1) and how many records were
//!   evicted from it since the spool was made (8); then up to the end lane (1), epoch (8), sequence (8) of what is acknowledged.
//! * *End*: time of the commit (8 bytes, nanoseconds since the Unix epoch); how many bytes of this segment were durable before
//!   the commit's group was written (4); 1 when the program stopped in good order after it, else 0 (1).
//!
//! # What is promised
//! * A start opens a new segment, with an empty commit in it. The previous segment is durable before the next one is made,
//!   and a segment is removed only after what makes it needless is durable.
//! * Recovery cuts the newest segment behind the last whole commit before the first fault that lies above every *durable* mark:
//!   what a crash left unfinished was never durable, and exactly a prefix of the commits stays. A fault below such a mark, or in
//!   an older segment, is damage of the medium: those records are lost and counted, all others are kept.
//! * Segments are removed when all their lane records are acknowledged and the last two checkpoints lie behind them (the last
//!   but one, so that a damaged checkpoint costs nothing). Beyond the quota, or on a full disk, the oldest segments before the
//!   last checkpoint are evicted, acknowledged or not, and what was not is counted.
//! * A failed write or fsync ends the thread: nobody knows then what is on the disk, and recovery finds out.

mod index;
mod rate;
mod reader;
mod recovery;
pub mod segment;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{LanePosition, MAX_BATCH_BYTES};
use postern_protocol::status;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use self::index::Index;
use self::segment::SegmentId;
use self::storage::Directory;
use self::writer::{Command, Start, SyncFile, Writer};

/// Commits that wait for the thread; when it is full, [`Spool::commit`] waits.
const QUEUE_COMMITS: usize = 64;

/// Most bytes of one commit, checkpoint included.
pub const MAX_COMMIT_BYTES: usize = 1024 * 1024 * 1024;

/// Why the spool cannot go on, or refuses a commit.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool was closed or its thread has ended.
    #[error("the spool is closed")]
    Closed,
    /// A commit, or a record in it, is above its limit.
    #[error("a {what} of {bytes} bytes does not fit the spool: at most {most}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// The spool's thread died: a fault in the program.
    #[error("the spool's thread died")]
    Died,
    /// Segment numbers are used up.
    #[error("segment numbers are used up: the spool must be made anew")]
    Exhausted,
    /// A file cannot be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Another process has the spool open.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// Its directory.
        dir: PathBuf,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

/// Where a spool lies and how big it may grow. No `Debug`: it holds a key.
#[derive(Clone)]
pub struct SpoolOptions {
    /// Its directory; made when absent.
    pub dir: PathBuf,
    /// Size at which a segment counts as full.
    pub segment_bytes: u64,
    /// Most bytes of all segments; beyond it the oldest are evicted.
    pub max_bytes: u64,
    /// What the keys of segments are wrapped under; wiped with the last copy of the options.
    pub machine_key: Zeroizing<[u8; 32]>,
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
    /// Something was damaged, or evicted by the last run, before the control plane had it: commit every open alert again.
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
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    durable: watch::Receiver<CommitNumber>,
    // A mutex, for several tasks commit: taking a number and queueing under it must be one step. Held for that step only.
    last_number: Arc<Mutex<CommitNumber>>,
}

/// What the handles and the thread share.
struct Shared {
    directory: Directory,
    // A mutex, since the thread notes what is durable while the tunnel seeks and acknowledges. Never held over a file or a wait.
    index: Mutex<Index>,
    segment_bytes: u64,
    max_bytes: u64,
    opened: Instant,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The spool's thread, to be awaited by one task of the daemon.
pub struct SpoolWriter(oneshot::Receiver<Result<(), SpoolError>>);

impl SpoolWriter {
    /// Waits until the thread has ended: after [`Spool::close`], after the last handle is gone, or by an error.
    ///
    /// # Errors
    /// What stopped the thread: the daemon must not go on.
    pub async fn finished(self) -> Result<(), SpoolError> {
        self.0.await.map_err(|_| SpoolError::Died)?
    }
}

impl Spool {
    /// Opens the spool, recovers what an earlier run left, and starts the thread; `epoch` is new for every start (see
    /// [`fresh_epoch`]). Blocks while it reads.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it open, [`SpoolError::File`] when the directory cannot be used. Damaged
    /// content is no error.
    pub fn open(options: SpoolOptions, epoch: Epoch, now: Timestamp) -> Result<(Self, Recovered, SpoolWriter), SpoolError> {
        Self::open_on(options, epoch, now, Box::new(std::fs::File::sync_data))
    }

    fn open_on(options: SpoolOptions, epoch: Epoch, now: Timestamp, sync: SyncFile) -> Result<(Self, Recovered, SpoolWriter), SpoolError> {
        let directory = Directory::take(&options.dir)?;
        let (recovered, index, newest) = recovery::recover(&directory, epoch)?;
        let shared = Arc::new(Shared {
            directory,
            index: Mutex::new(index),
            segment_bytes: options.segment_bytes.min(options.max_bytes / 4),
            max_bytes: options.max_bytes,
            opened: Instant::now(),
        });
        let (commands, queue) = mpsc::channel(QUEUE_COMMITS);
        let (durable_tx, durable) = watch::channel(CommitNumber(0));
        let id = SegmentId { number: newest.checked_add(1).ok_or(SpoolError::Exhausted)?, epoch };
        let writer = Writer::start(Start { shared: Arc::clone(&shared), commands: queue, durable: durable_tx, sync, id, now })?;
        let (ended, finished) = oneshot::channel();
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                // Nobody listens when the daemon is going down already.
                let _unheard = ended.send(writer.run());
            })
            .map_err(|cause| SpoolError::File { path: options.dir, cause })?;
        let last_number = Arc::new(Mutex::new(CommitNumber(0)));
        Ok((Self { shared, commands, durable, last_number }, recovered, SpoolWriter(finished)))
    }

    /// Queues a commit; waits while the queue is full, and returns once it is queued, not yet durable (see [`Spool::durable`]).
    ///
    /// # Errors
    /// [`SpoolError::Closed`], or [`SpoolError::TooLong`] when it can never be stored.
    pub async fn commit(&self, commit: Commit) -> Result<CommitNumber, SpoolError> {
        check(&commit)?;
        let permit = self.commands.reserve().await.map_err(|_| SpoolError::Closed)?;
        let mut last = self.last_number.lock().unwrap_or_else(PoisonError::into_inner);
        *last = CommitNumber(last.0.saturating_add(1));
        if commit.checkpoint.is_some() {
            self.shared.index().checkpoint_queued();
        }
        permit.send(Command::Commit(*last, commit));
        Ok(*last)
    }

    /// Returns a view of the highest commit that is durable; it closes when the spool's thread ends.
    pub fn durable(&self) -> watch::Receiver<CommitNumber> {
        self.durable.clone()
    }

    /// Says that the next commit should carry a checkpoint: at the start, and whenever a segment is full.
    pub fn wants_checkpoint(&self) -> bool {
        self.shared.index().wants_checkpoint()
    }

    /// Returns the next durable, unacknowledged records of `lane` after `after`, or `None` when there are none. Reads files: call
    /// it where blocking is allowed.
    ///
    /// A batch has no gap in itself; one may lie before it, where records were evicted or damaged.
    ///
    /// # Errors
    /// [`SpoolError::File`] when a segment cannot be opened.
    pub fn next_batch(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> Result<Option<OutBatch>, SpoolError> {
        loop {
            let Some(place) = self.shared.index().seek(lane, after) else { return Ok(None) };
            match reader::read_batch(&self.shared.directory, lane, place) {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {
                    tracing::warn!(segment = place.segment.number, lane = lane.name(), "records of the spool became unreadable");
                    self.shared.index().give_up(lane, place);
                }
                // Trimmed or evicted since it was looked up: look again. One that is still listed is really lost.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && self.shared.index().seek(lane, after) != Some(place) => {}
                Err(cause) => return Err(SpoolError::File { path: self.shared.directory.path_of(place.segment), cause }),
            }
        }
    }

    /// Says whether [`Spool::next_batch`] has something, without reading a file.
    pub fn has_next(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> bool {
        self.shared.index().seek(lane, after).is_some()
    }

    /// Takes note that the control plane has committed everything in `lane` and `epoch` up to `sequence`; what nobody needs any
    /// more is then removed. An unknown epoch is ignored.
    pub fn acknowledge(&self, lane: Lane, epoch: Epoch, sequence: Sequence) {
        if self.shared.index().acknowledge(lane, epoch, sequence) {
            // A full queue is no loss: the writer trims after every group.
            let _full = self.commands.try_send(Command::Trim);
        }
    }

    /// Returns the present epoch.
    pub fn epoch(&self) -> Epoch {
        self.shared.index().epoch()
    }

    /// Returns the durable head of each lane in the present epoch; 0 for a lane without a record.
    pub fn heads(&self) -> Vec<LanePosition> {
        self.shared.index().places(Index::head)
    }

    /// Returns the last durable sequence of `lane` in `epoch`; 0 when that epoch is no longer here.
    pub(crate) fn head(&self, lane: Lane, epoch: Epoch) -> Sequence {
        self.shared.index().head(lane, epoch)
    }

    /// Returns what is acknowledged of each lane in the present epoch; 0 for nothing.
    pub fn acknowledged(&self) -> Vec<LanePosition> {
        self.shared.index().places(Index::acknowledged)
    }

    /// Goes on in a fresh epoch: for when the control plane knows more of the present one than this spool does.
    ///
    /// # Errors
    /// [`SpoolError::Closed`], or [`SpoolError::Random`].
    pub async fn renew_epoch(&self) -> Result<Epoch, SpoolError> {
        let epoch = fresh_epoch()?;
        let (done, renewed) = oneshot::channel();
        self.commands.send(Command::Renew(epoch, done)).await.map_err(|_| SpoolError::Closed)?;
        renewed.await.map_err(|_| SpoolError::Closed)?;
        Ok(epoch)
    }

    /// Says how full the spool is.
    pub fn fill(&self) -> status::Spool {
        let mut index = self.shared.index();
        let bytes_on_disk = index.bytes();
        let free = self.shared.max_bytes.saturating_sub(bytes_on_disk);
        let seconds_left = index.rate.seconds_left(self.shared.opened.elapsed(), free);
        status::Spool {
            lanes: index.lanes(),
            bytes_on_disk,
            seconds_left,
            quota_bytes: self.shared.max_bytes,
            damaged_records: index.damaged(),
            damaged_files: Vec::new(),
        }
    }

    /// Counts the times in this run that something unacknowledged was evicted; when it grows, open alerts are to be committed again.
    pub fn evictions(&self) -> u64 {
        self.shared.index().evictions()
    }

    /// Counts the records that were durable and could not be read, those that recovery found included.
    pub fn damaged_records(&self) -> u64 {
        self.shared.index().damaged()
    }

    /// Commits `last`, marks the stop as clean and ends the thread; every other handle then gets [`SpoolError::Closed`].
    ///
    /// # Errors
    /// [`SpoolError::Closed`] when that did not become durable; [`SpoolWriter::finished`] knows why.
    pub async fn close(self, last: Commit) -> Result<(), SpoolError> {
        check(&last)?;
        let (done, closed) = oneshot::channel();
        self.commands.send(Command::Close(last, done)).await.map_err(|_| SpoolError::Closed)?;
        closed.await.map_err(|_| SpoolError::Closed)
    }
}

fn check(commit: &Commit) -> Result<(), SpoolError> {
    let longest = commit.records.iter().map(|record| record.bytes.len()).max().unwrap_or(0);
    let bytes = commit.bytes();
    if longest > MAX_BATCH_BYTES {
        Err(SpoolError::TooLong { what: "record", bytes: longest, most: MAX_BATCH_BYTES })
    } else if bytes > MAX_COMMIT_BYTES {
        Err(SpoolError::TooLong { what: "commit", bytes, most: MAX_COMMIT_BYTES })
    } else {
        Ok(())
    }
}
