//! Commits batches of records: the lane's cursor and what the records change, in one transaction. Only then may they be acknowledged.
//!
//! Idempotent: a record at or below the cursor is skipped, and an alert's record is applied only if newer than what is stored.

use postern_protocol::alert::Alert;
use postern_protocol::id::{Epoch, GatewayId, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Transaction, params};

use super::cursors::{self, Cursor};
use super::{StoreError, TenantStore, alert_record};
use crate::feed::Change;
use crate::unreachable;

/// Records of the alerts lane, in order and without a gap among themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertBatch {
    /// Epoch of the sequences.
    pub epoch: Epoch,
    /// Sequence of the first record, at least 1.
    pub first_sequence: Sequence,
    /// The records.
    pub alerts: Vec<Alert>,
}

/// What a batch did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Everything up to here is committed.
    pub committed: Sequence,
    /// Changes for the feed.
    pub changes: Vec<Change>,
    /// Records that never came: the gateway gave them up, or this store was restored from an older state.
    pub skipped: u64,
    /// Whether the gateway reports something as open that a person closed, and so has to be told.
    pub close_pending: bool,
}

/// A close that the gateway has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PendingClose {
    /// Part of the key.
    pub resource: String,
    /// Part of the key.
    pub kind: String,
    /// Part of the key.
    pub qualifier: String,
    /// The occurrence that was closed.
    pub occurrence: u64,
    /// The count that the person saw.
    pub count_seen: u64,
}

impl TenantStore {
    /// Commits a batch of alert records of `gateway`.
    ///
    /// # Errors
    /// [`StoreError`] from the database; nothing is committed then.
    pub async fn apply_alerts(&self, gateway: &GatewayId, batch: AlertBatch, now: Timestamp) -> Result<Applied, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| apply(tx, &gateway, &batch, now)).await
    }

    /// Returns the closes that `gateway` has not confirmed, at most 10,000.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn pending_closes(&self, gateway: &GatewayId) -> Result<Vec<PendingClose>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT resource, kind, qualifier, occurrence, close_count_seen FROM alert
                 WHERE gateway = ?1 AND close_count_seen IS NOT NULL ORDER BY closed_at LIMIT 10000",
            )?;
            let mut rows = statement.query([gateway.as_str()])?;
            let mut closes = Vec::new();
            while let Some(row) = rows.next()? {
                let number = |column| -> Result<u64, StoreError> {
                    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Corrupt("occurrence"))
                };
                closes.push(PendingClose {
                    resource: row.get(0)?,
                    kind: row.get(1)?,
                    qualifier: row.get(2)?,
                    occurrence: number(3)?,
                    count_seen: number(4)?,
                });
            }
            Ok(closes)
        })
        .await
    }
}

fn apply(tx: &Transaction<'_>, gateway: &GatewayId, batch: &AlertBatch, now: Timestamp) -> Result<Applied, StoreError> {
    let before = cursors::committed(tx, gateway, Lane::Alerts, batch.epoch)?;
    let first = batch.first_sequence.0;
    let last = first.saturating_add(batch.alerts.len() as u64).saturating_sub(1);
    let skipped = first.saturating_sub(before.0.saturating_add(1));
    let mut applied = Applied { committed: before, changes: Vec::new(), skipped, close_pending: false };
    if last <= before.0 {
        applied.skipped = 0;
        return Ok(applied);
    }
    if skipped > 0 {
        tx.prepare_cached("INSERT INTO lane_gap (gateway, lane, epoch, after_sequence, records, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                gateway.as_str(),
                Lane::Alerts.number(),
                batch.epoch.0.to_be_bytes(),
                i64::try_from(before.0).unwrap_or(i64::MAX),
                i64::try_from(skipped).unwrap_or(i64::MAX),
                now.as_nanos()
            ])?;
    }
    let actor = format!("gateway:{gateway}");
    let known = usize::try_from(before.0.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
    for alert in batch.alerts.iter().skip(known) {
        // That alert is ours to raise and clear; a rule that derives the same key must not disturb it.
        if alert.key == unreachable::key(gateway) {
            continue;
        }
        if let Some(outcome) = alert_record::apply(tx, gateway, alert, &actor, now)? {
            applied.changes.push(outcome.change);
            applied.close_pending |= outcome.close_pending;
        }
    }
    applied.committed = Sequence(last);
    cursors::advance(tx, gateway, Cursor { lane: Lane::Alerts, epoch: batch.epoch, sequence: applied.committed }, now)?;
    Ok(applied)
}
