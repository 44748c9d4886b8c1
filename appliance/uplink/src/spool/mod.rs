//! The durable outbound queue: what is committed here survives `kill -9` and power loss until the control plane has acknowledged it.
//!
//! A *commit* is a list of records for the control plane, a change of local state (*delta*), or both, and becomes durable as a
//! whole or not at all. Commits are made durable in groups, one fsync a group, strictly in order. The gateway's pipeline
//! commits, the tunnel reads batches and acknowledges; contents are opaque here.
//!
//! # Files
//! One directory (0700) with a `lock` file, a `reserve` that only keeps room, `damaged/` with copies for inspection, and *segments*
//! (0600), named `{number:08x}-{epoch:016x}-{generation:08x}.v2`: the number grows by one from segment to segment and is never used
//! twice, the epoch is the random one of the start (or renewal) that wrote it, the generation counts how often it was rewritten. A
//! segment is a sequence of records; behind the last one may be zeros, room taken in advance. Integers are little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | epoch, as in the name |
//! | 8 | 4 | segment number, as in the name |
//! | 12 | 4 | generation, as in the name |
//! | 16 | 4 | offset of this record in the segment |
//! | 20 | 4 | bytes of the body, *n* |
//! | 24 | 8 | sequence in (epoch, lane), from 1, for a lane record; first one for a skipped; number of the commit for an end; else 0 |
//! | 32 | 8 | keyed digest of what a lane record is about, or 0 |
//! | 40 | 1 | kind: 1 checkpoint, 2 lane record, 3 delta, 4 standing, 5 end, 6 key, 7 skipped |
//! | 41 | 1 | lane (`Lane::number`) of a lane record or skipped, else 0 |
//! | 42 | 1 | worth: 0 plain, 1 an alert's state that is over, 2 one that lasts |
//! | 43 | 1 | bit 0: compressed, bit 1: sealed |
//! | 44 | 4 | CRC-32C of bytes 0 to 43 |
//! | 48 | *n* | body |
//! | 48 + *n* | 4 | CRC-32C of everything before it, from offset 0 |
//!
//! Each record says where it belongs, so one that is readable is known to be in its place, and behind damage the next one is
//! found by its epoch and header check. Text in a body cannot pose as a record: the epoch is random and no device knows it.
//!
//! *Seal.* Checkpoints, lane records and deltas are sealed: AES-256-GCM under the segment's own random key, nonce = the record's
//! offset (4) and zeros (8), covering bytes 0 to 43; the tag (16) ends the body. What gets shorter by it is compressed before: the
//! plain length (4), then a zstd frame. A *key* record is a nonce (12) and the segment's key sealed under the machine key, covering
//! epoch, number and generation; it stands at the segment's beginning, before its second group, and again every 64 KiB. A segment
//! whose key was wrapped under another machine key is kept, counted and left alone. Headers stay readable: they tell what to give
//! up, and what was lost.
//!
//! A commit is, in this order: a checkpoint (when it carries one), its lane records, its delta, a standing (when that has
//! changed, and in a segment's first commit), an end.
//! * *Checkpoint*: the whole local state. A commit with one begins a new segment, unless the present one is still new.
//! * *Standing*: how often this run lost the only word on an alert (8 bytes); how many rewritings there were since the spool was
//!   made (8); a count (2), then for each lane (1) and reason (1) how many records were given up (8); then up to the end lane (1),
//!   epoch (8), sequence (8) of what is acknowledged. Among these, with 128 added to the lane: the last record of a lane that had one
//!   (lane 0: the account that follows is kept of this epoch). With 64 added, and 32 in the next: the first sequence of a range, and
//!   the number of a segment (8) and the last sequence (8), for records that are given up and whose marks go, or went (0), with that
//!   segment.
//! * *End*: time of the commit (8 bytes, nanoseconds since the Unix epoch); how many bytes of this segment were durable before
//!   the commit's group was written (4); 1 when the program stopped in good order after it, else 0 (1).
//! * *Skipped* stands in a rewritten segment for records of a lane that are not in it: the last sequence (8), number of the
//!   rewriting (8), reason (1): 1 the lane's share was used up, 2 the quota, 3 the disk was full, 4 superseded, 5 damaged, 6
//!   acknowledged.
//!
//! Segments of version 1 (`{number:08x}-{epoch:016x}.v1`: no generation, digest, worth, flags or seal) are read and drained, never
//! written.
//!
//! # What is promised
//! * A start opens a new segment, with an empty commit in it. The previous segment is durable, and cut to its last record, before
//!   the next one's name is made; a segment is removed only after what makes it needless is durable.
//! * Recovery cuts the newest segment behind the last whole commit before the first fault that lies above every *durable* mark:
//!   what a crash left unfinished was never durable, and exactly a prefix of the commits stays. A fault below such a mark, or in
//!   an older segment, is damage of the medium: those records are lost and counted, all others are kept, and a copy of the file
//!   goes to `damaged/` (the last four).
//! * A record that was durable is acknowledged, here, given up and counted so, or counted as damaged: once in each start, by its
//!   sequence. What left no trace of its number is missed because the newest standing says how far each lane of each epoch went, and
//!   which sequences went with their marks. Nobody can know: what the newest segment lost above every durable mark (a torn write looks
//!   the same), what it lost at a lane's end behind its last standing, and, when all its standings are lost, what came after those
//!   of the segment before.
//! * Segments are removed when all their lane records are acknowledged and the last two checkpoints lie behind them (the last
//!   but one, so that a damaged checkpoint costs nothing).
//! * When the quota or the disk is used up, the oldest segments before the last checkpoint are rewritten without what is worth
//!   least: needless local state, logs, samples, alert revisions that a newer one supersedes, inventory, the last word on alerts
//!   that are over. Logs may take a quarter of the quota, samples a half, inventory a twentieth. What is given up is counted by lane
//!   and reason. The newest revision of an open alert is never given up: rather the quota is exceeded, by at most those and what
//!   came after the last checkpoint.
//! * A rewritten segment is written under another name, synced, renamed to its next generation, and that made durable, before the
//!   old one is removed: a crash leaves one of them whole, and recovery takes the newer.
//! * On a full disk with nothing left to give up, what is queued waits and is tried again every second; nothing is acknowledged
//!   meanwhile, and no restart is needed. Any other failed write or fsync ends the thread: nobody knows then what is on the disk,
//!   and recovery finds out.
//!
//! # How long it lasts
//! In the default quota of 4 GiB, seven days of 4 alert records a second (500 bytes each) and a day of 20 kB of samples a second (in
//! records of 2,000 bytes, not counting compression) fit together. `status` says how long the free part lasts at the faster of the
//! rates of the last ten minutes and the last day.

pub mod ahead;
mod commit;
pub mod core;
pub mod disk;
mod give_up;
mod holes;
mod index;
mod rate;
pub mod reader;
mod recovery;
mod rewriting;
pub mod seal;
pub mod segment;
pub mod storage;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{LanePosition, MAX_BATCH_BYTES};
use postern_protocol::status;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use self::ahead::{After, Overtakers};
pub use self::commit::{Commit, CommitNumber, OutBatch, Record, Recovered, Replayed};
use self::core::{Core, CoreOptions, Start};
use self::disk::Disk;
use self::reader::Reader;
pub use self::segment::Worth;
use self::storage::Storage;
use self::thread::{Command, Pause, Thread};

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
    /// The disk is full, and nothing is left that could be given up for what is to be written.
    #[error("the disk is full and nothing is left to give up: free some room")]
    Full,
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
    /// The library failed: no memory.
    #[error("a key cannot be made or used")]
    Seal,
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

/// Draws a random epoch.
///
/// # Errors
/// [`SpoolError::Random`].
pub fn fresh_epoch() -> Result<Epoch, SpoolError> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(Epoch(u64::from_le_bytes(bytes)))
}

fn random(bytes: &mut [u8]) -> Result<(), SpoolError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| SpoolError::Random)
}

/// A handle to the spool; clones share it.
pub struct Spool<S = Disk> {
    reader: Reader<S>,
    commands: mpsc::Sender<Command>,
    durable: watch::Receiver<CommitNumber>,
    full: watch::Receiver<bool>,
    opened: Instant,
    // A mutex, for several tasks commit: taking a number and queueing under it must be one step. Held for that step only.
    last_number: Arc<Mutex<CommitNumber>>,
}

impl<S> Clone for Spool<S> {
    fn clone(&self) -> Self {
        let Self { reader, commands, durable, full, opened, last_number } = self;
        Self {
            reader: reader.clone(),
            commands: commands.clone(),
            durable: durable.clone(),
            full: full.clone(),
            opened: *opened,
            last_number: Arc::clone(last_number),
        }
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
        let SpoolOptions { dir, segment_bytes, max_bytes, machine_key } = options;
        let core = CoreOptions { segment_bytes, max_bytes, machine_key, random };
        Self::open_on(Disk::take(&dir)?, core, Start { epoch, now })
    }
}

impl<S: Storage> Spool<S> {
    fn open_on(storage: S, options: CoreOptions, start: Start) -> Result<(Self, Recovered, SpoolWriter), SpoolError> {
        let (core, recovered) = Core::open(storage, options, start)?;
        let (commands, queue) = mpsc::channel(QUEUE_COMMITS);
        let (durable_tx, durable) = watch::channel(CommitNumber(0));
        let (full_tx, full) = watch::channel(false);
        let opened = Instant::now();
        let reader = core.reader();
        let thread = Thread { core, commands: queue, durable: durable_tx, full: full_tx, opened, pause: Pause::Long };
        let (ended, finished) = oneshot::channel();
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                // Nobody listens when the daemon is going down already.
                let _unheard = ended.send(thread.run());
            })
            .map_err(|_| SpoolError::Died)?;
        let last_number = Arc::new(Mutex::new(CommitNumber(0)));
        Ok((Self { reader, commands, durable, full, opened, last_number }, recovered, SpoolWriter(finished)))
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
            self.reader.checkpoint_queued();
        }
        permit.send(Command::Commit(commit));
        Ok(*last)
    }

    /// Returns a view of the highest commit that is durable; it closes when the spool's thread ends.
    pub fn durable(&self) -> watch::Receiver<CommitNumber> {
        self.durable.clone()
    }

    /// Says whether the disk is full and commits wait for room; it closes when the spool's thread ends.
    pub fn full(&self) -> watch::Receiver<bool> {
        self.full.clone()
    }

    /// Says that the next commit should carry a checkpoint: at the start, and whenever a segment is full.
    pub fn wants_checkpoint(&self) -> bool {
        self.reader.wants_checkpoint()
    }

    /// Returns the next batch, as [`Reader::next_batch`] does.
    ///
    /// # Errors
    /// [`SpoolError::File`] when a segment cannot be opened.
    pub fn next_batch(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> Result<Option<OutBatch>, SpoolError> {
        self.reader.next_batch(lane, after)
    }

    /// Returns the next batch within a limit, as [`Reader::next_batch_within`] does.
    ///
    /// # Errors
    /// [`SpoolError::File`] when a segment cannot be opened.
    pub(crate) fn next_batch_within(
        &self,
        lane: Lane,
        after: Option<(Epoch, Sequence)>,
        most_bytes: usize,
    ) -> Result<Option<OutBatch>, SpoolError> {
        self.reader.next_batch_within(lane, after, most_bytes)
    }

    /// Counts the records of `lane` that wait behind `after`, as [`Reader::waiting`] does.
    pub(crate) fn waiting(&self, lane: Lane, after: After) -> u64 {
        self.reader.waiting(lane, after)
    }

    /// Returns what is to go ahead of the alerts lane's order, as [`Reader::next_ahead`] does.
    ///
    /// # Errors
    /// [`SpoolError::File`] when a segment cannot be opened.
    pub(crate) fn next_ahead(&self, overtakers: &mut Overtakers, after: After, most_bytes: usize) -> Result<Vec<Bytes>, SpoolError> {
        self.reader.next_ahead(overtakers, after, most_bytes)
    }

    /// Does what [`Reader::owe_resend`] does.
    pub fn owe_resend(&self) {
        self.reader.owe_resend();
    }

    /// Does what [`Reader::settle_resend`] does.
    pub fn settle_resend(&self) {
        self.reader.settle_resend();
    }

    /// Says whether [`Spool::next_batch`] has something, without reading a file.
    pub fn has_next(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> bool {
        self.reader.has_next(lane, after)
    }

    /// Takes note that the control plane has committed everything in `lane` and `epoch` up to `sequence`; what nobody needs any
    /// more is then removed. An unknown epoch is ignored.
    pub fn acknowledge(&self, lane: Lane, epoch: Epoch, sequence: Sequence) {
        if self.reader.acknowledge(lane, epoch, sequence) {
            // A full queue is no loss: the core trims after every group.
            let _full = self.commands.try_send(Command::Trim);
        }
    }

    /// Returns the present epoch.
    pub fn epoch(&self) -> Epoch {
        self.reader.epoch()
    }

    /// Returns the durable head of each lane in the present epoch; 0 for a lane without a record.
    pub fn heads(&self) -> Vec<LanePosition> {
        self.reader.heads()
    }

    /// Returns the last durable sequence of `lane` in `epoch`; 0 when that epoch is no longer here.
    pub(crate) fn head(&self, lane: Lane, epoch: Epoch) -> Sequence {
        self.reader.head(lane, epoch)
    }

    /// Returns what is acknowledged, lane by lane, in every epoch that is still known here.
    pub fn acknowledged(&self) -> Vec<LanePosition> {
        self.reader.acknowledged()
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

    /// Says how full the spool is. Lists a directory.
    pub fn fill(&self) -> status::Spool {
        self.reader.fill(self.opened.elapsed())
    }

    /// Counts the times in this run that the only word on an alert was given up or became unreadable; when it grows, open alerts are to be committed
    /// again once there is room.
    pub fn evictions(&self) -> u64 {
        self.reader.evictions()
    }

    /// Counts the records that were durable and could not be read, those that recovery found included.
    pub fn damaged_records(&self) -> u64 {
        self.reader.damaged_records()
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
