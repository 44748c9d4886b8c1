//! One lane's stream: batches in, an [`Ack`] for each after its commit.
//!
//! Alerts are committed batch by batch and go first; what may wait is committed in small pieces that take turns. Alerts that come
//! ahead of their order are stored and answered, and move no cursor.

use postern_protocol::id::{Lane, Sequence};
use postern_protocol::message::{Ack, Batch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::{self, BatchError};
use super::context::Context;
use super::frames::{Reader, StreamError, Writer};
use super::pacing::Pacer;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::gateway_events::{GatewayEvent, Happening};
use crate::store::samples::SampleBatch;

/// Most samples in one transaction.
const AT_ONCE: usize = 256;

/// What a lane's task works with.
pub(super) struct LaneTask {
    pub(super) context: Context,
    pub(super) lane: Lane,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// Whether the greeting asked for all open alerts: a gap is then expected.
    pub(super) resend_asked: bool,
    /// Finds out whether the gateway sends faster than the store takes.
    pub(super) pacer: Pacer,
    /// Ends the lane after the batch in hand.
    pub(super) stop: CancellationToken,
}

/// Why a lane ended the session.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// The gateway sent a bad batch.
    #[error("bad batch")]
    Batch(#[from] BatchError),
    /// The session's first batch does not follow what is committed: the next greeting will ask for all open alerts.
    #[error("{skipped} records are missing")]
    Gap {
        /// How many.
        skipped: u64,
    },
    /// The store failed: without a commit there is no ack.
    #[error("a batch cannot be committed")]
    Store(#[from] StoreError),
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Serves the stream until the gateway ends it or `stop` is cancelled.
pub(super) async fn serve(mut task: LaneTask) -> Result<(), LaneError> {
    let mut first = true;
    loop {
        let batch: Batch = tokio::select! {
            biased;
            () = task.stop.cancelled() => return Ok(()),
            next = task.reader.next() => match next? {
                Some(batch) => batch,
                None => return Ok(()),
            },
        };
        let epoch = batch.epoch;
        if batch.ahead {
            apply_ahead(&task, batch).await?;
            task.writer.send(&Ack { epoch, sequence: 0, ahead: true }).await?;
            continue;
        }
        let (committed, skipped) = match task.lane {
            Lane::Alerts => commit_alerts(&task.context, batch).await?,
            // Nobody can send again what is missing of these.
            Lane::Inventory => (commit_inventory(&task.context, batch).await?, 0),
            Lane::Samples => (commit_samples(&mut task, batch).await?, 0),
            // `connection` opens no stream for it.
            Lane::Logs => return Ok(()),
        };
        task.writer.send(&Ack { epoch, sequence: committed.0, ..Ack::default() }).await?;
        if skipped > 0 && first && !task.resend_asked {
            return Err(LaneError::Gap { skipped });
        }
        first = false;
    }
}

/// Unpacking a full batch takes milliseconds: not on a worker of the runtime.
async fn decoded<T: Send + 'static>(batch: Batch, decode: fn(&Batch) -> Result<T, BatchError>) -> Result<T, LaneError> {
    Ok(tokio::task::spawn_blocking(move || decode(&batch)).await.map_err(|_| StoreError::Stopped)??)
}

async fn commit_alerts(context: &Context, batch: Batch) -> Result<(Sequence, u64), LaneError> {
    let Context { app, peer, store, .. } = context;
    let batch = decoded(batch, batch::decode_alerts).await?;
    let records = batch.alerts.len() as u64;
    let applied = store.apply_alerts(&peer.gateway, batch, app.now()).await?;
    Metrics::add(&app.metrics.batches, 1);
    Metrics::add(&app.metrics.alert_records, records);
    note_missing(context, Lane::Alerts, applied.skipped).await?;
    // Before the ack: it may fail, and readers must learn of the commit all the same.
    for change in applied.changes {
        app.feed.publish(&peer.tenant, change);
    }
    if applied.close_pending {
        app.gateways.wake(&peer.gateway);
    }
    Ok((applied.committed, applied.skipped))
}

/// Stores the newest states of alerts whose records are still to come in their order.
async fn apply_ahead(task: &LaneTask, batch: Batch) -> Result<(), LaneError> {
    let Context { app, peer, store, .. } = &task.context;
    if task.lane != Lane::Alerts {
        return Err(BatchError::Ahead { lane: task.lane.name(), first_sequence: batch.first_sequence }.into());
    }
    let batch = decoded(batch, batch::decode_ahead).await?;
    Metrics::add(&app.metrics.batches, 1);
    Metrics::add(&app.metrics.alert_records_ahead, batch.alerts.len() as u64);
    let applied = store.apply_ahead(&peer.gateway, batch, app.now()).await?;
    for change in applied.changes {
        app.feed.publish(&peer.tenant, change);
    }
    if applied.close_pending {
        app.gateways.wake(&peer.gateway);
    }
    Ok(())
}

async fn commit_inventory(context: &Context, batch: Batch) -> Result<Sequence, LaneError> {
    let batch = decoded(batch, batch::decode_inventory).await?;
    let advanced = context.store.apply_inventory(&context.peer.gateway, batch, context.app.now()).await?;
    Metrics::add(&context.app.metrics.batches, 1);
    note_missing(context, Lane::Inventory, advanced.skipped).await?;
    context.publish();
    Ok(advanced.committed)
}

/// Commits piece by piece, so that an alert of any gateway of the tenant gets its turn between two; slows the gateway down when
/// the pieces take long.
async fn commit_samples(task: &mut LaneTask, batch: Batch) -> Result<Sequence, LaneError> {
    let context = &task.context;
    let bytes = batch.records_zstd.len();
    let SampleBatch { epoch, mut first_sequence, mut samples } = decoded(batch, batch::decode_samples).await?;
    let records = samples.len();
    Metrics::add(&context.app.metrics.batches, 1);
    Metrics::add(&context.app.metrics.sample_records, records as u64);
    let mut committed = first_sequence;
    while !samples.is_empty() {
        let rest = samples.split_off(samples.len().min(AT_ONCE));
        let piece = SampleBatch { epoch, first_sequence, samples };
        first_sequence = Sequence(first_sequence.0.saturating_add(piece.samples.len() as u64));
        let began = Instant::now();
        let advanced = context.store.apply_samples(&context.peer.gateway, piece, context.app.now()).await?;
        task.pacer.committed(began.elapsed(), Instant::now());
        note_missing(context, Lane::Samples, advanced.skipped).await?;
        committed = advanced.committed;
        samples = rest;
    }
    tracing::trace!(gateway = %context.peer.gateway, records, bytes, "samples committed");
    Ok(committed)
}

/// Counts records that never came and writes them into the gateway's history.
async fn note_missing(context: &Context, lane: Lane, skipped: u64) -> Result<(), LaneError> {
    if skipped == 0 {
        return Ok(());
    }
    let gateway = &context.peer.gateway;
    Metrics::add(&context.app.metrics.skipped_records, skipped);
    tracing::warn!(%gateway, lane = lane.name(), skipped, "records of a lane never came");
    let text = format!(
        "{skipped} records of the lane {} never came: the gateway's spool gave them up, or this database was restored from an older state",
        lane.name()
    );
    let event = GatewayEvent { at: context.app.now(), what: Happening::RecordsMissing, text };
    Ok(context.store.note_gateway_event(gateway, event).await?)
}
