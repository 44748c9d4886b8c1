//! The form that lets somebody in from the waiting room: shows what it would change in the configuration, then pushes a revision.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use ipnet::IpNet;
use postern_protocol::revision::Problem;
use postern_protocol::revision::intake::{
    AuthAlgorithm, Authentication, KeyExtension, PrivAlgorithm, Privacy, SecurityLevel, User, WeakAlgorithm,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::diff::{self, Line};
use super::{ProblemLine, find, problem_lines, waiting_room};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::configuration::{self, PutError};
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::page::{self, Shell};
use crate::store::StoreError;
use crate::store::gateways::GatewayView;
use crate::waiting_room::{BindError, Binding, Bound, apply, preview};

/// An entry of the waiting room, as its link names it.
#[derive(Deserialize)]
pub(in crate::console) struct Entry {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    engine: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    level: String,
}

/// What the form sends; texts, so that what cannot be read comes back as it was written.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct BindForm {
    reason: String,
    name: String,
    engines: String,
    sources: String,
    auth: String,
    auth_secret: String,
    privacy: String,
    priv_secret: String,
    key_extension: String,
    minimum_level: String,
    weak: String,
    /// The revision that was shown; nothing before a preview.
    base: Option<u64>,
    #[serde(rename = "do")]
    wish: Wish,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wish {
    Apply,
    #[default]
    Preview,
}

struct Choice {
    value: &'static str,
    text: &'static str,
}

const fn choice(value: &'static str, text: &'static str) -> Choice {
    Choice { value, text }
}

const AUTH: [Choice; 6] = [
    choice("sha-256", "HMAC-SHA-256"),
    choice("sha-512", "HMAC-SHA-512"),
    choice("sha-384", "HMAC-SHA-384"),
    choice("sha-224", "HMAC-SHA-224"),
    choice("sha-1", "HMAC-SHA-1"),
    choice("md5", "HMAC-MD5 (weak)"),
];
const PRIVACY: [Choice; 5] = [
    choice("aes-128", "AES-128"),
    choice("aes-192", "AES-192"),
    choice("aes-256", "AES-256"),
    choice("des", "DES (weak)"),
    choice("3des", "3DES (weak)"),
];
const LEVELS: [Choice; 3] =
    [choice("auth_priv", "authPriv"), choice("auth_no_priv", "authNoPriv"), choice("no_auth_no_priv", "noAuthNoPriv")];

#[derive(Template)]
#[template(path = "bind.html")]
struct BindPage<'a> {
    auths: &'a [Choice],
    base: Option<u64>,
    form: &'a BindForm,
    id: &'a str,
    is_reset: bool,
    known: bool,
    levels: &'a [Choice],
    lines: Vec<Line>,
    meaning: &'static str,
    message: String,
    name: &'a str,
    privacies: &'a [Choice],
    problems: Vec<ProblemLine>,
    secrets: Vec<String>,
    shell: Shell,
}

/// What the page shows besides the form.
#[derive(Default)]
struct Shown {
    bound: Option<Bound>,
    message: String,
    problems: Vec<Problem>,
    status: StatusCode,
}

/// Shows the form for one entry; a reset needs no more than a look.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
    Query(entry): Query<Entry>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let level = if entry.reason == "level_too_low" { entry.level } else { String::new() };
    let form = BindForm {
        name: entry.user,
        engines: entry.engine,
        sources: host(&entry.source),
        minimum_level: level,
        reason: entry.reason,
        ..BindForm::default()
    };
    let mut shown = if form.is_reset() { look(&app, &person, &gateway, &form).await? } else { Shown::default() };
    shown.status = StatusCode::OK; // nothing was sent that could be wrong
    show(&app, &person, &gateway, &form, shown).await
}

/// Shows the change, or makes it.
pub(in crate::console) async fn submit(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<BindForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let mut shown = look(&app, &person, &gateway, &form).await?;
    if form.wish == Wish::Apply
        && let Some(bound) = &shown.bound
    {
        let seen = form.base.is_none_or(|base| base == bound.base.0);
        let applied = if seen { apply(&app, &person.principal, &gateway.id, bound).await } else { Err(BindError::Changed(bound.base)) };
        match applied {
            Ok(number) => return Ok(Redirect::to(&format!("/gateways/{}/waiting-room?bound={number}", gateway.id)).into_response()),
            Err(error) => shown = Shown { bound: shown.bound, ..refused(error)? },
        }
    }
    show(&app, &person, &gateway, &form, shown).await
}

/// Makes the document and checks it, and stores nothing.
async fn look(app: &App, person: &ConsolePrincipal, gateway: &GatewayView, form: &BindForm) -> Result<Shown, Fault> {
    let binding = form.binding()?;
    let bound = match preview(app, &person.principal, &gateway.id, &binding).await {
        Ok(bound) => bound,
        Err(error) => return refused(error),
    };
    let checked = configuration::check(app, &person.principal.tenant, &gateway.id, bound.after.as_bytes()).await?;
    match checked {
        Ok(()) => Ok(Shown { bound: Some(bound), ..Shown::default() }),
        Err(problems) => Ok(Shown { bound: Some(bound), ..invalid(problems) }),
    }
}

fn refused(error: BindError) -> Result<Shown, Fault> {
    match error {
        error @ (BindError::Ambiguous(_) | BindError::Changed(_) | BindError::Nothing) => Ok(conflict(&error.to_string())),
        BindError::Broken(problems) => {
            Ok(Shown { message: "The present configuration has problems of its own; mend it first:".to_owned(), ..invalid(problems) })
        }
        BindError::Put(PutError::Forbidden(forbidden)) => Err(forbidden.into()),
        BindError::Put(PutError::Invalid(problems)) => Ok(invalid(problems)),
        BindError::Put(PutError::NotFound) => Err(Fault::NotFound),
        BindError::Put(PutError::Store(StoreError::Conflict(why))) => Ok(conflict(&why)),
        BindError::Put(PutError::Store(error)) => Err(error.into()),
    }
}

fn conflict(why: &str) -> Shown {
    Shown { message: format!("Not saved: {why}."), status: StatusCode::CONFLICT, ..Shown::default() }
}

fn invalid(problems: Vec<Problem>) -> Shown {
    let message = format!("This cannot be saved: {}", figures::counted(problems.len(), "problem"));
    Shown { bound: None, message, problems, status: StatusCode::UNPROCESSABLE_ENTITY }
}

async fn show(app: &App, person: &ConsolePrincipal, gateway: &GatewayView, form: &BindForm, shown: Shown) -> Result<Response, Fault> {
    let secrets = app.stores.tenant(&person.principal.tenant)?.secret_versions(&gateway.id).await?;
    let page = BindPage {
        auths: &AUTH,
        base: shown.bound.as_ref().map(|bound| bound.base.0),
        form,
        id: gateway.id.as_str(),
        is_reset: form.is_reset(),
        known: waiting_room::known_users(app, person, gateway).await?.contains(&form.name),
        levels: &LEVELS,
        lines: shown.bound.map(|bound| diff::lines(&bound.before, &bound.after)).unwrap_or_default(),
        meaning: waiting_room::meaning(&form.reason),
        message: shown.message,
        name: &gateway.name,
        privacies: &PRIVACY,
        problems: problem_lines(&shown.problems),
        secrets: secrets.into_iter().map(|(name, _)| name).collect(),
        shell: Shell::new(person, "gateways"),
    };
    Ok(page::html(shown.status, &page))
}

impl BindForm {
    fn is_reset(&self) -> bool {
        self.reason == "not_in_time_window"
    }

    fn binding(&self) -> Result<Binding, Fault> {
        let engines: Vec<String> = words(&self.engines).map(engine).collect();
        if self.is_reset() {
            return Ok(Binding::ResetEngine { engine: engines.into_iter().next().unwrap_or_default() });
        }
        let auth = word::<AuthAlgorithm>(&self.auth)?;
        let privacy = word::<PrivAlgorithm>(&self.privacy)?;
        let mut allow_weak = Vec::new();
        if self.weak == "yes" {
            allow_weak.extend((auth == Some(AuthAlgorithm::Md5)).then_some(WeakAlgorithm::Md5));
            allow_weak.extend((privacy == Some(PrivAlgorithm::Des)).then_some(WeakAlgorithm::Des));
            allow_weak.extend((privacy == Some(PrivAlgorithm::TripleDes)).then_some(WeakAlgorithm::TripleDes));
        }
        let key_extension = word::<KeyExtension>(&self.key_extension)?.unwrap_or_default();
        let user = User {
            name: self.name.clone(),
            engines,
            sources: words(&self.sources).map(host).collect(),
            auth: auth.map(|algorithm| Authentication { algorithm, secret: self.auth_secret.trim().to_owned() }),
            privacy: privacy.map(|algorithm| Privacy { algorithm, secret: self.priv_secret.trim().to_owned(), key_extension }),
            minimum_level: word::<SecurityLevel>(&self.minimum_level)?,
        };
        Ok(Binding::BindUser { user, allow_weak })
    }
}

/// Reads one of a list's words; nothing when it is empty.
fn word<T: DeserializeOwned>(text: &str) -> Result<Option<T>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    value.map(Some).map_err(|_| Fault::Refused(StatusCode::BAD_REQUEST, "the form has a choice that is none".to_owned()))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
}

/// An engine ID as documents write it; people also write `0x` and colons.
fn engine(text: &str) -> String {
    text.trim_start_matches("0x").replace(':', "").to_ascii_lowercase()
}

/// A single address becomes a network of one.
fn host(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| IpNet::from(address).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_engines_are_read_as_people_write_them() {
        assert_eq!([host("10.0.0.1"), host("2001:db8::1"), host("10.0.0.0/8")], ["10.0.0.1/32", "2001:db8::1/128", "10.0.0.0/8"]);
        assert_eq!(engine("0x80:00:1F:88"), "80001f88");
        assert_eq!(words(" a, b\nc ").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_choice_that_is_none_is_refused() {
        let form = BindForm { auth: "rot13".into(), ..BindForm::default() };
        assert!(form.binding().is_err());
    }
}
