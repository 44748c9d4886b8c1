//! `/api/v1/gateways/{id}/replays` and `…/rules`: what a document would have made of a gateway's recent events, and what its rules do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::revision::Problem as Fault;
use serde::{Deserialize, Serialize};

use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Change, PathId, PathRevision};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::replays::{self, Wish};
use crate::rule_book;
use crate::store::replays::ReplayView;
use crate::store::rule_figures::RuleCounters;

/// What to try.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewReplay {
    document: serde_json::Value,
    #[serde(default = "an_hour")]
    minutes: u32,
}

const fn an_hour() -> u32 {
    60
}

/// Asks a gateway what a document would have made of its recent events. Nothing is put into force. The answer is found under the
/// address in `Location`; a gateway answers one replay at a time.
#[utoipa::path(
    post, path = "/api/v1/gateways/{id}/replays", operation_id = "ask_replay", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    request_body(content = schema::replays::NewReplay, content_type = "application/json"),
    responses((status = 202, description = "The gateway is at it", body = schema::replays::Replay), ChangeProblems),
)]
pub(super) async fn ask(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId, change: Change) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    // Whoever may not know of the gateway is not told what is wrong with the question either.
    let gateway = gateway(&app, &api.principal, &id).await?;
    let NewReplay { document, minutes } = change.json()?;
    if !(1..=replays::MAX_MINUTES).contains(&minutes) {
        return Err(Problem::parameter("minutes", format!("minutes is 1 to {}", replays::MAX_MINUTES)));
    }
    let document = serde_json::to_vec(&document).map_err(|error| Problem::internal(&error))?;
    let number = replays::ask(&app, &api.principal, &gateway.id, Wish { document, minutes }).await?;
    let view = app.stores.tenant(&api.principal.tenant)?.find_replay(&gateway.id, number, app.now()).await?;
    let view = view.ok_or_else(|| Problem::not_found("replay"))?;
    let at =
        HeaderValue::try_from(format!("/api/v1/gateways/{}/replays/{number}", gateway.id)).map_err(|error| Problem::internal(&error))?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, at)], Json(view)).into_response())
}

/// Reads a replay and its answer; both are kept for a day.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/replays/{number}", operation_id = "find_replay", tag = "gateways", security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("number" = u64, Path, description = "Identifier of the replay"),
    ),
    responses((status = 200, description = "The replay", body = schema::replays::Replay), ReadProblems),
)]
pub(super) async fn find(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathRevision(id, number): PathRevision,
) -> Result<Json<ReplayView>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let found = app.stores.tenant(&api.principal.tenant)?.find_replay(&gateway.id, number.0, app.now()).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("replay"))
}

/// What a gateway's rules do.
#[derive(Serialize)]
pub(super) struct Rules {
    counters: Option<RuleCounters>,
    warnings: Vec<Fault>,
}

/// Reads the counters of a gateway's rules, as it last reported them, and what is hardly meant in the document that it runs.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/rules", operation_id = "read_rules", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "Counters and warnings", body = schema::replays::Rules), ReadProblems),
)]
pub(super) async fn rules(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Rules>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let counters = app.stores.tenant(&api.principal.tenant)?.rule_counters(&gateway.id).await?;
    let warnings = rule_book::warnings_in_force(&app, &api.principal.tenant, &gateway.id).await?;
    Ok(Json(Rules { counters, warnings }))
}
