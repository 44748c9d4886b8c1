//! Users in the system database: their hashes, roles and failed sign-ins. Knows no password and no clock.

use std::net::IpAddr;
use std::time::Duration;

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::audit::{By, Deed, What};
use super::{StoreError, SystemStore, audit_outbox, unknown_sign_ins};
use crate::auth::Role;
use crate::rfc3339;

/// A user, as lists show one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// The name, unique over all tenants.
    pub name: String,
    /// Whose data the user sees.
    pub tenant: TenantId,
    /// What the user may do.
    pub role: Role,
    /// Whether the next sign-in leads to a change of the password.
    pub must_change_password: bool,
    /// Until when no sign-in is taken, after too many that failed.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub locked_until: Option<Timestamp>,
    /// When the user was made.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub created_at: Timestamp,
}

/// A user to be made. Holds a hash: no `Debug`.
#[derive(Clone)]
pub struct NewUser {
    /// The name, unique over all tenants.
    pub name: String,
    /// Whose data the user sees.
    pub tenant: TenantId,
    /// What the user may do.
    pub role: Role,
    /// PHC string of the first password, which must be changed.
    pub password_hash: String,
}

/// How many sign-ins may fail, and for how long the account is then locked.
#[derive(Clone, Copy, Debug)]
pub struct LockRule {
    /// Failures that lock.
    pub failures: u32,
    /// How long it stays locked.
    pub lock: Duration,
    /// Most names that no user has whose failures are remembered: anybody can make up more. Beyond it the oldest is forgotten.
    pub unknown_names: u32,
}

/// What an attempt to sign in meets.
pub enum Attempt {
    /// The password may be checked; the attempt already counts as failed.
    Check(Option<Credentials>),
    /// No password is checked.
    Locked {
        /// Until then.
        until: Timestamp,
    },
}

/// What a password is checked against; there is none for a name that no user has.
pub struct Credentials {
    /// PHC string.
    pub password_hash: String,
    /// Whether the user must change the password.
    pub must_change_password: bool,
}

impl SystemStore {
    /// Adds a user; in the tenant's audit as done by `by`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken, [`StoreError::NotFound`] if the tenant does not exist.
    pub async fn insert_user(&self, user: NewUser, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        self.write(move |tx| {
            let tenant = tx.query_row("SELECT 1 FROM tenant WHERE id = ?1", [user.tenant.as_str()], |_| Ok(())).optional()?;
            tenant.ok_or(StoreError::NotFound)?;
            let added = tx.execute(
                "INSERT INTO user (name, tenant, role, password_hash, must_change_password, created_at)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5) ON CONFLICT (name) DO NOTHING",
                params![user.name, user.tenant.as_str(), user.role.name(), user.password_hash, now.as_nanos()],
            )?;
            if added == 0 {
                return Err(StoreError::Conflict(format!("there is a user {:?} already", user.name)));
            }
            let about = format!("user {}: made, {}", user.name, user.role);
            audit_outbox::put(tx, &user.tenant, &Deed::done(by, What::UserChanged, about, now))
        })
        .await
    }

    /// Returns the tenant of a user; `None` when there is no such user.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn tenant_of_user(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let name = name.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached("SELECT tenant FROM user WHERE name = ?1")?;
            let tenant: Option<String> = query.query_row([&name], |row| row.get(0)).optional()?;
            tenant.map(|tenant| TenantId::new(tenant).map_err(|_| StoreError::Corrupt("tenant"))).transpose()
        })
        .await
    }

    /// Lists a tenant's users by name.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn list_users(&self, tenant: &TenantId) -> Result<Vec<UserView>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT name, tenant, role, must_change_password, locked_until, created_at FROM user WHERE tenant = ?1 ORDER BY name",
            )?;
            let mut rows = query.query([tenant.as_str()])?;
            let mut users = Vec::new();
            while let Some(row) = rows.next()? {
                users.push(user_view(row)?);
            }
            Ok(users)
        })
        .await
    }

    /// Forgets a user's failed sign-ins, and returns the user's tenant; in its audit as done by `by`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such user.
    pub async fn unlock_user(&self, name: &str, (by, now): (By, Timestamp)) -> Result<TenantId, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let sql = "UPDATE user SET failed_sign_ins = 0, locked_until = NULL WHERE name = ?1 RETURNING tenant";
            let of = tx.query_row(sql, [&name], |row| Ok(tenant(row, 0))).optional()?.ok_or(StoreError::NotFound)??;
            audit_outbox::put(tx, &of, &Deed::done(by, What::UserChanged, format!("user {name}: unlocked"), now))?;
            Ok(of)
        })
        .await
    }

    /// Begins an attempt to sign in and counts it as failed before the password is looked at, so that attempts side by side
    /// cannot check more passwords than `rule` allows, nor can a crash forget one. [`Self::insert_session`] takes it back. Comes with
    /// the address that the attempt came from.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn begin_attempt(&self, (name, from): (&str, Option<IpAddr>), rule: LockRule, now: Timestamp) -> Result<Attempt, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let known = tx
                .prepare_cached("SELECT failed_sign_ins, locked_until, password_hash, must_change_password FROM user WHERE name = ?1")?
                .query_row([&name], |row| {
                    Ok((failures(row)?, Credentials { password_hash: row.get(2)?, must_change_password: row.get(3)? }))
                })
                .optional()?;
            let Some((before, credentials)) = known else { return unknown_sign_ins::begin(tx, (&name, from), rule, now) };
            let after = match before.and_one_more(rule, now) {
                Ok(after) => after,
                Err(until) => return Ok(Attempt::Locked { until }),
            };
            tx.execute(
                "UPDATE user SET failed_sign_ins = ?2, locked_until = ?3 WHERE name = ?1",
                params![name, after.count, after.locked_until.map(Timestamp::as_nanos)],
            )?;
            Ok(Attempt::Check(Some(credentials)))
        })
        .await
    }

    /// Replaces a user's password, if `old_hash` is still the one in force, and ends all of the user's sessions; in the tenant's audit
    /// as done by `by`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the password was changed meanwhile or the user is gone.
    pub async fn replace_password(
        &self,
        name: &str,
        (old_hash, new_hash): (String, String),
        (by, now): (By, Timestamp),
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let sql =
                "UPDATE user SET password_hash = ?3, must_change_password = 0 WHERE name = ?1 AND password_hash = ?2 RETURNING tenant";
            let of = tx.query_row(sql, params![name, old_hash, new_hash], |row| Ok(tenant(row, 0))).optional()?;
            let of = of.ok_or_else(|| StoreError::Conflict("the password was changed meanwhile".into()))??;
            tx.execute("DELETE FROM session WHERE user = ?1", [&name])?;
            audit_outbox::put(tx, &of, &Deed::done(by, What::PasswordChanged, format!("user {name}"), now))
        })
        .await
    }
}

/// The sign-ins that failed in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) locked_until: Option<Timestamp>,
}

impl Failures {
    /// Counts one more, or says until when none is taken.
    pub(super) fn and_one_more(self, rule: LockRule, now: Timestamp) -> Result<Self, Timestamp> {
        if let Some(until) = self.locked_until.filter(|until| *until > now) {
            return Err(until);
        }
        let before = if self.locked_until.is_some() { 0 } else { self.count }; // a lock that ended starts a new count
        let count = before.saturating_add(1);
        Ok(Self { count, locked_until: (count >= rule.failures).then(|| now.saturating_add(rule.lock)) })
    }
}

pub(super) fn failures(row: &Row<'_>) -> rusqlite::Result<Failures> {
    Ok(Failures { count: row.get(0)?, locked_until: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_nanos) })
}

fn user_view(row: &Row<'_>) -> Result<UserView, StoreError> {
    Ok(UserView {
        name: row.get(0)?,
        tenant: tenant(row, 1)?,
        role: role(row, 2)?,
        must_change_password: row.get(3)?,
        locked_until: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_nanos),
        created_at: Timestamp::from_nanos(row.get(5)?),
    })
}

/// Reads the tenant in column `at`.
pub(super) fn tenant(row: &Row<'_>, at: usize) -> Result<TenantId, StoreError> {
    TenantId::new(row.get::<_, String>(at)?).map_err(|_| StoreError::Corrupt("tenant identifier"))
}

/// Reads the role in column `at`.
pub(super) fn role(row: &Row<'_>, at: usize) -> Result<Role, StoreError> {
    Role::from_name(&row.get::<_, String>(at)?).ok_or_else(|| StoreError::Corrupt("role"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_locks_and_a_lock_that_ended_starts_a_new_count() {
        let rule = LockRule { failures: 5, lock: Duration::from_secs(900), unknown_names: 10 };
        let now = Timestamp::from_secs(1_000);
        let mut failures = Failures { count: 0, locked_until: None };
        for count in 1..=5 {
            failures = failures.and_one_more(rule, now).unwrap();
            assert_eq!((failures.count, failures.locked_until.is_some()), (count, count == 5));
        }
        assert_eq!(failures.and_one_more(rule, Timestamp::from_secs(1_899)), Err(Timestamp::from_secs(1_900)));
        assert_eq!(failures.and_one_more(rule, Timestamp::from_secs(1_900)), Ok(Failures { count: 1, locked_until: None }));
    }

    #[tokio::test]
    async fn failures_under_ever_new_names_do_not_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let stores = crate::store::Stores::open(folder.path()).unwrap();
        let (system, now) = (stores.system(), Timestamp::from_secs(1_000));
        let rule = LockRule { failures: 2, lock: Duration::from_secs(900), unknown_names: 3 };
        for name in 0..10 {
            system.begin_attempt((&format!("nobody-{name}"), None), rule, now).await.unwrap();
        }
        let rows: u32 = system.read(|db| Ok(db.query_row("SELECT count(*) FROM unknown_sign_in", [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(rows, 3);
        // The newest are still remembered.
        system.begin_attempt(("nobody-9", None), rule, now).await.unwrap();
        assert!(matches!(system.begin_attempt(("nobody-9", None), rule, now).await.unwrap(), Attempt::Locked { .. }));
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_found_without_a_look_at_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let stores = crate::store::Stores::open(folder.path()).unwrap();
        let plan = stores.system().read(|db| {
            let sql = "EXPLAIN QUERY PLAN DELETE FROM unknown_sign_in WHERE last_at < 0";
            Ok(db.query_row(sql, [], |row| row.get::<_, String>("detail"))?)
        });
        let plan = plan.await.unwrap();
        assert!(plan.starts_with("SEARCH"), "{plan}");
    }
}
