//! Enrolment tokens: only the hash of a token's secret is kept. Redeeming one and making its gateway are one transaction, so a
//! token makes at most one gateway, whatever crashes when.

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use super::audit::{By, Deed, What};
use super::certificates::{self, Given};
use super::{StoreError, SystemStore, audit_outbox};

/// An enrolment token as lists show it; the secret is not kept and cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Short name for revocation.
    pub id: String,
    /// Name that the gateway will have.
    pub gateway_name: String,
    /// Whether it can still be used.
    pub state: TokenState,
    /// When it was created.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub expires_at: Timestamp,
    /// When it was used.
    #[serde(serialize_with = "crate::rfc3339::serialize_option")]
    pub used_at: Option<Timestamp>,
    /// The gateway that it made.
    pub used_by: Option<String>,
}

/// Whether a token can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Its time is over.
    Expired,
    /// An admin revoked it.
    Revoked,
    /// It can be used.
    Usable,
    /// It made a gateway.
    Used,
}

impl TokenState {
    /// Returns the state's name in APIs and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Usable => "usable",
            Self::Used => "used",
        }
    }
}

/// A token to be kept.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Short name.
    pub id: String,
    /// Hash of the secret (`Token::secret_hash`).
    pub secret_sha256: [u8; 32],
    /// Tenant of the gateway.
    pub tenant: TenantId,
    /// Name of the gateway for people.
    pub gateway_name: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a usable token entitles to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Tenant of the gateway.
    pub tenant: TenantId,
    /// Name of the gateway for people.
    pub gateway_name: String,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its time was over then.
    Expired(Timestamp),
    /// An admin revoked it then.
    Revoked(Timestamp),
    /// No such token was ever made, or its secret was altered.
    Unknown,
    /// It made a gateway then.
    Used(Timestamp),
}

impl SystemStore {
    /// Keeps a new token; in the tenant's audit as made by `by`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the tenant does not exist.
    pub async fn insert_token(&self, token: NewToken, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        self.write(move |tx| {
            let tenant = tx.query_row("SELECT 1 FROM tenant WHERE id = ?1", [token.tenant.as_str()], |_| Ok(())).optional()?;
            tenant.ok_or(StoreError::NotFound)?;
            tx.execute(
                "INSERT INTO enrolment_token (secret_sha256, id, tenant, gateway_name, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    token.secret_sha256,
                    token.id,
                    token.tenant.as_str(),
                    token.gateway_name,
                    now.as_nanos(),
                    token.expires_at.as_nanos()
                ],
            )?;
            audit_outbox::put(tx, &token.tenant, &deed(by, What::TokenMade, &token.id, now))
        })
        .await
    }

    /// Returns the tokens of `tenant`, newest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_tokens(&self, tenant: &TenantId, now: Timestamp) -> Result<Vec<TokenView>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT id, gateway_name, created_at, expires_at, used_at, used_by, revoked_at FROM enrolment_token
                 WHERE tenant = ?1 ORDER BY created_at DESC, id",
            )?;
            let mut rows = statement.query([tenant.as_str()])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                let expires_at = Timestamp::from_nanos(row.get(3)?);
                let used_at = row.get::<_, Option<i64>>(4)?.map(Timestamp::from_nanos);
                let revoked = row.get::<_, Option<i64>>(6)?.is_some();
                tokens.push(TokenView {
                    id: row.get(0)?,
                    gateway_name: row.get(1)?,
                    state: match (used_at, revoked) {
                        (Some(_), _) => TokenState::Used,
                        (None, true) => TokenState::Revoked,
                        (None, false) if expires_at <= now => TokenState::Expired,
                        (None, false) => TokenState::Usable,
                    },
                    created_at: Timestamp::from_nanos(row.get(2)?),
                    expires_at,
                    used_at,
                    used_by: row.get(5)?,
                });
            }
            Ok(tokens)
        })
        .await
    }

    /// Revokes an unused token of `tenant`; in its audit as done by `by`. Revoking it twice changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the tenant has no such token, [`StoreError::Conflict`] when it was used.
    pub async fn revoke_token(&self, tenant: &TenantId, id: &str, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        self.write(move |tx| {
            let used: Option<Option<String>> = tx
                .query_row("SELECT used_by FROM enrolment_token WHERE id = ?1 AND tenant = ?2", params![id, tenant.as_str()], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(gateway) = used.ok_or(StoreError::NotFound)? {
                return Err(StoreError::Conflict(format!("the token was used; revoke the gateway {gateway} instead")));
            }
            let sql = "UPDATE enrolment_token SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
            if tx.execute(sql, params![id, now.as_nanos()])? == 0 {
                return Ok(());
            }
            audit_outbox::put(tx, &tenant, &deed(by, What::TokenRevoked, &id, now))
        })
        .await
    }

    /// Looks up what a token entitles to, by the hash of its secret: nothing is compared that a timing could tell.
    ///
    /// # Errors
    /// [`StoreError`] from the database; a refused token is `Ok(Err(_))`.
    pub async fn check_token(&self, secret_sha256: [u8; 32], now: Timestamp) -> Result<Result<Grant, Refusal>, StoreError> {
        self.read(move |db| check(db, &secret_sha256, now)).await
    }

    /// Uses up a token and makes its gateway, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`] from the database; a refused token is `Ok(Err(_))`.
    pub async fn redeem_token(
        &self,
        secret_sha256: [u8; 32],
        gateway: &GatewayId,
        given: Given,
        now: Timestamp,
    ) -> Result<Result<Grant, Refusal>, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            let grant = match check(tx, &secret_sha256, now)? {
                Ok(grant) => grant,
                Err(refusal) => return Ok(Err(refusal)),
            };
            tx.execute(
                "INSERT INTO gateway (id, tenant, name, enrolled_at, client_spki) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![gateway.as_str(), grant.tenant.as_str(), grant.gateway_name, now.as_nanos(), given.certificate.spki_sha256],
            )?;
            certificates::enrolled(tx, &gateway, &given, now)?;
            tx.execute(
                "UPDATE enrolment_token SET used_at = ?2, used_by = ?3 WHERE secret_sha256 = ?1",
                params![secret_sha256, now.as_nanos(), gateway.as_str()],
            )?;
            Ok(Ok(grant))
        })
        .await
    }
}

fn deed(by: By, what: What, id: &str, now: Timestamp) -> Deed {
    Deed::done(by, what, format!("enrolment token {id}"), now)
}

fn check(db: &Connection, secret_sha256: &[u8; 32], now: Timestamp) -> Result<Result<Grant, Refusal>, StoreError> {
    let row = db
        .prepare_cached("SELECT tenant, gateway_name, expires_at, used_at, revoked_at FROM enrolment_token WHERE secret_sha256 = ?1")?
        .query_row([secret_sha256.as_slice()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((tenant, gateway_name, expires_at, used_at, revoked_at)) = row else { return Ok(Err(Refusal::Unknown)) };
    let expires_at = Timestamp::from_nanos(expires_at);
    if let Some(used_at) = used_at {
        return Ok(Err(Refusal::Used(Timestamp::from_nanos(used_at))));
    }
    if let Some(revoked_at) = revoked_at {
        return Ok(Err(Refusal::Revoked(Timestamp::from_nanos(revoked_at))));
    }
    if expires_at <= now {
        return Ok(Err(Refusal::Expired(expires_at)));
    }
    Ok(Ok(Grant { tenant: TenantId::new(tenant).map_err(|_| StoreError::Corrupt("tenant"))?, gateway_name }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stores;
    use crate::store::certificates::given;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    async fn store(tokens: &[(u8, i64)]) -> (tempfile::TempDir, SystemStore) {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let tenant = TenantId::new("acme").unwrap();
        stores.create_tenant(&tenant, "Acme", NOW).await.unwrap();
        for (secret, expires) in tokens {
            let token = NewToken {
                id: format!("t{secret}"),
                secret_sha256: [*secret; 32],
                tenant: tenant.clone(),
                gateway_name: "site".to_owned(),
                expires_at: Timestamp::from_secs(*expires),
            };
            stores.system().insert_token(token, (By::command_line(), NOW)).await.unwrap();
        }
        (folder, stores.system().clone())
    }

    #[tokio::test]
    async fn a_token_makes_one_gateway() {
        let (_folder, store) = store(&[(1, 2_000)]).await;
        let gateway = |n: u8| GatewayId::new(format!("g{n}")).unwrap();
        let grant = store.redeem_token([1; 32], &gateway(1), given([0; 32]), NOW).await.unwrap().unwrap();
        assert_eq!(grant.gateway_name, "site");
        assert_eq!(store.redeem_token([1; 32], &gateway(2), given([0; 32]), NOW).await.unwrap(), Err(Refusal::Used(NOW)));
        let tokens = store.list_tokens(&grant.tenant, NOW).await.unwrap();
        assert_eq!((tokens[0].state, tokens[0].used_by.as_deref()), (TokenState::Used, Some("g1")));
    }

    #[tokio::test]
    async fn each_refusal_says_what_is_wrong() {
        let (_folder, store) = store(&[(1, 999), (2, 2_000)]).await;
        let tenant = TenantId::new("acme").unwrap();
        store.revoke_token(&tenant, "t2", (By::command_line(), NOW)).await.unwrap();
        let check = async |secret: u8| store.check_token([secret; 32], NOW).await.unwrap();
        assert_eq!(check(1).await, Err(Refusal::Expired(Timestamp::from_secs(999))));
        assert_eq!(check(2).await, Err(Refusal::Revoked(NOW)));
        assert_eq!(check(3).await, Err(Refusal::Unknown));
    }

    #[tokio::test]
    async fn another_tenants_token_cannot_be_revoked() {
        let (_folder, store) = store(&[(1, 2_000)]).await;
        let other = TenantId::new("other").unwrap();
        assert!(matches!(store.revoke_token(&other, "t1", (By::command_line(), NOW)).await, Err(StoreError::NotFound)));
        assert!(store.list_tokens(&other, NOW).await.unwrap().is_empty());
    }
}
