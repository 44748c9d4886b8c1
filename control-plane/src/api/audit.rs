//! `/api/v1/audit`: what was done to this tenant; `/api/v1/gateways/{id}/audit`: what was done on a gateway. Admins only.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::alerts::DEFAULT_PAGE;
use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Parameters, PathId};
use super::schema;
use super::schema::parameters::Paging;
use super::schema::problems::ReadProblems;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::store::alerts::Page;
use crate::store::audit::{AuditView, MAX_PAGE};
use crate::store::gateway_audit::{AuditCursor, Break, GatewayEntry};

/// Lists what was done to this tenant, newest first: who, what, when, from where, and what came of it.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "list_audit", tag = "audit", security(("oauth2" = [])),
    params(Paging),
    responses((status = 200, description = "One page", body = schema::audit::AuditPage), ReadProblems),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    mut parameters: Parameters,
) -> Result<Json<Page<AuditView>>, Problem> {
    api.principal.require(Permission::Configure)?;
    let limit = parameters.number("limit", MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let cursor = parameters.text("cursor")?.map(|text| text.parse::<u64>().map_err(|_| foreign())).transpose()?;
    parameters.finish()?;
    let items = app.stores.tenant(&api.principal.tenant)?.audit(limit, cursor).await?;
    let next_cursor = items.last().filter(|last| items.len() == limit && last.number > 1).map(|last| last.number.to_string());
    Ok(Json(Page { items, next_cursor }))
}

/// A page of a gateway's audit log.
#[derive(Serialize)]
pub(super) struct GatewayAudit {
    items: Vec<GatewayEntry>,
    next_cursor: Option<String>,
    breaks: Vec<Break>,
}

/// Lists a gateway's own audit log as it came up, newest first, and where it does not fit what came before.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/audit", operation_id = "list_gateway_audit", tag = "audit", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway"), Paging),
    responses((status = 200, description = "One page", body = schema::audit::GatewayAuditPage), ReadProblems),
)]
pub(super) async fn of_gateway(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    mut parameters: Parameters,
) -> Result<Json<GatewayAudit>, Problem> {
    api.principal.require(Permission::Configure)?;
    let limit = parameters.number("limit", MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let cursor = parameters.text("cursor")?.map(|text| place(&text)).transpose()?;
    parameters.finish()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let items = store.gateway_audit(&gateway.id, limit, cursor).await?;
    let breaks = store.audit_breaks(&gateway.id).await?;
    let last = items.last().filter(|_| items.len() == limit);
    let next_cursor = last.map(|last| format!("{}-{}", last.branch, last.number));
    Ok(Json(GatewayAudit { items, next_cursor, breaks }))
}

fn place(text: &str) -> Result<AuditCursor, Problem> {
    let number = |text: &str| text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    let place = text.split_once('-').and_then(|(branch, last)| Some(AuditCursor { branch: number(branch)?, number: number(last)? }));
    place.ok_or_else(foreign)
}

fn foreign() -> Problem {
    Problem::parameter("cursor", "cursor is not a next_cursor of this list")
}
