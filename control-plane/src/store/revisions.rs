//! Configuration revisions of a tenant's gateways. The newest is the desired one; numbers are never reused.

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::Problem;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;

use super::{StoreError, TenantStore};
use crate::signer::Signer;

/// How far a revision got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionState {
    /// The gateway has not taken it in.
    Desired,
    /// Taken in, not yet in force.
    Applying,
    /// In force, or was until a newer one.
    Applied,
    /// Refused by the gateway.
    Failed,
}

impl RevisionState {
    /// Returns the state's name in APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        [Self::Desired, Self::Applying, Self::Applied, Self::Failed]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or(StoreError::Corrupt("revision state"))
    }
}

/// A revision without its document, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevisionView {
    /// Its number.
    pub number: RevisionNumber,
    /// How far it got.
    pub state: RevisionState,
    /// When that was.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub state_at: Timestamp,
    /// When it was made.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// What the gateway found wrong, when it failed.
    pub problems: Vec<Problem>,
}

/// A whole revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Number, state and problems.
    pub view: RevisionView,
    /// The document's bytes, exactly as signed.
    pub document: Vec<u8>,
    /// Ed25519 over `revision::signing_input`.
    pub signature: Vec<u8>,
}

/// A revision to be made.
#[derive(Clone, Debug)]
pub struct NewRevision {
    /// Whose configuration it is.
    pub gateway: GatewayId,
    /// The document's bytes.
    pub document: Vec<u8>,
    /// Who made it.
    pub by: String,
    /// The smallest number that it may get: 1 unless the gateway knows newer ones than this store.
    pub at_least: RevisionNumber,
    /// The present time.
    pub at: Timestamp,
}

/// What a gateway says of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionReport {
    /// Its number.
    pub number: RevisionNumber,
    /// How far it got.
    pub state: RevisionState,
    /// What is wrong, when it failed.
    pub problems: Vec<Problem>,
}

impl TenantStore {
    /// Signs a document under its gateway's next number and stores it: from then on it is the desired one.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn put_revision(&self, new: NewRevision, signer: &Signer) -> Result<RevisionNumber, StoreError> {
        loop {
            let number = RevisionNumber(self.newest_revision(&new.gateway).await?.0.saturating_add(1).max(new.at_least.0));
            let signature = signer.sign(&new.gateway, number, &new.document);
            let row = new.clone();
            // The number was taken outside the transaction (signing is not the store's work): when another writer was faster, again.
            if self.write(move |tx| insert(tx, &row, number, &signature)).await? {
                return Ok(number);
            }
        }
    }

    /// Returns the highest number that `gateway` has here; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn newest_revision(&self, gateway: &GatewayId) -> Result<RevisionNumber, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| newest(db, &gateway)).await
    }

    /// Returns the newest revision of `gateway`: the one that it should run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn desired(&self, gateway: &GatewayId) -> Result<Option<Revision>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| whole(db, "WHERE gateway = ?1 ORDER BY number DESC LIMIT 1", [gateway.as_str()])).await
    }

    /// Returns one revision of `gateway`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn find_revision(&self, gateway: &GatewayId, number: RevisionNumber) -> Result<Option<Revision>, StoreError> {
        let gateway = gateway.clone();
        let number = i64::try_from(number.0).map_err(|_| StoreError::NotFound)?;
        self.read(move |db| whole(db, "WHERE gateway = ?1 AND number = ?2", params![gateway.as_str(), number])).await
    }

    /// Returns the revisions of `gateway`, newest first, at most 200.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_revisions(&self, gateway: &GatewayId) -> Result<Vec<RevisionView>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT number, state, state_at, created_at, created_by, problems FROM revision
                 WHERE gateway = ?1 ORDER BY number DESC LIMIT 200",
            )?;
            let mut rows = statement.query([gateway.as_str()])?;
            let mut revisions = Vec::new();
            while let Some(row) = rows.next()? {
                revisions.push(view(row)?);
            }
            Ok(revisions)
        })
        .await
    }

    /// Records how far the gateway got with a revision. A number that does not exist changes nothing; a state that is reported again
    /// keeps the time of its first report.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn set_revision_state(&self, gateway: &GatewayId, report: RevisionReport, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        let number = i64::try_from(report.number.0).map_err(|_| StoreError::NotFound)?;
        self.write(move |tx| {
            let problems = serde_json::to_string(&report.problems).map_err(|_| StoreError::Corrupt("revision problem"))?;
            tx.prepare_cached(
                "UPDATE revision SET state_at = iif(state = ?3, state_at, ?4), state = ?3, problems = ?5
                 WHERE gateway = ?1 AND number = ?2",
            )?
            .execute(params![gateway.as_str(), number, report.state.name(), now.as_nanos(), problems])?;
            Ok(())
        })
        .await
    }
}

fn insert(tx: &Transaction<'_>, new: &NewRevision, number: RevisionNumber, signature: &[u8]) -> Result<bool, StoreError> {
    if newest(tx, &new.gateway)? >= number {
        return Ok(false);
    }
    let number = i64::try_from(number.0).map_err(|_| StoreError::Conflict("there is no revision number left".to_owned()))?;
    tx.execute(
        "INSERT INTO revision (gateway, number, document, signature, created_at, created_by, state_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)",
        params![new.gateway.as_str(), number, new.document, signature, new.at.as_nanos(), new.by],
    )?;
    Ok(true)
}

fn newest(db: &Connection, gateway: &GatewayId) -> Result<RevisionNumber, StoreError> {
    let number: Option<i64> =
        db.prepare_cached("SELECT max(number) FROM revision WHERE gateway = ?1")?.query_row([gateway.as_str()], |row| row.get(0))?;
    Ok(RevisionNumber(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)))
}

fn whole(db: &Connection, condition: &str, params: impl rusqlite::Params) -> Result<Option<Revision>, StoreError> {
    let sql = format!("SELECT number, state, state_at, created_at, created_by, problems, document, signature FROM revision {condition}");
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_row(params, |row| Ok((view(row), row.get::<_, Vec<u8>>(6)?, row.get::<_, Vec<u8>>(7)?))).optional()?;
    found.map(|(view, document, signature)| Ok(Revision { view: view?, document, signature })).transpose()
}

fn view(row: &Row<'_>) -> Result<RevisionView, StoreError> {
    let number = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| StoreError::Corrupt("revision number"))?;
    Ok(RevisionView {
        number: RevisionNumber(number),
        state: RevisionState::from_name(&row.get::<_, String>(1)?)?,
        state_at: Timestamp::from_nanos(row.get(2)?),
        created_at: Timestamp::from_nanos(row.get(3)?),
        created_by: row.get(4)?,
        problems: serde_json::from_str(&row.get::<_, String>(5)?).map_err(|_| StoreError::Corrupt("revision problem"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn store() -> (tempfile::TempDir, TenantStore, Signer) {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let signer = Signer::create(&folder.path().join("revision.key")).unwrap();
        (folder, store, signer)
    }

    fn new(gateway: &str, at_least: u64) -> NewRevision {
        let gateway = GatewayId::new(gateway).unwrap();
        NewRevision { gateway, document: b"{}".to_vec(), by: "anna".to_owned(), at_least: RevisionNumber(at_least), at: NOW }
    }

    #[tokio::test]
    async fn numbers_count_up_for_each_gateway() {
        let (_folder, store, signer) = store();
        for expected in 1..=3 {
            assert_eq!(store.put_revision(new("gw", 1), &signer).await.unwrap(), RevisionNumber(expected));
        }
        assert_eq!(store.put_revision(new("other", 1), &signer).await.unwrap(), RevisionNumber(1));
        let desired = store.desired(&GatewayId::new("gw").unwrap()).await.unwrap().unwrap();
        assert_eq!(desired.view.number, RevisionNumber(3));
    }

    #[tokio::test]
    async fn a_number_that_the_gateway_has_seen_is_not_used_again() {
        let (_folder, store, signer) = store();
        store.put_revision(new("gw", 1), &signer).await.unwrap();
        assert_eq!(store.put_revision(new("gw", 8), &signer).await.unwrap(), RevisionNumber(8));
        assert_eq!(store.put_revision(new("gw", 1), &signer).await.unwrap(), RevisionNumber(9));
    }

    #[tokio::test]
    async fn a_failed_revision_keeps_its_problems() {
        let (_folder, store, signer) = store();
        let number = store.put_revision(new("gw", 1), &signer).await.unwrap();
        let problem = Problem { path: "rules[0].id".to_owned(), line: 3, column: 4, reason: "is taken".to_owned() };
        let report = RevisionReport { number, state: RevisionState::Failed, problems: vec![problem.clone()] };
        let gateway = GatewayId::new("gw").unwrap();
        store.set_revision_state(&gateway, report, NOW).await.unwrap();
        let views = store.list_revisions(&gateway).await.unwrap();
        assert_eq!((views[0].state, &views[0].problems), (RevisionState::Failed, &vec![problem]));
    }
}
