//! Gateways: who they are (system database) and how they are (their tenant's database).

use std::collections::HashMap;

use postern_protocol::id::{GatewayId, RevisionNumber, TenantId};
use postern_protocol::status::{FailedRevision, Status};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::audit::{self, By, Deed, Outcome, What};
use super::gateway_events::{self, GatewayEvent, Happening};
use super::revisions::RevisionState;
use super::{StoreError, Stores, SystemStore, TenantStore};

/// A gateway as the API and the console show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatewayView {
    /// Identifier; the common name of its certificate.
    pub id: GatewayId,
    /// Name for people.
    pub name: String,
    /// When it was enrolled.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub enrolled_at: Timestamp,
    /// When it was revoked.
    #[serde(serialize_with = "crate::rfc3339::serialize_option")]
    pub revoked_at: Option<Timestamp>,
    /// Whether it has a session now.
    pub connected: bool,
    /// When it was last heard.
    #[serde(serialize_with = "crate::rfc3339::serialize_option")]
    pub last_seen: Option<Timestamp>,
    /// Its program version.
    pub program_version: Option<String>,
    /// What it last said of itself.
    pub status: Option<Status>,
    /// When it said so.
    #[serde(serialize_with = "crate::rfc3339::serialize_option")]
    pub status_at: Option<Timestamp>,
    /// Its configuration.
    pub revision: GatewayRevisions,
}

impl GatewayView {
    /// Returns when the gateway's present run began, by its last report.
    pub fn started(&self) -> Option<Timestamp> {
        let (status, at) = (self.status.as_ref()?, self.status_at?);
        let seconds = i64::try_from(status.uptime_s).ok()?;
        Some(Timestamp::from_secs(at.as_secs().saturating_sub(seconds)))
    }
}

/// How a gateway's configuration stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GatewayRevisions {
    /// The newest revision: the one that it should run.
    pub desired: Option<RevisionNumber>,
    /// The one that it runs; `None` for the built-in one.
    pub effective: Option<RevisionNumber>,
    /// The newest one, when it was refused.
    pub failed: Option<FailedRevision>,
    /// The newest one, when it was in force on trial and was taken back.
    pub reverted: Option<FailedRevision>,
    /// The one on trial: in force, and taken back unless it is confirmed.
    pub provisional: Option<RevisionNumber>,
    /// Why the gateway does not run what it should; `None` when it does.
    pub drift: Option<Drift>,
}

/// Why a gateway does not run what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It refused it.
    Refused,
    /// It tried it, and took it back.
    Reverted,
    /// It runs a revision that nobody here made.
    Unknown,
    /// It has not taken it in yet.
    Waiting,
}

/// A gateway's row in the system database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Identifier.
    pub id: GatewayId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Name for people.
    pub name: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// SHA-256 of the SPKI that its client certificate must have.
    pub client_spki: [u8; 32],
}

impl Stores {
    /// Returns the gateways of `tenant` by name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a tenant.
    pub async fn list_gateways(&self, tenant: &TenantId) -> Result<Vec<GatewayView>, StoreError> {
        let mut states = self.tenant(tenant)?.gateway_states(None).await?;
        let records = self.system.list_gateways(Some(tenant)).await?;
        Ok(records.into_iter().map(|record| join(record, &mut states)).collect())
    }

    /// Returns a gateway of `tenant`; `None` when that tenant has no such gateway.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a tenant.
    pub async fn find_gateway(&self, tenant: &TenantId, gateway: &GatewayId) -> Result<Option<GatewayView>, StoreError> {
        let Some(record) = self.system.find_gateway(gateway).await? else { return Ok(None) };
        if record.tenant != *tenant {
            return Ok(None);
        }
        let mut states = self.tenant(tenant)?.gateway_states(Some(gateway)).await?;
        Ok(Some(join(record, &mut states)))
    }
}

impl SystemStore {
    /// Returns the gateways of one tenant or of all, by name.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_gateways(&self, tenant: Option<&TenantId>) -> Result<Vec<GatewayRecord>, StoreError> {
        let tenant = tenant.map(|tenant| tenant.as_str().to_owned());
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT id, tenant, name, enrolled_at, revoked_at, client_spki FROM gateway
                 WHERE ?1 IS NULL OR tenant = ?1 ORDER BY name, id",
            )?;
            let mut rows = statement.query([tenant])?;
            let mut gateways = Vec::new();
            while let Some(row) = rows.next()? {
                gateways.push(record(row)?);
            }
            Ok(gateways)
        })
        .await
    }

    /// Returns one gateway of any tenant: for the tunnel, which knows only the certificate.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn find_gateway(&self, gateway: &GatewayId) -> Result<Option<GatewayRecord>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement =
                db.prepare_cached("SELECT id, tenant, name, enrolled_at, revoked_at, client_spki FROM gateway WHERE id = ?1")?;
            let mut rows = statement.query([gateway.as_str()])?;
            rows.next()?.map(record).transpose()
        })
        .await
    }

    /// Revokes a gateway: its certificate opens no session any more. Returns whether it was not revoked before: then nothing changes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the tenant has no such gateway.
    pub async fn revoke_gateway(&self, tenant: &TenantId, gateway: &GatewayId, (by, now): (By, Timestamp)) -> Result<bool, StoreError> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        let deed = revoked(&gateway, by, now);
        self.write(move |tx| {
            let known = tx
                .prepare_cached("SELECT revoked_at FROM gateway WHERE id = ?1 AND tenant = ?2")?
                .query_row([gateway.as_str(), tenant.as_str()], |row| row.get::<_, Option<i64>>(0))
                .optional()?;
            if known.ok_or(StoreError::NotFound)?.is_some() {
                return Ok(false);
            }
            tx.execute("UPDATE gateway SET revoked_at = ?2 WHERE id = ?1", params![gateway.as_str(), now.as_nanos()])?;
            audit::note(tx, deed)?;
            Ok(true)
        })
        .await
    }
}

fn revoked(gateway: &GatewayId, by: By, now: Timestamp) -> Deed {
    let about = format!("gateway {gateway}");
    Deed { at: now, by, what: What::GatewayRevoked, about, detail: String::new(), outcome: Outcome::Done }
}

impl TenantStore {
    /// Writes down for the tenant, in its audit and in the gateway's history, that `gateway` was revoked.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn gateway_revoked(&self, gateway: &GatewayId, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            let text = format!("revoked by {}: it cannot connect any more", by.who);
            gateway_events::note(tx, &gateway, &GatewayEvent { at: now, what: Happening::Revoked, text })?;
            audit::note(tx, revoked(&gateway, by, now))
        })
        .await
    }

    /// Records that a session of `gateway` began; another program version than before is an entry of its history.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn gateway_connected(&self, gateway: &GatewayId, program_version: &str, now: Timestamp) -> Result<(), StoreError> {
        let (gateway, version) = (gateway.clone(), program_version.to_owned());
        self.write(move |tx| {
            let before: Option<Option<String>> = tx
                .prepare_cached("SELECT program_version FROM gateway_state WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| row.get(0))
                .optional()?;
            if let Some(before) = before.flatten().filter(|before| *before != version) {
                let text = format!("version {version} runs; before, it was {before}");
                gateway_events::note(tx, &gateway, &GatewayEvent { at: now, what: Happening::Version, text })?;
            }
            tx.prepare_cached(
                "INSERT INTO gateway_state (gateway, connected, last_seen, program_version) VALUES (?1, 1, ?2, ?3)
                 ON CONFLICT (gateway) DO UPDATE SET connected = 1, last_seen = ?2, program_version = ?3",
            )?
            .execute(params![gateway.as_str(), now.as_nanos(), version])?;
            Ok(())
        })
        .await
    }

    /// Records that a session of `gateway` ended, if `is_newest` says so when the writer's turn comes: a newer session may have begun.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn gateway_disconnected(
        &self,
        gateway: &GatewayId,
        now: Timestamp,
        is_newest: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            if is_newest() {
                tx.prepare_cached("UPDATE gateway_state SET connected = 0, last_seen = ?2 WHERE gateway = ?1")?
                    .execute(params![gateway.as_str(), now.as_nanos()])?;
            }
            Ok(())
        })
        .await
    }

    /// Records that no gateway has a session: the program starts.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn all_gateways_disconnected(&self) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("UPDATE gateway_state SET connected = 0", [])?;
            Ok(())
        })
        .await
    }

    /// Stores what `gateway` says of itself; every two seconds or so, so it does not wait for the disk.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn set_status(&self, gateway: &GatewayId, status: &Status, now: Timestamp) -> Result<(), StoreError> {
        let text = serde_json::to_string(status).map_err(|_| StoreError::Corrupt("status"))?;
        let effective = status.revision.effective.and_then(|number| i64::try_from(number.0).ok());
        let gateway = gateway.clone();
        self.write_lazily(move |tx| {
            tx.prepare_cached(
                "UPDATE gateway_state SET status = ?2, status_at = ?3, last_seen = ?3, effective_revision = ?4 WHERE gateway = ?1",
            )?
            .execute(params![gateway.as_str(), text, now.as_nanos(), effective])?;
            Ok(())
        })
        .await
    }

    /// Returns when `gateway` was last heard.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn last_seen(&self, gateway: &GatewayId) -> Result<Option<Timestamp>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let at: Option<Option<i64>> = db
                .prepare_cached("SELECT last_seen FROM gateway_state WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| row.get(0))
                .optional()?;
            Ok(at.flatten().map(Timestamp::from_nanos))
        })
        .await
    }

    async fn gateway_states(&self, only: Option<&GatewayId>) -> Result<HashMap<String, State>, StoreError> {
        let only = only.map(|gateway| gateway.as_str().to_owned());
        self.read(move |db| {
            let mut states = HashMap::new();
            read_states(db, only.as_deref(), &mut states)?;
            read_revisions(db, only.as_deref(), &mut states)?;
            Ok(states)
        })
        .await
    }
}

#[derive(Default)]
struct State {
    connected: bool,
    last_seen: Option<Timestamp>,
    program_version: Option<String>,
    status: Option<Status>,
    status_at: Option<Timestamp>,
    revision: GatewayRevisions,
}

fn read_states(db: &Connection, only: Option<&str>, states: &mut HashMap<String, State>) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT gateway, connected, last_seen, program_version, status, status_at, effective_revision FROM gateway_state
         WHERE ?1 IS NULL OR gateway = ?1",
    )?;
    let mut rows = statement.query([only])?;
    while let Some(row) = rows.next()? {
        let time = |column| -> Result<_, rusqlite::Error> { Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_nanos)) };
        let state = states.entry(row.get(0)?).or_default();
        state.connected = row.get(1)?;
        state.last_seen = time(2)?;
        state.program_version = row.get(3)?;
        // A status of another program version may not parse any more: then there is none until the next report.
        state.status = row.get::<_, Option<String>>(4)?.and_then(|text| serde_json::from_str(&text).ok());
        state.status_at = time(5)?;
        state.revision.effective = row.get::<_, Option<i64>>(6)?.and_then(|number| u64::try_from(number).ok()).map(RevisionNumber);
    }
    Ok(())
}

fn read_revisions(db: &Connection, only: Option<&str>, states: &mut HashMap<String, State>) -> Result<(), StoreError> {
    // SQLite takes the bare columns from the row that holds the maximum.
    let mut statement =
        db.prepare_cached("SELECT gateway, max(number), state, problems FROM revision WHERE ?1 IS NULL OR gateway = ?1 GROUP BY gateway")?;
    let mut known = db.prepare_cached("SELECT 1 FROM revision WHERE gateway = ?1 AND number = ?2")?;
    let mut rows = statement.query([only])?;
    while let Some(row) = rows.next()? {
        let number = RevisionNumber(u64::try_from(row.get::<_, i64>(1)?).map_err(|_| StoreError::Corrupt("revision number"))?);
        let gateway: String = row.get(0)?;
        let revision = &mut states.entry(gateway.clone()).or_default().revision;
        let stands = RevisionState::from_name(&row.get::<_, String>(2)?)?;
        revision.desired = Some(number);
        let problems = serde_json::from_str(&row.get::<_, String>(3)?).map_err(|_| StoreError::Corrupt("revision problem"))?;
        let undone = FailedRevision { number, problems };
        revision.drift = (revision.effective != Some(number)).then_some(Drift::Waiting);
        match stands {
            RevisionState::Failed => (revision.failed, revision.drift) = (Some(undone), Some(Drift::Refused)),
            RevisionState::Reverted => (revision.reverted, revision.drift) = (Some(undone), Some(Drift::Reverted)),
            RevisionState::Provisional => revision.provisional = Some(number),
            RevisionState::Applied | RevisionState::Applying | RevisionState::Desired => {}
        }
        if let Some(effective) = revision.effective.filter(|effective| *effective != number) {
            let effective = i64::try_from(effective.0).unwrap_or(i64::MAX);
            if !known.exists(params![gateway, effective])? {
                revision.drift = Some(Drift::Unknown);
            }
        }
    }
    Ok(())
}

fn join(record: GatewayRecord, states: &mut HashMap<String, State>) -> GatewayView {
    let state = states.remove(record.id.as_str()).unwrap_or_default();
    GatewayView {
        id: record.id,
        name: record.name,
        enrolled_at: record.enrolled_at,
        revoked_at: record.revoked_at,
        connected: state.connected,
        last_seen: state.last_seen,
        program_version: state.program_version,
        status: state.status,
        status_at: state.status_at,
        revision: state.revision,
    }
}

fn record(row: &Row<'_>) -> Result<GatewayRecord, StoreError> {
    Ok(GatewayRecord {
        id: GatewayId::new(row.get::<_, String>(0)?).map_err(|_| StoreError::Corrupt("gateway"))?,
        tenant: TenantId::new(row.get::<_, String>(1)?).map_err(|_| StoreError::Corrupt("tenant"))?,
        name: row.get(2)?,
        enrolled_at: Timestamp::from_nanos(row.get(3)?),
        revoked_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_nanos),
        client_spki: row.get::<_, Vec<u8>>(5)?.try_into().map_err(|_| StoreError::Corrupt("client key hash"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tokens::NewToken;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    #[tokio::test]
    async fn a_gateway_is_seen_only_by_its_tenant() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let (acme, other) = (TenantId::new("acme").unwrap(), TenantId::new("other").unwrap());
        let gateway = GatewayId::new("gw").unwrap();
        for tenant in [&acme, &other] {
            stores.create_tenant(tenant, "T", NOW).await.unwrap();
        }
        let token = NewToken {
            id: "t".to_owned(),
            secret_sha256: [1; 32],
            tenant: acme.clone(),
            gateway_name: "Site".to_owned(),
            expires_at: Timestamp::from_secs(2_000),
        };
        stores.system().insert_token(token, (By::command_line(), NOW)).await.unwrap();
        stores.system().redeem_token([1; 32], &gateway, crate::store::certificates::given([2; 32]), NOW).await.unwrap().unwrap();
        stores.tenant(&acme).unwrap().gateway_connected(&gateway, "0.1.0", NOW).await.unwrap();
        let view = stores.find_gateway(&acme, &gateway).await.unwrap().unwrap();
        assert_eq!((view.name.as_str(), view.connected, view.program_version.as_deref()), ("Site", true, Some("0.1.0")));
        assert_eq!(stores.find_gateway(&other, &gateway).await.unwrap(), None);
        assert!(stores.list_gateways(&other).await.unwrap().is_empty());
        assert!(matches!(stores.system().revoke_gateway(&other, &gateway, (By::command_line(), NOW)).await, Err(StoreError::NotFound)));
        assert!(stores.system().revoke_gateway(&acme, &gateway, (By::command_line(), NOW)).await.unwrap());
        let later = Timestamp::from_secs(2_000);
        assert!(!stores.system().revoke_gateway(&acme, &gateway, (By::command_line(), later)).await.unwrap(), "it is already");
        assert_eq!(stores.find_gateway(&acme, &gateway).await.unwrap().unwrap().revoked_at, Some(NOW));
    }

    #[tokio::test]
    async fn a_session_that_ends_after_a_newer_began_does_not_disconnect() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        store.gateway_connected(&gateway, "1", NOW).await.unwrap();
        store.gateway_disconnected(&gateway, NOW, || false).await.unwrap();
        assert!(store.gateway_states(None).await.unwrap()["gw"].connected);
        store.gateway_disconnected(&gateway, NOW, || true).await.unwrap();
        assert!(!store.gateway_states(None).await.unwrap()["gw"].connected);
    }
    #[tokio::test]
    async fn another_version_is_in_the_history_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        for version in ["1", "1", "2", "2"] {
            store.gateway_connected(&gateway, version, NOW).await.unwrap();
        }
        let text = "version 2 runs; before, it was 1".to_owned();
        assert_eq!(store.gateway_events(&gateway, 9).await.unwrap(), [GatewayEvent { at: NOW, what: Happening::Version, text }]);
    }
}
