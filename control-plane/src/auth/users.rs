//! Making users. The first password is random, shown once, and must be changed at the first sign-in.

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;

use super::Role;
use super::password::{self, PasswordError, Passwords};
use crate::random::Unavailable;
use crate::store::audit::By;
use crate::store::users::NewUser;
use crate::store::{StoreError, SystemStore};

/// Why a user could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    /// The name is not one.
    #[error("a user name is 1 to 64 of the characters a-z, 0-9, '.', '_', '-' and '@'")]
    Name,
    /// The password could not be hashed.
    #[error("cannot make a first password")]
    Password(#[from] PasswordError),
    /// There was nothing to make a password from.
    #[error("cannot make a first password")]
    Random(#[from] Unavailable),
    /// The store refused: the name is taken, or there is no such tenant.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a user and returns the first password; in the audit as done at the command line, the only place where users are made.
///
/// # Errors
/// [`CreateUserError`] says why not.
pub async fn create_user(
    system: &SystemStore,
    name: &str,
    tenant: &TenantId,
    role: Role,
    now: Timestamp,
) -> Result<String, CreateUserError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'@');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err(CreateUserError::Name);
    }
    let first = password::first()?;
    let password_hash = Passwords::new().hash(&first).await?;
    system.insert_user(NewUser { name: name.to_owned(), tenant: tenant.clone(), role, password_hash }, (By::command_line(), now)).await?;
    Ok(first)
}
