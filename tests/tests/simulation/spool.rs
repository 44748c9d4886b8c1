//! The real spool core on a simulated disk, driven as the spool's thread drives it.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{Batch, LanePosition, Records};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::ahead::Overtakers;
use postern_uplink::spool::core::{Core, CoreOptions, Start};
use postern_uplink::spool::reader::Reader;
use postern_uplink::spool::segment::SegmentId;
use postern_uplink::spool::storage::Storage;
use postern_uplink::spool::{Commit, OutBatch, Recovered, SpoolError};
use postern_uplink::tunnel::flow::LaneFlow;
use prost::Message as _;

use crate::disk::{Disk, Inode};
use crate::gateway::Stop;

/// The machine key; what it protects is not simulated.
const MACHINE_KEY: [u8; 32] = [7; 32];

/// Says whether a file of this name is a segment.
pub(crate) fn is_segment(name: &str) -> bool {
    SegmentId::from_file_name(name).is_some()
}

/// The disk, as the spool knows disks.
pub(crate) struct Platters(Disk);

impl Storage for Platters {
    type File = Inode;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.names().into_iter().filter(|name| !name.starts_with(DAMAGED)).collect())
    }

    fn create(&self, name: &str, preallocated: u64) -> io::Result<Inode> {
        self.0.create(name, preallocated)
    }

    fn open(&self, name: &str) -> io::Result<Inode> {
        self.0.open(name)
    }

    fn write_at(&self, file: &mut Inode, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(*file, offset, bytes)
    }

    fn sync_data(&self, file: &mut Inode) -> io::Result<()> {
        self.0.sync_file(*file)
    }

    fn truncate(&self, file: &mut Inode, bytes: u64) -> io::Result<()> {
        self.0.set_length(*file, bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.0.length(name)
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read(name, offset, into.len())?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.room())
    }

    fn keep_damaged(&self, name: &str) -> io::Result<()> {
        let copy = format!("{DAMAGED}{name}");
        if self.0.names().contains(&copy) { Ok(()) } else { self.0.link(name, &copy) }
    }

    fn damaged(&self) -> io::Result<Vec<String>> {
        Ok(self.0.names().into_iter().filter(|name| name.starts_with(DAMAGED)).collect())
    }

    fn place_of(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}

/// The directory of damaged copies, as a beginning of names.
const DAMAGED: &str = "damaged/";

/// The spool of a running gateway.
pub(crate) struct Spool {
    core: Core<Platters>,
    reader: Reader<Platters>,
    /// Numbers of the commits that the core has and that are not durable: it numbers them from 1 in every run.
    accepted: VecDeque<u64>,
    durable: u64,
    /// The core waits for room.
    is_full: bool,
}

impl Spool {
    /// Opens it as a start does.
    pub(crate) fn open(
        disk: Disk,
        (segment_bytes, max_bytes): (u64, u64),
        (epoch, now): (Epoch, Timestamp),
    ) -> Result<(Self, Recovered), Stop> {
        let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).map_err(|_| SpoolError::Random);
        let options = CoreOptions { segment_bytes, max_bytes, machine_key: MACHINE_KEY.into(), random };
        let (core, recovered) = Core::open(Platters(disk), options, Start { epoch, now }).map_err(ended)?;
        let reader = core.reader();
        // A start on a full disk has not written its first segment yet: the thread tries again at once.
        Ok((Self { core, reader, accepted: VecDeque::new(), durable: 0, is_full: true }, recovered))
    }

    /// Writes a group of commits with these numbers. Returns the last one that is durable now; `None` when the disk is full: the
    /// group is kept then, and nothing else is taken before [`Spool::retry`] has written it.
    pub(crate) fn write(&mut self, group: Vec<(u64, Commit)>, now: Duration) -> Result<Option<u64>, Stop> {
        self.accepted.extend(group.iter().map(|(number, _)| *number));
        let written = self.core.write(group.into_iter().map(|(_, commit)| commit).collect(), now);
        self.settle(written)
    }

    /// Tries again what a full disk has kept it from.
    pub(crate) fn retry(&mut self, now: Duration) -> Result<Option<u64>, Stop> {
        let written = self.core.retry(now);
        self.settle(written)
    }

    fn settle(&mut self, written: Result<(), SpoolError>) -> Result<Option<u64>, Stop> {
        self.is_full = matches!(written, Err(SpoolError::Full));
        if !self.is_full {
            written.map_err(ended)?;
        }
        let mut last = None;
        while self.durable < self.core.durable().0 {
            self.durable += 1;
            last = self.accepted.pop_front();
        }
        Ok(last)
    }

    /// Says whether it waits for room.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Removes what nobody needs.
    pub(crate) fn trim(&mut self) -> Result<(), Stop> {
        self.core.trim().map_err(ended)
    }

    /// Goes on in another epoch.
    pub(crate) fn renew(&mut self, epoch: Epoch, now: Duration) -> Result<(), Stop> {
        let renewed = self.core.renew(epoch, now);
        self.settle(renewed).map(drop)
    }

    /// As the reader says.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.reader.wants_checkpoint()
    }

    /// As the reader says.
    pub(crate) fn next_batch(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> Result<Option<OutBatch>, Stop> {
        self.reader.next_batch(lane, after).map_err(ended)
    }

    /// As the reader says.
    pub(crate) fn waiting(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> u64 {
        self.reader.waiting(lane, after)
    }

    /// Makes a batch of what goes ahead now, with the bytes of its records.
    pub(crate) fn next_ahead(&self, overtakers: &mut Overtakers, flow: &LaneFlow) -> Result<Option<(Batch, usize)>, Stop> {
        let records = self.reader.next_ahead(overtakers, flow.after(), flow.batch_bytes()).map_err(ended)?;
        if records.is_empty() {
            return Ok(None);
        }
        let (epoch, bytes) = (self.epoch(), records.iter().map(Bytes::len).sum());
        let records_zstd = zstd::bulk::compress(&Records { records }.encode_to_vec(), 1)?;
        let head = self.head(Lane::Alerts, epoch).0;
        Ok(Some((Batch { epoch: epoch.0, first_sequence: 0, records_zstd, ahead: true, head }, bytes)))
    }

    /// As the reader says.
    pub(crate) fn has_next(&self, lane: Lane, after: Option<(Epoch, Sequence)>) -> bool {
        self.reader.has_next(lane, after)
    }

    /// As the reader does.
    pub(crate) fn acknowledge(&mut self, lane: Lane, epoch: Epoch, sequence: Sequence) {
        self.reader.acknowledge(lane, epoch, sequence);
    }

    /// As the reader does.
    pub(crate) fn owe_resend(&mut self) {
        self.reader.owe_resend();
    }

    /// As the reader does.
    pub(crate) fn settle_resend(&mut self) {
        self.reader.settle_resend();
    }

    /// As the reader says.
    pub(crate) fn epoch(&self) -> Epoch {
        self.reader.epoch()
    }

    /// As the reader says.
    pub(crate) fn head(&self, lane: Lane, epoch: Epoch) -> Sequence {
        self.reader.head(lane, epoch)
    }

    /// As the reader says.
    pub(crate) fn heads(&self) -> Vec<LanePosition> {
        self.reader.heads()
    }

    /// As the reader says.
    pub(crate) fn acknowledged(&self) -> Vec<LanePosition> {
        self.reader.acknowledged()
    }

    /// Counts records that were durable and cannot be read.
    pub(crate) fn damaged(&self) -> u64 {
        self.reader.damaged_records()
    }

    /// Counts the times that the only word on an alert was given up.
    pub(crate) fn evictions(&self) -> u64 {
        self.reader.evictions()
    }

    /// Counts the records that were given up, by lane.
    pub(crate) fn evicted_by_lane(&self) -> BTreeMap<Lane, u64> {
        let fill = self.reader.fill(Duration::ZERO);
        let evicted = |lane: Lane| fill.lanes.get(lane.name()).map_or(0, |lane| lane.evicted);
        Lane::ALL.into_iter().map(|lane| (lane, evicted(lane))).collect()
    }

    /// Counts the records of a lane that were given up.
    pub(crate) fn evicted(&self, lane: Lane) -> u64 {
        self.evicted_by_lane().get(&lane).copied().unwrap_or(0)
    }
}

/// Any fault of the disk ends the program.
fn ended(error: SpoolError) -> Stop {
    let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
    Stop::Process(format!("{error}{cause}"))
}
