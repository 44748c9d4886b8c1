//! One lane's stream: batches in, an [`Ack`] for each after its commit. Only the alerts lane exists so far.

use postern_protocol::id::Lane;
use postern_protocol::message::{Ack, Batch};
use tokio_util::sync::CancellationToken;

use super::batch::{self, BatchError};
use super::context::Context;
use super::frames::{Reader, StreamError, Writer};
use crate::metrics::Metrics;
use crate::store::StoreError;

/// What a lane's task works with.
pub(super) struct LaneTask {
    pub(super) context: Context,
    pub(super) lane: Lane,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// Whether the greeting asked for all open alerts: a gap is then expected.
    pub(super) resend_asked: bool,
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
pub(super) async fn serve(mut lane: LaneTask) -> Result<(), LaneError> {
    let mut first = true;
    loop {
        let batch: Batch = tokio::select! {
            biased;
            () = lane.stop.cancelled() => return Ok(()),
            next = lane.reader.next() => match next? {
                Some(batch) => batch,
                None => return Ok(()),
            },
        };
        let skipped = commit(&mut lane, batch).await?;
        if skipped > 0 && first && !lane.resend_asked {
            return Err(LaneError::Gap { skipped });
        }
        first = false;
    }
}

async fn commit(lane: &mut LaneTask, batch: Batch) -> Result<u64, LaneError> {
    let Context { app, peer, store, .. } = &lane.context;
    let epoch = batch.epoch;
    // Unpacking a full batch takes milliseconds: not on a worker of the runtime.
    let batch = tokio::task::spawn_blocking(move || batch::decode_alerts(&batch)).await.map_err(|_| StoreError::Stopped)??;
    let records = batch.alerts.len() as u64;
    let applied = store.apply_alerts(&peer.gateway, batch, app.now()).await?;
    Metrics::add(&app.metrics.batches, 1);
    Metrics::add(&app.metrics.alert_records, records);
    if applied.skipped > 0 {
        Metrics::add(&app.metrics.skipped_records, applied.skipped);
        tracing::warn!(gateway = %peer.gateway, skipped = applied.skipped, "records of the alerts lane never came");
    }
    // Before the ack: it may fail, and readers must learn of the commit all the same.
    for change in applied.changes {
        app.feed.publish(&peer.tenant, change);
    }
    if applied.close_pending {
        app.gateways.wake(&peer.gateway);
    }
    lane.writer.send(&Ack { epoch, sequence: applied.committed.0 }).await?;
    Ok(applied.skipped)
}
