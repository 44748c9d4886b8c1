//! Pairs in the console: which gateways get the same reports, and a form that declares or dissolves one.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::fault::Fault;
use super::moment::Moment;
use super::page::{self, NoFields, Shell};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::pairs::{self, PairError};

/// Two gateways to be declared a pair.
#[derive(Deserialize)]
pub(super) struct NewPair {
    first: String,
    second: String,
}

struct Choice {
    id: String,
    name: String,
}

struct Line {
    id: String,
    gateways: Vec<Choice>,
    declared_at: Moment,
    declared_by: String,
}

#[derive(Template)]
#[template(path = "pairs.html")]
struct PairsPage {
    choices: Vec<Choice>,
    lines: Vec<Line>,
    shell: Shell,
}

/// Shows the pairs.
pub(super) async fn page(State(app): State<Arc<App>>, person: ConsolePrincipal) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let tenant = &person.principal.tenant;
    let (gateways, pairs) = (app.stores.list_gateways(tenant).await?, app.stores.tenant(tenant)?.pairs().await?);
    let now = app.now();
    let name = |id: &str| gateways.iter().find(|gateway| gateway.id.as_str() == id).map_or(id, |gateway| &gateway.name).to_owned();
    let taken: BTreeSet<&str> = pairs.iter().flat_map(|pair| &pair.gateways).map(|id| id.as_str()).collect();
    let free = gateways.iter().filter(|gateway| !taken.contains(gateway.id.as_str()));
    let choices = free.map(|gateway| Choice { id: gateway.id.as_str().to_owned(), name: gateway.name.clone() }).collect();
    let line = |pair: &crate::store::pairs::PairView| Line {
        id: pair.id.clone(),
        gateways: pair.gateways.iter().map(|id| Choice { id: id.as_str().to_owned(), name: name(id.as_str()) }).collect(),
        declared_at: Moment::new(pair.declared_at, now),
        declared_by: pair.declared_by.clone(),
    };
    let lines = pairs.iter().map(line).collect();
    Ok(page::html(StatusCode::OK, &PairsPage { choices, lines, shell: Shell::new(&person, "gateways") }))
}

/// Declares a pair.
pub(super) async fn declare(State(app): State<Arc<App>>, form: ConsoleForm<NewPair>) -> Result<Response, Fault> {
    let NewPair { first, second } = form.form;
    pairs::declare(&app, &form.principal.principal, [&first, &second]).await?;
    Ok(Redirect::to("/pairs").into_response())
}

/// Dissolves a pair.
pub(super) async fn dissolve(State(app): State<Arc<App>>, Path(id): Path<String>, form: ConsoleForm<NoFields>) -> Result<Response, Fault> {
    pairs::dissolve(&app, &form.principal.principal, &id).await?;
    Ok(Redirect::to("/pairs").into_response())
}

impl From<PairError> for Fault {
    fn from(error: PairError) -> Self {
        match error {
            PairError::Forbidden(forbidden) => forbidden.into(),
            PairError::NoGateway(_) => Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            PairError::Store(error) => error.into(),
        }
    }
}
