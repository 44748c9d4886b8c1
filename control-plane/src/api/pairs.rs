//! `/api/v1/pairs`: two gateways that get the same reports, whose alerts are merged.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::request::{Change, PathId};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::pairs::{self, PairError};
use crate::store::StoreError;
use crate::store::pairs::PairView;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPair {
    gateways: [String; 2],
}

/// Pairs, oldest first.
#[derive(Serialize)]
pub(super) struct Pairs {
    items: Vec<PairView>,
    next_cursor: Option<String>,
}

/// Lists the pairs.
#[utoipa::path(
    get, path = "/api/v1/pairs", operation_id = "list_pairs", tag = "gateways", security(("oauth2" = [])),
    responses((status = 200, description = "The pairs", body = schema::audit::PairPage), ReadProblems),
)]
pub(super) async fn list(State(app): State<Arc<App>>, api: ApiPrincipal) -> Result<Json<Pairs>, Problem> {
    api.principal.require(Permission::Read)?;
    let items = app.stores.tenant(&api.principal.tenant)?.pairs().await?;
    Ok(Json(Pairs { items, next_cursor: None }))
}

/// Declares two gateways a pair: their alerts of the same resource, kind and qualifier become one. An alert of a pair has an
/// identifier of its own; the gateways' former ones lead to it.
#[utoipa::path(
    post, path = "/api/v1/pairs", operation_id = "declare_pair", tag = "gateways", security(("oauth2" = [])),
    request_body = schema::audit::NewPair,
    responses((status = 201, description = "The pair", body = schema::audit::Pair), ChangeProblems),
)]
pub(super) async fn declare(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    change: Change,
) -> Result<(StatusCode, Json<PairView>), Problem> {
    api.principal.require(Permission::Configure)?;
    let NewPair { gateways: [first, second] } = change.json()?;
    let pair = pairs::declare(&app, &api.principal, [&first, &second]).await?;
    Ok((StatusCode::CREATED, Json(pair)))
}

/// Dissolves a pair: each gateway's alerts are its own again, under their former identifiers.
#[utoipa::path(
    delete, path = "/api/v1/pairs/{id}", operation_id = "dissolve_pair", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the pair")),
    responses((status = 204, description = "It is dissolved"), ChangeProblems),
)]
pub(super) async fn dissolve(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<StatusCode, Problem> {
    pairs::dissolve(&app, &api.principal, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<PairError> for Problem {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Forbidden(forbidden) => forbidden.into(),
            PairError::NoGateway(_) => Self::not_found("gateway"),
            PairError::Store(StoreError::NotFound) => Self::not_found("pair"),
            PairError::Store(error) => error.into(),
        }
    }
}
