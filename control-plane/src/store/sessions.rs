//! Console sessions in the system database, by the hash of their cookie.

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::audit::{By, Deed, What};
use super::users::{role, tenant};
use super::{StoreError, SystemStore, audit_outbox};
use crate::auth::Role;

/// A session and its user. Holds the CSRF token: no `Debug`.
#[derive(Clone)]
pub struct SessionRow {
    /// The user's name.
    pub user: String,
    /// The user's tenant, as of now.
    pub tenant: TenantId,
    /// The user's role, as of now.
    pub role: Role,
    /// Whether the user must change the password before anything else.
    pub must_change_password: bool,
    /// What every form of the session carries.
    pub csrf: String,
    /// When it was last used, give or take a minute.
    pub last_used_at: Timestamp,
    /// When it ends however much it is used.
    pub expires_at: Timestamp,
}

/// A session to be begun. Holds the CSRF token: no `Debug`.
#[derive(Clone)]
pub struct NewSessionRow {
    /// Hash of the cookie's value.
    pub token_sha256: Vec<u8>,
    /// The user's name.
    pub user: String,
    /// The hash that the user's password was checked against.
    pub password_hash: String,
    /// What every form of the session carries.
    pub csrf: String,
    /// When it ends however much it is used.
    pub expires_at: Timestamp,
    /// Who signed in, from where; `None` when the session takes the place of others.
    pub signed_in: Option<By>,
}

impl SystemStore {
    /// Forgets sessions, access tokens and sign-ins of unknown names that are over: nobody may come again who would have it done.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn forget_ended(&self, now: Timestamp) -> Result<(), StoreError> {
        let day_ago = now.as_nanos().saturating_sub(24 * 60 * 60 * 1_000_000_000);
        self.write(move |tx| {
            tx.execute("DELETE FROM session WHERE expires_at <= ?1", [now.as_nanos()])?;
            tx.execute("DELETE FROM access_token WHERE expires_at <= ?1", [now.as_nanos()])?;
            tx.execute("DELETE FROM unknown_sign_in WHERE last_at < ?1", [day_ago])?;
            Ok(())
        })
        .await
    }

    /// Begins a session after a sign-in that succeeded: no failure counts any more. Forgets sessions that are over. A sign-in, unlike a
    /// session after a change of the password, is in the audit of the user's tenant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the password was changed since it was checked, or the user is gone.
    pub async fn insert_session(&self, session: NewSessionRow, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE user SET failed_sign_ins = 0, locked_until = NULL WHERE name = ?1 AND password_hash = ?2 RETURNING tenant";
            let of = tx.query_row(sql, params![session.user, session.password_hash], |row| Ok(tenant(row, 0))).optional()?;
            let of = of.ok_or_else(|| StoreError::Conflict("the password was changed meanwhile".into()))??;
            if let Some(by) = session.signed_in {
                audit_outbox::put(tx, &of, &Deed::done(by, What::SignIn, format!("user {}", session.user), now))?;
            }
            tx.execute("DELETE FROM session WHERE expires_at <= ?1", [now.as_nanos()])?;
            tx.execute(
                "INSERT INTO session (token_sha256, user, csrf, created_at, last_used_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
                params![session.token_sha256, session.user, session.csrf, now.as_nanos(), session.expires_at.as_nanos()],
            )?;
            Ok(())
        })
        .await
    }

    /// Finds a session; whether it is still good is for the caller to judge.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_session(&self, token_sha256: Vec<u8>) -> Result<Option<SessionRow>, StoreError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT u.name, u.tenant, u.role, u.must_change_password, s.csrf, s.last_used_at, s.expires_at
                 FROM session s JOIN user u ON u.name = s.user WHERE s.token_sha256 = ?1",
            )?;
            let mut rows = query.query([token_sha256])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some(SessionRow {
                user: row.get(0)?,
                tenant: tenant(row, 1)?,
                role: role(row, 2)?,
                must_change_password: row.get(3)?,
                csrf: row.get(4)?,
                last_used_at: Timestamp::from_nanos(row.get(5)?),
                expires_at: Timestamp::from_nanos(row.get(6)?),
            }))
        })
        .await
    }

    /// Notes that a session was used.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn touch_session(&self, token_sha256: Vec<u8>, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.execute("UPDATE session SET last_used_at = ?2 WHERE token_sha256 = ?1", params![token_sha256, now.as_nanos()])?;
            Ok(())
        })
        .await
    }

    /// Ends a session, if it is there; in the audit of the user's tenant as done by `by`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn delete_session(&self, token_sha256: Vec<u8>, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "SELECT u.name, u.tenant FROM session s JOIN user u ON u.name = s.user WHERE s.token_sha256 = ?1";
            let of = tx.query_row(sql, [&token_sha256], |row| Ok((row.get::<_, String>(0)?, tenant(row, 1)))).optional()?;
            let Some((user, of)) = of else { return Ok(()) };
            tx.execute("DELETE FROM session WHERE token_sha256 = ?1", [token_sha256])?;
            audit_outbox::put(tx, &of?, &Deed::done(by, What::SignOut, format!("user {user}"), now))
        })
        .await
    }

    /// Returns the hash of a user's password.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn password_hash(&self, user: &str) -> Result<Option<String>, StoreError> {
        let user = user.to_owned();
        self.read(move |db| Ok(db.query_row("SELECT password_hash FROM user WHERE name = ?1", [user], |row| row.get(0)).optional()?)).await
    }
}
