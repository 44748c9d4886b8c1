//! One alert: everything that is known about it. The body is one part, which the live link renders again after every change.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::alert::{AlertState, Severity};
use postern_protocol::timestamp::Timestamp;
use rusqlite::OptionalExtension as _;

use super::evidence::{self, Fact};
use super::query::ListQuery;
use super::timeline::{self, Entry};
use super::why::{self, Why};
use super::{GatewayNames, gateway_names};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::fault::Fault;
use crate::console::moment::{self, Moment};
use crate::console::page::{self, Shell};
use crate::console::{figures, url};
use crate::explain::{self, StepKind};
use crate::rule_book::RuleText;
use crate::store::alerts::{AlertFilter, AlertView, Folding, OccurrenceView, Report};
use crate::store::{StoreError, TenantStore};

/// Most folded alerts that the page lists itself.
const MOST_CHILDREN: usize = 12;

/// What only this page shows of an alert.
struct Particulars {
    closed_by: Option<String>,
    close_pending: bool,
}

impl TenantStore {
    async fn alert_particulars(&self, id: &str) -> Result<Option<Particulars>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT closed_by, close_count_seen IS NOT NULL FROM alert WHERE id =
                 (SELECT coalesce(merged_into, id) FROM alert WHERE id = ?1)",
            )?;
            let row = |row: &rusqlite::Row<'_>| Ok(Particulars { closed_by: row.get(0)?, close_pending: row.get(1)? });
            Ok(query.query_row([id], row).optional()?)
        })
        .await
    }
}

struct Earlier {
    acknowledged_by: Option<String>,
    count: String,
    first_seen: Moment,
    lasted: String,
    severity: Severity,
    state: AlertState,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct AlertPage {
    body: String,
    events: String,
    kind: String,
    problem: Option<String>,
    shell: Shell,
    summary: String,
}

#[derive(Template)]
#[template(path = "alert_body.html")]
struct AlertBody<'a> {
    acknowledged_by: Option<&'a str>,
    alert: &'a AlertView,
    can_act: bool,
    children: Vec<Child>,
    children_href: String,
    cleared_at: Option<Moment>,
    closed_at: Option<Moment>,
    closed_by: Option<String>,
    closing: bool,
    conflict: &'static str,
    count: String,
    counted_children: String,
    csrf: &'a str,
    evidence: Vec<Fact<'a>>,
    first_seen: Moment,
    gateway_name: &'a str,
    history: Vec<Entry>,
    last_seen: Moment,
    lasted: Option<String>,
    occurrences: Vec<Earlier>,
    quiet_until: Option<Moment>,
    reports: Vec<SideLine>,
    rule: RuleText,
    rule_source: String,
    why: Why,
}

/// An alert that this one folds.
struct Child {
    id: String,
    count: String,
    last_seen: Moment,
    resource: String,
    severity: Severity,
    state: AlertState,
    summary: String,
}

/// What one gateway of a pair says.
struct SideLine {
    count: String,
    gateway: String,
    last_seen: Moment,
    name: String,
    peer: String,
    severity: Severity,
    state: AlertState,
}

/// Shows one alert.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let (alert, body) = body(&app, &person, &id).await?;
    let revision = alert.revision.to_string();
    let page = AlertPage {
        body,
        events: url::with_query("/events", [("view", "alert"), ("id", &*alert.id), ("since", &revision)]),
        kind: alert.kind,
        problem: None,
        shell: Shell::new(&person, "alerts"),
        summary: alert.summary,
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Renders the body of an alert's page.
pub(super) async fn body(app: &App, person: &ConsolePrincipal, id: &str) -> Result<(AlertView, String), Fault> {
    let store = app.stores.tenant(&person.principal.tenant)?;
    let alert = store.find_alert(id).await?.ok_or(Fault::NotFound)?;
    let particulars = store.alert_particulars(id).await?.ok_or(Fault::NotFound)?;
    let history = store.alert_history(id).await?.unwrap_or_default();
    let occurrences = store.occurrences(id).await?.unwrap_or_default();
    let names = gateway_names(app, &person.principal).await?;
    let now = app.now();
    let explanation = explain::explain(app, &person.principal, id).await?.ok_or(Fault::NotFound)?;
    let rule =
        explanation.steps.iter().find(|step| step.what == StepKind::Raised).and_then(|step| step.rule.clone()).ok_or(Fault::NotFound)?;
    let children = match alert.children {
        0 => Vec::new(),
        _ => {
            let filter = AlertFilter { folding: Some(Folding::Under(alert.id.clone())), ..AlertFilter::default() };
            store.list_alerts(filter, MOST_CHILDREN, None).await?.items
        }
    };
    let body = AlertBody {
        acknowledged_by: alert.acknowledged.as_ref().map(|acknowledged| acknowledged.by.as_str()),
        can_act: person.principal.role.allows(Permission::ActOnAlerts),
        children: children.into_iter().map(|child| self::child(child, now)).collect(),
        children_href: ListQuery::folded_under(&alert.id).page(""),
        cleared_at: alert.cleared_at.map(|at| Moment::new(at, now)),
        closed_at: alert.closed_at.map(|at| Moment::new(at, now)),
        closed_by: particulars.closed_by,
        closing: particulars.close_pending,
        conflict: evidence::conflict(&alert.evidence),
        count: figures::count(alert.count),
        counted_children: figures::count(alert.children),
        csrf: &person.csrf,
        evidence: evidence::facts(&alert.evidence),
        first_seen: Moment::new(alert.first_seen, now),
        gateway_name: names.get(&alert.gateway).map_or(alert.gateway.as_str(), String::as_str),
        history: timeline::entries(history, &names, now),
        last_seen: Moment::new(alert.last_seen, now),
        lasted: end(alert.state, alert.cleared_at, alert.closed_at).map(|end| moment::lasted(alert.first_seen, end)),
        occurrences: occurrences.into_iter().map(|occurrence| earlier(occurrence, now)).collect(),
        reports: alert.reports.iter().map(|report| side(report, &names, now)).collect(),
        quiet_until: alert.suppressed.as_ref().map(|suppressed| Moment::new(suppressed.until, now)),
        rule_source: why::source(&rule),
        rule,
        why: why::tell(explanation, &names, now),
        alert: &alert,
    };
    let text = page::part(&body)?;
    Ok((alert, text))
}

fn child(alert: AlertView, now: Timestamp) -> Child {
    Child {
        id: alert.id,
        count: figures::count(alert.count),
        last_seen: Moment::new(alert.last_seen, now),
        resource: alert.resource,
        severity: alert.severity,
        state: alert.state,
        summary: alert.summary,
    }
}

fn side(report: &Report, names: &GatewayNames, now: Timestamp) -> SideLine {
    SideLine {
        count: figures::count(report.count),
        gateway: report.gateway.as_str().to_owned(),
        last_seen: Moment::new(report.last_seen, now),
        name: names.get(&report.gateway).cloned().unwrap_or_else(|| report.gateway.as_str().to_owned()),
        peer: report.evidence.peer.clone(),
        severity: report.severity,
        state: report.state,
    }
}

fn earlier(occurrence: OccurrenceView, now: Timestamp) -> Earlier {
    let end = end(occurrence.state, occurrence.cleared_at, occurrence.closed_at).unwrap_or(occurrence.last_seen);
    Earlier {
        acknowledged_by: occurrence.acknowledged.map(|acknowledged| acknowledged.by),
        count: figures::count(occurrence.count),
        first_seen: Moment::new(occurrence.first_seen, now),
        lasted: moment::lasted(occurrence.first_seen, end),
        severity: occurrence.severity,
        state: occurrence.state,
    }
}

fn end(state: AlertState, cleared_at: Option<Timestamp>, closed_at: Option<Timestamp>) -> Option<Timestamp> {
    match state {
        AlertState::Open => None,
        AlertState::Cleared => cleared_at,
        AlertState::Closed => cleared_at.or(closed_at),
    }
}
