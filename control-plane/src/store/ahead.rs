//! Stores the newest states of alerts that come ahead of their lane's order, when a gateway has much to catch up with.
//!
//! The records are still owed in their order: no cursor moves. A state is applied only if newer, as in `ingest`; what the lane says
//! later of an alert that was overtaken completes its history (`overtaken`). The lane's head that comes with them is kept: a gateway
//! that is ever behind it in that epoch was set back, though no cursor tells.

use postern_protocol::alert::Alert;
use postern_protocol::id::{Epoch, GatewayId, Sequence};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::alert_record::{self, Origin};
use super::{StoreError, TenantStore, own_alerts};
use crate::feed::Change;

/// Newest states of alerts, from wherever in the lane.
#[derive(Clone, Debug, PartialEq)]
pub struct AheadBatch {
    /// The gateway's present epoch.
    pub epoch: Epoch,
    /// The alerts lane's durable head in it; 0 before the first record.
    pub head: Sequence,
    /// The states.
    pub alerts: Vec<Alert>,
}

/// What they did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppliedAhead {
    /// Changes for the feed.
    pub changes: Vec<Change>,
    /// Whether the gateway reports something as open that a person closed, and so has to be told.
    pub close_pending: bool,
}

impl TenantStore {
    /// Stores alerts of `gateway` that come ahead of their order.
    ///
    /// # Errors
    /// [`StoreError`] from the database; nothing is stored then.
    pub async fn apply_ahead(&self, gateway: &GatewayId, batch: AheadBatch, now: Timestamp) -> Result<AppliedAhead, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| apply(tx, &gateway, &batch, now)).await
    }
}

/// Stores `batch` in the caller's transaction: what [`TenantStore::apply_ahead`] does.
///
/// # Errors
/// [`StoreError`] from the database; the transaction is then to be dropped.
pub fn apply(tx: &Transaction<'_>, gateway: &GatewayId, batch: &AheadBatch, now: Timestamp) -> Result<AppliedAhead, StoreError> {
    let actor = format!("gateway:{gateway}");
    let origin = Origin { gateway, actor: &actor, now };
    let mut applied = AppliedAhead::default();
    for alert in batch.alerts.iter().filter(|alert| !own_alerts::is_ours(gateway, &alert.key)) {
        if let Some(outcome) = alert_record::apply_ahead(tx, origin, alert)? {
            applied.changes.push(outcome.change);
            applied.close_pending |= outcome.close_pending;
        }
    }
    note_head(tx, gateway, batch)?;
    Ok(applied)
}

fn note_head(tx: &Transaction<'_>, gateway: &GatewayId, batch: &AheadBatch) -> Result<(), StoreError> {
    let head = i64::try_from(batch.head.0).map_err(|_| StoreError::Conflict("the sequence is too great".to_owned()))?;
    tx.prepare_cached(
        "INSERT INTO lane_head (gateway, epoch, sequence) VALUES (?1, ?2, ?3) ON CONFLICT (gateway) DO UPDATE SET
         sequence = CASE WHEN epoch = excluded.epoch THEN max(sequence, excluded.sequence) ELSE excluded.sequence END,
         epoch = excluded.epoch",
    )?
    .execute(params![gateway.as_str(), batch.epoch.0.to_be_bytes(), head])?;
    Ok(())
}

/// Returns the newest head of the alerts lane in `epoch` that `gateway` has told with what came ahead; 0 for none.
pub(super) fn head_told(db: &Connection, gateway: &GatewayId, epoch: Epoch) -> Result<Sequence, StoreError> {
    let known: Option<i64> = db
        .prepare_cached("SELECT sequence FROM lane_head WHERE gateway = ?1 AND epoch = ?2")?
        .query_row(params![gateway.as_str(), epoch.0.to_be_bytes()], |row| row.get(0))
        .optional()?;
    Ok(Sequence(u64::try_from(known.unwrap_or(0)).map_err(|_| StoreError::Corrupt("sequence"))?))
}

/// Forgets how far the gateway was: it was declared to be set back.
pub(super) fn forget_head(tx: &Transaction<'_>, gateway: &GatewayId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM lane_head WHERE gateway = ?1")?.execute([gateway.as_str()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
