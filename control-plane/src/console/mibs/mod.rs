//! MIB modules in the console: archives, modules and what is wrong with them; and the OIDs that nothing names yet.

pub(super) mod unknown;

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::fault::Fault;
use super::figures;
use super::moment::Moment;
use super::page::{self, NoFields, Shell};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal, UploadPrincipal};
use crate::mib::compiler::CompileError;
use crate::mib::report::{ModuleReport, Problem, Reason, Report, Totals, Unresolved};
use crate::mibs::{self, MAX_ARCHIVE_BYTES, MibError};
use crate::store::mibs::UploadView;
use postern_protocol::timestamp::Timestamp;

/// Most lines of each list on the page; the filter finds the others.
const MAX_LINES: usize = 500;

/// What the page is asked for.
#[derive(Deserialize)]
pub(super) struct Asked {
    /// A text in the name of a module, file or notification.
    #[serde(default)]
    q: String,
}

struct ArchiveLine {
    number: i64,
    name: String,
    bytes: String,
    at: Moment,
    by: String,
}

struct FaultLine {
    module: String,
    name: String,
    place: String,
    reason: &'static str,
    detail: String,
}

struct ModuleLine {
    name: String,
    file: String,
    smi: u8,
    entries: String,
    notifications: String,
    whole: bool,
    problems: String,
    problems_some: bool,
}

struct TotalLines {
    modules: String,
    entries: String,
    resolved: String,
    notifications: String,
    table: String,
    took: String,
    memory: String,
    made_at: Moment,
    made_by: String,
}

/// Lines of one list, and how many there are in all.
struct List<T> {
    lines: Vec<T>,
    all: String,
    more: bool,
}

#[derive(Template)]
#[template(path = "mibs.html")]
struct MibsPage<'a> {
    archives: Vec<ArchiveLine>,
    max_mib: usize,
    mended: List<FaultLine>,
    modules: List<ModuleLine>,
    problems: List<FaultLine>,
    q: &'a str,
    shell: Shell,
    skipped: List<FaultLine>,
    totals: Option<TotalLines>,
    unresolved: List<FaultLine>,
}

/// Shows the page.
pub(super) async fn page(State(app): State<Arc<App>>, person: ConsolePrincipal, Query(asked): Query<Asked>) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    let archives = store.mib_uploads().await?;
    let found = store.dictionary().await?;
    let now = app.now();
    let totals = found.as_ref().map(|found| totals(&found.report.totals, found.made_at, &found.made_by, now));
    let report = found.map(|found| found.report).unwrap_or_default();
    let q = asked.q.trim().to_lowercase();
    let has = |texts: &[&str]| q.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&q));
    let Report { modules, unresolved, problems, mended, skipped, .. } = report;
    let page = MibsPage {
        archives: archives.into_iter().map(|one| archive(one, now)).collect(),
        max_mib: MAX_ARCHIVE_BYTES / 1024 / 1024,
        mended: list(mended, |one| has(&[&one.module, &one.file, &one.detail]), fault),
        modules: list(modules, |one| has(&[&one.name, &one.file]), module),
        problems: list(problems, |one| has(&[&one.module, &one.file, &one.detail]), fault),
        q: asked.q.trim(),
        shell: Shell::new(&person, "mibs"),
        skipped: list(
            skipped,
            |one| has(&[&one.file, &one.why]),
            |one| FaultLine { module: String::new(), name: String::new(), place: one.file, reason: "left out", detail: one.why },
        ),
        totals,
        unresolved: list(unresolved, |one| has(&[&one.module, &one.name, &one.file, &one.detail]), unresolved_line),
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Takes an archive: the body is the file, its name and the CSRF token are headers, as `mibs.js` sends them.
pub(super) async fn upload(State(app): State<Arc<App>>, uploader: UploadPrincipal, request: Request) -> Result<Response, Fault> {
    let principal = uploader.0.principal;
    principal.require(Permission::Configure)?;
    let name = file_name(request.headers());
    let turn = app.mibs.upload_turn().await?;
    let archive = Bytes::from_request(request, &app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => refused(StatusCode::PAYLOAD_TOO_LARGE, "the file is too large: split it"),
        status => refused(status, "the file did not arrive whole"),
    })?;
    if archive.is_empty() {
        return Err(refused(StatusCode::BAD_REQUEST, "the file is empty"));
    }
    let report = mibs::add(&app, &principal, &name, archive).await?;
    drop(turn);
    let Totals { modules, notifications, resolved, .. } = report.totals;
    let text =
        format!("{}, {resolved} of {} resolved", figures::counted(modules, "module"), figures::counted(notifications, "notification"));
    Ok(text.into_response())
}

/// Removes an archive.
pub(super) async fn remove(State(app): State<Arc<App>>, Path(number): Path<i64>, form: ConsoleForm<NoFields>) -> Result<Response, Fault> {
    let principal = form.principal.principal;
    principal.require(Permission::Configure)?;
    mibs::remove(&app, &principal, number).await?;
    Ok(Redirect::to("/mibs").into_response())
}

/// The file's name: percent-encoded, for a header takes no other characters.
fn file_name(headers: &HeaderMap) -> String {
    let text = headers.get("x-file-name").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let (high, low) = match byte {
            b'%' => (rest.next(), rest.next()),
            byte => {
                bytes.push(byte);
                continue;
            }
        };
        let digits = [high.unwrap_or(b'x'), low.unwrap_or(b'x')].map(|byte| byte.to_ascii_uppercase());
        bytes.extend(data_encoding::HEXUPPER.decode(&digits).unwrap_or_default());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn refused(status: StatusCode, text: &str) -> Fault {
    Fault::Refused(status, text.to_owned())
}

impl From<MibError> for Fault {
    fn from(error: MibError) -> Self {
        match error {
            MibError::Forbidden(forbidden) => forbidden.into(),
            MibError::Store(error) => error.into(),
            MibError::Room(text) => Self::Refused(StatusCode::CONFLICT, text),
            MibError::Compile(error @ CompileError::Child(_)) => Self::internal(&error),
            MibError::Compile(error @ (CompileError::Archive(_) | CompileError::Died(_) | CompileError::TimedOut(_))) => {
                Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, crate::chain(&error))
            }
            error @ MibError::Table(_) => Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, crate::chain(&error)),
        }
    }
}

fn list<T, L>(all: Vec<T>, wanted: impl Fn(&T) -> bool, line: impl Fn(T) -> L) -> List<L> {
    let wanted: Vec<T> = all.into_iter().filter(wanted).collect();
    let count = wanted.len();
    List { lines: wanted.into_iter().take(MAX_LINES).map(line).collect(), all: figures::count(count as u64), more: count > MAX_LINES }
}

fn archive(one: UploadView, now: Timestamp) -> ArchiveLine {
    let at = Moment::new(one.uploaded_at, now);
    ArchiveLine { number: one.number, name: one.name, bytes: figures::bytes(one.bytes), at, by: one.uploaded_by }
}

fn totals(totals: &Totals, made_at: Timestamp, made_by: &str, now: Timestamp) -> TotalLines {
    let count = |number: usize| figures::count(number as u64);
    TotalLines {
        modules: count(totals.modules),
        entries: count(totals.entries),
        resolved: count(totals.resolved),
        notifications: count(totals.notifications),
        table: figures::bytes(totals.table_bytes as u64),
        took: figures::duration(std::time::Duration::from_millis(totals.milliseconds)),
        memory: figures::bytes(totals.peak_bytes),
        made_at: Moment::new(made_at, now),
        made_by: made_by.to_owned(),
    }
}

fn module(one: ModuleReport) -> ModuleLine {
    let whole = one.resolved == one.notifications;
    let notifications = if whole { one.notifications.to_string() } else { format!("{} of {}", one.resolved, one.notifications) };
    ModuleLine {
        name: one.name,
        file: one.file,
        smi: one.smi,
        entries: figures::count(one.entries as u64),
        notifications,
        whole,
        problems: figures::count(one.problems as u64),
        problems_some: one.problems > 0,
    }
}

fn fault(one: Problem) -> FaultLine {
    let place = format!("{}:{}", one.file, one.line);
    FaultLine { module: one.module, name: String::new(), place, reason: reason(one.reason), detail: one.detail }
}

fn unresolved_line(one: Unresolved) -> FaultLine {
    let place = format!("{}:{}", one.file, one.line);
    FaultLine { module: one.module, name: one.name, place, reason: reason(one.reason), detail: one.detail }
}

const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::BrokenText => "broken text",
        Reason::Conflict => "conflict",
        Reason::MissingImport => "missing import",
        Reason::MissingObject => "missing object",
        Reason::UnknownParent => "unknown parent",
        Reason::UnknownType => "unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_comes_percent_encoded() {
        let name = |text: &'static str| file_name(&HeaderMap::from_iter([("x-file-name".parse().unwrap(), text.parse().unwrap())]));
        assert_eq!(name("M%C3%BCller%20%3cb%3e.zip"), "Müller <b>.zip");
        assert_eq!(name("100%"), "100");
        assert_eq!(file_name(&HeaderMap::new()), "");
    }
}
