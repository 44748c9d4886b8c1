//! What a gateway's rules do: their counters, what observing ones would have raised, and what is hardly meant in the document.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::alert::Severity;
use postern_protocol::replay::RuleFigures;
use postern_protocol::revision;
use postern_protocol::revision::document::Mode;

use super::{ProblemLine, find, problem_lines};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::moment::Moment;
use crate::console::page::{self, Shell};
use crate::rule_book::{self, Origin, RuleText};
use crate::store::StoreError;

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    at: Option<Moment>,
    id: String,
    name: String,
    rules: Vec<RuleLine>,
    revision: String,
    shell: Shell,
    since: Option<Moment>,
    warnings: Vec<ProblemLine>,
    would: Vec<WouldLine>,
}

struct RuleLine {
    cleared: String,
    description: String,
    examined: String,
    held: String,
    id: String,
    matched: String,
    matches: String,
    observes: bool,
    quiet: bool,
    raised: String,
    scanned: String,
    source: String,
    suppressed: String,
    updated: String,
    version: u32,
}

struct WouldLine {
    count: String,
    key: String,
    last_seen: Moment,
    resource: String,
    rule: String,
    severity: Severity,
}

/// Shows the rules of a gateway.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let now = app.now();
    let tenant = &person.principal.tenant;
    let counters = app.stores.tenant(tenant)?.rule_counters(&gateway.id).await?;
    let book = rule_book::of_gateway(&app, tenant, &gateway.id).await?.into_iter().next();
    let figures_of = |id: &str| counters.as_ref().and_then(|counters| counters.rules.iter().find(|rule| rule.id == id));
    let rules =
        book.iter().flat_map(|book| book.rules()).map(|(rule, text)| line(text, rule.mode == Mode::Observe, figures_of(rule.id.as_str())));
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by_key(|rule| rule.quiet);
    let would = counters.iter().flat_map(|counters| &counters.rules).flat_map(|rule| rule.would.iter().map(move |would| (rule, would)));
    let would = would.map(|(rule, would)| WouldLine {
        count: figures::count(would.count),
        key: [would.kind.as_str(), would.qualifier.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" · "),
        last_seen: Moment::from_nanos(would.last_seen, now),
        resource: would.resource.clone(),
        rule: rule.id.clone(),
        severity: would.severity,
    });
    let would = would.collect();
    let warned = book.map(|book| tokio::task::spawn_blocking(move || revision::warnings(book.document())));
    let warnings = match warned {
        Some(warned) => warned.await.map_err(|_| StoreError::Stopped)?,
        None => Vec::new(),
    };
    let page = RulesPage {
        at: counters.as_ref().map(|counters| Moment::new(counters.at, now)),
        revision: counters.as_ref().map_or_else(String::new, |counters| named(counters.revision.0)),
        since: counters.as_ref().map(|counters| Moment::new(counters.since, now)),
        id: gateway.id.to_string(),
        name: gateway.name,
        rules,
        shell: Shell::new(&person, "gateways"),
        warnings: problem_lines(&warnings),
        would,
    };
    Ok(page::html(StatusCode::OK, &page))
}

fn named(revision: u64) -> String {
    if revision == 0 { "the built-in configuration".to_owned() } else { format!("revision {revision}") }
}

fn line(text: RuleText, observes: bool, counted: Option<&RuleFigures>) -> RuleLine {
    let none = RuleFigures::default();
    let f = counted.unwrap_or(&none);
    let source = match (text.source, text.pack) {
        (Origin::Pack, Some(pack)) => pack,
        _ => "document".to_owned(),
    };
    RuleLine {
        cleared: figures::count(f.cleared),
        description: text.description,
        examined: figures::count(f.examined),
        held: figures::count(f.held),
        id: text.id,
        matched: figures::count(f.matched),
        matches: text.matches,
        observes,
        quiet: f.matched == 0,
        raised: figures::count(f.raised),
        scanned: figures::bytes(f.scanned_bytes),
        source,
        suppressed: figures::count(f.suppressed),
        updated: figures::count(f.updated),
        version: text.version,
    }
}
