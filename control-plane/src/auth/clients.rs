//! API clients: making one, and giving it an access token for its secret (OAuth2 client credentials, RFC 6749 §4.4).

use std::time::Duration;

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;

use super::Role;
use super::secret;
use crate::app::App;
use crate::random::{self, Unavailable};
use crate::store::audit::By;
use crate::store::clients::ClientView;
use crate::store::{StoreError, SystemStore};

/// How long an access token is good.
pub const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// A new client's credentials. Holds a secret: no `Debug`.
#[derive(Clone)]
pub struct NewClient {
    /// The client identifier.
    pub id: String,
    /// The client secret, which is shown only now.
    pub secret: String,
}

/// Why a client or a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such client, it was revoked, or the secret is wrong.
    #[error("unknown client or wrong secret")]
    Credentials,
    /// There was nothing to make a secret from.
    #[error("cannot make a secret")]
    Random(#[from] Unavailable),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes an API client; in the audit as done at the command line, the only place where clients are made.
///
/// # Errors
/// [`ClientError::Store`] if there is no such tenant.
pub async fn create_client(system: &SystemStore, tenant: &TenantId, role: Role, now: Timestamp) -> Result<NewClient, ClientError> {
    let id = format!("client-{}", random::hex::<8>()?);
    let secret = format!("postern_cs_{}", secret::fresh()?); // a fixed beginning lets scanners of leaked secrets find it
    let view = ClientView { id: id.clone(), tenant: tenant.clone(), role, created_at: now, revoked_at: None };
    system.insert_client(view, secret::sha256(&[secret.as_bytes()]), By::command_line()).await?;
    Ok(NewClient { id, secret })
}

/// Gives a client an access token that is good for [`TOKEN_LIFE`].
///
/// # Errors
/// [`ClientError::Credentials`] if identifier or secret are wrong.
pub async fn issue_token(app: &App, client: &str, client_secret: &str) -> Result<String, ClientError> {
    let system = app.stores.system();
    let stored = system.client_secret_sha256(client).await?.ok_or(ClientError::Credentials)?;
    if !secret::equal(&stored, &secret::sha256(&[client_secret.as_bytes()])) {
        return Err(ClientError::Credentials);
    }
    let token = format!("postern_at_{}", secret::fresh()?);
    let now = app.now();
    system.insert_access_token(client, token_hash(&token), now.saturating_add(TOKEN_LIFE), now).await?;
    Ok(token)
}

/// The hash under which an access token is stored.
pub(super) fn token_hash(token: &str) -> Vec<u8> {
    secret::sha256(&[b"access token", token.as_bytes()])
}
