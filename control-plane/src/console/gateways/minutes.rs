//! The ledger of a gateway over time: the balance as a drawing, and for one chosen bar the sums by protocol and the busiest sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::status::{Account, SourceAccount};
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

use super::balance::{self, Chart, SCALES, Scale, USUAL};
use super::{find, ledger};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::balance::{Balance, Entry};
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::page::{self, Shell};
use crate::store::gateways::GatewayView;
use crate::store::minutes::{Minutes, Span, minute_of};
use crate::store::{StoreError, TenantStore};

/// Most sources that are shown.
const MAX_SOURCES: usize = 50;

/// What is asked for.
#[derive(Deserialize)]
pub(in crate::console) struct Asked {
    /// Name of a scale.
    #[serde(default)]
    span: String,
    /// The first minute that is not shown; the present one when left out.
    to: Option<u64>,
    /// The first minute of the chosen bar.
    at: Option<u64>,
}

/// One protocol in the chosen bar.
struct ProtocolLine {
    name: String,
    received: String,
    accepted: String,
    in_flight: String,
    dropped: String,
    gap: Option<String>,
}

struct ScaleLink {
    here: bool,
    name: &'static str,
    text: &'static str,
}

struct ChosenBar {
    text: String,
    protocols: Vec<ProtocolLine>,
    sources: Vec<ledger::Source>,
    earlier: Option<u64>,
    later: Option<u64>,
}

#[derive(Template)]
#[template(path = "balance.html")]
struct Drawing<'a> {
    chart: &'a Chart,
    /// The address of a bar, but for its first minute.
    link: Option<String>,
}

#[derive(Template)]
#[template(path = "minutes.html")]
struct MinutesPage<'a> {
    chart: &'a Chart,
    chosen: Option<ChosenBar>,
    drawing: String,
    earlier: String,
    id: &'a str,
    later: Option<String>,
    link: String,
    name: &'a str,
    scales: Vec<ScaleLink>,
    shell: Shell,
}

/// The drawing of a gateway's own page.
pub(super) struct RecentBalance {
    pub(super) chart: Chart,
    pub(super) drawing: String,
}

/// Draws the last hours for a gateway's own page; `None` while no minute is known.
pub(super) async fn recent(store: &TenantStore, gateway: &GatewayView, now: Timestamp) -> Result<Option<RecentBalance>, Fault> {
    let to = aligned(minute_of(now), USUAL);
    let span = Span { from: to.saturating_sub(USUAL.minutes), to };
    let found = store.minutes(&gateway.id, span).await?;
    if found.last.is_none() {
        return Ok(None);
    }
    let balance = drawn(found, span, gateway).await?;
    let chart = Chart::new(&balance, span, USUAL, None);
    let link = format!("/gateways/{}/ledger?span={}&to={to}&at=", gateway.id, USUAL.name);
    let drawing = page::part(&Drawing { chart: &chart, link: Some(link) })?;
    Ok(Some(RecentBalance { chart, drawing }))
}

/// Shows the page.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    let scale = SCALES.into_iter().find(|scale| scale.name == asked.span).unwrap_or(USUAL);
    let present = aligned(minute_of(app.now()), scale);
    let to = asked.to.map_or(present, |to| aligned(to.saturating_sub(1), scale)).min(present);
    let span = Span { from: to.saturating_sub(scale.minutes), to };
    let chosen =
        asked.at.filter(|at| (span.from..span.to).contains(at)).map(|at| aligned(at, scale).saturating_sub(scale.bar).max(span.from));
    let balance = drawn(store.minutes(&gateway.id, span).await?, span, &gateway).await?;
    let chart = Chart::new(&balance, span, scale, chosen);
    let bar = match chosen {
        Some(from) => {
            let bar = Span { from, to: from.saturating_add(scale.bar).min(to) };
            let sources = store.minute_sources(&gateway.id, bar, MAX_SOURCES).await?;
            Some(chosen_bar(&balance, bar, span, &sources))
        }
        None => None,
    };
    let address = |to: u64| format!("/gateways/{}/ledger?span={}&to={to}", gateway.id, scale.name);
    let link = format!("{}&at=", address(to));
    let page = MinutesPage {
        drawing: page::part(&Drawing { chart: &chart, link: Some(link.clone()) })?,
        chart: &chart,
        chosen: bar,
        earlier: address(span.from),
        id: gateway.id.as_str(),
        later: (to < present).then(|| address(to.saturating_add(scale.minutes).min(present))),
        link,
        name: &gateway.name,
        scales: SCALES.iter().map(|one| ScaleLink { here: *one == scale, name: one.name, text: one.text }).collect(),
        shell: Shell::new(&person, "gateways"),
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Draws the balance of what may be tens of thousands of minutes: not on a worker of the runtime.
async fn drawn(found: Minutes, span: Span, gateway: &GatewayView) -> Result<Balance, StoreError> {
    let started = gateway.started();
    tokio::task::spawn_blocking(move || Balance::new(found, span, started)).await.map_err(|_| StoreError::Stopped)
}

/// The end of the bar that `minute` lies in: bars begin at round times, so that a page that is read again shows the same ones.
fn aligned(minute: u64, scale: Scale) -> u64 {
    (minute / scale.bar).saturating_add(1).saturating_mul(scale.bar)
}

fn chosen_bar(balance: &Balance, bar: Span, all: Span, sources: &[SourceAccount]) -> ChosenBar {
    let mut protocols: BTreeMap<&str, (Entry, u64)> = BTreeMap::new();
    for one in balance.minutes.iter().filter(|one| (bar.from..bar.to).contains(&one.minute)) {
        let (sum, gap) = protocols.entry(&one.protocol).or_default();
        sum.add(
            &Account { received: one.entry.received, accepted: one.entry.accepted, in_flight: 0, dropped: one.entry.dropped.clone() },
            0,
        );
        sum.in_flight_change = sum.in_flight_change.saturating_add(one.entry.in_flight_change);
        *gap = gap.saturating_add(one.entry.gap().unsigned_abs());
    }
    let lines = protocols.into_iter().map(|(name, (entry, gap))| ProtocolLine {
        name: name.to_owned(),
        received: figures::count(entry.received),
        accepted: figures::count(entry.accepted),
        in_flight: balance::signed(entry.in_flight_change),
        dropped: figures::count(entry.dropped_sum()),
        gap: (gap > 0).then(|| figures::count(gap)),
    });
    let width = bar.minutes();
    ChosenBar {
        text: balance::span_text(bar),
        protocols: lines.collect(),
        sources: ledger::sources(sources),
        earlier: bar.from.checked_sub(width).filter(|from| *from >= all.from),
        later: Some(bar.to).filter(|from| *from < all.to),
    }
}
