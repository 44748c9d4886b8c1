//! `/api/v1/rollouts`: a change of configuration for the gateways of a tag, stage by stage.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::request::{Change, Parameters, PathId};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::rollouts::change::Change as Changed;
use crate::rollouts::plan::{Offline, OnFailure, Stage};
use crate::rollouts::{self, RolloutError, Wish};
use crate::store::alerts::Page;
use crate::store::rollouts::{MemberView, RolloutView};

/// A roll-out as a client asks for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    tag: String,
    change: Changed,
    #[serde(default = "all_at_once")]
    stages: Vec<Stage>,
    #[serde(default)]
    offline: Offline,
    #[serde(default)]
    on_failure: OnFailure,
}

fn all_at_once() -> Vec<Stage> {
    vec![Stage::All]
}

/// A roll-out with its gateways.
#[derive(Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    rollout: RolloutView,
    gateways: Vec<MemberView>,
}

/// Begins a roll-out. The document that each gateway would get is checked first; a gateway can be in one roll-out at a time.
#[utoipa::path(
    post, path = "/api/v1/rollouts", operation_id = "start_rollout", tag = "gateways", security(("oauth2" = [])),
    request_body(content = schema::rollouts::NewRollout, content_type = "application/json"),
    responses((status = 201, description = "It began", body = schema::rollouts::WholeRollout), ChangeProblems),
)]
pub(super) async fn start(State(app): State<Arc<App>>, api: ApiPrincipal, change: Change) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    let Body { tag, change, stages, offline, on_failure } = change.json()?;
    let id = rollouts::start(&app, &api.principal, Wish { tag, change, stages, offline, on_failure }).await?;
    Ok((StatusCode::CREATED, Json(whole(&app, &api, &id).await?)).into_response())
}

/// Lists the newest 100 roll-outs, newest first.
#[utoipa::path(
    get, path = "/api/v1/rollouts", operation_id = "list_rollouts", tag = "gateways", security(("oauth2" = [])),
    responses((status = 200, description = "The roll-outs", body = schema::rollouts::RolloutPage), ReadProblems),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    parameters: Parameters,
) -> Result<Json<Page<RolloutView>>, Problem> {
    api.principal.require(Permission::Read)?;
    parameters.finish()?;
    let items = app.stores.tenant(&api.principal.tenant)?.list_rollouts().await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Reads a roll-out and how far it got with each gateway.
#[utoipa::path(
    get, path = "/api/v1/rollouts/{id}", operation_id = "find_rollout", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the roll-out")),
    responses((status = 200, description = "The roll-out", body = schema::rollouts::WholeRollout), ReadProblems),
)]
pub(super) async fn find(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Whole>, Problem> {
    api.principal.require(Permission::Read)?;
    Ok(Json(whole(&app, &api, &id).await?))
}

/// Stops a roll-out: gateways whose turn has not come get nothing. Those that have the change keep it.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/stop", operation_id = "stop_rollout", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the roll-out")),
    responses((status = 200, description = "It is stopped", body = schema::rollouts::WholeRollout), ChangeProblems),
)]
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Json<Whole>, Problem> {
    api.principal.require(Permission::Configure)?;
    change.require_no_body()?;
    rollouts::stop(&app, &api.principal, &id).await?;
    Ok(Json(whole(&app, &api, &id).await?))
}

/// Has a stopped roll-out go on without the gateways that failed.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/resume", operation_id = "resume_rollout", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the roll-out")),
    responses((status = 200, description = "It goes on", body = schema::rollouts::WholeRollout), ChangeProblems),
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Json<Whole>, Problem> {
    api.principal.require(Permission::Configure)?;
    change.require_no_body()?;
    rollouts::resume(&app, &api.principal, &id).await?;
    Ok(Json(whole(&app, &api, &id).await?))
}

async fn whole(app: &App, api: &ApiPrincipal, id: &str) -> Result<Whole, Problem> {
    let found = app.stores.tenant(&api.principal.tenant)?.find_rollout(id).await?;
    let (rollout, gateways) = found.ok_or_else(|| Problem::not_found("roll-out"))?;
    Ok(Whole { rollout, gateways })
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Change { .. } | RolloutError::Nobody(_) | RolloutError::Stages => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, crate::chain(&error))
            }
            RolloutError::Forbidden(error) => error.into(),
            RolloutError::Invalid { problems, .. } => Self::configuration(problems),
            RolloutError::NotFound => Self::not_found("roll-out"),
            RolloutError::Store(error) => error.into(),
        }
    }
}
