//! `/api/v1/gateways/{id}/waiting-room`: SNMPv3 notifications that a gateway refused, and the binding that lets them in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::status::intake;
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use super::configuration;
use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Change, Parameters, PathId};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::rfc3339;
use crate::waiting_room::{self, BindError, Binding};

#[derive(Serialize)]
pub(super) struct WaitingRoom {
    items: Vec<WaitingLine>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct WaitingLine {
    reason: String,
    source: String,
    engine_id: String,
    user: String,
    level: String,
    count: u64,
    #[serde(serialize_with = "rfc3339::serialize")]
    first_seen: Timestamp,
    #[serde(serialize_with = "rfc3339::serialize")]
    last_seen: Timestamp,
    advice: String,
}

impl From<intake::Waiting> for WaitingLine {
    fn from(one: intake::Waiting) -> Self {
        Self {
            reason: one.reason,
            source: one.source,
            engine_id: one.engine_id,
            user: one.user,
            level: one.level,
            count: one.count,
            first_seen: Timestamp::from_nanos(one.first_seen),
            last_seen: Timestamp::from_nanos(one.last_seen),
            advice: one.advice,
        }
    }
}

/// Lists the SNMPv3 notifications that the gateway refused, by reason, source, engine and user, as of its last report.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/waiting-room", operation_id = "list_waiting_room", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "Who waits", body = schema::intake::WaitingRoom), ReadProblems),
)]
pub(super) async fn list(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<WaitingRoom>, Problem> {
    api.principal.require(Permission::Read)?;
    let waiting = gateway(&app, &api.principal, &id).await?.status.map(|status| status.intake.waiting_room).unwrap_or_default();
    Ok(Json(WaitingRoom { items: waiting.into_iter().map(WaitingLine::from).collect(), next_cursor: None }))
}

/// Binds engine, source and user, or lets an engine start over: the gateway's newest document gets the user or the reset and becomes
/// its next revision. Secrets are named, and must be in the gateway's vault. With `preview=true` the document is the answer and
/// nothing is stored.
#[utoipa::path(
    post, path = "/api/v1/gateways/{id}/waiting-room/bind", operation_id = "bind_waiting", tag = "gateways", security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("preview" = Option<bool>, Query, description = "Answer with the document and store nothing"),
    ),
    request_body(content = schema::intake::Binding),
    responses((status = 200, description = "It is stored", body = schema::gateways::StoredRevision), ChangeProblems),
)]
pub(super) async fn bind(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    mut parameters: Parameters,
    change: Change,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    let preview = parameters.truth("preview")?.unwrap_or(false);
    parameters.finish()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let binding: Binding = change.json()?;
    let bound = waiting_room::preview(&app, &api.principal, &gateway.id, &binding).await?;
    if preview {
        return Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bound.after).into_response());
    }
    let number = waiting_room::apply(&app, &api.principal, &gateway.id, &bound).await?;
    configuration::stored(&app, &api.principal, &gateway.id, number).await
}

impl From<BindError> for Problem {
    fn from(error: BindError) -> Self {
        match error {
            error @ (BindError::Ambiguous(_) | BindError::Changed(_) | BindError::Nothing) => {
                Self::new(axum::http::StatusCode::CONFLICT, error.to_string())
            }
            BindError::Broken(problems) => Self::configuration(problems),
            BindError::Put(error) => error.into(),
        }
    }
}
