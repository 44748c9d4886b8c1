//! Commits batches of records: the lane's cursor and what the records change, in one transaction. Only then may they be acknowledged.
//!
//! Idempotent: a record at or below the cursor is skipped, and an alert's record is applied only if newer than what is stored.

use postern_protocol::alert::Alert;
use postern_protocol::id::{Epoch, GatewayId, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::alert_record::{self, Origin};
use super::cursors::{self, Cursor};
use super::healing;
use super::{StoreError, TenantStore, own_alerts};
use crate::feed::Change;

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
        self.read(move |db| closes_pending(db, &gateway)).await
    }
}

/// Returns the closes that `gateway` has not confirmed, at most 10,000: what [`TenantStore::pending_closes`] does.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn closes_pending(db: &Connection, gateway: &GatewayId) -> Result<Vec<PendingClose>, StoreError> {
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
}

/// Commits `batch` in the caller's transaction: what [`TenantStore::apply_alerts`] does.
///
/// # Errors
/// [`StoreError`] from the database; the transaction is then to be dropped.
pub fn apply(tx: &Transaction<'_>, gateway: &GatewayId, batch: &AlertBatch, now: Timestamp) -> Result<Applied, StoreError> {
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
    let origin = Origin { gateway, actor: &actor, now };
    let known = usize::try_from(before.0.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
    for alert in batch.alerts.iter().skip(known) {
        // That alert is ours to raise and clear; a rule that derives the same key must not disturb it.
        if own_alerts::is_ours(gateway, &alert.key) {
            continue;
        }
        if let Some(outcome) = alert_record::apply(tx, origin, alert)? {
            applied.changes.push(outcome.change);
            applied.close_pending |= outcome.close_pending;
        }
    }
    applied.committed = Sequence(last);
    cursors::advance(tx, gateway, Cursor { lane: Lane::Alerts, epoch: batch.epoch, sequence: applied.committed }, now)?;
    applied.changes.extend(healing::settle(tx, gateway, now)?);
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postern_protocol::alert::{AlertKey, AlertState, Evidence, Severity};
    use postern_protocol::id::{AlertId, RuleId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(5_000);
    const EPOCH: Epoch = Epoch(u64::MAX - 7);

    struct Site {
        _folder: tempfile::TempDir,
        store: TenantStore,
        gateway: GatewayId,
    }

    fn site() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        Site { _folder: folder, store, gateway: GatewayId::new("gw").unwrap() }
    }

    fn alert(occurrence: u64, revision: u64, state: AlertState) -> Alert {
        Alert {
            key: AlertKey { resource: "10.0.0.7/if/3".into(), kind: "link-down".into(), qualifier: String::new() },
            occurrence,
            revision,
            state,
            severity: Severity::Major,
            summary: "Link 3 is down".into(),
            count: revision - occurrence + 1,
            first_seen: Timestamp::from_secs(100),
            last_seen: Timestamp::from_secs(200),
            cleared_at: (state == AlertState::Cleared).then_some(Timestamp::from_secs(200)),
            labels: BTreeMap::new(),
            rule: RuleId::new("link-down").unwrap(),
            rule_version: 1,
            course: postern_protocol::alert::Course::default(),
            evidence: Evidence::default(),
        }
    }

    impl Site {
        async fn apply(&self, first: u64, alerts: Vec<Alert>) -> Applied {
            let batch = AlertBatch { epoch: EPOCH, first_sequence: Sequence(first), alerts };
            self.store.apply_alerts(&self.gateway, batch, NOW).await.unwrap()
        }

        /// State, count, revision of the gateway, pending close.
        async fn row(&self) -> (String, i64, i64, Option<i64>) {
            let sql = "SELECT state, count, gateway_revision, close_count_seen FROM alert";
            let read =
                self.store.read(move |db| Ok(db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?));
            read.await.unwrap()
        }

        async fn texts(&self, sql: &'static str) -> Vec<String> {
            let read = self.store.read(move |db| {
                let mut statement = db.prepare(sql)?;
                let texts = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok(texts)
            });
            read.await.unwrap()
        }

        async fn close(&self) {
            let sql = "UPDATE alert SET state = 'closed', closed_at = 1, closed_by = 'anna', close_count_seen = count";
            self.store.write(move |tx| Ok(tx.execute(sql, [])?)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_batch_that_comes_again_changes_nothing() {
        let site = site();
        let batch = vec![alert(10, 10, AlertState::Open), alert(10, 11, AlertState::Open)];
        assert_eq!(site.apply(1, batch.clone()).await.changes.len(), 2);
        let again = site.apply(1, batch.clone()).await;
        assert_eq!((again.committed, again.changes.len(), again.skipped), (Sequence(2), 0, 0));
        let overlap = site.apply(2, vec![batch[1].clone(), alert(10, 12, AlertState::Open)]).await;
        assert_eq!((overlap.committed, overlap.changes.len()), (Sequence(3), 1));
        assert_eq!(site.row().await, ("open".to_owned(), 3, 12, None));
    }

    #[tokio::test]
    async fn an_older_record_never_replaces_a_newer() {
        let site = site();
        site.apply(1, vec![alert(10, 15, AlertState::Cleared)]).await;
        let applied = site.apply(2, vec![alert(10, 12, AlertState::Open)]).await;
        assert_eq!((applied.committed, applied.changes.len()), (Sequence(2), 0));
        assert_eq!(site.row().await, ("cleared".to_owned(), 6, 15, None));
    }

    #[tokio::test]
    async fn every_change_has_a_new_revision() {
        let site = site();
        let changes = site.apply(1, (10..14).map(|revision| alert(10, revision, AlertState::Open)).collect()).await.changes;
        let id = AlertId::derive(&site.gateway, &alert(1, 1, AlertState::Open).key);
        let expected: Vec<_> = (1..=4).map(|revision| Change::Alert { id: id.as_str().to_owned(), revision }).collect();
        assert_eq!(changes, expected);
    }

    #[tokio::test]
    async fn a_new_occurrence_archives_the_one_before() {
        let site = site();
        site.apply(1, vec![alert(10, 12, AlertState::Open)]).await;
        site.store.write(|tx| Ok(tx.execute("UPDATE alert SET acknowledged_by = 'anna', acknowledged_at = 1", [])?)).await.unwrap();
        site.apply(2, vec![alert(10, 13, AlertState::Cleared), alert(20, 20, AlertState::Open)]).await;
        assert_eq!(site.row().await, ("open".to_owned(), 1, 20, None));
        let archived = "SELECT state || ' ' || count || ' ' || acknowledged_by FROM occurrence";
        assert_eq!(site.texts(archived).await, ["cleared 4 anna"]);
        assert_eq!(site.texts("SELECT ifnull(acknowledged_by, 'nobody') FROM alert").await, ["nobody"]);
        assert_eq!(site.texts("SELECT what FROM alert_history ORDER BY number").await, ["raised", "cleared", "raised"]);
    }

    #[tokio::test]
    async fn a_change_of_severity_is_in_the_history() {
        let site = site();
        let graver = Alert { severity: Severity::Critical, ..alert(10, 11, AlertState::Open) };
        site.apply(1, vec![alert(10, 10, AlertState::Open), graver]).await;
        let history = site.texts("SELECT what || ' ' || text FROM alert_history ORDER BY number").await;
        assert_eq!(history, ["raised major", "severity major → critical"]);
    }

    #[tokio::test]
    async fn a_close_stays_pending_until_the_gateway_confirms_it() {
        let site = site();
        site.apply(1, vec![alert(10, 10, AlertState::Open)]).await;
        site.close().await;
        let applied = site.apply(2, vec![alert(10, 11, AlertState::Open)]).await;
        assert!(applied.close_pending);
        assert_eq!(site.row().await, ("closed".to_owned(), 2, 11, Some(1)));
        let pending = site.store.pending_closes(&site.gateway).await.unwrap();
        assert_eq!((pending[0].occurrence, pending[0].count_seen), (10, 1));
        site.apply(3, vec![alert(10, 12, AlertState::Closed)]).await;
        assert_eq!(site.row().await, ("closed".to_owned(), 3, 12, None));
        assert_eq!(site.texts("SELECT closed_by FROM alert").await, ["anna"]);
        assert!(site.store.pending_closes(&site.gateway).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn reports_beyond_the_close_open_a_new_occurrence() {
        let site = site();
        site.apply(1, vec![alert(10, 10, AlertState::Open)]).await;
        site.close().await;
        site.apply(2, vec![alert(20, 20, AlertState::Open)]).await;
        assert_eq!(site.row().await, ("open".to_owned(), 1, 20, None));
        assert_eq!(site.texts("SELECT state FROM occurrence").await, ["closed"]);
    }

    #[tokio::test]
    async fn a_rewound_gateway_is_told_of_the_close_again() {
        let site = site();
        site.apply(1, vec![alert(10, 10, AlertState::Open)]).await;
        site.close().await;
        site.apply(2, vec![alert(10, 12, AlertState::Closed)]).await;
        let applied = site.apply(3, vec![alert(10, 13, AlertState::Open)]).await;
        assert!(applied.close_pending);
        assert_eq!(site.row().await, ("closed".to_owned(), 4, 13, Some(3)));
    }

    #[tokio::test]
    async fn records_that_never_came_are_written_down() {
        let site = site();
        site.apply(1, vec![alert(10, 10, AlertState::Open)]).await;
        let applied = site.apply(7, vec![alert(10, 15, AlertState::Open)]).await;
        assert_eq!((applied.committed, applied.skipped), (Sequence(7), 5));
        assert!(site.store.has_open_gap(&site.gateway).await.unwrap());
        assert_eq!(site.texts("SELECT after_sequence || '+' || records FROM lane_gap").await, ["1+5"]);
        site.store.close_gaps(&site.gateway).await.unwrap();
        assert!(!site.store.has_open_gap(&site.gateway).await.unwrap());
        assert_eq!(site.store.cursors(&site.gateway).await.unwrap()[0].sequence, Sequence(7));
    }

    #[tokio::test]
    async fn a_gateway_cannot_clear_the_alert_about_itself() {
        let site = site();
        let forged = ["audit-forked", "gateway-cloned", "gateway-unreachable"].map(|kind| {
            let key = AlertKey { kind: kind.to_owned(), ..crate::unreachable::key(&site.gateway) };
            Alert { key, ..alert(10, 10, AlertState::Cleared) }
        });
        let applied = site.apply(1, forged.into()).await;
        assert_eq!((applied.committed, applied.changes.len()), (Sequence(3), 0));
    }
}
