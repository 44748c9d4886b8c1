//! Users in the system database: their hashes, roles and failed sign-ins. Knows no password and no clock.

use std::time::Duration;

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::{StoreError, SystemStore};
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
}

/// What an attempt to sign in meets.
pub enum Attempt {
    /// The password may be checked; the attempt already counts as failed.
    Check {
        /// The hash to check it against.
        password_hash: String,
        /// Whether the user must change it.
        must_change_password: bool,
    },
    /// No password is checked.
    Locked {
        /// Until then.
        until: Timestamp,
    },
    /// There is no such user.
    Unknown,
}

impl SystemStore {
    /// Adds a user.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken, [`StoreError::NotFound`] if the tenant does not exist.
    pub async fn insert_user(&self, user: NewUser, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            let tenant = tx.query_row("SELECT 1 FROM tenant WHERE id = ?1", [user.tenant.as_str()], |_| Ok(())).optional()?;
            tenant.ok_or(StoreError::NotFound)?;
            let added = tx.execute(
                "INSERT INTO user (name, tenant, role, password_hash, must_change_password, created_at)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5) ON CONFLICT (name) DO NOTHING",
                params![user.name, user.tenant.as_str(), user.role.name(), user.password_hash, now.as_nanos()],
            )?;
            if added == 0 { Err(StoreError::Conflict(format!("there is a user {:?} already", user.name))) } else { Ok(()) }
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

    /// Forgets a user's failed sign-ins.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such user.
    pub async fn unlock_user(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let changed = tx.execute("UPDATE user SET failed_sign_ins = 0, locked_until = NULL WHERE name = ?1", [&name])?;
            if changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
        })
        .await
    }

    /// Begins an attempt to sign in and counts it as failed before the password is looked at, so that attempts side by side
    /// cannot check more passwords than `rule` allows, nor can a crash forget one. [`Self::insert_session`] takes it back.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn begin_attempt(&self, name: &str, rule: LockRule, now: Timestamp) -> Result<Attempt, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let row = tx
                .prepare_cached("SELECT password_hash, must_change_password, failed_sign_ins, locked_until FROM user WHERE name = ?1")?
                .query_row([&name], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, u32>(2)?, row.get::<_, Option<i64>>(3)?))
                })
                .optional()?;
            let Some((password_hash, must_change_password, failed, locked_until)) = row else {
                return Ok(Attempt::Unknown);
            };
            let locked_until = locked_until.map(Timestamp::from_nanos);
            if let Some(until) = locked_until.filter(|until| *until > now) {
                return Ok(Attempt::Locked { until });
            }
            let before = if locked_until.is_some() { 0 } else { failed }; // a lock that ended starts a new count
            let failed = before.saturating_add(1);
            let lock = (failed >= rule.failures).then(|| now.saturating_add(rule.lock).as_nanos());
            tx.execute("UPDATE user SET failed_sign_ins = ?2, locked_until = ?3 WHERE name = ?1", params![name, failed, lock])?;
            Ok(Attempt::Check { password_hash, must_change_password })
        })
        .await
    }

    /// Replaces a user's password, if `old_hash` is still the one in force, and ends all of the user's sessions.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the password was changed meanwhile or the user is gone.
    pub async fn replace_password(&self, name: &str, old_hash: String, new_hash: String) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let changed = tx.execute(
                "UPDATE user SET password_hash = ?3, must_change_password = 0 WHERE name = ?1 AND password_hash = ?2",
                params![name, old_hash, new_hash],
            )?;
            if changed == 0 {
                return Err(StoreError::Conflict("the password was changed meanwhile".into()));
            }
            tx.execute("DELETE FROM session WHERE user = ?1", [&name])?;
            Ok(())
        })
        .await
    }
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
