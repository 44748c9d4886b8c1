//! The OIDs of notifications that nothing names, of all gateways, with what would explain them.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::moment::Moment;
use crate::console::page::{self, Shell};
use crate::oid_names::Names;

/// Most lines of the page.
const MAX_LINES: usize = 500;

struct UnknownLine {
    oid: String,
    gateway: String,
    gateway_name: String,
    count: String,
    first_seen: Moment,
    last_seen: Moment,
    source: String,
    name: Option<String>,
    advice: String,
}

#[derive(Template)]
#[template(path = "unknown_oids.html")]
struct UnknownPage {
    lines: Vec<UnknownLine>,
    shell: Shell,
}

/// Shows the page.
pub(in crate::console) async fn page(State(app): State<Arc<App>>, person: ConsolePrincipal) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    let now = app.now();
    let found = store.unknown_oids(now, MAX_LINES).await?;
    let names = Names::load(&store).await?;
    let gateways = app.stores.system().list_gateways(Some(&person.principal.tenant)).await?;
    let gateways: HashMap<String, String> = gateways.into_iter().map(|one| (one.id.to_string(), one.name)).collect();
    let lines = found.into_iter().map(|one| {
        let explanation = names.explain(&one.oid);
        UnknownLine {
            gateway_name: gateways.get(&one.gateway).cloned().unwrap_or_else(|| one.gateway.clone()),
            oid: one.oid,
            gateway: one.gateway,
            count: figures::count(one.count),
            first_seen: Moment::new(one.first_seen, now),
            last_seen: Moment::new(one.last_seen, now),
            source: one.source,
            name: explanation.name,
            advice: explanation.advice,
        }
    });
    let page = UnknownPage { lines: lines.collect(), shell: Shell::new(&person, "mibs") };
    Ok(page::html(StatusCode::OK, &page))
}
