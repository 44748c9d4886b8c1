//! The control plane's own audit: who did what, when, from where, and what came of it; hash-chained, in the transaction of the deed.
//!
//! The same table is in the system database (accounts, tenants, trust) and in every tenant's (configuration, secrets, tokens …).
//! Whoever changes something calls [`note`] inside the transaction of the change: neither is there without the other. Never
//! holds a secret or a password. The chain is that of `protocol::audit`, the same as a gateway's.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use postern_protocol::audit::{ORIGIN, chain_input};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};

use super::StoreError;
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
