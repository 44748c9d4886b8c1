//! Maintenance windows of a gateway: those that its document has, a form that adds one, and the way to end one now.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::id::RuleId;
use postern_protocol::revision::noise::{Day, Monthly, Once, Scope, Weekly, When, Window};
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

use super::{ProblemLine, find, problem_lines};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::configuration::PutError;
use crate::console::fault::Fault;
use crate::console::page::{self, NoFields, Shell};
use crate::rfc3339;
use crate::store::StoreError;
use crate::store::gateways::GatewayView;
use crate::windows::{self, Wish};

/// What the form sends: times are UTC, lists have blanks or commas between their entries.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::console) struct WindowForm {
    id: String,
    #[serde(default)]
    description: String,
    from: String,
    until: String,
    #[serde(default)]
    sources: String,
    #[serde(default)]
    groups: String,
    #[serde(default)]
    networks: String,
    #[serde(default)]
    rules: String,
    #[serde(default)]
    tags: String,
}

#[derive(Template)]
#[template(path = "windows.html")]
struct WindowsPage {
    form: WindowForm,
    id: String,
    message: String,
    name: String,
    problems: Vec<ProblemLine>,
    shell: Shell,
    windows: Vec<WindowLine>,
}

struct WindowLine {
    affects: String,
    class: &'static str,
    description: String,
    id: String,
    state: &'static str,
    when: String,
}

/// Why a form was not taken.
struct Refused {
    status: StatusCode,
    message: String,
    problems: Vec<ProblemLine>,
    form: WindowForm,
}

/// Lists the windows.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let refused = Refused { status: StatusCode::OK, message: String::new(), problems: Vec::new(), form: WindowForm::default() };
    show(&app, &person, &gateway, refused).await
}

/// Adds a window.
pub(in crate::console) async fn add(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<WindowForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let window = match window(&form) {
        Ok(window) => window,
        Err(why) => {
            let refused = Refused { status: StatusCode::UNPROCESSABLE_ENTITY, message: why.to_owned(), problems: Vec::new(), form };
            return show(&app, &person, &gateway, refused).await;
        }
    };
    carry_out(&app, &person, &gateway, (Wish::Add(Box::new(window)), form)).await
}

/// Ends a window.
pub(in crate::console) async fn end(
    State(app): State<Arc<App>>,
    Path((id, window)): Path<(String, String)>,
    form: ConsoleForm<NoFields>,
) -> Result<Response, Fault> {
    let person = form.principal;
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    carry_out(&app, &person, &gateway, (Wish::End(window), WindowForm::default())).await
}

async fn carry_out(
    app: &App,
    person: &ConsolePrincipal,
    gateway: &GatewayView,
    (wish, form): (Wish, WindowForm),
) -> Result<Response, Fault> {
    let refused = match windows::change(app, &person.principal, &gateway.id, wish).await {
        Ok(_) => return Ok(Redirect::to(&format!("/gateways/{}/windows", gateway.id)).into_response()),
        Err(PutError::Invalid(problems)) => {
            let message = "Not saved: the document would have these problems.".to_owned();
            Refused { status: StatusCode::UNPROCESSABLE_ENTITY, message, problems: problem_lines(&problems), form }
        }
        Err(PutError::Forbidden(forbidden)) => return Err(forbidden.into()),
        Err(PutError::NotFound) => return Err(Fault::NotFound),
        Err(PutError::Store(StoreError::Conflict(why))) => {
            Refused { status: StatusCode::CONFLICT, message: format!("Not saved: {why}."), problems: Vec::new(), form }
        }
        Err(PutError::Store(error)) => return Err(error.into()),
    };
    show(app, person, gateway, refused).await
}

fn window(form: &WindowForm) -> Result<Window, &'static str> {
    let id = RuleId::new(form.id.trim()).map_err(|_| "A window's name has 1 to 64 of a to z, 0 to 9, dot, underscore and hyphen.")?;
    let time = |text: &str| match text.len() {
        16 => rfc3339::parse(&format!("{text}:00Z")),
        19 => rfc3339::parse(&format!("{text}Z")),
        _ => rfc3339::parse(text),
    };
    let from = time(form.from.trim()).ok_or("Say when the window begins, UTC.")?;
    let until = time(form.until.trim()).ok_or("Say when the window ends, UTC.")?;
    if until <= from {
        return Err("The window ends before it begins.");
    }
    let list = |text: &str| text.split([' ', ',', '\t', '\n', '\r']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let affects = Scope {
        networks: list(&form.networks),
        sources: list(&form.sources),
        groups: list(&form.groups),
        rules: list(&form.rules),
        tags: list(&form.tags),
    };
    Ok(windows::once(id, form.description.trim().to_owned(), (from, until), affects))
}

async fn show(app: &App, person: &ConsolePrincipal, gateway: &GatewayView, refused: Refused) -> Result<Response, Fault> {
    let desired = app.stores.tenant(&person.principal.tenant)?.desired(&gateway.id).await?;
    let listed = desired.map(|revision| windows::of(&revision.document)).unwrap_or_default();
    let now = app.now();
    let page = WindowsPage {
        form: refused.form,
        id: gateway.id.to_string(),
        message: refused.message,
        name: gateway.name.clone(),
        problems: refused.problems,
        shell: Shell::new(person, "gateways"),
        windows: listed.into_iter().map(|window| line(window, now)).collect(),
    };
    Ok(page::html(refused.status, &page))
}

fn line(window: Window, now: Timestamp) -> WindowLine {
    let (state, class) = match &window.when {
        When::Once(Once { from, until }) => match (rfc3339::parse(from), rfc3339::parse(until)) {
            (_, Some(until)) if until <= now => ("over", "closed"),
            (Some(from), _) if from > now => ("to come", "desired"),
            _ => ("now", "warn"),
        },
        When::Weekly(_) | When::Monthly(_) => ("recurs", "applied"),
    };
    WindowLine {
        affects: affects(&window.affects),
        class,
        description: window.description,
        id: window.id.to_string(),
        state,
        when: when(&window.when),
    }
}

fn affects(scope: &Scope) -> String {
    let Scope { networks, sources, groups, rules, tags } = scope;
    let parts = [("networks", networks), ("sources", sources), ("groups", groups), ("rules", rules), ("tags", tags)];
    let parts: Vec<_> =
        parts.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name} {}", list.join(", "))).collect();
    if parts.is_empty() { "every alert".to_owned() } else { parts.join("; ") }
}

fn when(when: &When) -> String {
    let zone = |zone: &Option<String>| zone.clone().unwrap_or_else(|| "UTC".to_owned());
    match when {
        When::Once(Once { from, until }) => format!("{from} to {until}"),
        When::Weekly(Weekly { days, at, minutes, time_zone }) => {
            let days: Vec<_> = days.iter().map(|day| day_name(*day)).collect();
            format!("every {} at {at}, {minutes} min, {}", days.join(", "), zone(time_zone))
        }
        When::Monthly(Monthly { nth, day, at, minutes, time_zone }) => {
            let nth = if *nth < 0 { "last".to_owned() } else { format!("{nth}.") };
            format!("every month's {nth} {} at {at}, {minutes} min, {}", day_name(*day), zone(time_zone))
        }
    }
}

const fn day_name(day: Day) -> &'static str {
    match day {
        Day::Mon => "Monday",
        Day::Tue => "Tuesday",
        Day::Wed => "Wednesday",
        Day::Thu => "Thursday",
        Day::Fri => "Friday",
        Day::Sat => "Saturday",
        Day::Sun => "Sunday",
    }
}
