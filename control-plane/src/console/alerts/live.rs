//! Keeps the list and one alert's page true: reads what changed since the last event and renders it for this reader's filter.
//!
//! The store is what is read; the feed only says that there is something to read. So intermediate states may be skipped, and
//! none that lasts is missed.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::sse::Event;
use postern_protocol::alert::AlertState;
use serde::Serialize;

use super::query::ListQuery;
use super::row::{self, Rows};
use super::{GatewayNames, counts, detail, gateway_names};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::events::{Batch, Part};
use crate::console::fault::Fault;
use crate::feed::Change;
use crate::store::TenantStore;
use crate::store::alerts::AlertView;

/// Changes that are read at once.
const READ_AT_ONCE: usize = 200;

/// A reader that is further behind than this gets the page anew instead of every change.
const MAX_BEHIND: i64 = 2_000;

#[derive(Serialize)]
struct RowEvent<'a> {
    id: &'a str,
    revision: i64,
    /// What the list is sorted by: a browser parses only the rows that it shows.
    first: String,
    html: String,
}

/// Who reads the list, and how far.
pub(in crate::console) struct ListReader {
    query: ListQuery,
    sent: i64,
    gateways: GatewayNames,
    tiles: String,
}

impl ListReader {
    /// Begins after `since`, or now.
    pub(in crate::console) async fn begin(
        app: &App,
        person: &ConsolePrincipal,
        pairs: &[(String, String)],
        since: Option<i64>,
    ) -> Result<Self, Fault> {
        let newest = app.stores.tenant(&person.principal.tenant)?.newest_change().await?;
        let gateways = gateway_names(app, &person.principal).await?;
        Ok(Self { query: ListQuery::parse(pairs), sent: since.unwrap_or(newest), gateways, tiles: String::new() })
    }

    /// Whether a change may concern this reader.
    pub(in crate::console) fn concerns(&self, change: &Change) -> bool {
        matches!(change, Change::Alert { revision, .. } if *revision > self.sent)
    }

    /// Reads and renders the next changes.
    pub(in crate::console) async fn read(&mut self, app: &Arc<App>, person: &ConsolePrincipal) -> Result<Batch, Fault> {
        let store = app.stores.tenant(&person.principal.tenant)?;
        let newest = store.newest_change().await?;
        // Behind too far, or ahead because the store was restored from a backup.
        if newest.saturating_sub(self.sent) > MAX_BEHIND || self.sent > newest {
            self.sent = newest;
            return Ok(Batch::only(Event::default().event("reload").id(newest.to_string()).data("{}")));
        }
        let alerts = store.alerts_changed_since(self.sent, READ_AT_ONCE).await?;
        if alerts.iter().any(|alert| !self.gateways.contains_key(&alert.gateway)) {
            self.gateways = gateway_names(app, &person.principal).await?;
        }
        let rows = Rows { can_act: person.principal.role.allows(Permission::ActOnAlerts), gateways: &self.gateways, now: app.now() };
        let filter = self.query.filter();
        let mut events = Vec::with_capacity(alerts.len().saturating_add(1));
        let mut parents = BTreeSet::new();
        for alert in &alerts {
            parents.extend(alert.parent.as_deref().filter(|_| self.query.hides()));
            let event = match (filter.matches(alert), &alert.parent) {
                (true, _) => row_event(&rows, alert, "row")?,
                (false, Some(parent)) if self.query.hides() => folded_event(alert, parent)?,
                (false, _) => row_event(&rows, alert, "remove")?,
            };
            events.push(event);
        }
        // Their rows say how many they fold, and have not changed themselves.
        for parent in parents {
            if let Some(parent) = store.find_alert(parent).await?.filter(|parent| filter.matches(parent)) {
                events.push(unnumbered(&rows, &parent)?);
            }
        }
        // What was folded under an alert that is over stands for itself, without a change of its own.
        if self.query.hides() && has_orphans(&store, &alerts).await? {
            events.push(Event::default().event("reload").id(newest.to_string()).data("{}"));
        }
        let more = alerts.len() == READ_AT_ONCE;
        self.sent = alerts.last().map_or(self.sent, |alert| alert.revision);
        let tiles = counts::render(&store, &self.query).await?;
        if !more && tiles != self.tiles {
            events.push(Part { id: "counts", html: &tiles }.event()?);
            self.tiles = tiles;
        }
        Ok(Batch { events, more })
    }
}

fn row_event(rows: &Rows<'_>, alert: &AlertView, name: &str) -> Result<Event, Fault> {
    let event = Event::default().event(name).id(alert.revision.to_string()).json_data(row_data(rows, alert)?);
    event.map_err(|error| Fault::internal(&std::io::Error::other(error)))
}

/// Renders a row that has not changed itself: a browser that comes back must not begin after its number.
fn unnumbered(rows: &Rows<'_>, alert: &AlertView) -> Result<Event, Fault> {
    let event = Event::default().event("renew").json_data(row_data(rows, alert)?);
    event.map_err(|error| Fault::internal(&std::io::Error::other(error)))
}

fn row_data<'a>(rows: &Rows<'_>, alert: &'a AlertView) -> Result<RowEvent<'a>, Fault> {
    Ok(RowEvent { id: &alert.id, revision: alert.revision, first: row::order(alert), html: rows.render(alert)? })
}

/// Says that an alert changed that its parent folds: a browser that shows it asks for it.
fn folded_event(alert: &AlertView, parent: &str) -> Result<Event, Fault> {
    #[derive(Serialize)]
    struct Folded<'a> {
        id: &'a str,
        revision: i64,
        parent: &'a str,
    }
    let data = Folded { id: &alert.id, revision: alert.revision, parent };
    let event = Event::default().event("folded").id(alert.revision.to_string()).json_data(&data);
    event.map_err(|error| Fault::internal(&std::io::Error::other(error)))
}

/// Whether one of `alerts` is over and open ones still name it as their parent.
async fn has_orphans(store: &TenantStore, alerts: &[AlertView]) -> Result<bool, Fault> {
    for alert in alerts.iter().filter(|alert| alert.state != AlertState::Open) {
        if store.names_as_parent(&alert.id).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who reads one alert's page.
pub(in crate::console) struct AlertReader {
    id: String,
    sent: i64,
}

impl AlertReader {
    /// Begins after the revision `since`, or with the present one.
    pub(in crate::console) fn begin(id: String, since: Option<i64>) -> Self {
        Self { id, sent: since.unwrap_or(0) }
    }

    /// Whether a change may concern this reader.
    pub(in crate::console) fn concerns(&self, change: &Change) -> bool {
        matches!(change, Change::Alert { id, revision } if *id == self.id && *revision > self.sent)
    }

    /// Renders the alert as it is now, if it has changed.
    pub(in crate::console) async fn read(&mut self, app: &App, person: &ConsolePrincipal) -> Result<Batch, Fault> {
        let (alert, html) = detail::body(app, person, &self.id).await?;
        if alert.revision <= self.sent {
            return Ok(Batch::default());
        }
        self.sent = alert.revision;
        Ok(Batch::only(Part { id: "alert", html: &html }.event()?.id(alert.revision.to_string())))
    }
}
