//! What an earlier run left in the spool: found, judged, cut at the unfinished end, and handed back in order.
//!
//! Called once, by [`super::core::Core::open`], before anything is written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};

use super::give_up::{RESERVE, UNFINISHED};
use super::holes::Spans;
use super::index::sequences::{Range, length};
use super::index::standing::Mark;
use super::index::value::Reason;
use super::index::{Entry, Index, Segment};
use super::seal::{self, Cipher, Sealer};
use super::segment::scan::{Found, Scan, Tail, scan};
use super::segment::{Kind, Label, SegmentId, Skipped, Version};
use super::storage::{self, Storage};
use super::{Recovered, Replayed, SpoolError};

/// What is gathered while the segments are read, oldest first.
struct Recovery<'a, S> {
    storage: &'a S,
    sealer: &'a Sealer,
    recovered: Recovered,
    index: Index,
    standing: (Version, Vec<u8>),
    marks: Vec<Mark>,
    spans: Spans,
    /// Records that cannot be read and whose sequence is known; other records; and places that had one of any kind.
    missing: Vec<((Lane, Epoch), Range)>,
    others: u64,
    unexplained: u64,
}

/// How a segment's records can be opened.
enum Access {
    Locked,
    Open(Option<Arc<Cipher>>),
}

/// Reads the whole spool, for a run that writes in `epoch`.
///
/// Returns what was recovered, the index of what stays, and the greatest segment number that was ever seen.
pub(crate) fn recover<S: Storage>(storage: &S, sealer: &Sealer, epoch: Epoch) -> Result<(Recovered, Index, u32), SpoolError> {
    let mut segments = list(storage)?;
    let newest_number = segments.back().map_or(0, |id| id.number);
    let newest_tail = drop_unfinished(storage, &mut segments)?;
    let newest = segments.back().copied();
    let mut recovery = Recovery {
        storage,
        sealer,
        recovered: Recovered::default(),
        index: Index::new(epoch),
        standing: (Version::Two, Vec::new()),
        marks: Vec::new(),
        spans: Spans::default(),
        missing: Vec::new(),
        others: 0,
        unexplained: 0,
    };
    for id in segments {
        let bytes = read_all(storage, id)?;
        let tail = if Some(id) == newest { newest_tail } else { Tail::Durable };
        let found = scan(id, &bytes, tail);
        if found.damaged > 0 {
            recovery.keep_copy(id);
        }
        if Some(id) == newest {
            settle(storage, id, &found, &bytes)?;
        }
        recovery.take(id, &found);
    }
    let (mut recovered, mut index, is_state_lost) = recovery.account();
    recovered.resend_open_alerts = is_state_lost || recovered.damaged_records > 0;
    if recovered.resend_open_alerts {
        index.owe_resend();
    }
    Ok((recovered, index, newest_number))
}

/// Lists the segments by number, the newest generation of each, and removes what a crash left of rewriting.
fn list<S: Storage>(storage: &S) -> Result<VecDeque<SegmentId>, SpoolError> {
    let fault = |name: &str| {
        let path = storage.place_of(name);
        move |cause| SpoolError::File { path, cause }
    };
    let mut found = Vec::new();
    for name in storage.list().map_err(fault(""))? {
        match SegmentId::from_file_name(&name) {
            Some(id) => found.push(id),
            None if name == UNFINISHED => storage.remove(&name).map_err(fault(&name))?,
            None if name == RESERVE => {}
            None => tracing::warn!(name, "a foreign file lies in the spool"),
        }
    }
    // Of one number there are only generations of one epoch; the newest has its name because it was whole.
    found.sort_unstable_by_key(|id| (id.number, id.version, id.generation));
    let mut segments: VecDeque<SegmentId> = VecDeque::new();
    for id in found {
        if let Some(older) = segments.pop_back_if(|last| last.number == id.number) {
            storage.remove(&older.file_name()).map_err(fault(&older.file_name()))?;
        }
        segments.push_back(id);
    }
    Ok(segments)
}

/// Removes the newest segment when it has no whole commit: the crash came between making the file and its first commit.
///
/// Says how the end of the segment that is the newest now is to be judged.
fn drop_unfinished<S: Storage>(storage: &S, segments: &mut VecDeque<SegmentId>) -> Result<Tail, SpoolError> {
    let Some(id) = segments.back().copied() else { return Ok(Tail::Open) };
    // What was rewritten was durable, and has no ends of commits any more.
    if id.generation > 0 {
        return Ok(Tail::Durable);
    }
    if scan(id, &read_all(storage, id)?, Tail::Open).keep > 0 {
        return Ok(Tail::Open);
    }
    let name = id.file_name();
    let removed = storage.remove(&name).and_then(|()| storage.sync_dir());
    removed.map_err(|cause| SpoolError::File { path: storage.place_of(&name), cause })?;
    segments.pop_back();
    Ok(Tail::Durable)
}

/// Writes the end of the newest segment again as it was read, cuts what lies behind it, and makes that durable.
///
/// Also when nothing is cut: what a killed process wrote may be in the page cache only, and after a failed fsync the kernel may hold
/// pages for clean that never reached the disk.
fn settle<S: Storage>(storage: &S, id: SegmentId, found: &Scan<'_>, bytes: &[u8]) -> Result<(), SpoolError> {
    let name = id.file_name();
    if bytes.get(found.keep..).is_some_and(|cut| cut.iter().any(|byte| *byte != 0)) {
        tracing::info!(segment = id.number, bytes = bytes.len() - found.keep, "cut an unfinished write from the spool");
    }
    let settled = || {
        let mut file = storage.open(&name)?;
        storage.truncate(&mut file, found.keep as u64)?;
        storage.write_at(&mut file, found.durable as u64, bytes.get(found.durable..found.keep).unwrap_or_default())?;
        storage.sync_data(&mut file)
    };
    settled().map_err(|cause: io::Error| SpoolError::File { path: storage.place_of(&name), cause })
}

fn read_all<S: Storage>(storage: &S, id: SegmentId) -> Result<Vec<u8>, SpoolError> {
    let name = id.file_name();
    storage::read(storage, &name, 0, u32::MAX as usize).map_err(|cause| SpoolError::File { path: storage.place_of(&name), cause })
}

impl<S: Storage> Recovery<'_, S> {
    fn take(&mut self, id: SegmentId, found: &Scan<'_>) {
        let access = self.access(id, found);
        let mut segment = Segment::new(id, None);
        segment.bytes = found.keep as u64;
        segment.extents.clone_from(&found.lanes);
        let mut unopened = 0_u64;
        match access {
            Access::Locked => segment.is_locked = true,
            Access::Open(cipher) => segment.cipher = cipher,
        }
        let marks = found.records.iter().filter(|record| matches!(record.header.label.kind, Kind::Skipped(_)));
        segment.rewriting = marks.filter_map(|mark| Skipped::decode(mark.body)).map(|skipped| skipped.rewriting).max().unwrap_or(0);
        let (cipher, is_locked) = (segment.cipher.clone(), segment.is_locked);
        self.index.add(segment);
        self.missing.extend(found.missing.iter().map(|(lane, range)| ((*lane, id.epoch), *range)));
        self.unexplained = self.unexplained.saturating_add(found.unexplained);
        let numbered = found.missing.iter().map(|(_, range)| length(*range)).fold(0, u64::saturating_add);
        self.others = self.others.saturating_add(found.damaged.saturating_sub(numbered).saturating_sub(found.unexplained));
        self.spans.add(id.epoch, found.lanes.clone());
        for record in &found.records {
            if self.record((id, cipher.as_deref()), record, is_locked) {
                continue;
            }
            unopened = unopened.saturating_add(1);
            let Label { kind, sequence, .. } = record.header.label;
            if is_locked {
            } else if let Kind::Record(lane) = kind {
                self.missing.push(((lane, id.epoch), (sequence, sequence)));
            } else {
                self.others = self.others.saturating_add(1);
            }
        }
        if is_locked {
            tracing::error!(
                segment = id.number,
                records = unopened,
                "a segment of the spool is sealed under another machine key and is kept: start with that key to send it, or remove the file"
            );
            self.index.note_locked(unopened);
        } else if unopened > 0 {
            self.keep_copy(id);
        }
        self.recovered.unclean_since = match found.last {
            Some(end) => (!end.clean).then_some(end.at),
            None => self.recovered.unclean_since,
        };
    }

    /// Counts what is damaged, now that all is read: what left no trace, too.
    fn account(self) -> (Recovered, Index, bool) {
        let Self { mut recovered, mut index, standing: (version, standing), marks, spans, mut missing, others, unexplained, .. } = self;
        let is_state_lost = index.restore_standing((version, &standing), &marks);
        let holes = spans.holes(|lane, epoch| (index.acknowledged(lane, epoch).0, index.head(lane, epoch).0));
        let unaccounted = |(place, range)| index.unaccounted(place, range).into_iter().map(move |range| (place, range));
        let holes: Vec<_> = holes.into_iter().flat_map(unaccounted).collect();
        // A place that cannot be read may be where a hole comes from.
        let in_holes = holes.iter().map(|(_, range)| length(*range)).fold(0, u64::saturating_add);
        let others = others.saturating_add(unexplained.saturating_sub(in_holes));
        missing.extend(holes);
        let known = missing.iter().map(|(_, range)| length(*range)).fold(0, u64::saturating_add);
        recovered.damaged_records = known.saturating_add(others);
        index.note_damaged(&missing, others);
        (recovered, index, is_state_lost)
    }

    fn access(&self, id: SegmentId, found: &Scan<'_>) -> Access {
        let mut keys = found.records.iter().filter(|record| record.header.label.kind == Kind::Key).peekable();
        let has_key = keys.peek().is_some();
        let cipher = keys.find_map(|record| self.sealer.unwrap(id, record.body));
        if has_key && cipher.is_none() { Access::Locked } else { Access::Open(cipher) }
    }

    /// Takes one record; says whether it could be opened.
    fn record(&mut self, (id, cipher): (SegmentId, Option<&Cipher>), record: &Found<'_>, is_locked: bool) -> bool {
        let label = record.header.label;
        match label.kind {
            Kind::End | Kind::Key => return true,
            Kind::Skipped(lane) => {
                if let Some(skipped) = Skipped::decode(record.body) {
                    self.index.note_head(lane, id.epoch, skipped.to);
                    if Reason::from_number(skipped.reason) == Some(Reason::Acknowledged) {
                        self.index.acknowledge(lane, id.epoch, Sequence(skipped.to));
                    }
                    self.marks.push(Mark { place: (lane, id.epoch), from: label.sequence, skipped });
                }
                return true;
            }
            Kind::Standing => {
                self.standing = (id.version, record.body.to_vec());
                return true;
            }
            Kind::Checkpoint | Kind::Delta | Kind::Record(_) => {}
        }
        if is_locked {
            let Kind::Record(lane) = label.kind else { return true };
            // So that what is acknowledged of it stays acknowledged.
            self.index.note_head(lane, id.epoch, label.sequence);
            return false;
        }
        let Some(payload) = seal::open(cipher, (id, 0), record) else { return false };
        match label.kind {
            Kind::Checkpoint => {
                self.index.note_checkpoint(id.number);
                self.recovered.checkpoint = Some(payload);
                self.recovered.later.clear();
            }
            Kind::Delta => self.recovered.later.push(Replayed::Delta(payload)),
            Kind::Record(lane) => {
                let place = (u32::try_from(record.at).unwrap_or(u32::MAX), record.header.record_bytes() as u64);
                self.index.note_record(id.number, &Entry::new(lane, label, place));
                self.recovered.later.push(Replayed::Record { lane, bytes: Bytes::from(payload) });
            }
            Kind::End | Kind::Key | Kind::Skipped(_) | Kind::Standing => {}
        }
        true
    }

    fn keep_copy(&self, id: SegmentId) {
        let name = id.file_name();
        match self.storage.keep_damaged(&name) {
            Ok(()) => tracing::error!(name, "a segment of the spool is damaged; a copy is kept for inspection: check the disk"),
            Err(error) => tracing::error!(name, %error, "a segment of the spool is damaged, and no copy can be kept: check the disk"),
        }
    }
}
