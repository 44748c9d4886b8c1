//! `/api/v1/alerts`: list, read, and act on alerts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::alert::{AlertState, Severity};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::request::{self, Change, Parameters, PathId};
use super::schema;
use super::schema::parameters::{IdempotencyKey, IfMatch, IfNoneMatch, ListAlerts, Paging};
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::alert_actions::{self, Wish};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::store::alert_actions::{Acted, AlertAction};
use crate::store::alerts::{AlertFilter, AlertView, Cursor, Folding, HistoryEntry, MAX_PAGE, OccurrenceView, Page};
use crate::store::idempotency::Answer;

/// How many items a page has unless the client says otherwise.
pub(super) const DEFAULT_PAGE: usize = 100;

/// Lists alerts, newest `first_seen` first.
#[utoipa::path(
    get, path = "/api/v1/alerts", operation_id = "list_alerts", tag = "alerts", security(("oauth2" = [])),
    params(ListAlerts),
    responses((status = 200, description = "One page", body = schema::alerts::AlertPage), ReadProblems),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    mut parameters: Parameters,
) -> Result<Json<Page<AlertView>>, Problem> {
    api.principal.require(Permission::Read)?;
    let filter = AlertFilter {
        states: parameters.list("state", AlertState::from_name, "open, cleared and closed")?,
        severities: parameters.list("severity", Severity::from_name, "critical, major, minor, warning and indeterminate")?,
        gateway: parameters.text("gateway")?,
        resource: parameters.text("resource")?,
        kind: parameters.text("kind")?,
        q: parameters.text("q")?,
        acknowledged: parameters.truth("acknowledged")?,
        first_seen_after: parameters.time("first_seen_after")?,
        first_seen_before: parameters.time("first_seen_before")?,
        folding: parameters.text("parent")?.map(|parent| if parent == "none" { Folding::Nothing } else { Folding::Under(parent) }),
        suppressed: parameters.truth("suppressed")?,
        flapping: parameters.truth("flapping")?,
    };
    let (limit, cursor) = page(&mut parameters)?;
    parameters.finish()?;
    Ok(Json(app.stores.tenant(&api.principal.tenant)?.list_alerts(filter, limit, cursor).await?))
}

/// Lists the alerts that an alert folds, newest `first_seen` first.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/children", operation_id = "list_children", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert"), Paging),
    responses((status = 200, description = "One page", body = schema::alerts::AlertPage), ReadProblems),
)]
pub(super) async fn children(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    mut parameters: Parameters,
) -> Result<Json<Page<AlertView>>, Problem> {
    api.principal.require(Permission::Read)?;
    let (limit, cursor) = page(&mut parameters)?;
    parameters.finish()?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let alert = store.find_alert(&id).await?.ok_or_else(|| Problem::not_found("alert"))?;
    let filter = AlertFilter { folding: Some(Folding::Under(alert.id)), ..AlertFilter::default() };
    Ok(Json(store.list_alerts(filter, limit, cursor).await?))
}

fn page(parameters: &mut Parameters) -> Result<(usize, Option<Cursor>), Problem> {
    let limit = parameters.number("limit", MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let cursor = match parameters.text("cursor")? {
        None => None,
        Some(text) => Some(Cursor::parse(&text).ok_or_else(|| Problem::parameter("cursor", "cursor is not a next_cursor of this list"))?),
    };
    Ok((limit, cursor))
}

/// Reads an alert. Its `ETag` is its revision.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", operation_id = "find_alert", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert"), IfNoneMatch),
    responses(
        (status = 200, description = "The alert", body = schema::alerts::Alert, headers(("ETag" = String, description = "The revision"))),
        (status = 304, description = "It is still at the revision that If-None-Match names"),
        ReadProblems,
    ),
)]
pub(super) async fn find(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Read)?;
    let alert = app.stores.tenant(&api.principal.tenant)?.find_alert(&id).await?.ok_or_else(|| Problem::not_found("alert"))?;
    if request::has_already(&headers, alert.revision) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(alert.revision))]).into_response());
    }
    Ok(shown(&alert))
}

/// What happened to an alert.
#[derive(Serialize)]
pub(super) struct History {
    items: Vec<HistoryEntry>,
    occurrences: Vec<OccurrenceView>,
}

/// Reads what happened to an alert, oldest first, and its earlier occurrences, newest first.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/history", operation_id = "alert_history", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert")),
    responses((status = 200, description = "The newest 1,000 entries and 100 occurrences", body = schema::alerts::History), ReadProblems),
)]
pub(super) async fn history(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<History>, Problem> {
    api.principal.require(Permission::Read)?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let items = store.alert_history(&id).await?.ok_or_else(|| Problem::not_found("alert"))?;
    let occurrences = store.occurrences(&id).await?.ok_or_else(|| Problem::not_found("alert"))?;
    Ok(Json(History { items, occurrences }))
}

/// Says that somebody took note of the alert. The first one stays.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/acknowledge", operation_id = "acknowledge_alert", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert"), IfMatch, IdempotencyKey),
    responses((status = 200, description = "The alert afterwards", body = schema::alerts::Alert), ChangeProblems),
)]
pub(super) async fn acknowledge(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Response, Problem> {
    act_without_body(&app, &api, id, AlertAction::Acknowledge, &change).await
}

/// Takes the acknowledgement back.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/unacknowledge", operation_id = "unacknowledge_alert", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert"), IfMatch, IdempotencyKey),
    responses((status = 200, description = "The alert afterwards", body = schema::alerts::Alert), ChangeProblems),
)]
pub(super) async fn unacknowledge(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Response, Problem> {
    act_without_body(&app, &api, id, AlertAction::Unacknowledge, &change).await
}

/// Ends the alert, whether or not its condition lasts. A new report opens it again as a new occurrence.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/close", operation_id = "close_alert", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert"), IfMatch, IdempotencyKey),
    responses((status = 200, description = "The alert afterwards", body = schema::alerts::Alert), ChangeProblems),
)]
pub(super) async fn close(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId, change: Change) -> Result<Response, Problem> {
    act_without_body(&app, &api, id, AlertAction::Close, &change).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNote {
    text: String,
}

/// Adds a note for others to read.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/notes", operation_id = "add_note", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert"), IfMatch, IdempotencyKey),
    request_body = schema::alerts::NewNote,
    responses((status = 200, description = "The alert afterwards", body = schema::alerts::Alert), ChangeProblems),
)]
pub(super) async fn add_note(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Response, Problem> {
    api.principal.require(Permission::ActOnAlerts)?;
    let note: NewNote = change.json()?;
    act(&app, &api, id, AlertAction::Note(note.text), &change).await
}

async fn act_without_body(app: &App, api: &ApiPrincipal, id: String, action: AlertAction, change: &Change) -> Result<Response, Problem> {
    api.principal.require(Permission::ActOnAlerts)?;
    change.require_no_body()?;
    act(app, api, id, action, change).await
}

async fn act(app: &App, api: &ApiPrincipal, id: String, action: AlertAction, change: &Change) -> Result<Response, Problem> {
    let wish = Wish { id, action, expected: change.expected()?, once: change.once(&api.principal)? };
    match alert_actions::act(app, &api.principal, wish).await? {
        Acted::Changed { revision } => Err(request::precondition_failed(revision)),
        Acted::Done(done) => Ok(shown(&done.alert)),
        Acted::KeyMisused => Err(request::key_misused()),
        Acted::Repeated(answer) => Ok(repeated(answer)),
    }
}

fn shown(alert: &AlertView) -> Response {
    ([(header::ETAG, etag(alert.revision))], Json(alert)).into_response()
}

/// The answer that was given before; its ETag says the revision that the alert had then.
fn repeated(answer: Answer) -> Response {
    #[derive(Deserialize)]
    struct Revision {
        revision: i64,
    }
    let revision = serde_json::from_slice(&answer.body).map_or(0, |Revision { revision }| revision);
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::ETAG, etag(revision)), (header::CONTENT_TYPE, kind)], answer.body).into_response()
}

/// The ETag of a revision.
pub(super) fn etag(revision: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}
