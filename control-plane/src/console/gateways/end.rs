//! Revoking a gateway in the console: a page that says what it means, and the form on it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::{Link, find};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::console::fault::Fault;
use crate::console::moment::Moment;
use crate::console::page::{self, NoFields, Shell};
use crate::identities;
use crate::store::audit::By;

#[derive(Template)]
#[template(path = "revoke.html")]
struct RevokePage {
    id: String,
    last_seen: Option<Moment>,
    link: Link,
    name: String,
    revoked_at: Option<Moment>,
    shell: Shell,
}

/// Asks whether it is meant.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let now = app.now();
    let page = RevokePage {
        id: gateway.id.to_string(),
        last_seen: gateway.last_seen.map(|at| Moment::new(at, now)),
        link: Link::of(&gateway),
        revoked_at: gateway.revoked_at.map(|at| Moment::new(at, now)),
        name: gateway.name,
        shell: Shell::new(&person, "gateways"),
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Revokes the gateway; its session ends at once.
pub(in crate::console) async fn revoke(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<NoFields>,
) -> Result<Response, Fault> {
    let person = form.principal;
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    identities::revoke_live(&app, (&person.principal.tenant, &gateway.id), By::from(&person.principal)).await?;
    Ok(Redirect::to(&format!("/gateways/{}", gateway.id)).into_response())
}
