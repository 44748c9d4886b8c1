//! API clients and their access tokens in the system database, by the hashes of their secrets.

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::audit::{By, Deed, What};
use super::users::{role, tenant};
use super::{StoreError, SystemStore, audit_outbox};
use crate::auth::Role;
use crate::rfc3339;

/// An API client, as lists show one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientView {
    /// The client identifier.
    pub id: String,
    /// Whose data it sees.
    pub tenant: TenantId,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub created_at: Timestamp,
    /// When it was revoked.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub revoked_at: Option<Timestamp>,
}

/// Whom an access token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The client it was given to.
    pub client: String,
    /// The client's tenant.
    pub tenant: TenantId,
    /// The client's role.
    pub role: Role,
    /// When the token ends.
    pub expires_at: Timestamp,
}

impl SystemStore {
    /// Adds an API client; in the tenant's audit as made by `by`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the tenant does not exist.
    pub async fn insert_client(&self, client: ClientView, secret_sha256: Vec<u8>, by: By) -> Result<(), StoreError> {
        self.write(move |tx| {
            let added = tx.execute(
                "INSERT INTO api_client (id, tenant, role, secret_sha256, created_at)
                 SELECT ?1, id, ?3, ?4, ?5 FROM tenant WHERE id = ?2",
                params![client.id, client.tenant.as_str(), client.role.name(), secret_sha256, client.created_at.as_nanos()],
            )?;
            if added == 0 {
                return Err(StoreError::NotFound);
            }
            let about = format!("client {}, {}", client.id, client.role);
            audit_outbox::put(tx, &client.tenant, &Deed::done(by, What::ClientMade, about, client.created_at))
        })
        .await
    }

    /// Lists a tenant's API clients, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn list_clients(&self, of: &TenantId) -> Result<Vec<ClientView>, StoreError> {
        let of = of.clone();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT id, tenant, role, created_at, revoked_at FROM api_client WHERE tenant = ?1 ORDER BY created_at, id",
            )?;
            let mut rows = query.query([of.as_str()])?;
            let mut clients = Vec::new();
            while let Some(row) = rows.next()? {
                clients.push(ClientView {
                    id: row.get(0)?,
                    tenant: tenant(row, 1)?,
                    role: role(row, 2)?,
                    created_at: Timestamp::from_nanos(row.get(3)?),
                    revoked_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_nanos),
                });
            }
            Ok(clients)
        })
        .await
    }

    /// Revokes an API client and all its access tokens; in the tenant's audit as done by `by`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the tenant has no such client that is in force.
    pub async fn revoke_client(&self, of: &TenantId, id: &str, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        let (of, id) = (of.clone(), id.to_owned());
        self.write(move |tx| {
            let changed = tx.execute(
                "UPDATE api_client SET revoked_at = ?3 WHERE id = ?1 AND tenant = ?2 AND revoked_at IS NULL",
                params![id, of.as_str(), now.as_nanos()],
            )?;
            if changed == 0 {
                return Err(StoreError::NotFound);
            }
            tx.execute("DELETE FROM access_token WHERE client = ?1", [&id])?;
            audit_outbox::put(tx, &of, &Deed::done(by, What::ClientRevoked, format!("client {id}"), now))
        })
        .await
    }

    /// Returns the hash of the secret of an API client that is in force.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn client_secret_sha256(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached("SELECT secret_sha256 FROM api_client WHERE id = ?1 AND revoked_at IS NULL")?;
            let mut rows = query.query([id])?;
            Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
        })
        .await
    }

    /// Adds an access token, and forgets those that are over.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the client was revoked meanwhile.
    pub async fn insert_access_token(
        &self,
        client: &str,
        token_sha256: Vec<u8>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let client = client.to_owned();
        self.write(move |tx| {
            tx.execute("DELETE FROM access_token WHERE expires_at <= ?1", [now.as_nanos()])?;
            let added = tx.execute(
                "INSERT INTO access_token (token_sha256, client, expires_at)
                 SELECT ?1, id, ?3 FROM api_client WHERE id = ?2 AND revoked_at IS NULL",
                params![token_sha256, client, expires_at.as_nanos()],
            )?;
            if added == 0 { Err(StoreError::NotFound) } else { Ok(()) }
        })
        .await
    }

    /// Finds whom an access token speaks for, unless it is over or its client was revoked.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_access_token(&self, token_sha256: Vec<u8>, now: Timestamp) -> Result<Option<TokenRow>, StoreError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT c.id, c.tenant, c.role, t.expires_at FROM access_token t JOIN api_client c ON c.id = t.client
                 WHERE t.token_sha256 = ?1 AND t.expires_at > ?2 AND c.revoked_at IS NULL",
            )?;
            let mut rows = query.query(params![token_sha256, now.as_nanos()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some(TokenRow {
                client: row.get(0)?,
                tenant: tenant(row, 1)?,
                role: role(row, 2)?,
                expires_at: Timestamp::from_nanos(row.get(3)?),
            }))
        })
        .await
    }
}
