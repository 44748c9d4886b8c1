//! A gateway's secrets in the console: names, versions and how they stand in its vault; a form that seals in the browser (`seal.js`)
//! and sends only what is sealed; deletion. The field for the secret has no name, so that no browser sends it, with or without
//! scripts.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use data_encoding::{BASE64, HEXLOWER};
use serde::Deserialize;

use super::find;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::console::fault::Fault;
use crate::console::frame;
use crate::console::moment::Moment;
use crate::console::page::{self, NoFields, Shell};
use crate::secrets::{self, SealedInput, SecretError, SecretState, SecretView};
use crate::store::gateways::GatewayView;
use crate::store::secrets::SealingKey;

/// What the page sends: nothing of it opens without the gateway's key.
#[derive(Deserialize)]
pub(in crate::console) struct SealForm {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    sealed: String,
    #[serde(default)]
    sealed_to: String,
}

struct KeyLines {
    fingerprint: String,
    previous: Option<String>,
    seen_at: Moment,
    sha256: String,
    spki: String,
}

struct Line {
    at: Moment,
    by: String,
    class: &'static str,
    explained: String,
    name: String,
    state: &'static str,
    version: u32,
}

#[derive(Template)]
#[template(path = "secrets_body.html")]
struct SecretsBody<'a> {
    can_configure: bool,
    csrf: &'a str,
    id: &'a str,
    key: Option<KeyLines>,
    lines: Vec<Line>,
    tenant: &'a str,
    /// The last version of each name, as JSON.
    versions: String,
}

#[derive(Template)]
#[template(path = "secrets.html")]
struct SecretsPage<'a> {
    body: String,
    id: &'a str,
    name: &'a str,
    shell: Shell,
}

/// Shows a gateway's secrets.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let page = SecretsPage {
        body: body(&app, &person, &gateway).await?,
        id: gateway.id.as_str(),
        name: &gateway.name,
        shell: Shell::new(&person, "gateways"),
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Renders the key and the list.
pub(super) async fn body(app: &App, person: &ConsolePrincipal, gateway: &GatewayView) -> Result<String, Fault> {
    let store = app.stores.tenant(&person.principal.tenant)?;
    let key = store.sealing_key(&gateway.id).await?;
    let versions: BTreeMap<String, u32> = store.secret_versions(&gateway.id).await?.into_iter().collect();
    let listed = secrets::list(&store, &gateway.id, gateway.status.as_ref()).await?;
    let now = app.now();
    page::part(&SecretsBody {
        can_configure: person.principal.role.allows(Permission::Configure) && gateway.revoked_at.is_none(),
        csrf: &person.csrf,
        id: gateway.id.as_str(),
        key: key.as_ref().map(|key| key_lines(key, Moment::new(key.seen_at, now))),
        lines: listed.into_iter().map(|view| line(view, gateway.connected, now)).collect(),
        tenant: person.principal.tenant.as_str(),
        versions: serde_json::to_string(&versions).map_err(|error| Fault::internal(&error))?,
    })
}

fn key_lines(key: &SealingKey, seen_at: Moment) -> KeyLines {
    KeyLines {
        fingerprint: grouped(&key.sha256),
        previous: key.previous.as_ref().map(|sha256| grouped(sha256)),
        seen_at,
        sha256: HEXLOWER.encode(&key.sha256),
        spki: BASE64.encode(&key.spki),
    }
}

/// Writes a fingerprint as `postern-gateway status` does: eight digits at a time are easy to compare.
fn grouped(sha256: &[u8]) -> String {
    sha256.chunks(4).map(|group| HEXLOWER.encode(group)).collect::<Vec<_>>().join(" ")
}

fn line(view: SecretView, connected: bool, now: postern_protocol::timestamp::Timestamp) -> Line {
    let (class, state, explained) = match view.state {
        SecretState::InUse => ("applied", "in use", String::new()),
        SecretState::Problem => ("failed", "problem", view.problem),
        SecretState::SealAgain => ("failed", "seal again", view.problem),
        SecretState::Waiting if connected => ("applying", "waits", "it is on its way".to_owned()),
        SecretState::Waiting => ("desired", "waits", "it is sent when the gateway connects".to_owned()),
    };
    let record = view.record;
    let at = Moment::new(record.created_at, now);
    Line { at, by: record.created_by, class, explained, name: record.name, state, version: record.version }
}

/// Stores what the page has sealed.
pub(in crate::console) async fn store(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: ConsoleForm<SealForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let input = sealed_input(form).ok_or_else(|| {
        let why = "Nothing was stored: this page seals with JavaScript, and nothing that is not sealed is taken.";
        Fault::Refused(StatusCode::UNPROCESSABLE_ENTITY, why.to_owned())
    })?;
    secrets::put(&app, &person.principal, &gateway.id, input).await?;
    Ok(done(&headers, &gateway))
}

fn sealed_input(form: SealForm) -> Option<SealedInput> {
    Some(SealedInput {
        name: form.name,
        version: form.version.parse().ok()?,
        sealed: BASE64.decode(form.sealed.as_bytes()).ok().filter(|sealed| !sealed.is_empty())?,
        sealed_to: HEXLOWER.decode(form.sealed_to.as_bytes()).ok()?.try_into().ok()?,
        once: None,
    })
}

/// Deletes a secret.
pub(in crate::console) async fn delete(
    State(app): State<Arc<App>>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    form: ConsoleForm<NoFields>,
) -> Result<Response, Fault> {
    let person = form.principal;
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    secrets::delete(&app, &person.principal, &gateway.id, &name).await?;
    Ok(done(&headers, &gateway))
}

/// A script hears only that it is done, for the live link brings the change.
fn done(headers: &HeaderMap, gateway: &GatewayView) -> Response {
    let by_script = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    if by_script { frame::nothing() } else { Redirect::to(&format!("/gateways/{}/secrets", gateway.id)).into_response() }
}

impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Forbidden(forbidden) => forbidden.into(),
            SecretError::NotFound(_) => Self::NotFound,
            SecretError::Store(error) => error.into(),
            SecretError::KeyChanged | SecretError::NoKey | SecretError::TooMany | SecretError::Version { .. } => {
                Self::Refused(StatusCode::CONFLICT, error.to_string())
            }
            SecretError::KeyMisused | SecretError::Name | SecretError::NotSealed | SecretError::TooLong => {
                Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
        }
    }
}
