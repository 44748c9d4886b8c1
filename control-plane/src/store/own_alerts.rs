//! Alerts that the control plane raises about a gateway by itself: they use the gateway's rows and history, but no lane.

use std::collections::BTreeMap;

use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{AlertId, GatewayId, RuleId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::alert_record::{self, Origin};
use super::{StoreError, TenantStore};
use crate::feed::Change;
use crate::{clones, unreachable};

/// Who raised it, in histories and evidence.
const ACTOR: &str = "control-plane";

/// An alert of our own.
#[derive(Clone, Debug)]
pub struct OwnAlert {
    /// What it is about.
    pub key: AlertKey,
    /// How grave it is.
    pub severity: Severity,
    /// What a person reads first.
    pub summary: String,
    /// What stands for the rule.
    pub rule: RuleId,
}

/// Kind of the alert about an audit log of a gateway that does not fit.
pub const AUDIT_FORKED: &str = "audit-forked";

/// Whether an alert of that key about `gateway` is ours to raise and clear, and no gateway's.
pub(crate) fn is_ours(gateway: &GatewayId, key: &AlertKey) -> bool {
    key.resource == gateway.as_str() && [AUDIT_FORKED, clones::KIND, unreachable::KIND].contains(&key.kind.as_str())
}

impl TenantStore {
    /// Raises an alert about `gateway`, unless it is open, or was closed by a person and the gateway has not been heard since.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn raise_own(&self, gateway: &GatewayId, alert: OwnAlert, now: Timestamp) -> Result<Option<Change>, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            let stored = find(tx, &gateway, &alert.key)?;
            if let Some(stored) = &stored
                && (stored.state == AlertState::Open || stored.state == AlertState::Closed && !stored.heard_since_close)
            {
                return Ok(None);
            }
            let revision = revision_after(stored.as_ref(), now);
            apply(tx, &gateway, alert, Times { occurrence: revision, revision, first_seen: now, cleared_at: None, now })
        })
        .await
    }

    /// Clears an alert about `gateway`, if it is open.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn clear_own(&self, gateway: &GatewayId, alert: OwnAlert, now: Timestamp) -> Result<Option<Change>, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            let Some(stored) = find(tx, &gateway, &alert.key)?.filter(|stored| stored.state == AlertState::Open) else {
                return Ok(None);
            };
            let revision = revision_after(Some(&stored), now);
            let times = Times { occurrence: stored.occurrence, revision, first_seen: stored.first_seen, cleared_at: Some(now), now };
            let alert = OwnAlert { summary: stored.summary, ..alert };
            apply(tx, &gateway, alert, times)
        })
        .await
    }
}

struct Stored {
    state: AlertState,
    occurrence: u64,
    revision: u64,
    first_seen: Timestamp,
    summary: String,
    heard_since_close: bool,
}

struct Times {
    occurrence: u64,
    revision: u64,
    first_seen: Timestamp,
    cleared_at: Option<Timestamp>,
    now: Timestamp,
}

fn find(tx: &Transaction<'_>, gateway: &GatewayId, key: &AlertKey) -> Result<Option<Stored>, StoreError> {
    let id = AlertId::derive(gateway, key);
    let row = tx
        .prepare_cached(
            "SELECT state, occurrence, gateway_revision, first_seen, summary,
             coalesce((SELECT last_seen FROM gateway_state WHERE gateway = ?2) > closed_at, 0) FROM alert WHERE id = ?1",
        )?
        .query_row(params![id.as_str(), gateway.as_str()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()?;
    let Some((state, occurrence, revision, first_seen, summary, heard_since_close)) = row else { return Ok(None) };
    Ok(Some(Stored {
        state: AlertState::from_name(&state).ok_or(StoreError::Corrupt("alert state"))?,
        occurrence: u64::try_from(occurrence).map_err(|_| StoreError::Corrupt("occurrence"))?,
        revision: u64::try_from(revision).map_err(|_| StoreError::Corrupt("revision"))?,
        first_seen: Timestamp::from_nanos(first_seen),
        summary,
        heard_since_close,
    }))
}

fn revision_after(stored: Option<&Stored>, now: Timestamp) -> u64 {
    let clock = u64::try_from(now.as_micros()).unwrap_or(1).max(1);
    stored.map_or(clock, |stored| clock.max(stored.revision.saturating_add(1)))
}

fn apply(tx: &Transaction<'_>, gateway: &GatewayId, own: OwnAlert, times: Times) -> Result<Option<Change>, StoreError> {
    let alert = Alert {
        key: own.key,
        occurrence: times.occurrence,
        revision: times.revision,
        state: if times.cleared_at.is_some() { AlertState::Cleared } else { AlertState::Open },
        severity: own.severity,
        summary: own.summary,
        count: 1,
        first_seen: times.first_seen,
        last_seen: times.now,
        cleared_at: times.cleared_at,
        labels: BTreeMap::new(),
        rule: own.rule,
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence { chosen_by: ACTOR.to_owned(), ..Evidence::default() },
    };
    Ok(alert_record::apply(tx, Origin { gateway, actor: ACTOR, now: times.now }, &alert)?.map(|outcome| outcome.change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unreachable;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    struct Site {
        _folder: tempfile::TempDir,
        store: TenantStore,
        gateway: GatewayId,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
            Self { _folder: folder, store, gateway: GatewayId::new("gw").unwrap() }
        }

        fn alert(&self) -> OwnAlert {
            let rule = RuleId::new(unreachable::RULE).unwrap();
            OwnAlert { key: unreachable::key(&self.gateway), severity: Severity::Critical, summary: "away".to_owned(), rule }
        }

        async fn raise(&self, secs: i64) -> bool {
            self.store.raise_own(&self.gateway, self.alert(), at(secs)).await.unwrap().is_some()
        }

        async fn clear(&self, secs: i64) -> bool {
            self.store.clear_own(&self.gateway, self.alert(), at(secs)).await.unwrap().is_some()
        }

        async fn state(&self) -> (String, String, i64) {
            let sql = "SELECT state, summary, count FROM alert";
            self.store.read(move |db| Ok(db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)).await.unwrap()
        }
    }

    #[tokio::test]
    async fn it_is_raised_once_and_cleared_on_return() {
        let site = Site::new();
        assert!(!site.clear(1).await);
        assert!(site.raise(2).await);
        assert!(!site.raise(3).await);
        assert!(site.clear(4).await);
        assert_eq!(site.state().await, ("cleared".to_owned(), "away".to_owned(), 1));
        assert!(site.raise(5).await);
        assert_eq!(site.state().await.0, "open");
    }

    #[tokio::test]
    async fn what_a_person_closed_is_raised_again_only_after_the_gateway_was_heard() {
        let site = Site::new();
        site.raise(2).await;
        let close = format!("UPDATE alert SET state = 'closed', closed_at = {}", at(3).as_nanos());
        site.store.write(move |tx| Ok(tx.execute(&close, [])?)).await.unwrap();
        assert!(!site.raise(4).await);
        assert!(!site.clear(5).await);
        site.store.gateway_connected(&site.gateway, "1", at(6)).await.unwrap();
        assert!(site.raise(7).await);
        assert_eq!(site.state().await.0, "open");
    }
}
