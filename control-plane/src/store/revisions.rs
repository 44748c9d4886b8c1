//! Configuration revisions of a tenant's gateways. The newest is the desired one; numbers are never reused.
//!
//! [`report`] and [`greet`] decide how a revision stands by what its gateway says; both sides agree on it once the gateway was heard.

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::Problem;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;

use super::audit::{self, By, Deed, Outcome, What};
use super::gateway_events::{self, GatewayEvent, Happening};
use super::{StoreError, TenantStore, rollouts, secrets};
use crate::signer::Signer;

/// How far a revision got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionState {
    /// The gateway has not taken it in.
    Desired,
    /// Taken in, not yet in force.
    Applying,
    /// In force on trial: taken back unless it is confirmed.
    Provisional,
    /// In force, or was until a newer one.
    Applied,
    /// Refused by the gateway.
    Failed,
    /// Was in force on trial and was taken back.
    Reverted,
}

impl RevisionState {
    /// Returns the state's name in APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Applying => "applying",
            Self::Provisional => "provisional",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
        }
    }

    /// Whether the gateway will not run it, and has said so.
    pub const fn is_undone(self) -> bool {
        matches!(self, Self::Failed | Self::Reverted)
    }

    pub(super) fn from_name(name: &str) -> Result<Self, StoreError> {
        [Self::Desired, Self::Applying, Self::Provisional, Self::Applied, Self::Failed, Self::Reverted]
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
    /// Where it comes from: a roll-out, an earlier revision, a file; empty when somebody wrote it.
    pub remark: String,
    /// What the gateway found wrong, or why it took it back.
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
    pub by: By,
    /// Where it comes from; empty when somebody wrote it.
    pub remark: String,
    /// The roll-out that it belongs to.
    pub rollout: Option<String>,
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
    /// What is wrong, when it failed or was taken back.
    pub problems: Vec<Problem>,
}

/// What a gateway's greeting says of its revisions; 0 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeted {
    /// The one in force.
    pub effective: RevisionNumber,
    /// The newest that it ever took in.
    pub newest: RevisionNumber,
    /// The one in force, if it waits to be confirmed.
    pub provisional: RevisionNumber,
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
                "SELECT number, state, state_at, created_at, created_by, problems, remark FROM revision
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

    /// Records how far the gateway got with a revision; see [`report`].
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn set_revision_state(&self, gateway: &GatewayId, told: RevisionReport, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| report(tx, &gateway, &told, now)).await
    }

    /// Records what a greeting says; see [`greet`].
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn greeted(&self, gateway: &GatewayId, greeted: Greeted, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| greet(tx, &gateway, greeted, now)).await
    }

    /// Returns the revision of `gateway` that may be confirmed; see [`confirmable`].
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn confirmable(&self, gateway: &GatewayId) -> Result<Option<RevisionNumber>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| confirmable(db, &gateway)).await
    }

    /// Returns the newest revision and the serial of the secrets of each of `gateways`: a command line beside the server may have
    /// changed them.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn standings(&self, gateways: Vec<GatewayId>) -> Result<Vec<(GatewayId, (Option<RevisionNumber>, u64))>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached("SELECT max(number) FROM revision WHERE gateway = ?1")?;
            let mut standings = Vec::with_capacity(gateways.len());
            for gateway in gateways {
                let newest: Option<i64> = statement.query_row([gateway.as_str()], |row| row.get(0))?;
                let standing = (newest.map(number).transpose()?, secrets::serial(db, &gateway)?);
                standings.push((gateway, standing));
            }
            Ok(standings)
        })
        .await
    }
}

/// Records how far the gateway got with a revision. A number that does not exist changes nothing; a state that is reported again
/// keeps the time of its first report. What the gateway will not run is in the audit.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn report(tx: &Transaction<'_>, gateway: &GatewayId, told: &RevisionReport, now: Timestamp) -> Result<(), StoreError> {
    let number = i64::try_from(told.number.0).map_err(|_| StoreError::NotFound)?;
    let problems = serde_json::to_string(&told.problems).map_err(|_| StoreError::Corrupt("revision problem"))?;
    let before: Option<String> = tx
        .prepare_cached("SELECT state FROM revision WHERE gateway = ?1 AND number = ?2")?
        .query_row(params![gateway.as_str(), number], |row| row.get(0))
        .optional()?;
    let Some(before) = before else { return Ok(()) };
    tx.prepare_cached(
        "UPDATE revision SET state_at = iif(state = ?3, state_at, ?4), state = ?3, problems = ?5 WHERE gateway = ?1 AND number = ?2",
    )?
    .execute(params![gateway.as_str(), number, told.state.name(), now.as_nanos(), problems])?;
    if matches!(told.state, RevisionState::Applied | RevisionState::Provisional) {
        in_force(tx, gateway, told.number)?;
    }
    if before == told.state.name() {
        return Ok(());
    }
    let words = format!("revision {number} {}", told.state.name());
    let text = match told.problems.first() {
        Some(first) if told.state.is_undone() => format!("{words}: {}", first.reason),
        _ => words,
    };
    if told.state.is_undone() || told.state == RevisionState::Applied {
        gateway_events::note(tx, gateway, &GatewayEvent { at: now, what: Happening::Configuration, text: text.clone() })?;
    }
    if told.state.is_undone() {
        let about = format!("gateway {gateway}");
        let deed = Deed { at: now, by: By::gateway(gateway), what: What::ConfigurationUndone, about, detail: text, outcome: Outcome::Done };
        audit::note(tx, deed)?;
    }
    Ok(())
}

/// Records what a greeting says of revisions. The gateway knows best what it runs: a report that was lost with the session before
/// is made up for.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn greet(tx: &Transaction<'_>, gateway: &GatewayId, greeted: Greeted, now: Timestamp) -> Result<(), StoreError> {
    let Greeted { effective, newest, provisional } = greeted;
    in_force(tx, gateway, effective)?;
    let stored = |number: RevisionNumber| i64::try_from(number.0).unwrap_or(i64::MAX);
    let mut statement =
        tx.prepare_cached("SELECT number, state FROM revision WHERE gateway = ?1 AND (number IN (?2, ?3) OR state = 'provisional')")?;
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let rows = statement.query_map(params![gateway.as_str(), stored(effective), stored(provisional)], read)?;
    let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
    for (one, state) in rows {
        let (one, state) = (number(one)?, RevisionState::from_name(&state)?);
        let settled = if one == provisional {
            RevisionState::Provisional
        } else if one == effective {
            RevisionState::Applied
        } else if state == RevisionState::Provisional && one <= newest {
            RevisionState::Reverted
        } else {
            continue;
        };
        if settled != state {
            let reason = format!("the gateway went back to {} and could not say why in time", in_words(effective));
            let problem = Problem { path: String::new(), line: 0, column: 0, reason };
            let problems = if settled == RevisionState::Reverted { vec![problem] } else { Vec::new() };
            report(tx, gateway, &RevisionReport { number: one, state: settled, problems }, now)?;
        }
    }
    Ok(())
}

/// Returns the revision that may be confirmed: one on trial, unless a newer one is to take its place. That it was heard of proves
/// that the gateway can be reached with it.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn confirmable(db: &Connection, gateway: &GatewayId) -> Result<Option<RevisionNumber>, StoreError> {
    // SQLite takes the bare column from the row that holds the maximum.
    let newest = db
        .prepare_cached("SELECT max(number), state FROM revision WHERE gateway = ?1 AND state NOT IN ('failed', 'reverted')")?
        .query_row([gateway.as_str()], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<String>>(1)?)))?;
    match newest {
        (Some(newest), Some(state)) if state == RevisionState::Provisional.name() => Ok(Some(number(newest)?)),
        _ => Ok(None),
    }
}

fn in_force(tx: &Transaction<'_>, gateway: &GatewayId, number: RevisionNumber) -> Result<(), StoreError> {
    let number = i64::try_from(number.0).ok().filter(|number| *number > 0);
    tx.prepare_cached("UPDATE gateway_state SET effective_revision = ?2 WHERE gateway = ?1")?.execute(params![gateway.as_str(), number])?;
    Ok(())
}

fn in_words(number: RevisionNumber) -> String {
    if number.0 == 0 { "the built-in rules".to_owned() } else { format!("revision {number}") }
}

fn number(stored: i64) -> Result<RevisionNumber, StoreError> {
    u64::try_from(stored).map(RevisionNumber).map_err(|_| StoreError::Corrupt("revision number"))
}

fn insert(tx: &Transaction<'_>, new: &NewRevision, number: RevisionNumber, signature: &[u8]) -> Result<bool, StoreError> {
    if newest(tx, &new.gateway)? >= number {
        return Ok(false);
    }
    let number = i64::try_from(number.0).map_err(|_| StoreError::Conflict("there is no revision number left".to_owned()))?;
    tx.execute(
        "INSERT INTO revision (gateway, number, document, signature, created_at, created_by, remark, state_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?5)",
        params![new.gateway.as_str(), number, new.document, signature, new.at.as_nanos(), new.by.who, new.remark],
    )?;
    let deed = Deed {
        at: new.at,
        by: new.by.clone(),
        what: What::ConfigurationPut,
        about: format!("gateway {}", new.gateway),
        detail: if new.remark.is_empty() { format!("revision {number}") } else { format!("revision {number}: {}", new.remark) },
        outcome: Outcome::Done,
    };
    audit::note(tx, deed)?;
    if let Some(rollout) = &new.rollout {
        rollouts::sent(tx, rollout, &new.gateway, (number, new.at))?;
    }
    Ok(true)
}

fn newest(db: &Connection, gateway: &GatewayId) -> Result<RevisionNumber, StoreError> {
    let number: Option<i64> =
        db.prepare_cached("SELECT max(number) FROM revision WHERE gateway = ?1")?.query_row([gateway.as_str()], |row| row.get(0))?;
    Ok(RevisionNumber(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)))
}

fn whole(db: &Connection, condition: &str, params: impl rusqlite::Params) -> Result<Option<Revision>, StoreError> {
    let sql =
        format!("SELECT number, state, state_at, created_at, created_by, problems, remark, document, signature FROM revision {condition}");
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_row(params, |row| Ok((view(row), row.get::<_, Vec<u8>>(7)?, row.get::<_, Vec<u8>>(8)?))).optional()?;
    found.map(|(view, document, signature)| Ok(Revision { view: view?, document, signature })).transpose()
}

fn view(row: &Row<'_>) -> Result<RevisionView, StoreError> {
    Ok(RevisionView {
        number: number(row.get(0)?)?,
        state: RevisionState::from_name(&row.get::<_, String>(1)?)?,
        state_at: Timestamp::from_nanos(row.get(2)?),
        created_at: Timestamp::from_nanos(row.get(3)?),
        created_by: row.get(4)?,
        remark: row.get(6)?,
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
        NewRevision {
            gateway,
            document: b"{}".to_vec(),
            by: By { who: "anna".to_owned(), from: None },
            remark: String::new(),
            rollout: None,
            at_least: RevisionNumber(at_least),
            at: NOW,
        }
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

    async fn said(store: &TenantStore, number: u64, state: RevisionState) {
        let told = RevisionReport { number: RevisionNumber(number), state, problems: Vec::new() };
        store.set_revision_state(&GatewayId::new("gw").unwrap(), told, NOW).await.unwrap();
    }

    async fn states(store: &TenantStore) -> Vec<RevisionState> {
        let views = store.list_revisions(&GatewayId::new("gw").unwrap()).await.unwrap();
        views.into_iter().rev().map(|view| view.state).collect()
    }

    async fn greeted(store: &TenantStore, effective: u64, newest: u64, provisional: u64) {
        let [effective, newest, provisional] = [effective, newest, provisional].map(RevisionNumber);
        let greeted = Greeted { effective, newest, provisional };
        store.greeted(&GatewayId::new("gw").unwrap(), greeted, NOW).await.unwrap();
    }

    #[tokio::test]
    async fn a_revision_on_trial_is_confirmed_unless_a_newer_one_is_to_take_its_place() {
        let (_folder, store, signer) = store();
        let gateway = GatewayId::new("gw").unwrap();
        store.put_revision(new("gw", 1), &signer).await.unwrap();
        assert_eq!(store.confirmable(&gateway).await.unwrap(), None);
        said(&store, 1, RevisionState::Provisional).await;
        assert_eq!(store.confirmable(&gateway).await.unwrap(), Some(RevisionNumber(1)));
        store.put_revision(new("gw", 1), &signer).await.unwrap();
        assert_eq!(store.confirmable(&gateway).await.unwrap(), None, "2 is on its way");
        said(&store, 2, RevisionState::Failed).await;
        assert_eq!(store.confirmable(&gateway).await.unwrap(), Some(RevisionNumber(1)), "2 was refused, 1 is in force");
    }

    #[tokio::test]
    async fn a_greeting_makes_up_for_every_report_that_was_lost() {
        let (_folder, store, signer) = store();
        for _ in 0..3 {
            store.put_revision(new("gw", 1), &signer).await.unwrap();
        }
        greeted(&store, 1, 2, 0).await;
        assert_eq!(states(&store).await, [RevisionState::Applied, RevisionState::Desired, RevisionState::Desired]);
        greeted(&store, 2, 2, 2).await;
        assert_eq!(states(&store).await[1], RevisionState::Provisional);
        greeted(&store, 2, 2, 0).await;
        assert_eq!(states(&store).await[1], RevisionState::Applied, "the confirm arrived, its report did not");
        said(&store, 3, RevisionState::Provisional).await;
        greeted(&store, 2, 3, 0).await;
        assert_eq!(states(&store).await[2], RevisionState::Reverted, "it went back while nobody heard it");
        let problems = store.list_revisions(&GatewayId::new("gw").unwrap()).await.unwrap()[0].problems.clone();
        assert!(problems[0].reason.contains("went back to revision 2"));
    }

    #[tokio::test]
    async fn what_is_undone_is_in_the_audit_once() {
        let (_folder, store, signer) = store();
        store.put_revision(new("gw", 1), &signer).await.unwrap();
        for _ in 0..2 {
            said(&store, 1, RevisionState::Reverted).await;
        }
        let last = store.read(|db| Ok(audit::last(db)?.number)).await.unwrap();
        assert_eq!(last, 2, "put, and undone");
        assert_eq!(store.gateway_events(&GatewayId::new("gw").unwrap(), 9).await.unwrap().len(), 1);
    }

    #[test]
    fn what_was_stored_before_the_new_states_is_kept() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("tenant.sql")).unwrap();
        db.execute_batch("INSERT INTO revision VALUES ('gw', 1, x'7b7d', x'00', 1, 'anna', 'failed', 2, '[]')").unwrap();
        db.execute_batch("PRAGMA user_version = 1").unwrap();
        crate::store::prepare_tenant(&mut db).unwrap();
        let kept = whole(&db, "WHERE gateway = ?1 AND number = 1", ["gw"]).unwrap().unwrap();
        assert_eq!((kept.view.state, kept.view.created_by.as_str(), kept.document.as_slice()), (RevisionState::Failed, "anna", &b"{}"[..]));
        assert!(
            db.execute("UPDATE revision SET state = 'reverted'", []).is_ok()
                && db.execute("UPDATE revision SET state = 'odd'", []).is_err()
        );
    }
}
