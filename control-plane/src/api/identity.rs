//! `/api/v1/gateways/{id}/identity`: certificates, trust and starts of a gateway; what an admin decides about a copy and a late renewal.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Change, PathId};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::clones::{self, Keep};
use crate::identities::{self, IdentityView};
use crate::store::audit::By;

/// Longest window for a late renewal.
const MAX_WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// Reads a gateway's identity: certificates, what it trusts, its starts, and whether two machines use it.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/identity", operation_id = "read_identity", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "The identity", body = schema::identity::Identity), ReadProblems),
)]
pub(super) async fn read(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<IdentityView>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    Ok(Json(identities::view(&app.stores, &gateway.id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    keep: Keep,
}

/// Decides which of two machines with one identity stays. The other one is refused for good, and its session ends within seconds.
#[utoipa::path(
    put, path = "/api/v1/gateways/{id}/quarantine", operation_id = "decide_quarantine", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    request_body = schema::identity::Decision,
    responses((status = 200, description = "The identity", body = schema::identity::Identity), ChangeProblems),
)]
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Json<IdentityView>, Problem> {
    api.principal.require(Permission::Configure)?;
    let Decision { keep } = change.json()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    clones::decide_live(&app, (&api.principal.tenant, &gateway.id), keep, By::from(&api.principal)).await?;
    Ok(Json(identities::view(&app.stores, &gateway.id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    open_for_s: u64,
}

/// Lets a gateway renew its certificate for so long although that ended too long ago. It asks by itself.
#[utoipa::path(
    put, path = "/api/v1/gateways/{id}/renewal", operation_id = "allow_renewal", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    request_body = schema::identity::Window,
    responses((status = 200, description = "The identity", body = schema::identity::Identity), ChangeProblems),
)]
pub(super) async fn allow_renewal(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Json<IdentityView>, Problem> {
    api.principal.require(Permission::Configure)?;
    let open = Duration::from_secs(change.json::<Window>()?.open_for_s);
    if open < Duration::from_secs(60) || open > MAX_WINDOW {
        let detail = format!("open_for_s is a number of seconds from 60 to {}", MAX_WINDOW.as_secs());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let gateway = gateway(&app, &api.principal, &id).await?;
    let until = app.now().saturating_add(open);
    identities::allow_renewal(&app.stores, (&api.principal.tenant, &gateway.id), until, (By::from(&api.principal), app.now())).await?;
    Ok(Json(identities::view(&app.stores, &gateway.id).await?))
}
