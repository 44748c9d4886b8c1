//! People's sign-in: password to session, change of password, sign-out. The console calls it; cookies are made here.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use postern_protocol::timestamp::Timestamp;

use super::console::ConsolePrincipal;
use super::password::{self, PasswordError, Unfit};
use super::secret;
use crate::app::App;
use crate::random::Unavailable;
use crate::store::StoreError;
use crate::store::audit::{By, Deed, Outcome, What};
use crate::store::sessions::NewSessionRow;
use crate::store::users::{Attempt, Credentials, LockRule};

/// The session cookie. The prefix makes browsers take it only with `Secure`, `Path=/` and no `Domain` (RFC 6265bis §4.1.3.2).
pub(super) const COOKIE: &str = "__Host-postern";

/// How long a session lives unused.
pub const IDLE: Duration = Duration::from_secs(30 * 60);

/// How long a session lives at all.
pub const LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// Five failures lock for 15 minutes. To push a name out of the memory of unknown ones takes longer than its lock.
pub const LOCK: LockRule = LockRule { failures: 5, lock: Duration::from_secs(15 * 60), unknown_names: 100_000 };

/// A session that has begun. Holds its secret: no `Debug`.
pub struct NewSession {
    /// Value for `Set-Cookie`.
    pub set_cookie: HeaderValue,
    /// Whether the password must be changed before anything else.
    pub must_change_password: bool,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Too many attempts are under way.
    #[error("too many people sign in at this moment")]
    Busy,
    /// Something failed that is not the person's fault.
    #[error("sign-in failed")]
    Internal(#[from] InternalError),
    /// Too many attempts failed.
    #[error("too many failed attempts; the account is locked")]
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// Name or password are wrong; which, is not said.
    #[error("the user name or the password is wrong")]
    Wrong,
}

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// Too many attempts are under way.
    #[error("too many people sign in at this moment")]
    Busy,
    /// Something failed that is not the person's fault.
    #[error("the change of the password failed")]
    Internal(#[from] InternalError),
    /// Too many attempts failed.
    #[error("too many failed attempts; the account is locked")]
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// The new password may not be chosen.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The current password is wrong.
    #[error("the current password is wrong")]
    Wrong,
}

/// A fault below the sign-in.
#[derive(Debug, thiserror::Error)]
pub enum InternalError {
    /// Of the password hash.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Of the random source.
    #[error(transparent)]
    Random(#[from] Unavailable),
    /// Of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Begins a session for a name and a password.
///
/// # Errors
/// [`SignInError`] says why not.
pub async fn sign_in(app: &App, name: &str, password: &str, from: Option<IpAddr>) -> Result<NewSession, SignInError> {
    let by = By { who: name.to_owned(), from };
    let result = try_sign_in(app, password, &by).await;
    let outcome = match &result {
        Err(refused @ (SignInError::Locked { .. } | SignInError::Wrong)) => Outcome::Refused(refused.to_string()),
        // What was done is noted with it.
        Ok(_) | Err(SignInError::Busy | SignInError::Internal(_)) => return result,
    };
    note(app, name, Deed { outcome, ..Deed::done(by, What::SignIn, format!("user {name}"), app.now()) }).await?;
    result
}

/// Writes down an attempt that came to nothing in the audit of the account's tenant. Those under names that nobody has are counted with
/// the attempt: anybody could fill the audit.
async fn note(app: &App, name: &str, deed: Deed) -> Result<(), InternalError> {
    if let Some(tenant) = app.stores.system().tenant_of_user(name).await? {
        app.stores.tenant(&tenant)?.note(deed).await?;
    }
    Ok(())
}

async fn try_sign_in(app: &App, password: &str, by: &By) -> Result<NewSession, SignInError> {
    let name = by.who.as_str();
    let (password_hash, must_change_password) = match attempt(app, (name, by.from), password).await? {
        Tried::Busy => return Err(SignInError::Busy),
        Tried::Fits { password_hash, must_change_password } => (password_hash, must_change_password),
        Tried::Locked { until } => return Err(SignInError::Locked { until }),
        Tried::Wrong => return Err(SignInError::Wrong),
    };
    match begin_session(app, name, password_hash, Some(by.clone())).await {
        Ok(set_cookie) => Ok(NewSession { set_cookie, must_change_password }),
        Err(InternalError::Store(StoreError::Conflict(_))) => Err(SignInError::Wrong), // the password was changed just now
        Err(error) => Err(error.into()),
    }
}

/// Changes the password of the person who is signed in, ends all of the person's sessions and begins a new one.
///
/// # Errors
/// [`ChangePasswordError`] says why not.
pub async fn change_password(app: &App, session: &ConsolePrincipal, current: &str, new: &str) -> Result<NewSession, ChangePasswordError> {
    password::check(new, &session.user, Some(current))?;
    let old_hash = match attempt(app, (&session.user, session.principal.from), current).await? {
        Tried::Busy => return Err(ChangePasswordError::Busy),
        Tried::Fits { password_hash, .. } => password_hash,
        Tried::Locked { until } => return Err(ChangePasswordError::Locked { until }),
        Tried::Wrong => return Err(ChangePasswordError::Wrong),
    };
    let new_hash = app.passwords.hash(new).await.map_err(InternalError::from)?;
    let done = (By::from(&session.principal), app.now());
    match app.stores.system().replace_password(&session.user, (old_hash, new_hash.clone()), done).await {
        Ok(()) => {}
        Err(StoreError::Conflict(_)) => return Err(ChangePasswordError::Wrong),
        Err(error) => return Err(InternalError::from(error).into()),
    }
    let set_cookie = begin_session(app, &session.user, new_hash, None).await?;
    Ok(NewSession { set_cookie, must_change_password: false })
}

/// Ends the session and returns a value for `Set-Cookie` that makes the browser forget it.
///
/// # Errors
/// [`StoreError`] when the database fails; the session then still lives.
pub async fn sign_out(app: &App, session: &ConsolePrincipal) -> Result<HeaderValue, StoreError> {
    let done = (By::from(&session.principal), app.now());
    app.stores.system().delete_session(session.token_sha256.clone(), done).await?;
    app.stores.deliver_notes(&session.principal.tenant).await?;
    Ok(HeaderValue::from_static("__Host-postern=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"))
}

enum Tried {
    Busy,
    Fits { password_hash: String, must_change_password: bool },
    Locked { until: Timestamp },
    Wrong,
}

async fn attempt(app: &App, who: (&str, Option<IpAddr>), password: &str) -> Result<Tried, InternalError> {
    if password.len() > password::MAX_BYTES {
        return Ok(Tried::Wrong);
    }
    // Before the attempt is counted: one that is not looked at must not lock anybody out.
    let Some(_under_way) = app.passwords.begin() else { return Ok(Tried::Busy) };
    match app.stores.system().begin_attempt(who, LOCK, app.now()).await? {
        Attempt::Check(Some(Credentials { password_hash, must_change_password })) => {
            let fits = app.passwords.fits(password, Some(password_hash.clone())).await?;
            Ok(if fits { Tried::Fits { password_hash, must_change_password } } else { Tried::Wrong })
        }
        Attempt::Check(None) => {
            app.passwords.fits(password, None).await?;
            Ok(Tried::Wrong)
        }
        Attempt::Locked { until } => Ok(Tried::Locked { until }),
    }
}

async fn begin_session(app: &App, user: &str, password_hash: String, signed_in: Option<By>) -> Result<HeaderValue, InternalError> {
    let (token, csrf, now) = (secret::fresh()?, secret::fresh()?, app.now());
    let expires_at = now.saturating_add(LIFE);
    let row = NewSessionRow { token_sha256: cookie_hash(&token), user: user.to_owned(), password_hash, csrf, expires_at, signed_in };
    app.stores.system().insert_session(row, now).await?;
    if let Some(tenant) = app.stores.system().tenant_of_user(user).await? {
        app.stores.deliver_notes(&tenant).await?;
    }
    let cookie = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::try_from(cookie).map_err(|_| StoreError::Corrupt("session token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The hash under which a session's cookie is stored.
pub(super) fn cookie_hash(token: &str) -> Vec<u8> {
    secret::sha256(&[b"session", token.as_bytes()])
}
