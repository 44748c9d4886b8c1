//! `/api/v1/gateways/{id}/configuration`: the document that a gateway is to run, and its replacement.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::Problem as Fault;
use serde::Serialize;

use super::alerts::etag;
use super::gateways::gateway;
use super::problem::Problem;
use super::request::{self, Change, Parameters, PathId};
use super::schema;
use super::schema::parameters::{IfMatch, IfNoneMatch};
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::bearer::ApiPrincipal;
use crate::auth::{Permission, Principal};
use crate::configuration::{self, Force, PutError};
use crate::rule_book;
use crate::store::revisions::RevisionState;

/// Header that tells how far the revision in the answer got.
const STATE: HeaderName = HeaderName::from_static("postern-revision-state");

/// Reads the newest configuration document of a gateway, or an earlier one. The `ETag` is its revision's number.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/configuration", operation_id = "read_configuration", tag = "gateways", security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("revision" = Option<u64>, Query, description = "Number of an earlier revision"),
        IfNoneMatch,
    ),
    responses(
        (status = 200, description = "The document, byte for byte; see /api/v1/schemas/revision.json", content_type = "application/json",
            body = Object, headers(
                ("ETag" = String, description = "The revision's number"),
                ("Postern-Revision-State" = String, description = "desired, applying, provisional, applied, failed or reverted"),
            )),
        (status = 304, description = "It is still at the revision that If-None-Match names"),
        ReadProblems,
    ),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Read)?;
    let wanted = parameters.number("revision", usize::MAX)?.map(|number| RevisionNumber(number as u64));
    parameters.finish()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let revision = match wanted {
        Some(number) => store.find_revision(&gateway.id, number).await?,
        None => store.desired(&gateway.id).await?,
    };
    let revision = revision.ok_or_else(|| Problem::not_found("revision"))?;
    let number = revision.view.number;
    let tag = [(header::ETAG, etag(number)), (STATE, HeaderValue::from_static(revision.view.state.name()))];
    if i64::try_from(number.0).is_ok_and(|number| request::has_already(&headers, number)) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((tag, kind, revision.document).into_response())
}

/// A configuration that was stored.
#[derive(Serialize)]
struct Stored {
    number: RevisionNumber,
    state: RevisionState,
    warnings: Vec<Fault>,
}

/// Answers that a configuration of `gateway` was stored under `number`, and what is hardly meant in it.
pub(super) async fn stored(app: &App, principal: &Principal, gateway: &GatewayId, number: RevisionNumber) -> Result<Response, Problem> {
    let revision = app.stores.tenant(&principal.tenant)?.find_revision(gateway, number).await?;
    let warnings = rule_book::warnings(revision.map(|revision| revision.document).unwrap_or_default()).await?;
    Ok(([(header::ETAG, etag(number))], Json(Stored { number, state: RevisionState::Desired, warnings })).into_response())
}

/// Replaces a gateway's configuration with the document in the body. It is checked whole, signed, stored under the next number and
/// pushed to the gateway, which checks it again; `GET …/revisions` tells how far it got.
#[utoipa::path(
    put, path = "/api/v1/gateways/{id}/configuration", operation_id = "replace_configuration", tag = "gateways", security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("force" = Option<bool>, Query, description = "Store and push the document although it has problems"),
        IfMatch,
    ),
    request_body(content = Object, content_type = "application/json", description = "See /api/v1/schemas/revision.json"),
    responses((status = 200, description = "It is stored", body = schema::gateways::StoredRevision), ChangeProblems),
)]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    mut parameters: Parameters,
    change: Change,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    let force = if parameters.truth("force")?.unwrap_or(false) { Force::Forced } else { Force::Checked };
    parameters.finish()?;
    change.require_json()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    if let Some(expected) = change.expected()? {
        let newest = app.stores.tenant(&api.principal.tenant)?.newest_revision(&gateway.id).await?;
        let newest = i64::try_from(newest.0).unwrap_or(i64::MAX);
        if !expected.contains(&newest) {
            return Err(request::precondition_failed(newest));
        }
    }
    let number = configuration::put(&app, &api.principal, &gateway.id, &change.body, force).await?;
    stored(&app, &api.principal, &gateway.id, number).await
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Forbidden(error) => error.into(),
            PutError::Invalid(problems) => Self::configuration(problems),
            PutError::NotFound => Self::not_found("gateway"),
            PutError::Store(error) => error.into(),
        }
    }
}
