//! What an earlier run left in the spool: found, judged, cut at the unfinished end, and handed back in order.
//!
//! Called once, by [`super::Spool::open`], before the writer starts.

use std::collections::VecDeque;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane};

use super::index::Index;
use super::segment::{Kind, OVERHEAD_BYTES, SegmentId, Tail, scan};
use super::storage::Directory;
use super::{Recovered, Replayed, SpoolError};

/// Reads the whole spool, for a run that writes in `epoch`.
///
/// Returns what was recovered, the index of what stays, and the greatest segment number that was ever seen.
pub(crate) fn recover(directory: &Directory, epoch: Epoch) -> Result<(Recovered, Index, u32), SpoolError> {
    let mut segments: VecDeque<SegmentId> = directory.list()?.into();
    let newest_number = segments.back().map_or(0, |id| id.number);
    let newest_tail = drop_unfinished(directory, &mut segments)?;

    let mut recovered = Recovered::default();
    let mut index = Index::new(epoch);
    let mut standing = Vec::new();
    let newest = segments.back().copied();
    for id in segments {
        let bytes = read_all(directory, id)?;
        let tail = if Some(id) == newest { newest_tail } else { Tail::Durable };
        let found = scan(id, &bytes, tail);
        if found.keep < bytes.len() {
            tracing::info!(segment = id.number, bytes = bytes.len() - found.keep, "cut an unfinished write from the spool");
        }
        if Some(id) == newest {
            // Also when nothing is cut: what a killed process wrote may be in the page cache only.
            directory.settle(id, found.durable as u64, bytes.get(found.durable..found.keep).unwrap_or_default())?;
        }
        index.add(id);
        index.grow(id.number, found.keep as u64);
        recovered.damaged_records = recovered.damaged_records.saturating_add(found.damaged);
        for record in &found.records {
            match record.header.kind {
                Kind::Checkpoint => {
                    index.note_checkpoint(id.number);
                    recovered.checkpoint = Some(record.payload.to_vec());
                    recovered.later.clear();
                }
                Kind::Delta => recovered.later.push(Replayed::Delta(record.payload.to_vec())),
                Kind::End => {}
                Kind::Record(lane) => {
                    note(&mut index, id, record, lane);
                    recovered.later.push(Replayed::Record { lane, bytes: Bytes::copy_from_slice(record.payload) });
                }
                Kind::Standing => standing = record.payload.to_vec(),
            }
        }
        recovered.unclean_since = match found.last {
            Some(end) => (!end.clean).then_some(end.at),
            None => recovered.unclean_since,
        };
    }
    index.note_damaged(recovered.damaged_records);
    let evicted = index.restore_standing(&standing);
    recovered.resend_open_alerts = evicted || recovered.damaged_records > 0;
    Ok((recovered, index, newest_number))
}

/// Removes the newest segment when it has no whole commit: the crash came between making the file and its first commit.
///
/// Says how the end of the segment that is the newest now is to be judged.
fn drop_unfinished(directory: &Directory, segments: &mut VecDeque<SegmentId>) -> Result<Tail, SpoolError> {
    let Some(id) = segments.back().copied() else { return Ok(Tail::Open) };
    if scan(id, &read_all(directory, id)?, Tail::Open).keep > 0 {
        return Ok(Tail::Open);
    }
    directory.remove(&[id])?;
    segments.pop_back();
    Ok(Tail::Durable)
}

fn read_all(directory: &Directory, id: SegmentId) -> Result<Vec<u8>, SpoolError> {
    directory.read(id, 0, u32::MAX as usize).map_err(|cause| SpoolError::File { path: directory.path_of(id), cause })
}

fn note(index: &mut Index, id: SegmentId, record: &super::segment::Found<'_>, lane: Lane) {
    let offset = u32::try_from(record.at).unwrap_or(u32::MAX);
    index.note_record(
        id.number,
        (lane, record.header.sequence),
        offset,
        record.header.record_bytes().saturating_sub(OVERHEAD_BYTES) as u64,
    );
}
