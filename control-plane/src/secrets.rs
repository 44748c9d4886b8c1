//! Secrets of the site's devices, as far as the control plane knows them: it stores what a browser or the command line sealed to a
//! gateway's key, signs the set, and cannot open any of it. There is no way in for a secret that is not sealed.

use postern_protocol::id::GatewayId;
use postern_protocol::secret::{self, MAX_SEALED_BYTES, MAX_SECRETS, Sealed};
use postern_protocol::status::Status;
use postern_protocol::status::intake::SecretVersion;
use serde::Serialize;

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::beside::tell;
use crate::sealing;
use crate::store::audit::By;
use crate::store::idempotency::{Answer, OnceKey};
use crate::store::secrets::{NewSecret, SHA256_BYTES, SealingKey, SecretPut, SecretRecord};
use crate::store::{StoreError, TenantStore};

/// A secret that somebody sealed.
pub struct SealedInput {
    /// Its name.
    pub name: String,
    /// The version that the seal covers.
    pub version: u32,
    /// The sealed content.
    pub sealed: Vec<u8>,
    /// SHA-256 of the key that it was sealed to.
    pub sealed_to: [u8; SHA256_BYTES],
    /// Under which key the answer is kept.
    pub once: Option<OnceKey>,
}

/// A secret that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is.
    Done(SecretRecord),
    /// The answer that was given before.
    Repeated(Answer),
}

/// Why a secret was not stored, or not deleted.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The seal is for another key.
    #[error("the gateway's sealing key is another one by now: read it again, compare its fingerprint, and seal to it")]
    KeyChanged,
    /// The idempotency key was used before.
    #[error("this Idempotency-Key was used for another request; choose a new one")]
    KeyMisused,
    /// It is no name.
    #[error("a name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")]
    Name,
    /// The gateway has said no key yet.
    #[error("the gateway has not told its sealing key yet: it does when it connects")]
    NoKey,
    /// The principal's tenant has no such gateway or secret.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is not a sealed secret for a key of this size.
    #[error("this is not a sealed secret; nothing else is taken: seal it in the console or with postern-control secret seal")]
    NotSealed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is too long.
    #[error("a sealed secret has at most {MAX_SEALED_BYTES} bytes")]
    TooLong,
    /// There are too many.
    #[error("a gateway has at most {MAX_SECRETS} secrets")]
    TooMany,
    /// The seal is for another version.
    #[error("the next version of this secret is {next}: seal it for that one, because the seal covers the version")]
    Version {
        /// The next version.
        next: u32,
    },
}

/// How a secret stands in its gateway's vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// The vault has it.
    InUse,
    /// The vault cannot open it.
    Problem,
    /// It is sealed to a key that the gateway no longer has.
    SealAgain,
    /// The gateway has not taken it in.
    Waiting,
}

/// A secret with its state; never its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretView {
    /// What is stored.
    #[serde(flatten)]
    pub record: SecretRecord,
    /// How it stands in the vault.
    pub state: SecretState,
    /// Why it cannot be used; empty when it can.
    pub problem: String,
}

/// Lists a gateway's secrets with their states; `status` is its last report.
///
/// # Errors
/// [`StoreError`] from the database.
pub async fn list(store: &TenantStore, gateway: &GatewayId, status: Option<&Status>) -> Result<Vec<SecretView>, StoreError> {
    let key = store.sealing_key(gateway).await?;
    let records = store.secrets(gateway).await?;
    let held = status.map_or(&[][..], |status| &status.intake.secrets);
    Ok(records.into_iter().map(|record| view(record, key.as_ref(), held)).collect())
}

fn view(record: SecretRecord, key: Option<&SealingKey>, held: &[SecretVersion]) -> SecretView {
    let held = held.iter().find(|held| held.name == record.name && held.version == record.version);
    let usable = held.is_some_and(|held| held.problem.is_empty());
    let (state, problem) = match (key, held) {
        // What the vault has opened once stays in use, whatever its key is by now.
        _ if usable => (SecretState::InUse, String::new()),
        (Some(key), _) if key.sha256 != record.sealed_to => {
            (SecretState::SealAgain, "the gateway has another sealing key since: seal it again".to_owned())
        }
        (_, Some(held)) => (SecretState::Problem, held.problem.clone()),
        (_, None) => (SecretState::Waiting, String::new()),
    };
    SecretView { record, state, problem }
}

/// Stores a sealed secret and sends the set to the gateway.
///
/// # Errors
/// [`SecretError`] says why it was not stored.
pub async fn put(app: &App, principal: &Principal, gateway: &GatewayId, input: SealedInput) -> Result<Stored, SecretError> {
    let store = open(app, principal, gateway).await?;
    check(&store, gateway, &input).await?;
    let SealedInput { name, version, sealed, sealed_to, once } = input;
    let (secret, by) = (name.clone(), By::from(principal));
    let new = NewSecret { gateway: gateway.clone(), name, version, sealed, sealed_to, by, at: app.now(), once };
    let stored = outcome(store.put_secret(new).await?)?;
    tell(app, &principal.tenant, gateway);
    tracing::info!(%gateway, secret, version, by = %principal.actor, "sealed secret stored");
    Ok(stored)
}

/// Says what the store's answer means.
///
/// # Errors
/// [`SecretError`] when nothing was stored.
pub fn outcome(put: SecretPut) -> Result<Stored, SecretError> {
    match put {
        SecretPut::Done(record) => Ok(Stored::Done(record)),
        SecretPut::KeyChanged => Err(SecretError::KeyChanged),
        SecretPut::KeyMisused => Err(SecretError::KeyMisused),
        SecretPut::Repeated(answer) => Ok(Stored::Repeated(answer)),
        SecretPut::TooMany => Err(SecretError::TooMany),
        SecretPut::Version { next } => Err(SecretError::Version { next }),
    }
}

/// Checks that it is a sealed secret, and for the gateway's present key.
async fn check(store: &TenantStore, gateway: &GatewayId, input: &SealedInput) -> Result<(), SecretError> {
    if !secret::is_name(&input.name) {
        return Err(SecretError::Name);
    }
    if input.sealed.len() > MAX_SEALED_BYTES {
        return Err(SecretError::TooLong);
    }
    let key = store.sealing_key(gateway).await?.ok_or(SecretError::NoKey)?;
    let sealed = Sealed::parse(&input.sealed).ok_or(SecretError::NotSealed)?;
    if key.sha256 != input.sealed_to {
        return Err(SecretError::KeyChanged);
    }
    let wrapped = sealing::wrapped_key_bytes(&key.spki).map_err(|_| SecretError::NoKey)?;
    // Fewer than 17 bytes would be a tag without a content.
    if sealed.wrapped_key.len() != wrapped || sealed.content.len() < 17 { Err(SecretError::NotSealed) } else { Ok(()) }
}

/// Deletes a secret; its gateway forgets it.
///
/// # Errors
/// [`SecretError`].
pub async fn delete(app: &App, principal: &Principal, gateway: &GatewayId, name: &str) -> Result<(), SecretError> {
    let store = open(app, principal, gateway).await?;
    store.delete_secret(gateway, name, (By::from(principal), app.now())).await.map_err(|error| match error {
        StoreError::NotFound => SecretError::NotFound("secret"),
        error => error.into(),
    })?;
    tell(app, &principal.tenant, gateway);
    tracing::info!(%gateway, secret = name, by = %principal.actor, "secret deleted");
    Ok(())
}

/// Opens the store of the principal, who may configure this gateway.
async fn open(app: &App, principal: &Principal, gateway: &GatewayId) -> Result<TenantStore, SecretError> {
    principal.require(Permission::Configure)?;
    let record = app.stores.system().find_gateway(gateway).await?.filter(|record| record.tenant == principal.tenant);
    if record.ok_or(SecretError::NotFound("gateway"))?.revoked_at.is_some() {
        return Err(StoreError::Conflict("the gateway is revoked".to_owned()).into());
    }
    Ok(app.stores.tenant(&principal.tenant)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::timestamp::Timestamp;

    fn record() -> SecretRecord {
        let created_by = "anna".to_owned();
        SecretRecord { name: "a".to_owned(), version: 2, created_at: Timestamp::from_secs(1), created_by, sealed_to: [1; 32] }
    }

    fn state(key: [u8; 32], held: Option<(u32, &str)>) -> SecretState {
        let key = SealingKey { spki: Vec::new(), sha256: key, seen_at: Timestamp::from_secs(1), previous: None };
        let held = held.map(|(version, problem)| SecretVersion { name: "a".to_owned(), version, problem: problem.to_owned() });
        view(record(), Some(&key), held.as_slice()).state
    }

    #[test]
    fn a_secret_waits_until_its_gateway_reports_that_version() {
        assert_eq!(state([1; 32], None), SecretState::Waiting);
        assert_eq!(state([1; 32], Some((1, ""))), SecretState::Waiting);
        assert_eq!(state([1; 32], Some((2, ""))), SecretState::InUse);
        assert_eq!(state([1; 32], Some((2, "damaged"))), SecretState::Problem);
    }

    #[test]
    fn a_secret_for_an_old_key_is_to_be_sealed_again_unless_it_was_opened_in_time() {
        assert_eq!(state([2; 32], None), SecretState::SealAgain);
        assert_eq!(state([2; 32], Some((2, "sealed to another key"))), SecretState::SealAgain);
        assert_eq!(state([2; 32], Some((2, ""))), SecretState::InUse);
    }
}
