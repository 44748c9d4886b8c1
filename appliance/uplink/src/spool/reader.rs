//! Reads batches for the tunnel out of the durable part of segments.
//!
//! Called through [`super::Spool::next_batch`], on a thread that may block. It reads files while the writer appends to them:
//! below the durable end, nothing changes any more.

use std::io;

use bytes::Bytes;
use postern_protocol::id::{Lane, Sequence};
use postern_protocol::message::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};

use super::OutBatch;
use super::index::Place;
use super::segment::{Kind, Step, Walk};
use super::storage::Directory;

const WINDOW_BYTES: usize = 256 * 1024;

/// Reads the records of `lane` from `place` on, to the end of its segment or of a batch.
///
/// A batch has no gap: where records are unreadable it ends, or begins behind them. `None` when nothing readable is left.
pub(crate) fn read_batch(directory: &Directory, lane: Lane, place: Place) -> io::Result<Option<OutBatch>> {
    let mut offset = u64::from(place.offset);
    let mut window = WINDOW_BYTES;
    let (mut records, mut bytes, mut first) = (Vec::new(), 0_usize, 0);
    while offset < place.end {
        let most = usize::try_from(place.end - offset).unwrap_or(usize::MAX).min(window);
        let chunk = Bytes::from(directory.read(place.segment, offset, most)?);
        let mut next = offset.saturating_add(chunk.len() as u64);
        let window_before = window;
        for step in Walk::new(place.segment, u32::try_from(offset).unwrap_or(u32::MAX), &chunk) {
            match step {
                Step::Cut { at, header } => {
                    let needed = header.map_or(WINDOW_BYTES, |header| header.record_bytes());
                    let is_ours = header.is_some_and(|header| header.kind == Kind::Record(lane));
                    if header.is_none() || is_ours {
                        next = offset.saturating_add(at as u64);
                        window = needed.max(WINDOW_BYTES);
                    } else {
                        next = offset.saturating_add(at as u64).saturating_add(needed as u64);
                    }
                }
                Step::Record(found) if found.header.kind == Kind::Record(lane) && found.header.sequence > place.behind => {
                    let expected = records.is_empty() || found.header.sequence == first + records.len() as u64;
                    let full = records.len() >= MAX_BATCH_RECORDS || bytes.saturating_add(found.payload.len()) > MAX_BATCH_BYTES;
                    if !expected || (full && !records.is_empty()) {
                        return Ok(batch(place, first, records));
                    }
                    if records.is_empty() {
                        first = found.header.sequence;
                    }
                    bytes = bytes.saturating_add(found.payload.len());
                    records.push(chunk.slice_ref(found.payload));
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
    Ok(batch(place, first, records))
}

fn batch(place: Place, first: u64, records: Vec<Bytes>) -> Option<OutBatch> {
    (!records.is_empty()).then_some(OutBatch { epoch: place.segment.epoch, first: Sequence(first), records })
}
