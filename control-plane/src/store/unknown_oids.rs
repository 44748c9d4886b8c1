//! Notification OIDs that nothing names, of all gateways of a tenant, from their status reports.

use postern_protocol::id::GatewayId;
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::{StoreError, TenantStore};

/// How long one is kept after it was last seen, in seconds: 30 days.
const KEPT_SECS: i64 = 30 * 24 * 60 * 60;

/// Most that are kept of one gateway: those that were seen last.
const MAX_PER_GATEWAY: i64 = 512;

/// An unknown OID of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownOidView {
    /// The notification's OID.
    pub oid: String,
    /// The gateway that reports it.
    pub gateway: String,
    /// How many since the gateway first saw it.
    pub count: u64,
    /// When that was.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub first_seen: Timestamp,
    /// When the last one came.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub last_seen: Timestamp,
    /// A source that sends it.
    pub source: String,
}

fn oldest(now: Timestamp) -> i64 {
    Timestamp::from_secs(now.as_secs().saturating_sub(KEPT_SECS)).as_nanos()
}

impl TenantStore {
    /// Forgets those of all gateways that were not seen for too long.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn forget_unknown_oids(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write_in_turn(move |tx| {
            tx.prepare_cached("DELETE FROM unknown_oid WHERE last_seen < ?1")?.execute([oldest(now)])?;
            Ok(())
        })
        .await
    }

    /// Stores the unknown OIDs that `gateway` reports. One that it no longer reports stays until it is too old: a gateway forgets at
    /// its restart, and when others are more frequent.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn put_unknown_oids(&self, gateway: &GatewayId, oids: Vec<UnknownOid>, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write_lazily(move |tx| {
            let oldest = oldest(now);
            for one in oids.iter().filter(|one| one.last_seen >= oldest) {
                // A count below ours is of a gateway that started over: both are worth keeping.
                tx.prepare_cached(
                    "INSERT INTO unknown_oid (gateway, oid, count, first_seen, last_seen, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (gateway, oid) DO UPDATE SET
                         count = iif(?4 > last_seen, count + ?3, max(count, ?3)),
                         first_seen = min(first_seen, ?4), last_seen = max(last_seen, ?5), source = ?6",
                )?
                .execute(params![
                    gateway.as_str(),
                    one.oid,
                    i64::try_from(one.count).unwrap_or(i64::MAX / 4).min(i64::MAX / 4),
                    one.first_seen,
                    one.last_seen.min(now.as_nanos()),
                    one.source
                ])?;
            }
            tx.prepare_cached("DELETE FROM unknown_oid WHERE last_seen < ?1")?.execute([oldest])?;
            tx.prepare_cached(
                "DELETE FROM unknown_oid WHERE gateway = ?1 AND oid IN
                 (SELECT oid FROM unknown_oid WHERE gateway = ?1 ORDER BY last_seen DESC, oid LIMIT -1 OFFSET ?2)",
            )?
            .execute(params![gateway.as_str(), MAX_PER_GATEWAY])?;
            Ok(())
        })
        .await
    }

    /// Returns the unknown OIDs of all gateways that were seen in the last 30 days, most frequent first; at most `most`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn unknown_oids(&self, now: Timestamp, most: usize) -> Result<Vec<UnknownOidView>, StoreError> {
        self.read(move |db| {
            let oldest = oldest(now);
            let mut statement = db.prepare_cached(
                "SELECT oid, gateway, count, first_seen, last_seen, source FROM unknown_oid WHERE last_seen >= ?1
                 ORDER BY count DESC, oid, gateway LIMIT ?2",
            )?;
            let mut rows = statement.query(params![oldest, i64::try_from(most).unwrap_or(i64::MAX)])?;
            let mut views = Vec::new();
            while let Some(row) = rows.next()? {
                views.push(UnknownOidView {
                    oid: row.get(0)?,
                    gateway: row.get(1)?,
                    count: u64::try_from(row.get::<_, i64>(2)?).map_err(|_| StoreError::Corrupt("count"))?,
                    first_seen: Timestamp::from_nanos(row.get(3)?),
                    last_seen: Timestamp::from_nanos(row.get(4)?),
                    source: row.get(5)?,
                });
            }
            Ok(views)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(oid: &str, count: u64, first: i64, last: i64) -> UnknownOid {
        let nanos = |secs| Timestamp::from_secs(secs).as_nanos();
        UnknownOid { oid: oid.into(), count, first_seen: nanos(first), last_seen: nanos(last), source: "10.0.0.1".into() }
    }

    fn store() -> (tempfile::TempDir, TenantStore, GatewayId) {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        (folder, store, GatewayId::new("gw").unwrap())
    }

    #[tokio::test]
    async fn counts_go_on_after_a_gateway_has_started_over() {
        let (_folder, store, gateway) = store();
        let now = Timestamp::from_secs(1000);
        store.put_unknown_oids(&gateway, vec![unknown("1.2", 5, 10, 20)], now).await.unwrap();
        store.put_unknown_oids(&gateway, vec![unknown("1.2", 7, 10, 30)], now).await.unwrap();
        store.put_unknown_oids(&gateway, vec![unknown("1.2", 2, 40, 50)], now).await.unwrap();
        let found = store.unknown_oids(now, 10).await.unwrap();
        assert_eq!((found.len(), found[0].count, found[0].last_seen), (1, 9, Timestamp::from_secs(50)));
    }

    #[tokio::test]
    async fn old_ones_are_forgotten_and_a_gateway_can_fill_no_disk() {
        let (_folder, store, gateway) = store();
        store.put_unknown_oids(&gateway, vec![unknown("1.2", 5, 10, 20)], Timestamp::from_secs(1000)).await.unwrap();
        let later = Timestamp::from_secs(40 * 24 * 60 * 60);
        let many = (0..600).map(|n| unknown(&format!("1.3.{n}"), 1, later.as_secs(), later.as_secs())).collect();
        store.put_unknown_oids(&gateway, many, later).await.unwrap();
        let found = store.unknown_oids(later, 1000).await.unwrap();
        assert_eq!((found.len(), found.iter().any(|one| one.oid == "1.2")), (512, false));
    }
}
