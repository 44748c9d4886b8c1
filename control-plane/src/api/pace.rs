//! `/api/v1/gateways/{id}/pace`: how fast a gateway may send what is not an alert.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Change, PathId};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::store::audit::By;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pace {
    bytes_per_second: u64,
}

/// Reads how fast a gateway may send what is not an alert.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/pace", operation_id = "read_pace", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "The limit", body = schema::samples::Pace), ReadProblems),
)]
pub(super) async fn read(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Pace>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let bytes_per_second = app.stores.tenant(&api.principal.tenant)?.pace(&gateway.id).await?;
    Ok(Json(Pace { bytes_per_second }))
}

/// Bounds how fast a gateway may send what is not an alert, at once and until it is changed.
#[utoipa::path(
    put, path = "/api/v1/gateways/{id}/pace", operation_id = "set_pace", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    request_body = schema::samples::Pace,
    responses((status = 200, description = "The limit", body = schema::samples::Pace), ChangeProblems),
)]
pub(super) async fn set(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId, change: Change) -> Result<Json<Pace>, Problem> {
    api.principal.require(Permission::Configure)?;
    let pace: Pace = change.json()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    store.set_pace(&gateway.id, pace.bytes_per_second, By::from(&api.principal), app.now()).await?;
    app.gateways.wake(&gateway.id);
    Ok(Json(pace))
}
