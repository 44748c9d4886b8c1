//! The list of alerts.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::query::{ListQuery, Quiet, StateChoice};
use super::row::Rows;
use super::{counts, gateway_names};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::page::{self, Shell};

/// Alerts on one page.
const PAGE: usize = 100;

struct Segment {
    chosen: bool,
    href: String,
    text: &'static str,
}

struct GatewayOption {
    chosen: bool,
    id: String,
    name: String,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct ListPage<'a> {
    acknowledged: &'a str,
    counts: String,
    events: String,
    filtered: bool,
    first_page: bool,
    gateways: Vec<GatewayOption>,
    here: String,
    hidden: Vec<(&'a str, &'a str)>,
    never: bool,
    newest: String,
    older: Option<String>,
    q: &'a str,
    rows: Vec<String>,
    segments: Vec<Segment>,
    shell: Shell,
    under: Option<Under>,
}

/// The alert whose folded ones are listed.
struct Under {
    count: String,
    id: String,
    summary: String,
}

/// Shows the list that the address asks for.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let query = ListQuery::parse(&pairs);
    let store = app.stores.tenant(&person.principal.tenant)?;
    // Read before the rows: the live link repeats what changed since, and misses nothing.
    let since = store.newest_change().await?.to_string();
    let list = store.list_alerts(query.filter(), PAGE, query.cursor()).await?;
    let under = match query.parent.as_str() {
        "" => None,
        parent => Some(store.find_alert(parent).await?.ok_or(Fault::NotFound)?),
    };
    let under = under.map(|parent| Under { count: figures::count(parent.children), id: parent.id, summary: parent.summary });
    let names = gateway_names(&app, &person.principal).await?;
    let shell = Shell::new(&person, "alerts");
    let rows = Rows { can_act: shell.can_act, gateways: &names, now: app.now() };
    let rows = list.items.iter().map(|alert| rows.render(alert)).collect::<Result<Vec<_>, _>>()?;
    let mut gateways: Vec<_> =
        names.into_iter().map(|(id, name)| GatewayOption { chosen: id.as_str() == query.gateway, id: id.into(), name }).collect();
    gateways.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let page = ListPage {
        acknowledged: query.acknowledged_name(),
        counts: counts::render(&store, &query).await?,
        events: query.address("/events", &[("view", "alerts"), ("since", &since)]),
        filtered: query.is_filtered(),
        first_page: query.cursor.is_empty(),
        gateways,
        here: query.page(&query.cursor),
        hidden: hidden(&query),
        never: rows.is_empty() && !store.has_alerts().await?,
        newest: query.page(""),
        older: list.next_cursor.map(|cursor| query.page(&cursor)),
        q: &query.q,
        segments: segments(&query),
        rows,
        shell,
        under,
    };
    Ok(page::html(StatusCode::OK, &page))
}

fn segments(query: &ListQuery) -> Vec<Segment> {
    let segment = |state| Segment { chosen: query.state == state, href: query.in_state(state).page(""), text: StateChoice::label(state) };
    StateChoice::ALL.into_iter().map(segment).collect()
}

/// What the form must carry because links, not fields, choose it.
fn hidden(query: &ListQuery) -> Vec<(&'static str, &'static str)> {
    let state = (query.state != StateChoice::default()).then(|| ("state", query.state.name()));
    let quiet = (query.quiet == Quiet::Shown).then_some(("quiet", "shown"));
    state.into_iter().chain(quiet).chain(query.severities.iter().map(|severity| ("severity", severity.name()))).collect()
}
