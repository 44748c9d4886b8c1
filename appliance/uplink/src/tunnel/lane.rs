//! One lane of a session: sends batches out of the spool, as many as may be in flight, and passes acknowledgements back to it.
//!
//! A task of the session's set: ended by aborting it, or by its first error, which ends the session. The stream is opened only
//! when the lane has something to say.

use std::convert::Infallible;

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
use crate::spool::{OutBatch, Spool, SpoolError};

/// Fast, and already a third of the size for alerts.
const COMPRESSION_LEVEL: i32 = 1;

/// Runs the lane for as long as the session lasts.
///
/// # Errors
/// [`Loss`]: why the session is over.
pub(crate) async fn run(lane: Lane, spool: Spool, mut opener: Opener, mut paces: watch::Receiver<Paces>) -> Result<Infallible, Loss> {
    let start = Instant::now();
    let mut durable = spool.durable();
    let mut flow = LaneFlow::of(lane);
    let mut pacer = Pacer::default();
    let mut stream: Option<(FrameSender, FrameReader)> = None;
    let mut packer = Some(Packer::new()?);
    loop {
        // Marked as seen before the spool is asked, so that what becomes durable meanwhile wakes the select below.
        durable.borrow_and_update();
        pacer.set(paces.borrow_and_update().of(lane), start.elapsed());
        while flow.has_room() && pacer.wait_until(start.elapsed()).is_none() && spool.has_next(lane, flow.after()) {
            let Some((batch, frame)) = pack_next(lane, &spool, &flow, &mut packer).await? else { break };
            if stream.is_none() {
                // One more than may be in flight, so that queueing never waits.
                stream = Some(open(lane, &mut opener).await?);
            }
            let Some((sender, _)) = &mut stream else { return Err(Loss::StreamEnded) };
            if !sender.queue(&frame) {
                return Err(Loss::StreamEnded);
            }
            flow.sent(&batch, start.elapsed());
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
                spool.acknowledge(lane, epoch, Sequence(ack.sequence));
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

/// Reads and compresses the next batch on a thread that may block.
async fn pack_next(lane: Lane, spool: &Spool, flow: &LaneFlow, packer: &mut Option<Packer>) -> Result<Option<(OutBatch, Batch)>, Loss> {
    let (spool, after, most_bytes) = (spool.clone(), flow.after(), flow.batch_bytes());
    let mut own = match packer.take() {
        Some(packer) => packer,
        None => Packer::new()?,
    };
    let packing = tokio::task::spawn_blocking(move || {
        let mut batch = spool.next_batch_within(lane, after, most_bytes)?;
        batch.iter_mut().for_each(|batch| flow::fit(batch, most_bytes));
        let packed = batch.map(|batch| own.pack(&batch).map(|frame| (batch, frame))).transpose()?;
        Ok::<_, Loss>((packed, own))
    });
    let (packed, own) = packing.await.map_err(|_| SpoolError::Died)??;
    *packer = Some(own);
    Ok(packed)
}

/// Compresses batches, with one context for all of them.
struct Packer(Compressor<'static>);

impl Packer {
    fn new() -> Result<Self, Loss> {
        Compressor::new(COMPRESSION_LEVEL).map(Self).map_err(Loss::Compression)
    }

    fn pack(&mut self, batch: &OutBatch) -> Result<Batch, Loss> {
        let records = Records { records: batch.records.clone() }.encode_to_vec();
        let records_zstd = self.0.compress(&records).map_err(Loss::Compression)?;
        Ok(Batch { epoch: batch.epoch.0, first_sequence: batch.first.0, records_zstd, ..Batch::default() })
    }
}
