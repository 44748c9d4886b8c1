//! The starts of gateways (system database): who follows whom, who was kept out, and what is quarantined. Judged in `clones`.

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;

use super::audit::{self, Deed};
use super::{StoreError, SystemStore};
use crate::clones::{Arrival, Chain, Keep};

/// Starts that are remembered; of older ones only those that are kept out.
const MAX_REMEMBERED: i64 = 200;

/// Earlier starts of a greeting that are looked at.
const MAX_EARLIER: usize = 64;

/// The start that has a gateway's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub incarnation: u64,
    /// The greatest session that it counted.
    pub session: u64,
}

/// How a start stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has the gateway's place.
    Current,
    /// An admin decided against it.
    Refused,
    /// Another one took its place.
    Superseded,
    /// It was found to be a copy and is kept out.
    Suspect,
}

impl Standing {
    /// Returns its name in APIs and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Refused => "refused",
            Self::Superseded => "superseded",
            Self::Suspect => "suspect",
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        let all = [Self::Current, Self::Refused, Self::Superseded, Self::Suspect];
        all.into_iter().find(|standing| standing.name() == name).ok_or(StoreError::Corrupt("incarnation's state"))
    }
}

/// A start as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncarnationView {
    /// Which, hexadecimal.
    pub incarnation: String,
    /// How it stands.
    pub state: Standing,
    /// When it first greeted.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub first_seen: Timestamp,
    /// When it last greeted.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub last_seen: Timestamp,
    /// Address of its last connection.
    pub peer: String,
    /// Its program version.
    pub version: String,
}

/// Two machines with one identity, until an admin decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    /// Since when.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub since: Timestamp,
    /// What proved it.
    pub proof: String,
    /// The one that has the gateway's place.
    pub current: Option<IncarnationView>,
    /// The one that is kept out.
    pub other: Option<IncarnationView>,
}

/// From where and with what a start greets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Address of the connection.
    pub peer: String,
    /// Program version.
    pub version: String,
    /// When.
    pub at: Timestamp,
}

impl SystemStore {
    /// Returns what is known of a gateway's starts, for a greeting; `is_live` is left to the caller.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn chain(&self, gateway: &GatewayId, arrival: Arrival, earlier: Vec<u64>) -> Result<(Arrival, Chain), StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let standing = |incarnation: u64| standing(db, &gateway, incarnation);
            let mut arrival = arrival;
            let mut previous = standing(arrival.previous)?;
            // The start before may never have been heard: then it follows the latest that was.
            for incarnation in earlier.into_iter().rev().take(MAX_EARLIER) {
                if previous.is_some() {
                    break;
                }
                previous = standing(incarnation)?;
                if previous.is_some() {
                    arrival.previous = incarnation;
                }
            }
            let chain = Chain { current: current(db, &gateway)?, arriving: standing(arrival.incarnation)?, previous, is_live: false };
            Ok((arrival, chain))
        })
        .await
    }

    /// Returns how a start stands.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn standing(&self, gateway: &GatewayId, incarnation: u64) -> Result<Option<Standing>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| standing(db, &gateway, incarnation)).await
    }

    /// Gives a start the gateway's place; `deed` is written down with it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn admit(&self, gateway: &GatewayId, arrival: Arrival, seen: Seen, deed: Option<Deed>) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            tx.execute(
                "UPDATE gateway_incarnation SET state = 'superseded' WHERE gateway = ?1 AND state = 'current' AND incarnation <> ?2",
                params![gateway.as_str(), bytes(arrival.incarnation)],
            )?;
            put(tx, &gateway, arrival, &seen, Standing::Current)?;
            tx.execute(
                "DELETE FROM gateway_incarnation WHERE gateway = ?1 AND state = 'superseded' AND incarnation NOT IN (
                     SELECT incarnation FROM gateway_incarnation WHERE gateway = ?1 ORDER BY last_seen DESC LIMIT ?2)",
                params![gateway.as_str(), MAX_REMEMBERED],
            )?;
            deed.map_or(Ok(()), |deed| audit::note(tx, deed))
        })
        .await
    }

    /// Keeps a start out: newly found to be a copy (`proof` and `deed` are then written down), or one that follows such a one.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn keep_out(&self, gateway: &GatewayId, arrival: Arrival, seen: Seen, found: Found) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            match found {
                Found::Copy { proof, deed } => {
                    // Of two runs of one memory both have the incarnation that is current: it stays so.
                    if current(tx, &gateway)?.is_none_or(|known| known.incarnation != arrival.incarnation) {
                        put(tx, &gateway, arrival, &seen, Standing::Suspect)?;
                    }
                    tx.execute(
                        "INSERT INTO gateway_quarantine (gateway, since, suspect, proof) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (gateway) DO UPDATE SET suspect = ?3, proof = ?4",
                        params![gateway.as_str(), seen.at.as_nanos(), bytes(arrival.incarnation), proof],
                    )?;
                    audit::note(tx, deed)?;
                }
                Found::Again(standing) => {
                    put(tx, &gateway, arrival, &seen, standing)?;
                    if standing == Standing::Suspect {
                        tx.execute(
                            "UPDATE gateway_quarantine SET suspect = ?2 WHERE gateway = ?1",
                            params![gateway.as_str(), bytes(arrival.incarnation)],
                        )?;
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// Returns the newest starts of a gateway, newest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_incarnations(&self, gateway: &GatewayId) -> Result<Vec<IncarnationView>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT incarnation, state, first_seen, last_seen, peer, version FROM gateway_incarnation WHERE gateway = ?1
                 ORDER BY last_seen DESC LIMIT 20",
            )?;
            let mut rows = statement.query([gateway.as_str()])?;
            let mut views = Vec::new();
            while let Some(row) = rows.next()? {
                views.push(view(row)?);
            }
            Ok(views)
        })
        .await
    }

    /// Returns a gateway's quarantine, if it is in one.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn quarantine(&self, gateway: &GatewayId) -> Result<Option<Quarantine>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let row = db
                .prepare_cached("SELECT since, suspect, proof FROM gateway_quarantine WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 8]>(1)?, row.get(2)?)))
                .optional()?;
            let Some((since, suspect, proof)) = row else { return Ok(None) };
            let of = |condition: &str, value: &dyn rusqlite::ToSql| -> Result<Option<IncarnationView>, StoreError> {
                let sql = format!(
                    "SELECT incarnation, state, first_seen, last_seen, peer, version FROM gateway_incarnation WHERE gateway = ?1 AND {condition}"
                );
                let mut statement = db.prepare_cached(&sql)?;
                let mut rows = statement.query(params![gateway.as_str(), value])?;
                rows.next()?.map(view).transpose()
            };
            Ok(Some(Quarantine {
                since: Timestamp::from_nanos(since),
                proof,
                current: of("state = ?2", &"current")?,
                other: of("incarnation = ?2", &suspect)?,
            }))
        })
        .await
    }

    /// Ends a quarantine: one of the two stays, the other is refused for good.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the tenant has no such gateway, [`StoreError::Conflict`] when it is not quarantined.
    pub async fn decide_quarantine(&self, tenant: &TenantId, gateway: &GatewayId, keep: Keep, deed: Deed) -> Result<(), StoreError> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.write(move |tx| {
            let here = "SELECT 1 FROM gateway WHERE id = ?1 AND tenant = ?2";
            tx.query_row(here, params![gateway.as_str(), tenant.as_str()], |_| Ok(())).optional()?.ok_or(StoreError::NotFound)?;
            let suspect: Option<[u8; 8]> = tx
                .query_row("SELECT suspect FROM gateway_quarantine WHERE gateway = ?1", [gateway.as_str()], |row| row.get(0))
                .optional()?;
            let suspect = suspect.ok_or_else(|| StoreError::Conflict(format!("the gateway {gateway} is not quarantined")))?;
            let set = |from: &str, to: &str| {
                tx.execute(
                    "UPDATE gateway_incarnation SET state = ?3 WHERE gateway = ?1 AND state = ?2",
                    params![gateway.as_str(), from, to],
                )
            };
            let is_one_memory = current(tx, &gateway)?.is_some_and(|known| bytes(known.incarnation) == suspect);
            if keep == Keep::Other && is_one_memory {
                let reason =
                    "both machines run the same start, so they cannot be told apart yet: restart the one that is to go, then decide";
                return Err(StoreError::Conflict(reason.to_owned()));
            }
            match keep {
                Keep::Current => drop(set("suspect", "refused")?),
                Keep::Other => {
                    set("current", "refused")?;
                    tx.execute(
                        "UPDATE gateway_incarnation SET state = 'current', session = 0 WHERE gateway = ?1 AND incarnation = ?2",
                        params![gateway.as_str(), suspect],
                    )?;
                    set("suspect", "refused")?;
                }
            }
            tx.execute("DELETE FROM gateway_quarantine WHERE gateway = ?1", [gateway.as_str()])?;
            audit::note(tx, deed)
        })
        .await
    }
}

/// Why a start is kept out.
pub enum Found {
    /// It was kept out before, or follows one that was.
    Again(Standing),
    /// It is a copy, as was found now.
    Copy {
        /// What proves it, for a person.
        proof: String,
        /// For the audit.
        deed: Deed,
    },
}

fn bytes(incarnation: u64) -> [u8; 8] {
    incarnation.to_be_bytes()
}

fn current(db: &Connection, gateway: &GatewayId) -> Result<Option<Known>, StoreError> {
    let row = db
        .prepare_cached("SELECT incarnation, session FROM gateway_incarnation WHERE gateway = ?1 AND state = 'current'")?
        .query_row([gateway.as_str()], |row| Ok((row.get::<_, [u8; 8]>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    Ok(row.map(|(incarnation, session)| Known {
        incarnation: u64::from_be_bytes(incarnation),
        session: u64::try_from(session).unwrap_or_default(),
    }))
}

fn standing(db: &Connection, gateway: &GatewayId, incarnation: u64) -> Result<Option<Standing>, StoreError> {
    let state: Option<String> = db
        .prepare_cached("SELECT state FROM gateway_incarnation WHERE gateway = ?1 AND incarnation = ?2")?
        .query_row(params![gateway.as_str(), bytes(incarnation)], |row| row.get(0))
        .optional()?;
    state.map(|state| Standing::from_name(&state)).transpose()
}

fn put(tx: &Transaction<'_>, gateway: &GatewayId, arrival: Arrival, seen: &Seen, standing: Standing) -> Result<(), StoreError> {
    let session = i64::try_from(arrival.session).unwrap_or(i64::MAX);
    tx.prepare_cached(
        "INSERT INTO gateway_incarnation (gateway, incarnation, previous, state, session, first_seen, last_seen, peer, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)
         ON CONFLICT (gateway, incarnation) DO UPDATE SET state = ?4, session = ?5, last_seen = ?6, peer = ?7, version = ?8",
    )?
    .execute(params![
        gateway.as_str(),
        bytes(arrival.incarnation),
        bytes(arrival.previous),
        standing.name(),
        session,
        seen.at.as_nanos(),
        seen.peer,
        seen.version
    ])?;
    Ok(())
}

fn view(row: &Row<'_>) -> Result<IncarnationView, StoreError> {
    Ok(IncarnationView {
        incarnation: data_encoding::HEXLOWER.encode(&row.get::<_, [u8; 8]>(0)?),
        state: Standing::from_name(&row.get::<_, String>(1)?)?,
        first_seen: Timestamp::from_nanos(row.get(2)?),
        last_seen: Timestamp::from_nanos(row.get(3)?),
        peer: row.get(4)?,
        version: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stores;
    use crate::store::audit::{By, Outcome, What};

    fn deed() -> Deed {
        let (about, detail) = ("gateway gw".to_owned(), String::new());
        Deed { at: Timestamp::from_secs(1), by: By::command_line(), what: What::GatewayCloned, about, detail, outcome: Outcome::Done }
    }

    fn seen(secs: i64) -> Seen {
        Seen { peer: "192.0.2.1:5".to_owned(), version: "1".to_owned(), at: Timestamp::from_secs(secs) }
    }

    fn arrival(incarnation: u64, previous: u64) -> Arrival {
        Arrival { incarnation, previous, session: 1 }
    }

    async fn quarantined() -> (tempfile::TempDir, SystemStore, TenantId, GatewayId) {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let (tenant, gateway) = (TenantId::new("t").unwrap(), GatewayId::new("gw").unwrap());
        stores.create_tenant(&tenant, "T", Timestamp::from_secs(1)).await.unwrap();
        let store = stores.system().clone();
        let row = "INSERT INTO gateway (id, tenant, name, enrolled_at, client_spki) VALUES ('gw', 't', 'Site', 0, x'00')";
        store.write(move |tx| Ok(tx.execute_batch(row)?)).await.unwrap();
        store.admit(&gateway, arrival(1, 0), seen(1), None).await.unwrap();
        store.admit(&gateway, arrival(2, 1), seen(2), None).await.unwrap();
        let found = Found::Copy { proof: "both were heard".to_owned(), deed: deed() };
        store.keep_out(&gateway, arrival(3, 1), seen(3), found).await.unwrap();
        // The copy starts again.
        store.keep_out(&gateway, arrival(4, 3), seen(4), Found::Again(Standing::Suspect)).await.unwrap();
        (folder, store, tenant, gateway)
    }

    async fn standings(store: &SystemStore, gateway: &GatewayId) -> Vec<Option<Standing>> {
        let mut all = Vec::new();
        for incarnation in 1..=4 {
            all.push(store.standing(gateway, incarnation).await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn keeping_the_current_one_refuses_the_copy_for_good() {
        let (_folder, store, tenant, gateway) = quarantined().await;
        let quarantine = store.quarantine(&gateway).await.unwrap().unwrap();
        assert_eq!(quarantine.current.unwrap().incarnation, "0000000000000002");
        assert_eq!(quarantine.other.unwrap().incarnation, "0000000000000004");
        store.decide_quarantine(&tenant, &gateway, Keep::Current, deed()).await.unwrap();
        let [s, c, r] = [Standing::Superseded, Standing::Current, Standing::Refused].map(Some);
        assert_eq!(standings(&store, &gateway).await, [s, c, r, r]);
        assert_eq!(store.quarantine(&gateway).await.unwrap(), None);
        let again = store.decide_quarantine(&tenant, &gateway, Keep::Current, deed()).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))));
    }

    #[tokio::test]
    async fn keeping_the_other_one_gives_it_the_place_and_refuses_the_one_that_had_it() {
        let (_folder, store, tenant, gateway) = quarantined().await;
        store.decide_quarantine(&tenant, &gateway, Keep::Other, deed()).await.unwrap();
        let [s, c, r] = [Standing::Superseded, Standing::Current, Standing::Refused].map(Some);
        assert_eq!(standings(&store, &gateway).await, [s, r, r, c]);
    }

    #[tokio::test]
    async fn another_tenant_decides_nothing() {
        let (_folder, store, _, gateway) = quarantined().await;
        let refused = store.decide_quarantine(&TenantId::new("other").unwrap(), &gateway, Keep::Current, deed()).await;
        assert!(matches!(refused, Err(StoreError::NotFound)));
    }
}
