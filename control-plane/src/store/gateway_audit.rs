//! Gateways' audit logs as they came up: every entry as it was hashed, checked against the one before.
//!
//! What does not follow on what is stored begins a *branch* of its own, and the break is kept beside it: nothing that came first is
//! ever replaced, so neither a disk that was set back nor a log that was written anew can take an entry away. The tunnel's `audit`
//! calls this and countersigns what was stored.

use postern_protocol::audit::ORIGIN;
use postern_protocol::id::GatewayId;
use postern_protocol::message::AuditEntry;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::audit::{self, By, Deed, Outcome, Place, What};
use super::gateway_events::{self, GatewayEvent, Happening};
use super::{StoreError, TenantStore};

/// Most entries in one message, and most bytes of one entry's text.
pub const BOUNDS: (usize, usize) = (1024, 16 * 1024);

/// Most entries on one page.
pub const MAX_PAGE: usize = 500;

/// How an entry does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakKind {
    /// Its digest is not that of its text after the entry before.
    Altered,
    /// Another entry of that number came before.
    Forked,
    /// Entries before it never came.
    Missing,
}

impl BreakKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Forked => "forked",
            Self::Missing => "missing",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Altered, Self::Forked, Self::Missing].into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a gateway's log does not fit what came before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Number of the first entry that does not fit.
    pub number: u64,
    /// How.
    pub kind: BreakKind,
    /// When it came.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub at: Timestamp,
    /// What it means and what to do.
    pub text: String,
}

/// What became of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The last entry that is stored; what a receipt names.
    pub last: Place,
    /// What does not fit, in order.
    pub breaks: Vec<Break>,
    /// How many entries are new.
    pub stored: usize,
}

/// An entry, for people and the API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatewayEntry {
    /// Its number in the gateway's log.
    pub number: u64,
    /// How many breaks there were before it.
    pub branch: u64,
    /// What it says: JSON of the gateway's audit.
    pub entry: serde_json::Value,
    /// Its digest, hexadecimal.
    pub digest: String,
    /// When it came here.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub received_at: Timestamp,
}

/// The end of a gateway's log as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    branch: i64,
    last: Place,
}

impl TenantStore {
    /// Stores entries of `gateway` and says where its log is then.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn take_audit(&self, gateway: &GatewayId, entries: Vec<AuditEntry>, now: Timestamp) -> Result<Taken, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| take(tx, &gateway, &entries, now)).await
    }

    /// Returns the number of the last entry of `gateway` that is stored; 0 for none.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn last_audit_number(&self, gateway: &GatewayId) -> Result<u64, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| Ok(head(db, &gateway)?.last.number)).await
    }

    /// Lists entries of `gateway`, newest first, at most `limit`, from below `before` on.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn gateway_audit(
        &self,
        gateway: &GatewayId,
        limit: usize,
        before: Option<AuditCursor>,
    ) -> Result<Vec<GatewayEntry>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| list(db, &gateway, limit, before)).await
    }

    /// Lists where the log of `gateway` does not fit, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn audit_breaks(&self, gateway: &GatewayId) -> Result<Vec<Break>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| breaks(db, &gateway)).await
    }
}

/// A place in a list of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditCursor {
    /// Branch of the last entry on the page.
    pub branch: u64,
    /// Its number.
    pub number: u64,
}

/// Stores entries in the caller's transaction: what [`TenantStore::take_audit`] does.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn take(tx: &Transaction<'_>, gateway: &GatewayId, entries: &[AuditEntry], now: Timestamp) -> Result<Taken, StoreError> {
    let mut head = head(tx, gateway)?;
    let mut taken = Taken { last: head.last, breaks: Vec::new(), stored: 0 };
    for entry in entries {
        let Ok(digest) = <[u8; 32]>::try_from(entry.digest.as_slice()) else { continue };
        let place = Place { number: entry.number, digest };
        let follows = entry.number == head.last.number.saturating_add(1);
        let kind = if follows {
            (audit::digest_after(&head.last.digest, entry.number, &entry.text) != digest).then_some(BreakKind::Altered)
        } else if entry.number > head.last.number {
            Some(BreakKind::Missing)
        } else {
            match stored(tx, gateway, head.branch, entry.number)? {
                Some(known) if known != digest => Some(BreakKind::Forked),
                // Sent again, or from before what this branch has.
                Some(_) | None => continue,
            }
        };
        if let Some(kind) = kind {
            let found = Break { number: entry.number, kind, at: now, text: text(kind, head.last.number, entry.number) };
            head.branch = head.branch.saturating_add(1);
            declare(tx, gateway, head.branch, &found)?;
            taken.breaks.push(found);
        }
        tx.prepare_cached(
            "INSERT INTO gateway_audit (gateway, branch, number, text, digest, received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![gateway.as_str(), head.branch, signed(entry.number)?, entry.text, digest, now.as_nanos()])?;
        head.last = place;
        taken.stored = taken.stored.saturating_add(1);
    }
    taken.last = head.last;
    Ok(taken)
}

fn text(kind: BreakKind, last: u64, number: u64) -> String {
    match kind {
        BreakKind::Altered => format!(
            "entry {number} does not follow on entry {last} that this control plane countersigned: the log on the gateway was changed or \
             written anew; run postern-gateway audit verify there and find out who had access"
        ),
        BreakKind::Forked => format!(
            "entry {number} is another one than the entry {number} that came before: the gateway's disk was set back to an older state, \
             or its log was written anew; compare both branches"
        ),
        BreakKind::Missing => format!(
            "entries {} to {} never came: they were removed on the gateway, or this database was restored from an older backup",
            last.saturating_add(1),
            number.saturating_sub(1)
        ),
    }
}

fn declare(tx: &Transaction<'_>, gateway: &GatewayId, branch: i64, found: &Break) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO gateway_audit_break (gateway, branch, number, kind, at, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![gateway.as_str(), branch, signed(found.number)?, found.kind.name(), found.at.as_nanos(), found.text])?;
    gateway_events::note(tx, gateway, &GatewayEvent { at: found.at, what: Happening::AuditBroken, text: found.text.clone() })?;
    let about = format!("gateway {gateway}");
    let deed = Deed {
        at: found.at,
        by: By::gateway(gateway),
        what: What::GatewayLogBroken,
        about,
        detail: found.text.clone(),
        outcome: Outcome::Done,
    };
    audit::note(tx, deed)
}

fn head(db: &Connection, gateway: &GatewayId) -> Result<Head, StoreError> {
    let row = db
        .prepare_cached("SELECT branch, number, digest FROM gateway_audit WHERE gateway = ?1 ORDER BY branch DESC, number DESC LIMIT 1")?
        .query_row([gateway.as_str()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?)))
        .optional()?;
    let Some((branch, number, digest)) = row else { return Ok(Head { branch: 0, last: Place { number: 0, digest: ORIGIN } }) };
    Ok(Head { branch, last: Place { number: unsigned(number)?, digest } })
}

fn stored(db: &Connection, gateway: &GatewayId, branch: i64, number: u64) -> Result<Option<[u8; 32]>, StoreError> {
    // A branch goes on from the one before: what it does not have itself, that one has.
    Ok(db
        .prepare_cached(
            "SELECT digest FROM gateway_audit WHERE gateway = ?1 AND branch <= ?2 AND number = ?3 ORDER BY branch DESC LIMIT 1",
        )?
        .query_row(params![gateway.as_str(), branch, signed(number)?], |row| row.get(0))
        .optional()?)
}

fn list(db: &Connection, gateway: &GatewayId, limit: usize, before: Option<AuditCursor>) -> Result<Vec<GatewayEntry>, StoreError> {
    let before = before.unwrap_or(AuditCursor { branch: i64::MAX as u64, number: i64::MAX as u64 });
    let limit = i64::try_from(limit.clamp(1, MAX_PAGE)).unwrap_or(1);
    let mut query = db.prepare_cached(
        "SELECT branch, number, text, digest, received_at FROM gateway_audit
         WHERE gateway = ?1 AND (branch, number) < (?2, ?3) ORDER BY branch DESC, number DESC LIMIT ?4",
    )?;
    let mut rows = query.query(params![gateway.as_str(), signed(before.branch)?, signed(before.number)?, limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let text: Vec<u8> = row.get(2)?;
        let unreadable = |_| serde_json::Value::String(String::from_utf8_lossy(&text).into_owned());
        entries.push(GatewayEntry {
            branch: unsigned(row.get(0)?)?,
            number: unsigned(row.get(1)?)?,
            entry: serde_json::from_slice(&text).unwrap_or_else(unreadable),
            digest: data_encoding::HEXLOWER.encode(&row.get::<_, [u8; 32]>(3)?),
            received_at: Timestamp::from_nanos(row.get(4)?),
        });
    }
    Ok(entries)
}

fn breaks(db: &Connection, gateway: &GatewayId) -> Result<Vec<Break>, StoreError> {
    let mut query = db.prepare_cached("SELECT number, kind, at, text FROM gateway_audit_break WHERE gateway = ?1 ORDER BY branch")?;
    let mut rows = query.query([gateway.as_str()])?;
    let mut breaks = Vec::new();
    while let Some(row) = rows.next()? {
        let kind = BreakKind::from_name(&row.get::<_, String>(1)?).ok_or(StoreError::Corrupt("break"))?;
        breaks.push(Break { number: unsigned(row.get(0)?)?, kind, at: Timestamp::from_nanos(row.get(2)?), text: row.get(3)? });
    }
    Ok(breaks)
}

fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Conflict(format!("{number} is beyond what a store can count")))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("audit number"))
}

#[cfg(test)]
mod tests {
    use super::*;

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

        async fn take(&self, entries: &[AuditEntry]) -> Taken {
            self.store.take_audit(&self.gateway, entries.to_vec(), Timestamp::from_secs(9)).await.unwrap()
        }
    }

    /// Entries of a log that says these things.
    fn log(texts: &[&str]) -> Vec<AuditEntry> {
        let mut digest = ORIGIN;
        let entry = |(number, text): (u64, &&str)| {
            digest = audit::digest_after(&digest, number, text.as_bytes());
            AuditEntry { number, text: text.as_bytes().to_vec(), digest: digest.to_vec() }
        };
        (1..).zip(texts).map(entry).collect()
    }

    #[tokio::test]
    async fn entries_are_stored_once_in_whatever_parcels_they_come() {
        let site = Site::new();
        let entries = log(&["a", "b", "c", "d"]);
        assert_eq!(site.take(&entries[..2]).await.stored, 2);
        let taken = site.take(&entries[1..]).await;
        assert_eq!((taken.stored, taken.last.number, taken.breaks.len()), (2, 4, 0));
        assert_eq!(taken.last.digest.as_slice(), entries[3].digest);
        assert_eq!(site.store.last_audit_number(&site.gateway).await.unwrap(), 4);
        let page = site.store.gateway_audit(&site.gateway, 3, None).await.unwrap();
        assert_eq!(page.iter().map(|entry| entry.number).collect::<Vec<_>>(), [4, 3, 2]);
        let next = site.store.gateway_audit(&site.gateway, 3, Some(AuditCursor { branch: 0, number: 2 })).await.unwrap();
        assert_eq!(next.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn a_log_that_was_set_back_is_a_branch_and_takes_nothing_away() {
        let site = Site::new();
        site.take(&log(&["a", "b", "c", "d"])).await;
        let anew = log(&["a", "b", "x", "y"]);
        let taken = site.take(&anew[1..3]).await;
        assert_eq!(taken.breaks.iter().map(|found| (found.kind, found.number)).collect::<Vec<_>>(), [(BreakKind::Forked, 3)]);
        assert_eq!(taken.last.digest.as_slice(), anew[2].digest);
        let taken = site.take(&anew[2..]).await;
        assert_eq!((taken.breaks.len(), taken.stored, taken.last.number), (0, 1, 4));
        let all = site.store.gateway_audit(&site.gateway, 9, None).await.unwrap();
        assert_eq!(
            all.iter().map(|entry| (entry.branch, entry.number)).collect::<Vec<_>>(),
            [(1, 4), (1, 3), (0, 4), (0, 3), (0, 2), (0, 1)]
        );
        assert_eq!(site.store.audit_breaks(&site.gateway).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_log_that_was_written_anew_and_has_grown_past_ours_is_found() {
        let site = Site::new();
        site.take(&log(&["a", "b"])).await;
        let taken = site.take(&log(&["a", "x", "c"])[2..]).await;
        assert_eq!((taken.breaks[0].kind, taken.breaks[0].number), (BreakKind::Altered, 3));
        let audited = site.store.read(|db| Ok(audit::last(db)?.number)).await.unwrap();
        assert_eq!(audited, 1, "our own audit says so");
    }

    #[tokio::test]
    async fn entries_that_never_came_are_a_break() {
        let site = Site::new();
        site.take(&log(&["a"])).await;
        let taken = site.take(&log(&["a", "b", "c", "d"])[2..]).await;
        assert_eq!((taken.breaks[0].kind, taken.stored, taken.last.number), (BreakKind::Missing, 2, 4));
    }
}
