//! Trying a document before it is pushed: asks the gateway to replay its recent events, and shows what would differ.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::replay::{Difference, Figures, ReplayState, Replayed, RuleFigures, Seen};
use serde::Deserialize;

use super::document::Document;
use super::{ProblemLine, find, problem_lines};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::configuration::PutError;
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::moment::{self, Moment};
use crate::console::page::{self, Shell};
use crate::replays::{self, Wish};
use crate::store::StoreError;
use crate::store::replays::{PATIENCE, ReplayStanding, ReplayView};
use postern_protocol::timestamp::Timestamp;

/// What the form beside the editor sends.
#[derive(Deserialize)]
pub(in crate::console) struct TryForm {
    document: String,
    minutes: u32,
}

#[derive(Template)]
#[template(path = "replay.html")]
struct ReplayPage {
    asked_at: Option<Moment>,
    asked_by: String,
    id: String,
    message: String,
    name: String,
    outcome: Option<Outcome>,
    problems: Vec<ProblemLine>,
    shell: Shell,
    waiting: bool,
}

/// What a replay showed.
struct Outcome {
    differences: Vec<DifferenceLine>,
    events: String,
    figures: Vec<FigureLine>,
    from: Moment,
    further: String,
    headline: String,
    lasted: String,
    rules: Vec<RuleLine>,
    undecodable: Option<String>,
}

struct FigureLine {
    candidate: String,
    differs: bool,
    effective: String,
    name: &'static str,
}

struct DifferenceLine {
    candidate: String,
    class: &'static str,
    effective: String,
    kind: String,
    resource: String,
    word: &'static str,
}

struct RuleLine {
    candidate: String,
    differs: bool,
    effective: String,
    id: String,
    observes: bool,
}

/// Asks the gateway.
pub(in crate::console) async fn ask(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<TryForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let document = Document::new(&form.document).text.into_bytes();
    let (status, message, problems) =
        match replays::ask(&app, &person.principal, &gateway.id, Wish { document, minutes: form.minutes }).await {
            Ok(number) => return Ok(Redirect::to(&format!("/gateways/{}/replays/{number}", gateway.id)).into_response()),
            Err(PutError::Invalid(problems)) => {
                let message = format!("Not tried: the document has {}.", figures::counted(problems.len(), "problem"));
                (StatusCode::UNPROCESSABLE_ENTITY, message, problem_lines(&problems))
            }
            Err(PutError::Forbidden(forbidden)) => return Err(forbidden.into()),
            Err(PutError::NotFound) => return Err(Fault::NotFound),
            Err(PutError::Store(StoreError::Conflict(why))) => (StatusCode::CONFLICT, format!("Not tried: {why}."), Vec::new()),
            Err(PutError::Store(error)) => return Err(error.into()),
        };
    let page = ReplayPage {
        asked_at: None,
        asked_by: String::new(),
        id: gateway.id.to_string(),
        message,
        name: gateway.name,
        outcome: None,
        problems,
        shell: Shell::new(&person, "gateways"),
        waiting: false,
    };
    Ok(page::html(status, &page))
}

/// Shows a replay: while it waits, the page asks again by itself.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path((id, number)): Path<(String, u64)>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let now = app.now();
    let found = app.stores.tenant(&person.principal.tenant)?.find_replay(&gateway.id, number, now).await?;
    let replay = found.ok_or(Fault::NotFound)?;
    let message = message(&replay, gateway.connected);
    let done = replay.result.as_ref().filter(|result| result.state == ReplayState::Done);
    let page = ReplayPage {
        asked_at: Some(Moment::new(replay.asked_at, now)),
        asked_by: replay.asked_by,
        id: gateway.id.to_string(),
        message,
        name: gateway.name,
        outcome: done.map(|result| outcome(result, now)),
        problems: replay.result.as_ref().map(|result| problem_lines(&result.problems)).unwrap_or_default(),
        shell: Shell::new(&person, "gateways"),
        waiting: replay.state == ReplayStanding::Waiting,
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Says how a replay stands, unless it went well.
fn message(replay: &ReplayView, connected: bool) -> String {
    match (replay.state, &replay.result) {
        (ReplayStanding::Waiting, _) if connected => "The gateway replays its events; this page looks for the answer by itself.".to_owned(),
        (ReplayStanding::Waiting, _) => "The gateway is away. It is asked again when it is back.".to_owned(),
        (ReplayStanding::Unanswered, _) => {
            format!("No answer came within {}. Is the gateway connected? Try again.", figures::duration(PATIENCE))
        }
        (ReplayStanding::Answered, Some(result)) => match result.state {
            ReplayState::Done => String::new(),
            ReplayState::Refused => format!("The gateway refuses it: {}", result.reason),
            ReplayState::Unavailable => format!("The gateway cannot replay: {}", result.reason),
        },
        (ReplayStanding::Answered, None) => String::new(),
    }
}

fn outcome(result: &Replayed, now: Timestamp) -> Outcome {
    let Replayed { effective, candidate, .. } = result;
    let (from, until) = (Timestamp::from_nanos(result.from), Timestamp::from_nanos(result.until));
    Outcome {
        differences: result.differences.iter().map(difference).collect(),
        events: figures::count(result.events),
        figures: figure_lines(effective, candidate),
        from: Moment::new(from, now),
        further: figures::count(result.further),
        headline: headline(effective.shown, candidate.shown),
        lasted: moment::lasted(from, until),
        rules: rule_lines(effective, candidate),
        undecodable: (result.undecodable > 0).then(|| figures::count(result.undecodable)),
    }
}

fn headline(effective: u64, candidate: u64) -> String {
    let alerts = |number: u64| figures::counted(usize::try_from(number).unwrap_or(usize::MAX), "alert");
    match effective.cmp(&candidate) {
        std::cmp::Ordering::Equal => format!("A person would have seen {}, as many as with the configuration in force.", alerts(candidate)),
        std::cmp::Ordering::Less | std::cmp::Ordering::Greater => {
            format!("A person would have seen {} instead of {}.", alerts(candidate), figures::count(effective))
        }
    }
}

fn figure_lines(effective: &Figures, candidate: &Figures) -> Vec<FigureLine> {
    let line = |name, of: fn(&Figures) -> u64| FigureLine {
        candidate: figures::count(of(candidate)),
        differs: of(candidate) != of(effective),
        effective: figures::count(of(effective)),
        name,
    };
    vec![
        line("Seen by a person", |figures| figures.shown),
        line("Raised", |figures| figures.raised),
        line("Counted again", |figures| figures.updated),
        line("Cleared", |figures| figures.cleared),
        line("Open at the end", |figures| figures.open),
        line("Suppressed by a rule", |figures| figures.suppressed),
        line("Held back by a threshold or rate", |figures| figures.held),
        line("Matched by no rule", |figures| figures.unmatched),
    ]
}

fn difference(difference: &Difference) -> DifferenceLine {
    let (class, word) = match (&difference.effective, &difference.candidate) {
        (None, _) => ("added", "only with this document"),
        (_, None) => ("removed", "no more with this document"),
        (Some(_), Some(_)) => ("", "differs"),
    };
    let kind = match difference.qualifier.as_str() {
        "" => difference.kind.clone(),
        qualifier => format!("{} · {qualifier}", difference.kind),
    };
    DifferenceLine {
        candidate: seen(difference.candidate.as_ref()),
        class,
        effective: seen(difference.effective.as_ref()),
        kind,
        resource: difference.resource.clone(),
        word,
    }
}

fn seen(seen: Option<&Seen>) -> String {
    let Some(seen) = seen else { return "–".to_owned() };
    let hidden = if seen.shown { "" } else { ", folded or quiet" };
    let state = seen.state.name();
    format!(
        "{state}, {}, {}, raised {} by {}{hidden}",
        seen.severity,
        figures::counted(usize::try_from(seen.count).unwrap_or(usize::MAX), "report"),
        figures::counted(usize::try_from(seen.raised).unwrap_or(usize::MAX), "time"),
        seen.rule
    )
}

fn rule_lines(effective: &Figures, candidate: &Figures) -> Vec<RuleLine> {
    let mut ids: Vec<&str> = effective.rules.iter().chain(&candidate.rules).map(|rule| rule.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let of = |figures: &Figures, id: &str| figures.rules.iter().find(|rule| rule.id == id).cloned();
    let text = |rule: Option<&RuleFigures>| {
        rule.map_or_else(
            || "–".to_owned(),
            |rule| {
                let parts = [
                    (rule.matched, "matched"),
                    (rule.raised, "raised"),
                    (rule.updated, "counted"),
                    (rule.cleared, "cleared"),
                    (rule.suppressed, "suppressed"),
                    (rule.held, "held back"),
                ];
                let parts =
                    parts.into_iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{} {word}", figures::count(number)));
                parts.collect::<Vec<_>>().join(", ")
            },
        )
    };
    let line = |id: &str| {
        let (old, new) = (of(effective, id), of(candidate, id));
        let (effective, candidate) = (text(old.as_ref()), text(new.as_ref()));
        RuleLine {
            differs: effective != candidate,
            effective,
            candidate,
            id: id.to_owned(),
            observes: new.is_some_and(|rule| rule.observes),
        }
    };
    let mut lines: Vec<_> = ids.into_iter().map(line).collect();
    lines.sort_by_key(|line| !line.differs);
    lines
}
