//! The spool's one thread: takes commits from the queue, writes them in groups, one fsync a group, and says what is durable.
//!
//! It alone appends to, makes and removes segments. It ends when the spool is closed, when every handle is gone, or with the
//! first error of the disk: after a failed fsync nobody knows what is on the disk, so the only honest thing is to stop and recover.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use postern_protocol::id::{Epoch, Lane};
use postern_protocol::timestamp::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::segment::{End, Kind, OVERHEAD_BYTES, SegmentId, append};
use super::{Commit, CommitNumber, Record, Shared, SpoolError};

/// Most commits, and bytes of them, that share one fsync.
const MAX_GROUP_COMMITS: usize = 1024;
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Largest file that a segment may become: half of what its 32-bit offsets reach, and room for the largest commit.
const MAX_SEGMENT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// How a file's content becomes durable: `File::sync_data`, or a disk that a test breaks.
pub(crate) type SyncFile = Box<dyn FnMut(&File) -> io::Result<()> + Send>;

/// What the thread is asked to do.
pub(crate) enum Command {
    /// Write this last commit, mark the stop as clean, and end.
    Close(Commit, oneshot::Sender<()>),
    /// Write this.
    Commit(CommitNumber, Commit),
    /// Go on in this epoch.
    Renew(Epoch, oneshot::Sender<()>),
    /// Remove what nobody needs any more.
    Trim,
}

/// The segment that is written.
struct Current {
    id: SegmentId,
    file: File,
    bytes: u64,
    /// Bytes of the checkpoint at its beginning.
    checkpoint_bytes: u64,
    /// Nothing but the opening commit is in it.
    is_pristine: bool,
}

/// What is to be noted in the index once it is durable.
#[derive(Default)]
struct Notes {
    records: Vec<(Lane, u64, u32, u64)>,
    has_checkpoint: bool,
    last: CommitNumber,
}

/// The thread's state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    durable: watch::Sender<CommitNumber>,
    sync: SyncFile,
    current: Current,
    sequences: BTreeMap<Lane, u64>,
    doomed: Vec<SegmentId>,
}

/// What [`Writer::start`] needs.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) durable: watch::Sender<CommitNumber>,
    pub(crate) sync: SyncFile,
    pub(crate) id: SegmentId,
    pub(crate) now: Timestamp,
}

impl Writer {
    /// Makes this run's first segment, with an empty commit in it that tells the next start that this run began.
    pub(crate) fn start(start: Start) -> Result<Self, SpoolError> {
        let Start { shared, commands, durable, sync, id, now } = start;
        let current = Current::create(&shared, id)?;
        let mut writer = Self { shared, commands, durable, sync, current, sequences: BTreeMap::new(), doomed: Vec::new() };
        writer.write_group(vec![(CommitNumber(0), Commit { at: now, ..Commit::default() })], Stop::No)?;
        writer.current.is_pristine = true;
        writer.shared.index().request_checkpoint();
        Ok(writer)
    }

    /// Runs until it is closed, abandoned or broken.
    pub(crate) fn run(mut self) -> Result<(), SpoolError> {
        let mut held = None;
        loop {
            let Some(command) = held.take().or_else(|| self.commands.blocking_recv()) else { return Ok(()) };
            match command {
                Command::Close(commit, done) => {
                    self.commands.close();
                    self.write_group(vec![(self.next_number(), commit)], Stop::Clean)?;
                    let _gone = done.send(());
                    return Ok(());
                }
                Command::Commit(number, commit) => {
                    let (group, next) = self.gather(number, commit);
                    held = next;
                    self.write_group(group, Stop::No)?;
                }
                Command::Renew(epoch, done) => {
                    self.roll(epoch)?;
                    self.shared.index().begin_epoch(epoch);
                    self.sequences.clear();
                    let _gone = done.send(());
                }
                Command::Trim => {
                    self.doomed.append(&mut self.shared.index().trim());
                    self.remove_doomed()?;
                }
            }
        }
    }

    fn next_number(&self) -> CommitNumber {
        CommitNumber(self.durable.borrow().0.saturating_add(1))
    }

    /// Takes what else waits in the queue into the group, up to a commit that begins a new segment or another command.
    fn gather(&mut self, number: CommitNumber, commit: Commit) -> (Vec<(CommitNumber, Commit)>, Option<Command>) {
        let mut bytes = commit.bytes();
        let mut group = vec![(number, commit)];
        while group.len() < MAX_GROUP_COMMITS && bytes < MAX_GROUP_BYTES {
            match self.commands.try_recv() {
                Ok(Command::Commit(number, commit)) if commit.checkpoint.is_none() => {
                    bytes = bytes.saturating_add(commit.bytes());
                    group.push((number, commit));
                }
                Ok(Command::Trim) => {}
                Ok(other) => return (group, Some(other)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    /// Makes one group durable, then tells so, then removes what is no longer needed.
    fn write_group(&mut self, group: Vec<(CommitNumber, Commit)>, stop: Stop) -> Result<(), SpoolError> {
        let checkpoint = group.first().is_some_and(|(_, commit)| commit.checkpoint.is_some());
        let limit = self.shared.segment_bytes.saturating_mul(4).max(self.current.checkpoint_bytes.saturating_mul(2)).min(MAX_SEGMENT_BYTES);
        if (checkpoint && !self.current.is_pristine) || self.current.bytes >= limit {
            self.roll(self.current.id.epoch)?;
        }
        let bytes = group.iter().fold(0_usize, |sum, (_, commit)| sum.saturating_add(commit.bytes()));
        self.make_room(bytes as u64);
        let (buffer, notes) = self.encode(&group, stop);
        self.append_durably(&buffer)?;

        let mut index = self.shared.index();
        for (lane, sequence, offset, bytes) in notes.records {
            index.note_record(self.current.id.number, (lane, sequence), offset, bytes);
        }
        index.grow(self.current.id.number, self.current.bytes);
        if notes.has_checkpoint {
            index.note_checkpoint(self.current.id.number);
            index.checkpoint_written();
        }
        if self.current.bytes.saturating_sub(self.current.checkpoint_bytes) >= self.shared.segment_bytes.max(self.current.checkpoint_bytes)
        {
            index.request_checkpoint();
        }
        index.rate.note(self.shared.opened.elapsed(), buffer.len() as u64);
        self.doomed.append(&mut index.trim());
        drop(index);
        self.current.is_pristine = false;
        self.durable.send_replace(notes.last);
        self.remove_doomed()
    }

    fn encode(&mut self, group: &[(CommitNumber, Commit)], stop: Stop) -> (Vec<u8>, Notes) {
        let id = self.current.id;
        let base = u32::try_from(self.current.bytes).unwrap_or(u32::MAX);
        let (mut out, mut notes) = (Vec::new(), Notes::default());
        // A new segment says where it stands, since those before it may be removed.
        let mut standing_due = base == 0;
        for (number, commit) in group {
            if let Some(checkpoint) = &commit.checkpoint {
                append(id, base, &mut out, (Kind::Checkpoint, 0), checkpoint);
                notes.has_checkpoint = true;
                self.current.checkpoint_bytes = out.len() as u64;
            }
            for Record { lane, bytes: record, .. } in &commit.records {
                let sequence = self.sequences.entry(*lane).or_default();
                *sequence = sequence.saturating_add(1);
                let offset = base.saturating_add(u32::try_from(out.len()).unwrap_or(u32::MAX));
                append(id, base, &mut out, (Kind::Record(*lane), *sequence), record);
                notes.records.push((*lane, *sequence, offset, record.len() as u64));
            }
            if !commit.delta.is_empty() {
                append(id, base, &mut out, (Kind::Delta, 0), &commit.delta);
            }
            let mut index = self.shared.index();
            if index.take_changed() || standing_due {
                append(id, base, &mut out, (Kind::Standing, 0), &index.standing());
            }
            drop(index);
            standing_due = false;
            let end = End { at: commit.at, durable: base, clean: stop == Stop::Clean };
            append(id, base, &mut out, (Kind::End, number.0), &end.encode());
            notes.last = *number;
        }
        (out, notes)
    }

    /// Writes behind what is durable, and syncs. A full disk costs the oldest segments, as the quota does.
    fn append_durably(&mut self, buffer: &[u8]) -> Result<(), SpoolError> {
        let path = self.shared.directory.path_of(self.current.id);
        loop {
            let from = SeekFrom::Start(self.current.bytes);
            let written = self.current.file.seek(from).and_then(|_| self.current.file.write_all(buffer));
            match written {
                Ok(()) => break,
                Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                    self.current.file.set_len(self.current.bytes).map_err(|cause| SpoolError::File { path: path.clone(), cause })?;
                    let Some(id) = self.shared.index().evict() else { return Err(SpoolError::File { path, cause }) };
                    tracing::warn!(segment = id.number, "evicted a segment of the spool: the disk is full");
                    self.doomed.push(id);
                    self.remove_doomed()?;
                }
                Err(cause) => return Err(SpoolError::File { path, cause }),
            }
        }
        (self.sync)(&self.current.file).map_err(|cause| SpoolError::File { path, cause })?;
        self.current.bytes = self.current.bytes.saturating_add(buffer.len() as u64);
        Ok(())
    }

    /// Begins a new segment. Everything before it is durable, since every group is synced before the next command is looked at.
    fn roll(&mut self, epoch: Epoch) -> Result<(), SpoolError> {
        let number = self.current.id.number.checked_add(1).ok_or(SpoolError::Exhausted)?;
        self.current = Current::create(&self.shared, SegmentId { number, epoch })?;
        Ok(())
    }

    /// Chooses the segments that have to go before `coming` more bytes fit the quota; they are removed after those are durable.
    fn make_room(&mut self, coming: u64) {
        let mut index = self.shared.index();
        self.doomed.append(&mut index.trim());
        while index.bytes().saturating_add(coming) > self.shared.max_bytes {
            let Some(id) = index.evict() else { break };
            tracing::warn!(segment = id.number, "evicted a segment of the spool: the quota is used up");
            self.doomed.push(id);
        }
    }

    fn remove_doomed(&mut self) -> Result<(), SpoolError> {
        self.shared.directory.remove(&std::mem::take(&mut self.doomed))
    }
}

impl Current {
    fn create(shared: &Shared, id: SegmentId) -> Result<Self, SpoolError> {
        let file = shared.directory.create(id)?;
        shared.index().add(id);
        Ok(Self { id, file, bytes: 0, checkpoint_bytes: 0, is_pristine: true })
    }
}

/// Whether a group is the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Clean,
    No,
}

impl Commit {
    /// Returns about how many bytes the commit has on disk.
    pub(crate) fn bytes(&self) -> usize {
        let parts = self.records.iter().map(|record| record.bytes.len()).chain([self.delta.len()]);
        let parts = parts.chain(self.checkpoint.iter().map(Vec::len)).chain([size_of::<End>()]);
        parts.fold(0, |sum: usize, bytes| sum.saturating_add(bytes).saturating_add(OVERHEAD_BYTES))
    }
}
