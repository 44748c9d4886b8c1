//! Enrolment in the console: an admin makes a one-time token, sees it once, and can revoke it until it is used.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::console::fault::Fault;
use crate::console::moment::Moment;
use crate::console::page::{self, Shell};
use crate::enrolment;
use crate::store::audit::By;
use crate::store::tokens::{TokenState, TokenView};

/// Longest that a token can be made for here, in hours.
const MAX_HOURS: u64 = 168;

/// Most tokens that are listed: the newest.
const MAX_LISTED: usize = 100;

/// The form of a new token.
#[derive(Deserialize)]
pub(in crate::console) struct NewToken {
    name: String,
    hours: u64,
}

/// A token that was just made. Holds a secret: no `Debug`.
struct Made {
    gateway_name: String,
    token: String,
}

struct TokenLine {
    class: &'static str,
    created_at: Moment,
    expires_at: Moment,
    gateway_name: String,
    id: String,
    state: &'static str,
    usable: bool,
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct EnrolPage {
    made: Option<Made>,
    name: String,
    problem: Option<String>,
    server: String,
    shell: Shell,
    tokens: Vec<TokenLine>,
}

/// Shows the form and the tokens.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let server = server(&app, &uri, &headers);
    show(&app, &person, Answer { status: StatusCode::OK, server, made: None, name: String::new(), problem: None }).await
}

/// Makes a token and shows it, this once.
pub(in crate::console) async fn make(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    form: ConsoleForm<NewToken>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let server = server(&app, &uri, &headers);
    let name = form.name.trim();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) || !(1..=MAX_HOURS).contains(&form.hours) {
        let problem = Some("A name has 1 to 64 printable characters, and a token is good for at most 7 days.".to_owned());
        let answer = Answer { status: StatusCode::UNPROCESSABLE_ENTITY, server, made: None, name: name.to_owned(), problem };
        return show(&app, &person, answer).await;
    }
    let life = Duration::from_secs(form.hours.saturating_mul(3600));
    let (_id, token) = enrolment::create_token(&app, (&person.principal.tenant, By::from(&person.principal)), name, life).await?;
    let made = Some(Made { gateway_name: name.to_owned(), token: token.to_string() });
    show(&app, &person, Answer { status: StatusCode::OK, server, made, name: String::new(), problem: None }).await
}

/// Revokes a token that was not used.
pub(in crate::console) async fn revoke(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    form: ConsoleForm<page::NoFields>,
) -> Result<Response, Fault> {
    let principal = form.principal.principal;
    principal.require(Permission::Configure)?;
    app.stores.system().revoke_token(&principal.tenant, &token, (By::from(&principal), app.now())).await?;
    app.stores.deliver_notes(&principal.tenant).await?;
    Ok(Redirect::to("/gateways/enrol").into_response())
}

struct Answer {
    status: StatusCode,
    server: String,
    made: Option<Made>,
    name: String,
    problem: Option<String>,
}

async fn show(app: &App, person: &ConsolePrincipal, answer: Answer) -> Result<Response, Fault> {
    person.principal.require(Permission::Configure)?;
    let now = app.now();
    let tokens = app.stores.system().list_tokens(&person.principal.tenant, now).await?;
    let line = |token: TokenView| TokenLine {
        class: match token.state {
            TokenState::Usable => "desired",
            TokenState::Used => "yes",
            TokenState::Expired | TokenState::Revoked => "closed",
        },
        created_at: Moment::new(token.created_at, now),
        expires_at: Moment::new(token.expires_at, now),
        gateway_name: token.gateway_name,
        id: token.id,
        state: match token.state {
            TokenState::Expired => "expired",
            TokenState::Revoked => "revoked",
            TokenState::Usable => "waits for its gateway",
            TokenState::Used => "used",
        },
        usable: token.state == TokenState::Usable,
    };
    let page = EnrolPage {
        made: answer.made,
        name: answer.name,
        problem: answer.problem,
        server: answer.server,
        shell: Shell::new(person, "gateways"),
        tokens: tokens.into_iter().take(MAX_LISTED).map(line).collect(),
    };
    Ok(page::html(answer.status, &page))
}

/// How gateways reach us: as this browser did, which is right unless the browser is on this very machine.
fn server(app: &App, uri: &Uri, headers: &HeaderMap) -> String {
    // HTTP/2 has the host in `:authority`, which hyper puts into the URI.
    let host = uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    let plain = |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    match (host.filter(plain), app.config.names.first()) {
        (Some(host), _) => format!("https://{host}"),
        (None, Some(name)) => format!("https://{name}:{}", app.config.listen.port()),
        (None, None) => format!("https://{}", app.config.listen),
    }
}
