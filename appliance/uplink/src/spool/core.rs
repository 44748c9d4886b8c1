//! The spool without its thread: takes groups of commits, makes each durable with one sync, and keeps what it cannot write yet.
//!
//! Synchronous, without clock or thread, over any [`Storage`]: the thread of [`super::Spool`] drives it in the gateway, the
//! simulation drives it over a disk that tears, fills up and fails. It alone writes; a [`Reader`] reads beside it. After any error
//! but [`SpoolError::Full`] nobody knows what is on the disk: drop it and open again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::id::{Epoch, Lane};
use postern_protocol::timestamp::Timestamp;
use zeroize::Zeroizing;

use super::index::standing::Stand;
use super::index::{Entry, Index, Segment};
use super::reader::Reader;
use super::seal::{Cipher, Random, Sealer, TAG_BYTES};
use super::segment::{End, Kind, Label, OVERHEAD_BYTES, SegmentId, append};
use super::storage::Storage;
use super::{Commit, CommitNumber, Record, Recovered, SpoolError, recovery};

/// Largest file that a segment may become: half of what its 32-bit offsets reach, and room for the largest commit.
const MAX_SEGMENT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Bytes between two copies of a segment's key record: damage to one must not cost the segment.
const KEY_EVERY_BYTES: u64 = 64 * 1024;

/// Small groups go over zeros that were written before: then a sync has no extent of the file to convert. So many are written at
/// once, so that few groups pay for it.
const ZEROS_AHEAD_BYTES: usize = 4 * 1024 * 1024;
const SMALL_GROUP_BYTES: usize = 8 * 1024;

/// How big a spool may grow, and its key. No `Debug`.
pub struct CoreOptions {
    /// Size at which a segment counts as full.
    pub segment_bytes: u64,
    /// Most bytes of all segments.
    pub max_bytes: u64,
    /// What the keys of segments are wrapped under.
    pub machine_key: Zeroizing<[u8; 32]>,
    /// Where the keys of segments come from.
    pub random: Random,
}

/// The start that opens a spool.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The epoch of what it writes, new for every start.
    pub epoch: Epoch,
    /// When.
    pub now: Timestamp,
}

/// What the core and its readers share.
pub(crate) struct Shared<S> {
    pub(crate) storage: S,
    // A mutex, since the writer notes what is durable while the tunnel seeks and acknowledges. Never held over a file or a wait.
    index: Mutex<Index>,
    pub(crate) segment_bytes: u64,
    pub(crate) max_bytes: u64,
}

impl<S: Storage> Shared<S> {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fault(&self, name: &str) -> impl FnOnce(io::Error) -> SpoolError + use<S> {
        let path = self.storage.place_of(name);
        move |cause| SpoolError::File { path, cause }
    }
}

/// The segment that is written.
struct Current<F> {
    id: SegmentId,
    name: String,
    file: F,
    cipher: Arc<Cipher>,
    /// What is durable, what is zeros or written, and what the file has on the disk.
    bytes: u64,
    zeroed: u64,
    length: u64,
    /// Bytes up to the end of the checkpoint at its beginning.
    checkpoint_bytes: u64,
    /// Where the key record stands last.
    key_at: Option<u64>,
    /// Nothing but the opening commit is in it.
    is_pristine: bool,
}

/// One thing to do, in order.
enum Step {
    Renew(Epoch),
    Write(Group),
}

struct Group {
    commits: Vec<Commit>,
    stop: Stop,
    /// Made once: one place of a segment never gets two contents under its key.
    encoded: Option<Encoded>,
}

/// Whether a group is the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Clean,
    No,
}

/// A group as bytes, and what is to be noted in the index once they are durable.
#[derive(Default)]
struct Encoded {
    buffer: Vec<u8>,
    records: Vec<Entry>,
    has_checkpoint: bool,
    last: CommitNumber,
    /// What its last standing says.
    stand: Option<Stand>,
    key_at: Option<u64>,
}

/// The spool's writing side.
pub struct Core<S: Storage> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) sealer: Sealer,
    current: Option<Current<S::File>>,
    newest_number: u32,
    epoch: Epoch,
    sequences: BTreeMap<Lane, u64>,
    steps: VecDeque<Step>,
    /// Number of the last commit that was encoded, and of the last that is durable.
    numbered: Option<CommitNumber>,
    durable: CommitNumber,
    /// The file that keeps room for rewriting on a full disk is there.
    pub(super) has_reserve: bool,
}

impl<S: Storage> Core<S> {
    /// Recovers what an earlier run left, and begins this one's first segment, with an empty commit in it that tells the next start
    /// that this run began. On a full disk that waits for [`Core::retry`].
    ///
    /// # Errors
    /// [`SpoolError::File`] when the disk does not work. Damaged content is no error, nor is a full disk.
    pub fn open(storage: S, options: CoreOptions, start: Start) -> Result<(Self, Recovered), SpoolError> {
        let sealer = Sealer::new(&options.machine_key, options.random)?;
        let (recovered, index, newest_number) = recovery::recover(&storage, &sealer, start.epoch)?;
        let segment_bytes = options.segment_bytes.min(options.max_bytes / 4);
        let shared = Arc::new(Shared { storage, index: Mutex::new(index), segment_bytes, max_bytes: options.max_bytes });
        let mut core = Self {
            shared,
            sealer,
            current: None,
            newest_number,
            epoch: start.epoch,
            sequences: BTreeMap::new(),
            steps: VecDeque::new(),
            numbered: None,
            durable: CommitNumber(0),
            has_reserve: false,
        };
        core.find_reserve()?;
        match core.write(vec![Commit { at: start.now, ..Commit::default() }], Duration::ZERO) {
            Ok(()) => core.current.iter_mut().for_each(|current| current.is_pristine = true),
            Err(SpoolError::Full) => {}
            Err(error) => return Err(error),
        }
        core.shared.index().request_checkpoint();
        core.take_reserve()?;
        Ok((core, recovered))
    }

    /// Makes one group durable: all of its commits or a prefix of them survive a crash in here, and all once it returns.
    ///
    /// # Errors
    /// [`SpoolError::Full`]: it is kept, in order with those that follow, and written by [`Core::retry`]. Any other error is the end.
    pub fn write(&mut self, group: Vec<Commit>, since_open: Duration) -> Result<(), SpoolError> {
        self.steps.push_back(Step::Write(Group { commits: group, stop: Stop::No, encoded: None }));
        self.retry(since_open)
    }

    /// Goes on in another epoch.
    ///
    /// # Errors
    /// As for [`Core::write`].
    pub fn renew(&mut self, epoch: Epoch, since_open: Duration) -> Result<(), SpoolError> {
        self.steps.push_back(Step::Renew(epoch));
        self.retry(since_open)
    }

    /// Writes a last commit and marks the stop as clean. On a full disk it takes the room that is kept for that.
    ///
    /// # Errors
    /// [`SpoolError::Full`] when even that is not enough: the stop is not clean, and the commit is not stored. Or a fault.
    pub fn close(&mut self, last: Commit, since_open: Duration) -> Result<(), SpoolError> {
        self.steps.push_back(Step::Write(Group { commits: vec![last], stop: Stop::Clean, encoded: None }));
        match self.retry(since_open) {
            Err(SpoolError::Full) => {
                self.release_reserve()?;
                self.retry(since_open)?;
            }
            done => done?,
        }
        self.finish_current()
    }

    /// Does what a full disk has kept it from.
    ///
    /// # Errors
    /// As for [`Core::write`].
    pub fn retry(&mut self, since_open: Duration) -> Result<(), SpoolError> {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Renew(epoch) => {
                    if let Err(error) = self.roll(epoch) {
                        self.steps.push_front(Step::Renew(epoch));
                        return Err(error);
                    }
                    self.shared.index().begin_epoch(epoch);
                    self.epoch = epoch;
                    self.sequences.clear();
                }
                Step::Write(mut group) => {
                    if let Err(error) = self.write_group(&mut group, since_open) {
                        self.steps.push_front(Step::Write(group));
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes what nobody needs any more.
    ///
    /// # Errors
    /// A fault.
    pub fn trim(&mut self) -> Result<(), SpoolError> {
        let done = self.shared.index().trim();
        self.remove(&done)?;
        if done.is_empty() { Ok(()) } else { self.take_reserve() }
    }

    /// Returns the last commit that is durable; commits are numbered from 1 in the order in which they were written.
    pub fn durable(&self) -> CommitNumber {
        self.durable
    }

    /// Returns a handle that reads and acknowledges beside it.
    pub fn reader(&self) -> Reader<S> {
        Reader::new(Arc::clone(&self.shared))
    }

    fn write_group(&mut self, group: &mut Group, since_open: Duration) -> Result<(), SpoolError> {
        let encoded = match group.encoded.take() {
            Some(encoded) => encoded,
            None => {
                let bytes = group.commits.iter().fold(0_usize, |sum, commit| sum.saturating_add(commit.bytes()));
                if self.must_roll(group) {
                    self.roll(self.epoch)?;
                }
                self.make_room(bytes as u64)?;
                self.encode(group)?
            }
        };
        if let Err(error) = self.append_durably(&encoded.buffer) {
            group.encoded = Some(encoded);
            return Err(error);
        }
        self.note(encoded, since_open);
        self.trim()
    }

    fn must_roll(&self, group: &Group) -> bool {
        let Some(current) = &self.current else { return true };
        let has_checkpoint = group.commits.first().is_some_and(|commit| commit.checkpoint.is_some());
        let limit = self.shared.segment_bytes.saturating_mul(4).max(current.checkpoint_bytes.saturating_mul(2)).min(MAX_SEGMENT_BYTES);
        (has_checkpoint && !current.is_pristine) || current.bytes >= limit
    }

    fn note(&mut self, encoded: Encoded, since_open: Duration) {
        let Some(current) = &mut self.current else { return };
        let number = current.id.number;
        let mut index = self.shared.index();
        for entry in &encoded.records {
            index.note_record(number, entry);
        }
        index.grow(number, current.bytes);
        if let Some(stand) = encoded.stand {
            index.standing_written(stand);
        }
        if encoded.has_checkpoint {
            index.note_checkpoint(number);
            index.checkpoint_written();
        }
        if current.bytes.saturating_sub(current.checkpoint_bytes) >= self.shared.segment_bytes.max(current.checkpoint_bytes) {
            index.request_checkpoint();
        }
        index.rate.note(since_open, encoded.buffer.len() as u64);
        current.key_at = encoded.key_at;
        current.is_pristine = false;
        self.durable = encoded.last;
    }

    fn encode(&mut self, group: &Group) -> Result<Encoded, SpoolError> {
        let Some(current) = &mut self.current else { return Err(SpoolError::Closed) };
        let (id, base) = (current.id, u32::try_from(current.bytes).unwrap_or(u32::MAX));
        let cipher = Arc::clone(&current.cipher);
        let bytes = group.commits.iter().fold(0, |sum: usize, commit| sum.saturating_add(commit.bytes()));
        let mut made = Encoded { key_at: current.key_at, buffer: Vec::with_capacity(bytes), ..Encoded::default() };
        let out = &mut made.buffer;
        // The second copy follows the first group at once, so that a short segment has two as well.
        let is_key_due = current.key_at.is_none_or(|at| at == 0 || current.bytes.saturating_sub(at) >= KEY_EVERY_BYTES);
        if is_key_due {
            made.key_at = Some(current.bytes);
            cipher.append_key((id, base), out);
        }
        // A new segment says where it stands, since those before it may be removed.
        let mut standing_due = base == 0;
        for commit in &group.commits {
            if let Some(checkpoint) = &commit.checkpoint {
                self.sealer.append(&cipher, (id, base), out, (Label::plain(Kind::Checkpoint, 0), checkpoint))?;
                made.has_checkpoint = true;
                current.checkpoint_bytes = out.len() as u64;
            }
            for Record { lane, bytes, key, worth } in &commit.records {
                let sequence = self.sequences.entry(*lane).or_default();
                *sequence = sequence.saturating_add(1);
                let label = Label { key: *key, worth: *worth, ..Label::plain(Kind::Record(*lane), *sequence) };
                let from = out.len();
                self.sealer.append(&cipher, (id, base), out, (label, bytes))?;
                let offset = base.saturating_add(u32::try_from(from).unwrap_or(u32::MAX));
                made.records.push(Entry::new(*lane, label, (offset, out.len().saturating_sub(from) as u64)));
            }
            if !commit.delta.is_empty() {
                self.sealer.append(&cipher, (id, base), out, (Label::plain(Kind::Delta, 0), &commit.delta))?;
            }
            let mut index = self.shared.index();
            if index.take_changed() || standing_due {
                append((id, base), out, Label::plain(Kind::Standing, 0), &index.standing());
                made.stand = Some(index.stand());
            }
            drop(index);
            standing_due = false;
            // The opening commit has number 0.
            let number = self.numbered.map_or(CommitNumber(0), |last| CommitNumber(last.0.saturating_add(1)));
            let end = End { at: commit.at, durable: base, clean: group.stop == Stop::Clean };
            append((id, base), out, Label::plain(Kind::End, number.0), &end.encode());
            self.numbered = Some(number);
            made.last = number;
        }
        Ok(made)
    }

    /// Writes behind what is durable, and syncs.
    fn append_durably(&mut self, buffer: &[u8]) -> Result<(), SpoolError> {
        loop {
            let Some(current) = &mut self.current else { return Err(SpoolError::Closed) };
            let storage = &self.shared.storage;
            match current.write(storage, buffer) {
                Ok(()) => {
                    storage.sync_data(&mut current.file).map_err(self.shared.fault(&current.name))?;
                    current.bytes = current.bytes.saturating_add(buffer.len() as u64);
                    return Ok(());
                }
                Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                    storage.truncate(&mut current.file, current.bytes).map_err(self.shared.fault(&current.name))?;
                    (current.length, current.zeroed) = (current.bytes, current.bytes);
                    if !self.make_disk_room()? {
                        return Err(SpoolError::Full);
                    }
                }
                Err(cause) => return Err(self.shared.fault(&current.name)(cause)),
            }
        }
    }

    /// Begins a new segment. Everything before it is durable and has no unused end, before the new one's name is made.
    fn roll(&mut self, epoch: Epoch) -> Result<(), SpoolError> {
        self.finish_current()?;
        let number = self.newest_number.checked_add(1).ok_or(SpoolError::Exhausted)?;
        let id = SegmentId::new(number, epoch);
        let name = id.file_name();
        let storage = &self.shared.storage;
        // Without room for a whole segment the records decide what has to go.
        let mut length = self.shared.segment_bytes;
        let made = storage.create(&name, length).or_else(|cause| {
            length = 0;
            if cause.kind() == io::ErrorKind::StorageFull { storage.create(&name, 0) } else { Err(cause) }
        });
        let file = match made {
            Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                if self.make_disk_room()? {
                    return self.roll(epoch);
                }
                return Err(SpoolError::Full);
            }
            made => made.map_err(self.shared.fault(&name))?,
        };
        storage.sync_dir().map_err(self.shared.fault(""))?;
        self.newest_number = number;
        let cipher = self.sealer.fresh(id)?;
        self.shared.index().add(Segment::new(id, Some(Arc::clone(&cipher))));
        let (bytes, zeroed, checkpoint_bytes) = (0, 0, 0);
        self.current = Some(Current { id, name, file, cipher, bytes, zeroed, length, checkpoint_bytes, key_at: None, is_pristine: true });
        self.keep_shares()
    }

    /// Cuts what was taken in advance and not used.
    fn finish_current(&mut self) -> Result<(), SpoolError> {
        let Some(current) = self.current.as_mut().filter(|current| current.length > current.bytes) else { return Ok(()) };
        let storage = &self.shared.storage;
        let cut = storage.truncate(&mut current.file, current.bytes).and_then(|()| storage.sync_data(&mut current.file));
        cut.map_err(self.shared.fault(&current.name))?;
        (current.length, current.zeroed) = (current.bytes, current.bytes);
        Ok(())
    }

    /// Removes the files of segments.
    pub(super) fn remove(&self, ids: &[SegmentId]) -> Result<(), SpoolError> {
        for id in ids {
            let name = id.file_name();
            match self.shared.storage.remove(&name) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(self.shared.fault(&name)(cause)),
                Err(_) | Ok(()) => {}
            }
        }
        if ids.is_empty() { Ok(()) } else { self.shared.storage.sync_dir().map_err(self.shared.fault("")) }
    }
}

impl<F: Send> Current<F> {
    fn write<S: Storage<File = F>>(&mut self, storage: &S, buffer: &[u8]) -> io::Result<()> {
        storage.write_at(&mut self.file, self.bytes, buffer)?;
        let end = self.bytes.saturating_add(buffer.len() as u64);
        if buffer.len() <= SMALL_GROUP_BYTES && end > self.zeroed && end < self.length {
            let ahead = usize::try_from(self.length.saturating_sub(end)).unwrap_or(usize::MAX).min(ZEROS_AHEAD_BYTES);
            storage.write_at(&mut self.file, end, &vec![0; ahead])?;
            self.zeroed = end.saturating_add(ahead as u64);
        }
        (self.zeroed, self.length) = (self.zeroed.max(end), self.length.max(end));
        Ok(())
    }
}

impl Commit {
    /// Returns about how many bytes the commit has on disk.
    pub(crate) fn bytes(&self) -> usize {
        let parts = self.records.iter().map(|record| record.bytes.len()).chain([self.delta.len()]);
        let parts = parts.chain(self.checkpoint.iter().map(Vec::len)).chain([size_of::<End>()]);
        parts.fold(0, |sum: usize, bytes| sum.saturating_add(bytes).saturating_add(OVERHEAD_BYTES + TAG_BYTES))
    }
}
