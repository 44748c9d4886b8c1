//! The control plane's own audit: who did what, when, from where, and what came of it; hash-chained, in the transaction of the deed.
//!
//! The same table is in the system database (accounts, tenants, trust) and in every tenant's (configuration, secrets, tokens …).
//! Whoever changes something calls [`note`] inside the transaction of the change: neither is there without the other. Never
//! holds a secret or a password. The chain is that of `protocol::audit`, the same as a gateway's.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use postern_protocol::audit::{ORIGIN, chain_input};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{StoreError, SystemStore, TenantStore};
use crate::auth::Principal;

/// What was done. Variants may be added; names stay, for old entries are read for years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An API client was made.
    ClientMade,
    /// An API client was revoked.
    ClientRevoked,
    /// A configuration was put.
    ConfigurationPut,
    /// A configuration was taken back by its gateway, or refused.
    ConfigurationUndone,
    /// A gateway's cloned identity was found, or what to do with it was decided.
    GatewayCloned,
    /// A gateway enrolled.
    GatewayEnrolled,
    /// A gateway's audit log does not fit what was countersigned before.
    GatewayLogBroken,
    /// A gateway's identity was renewed.
    GatewayRenewed,
    /// A gateway, or this database, was found set back to an older state.
    GatewayRewound,
    /// A gateway was revoked.
    GatewayRevoked,
    /// Alerts were cleared because their gateway does not have them open any more.
    AlertsHealed,
    /// MIB modules were changed.
    MibsChanged,
    /// How fast a gateway may send was bounded.
    PaceSet,
    /// Two gateways were declared a pair.
    PairDeclared,
    /// A pair was dissolved.
    PairDissolved,
    /// A password was changed.
    PasswordChanged,
    /// A window for late renewal was opened.
    RenewalAllowed,
    /// A gateway was asked what a document would have made of its recent events.
    ReplayAsked,
    /// A roll-out began, went on, or was stopped.
    Rollout,
    /// Secrets were changed.
    SecretsChanged,
    /// Somebody signed in, or tried to.
    SignIn,
    /// Somebody signed out.
    SignOut,
    /// Tags of a gateway were changed.
    TagsChanged,
    /// A tenant was made.
    TenantMade,
    /// An enrolment token was made.
    TokenMade,
    /// An enrolment token was revoked.
    TokenRevoked,
    /// Pins, authorities or signing keys were changed.
    TrustChanged,
    /// A user was made or changed.
    UserChanged,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// A user, `client:ID`, `gateway:ID`, `command line` or `control plane`.
    pub who: String,
    /// The address it came from, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

impl By {
    /// The program itself.
    pub fn control_plane() -> Self {
        Self { who: "control plane".to_owned(), from: None }
    }

    /// Somebody at the command line of this machine.
    pub fn command_line() -> Self {
        Self { who: "command line".to_owned(), from: None }
    }

    /// A gateway.
    pub fn gateway(gateway: &postern_protocol::id::GatewayId) -> Self {
        Self { who: format!("gateway:{gateway}"), from: None }
    }
}

impl From<&Principal> for By {
    fn from(principal: &Principal) -> Self {
        Self { who: principal.actor.to_string(), from: principal.from }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, for this reason.
    Refused(String),
}

/// One thing that was done, to be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    #[serde(flatten)]
    pub by: By,
    /// What.
    pub what: What,
    /// To what: `gateway ID`, `user NAME`, `token ID` …
    pub about: String,
    /// More, for a person; never a secret.
    pub detail: String,
    /// What came of it.
    pub outcome: Outcome,
}

impl Deed {
    /// Something that was done, with nothing more to say about it.
    pub fn done(by: By, what: What, about: String, at: Timestamp) -> Self {
        Self { at, by, what, about, detail: String::new(), outcome: Outcome::Done }
    }
}

/// Longest text of an entry's parts, in characters.
const MAX_TEXT_CHARACTERS: usize = 1000;

/// Writes a deed down, in the transaction that does it.
///
/// # Errors
/// [`StoreError`] from the database: the deed then must not happen either.
pub fn note(tx: &Transaction<'_>, deed: Deed) -> Result<(), StoreError> {
    let cut = |text: String| text.chars().take(MAX_TEXT_CHARACTERS).collect();
    let deed = Deed { about: cut(deed.about), detail: cut(deed.detail), ..deed };
    let text = serde_json::to_vec(&deed).map_err(|_| StoreError::Corrupt("audit entry"))?;
    let last = last(tx)?;
    let number = last.number.saturating_add(1);
    let digest = digest_after(&last.digest, number, &text);
    let number = i64::try_from(number).map_err(|_| StoreError::Corrupt("audit number"))?;
    tx.prepare_cached("INSERT INTO audit (number, text, digest) VALUES (?1, ?2, ?3)")?.execute(params![number, text, digest])?;
    Ok(())
}

/// Where a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its last entry; 0 for none.
    pub number: u64,
    /// Its digest.
    pub digest: [u8; 32],
}

/// Returns where the chain of this database is.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn last(db: &Connection) -> Result<Place, StoreError> {
    let row = db
        .prepare_cached("SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?)))
        .optional()?;
    let Some((number, digest)) = row else { return Ok(Place { number: 0, digest: ORIGIN }) };
    Ok(Place { number: u64::try_from(number).map_err(|_| StoreError::Corrupt("audit number"))?, digest })
}

/// Returns the digest of the entry with this number and text after an entry with that digest.
pub fn digest_after(before: &[u8; 32], number: u64, text: &[u8]) -> [u8; 32] {
    let mut out = ORIGIN;
    let hash = digest(&SHA256, &chain_input(before, number, text));
    out.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// An entry, as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditView {
    /// Its number; entries have no gaps.
    pub number: u64,
    /// When it was done.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub at: Timestamp,
    /// Who did it.
    pub who: String,
    /// The address it came from, when there is one.
    pub from: Option<String>,
    /// What was done.
    pub what: String,
    /// To what.
    pub about: String,
    /// More, for a person.
    pub detail: String,
    /// Why it was refused; none when it was done.
    pub refused: Option<String>,
    /// SHA-256 of the chain up to here, hexadecimal.
    pub digest: String,
}

/// Most entries on one page.
pub const MAX_PAGE: usize = 500;

/// Lists entries, newest first, at most `limit`, from below the number `before` on.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn list(db: &Connection, limit: usize, before: Option<u64>) -> Result<Vec<AuditView>, StoreError> {
    let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit.clamp(1, MAX_PAGE)).unwrap_or(1);
    let mut query = db.prepare_cached("SELECT number, text, digest FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2")?;
    let mut rows = query.query(params![before, limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let number = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| StoreError::Corrupt("audit number"))?;
        let deed: Deed = serde_json::from_slice(&row.get::<_, Vec<u8>>(1)?).map_err(|_| StoreError::Corrupt("audit entry"))?;
        entries.push(AuditView {
            number,
            at: deed.at,
            who: deed.by.who,
            from: deed.by.from.map(|from| from.to_string()),
            what: name(deed.what),
            about: deed.about,
            detail: deed.detail,
            refused: match deed.outcome {
                Outcome::Done => None,
                Outcome::Refused(why) => Some(why),
            },
            digest: HEXLOWER.encode(&row.get::<_, [u8; 32]>(2)?),
        });
    }
    Ok(entries)
}

fn name(what: What) -> String {
    serde_json::to_value(what).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// An entry's digest is not that of its text after the entry before.
    #[error("entry {0} does not follow on the entry before it: one of the two was changed")]
    Altered(u64),
    /// Entries are gone.
    #[error("entries {from} to {to} are gone")]
    Missing {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
}

/// Checks the whole chain of this database; returns where it ends, and everything that is wrong.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn verify(db: &Connection) -> Result<(Place, Vec<ChainFault>), StoreError> {
    let mut place = Place { number: 0, digest: ORIGIN };
    let mut faults = Vec::new();
    let mut query = db.prepare("SELECT number, text, digest FROM audit ORDER BY number")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let number = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| StoreError::Corrupt("audit number"))?;
        let (text, digest): (Vec<u8>, [u8; 32]) = (row.get(1)?, row.get(2)?);
        let next = place.number.saturating_add(1);
        if number != next {
            faults.push(ChainFault::Missing { from: next, to: number.saturating_sub(1) });
        } else if digest_after(&place.digest, number, &text) != digest {
            faults.push(ChainFault::Altered(number));
        }
        place = Place { number, digest };
    }
    Ok((place, faults))
}

impl SystemStore {
    /// Writes down what changed nothing in the system database.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn note(&self, deed: Deed) -> Result<(), StoreError> {
        self.write(move |tx| note(tx, deed)).await
    }
}

impl TenantStore {
    /// Writes down what changed nothing in the tenant's database: a sign-in, or something in the system database.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn note(&self, deed: Deed) -> Result<(), StoreError> {
        self.write(move |tx| note(tx, deed)).await
    }

    /// Lists the tenant's audit; see [`list`].
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn audit(&self, limit: usize, before: Option<u64>) -> Result<Vec<AuditView>, StoreError> {
        self.read(move |db| list(db, limit, before)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store_with(count: u8) -> (tempfile::TempDir, TenantStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        for number in 0..count {
            let about = format!("user {number}");
            let deed = Deed {
                at: Timestamp::from_secs(number.into()),
                by: By::command_line(),
                what: What::UserChanged,
                about,
                detail: String::new(),
                outcome: Outcome::Done,
            };
            store.note(deed).await.unwrap();
        }
        (folder, store)
    }

    async fn faults_after(sql: &'static str) -> (u64, Vec<ChainFault>) {
        let (_folder, store) = store_with(5).await;
        store.write(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap();
        let (place, faults) = store.read(verify).await.unwrap();
        (place.number, faults)
    }

    #[tokio::test]
    async fn a_chain_that_nobody_touched_is_whole() {
        assert_eq!(faults_after("").await, (5, vec![]));
    }

    #[tokio::test]
    async fn a_changed_and_a_removed_entry_are_found() {
        let changed = "UPDATE audit SET text = CAST(replace(CAST(text AS TEXT), 'user 2', 'user 9') AS BLOB) WHERE number = 3";
        assert_eq!(faults_after(changed).await, (5, vec![ChainFault::Altered(3)]));
        assert_eq!(faults_after("DELETE FROM audit WHERE number IN (2, 3)").await, (5, vec![ChainFault::Missing { from: 2, to: 3 }]));
    }

    #[tokio::test]
    async fn what_was_not_done_is_not_in_the_audit() {
        let (_folder, store) = store_with(1).await;
        let failed = store.write(|tx| {
            let deed = Deed {
                at: Timestamp::default(),
                by: By::control_plane(),
                what: What::Rollout,
                about: String::new(),
                detail: String::new(),
                outcome: Outcome::Done,
            };
            note(tx, deed)?;
            Err::<(), _>(StoreError::Conflict("no".into()))
        });
        assert!(failed.await.is_err());
        assert_eq!(store.audit(9, None).await.unwrap().len(), 1);
        assert_eq!(store.audit(9, Some(1)).await.unwrap().len(), 0);
    }
}
