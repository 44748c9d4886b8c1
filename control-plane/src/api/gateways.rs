//! `/api/v1/gateways`: which there are, how they are, what happened to them, their configuration's revisions, and their revocation.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use data_encoding::BASE64URL_NOPAD;
use postern_protocol::id::GatewayId;
use serde::Serialize;

use super::alerts::DEFAULT_PAGE;
use super::problem::Problem;
use super::request::{Change, Parameters, PathId};
use super::schema;
use super::schema::parameters::Paging;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::bearer::ApiPrincipal;
use crate::auth::{Permission, Principal};
use crate::identities;
use crate::store::alerts::{MAX_PAGE, Page};
use crate::store::audit::By;
use crate::store::gateway_events::GatewayEvent;
use crate::store::gateways::GatewayView;
use crate::store::revisions::RevisionView;

/// Lists the gateways by name.
#[utoipa::path(
    get, path = "/api/v1/gateways", operation_id = "list_gateways", tag = "gateways", security(("oauth2" = [])),
    params(Paging),
    responses((status = 200, description = "One page", body = schema::gateways::GatewayPage), ReadProblems),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    mut parameters: Parameters,
) -> Result<Json<Page<GatewayView>>, Problem> {
    api.principal.require(Permission::Read)?;
    let limit = parameters.number("limit", MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let cursor = parameters.text("cursor")?;
    parameters.finish()?;
    let gateways = app.stores.list_gateways(&api.principal.tenant).await?;
    Ok(Json(page(gateways, limit, cursor.as_deref())?))
}

/// Reads a gateway: whether it is connected, what it last said of itself, and how its configuration stands.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}", operation_id = "find_gateway", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "The gateway", body = schema::gateways::Gateway), ReadProblems),
)]
pub(super) async fn find(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<GatewayView>, Problem> {
    api.principal.require(Permission::Read)?;
    Ok(Json(gateway(&app, &api.principal, &id).await?))
}

/// The revisions of a gateway's configuration.
#[derive(Serialize)]
pub(super) struct Revisions {
    items: Vec<RevisionView>,
    next_cursor: Option<String>,
}

/// Lists the newest 200 revisions of a gateway's configuration, newest first, each with how far it got and what is wrong with it.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/revisions", operation_id = "list_revisions", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "The revisions", body = schema::gateways::RevisionPage), ReadProblems),
)]
pub(super) async fn revisions(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Revisions>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let items = app.stores.tenant(&api.principal.tenant)?.list_revisions(&gateway.id).await?;
    Ok(Json(Revisions { items, next_cursor: None }))
}

/// Lists what happened to a gateway, newest first: the newest 1,000 entries are kept.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/history", operation_id = "read_gateway_history", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway"), Paging),
    responses((status = 200, description = "One page", body = schema::gateways::GatewayHistoryPage), ReadProblems),
)]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    mut parameters: Parameters,
) -> Result<Json<Page<GatewayEvent>>, Problem> {
    api.principal.require(Permission::Read)?;
    let limit = parameters.number("limit", MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let cursor = parameters.text("cursor")?.map(|text| text.parse::<u64>().map_err(|_| foreign())).transpose()?;
    parameters.finish()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    Ok(Json(app.stores.tenant(&api.principal.tenant)?.gateway_history(&gateway.id, limit, cursor).await?))
}

/// Revokes a gateway for good: its session ends at once, and it can neither connect nor renew its certificate any more. What it
/// reported stays. Revoking it twice changes nothing.
#[utoipa::path(
    post, path = "/api/v1/gateways/{id}/revoke", operation_id = "revoke_gateway", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "The gateway, revoked", body = schema::gateways::Gateway), ChangeProblems),
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Json<GatewayView>, Problem> {
    api.principal.require(Permission::Configure)?;
    change.require_no_body()?;
    let found = gateway(&app, &api.principal, &id).await?;
    identities::revoke_live(&app, (&api.principal.tenant, &found.id), By::from(&api.principal)).await?;
    Ok(Json(gateway(&app, &api.principal, &id).await?))
}

fn foreign() -> Problem {
    Problem::parameter("cursor", "cursor is not a next_cursor of this list")
}

/// Finds a gateway of the principal's tenant.
pub(super) async fn gateway(app: &App, principal: &Principal, id: &str) -> Result<GatewayView, Problem> {
    let missing = || Problem::not_found("gateway");
    let id = GatewayId::new(id).map_err(|_| missing())?;
    app.stores.find_gateway(&principal.tenant, &id).await?.ok_or_else(missing)
}

/// A cursor is the identifier of the last gateway of the page before, which stays in the list for ever.
fn page(mut gateways: Vec<GatewayView>, limit: usize, cursor: Option<&str>) -> Result<Page<GatewayView>, Problem> {
    if let Some(cursor) = cursor {
        let id = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
        let at = id.and_then(|id| gateways.iter().position(|gateway| gateway.id.as_str().as_bytes() == id));
        let at = at.ok_or_else(foreign)?;
        gateways.drain(..=at);
    }
    let more = gateways.len() > limit;
    gateways.truncate(limit);
    let last = gateways.last().filter(|_| more);
    let next_cursor = last.map(|gateway| BASE64URL_NOPAD.encode(gateway.id.as_str().as_bytes()));
    Ok(Page { items: gateways, next_cursor })
}
