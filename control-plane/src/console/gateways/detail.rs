//! One gateway: its link, spool, configuration and ledger. The body is one part, which the live link renders again.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::status::FailedRevision;

use super::intake::IntakeLines;
use super::life::Life;
use super::minutes::{self, RecentBalance};
use super::report::Report;
use super::{Link, ProblemLine, find, pace, problem_lines};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::moment::Moment;
use crate::console::page::{self, Shell};
use crate::store::gateways::{Drift, GatewayRevisions, GatewayView};

#[derive(Template)]
#[template(path = "gateway.html")]
struct GatewayPage {
    body: String,
    id: String,
    name: String,
    /// KiB a second; empty for no limit.
    pace: String,
    revoked: bool,
    shell: Shell,
}

struct FailedLine {
    number: String,
    count: String,
    problems: Vec<ProblemLine>,
}

struct RevisionLines {
    desired: String,
    effective: String,
    /// The newest one, when it was refused.
    failed: Option<FailedLine>,
    /// The newest one, when it was taken back.
    reverted: Option<FailedLine>,
    /// Whether it is in force on trial.
    is_on_trial: bool,
    /// Whether it runs one that nobody here made.
    is_unknown: bool,
    in_step: bool,
}

#[derive(Template)]
#[template(path = "gateway_body.html")]
struct GatewayBody<'a> {
    balance: Option<RecentBalance>,
    can_configure: bool,
    connected: bool,
    enrolled_at: Moment,
    id: &'a str,
    intake: IntakeLines,
    last_seen: Option<Moment>,
    life: Life,
    link: Link,
    name: &'a str,
    open_alerts: String,
    quarantined: bool,
    report: Option<Report>,
    revision: RevisionLines,
    version: &'a str,
    warning: Option<String>,
}

/// Shows one gateway.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let page = GatewayPage {
        body: body(&app, &person, &gateway).await?,
        id: gateway.id.to_string(),
        pace: pace::shown(&app.stores.tenant(&person.principal.tenant)?, &gateway.id).await?,
        revoked: gateway.revoked_at.is_some(),
        name: gateway.name,
        shell: Shell::new(&person, "gateways"),
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Renders the body of a gateway's page.
pub(super) async fn body(app: &App, person: &ConsolePrincipal, gateway: &GatewayView) -> Result<String, Fault> {
    let store = app.stores.tenant(&person.principal.tenant)?;
    let open = store.open_by_gateway().await?;
    let now = app.now();
    let intake = gateway.status.as_ref().map(|status| status.intake.clone()).unwrap_or_default();
    let dictionary = store.dictionary_digest().await?;
    page::part(&GatewayBody {
        balance: minutes::recent(&store, gateway, now).await?,
        can_configure: person.principal.role.allows(Permission::Configure),
        connected: gateway.connected,
        enrolled_at: Moment::new(gateway.enrolled_at, now),
        id: gateway.id.as_str(),
        intake: IntakeLines::new(&intake, dictionary, now),
        last_seen: gateway.last_seen.map(|at| Moment::new(at, now)),
        life: Life::read(&store, gateway, now).await?,
        link: Link::of(gateway),
        name: &gateway.name,
        open_alerts: figures::count(open.get(gateway.id.as_str()).copied().unwrap_or(0)),
        quarantined: app.stores.system().quarantine(&gateway.id).await?.is_some(),
        report: gateway.status.as_ref().map(|status| Report::new(status, now)),
        revision: revision_lines(&gateway.revision),
        version: gateway.program_version.as_deref().unwrap_or("unknown"),
        warning: warning(gateway),
    })
}

fn revision_lines(revision: &GatewayRevisions) -> RevisionLines {
    let numbered = |number: Option<_>| number.map_or_else(|| "built-in rules".to_owned(), |number| format!("revision {number}"));
    RevisionLines {
        desired: numbered(revision.desired),
        effective: numbered(revision.effective),
        failed: revision.failed.as_ref().map(undone),
        reverted: revision.reverted.as_ref().map(undone),
        is_on_trial: revision.provisional.is_some() && revision.provisional == revision.effective,
        is_unknown: revision.drift == Some(Drift::Unknown),
        in_step: revision.desired == revision.effective,
    }
}

fn undone(revision: &FailedRevision) -> FailedLine {
    FailedLine {
        number: format!("revision {}", revision.number),
        count: figures::counted(revision.problems.len(), "problem"),
        problems: problem_lines(&revision.problems),
    }
}

fn warning(gateway: &GatewayView) -> Option<String> {
    if gateway.revoked_at.is_some() {
        return Some("This gateway is revoked: it can no longer connect. What it reported stays.".to_owned());
    }
    if !gateway.connected && gateway.last_seen.is_some() {
        let text = "There is no connection. Alerts wait in the gateway's spool and arrive when it is back; what you see here is old.";
        return Some(text.to_owned());
    }
    None
}
