//! A gateway's identity in the console: certificates, trust, starts; which of two machines stays, and a late renewal.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

use super::find;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::{ConsoleForm, ConsolePrincipal};
use crate::clones::{self, Keep};
use crate::console::fault::Fault;
use crate::console::moment::Moment;
use crate::console::page::{self, NoFields, Shell};
use crate::identities;
use crate::store::audit::By;
use crate::store::certificates::CertificateView;
use crate::store::incarnations::{IncarnationView, Quarantine};

/// For how long a late renewal is allowed.
const WINDOW: Duration = Duration::from_secs(7 * 86_400);

struct CertificateLine {
    serial: String,
    issued: Moment,
    used: Option<Moment>,
    ends: Moment,
}

struct StartLine {
    incarnation: String,
    state: &'static str,
    first_seen: Moment,
    last_seen: Moment,
    peer: String,
    version: String,
}

struct QuarantineLines {
    since: Moment,
    proof: String,
    current: Option<StartLine>,
    other: Option<StartLine>,
}

#[derive(Template)]
#[template(path = "identity.html")]
struct IdentityPage {
    certificates: Vec<CertificateLine>,
    csrf: String,
    id: String,
    name: String,
    pins: Vec<String>,
    quarantine: Option<QuarantineLines>,
    refused: Option<String>,
    renewal_error: Option<String>,
    renewal_until: Option<Moment>,
    serial: u64,
    shell: Shell,
    starts: Vec<StartLine>,
}

/// Shows the page.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let identity = identities::view(&app.stores, &gateway.id).await?;
    let now = app.now();
    let said = gateway.status.and_then(|status| status.identity).unwrap_or_default();
    let page = IdentityPage {
        certificates: identity.certificates.into_iter().map(|certificate| certificate_line(certificate, now)).collect(),
        csrf: person.csrf.clone(),
        id: gateway.id.to_string(),
        name: gateway.name,
        pins: said.server_pins,
        quarantine: identity.quarantine.map(|quarantine| quarantine_lines(quarantine, now)),
        refused: identity.trust.refused,
        renewal_error: said.renewal_error,
        renewal_until: identity.renewal_allowed_until.filter(|until| *until > now).map(|until| Moment::new(until, now)),
        serial: identity.trust.confirmed,
        shell: Shell::new(&person, "gateways"),
        starts: identity.incarnations.into_iter().map(|start| start_line(start, now)).collect(),
    };
    Ok(page::html(StatusCode::OK, &page))
}

fn certificate_line(certificate: CertificateView, now: Timestamp) -> CertificateLine {
    CertificateLine {
        serial: certificate.serial,
        issued: Moment::new(certificate.issued_at, now),
        used: certificate.first_used_at.map(|at| Moment::new(at, now)),
        ends: Moment::new(certificate.not_after, now),
    }
}

fn start_line(start: IncarnationView, now: Timestamp) -> StartLine {
    StartLine {
        incarnation: start.incarnation,
        state: start.state.name(),
        first_seen: Moment::new(start.first_seen, now),
        last_seen: Moment::new(start.last_seen, now),
        peer: start.peer,
        version: start.version,
    }
}

fn quarantine_lines(quarantine: Quarantine, now: Timestamp) -> QuarantineLines {
    let line = |start: Option<IncarnationView>| start.map(|start| start_line(start, now));
    QuarantineLines {
        since: Moment::new(quarantine.since, now),
        proof: quarantine.proof,
        current: line(quarantine.current),
        other: line(quarantine.other),
    }
}

/// What the form about two machines sends.
#[derive(Deserialize)]
pub(in crate::console) struct DecisionForm {
    keep: Keep,
}

/// Decides which of two machines stays.
pub(in crate::console) async fn decide(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<DecisionForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    clones::decide_live(&app, (&person.principal.tenant, &gateway.id), form.keep, By::from(&person.principal)).await?;
    Ok(back(&id))
}

/// Lets the gateway renew a certificate that ended too long ago.
pub(in crate::console) async fn allow_renewal(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<NoFields>,
) -> Result<Response, Fault> {
    let person = form.principal;
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let until = app.now().saturating_add(WINDOW);
    let whose = (&person.principal.tenant, &gateway.id);
    identities::allow_renewal(&app.stores, whose, until, (By::from(&person.principal), app.now())).await?;
    Ok(back(&id))
}

fn back(id: &str) -> Response {
    Redirect::to(&format!("/gateways/{id}/identity")).into_response()
}
