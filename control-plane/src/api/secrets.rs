//! `/api/v1/gateways/{id}/secrets`: what is sealed for a gateway's vault, and the key to seal to. Sealed blobs come in, nothing that
//! opens them ever goes out.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::secret::MAX_SEALED_BYTES;
use postern_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Change, PathId};
use super::schema;
use super::schema::parameters::IdempotencyKey;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::rfc3339;
use crate::secrets::{self, SealedInput, SecretError, SecretView, Stored};

/// The key to seal to.
#[derive(Serialize)]
pub(super) struct Key {
    tenant: TenantId,
    gateway: GatewayId,
    spki: String,
    sha256: String,
    previous_sha256: Option<String>,
    #[serde(serialize_with = "rfc3339::serialize")]
    seen_at: Timestamp,
}

/// Reads the key to which secrets for a gateway are sealed. Compare `sha256` with what `postern-gateway status` says on the gateway:
/// that comparison, not this answer, is what makes sure that only that gateway can open what is sealed.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/sealing-key", operation_id = "read_sealing_key", tag = "secrets", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "The key", body = schema::secrets::SealingKey), ReadProblems),
)]
pub(super) async fn key(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Key>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let key = app.stores.tenant(&api.principal.tenant)?.sealing_key(&gateway.id).await?;
    let key = key.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, SecretError::NoKey.to_string()))?;
    Ok(Json(Key {
        tenant: api.principal.tenant,
        gateway: gateway.id,
        spki: BASE64.encode(&key.spki),
        sha256: HEXLOWER.encode(&key.sha256),
        previous_sha256: key.previous.map(|sha256| HEXLOWER.encode(&sha256)),
        seen_at: key.seen_at,
    }))
}

/// Secrets, by name.
#[derive(Serialize)]
pub(super) struct Secrets {
    items: Vec<SecretView>,
    next_cursor: Option<String>,
}

/// Lists a gateway's secrets by name: versions, who sealed them, and how they stand in the gateway's vault. Never a content.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/secrets", operation_id = "list_secrets", tag = "secrets", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "All of them", body = schema::secrets::SecretPage), ReadProblems),
)]
pub(super) async fn list(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Secrets>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let items = secrets::list(&store, &gateway.id, gateway.status.as_ref()).await?;
    Ok(Json(Secrets { items, next_cursor: None }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    version: u32,
    sealed: String,
    sealed_to: String,
}

/// Stores a secret that was sealed to the gateway's key, and sends it there. The seal covers tenant, gateway, name and version: the
/// version is the last one plus 1, counted from 1, and deleted ones count. The same again changes nothing. There is no way to send
/// a secret that is not sealed.
#[utoipa::path(
    put, path = "/api/v1/gateways/{id}/secrets/{name}", operation_id = "put_secret", tag = "secrets", security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("name" = String, Path, description = "1 to 64 characters of a-z, 0-9, '.', '_' and '-'"),
        IdempotencyKey,
    ),
    request_body = schema::secrets::SealedSecret,
    responses((status = 200, description = "It is stored", body = schema::secrets::StoredSecret), ChangeProblems),
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    Path((id, name)): Path<(String, String)>,
    change: Change,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let body: Put = change.json()?;
    if body.sealed.len() > BASE64.encode_len(MAX_SEALED_BYTES) {
        return Err(SecretError::TooLong.into());
    }
    let sealed = BASE64.decode(body.sealed.as_bytes()).map_err(|_| SecretError::NotSealed)?;
    let sealed_to = HEXLOWER_PERMISSIVE.decode(body.sealed_to.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let sealed_to = sealed_to.ok_or_else(|| Problem::parameter("sealed_to", "sealed_to is the key's SHA-256 in hexadecimal"))?;
    let input = SealedInput { name, version: body.version, sealed, sealed_to, once: change.once(&api.principal)? };
    Ok(match secrets::put(&app, &api.principal, &gateway.id, input).await? {
        Stored::Done(record) => Json(record).into_response(),
        Stored::Repeated(answer) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer.body).into_response()
        }
    })
}

/// Deletes a secret: the gateway forgets it. What is configured with it stops working.
#[utoipa::path(
    delete, path = "/api/v1/gateways/{id}/secrets/{name}", operation_id = "delete_secret", tag = "secrets", security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("name" = String, Path, description = "Its name"),
    ),
    responses((status = 204, description = "It is deleted"), ChangeProblems),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    api.principal.require(Permission::Configure)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    secrets::delete(&app, &api.principal, &gateway.id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        let status = match &error {
            SecretError::Forbidden(_) => StatusCode::FORBIDDEN,
            SecretError::KeyChanged | SecretError::NoKey | SecretError::TooMany | SecretError::Version { .. } => StatusCode::CONFLICT,
            SecretError::KeyMisused | SecretError::NotSealed => StatusCode::UNPROCESSABLE_ENTITY,
            SecretError::Name => return Self::parameter("name", error.to_string()),
            SecretError::NotFound(_) => StatusCode::NOT_FOUND,
            SecretError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            SecretError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match error {
            SecretError::Store(error) => error.into(),
            error => Self::new(status, error.to_string()),
        }
    }
}
