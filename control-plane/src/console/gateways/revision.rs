//! One revision: who made it and when, what it changed, how far it got, and the way back to it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::id::RevisionNumber;
use serde::Deserialize;

use super::find;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::canonical;
use crate::configuration::{self, PutError};
use crate::console::fault::Fault;
use crate::console::moment::Moment;
use crate::console::page::{self, NoFields, Shell};
use crate::line_diff::{self, Line, Side};
use crate::store::StoreError;
use crate::store::revisions::Revision;

/// With which revision it is compared.
#[derive(Deserialize)]
pub(in crate::console) struct Compared {
    against: Option<u64>,
}

/// One line of the comparison, as it is shown.
struct Row {
    class: &'static str,
    mark: &'static str,
    new: String,
    old: String,
    text: String,
}

#[derive(Template)]
#[template(path = "revision.html")]
struct RevisionPage<'a> {
    against: u64,
    created_at: Moment,
    created_by: &'a str,
    hunks: Vec<Vec<Row>>,
    id: &'a str,
    name: &'a str,
    newest: bool,
    number: u64,
    problems: Vec<super::ProblemLine>,
    refused: String,
    remark: &'a str,
    shell: Shell,
    state: &'static str,
    state_at: Moment,
}

/// Shows what a revision changed: against the one before it, or another.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path((id, number)): Path<(String, u64)>,
    Query(compared): Query<Compared>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let shown = Shown { number: RevisionNumber(number), against: compared.against.map(RevisionNumber), refused: String::new() };
    show(&app, &person, &id, shown).await
}

struct Shown {
    number: RevisionNumber,
    against: Option<RevisionNumber>,
    /// Why it did not become the newest again.
    refused: String,
}

async fn show(app: &App, person: &ConsolePrincipal, id: &str, shown: Shown) -> Result<Response, Fault> {
    let gateway = find(app, &person.principal, id).await?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    let revision = store.find_revision(&gateway.id, shown.number).await?.ok_or(Fault::NotFound)?;
    let listed = store.list_revisions(&gateway.id).await?;
    let before = listed.iter().map(|view| view.number).find(|number| *number < shown.number);
    let other = match shown.against.or(before) {
        Some(number) => store.find_revision(&gateway.id, number).await?,
        None => None,
    };
    let (old, new) = (other.as_ref().map(text).unwrap_or_default(), text(&revision));
    let hunks = line_diff::diff(&old, &new).iter().map(|hunk| hunk.lines.iter().map(Row::from).collect()).collect();
    let status = if shown.refused.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
    let page = RevisionPage {
        against: other.map_or(0, |other| other.view.number.0),
        created_at: Moment::new(revision.view.created_at, app.now()),
        created_by: &revision.view.created_by,
        hunks,
        id: gateway.id.as_str(),
        name: &gateway.name,
        newest: listed.first().is_some_and(|newest| newest.number == shown.number),
        number: shown.number.0,
        problems: super::problem_lines(&revision.view.problems),
        refused: shown.refused,
        remark: &revision.view.remark,
        shell: Shell::new(person, "gateways"),
        state: revision.view.state.name(),
        state_at: Moment::new(revision.view.state_at, app.now()),
    };
    Ok(page::html(status, &page))
}

/// Both sides are compared as they would be exported: what only moved or was indented anew is no change.
fn text(revision: &Revision) -> String {
    canonical::canonical(&revision.document).unwrap_or_else(|_| String::from_utf8_lossy(&revision.document).into_owned())
}

impl From<&Line> for Row {
    fn from(line: &Line) -> Self {
        let (class, mark) = match line.side {
            Side::Added => ("added", "+"),
            Side::Both => ("", ""),
            Side::Removed => ("removed", "−"),
        };
        let number = |number: Option<usize>| number.map(|number| number.to_string()).unwrap_or_default();
        Self { class, mark, new: number(line.new), old: number(line.old), text: line.text.clone() }
    }
}

/// Makes an earlier revision's document the newest one.
pub(in crate::console) async fn return_to(
    State(app): State<Arc<App>>,
    Path((id, number)): Path<(String, u64)>,
    form: ConsoleForm<NoFields>,
) -> Result<Response, Fault> {
    let person = form.principal;
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let number = RevisionNumber(number);
    let refused = match configuration::return_to(&app, &person.principal, &gateway.id, number).await {
        Ok(_) => return Ok(Redirect::to(&format!("/gateways/{}/configuration", gateway.id)).into_response()),
        Err(PutError::Invalid(problems)) => {
            let first = problems.first().map(|problem| format!("{}: {}", problem.path, problem.reason)).unwrap_or_default();
            format!("Its document is not valid any more. {first}")
        }
        Err(PutError::Forbidden(forbidden)) => return Err(forbidden.into()),
        Err(PutError::NotFound) => return Err(Fault::NotFound),
        Err(PutError::Store(StoreError::Conflict(why))) => format!("That is not possible now: {why}."),
        Err(PutError::Store(error)) => return Err(error.into()),
    };
    show(&app, &person, &id, Shown { number, against: None, refused }).await
}

/// Gives the newest document as a file, in its canonical form.
pub(in crate::console) async fn export(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let desired = app.stores.tenant(&person.principal.tenant)?.desired(&gateway.id).await?.ok_or(Fault::NotFound)?;
    let name = format!("attachment; filename=\"{}.json\"", gateway.id);
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], text(&desired)).into_response())
}
