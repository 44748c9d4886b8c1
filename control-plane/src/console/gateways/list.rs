//! The list of gateways. Each row is one part, so that a report of one changes only its row.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::timestamp::Timestamp;

use super::{Link, Standing, ledger};
use crate::app::App;
use crate::auth::console::ConsolePrincipal;
use crate::auth::{Permission, Principal};
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::moment::Moment;
use crate::console::page::{self, Shell};
use crate::store::gateways::GatewayView;
use crate::store::{StoreError, TenantStore};

impl TenantStore {
    /// Counts the open alerts of each gateway that has any.
    pub(super) async fn open_by_gateway(&self) -> Result<HashMap<String, u64>, StoreError> {
        self.read(|db| {
            let mut query = db.prepare_cached("SELECT gateway, count(*) FROM alert WHERE state = 'open' GROUP BY gateway")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0))))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[derive(Template)]
#[template(path = "gateways.html")]
struct GatewaysPage {
    shell: Shell,
    table: String,
}

#[derive(Template)]
#[template(path = "gateway_table.html")]
struct Table {
    can_configure: bool,
    rows: Vec<String>,
}

#[derive(Template)]
#[template(path = "gateway_row.html")]
struct Row<'a> {
    alarming: bool,
    dropped: String,
    id: &'a str,
    last_seen: Option<Moment>,
    link: Link,
    name: &'a str,
    open_alerts: String,
    received: String,
    revision: Standing,
    version: &'a str,
    waiting: String,
    waiting_room: usize,
}

/// A gateway's row, rendered.
pub(super) struct RenderedRow {
    /// Identifier of the element.
    pub(super) id: String,
    /// The element.
    pub(super) html: String,
}

/// Shows the list.
pub(in crate::console) async fn page(State(app): State<Arc<App>>, person: ConsolePrincipal) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let rows = rows(&app, &person.principal).await?;
    let page = GatewaysPage { table: table(&person, rows)?, shell: Shell::new(&person, "gateways") };
    Ok(page::html(StatusCode::OK, &page))
}

/// Renders the whole table, or what to do when there is no gateway.
pub(super) fn table(person: &ConsolePrincipal, rows: Vec<RenderedRow>) -> Result<String, Fault> {
    let can_configure = person.principal.role.allows(Permission::Configure);
    page::part(&Table { can_configure, rows: rows.into_iter().map(|row| row.html).collect() })
}

/// Renders the row of every gateway, by name.
pub(super) async fn rows(app: &App, principal: &Principal) -> Result<Vec<RenderedRow>, Fault> {
    let gateways = app.stores.list_gateways(&principal.tenant).await?;
    let open = app.stores.tenant(&principal.tenant)?.open_by_gateway().await?;
    let now = app.now();
    gateways.iter().map(|gateway| row(gateway, open.get(gateway.id.as_str()).copied().unwrap_or(0), now)).collect()
}

fn row(gateway: &GatewayView, open: u64, now: Timestamp) -> Result<RenderedRow, Fault> {
    let totals = gateway.status.as_ref().map(|status| &status.ledger.totals);
    let dropped = totals.map(ledger::sum_dropped);
    let waiting =
        gateway.status.as_ref().map(|status| status.spool.lanes.values().fold(0_u64, |sum, lane| sum.saturating_add(lane.records)));
    let known = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), figures::count);
    let html = page::part(&Row {
        alarming: totals.is_some_and(|totals| ledger::is_alarming(totals.received, ledger::sum_dropped(totals))),
        dropped: known(dropped),
        id: gateway.id.as_str(),
        last_seen: gateway.last_seen.map(|at| Moment::new(at, now)),
        link: Link::of(gateway),
        name: &gateway.name,
        open_alerts: figures::count(open),
        received: known(totals.map(|totals| totals.received)),
        revision: Standing::of(&gateway.revision),
        version: gateway.program_version.as_deref().unwrap_or("–"),
        waiting: known(waiting),
        waiting_room: gateway.status.as_ref().map_or(0, |status| status.intake.waiting_room.len()),
    })?;
    Ok(RenderedRow { id: format!("g-{}", gateway.id), html })
}
