//! One lane of a session: sends batches out of the spool, as many as may be in flight, and passes acknowledgements back to it.
//!
//! An alerts lane that is far behind sends the newest state of alerts ahead of their order, in turn with what is next in it.
//!
//! A task of the session's set: ended by aborting it, or by its first error, which ends the session. The stream is opened only
//! when the lane has something to say.

use std::convert::Infallible;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{Ack, Batch, Records};
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::Instant;
use zstd::bulk::Compressor;

use super::connection::{FrameReader, FrameSender, Loss, Opener};
use super::flow::{self, LaneFlow, MAX_IN_FLIGHT};
use super::pace::{Pacer, Paces};
use super::tap::Stream;
use crate::spool::ahead::{After, Overtakers};
use crate::spool::{OutBatch, Spool, SpoolError};

/// Fast, and already a third of the size for alerts.
const COMPRESSION_LEVEL: i32 = 1;

/// What a lane works with.
pub(crate) struct LaneTask {
    pub(crate) lane: Lane,
    /// The version that the session speaks.
    pub(crate) protocol: u32,
    pub(crate) spool: Spool,
    pub(crate) opener: Opener,
    pub(crate) paces: watch::Receiver<Paces>,
}

/// Runs the lane for as long as the session lasts.
///
/// # Errors
/// [`Loss`]: why the session is over.
pub(crate) async fn run(task: LaneTask) -> Result<Infallible, Loss> {
    let LaneTask { lane, protocol, spool, mut opener, mut paces } = task;
    let start = Instant::now();
    let mut durable = spool.durable();
    let mut flow = LaneFlow::of(lane).speaking(protocol);
    let mut pacer = Pacer::default();
    let mut stream: Option<(FrameSender, FrameReader)> = None;
    let mut packer = Some(Packer::new()?);
    loop {
        // Marked as seen before the spool is asked, so that what becomes durable meanwhile wakes the select below.
        durable.borrow_and_update();
        pacer.set(paces.borrow_and_update().of(lane), start.elapsed());
        while flow.has_room() && pacer.wait_until(start.elapsed()).is_none() && spool.has_next(lane, flow.after()) {
            flow.waiting(spool.waiting(lane, flow.after()));
            let Some((packed, frame)) = pack_next(lane, &spool, &flow, &mut packer).await? else { break };
            if stream.is_none() {
                // One more than may be in flight, so that queueing never waits.
                stream = Some(open(lane, &mut opener).await?);
            }
            let Some((sender, _)) = &mut stream else { return Err(Loss::StreamEnded) };
            if !sender.queue(&frame) {
                return Err(Loss::StreamEnded);
            }
            match packed {
                Packed::Ahead(records) => {
                    tracing::debug!(records = records.len(), "alerts go ahead of their order");
                    flow.sent_ahead(records.iter().map(Bytes::len).fold(0, usize::saturating_add), start.elapsed());
                }
                Packed::InOrder(batch) => flow.sent(&batch, start.elapsed()),
            }
            pacer.sent(frame.records_zstd.len(), start.elapsed());
        }
        let due = flow.deadline().map(|deadline| start + deadline);
        let may_send = pacer.wait_until(start.elapsed()).and_then(|at| start.checked_add(at));
        // All waits are cancel-safe: a watch keeps its version, the reader its bytes.
        tokio::select! {
            changed = durable.changed(), if flow.has_room() => changed.map_err(|_| SpoolError::Closed)?,
            ack = next_ack(&mut stream) => {
                let ack = ack?;
                let epoch = Epoch(ack.epoch);
                flow.acknowledged(&ack, spool.head(lane, epoch), start.elapsed())?;
                if !ack.ahead {
                    spool.acknowledge(lane, epoch, Sequence(ack.sequence));
                }
            }
            () = sleep_until(due) => flow.tick(start.elapsed())?,
            () = sleep_until(may_send), if flow.has_room() => {}
            Ok(()) = paces.changed() => {}
        }
    }
}

/// Opens the lane's stream. A control plane that does not take this lane (404, 501) is no reason to end the session: its records
/// wait in the spool for one that does.
async fn open(lane: Lane, opener: &mut Opener) -> Result<(FrameSender, FrameReader), Loss> {
    match opener.open(Stream::Lane(lane), MAX_IN_FLIGHT + 1).await {
        Err(Loss::Refused { status: 404 | 501, .. }) => {
            tracing::warn!(lane = lane.name(), "the control plane does not take this lane: its records wait");
            std::future::pending().await
        }
        opened => opened,
    }
}

async fn next_ack(stream: &mut Option<(FrameSender, FrameReader)>) -> Result<Ack, Loss> {
    match stream {
        Some((_, reader)) => reader.next().await?.ok_or(Loss::StreamEnded),
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The content of a batch.
enum Packed {
    /// Records that come again in their order.
    Ahead(Vec<Bytes>),
    /// What is next in the lane.
    InOrder(OutBatch),
}

/// Reads and compresses the next batch on a thread that may block: what goes ahead, when that may be and there is something, else what
/// is next in order.
async fn pack_next(lane: Lane, spool: &Spool, flow: &LaneFlow, packer: &mut Option<Packer>) -> Result<Option<(Packed, Batch)>, Loss> {
    let (spool, after, most_bytes, may_overtake) = (spool.clone(), flow.after(), flow.batch_bytes(), flow.may_overtake());
    let mut own = match packer.take() {
        Some(packer) => packer,
        None => Packer::new()?,
    };
    let packing = tokio::task::spawn_blocking(move || {
        if may_overtake && let Some(packed) = own.ahead(lane, &spool, (after, most_bytes))? {
            return Ok((Some(packed), own));
        }
        let mut batch = spool.next_batch_within(lane, after, most_bytes)?;
        batch.iter_mut().for_each(|batch| flow::fit(batch, most_bytes));
        let packed = batch.map(|batch| own.in_order(batch)).transpose()?;
        Ok::<_, Loss>((packed, own))
    });
    let (packed, own) = packing.await.map_err(|_| SpoolError::Died)??;
    *packer = Some(own);
    Ok(packed)
}

/// Makes batches, with one compression context for all of them.
struct Packer {
    compressor: Compressor<'static>,
    overtakers: Overtakers,
}

impl Packer {
    fn new() -> Result<Self, Loss> {
        let compressor = Compressor::new(COMPRESSION_LEVEL).map_err(Loss::Compression)?;
        Ok(Self { compressor, overtakers: Overtakers::default() })
    }

    fn ahead(&mut self, lane: Lane, spool: &Spool, (after, most_bytes): (After, usize)) -> Result<Option<(Packed, Batch)>, Loss> {
        let records = spool.next_ahead(&mut self.overtakers, after, most_bytes)?;
        if records.is_empty() {
            return Ok(None);
        }
        let epoch = spool.epoch();
        let (head, records_zstd) = (spool.head(lane, epoch).0, self.compress(&records)?);
        let frame = Batch { epoch: epoch.0, first_sequence: 0, records_zstd, ahead: true, head };
        Ok(Some((Packed::Ahead(records), frame)))
    }

    fn in_order(&mut self, batch: OutBatch) -> Result<(Packed, Batch), Loss> {
        let records_zstd = self.compress(&batch.records)?;
        let frame = Batch { epoch: batch.epoch.0, first_sequence: batch.first.0, records_zstd, ..Batch::default() };
        Ok((Packed::InOrder(batch), frame))
    }

    fn compress(&mut self, records: &[Bytes]) -> Result<Vec<u8>, Loss> {
        let records = Records { records: records.to_vec() }.encode_to_vec();
        self.compressor.compress(&records).map_err(Loss::Compression)
    }
}
