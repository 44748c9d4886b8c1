//! Reads single alert records ahead of their lane's order: for a session that is far behind.
//!
//! Nothing is taken from the lane by it: the same records come again in their order. What cannot be read here is left to that, which
//! counts it. Called by the tunnel, on threads that may block.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::MAX_BATCH_RECORDS;

use super::SpoolError;
use super::index::Place;
pub use super::index::ahead::Spot;
use super::reader::Reader;
use super::seal;
use super::segment::scan::{Step, Walk};
use super::segment::{Kind, SegmentId};
use super::storage::{self, Storage};

/// Most records that are remembered to go ahead; what is older goes in its order.
const MAX_SPOTS: usize = 1 << 16;

/// Bytes that are read at once: a record begins at most so far behind the mark before it.
const BLOCK_BYTES: usize = 80 * 1024;

/// Where a lane is in its order: behind what it sent last.
pub type After = Option<(Epoch, Sequence)>;

/// The records that are to go ahead, the newest first.
#[derive(Debug, Default)]
pub struct Overtakers {
    spots: VecDeque<Spot>,
    newest: Option<Spot>,
    /// The first search is for alerts that last, later ones for whatever has changed.
    has_searched: bool,
}

/// A part of a segment, and where the alert records in it begin.
struct Block {
    segment: SegmentId,
    base: u32,
    bytes: Vec<u8>,
    records: Vec<(u64, usize)>,
}

impl<S: Storage> Reader<S> {
    /// Counts the durable records of `lane` behind `after` that are not acknowledged.
    pub fn waiting(&self, lane: Lane, after: After) -> u64 {
        self.shared.index().waiting_behind(lane, after)
    }

    /// Returns the next records that are to go ahead, at most `most_bytes` of them unless the first alone has more; none when all went.
    ///
    /// First the newest state of each alert that lasts, then also what changes meanwhile, always the newest first. Reads files: call it
    /// where blocking is allowed.
    ///
    /// # Errors
    /// [`SpoolError::File`] when a segment cannot be opened.
    pub fn next_ahead(&self, overtakers: &mut Overtakers, after: After, most_bytes: usize) -> Result<Vec<Bytes>, SpoolError> {
        self.search(overtakers, after);
        let (mut records, mut bytes, mut block) = (Vec::new(), 0_usize, None);
        while let Some(spot) = overtakers.spots.front().copied().filter(|_| records.len() < MAX_BATCH_RECORDS) {
            let Some(place) = self.shared.index().place_of(spot, after) else {
                overtakers.spots.pop_front();
                continue;
            };
            let record = match read(&self.shared.storage, &mut block, &place) {
                Ok(record) => record,
                // Trimmed or rewritten since it was looked up.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
                Err(cause) => return Err(self.shared.fault(&place.segment.file_name())(cause)),
            };
            if let Some(record) = record {
                if bytes.saturating_add(record.len()) > most_bytes && !records.is_empty() {
                    break;
                }
                bytes = bytes.saturating_add(record.len());
                records.push(record);
            }
            overtakers.spots.pop_front();
        }
        Ok(records)
    }

    fn search(&self, overtakers: &mut Overtakers, after: After) {
        let since = overtakers.newest.filter(|_| overtakers.has_searched);
        let newer = self.shared.index().newer(after, since, MAX_SPOTS);
        overtakers.has_searched = true;
        overtakers.newest = newer.newest;
        for spot in newer.spots.into_iter().rev() {
            overtakers.spots.push_front(spot);
        }
        overtakers.spots.truncate(MAX_SPOTS);
    }
}

/// Reads the one alert record that `place` is about; `None` when it is not readable there.
fn read(storage: &impl Storage, block: &mut Option<Block>, place: &Place) -> io::Result<Option<Bytes>> {
    let is_here = |block: &Block| (block.segment, block.base) == (place.segment, place.offset) && block.at(place.from).is_some();
    if !block.as_ref().is_some_and(is_here) {
        *block = Some(load(storage, (place, place.offset), BLOCK_BYTES)?);
    }
    let Some(whole) = block else { return Ok(None) };
    match open(whole, place) {
        Opened::Absent => Ok(None),
        Opened::Cut { at, bytes } => match open(&load(storage, (place, whole.base.saturating_add(at)), bytes)?, place) {
            Opened::Whole(record) => Ok(Some(record)),
            Opened::Absent | Opened::Cut { .. } => Ok(None),
        },
        Opened::Whole(record) => Ok(Some(record)),
    }
}

fn load(storage: &impl Storage, (place, base): (&Place, u32), most: usize) -> io::Result<Block> {
    let most = usize::try_from(place.end.saturating_sub(u64::from(base))).unwrap_or(usize::MAX).min(most);
    let bytes = storage::read(storage, &place.segment.file_name(), u64::from(base), most)?;
    let records = Walk::new(place.segment, base, &bytes).filter_map(|step| match step {
        Step::Cut { at, header } => header.map(|header| (header.label, at)),
        Step::Record(found) => Some((found.header.label, found.at)),
        Step::Damaged { .. } | Step::Unreadable { .. } => None,
    });
    let records = records.filter(|(label, _)| label.kind == Kind::Record(Lane::Alerts)).map(|(label, at)| (label.sequence, at)).collect();
    Ok(Block { segment: place.segment, base, bytes, records })
}

impl Block {
    fn at(&self, sequence: u64) -> Option<usize> {
        let index = self.records.binary_search_by_key(&sequence, |(sequence, _)| *sequence).ok()?;
        self.records.get(index).map(|(_, at)| *at)
    }
}

/// What a block holds of a record.
enum Opened {
    Absent,
    /// Its beginning: so many bytes from there are needed.
    Cut {
        at: u32,
        bytes: usize,
    },
    Whole(Bytes),
}

fn open(block: &Block, place: &Place) -> Opened {
    let Some(at) = block.at(place.from) else { return Opened::Absent };
    let Ok(offset) = u32::try_from(at) else { return Opened::Absent };
    let base = block.base.saturating_add(offset);
    match Walk::new(block.segment, base, block.bytes.get(at..).unwrap_or_default()).next() {
        Some(Step::Record(found)) => match seal::open(place.cipher.as_deref(), (block.segment, base), &found) {
            Some(payload) => Opened::Whole(payload.into()),
            None => Opened::Absent,
        },
        Some(Step::Cut { header: Some(header), .. }) => Opened::Cut { at: offset, bytes: header.record_bytes() },
        Some(Step::Cut { header: None, .. } | Step::Damaged { .. } | Step::Unreadable { .. }) | None => Opened::Absent,
    }
}
