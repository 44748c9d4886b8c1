//! Reads batches for the tunnel out of the durable part of segments, and takes its acknowledgements.
//!
//! Used beside the core, on threads that may block where it says so. Below the durable end of a segment nothing changes any more:
//! a rewritten one has another name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{LanePosition, MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use postern_protocol::status;

use super::core::Shared;
use super::index::sequences::{Range, without};
use super::index::{Index, Place};
use super::seal;
use super::segment::scan::{Step, Walk};
use super::segment::{Kind, Skipped};
use super::storage::{self, Storage};
use super::{OutBatch, SpoolError};

const WINDOW_BYTES: usize = 256 * 1024;

/// The spool's reading side; clones share it.
pub struct Reader<S> {
    pub(super) shared: Arc<Shared<S>>,
}

impl<S> Clone for Reader<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Storage> Reader<S> {
    pub(super) const fn new(shared: Arc<Shared<S>>) -> Self {
        Self { shared }
    }

    /// Says that the next commit should carry a checkpoint: at the start, and whenever a segment is full.
    pub fn wants_checkpoint(&self) -> bool {
        self.shared.index().wants_checkpoint()
    }

    /// Says that a commit with a checkpoint is on its way: no other one is wanted before it is written.
    pub(super) fn checkpoint_queued(&self) {
        self.shared.index().checkpoint_queued();
    }

    /// Returns the next durable, unacknowledged records of `lane` after `after`, or `None` when there are none. Reads files: call
    /// it where blocking is allowed.
    ///
    /// A batch has no gap in itself; one may lie before it, where records were evicted or damaged.
    ///
    /// # Errors
    /// [`SpoolError::File`] when a segment cannot be opened.
    pub fn next_batch(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> Result<Option<OutBatch>, SpoolError> {
        self.next_batch_within(lane, after, MAX_BATCH_BYTES)
    }

    /// Does what [`Reader::next_batch`] does, with at most `most_bytes` of content unless the first record alone has more.
    ///
    /// # Errors
    /// As there.
    pub fn next_batch_within(
        &self,
        lane: Lane,
        after: Option<(Epoch, Sequence)>,
        most_bytes: usize,
    ) -> Result<Option<OutBatch>, SpoolError> {
        let seek = || self.shared.index().seek(lane, after);
        loop {
            let Some(place) = seek() else { return Ok(None) };
            let name = place.segment.file_name();
            match read_batch(&self.shared.storage, (lane, most_bytes), &place) {
                Ok(Read { batch: Some(batch), marks }) => {
                    let missing = without((place.from, batch.first.0.saturating_sub(1)), &marks);
                    if self.shared.index().note_lost(lane, place.segment, &missing) > 0 {
                        self.keep_damaged(&name);
                    }
                    return Ok(Some(batch));
                }
                Ok(Read { batch: None, marks }) => {
                    self.keep_damaged(&name);
                    self.shared.index().give_up(lane, &place, &marks);
                }
                // Trimmed, evicted or rewritten since it was looked up: look again. One that is still listed is really lost.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && !seek().is_some_and(|again| again.is_same(&place)) => {}
                Err(cause) => return Err(self.shared.fault(&name)(cause)),
            }
        }
    }

    fn keep_damaged(&self, name: &str) {
        match self.shared.storage.keep_damaged(name) {
            Ok(()) => tracing::error!(name, "records of the spool became unreadable; a copy of the file is kept: check the disk"),
            Err(error) => tracing::error!(name, %error, "records of the spool became unreadable, and no copy can be kept: check the disk"),
        }
    }

    /// Says whether [`Reader::next_batch`] has something, without reading a file.
    pub fn has_next(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> bool {
        self.shared.index().seek(lane, after).is_some()
    }

    /// Takes note that the control plane has committed everything in `lane` and `epoch` up to `sequence`; says whether that was
    /// news, so that there may be something to trim. An unknown epoch is ignored.
    pub fn acknowledge(&self, lane: Lane, epoch: Epoch, sequence: Sequence) -> bool {
        self.shared.index().acknowledge(lane, epoch, sequence)
    }

    /// Says that every open alert is to be committed again: each start is told so ([`super::Recovered::resend_open_alerts`]) until
    /// [`Reader::settle_resend`]. Lies on the disk with the next commit.
    pub fn owe_resend(&self) {
        self.shared.index().owe_resend();
    }

    /// Says that the control plane has taken the word that every open alert was committed again.
    pub fn settle_resend(&self) {
        self.shared.index().settle_resend();
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
    pub fn head(&self, lane: Lane, epoch: Epoch) -> Sequence {
        self.shared.index().head(lane, epoch)
    }

    /// Returns what is acknowledged, lane by lane, in every epoch that is still known here.
    pub fn acknowledged(&self) -> Vec<LanePosition> {
        self.shared.index().acknowledged_places()
    }

    /// Says how full the spool is.
    pub fn fill(&self, since_open: Duration) -> status::Spool {
        let damaged_files = self.shared.storage.damaged().unwrap_or_default();
        let index = self.shared.index();
        let bytes_on_disk = index.bytes();
        let free = self.shared.max_bytes.saturating_sub(bytes_on_disk);
        status::Spool {
            lanes: index.lanes(),
            bytes_on_disk,
            seconds_left: index.rate.seconds_left(since_open, free),
            quota_bytes: self.shared.max_bytes,
            damaged_records: index.damaged(),
            damaged_files,
            evicted_by_reason: index.evicted_by_reason(),
            locked_records: index.locked(),
        }
    }

    /// Counts the times in this run that the only word on an alert was given up; when it grows, open alerts are to be committed
    /// again once there is room.
    pub fn evictions(&self) -> u64 {
        self.shared.index().evictions()
    }

    /// Counts the records that were durable and could not be read, those that recovery found included.
    pub fn damaged_records(&self) -> u64 {
        self.shared.index().damaged()
    }
}

/// Reads the records of `lane` from `place` on, to the end of its segment or of a batch.
///
/// A batch has no gap: where records are unreadable it ends, or begins behind them. There is none when nothing readable is left.
fn read_batch(storage: &impl Storage, (lane, most_bytes): (Lane, usize), place: &Place) -> io::Result<Read> {
    let most_bytes = most_bytes.min(MAX_BATCH_BYTES);
    let mut marks = Vec::new();
    let name = place.segment.file_name();
    let mut offset = u64::from(place.offset);
    let mut window = WINDOW_BYTES;
    let (mut records, mut bytes, mut first) = (Vec::new(), 0_usize, 0);
    while offset < place.end {
        let most = usize::try_from(place.end - offset).unwrap_or(usize::MAX).min(window);
        let chunk = storage::read(storage, &name, offset, most)?;
        let base = u32::try_from(offset).unwrap_or(u32::MAX);
        let mut next = offset.saturating_add(chunk.len() as u64);
        let window_before = window;
        for step in Walk::new(place.segment, base, &chunk) {
            match step {
                Step::Cut { at, header } => {
                    let needed = header.map_or(WINDOW_BYTES, |header| header.record_bytes());
                    let is_ours = header.is_some_and(|header| header.label.kind == Kind::Record(lane));
                    if header.is_none() || is_ours {
                        next = offset.saturating_add(at as u64);
                        window = needed.max(WINDOW_BYTES);
                    } else {
                        next = offset.saturating_add(at as u64).saturating_add(needed as u64);
                    }
                }
                Step::Record(found) if found.header.label.kind == Kind::Record(lane) && found.header.label.sequence > place.behind => {
                    let sequence = found.header.label.sequence;
                    let expected = records.is_empty() || sequence == first + records.len() as u64;
                    if !expected || records.len() >= MAX_BATCH_RECORDS {
                        return Ok(read(place, first, (records, marks)));
                    }
                    let Some(payload) = seal::open(place.cipher.as_deref(), (place.segment, base), &found) else { continue };
                    if bytes.saturating_add(payload.len()) > most_bytes && !records.is_empty() {
                        return Ok(read(place, first, (records, marks)));
                    }
                    if records.is_empty() {
                        first = sequence;
                    }
                    bytes = bytes.saturating_add(payload.len());
                    records.push(Bytes::from(payload));
                }
                Step::Record(found) if found.header.label.kind == Kind::Skipped(lane) && records.is_empty() => {
                    marks.extend(Skipped::decode(found.body).map(|skipped| (found.header.label.sequence, skipped.to)));
                }
                Step::Damaged { .. } | Step::Record(_) | Step::Unreadable { .. } => {}
            }
        }
        if next == offset && window == window_before {
            // Only the stub of a record is left before the end: nothing can follow in this segment.
            break;
        }
        offset = next;
    }
    Ok(read(place, first, (records, marks)))
}

/// What was read of a lane.
struct Read {
    batch: Option<OutBatch>,
    /// Sequences before the batch for which a mark stands.
    marks: Vec<Range>,
}

fn read(place: &Place, first: u64, (records, marks): (Vec<Bytes>, Vec<Range>)) -> Read {
    let batch = OutBatch { epoch: place.segment.epoch, first: Sequence(first), records };
    Read { batch: Some(batch).filter(|batch| !batch.records.is_empty()), marks }
}
