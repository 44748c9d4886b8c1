//! Audits in the console: what was done to this tenant, and what was done on one of its gateways. Admins only.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::id::GatewayId;
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::fault::Fault;
use super::moment::Moment;
use super::page::{self, Shell};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::store::audit::AuditView;
use crate::store::gateway_audit::{AuditCursor, GatewayEntry};

/// Entries on one page.
const PAGE: usize = 100;

/// Where the page begins.
#[derive(Deserialize)]
pub(super) struct From {
    /// Below this number.
    before: Option<u64>,
    /// In this branch of a gateway's log.
    branch: Option<u64>,
}

struct Line {
    at: Moment,
    what: String,
    who: String,
    from: String,
    about: String,
    detail: String,
    refused: Option<String>,
    number: u64,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    lines: Vec<Line>,
    older: Option<u64>,
    shell: Shell,
}

/// Shows what was done to this tenant.
pub(super) async fn page(State(app): State<Arc<App>>, person: ConsolePrincipal, Query(from): Query<From>) -> Result<Response, Fault> {
    person.principal.require(Permission::Configure)?;
    let entries = app.stores.tenant(&person.principal.tenant)?.audit(PAGE, from.before).await?;
    let now = app.now();
    let older = entries.last().filter(|last| entries.len() == PAGE && last.number > 1).map(|last| last.number);
    let lines = entries.into_iter().map(|entry| line(entry, now)).collect();
    Ok(page::html(StatusCode::OK, &AuditPage { lines, older, shell: Shell::new(&person, "audit") }))
}

fn line(entry: AuditView, now: Timestamp) -> Line {
    Line {
        at: Moment::new(entry.at, now),
        what: entry.what.replace('-', " "),
        who: entry.who,
        from: entry.from.unwrap_or_default(),
        about: entry.about,
        detail: entry.detail,
        refused: entry.refused,
        number: entry.number,
    }
}

struct BreakLine {
    at: Moment,
    text: String,
}

struct EntryLine {
    number: u64,
    branch: u64,
    at: Option<Moment>,
    received_at: Moment,
    what: String,
    facts: String,
    digest: String,
}

#[derive(Template)]
#[template(path = "gateway_audit.html")]
struct GatewayAuditPage {
    breaks: Vec<BreakLine>,
    entries: Vec<EntryLine>,
    id: String,
    name: String,
    older: Option<(u64, u64)>,
    shell: Shell,
}

/// Shows what was done on a gateway, as its own log says.
pub(super) async fn of_gateway(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
    Query(from): Query<From>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Configure)?;
    let id = GatewayId::new(id).map_err(|_| Fault::NotFound)?;
    let gateway = app.stores.find_gateway(&person.principal.tenant, &id).await?.ok_or(Fault::NotFound)?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    let at_most = |number: u64| number.min(i64::MAX as u64);
    let cursor = from.before.zip(from.branch).map(|(number, branch)| AuditCursor { branch: at_most(branch), number: at_most(number) });
    let entries = store.gateway_audit(&id, PAGE, cursor).await?;
    let breaks = store.audit_breaks(&id).await?;
    let now = app.now();
    let page = GatewayAuditPage {
        breaks: breaks.into_iter().map(|found| BreakLine { at: Moment::new(found.at, now), text: found.text }).collect(),
        older: entries.last().filter(|_| entries.len() == PAGE).map(|last| (last.branch, last.number)),
        entries: entries.into_iter().map(|entry| entry_line(entry, now)).collect(),
        id: id.into(),
        name: gateway.name,
        shell: Shell::new(&person, "gateways"),
    };
    Ok(page::html(StatusCode::OK, &page))
}

fn entry_line(entry: GatewayEntry, now: Timestamp) -> EntryLine {
    let known = entry.entry.as_object();
    let text = |name: &str| known.and_then(|fields| fields.get(name)?.as_str()).unwrap_or_default().replace('-', " ");
    let at = known.and_then(|fields| fields.get("at")?.as_i64());
    let facts = known.map(|fields| fields.iter().filter(|(name, _)| !matches!(name.as_str(), "at" | "what")));
    let facts: Vec<String> =
        facts.into_iter().flatten().map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value, now))).collect();
    EntryLine {
        number: entry.number,
        branch: entry.branch,
        at: at.map(|at| Moment::from_nanos(at, now)),
        received_at: Moment::new(entry.received_at, now),
        what: text("what"),
        facts: facts.join(", "),
        digest: entry.digest.get(..16).unwrap_or_default().to_owned(),
    }
}

/// From here on, a number can only be nanoseconds since the Unix epoch: of the year 2001 and later.
const LEAST_NANOS: i64 = 1_000_000_000_000_000_000;

fn plain(value: &Value, now: Timestamp) -> String {
    match value {
        Value::String(text) => text.clone(),
        // A person at the gateway itself, by the number of the account.
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("local") => {
            format!("local user {}", fields.get("local").map(|user| plain(user, now)).unwrap_or_default())
        }
        Value::Object(fields) => fields.iter().map(|(name, value)| format!("{name} {}", plain(value, now))).collect::<Vec<_>>().join(", "),
        Value::Array(items) => items.iter().map(|item| plain(item, now)).collect::<Vec<_>>().join(", "),
        Value::Number(number) => match number.as_i64().filter(|number| *number >= LEAST_NANOS) {
            Some(nanos) => Moment::from_nanos(nanos, now).utc,
            None => number.to_string(),
        },
        Value::Bool(_) | Value::Null => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_read_like_words_and_times_like_times() {
        let facts = json!({"by": {"local": 0}, "until": 1_795_336_484_111_468_526_i64, "paths": ["a", "b"], "number": 5});
        let text = plain(&facts, Timestamp::from_secs(1_795_336_000));
        assert_eq!(text, "by local user 0, number 5, paths a, b, until 2026-11-22 08:34:44 UTC");
    }
}
