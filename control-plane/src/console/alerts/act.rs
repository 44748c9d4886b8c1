//! Forms that act on alerts: one from its page or row, or several from the list.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::alert_actions::{ActError, Wish, act};
use crate::app::App;
use crate::auth::console::ConsoleForm;
use crate::console::fault::Fault;
use crate::console::{figures, frame, url};
use crate::store::StoreError;
use crate::store::alert_actions::AlertAction;

/// Most alerts that one form may name.
const MAX_SELECTED: usize = 500;

/// Where to go on.
#[derive(Deserialize)]
pub(in crate::console) struct Next {
    #[serde(default)]
    next: String,
}

/// A note and where to go on.
#[derive(Deserialize)]
pub(in crate::console) struct NoteForm {
    text: String,
    #[serde(default)]
    next: String,
}

/// Acknowledges an alert.
pub(in crate::console) async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: ConsoleForm<Next>,
) -> Result<Response, Fault> {
    one(&app, &headers, form, id, AlertAction::Acknowledge).await
}

/// Takes an acknowledgement back.
pub(in crate::console) async fn unacknowledge(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: ConsoleForm<Next>,
) -> Result<Response, Fault> {
    one(&app, &headers, form, id, AlertAction::Unacknowledge).await
}

/// Closes an alert.
pub(in crate::console) async fn close(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: ConsoleForm<Next>,
) -> Result<Response, Fault> {
    one(&app, &headers, form, id, AlertAction::Close).await
}

/// Adds a note to an alert.
pub(in crate::console) async fn note(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: ConsoleForm<NoteForm>,
) -> Result<Response, Fault> {
    let NoteForm { text, next } = form.form;
    let form = ConsoleForm { principal: form.principal, form: Next { next } };
    one(&app, &headers, form, id, AlertAction::Note(text)).await
}

/// Acknowledges the selected alerts.
pub(in crate::console) async fn acknowledge_selected(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: ConsoleForm<Vec<(String, String)>>,
) -> Result<Response, Fault> {
    several(&app, &headers, form, AlertAction::Acknowledge).await
}

/// Closes the selected alerts.
pub(in crate::console) async fn close_selected(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: ConsoleForm<Vec<(String, String)>>,
) -> Result<Response, Fault> {
    several(&app, &headers, form, AlertAction::Close).await
}

async fn one(app: &App, headers: &HeaderMap, form: ConsoleForm<Next>, id: String, action: AlertAction) -> Result<Response, Fault> {
    act(app, &form.principal.principal, Wish { id, action, expected: None, once: None }).await?;
    Ok(done(headers, &form.form.next))
}

async fn several(app: &App, headers: &HeaderMap, form: ConsoleForm<Vec<(String, String)>>, action: AlertAction) -> Result<Response, Fault> {
    let of = |wanted: &'static str| form.form.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value);
    let ids: Vec<_> = of("id").cloned().collect();
    if ids.is_empty() || ids.len() > MAX_SELECTED {
        let why = format!("select 1 to {MAX_SELECTED} alerts");
        return Err(Fault::Refused(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let mut refused: usize = 0;
    for id in ids {
        match act(app, &form.principal.principal, Wish { id, action: action.clone(), expected: None, once: None }).await {
            Ok(_) => {}
            // One that was closed or is gone meanwhile does not keep the others back.
            Err(ActError::Store(StoreError::NotFound | StoreError::Conflict(_))) => refused = refused.saturating_add(1),
            Err(error) => return Err(error.into()),
        }
    }
    if refused > 0 {
        let why = format!("{} changed meanwhile and did not allow it; the others are done", figures::counted(refused, "alert"));
        return Err(Fault::Refused(StatusCode::CONFLICT, why));
    }
    Ok(done(headers, of("next").next().map_or("", String::as_str)))
}

/// A script hears only that it is done, for the live link brings the change; a browser without scripts goes on to a page.
fn done(headers: &HeaderMap, next: &str) -> Response {
    let by_script = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    if by_script { frame::nothing() } else { Redirect::to(url::local(next)).into_response() }
}
