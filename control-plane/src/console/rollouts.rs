//! Roll-outs in the console: the list with the form that begins one, and one with its stages and gateways.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

use super::fault::Fault;
use super::figures;
use super::moment::Moment;
use super::page::{self, NoFields, Shell};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::rollouts::change::Change;
use crate::rollouts::plan::{Offline, OnFailure, Stage};
use crate::rollouts::{self, RolloutError, Wish};
use crate::store::StoreError;
use crate::store::rollouts::{MemberView, RolloutState, RolloutView};

/// What the form starts out with.
const EXAMPLE: &str = r#"{"rules": {"set": [], "remove": []}}"#;

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct NewForm {
    tag: String,
    change: String,
    stages: String,
    offline: Offline,
    on_failure: OnFailure,
}

struct Item {
    at: Moment,
    by: String,
    change: String,
    id: String,
    reason: String,
    state: &'static str,
    tag: String,
}

#[derive(Template)]
#[template(path = "rollouts.html")]
struct ListPage {
    change: String,
    items: Vec<Item>,
    refused: String,
    shell: Shell,
    stages: String,
    tag: String,
    tags: Vec<(String, usize)>,
}

struct Member {
    at: Moment,
    gateway: String,
    name: String,
    reason: String,
    revision: Option<u64>,
    state: &'static str,
}

struct StageView {
    members: Vec<Member>,
    number: u32,
    reach: String,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage {
    item: Item,
    offline: &'static str,
    on_failure: &'static str,
    running: bool,
    shell: Shell,
    stages: Vec<StageView>,
    stopped: bool,
}

/// Lists roll-outs.
pub(super) async fn page(State(app): State<Arc<App>>, person: ConsolePrincipal) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let filled = NewForm {
        tag: String::new(),
        change: EXAMPLE.to_owned(),
        stages: "1, 10 %, all".to_owned(),
        offline: Offline::default(),
        on_failure: OnFailure::default(),
    };
    list(&app, &person, filled, String::new()).await
}

async fn list(app: &App, person: &ConsolePrincipal, filled: NewForm, refused: String) -> Result<Response, Fault> {
    let store = app.stores.tenant(&person.principal.tenant)?;
    let mut tags = std::collections::BTreeMap::<String, usize>::new();
    for tag in store.tags().await?.into_values().flatten() {
        let count = tags.entry(tag).or_default();
        *count = count.saturating_add(1);
    }
    let now = app.now();
    let page = ListPage {
        change: filled.change,
        items: store.list_rollouts().await?.into_iter().map(|rollout| item(rollout, now)).collect(),
        shell: Shell::new(person, "rollouts"),
        stages: filled.stages,
        tag: filled.tag,
        tags: tags.into_iter().collect(),
        refused,
    };
    let status = if page.refused.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok(page::html(status, &page))
}

/// Begins a roll-out, or shows the form again with what is wrong.
pub(super) async fn start(State(app): State<Arc<App>>, form: ConsoleForm<NewForm>) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let begun = match wish(&form) {
        Ok(wish) => rollouts::start(&app, &person.principal, wish).await,
        Err(why) => return list(&app, &person, form, why).await,
    };
    let why = match begun {
        Ok(id) => return Ok(Redirect::to(&format!("/rollouts/{id}")).into_response()),
        Err(RolloutError::Forbidden(forbidden)) => return Err(forbidden.into()),
        Err(RolloutError::Invalid { gateway, problems }) => {
            let first = problems.first().map(|problem| format!("{}: {}", problem.path, problem.reason)).unwrap_or_default();
            format!("the document that {gateway} would get is not valid: {first}")
        }
        Err(RolloutError::Store(StoreError::Conflict(why))) => why,
        Err(RolloutError::Store(error)) => return Err(error.into()),
        Err(error @ (RolloutError::Change { .. } | RolloutError::NotFound | RolloutError::Nobody(_) | RolloutError::Stages)) => {
            crate::chain(&error)
        }
    };
    list(&app, &person, form, why).await
}

fn wish(form: &NewForm) -> Result<Wish, String> {
    let change: Change = serde_json::from_str(&form.change).map_err(|error| format!("the change is not one: {error}"))?;
    let stages: Result<Vec<Stage>, _> = form.stages.split(',').map(|stage| stage.parse::<Stage>()).collect();
    let stages = stages.map_err(|error| error.to_string())?;
    Ok(Wish { tag: form.tag.trim().to_owned(), change, stages, offline: form.offline, on_failure: form.on_failure })
}

/// Shows one roll-out.
pub(super) async fn one(State(app): State<Arc<App>>, person: ConsolePrincipal, Path(id): Path<String>) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let tenant = &person.principal.tenant;
    let (rollout, members) = app.stores.tenant(tenant)?.find_rollout(&id).await?.ok_or(Fault::NotFound)?;
    let gateways = app.stores.list_gateways(tenant).await?;
    let name = |member: &MemberView| {
        let found = gateways.iter().find(|gateway| gateway.id == member.gateway);
        found.map_or_else(|| member.gateway.to_string(), |gateway| gateway.name.clone())
    };
    let now = app.now();
    let mut stages: Vec<StageView> = Vec::new();
    for member in &members {
        let shown = Member {
            at: Moment::new(member.state_at, now),
            gateway: member.gateway.to_string(),
            name: name(member),
            reason: member.reason.clone(),
            revision: member.revision.map(|number| number.0),
            state: member.state.name(),
        };
        match stages.last_mut().filter(|stage| stage.number == member.stage) {
            Some(stage) => stage.members.push(shown),
            None => {
                let place = usize::try_from(member.stage.saturating_sub(1)).unwrap_or(usize::MAX);
                let reach = rollout.stages.get(place).map(|stage| in_words(*stage)).unwrap_or_default();
                stages.push(StageView { members: vec![shown], number: member.stage, reach });
            }
        }
    }
    let page = RolloutPage {
        offline: match rollout.offline {
            Offline::Skip => "skipped",
            Offline::Wait => "waited for",
        },
        on_failure: match rollout.on_failure {
            OnFailure::GoOn => "the others get it all the same",
            OnFailure::Stop => "nobody else gets it",
        },
        running: rollout.state == RolloutState::Running,
        stopped: rollout.state == RolloutState::Stopped,
        item: item(rollout, now),
        shell: Shell::new(&person, "rollouts"),
        stages,
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Stops a roll-out.
pub(super) async fn stop(State(app): State<Arc<App>>, Path(id): Path<String>, form: ConsoleForm<NoFields>) -> Result<Response, Fault> {
    answer(rollouts::stop(&app, &form.principal.principal, &id).await, &id)
}

/// Has a stopped roll-out go on.
pub(super) async fn resume(State(app): State<Arc<App>>, Path(id): Path<String>, form: ConsoleForm<NoFields>) -> Result<Response, Fault> {
    answer(rollouts::resume(&app, &form.principal.principal, &id).await, &id)
}

fn answer(done: Result<(), RolloutError>, id: &str) -> Result<Response, Fault> {
    match done {
        Ok(()) => Ok(Redirect::to(&format!("/rollouts/{id}")).into_response()),
        Err(RolloutError::Forbidden(forbidden)) => Err(forbidden.into()),
        Err(RolloutError::Store(error)) => Err(error.into()),
        Err(RolloutError::NotFound) => Err(Fault::NotFound),
        Err(error @ (RolloutError::Change { .. } | RolloutError::Invalid { .. } | RolloutError::Nobody(_) | RolloutError::Stages)) => {
            Err(Fault::Refused(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
    }
}

fn item(rollout: RolloutView, now: Timestamp) -> Item {
    Item {
        at: Moment::new(rollout.created_at, now),
        by: rollout.created_by,
        change: rollout.change.in_words(),
        id: rollout.id,
        reason: rollout.reason,
        state: rollout.state.name(),
        tag: if rollout.tag.is_empty() { "every gateway".to_owned() } else { rollout.tag },
    }
}

/// How far a stage reaches; those of the stages before it are in it.
fn in_words(stage: Stage) -> String {
    match stage {
        Stage::All => "all gateways".to_owned(),
        Stage::Count(count) => figures::counted(count as usize, "gateway"),
        Stage::Percent(part) => format!("{part} % of the gateways"),
    }
}
