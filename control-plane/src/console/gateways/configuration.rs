//! The configuration editor: shows a gateway's document, checks and saves a new one, and says what is wrong at which line.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::id::RevisionNumber;
use postern_protocol::revision::{self, Problem};
use serde::Deserialize;

use super::document::Document;
use super::{ProblemLine, find, problem_lines, revisions};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::configuration::{self, Force, PutError};
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::page::{self, Shell};
use crate::rule_book;
use crate::store::StoreError;
use crate::store::gateways::GatewayView;

/// Which revision is asked for.
#[derive(Deserialize)]
pub(in crate::console) struct Opened {
    revision: Option<u64>,
}

/// What the editor sends.
#[derive(Deserialize)]
pub(in crate::console) struct EditForm {
    document: String,
    /// The newest revision when the page was opened; 0 before the first.
    base: u64,
    #[serde(rename = "do")]
    wish: Wish,
    #[serde(default)]
    force: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wish {
    Check,
    Save,
}

#[derive(Template)]
#[template(path = "configuration_found.html")]
struct Found {
    good: bool,
    message: String,
    problems: Vec<ProblemLine>,
    warnings: Vec<ProblemLine>,
}

#[derive(Template)]
#[template(path = "configuration.html")]
struct EditorPage<'a> {
    base: u64,
    columns: usize,
    document: &'a str,
    found: String,
    gutter: String,
    id: &'a str,
    lines: usize,
    name: &'a str,
    opened: Option<u64>,
    panel: String,
    revisions: String,
    shell: Shell,
    tags: String,
}

/// What the editor shows this time.
struct Shown {
    document: Document,
    /// The revision that the text is of, unless the person has just written it.
    revision: Option<u64>,
    /// Problems to list, with what they mean as a whole.
    message: String,
    problems: Vec<Problem>,
    status: StatusCode,
}

/// Shows the newest document, or an earlier one.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
    Query(opened): Query<Opened>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    let found = match opened.revision {
        Some(number) => Some(store.find_revision(&gateway.id, RevisionNumber(number)).await?.ok_or(Fault::NotFound)?),
        None => store.desired(&gateway.id).await?,
    };
    let (text, number, problems) = match found {
        Some(revision) => (String::from_utf8_lossy(&revision.document).into_owned(), Some(revision.view.number.0), revision.view.problems),
        None => (revision::BUILT_IN.to_owned(), None, Vec::new()),
    };
    let message = if problems.is_empty() { String::new() } else { "The gateway refused this revision:".to_owned() };
    let shown = Shown { document: Document::new(&text), revision: number, message, problems, status: StatusCode::OK };
    show(&app, &person, &gateway, shown).await
}

/// Checks or saves what was written.
pub(in crate::console) async fn submit(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<EditForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let document = Document::new(&form.document);
    let newest = app.stores.tenant(&person.principal.tenant)?.newest_revision(&gateway.id).await?;
    let refused = if form.wish == Wish::Check {
        let checked = configuration::check(&app, &person.principal.tenant, &gateway.id, document.text.as_bytes()).await?;
        checked.err().map(|problems| invalid("Not valid", problems))
    } else if newest.0 != form.base {
        let message = format!(
            "Revision {newest} was saved since you opened this page. Your text is still here: compare it under Revisions, then save again."
        );
        Some((StatusCode::CONFLICT, message, Vec::new()))
    } else {
        let force = if form.force == "yes" { Force::Forced } else { Force::Checked };
        match configuration::put(&app, &person.principal, &gateway.id, document.text.as_bytes(), force).await {
            Ok(_) => return Ok(Redirect::to(&format!("/gateways/{}/configuration", gateway.id)).into_response()),
            Err(PutError::Invalid(problems)) => Some(invalid("Not saved", problems)),
            Err(PutError::Forbidden(forbidden)) => return Err(forbidden.into()),
            Err(PutError::NotFound) => return Err(Fault::NotFound),
            Err(PutError::Store(StoreError::Conflict(why))) => Some((StatusCode::CONFLICT, format!("Not saved: {why}."), Vec::new())),
            Err(PutError::Store(error)) => return Err(error.into()),
        }
    };
    let (status, message, problems) =
        refused.unwrap_or((StatusCode::OK, "The document is valid. It was not saved.".to_owned(), Vec::new()));
    show(&app, &person, &gateway, Shown { document, revision: None, message, problems, status }).await
}

type Refused = (StatusCode, String, Vec<Problem>);

fn invalid(what: &str, problems: Vec<Problem>) -> Refused {
    (StatusCode::UNPROCESSABLE_ENTITY, format!("{what}: {}", figures::counted(problems.len(), "problem")), problems)
}

async fn show(app: &App, person: &ConsolePrincipal, gateway: &GatewayView, shown: Shown) -> Result<Response, Fault> {
    let store = app.stores.tenant(&person.principal.tenant)?;
    let revisions = store.list_revisions(&gateway.id).await?;
    let tags = store.tags().await?.remove(gateway.id.as_str()).unwrap_or_default().join(" ");
    let newest = revisions.first().map(|newest| newest.number.0);
    let marked: BTreeSet<u32> = shown.problems.iter().map(|problem| problem.line).collect();
    let good = shown.status == StatusCode::OK && shown.problems.is_empty();
    // Of a document that was refused, what is wrong comes first.
    let warnings =
        if shown.problems.is_empty() { rule_book::warnings(shown.document.text.clone().into_bytes()).await? } else { Vec::new() };
    let warnings = problem_lines(&warnings);
    let page = EditorPage {
        base: newest.unwrap_or(0),
        columns: shown.document.columns,
        found: page::part(&Found { good, message: shown.message, problems: problem_lines(&shown.problems), warnings })?,
        gutter: shown.document.gutter(&marked),
        document: &shown.document.text,
        id: gateway.id.as_str(),
        lines: shown.document.lines,
        name: &gateway.name,
        opened: shown.revision.filter(|opened| Some(*opened) != newest),
        panel: revisions::panel(gateway, &revisions)?,
        revisions: revisions::list(gateway, &revisions, shown.revision, app.now())?,
        shell: Shell::new(person, "gateways"),
        tags,
    };
    Ok(page::html(shown.status, &page))
}
