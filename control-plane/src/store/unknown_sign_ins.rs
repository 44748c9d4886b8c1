//! Sign-ins under names that nobody has: locked like those of users, so that nothing tells the two apart, and in the audit.
//!
//! Anybody can make up names, so neither grows with them: of the names the newest are remembered, and the audit of the system database
//! gets one entry for each source and minute, at most [`MAX_SOURCES`] and one for all others.

use std::net::IpAddr;

use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::audit::{self, By, Deed, Outcome, What};
use super::users::{Attempt, Failures, LockRule, failures};
use super::{StoreError, SystemStore};

/// Most sources of one minute that are told apart.
const MAX_SOURCES: u32 = 32;

/// How long a name is remembered: a day, in nanoseconds.
const REMEMBERED_NS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// Begins an attempt under a name that nobody has.
pub(super) fn begin(
    tx: &Transaction<'_>,
    (name, from): (&str, Option<IpAddr>),
    rule: LockRule,
    now: Timestamp,
) -> Result<Attempt, StoreError> {
    note_ended_minutes(tx, now)?;
    count(tx, from, now)?;
    tx.execute("DELETE FROM unknown_sign_in WHERE last_at < ?1", [now.as_nanos().saturating_sub(REMEMBERED_NS)])?;
    let name_sha256 = crate::auth::request_hash(&[name.as_bytes()]);
    let before = tx
        .prepare_cached("SELECT failed_sign_ins, locked_until FROM unknown_sign_in WHERE name_sha256 = ?1")?
        .query_row([&name_sha256], failures)
        .optional()?;
    let after = match before.unwrap_or(Failures { count: 0, locked_until: None }).and_one_more(rule, now) {
        Ok(after) => after,
        Err(until) => return Ok(Attempt::Locked { until }),
    };
    tx.execute(
        "INSERT INTO unknown_sign_in (name_sha256, failed_sign_ins, locked_until, last_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name_sha256) DO UPDATE SET failed_sign_ins = ?2, locked_until = ?3, last_at = ?4",
        params![name_sha256, after.count, after.locked_until.map(Timestamp::as_nanos), now.as_nanos()],
    )?;
    // A new row gets the greatest rowid: no row has to be counted.
    tx.execute("DELETE FROM unknown_sign_in WHERE rowid <= (SELECT max(rowid) FROM unknown_sign_in) - ?1", [rule.unknown_names])?;
    Ok(Attempt::Check(None))
}

fn minute(now: Timestamp) -> i64 {
    now.as_secs().div_euclid(60)
}

fn count(tx: &Transaction<'_>, from: Option<IpAddr>, now: Timestamp) -> Result<(), StoreError> {
    let minute = minute(now);
    let source = from.map(|from| from.to_canonical().to_string()).unwrap_or_default();
    let known = "SELECT 1 FROM unknown_sign_in_count WHERE minute = ?1 AND source = ?2";
    let is_known = tx.prepare_cached(known)?.query_row(params![minute, source], |_| Ok(())).optional()?.is_some();
    let sources: u32 = tx
        .prepare_cached("SELECT count(*) FROM unknown_sign_in_count WHERE minute = ?1 AND source <> ''")?
        .query_row([minute], |row| row.get(0))?;
    let source = if is_known || sources < MAX_SOURCES { source } else { String::new() };
    let sql = "INSERT INTO unknown_sign_in_count (minute, source, attempts) VALUES (?1, ?2, 1)
               ON CONFLICT (minute, source) DO UPDATE SET attempts = attempts + 1";
    tx.prepare_cached(sql)?.execute(params![minute, source])?;
    Ok(())
}

/// Writes the minutes before this one into the audit; a clock that was set back ends those that are to come.
fn note_ended_minutes(tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    let mut query =
        tx.prepare_cached("SELECT minute, source, attempts FROM unknown_sign_in_count WHERE minute <> ?1 ORDER BY minute, source")?;
    let ended = query.query_map([minute(now)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))?;
    let ended = ended.collect::<Result<Vec<_>, _>>()?;
    if ended.is_empty() {
        return Ok(());
    }
    for (minute, source, attempts) in ended {
        let others = if source.is_empty() { " from other addresses, or none that is known" } else { "" };
        audit::note(
            tx,
            Deed {
                at: Timestamp::from_secs(minute.saturating_mul(60)),
                by: By { who: "nobody".to_owned(), from: source.parse().ok() },
                what: What::SignIn,
                about: "user names that nobody has".to_owned(),
                detail: format!("{attempts} within this minute{others}"),
                outcome: Outcome::Refused("the user name or the password is wrong".to_owned()),
            },
        )?;
    }
    tx.prepare_cached("DELETE FROM unknown_sign_in_count WHERE minute <> ?1")?.execute([minute(now)])?;
    Ok(())
}

impl SystemStore {
    /// Writes sign-ins under unknown names into the audit as soon as their minute is over.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn note_unknown_sign_ins(&self, now: Timestamp) -> Result<(), StoreError> {
        let ended = "SELECT EXISTS (SELECT 1 FROM unknown_sign_in_count WHERE minute <> ?1)";
        let waits = self.read(move |db| Ok(db.prepare_cached(ended)?.query_row([minute(now)], |row| row.get::<_, bool>(0))?)).await?;
        if waits { self.write(move |tx| note_ended_minutes(tx, now)).await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stores;
    use std::time::Duration;

    const RULE: LockRule = LockRule { failures: 2, lock: Duration::from_secs(900), unknown_names: 3 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000_i64.saturating_add(seconds))
    }

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    async fn noted(system: &SystemStore) -> Vec<(Option<String>, String)> {
        let entries = system.read(|db| audit::list(db, 100, None)).await.unwrap();
        entries.into_iter().rev().map(|entry| (entry.from, entry.detail)).collect()
    }

    #[tokio::test]
    async fn the_audit_has_one_entry_for_each_source_and_minute() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let system = stores.system();
        for attempt in 0..50 {
            system.begin_attempt((&format!("nobody-{attempt}"), from(1)), RULE, at(0)).await.unwrap();
        }
        system.begin_attempt(("nobody", from(2)), RULE, at(59)).await.unwrap();
        system.note_unknown_sign_ins(at(59)).await.unwrap();
        assert_eq!(noted(system).await, [], "the minute goes on");
        system.note_unknown_sign_ins(at(60)).await.unwrap();
        system.note_unknown_sign_ins(at(60)).await.unwrap();
        let entry = |source: &str, detail: &str| (Some(source.to_owned()), detail.to_owned());
        assert_eq!(noted(system).await, [entry("192.0.2.1", "50 within this minute"), entry("192.0.2.2", "1 within this minute")]);
    }

    #[tokio::test]
    async fn ever_new_sources_do_not_fill_the_audit() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let system = stores.system();
        for source in 0..100 {
            system.begin_attempt(("nobody", from(source)), RULE, at(0)).await.unwrap();
        }
        system.begin_attempt(("nobody", None), RULE, at(61)).await.unwrap();
        let noted = noted(system).await;
        assert_eq!(noted.len(), 33);
        assert!(noted.contains(&(None, "68 within this minute from other addresses, or none that is known".to_owned())), "{noted:?}");
    }
}
