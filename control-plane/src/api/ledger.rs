//! `/api/v1/gateways/{id}/ledger`: what became of everything that a gateway received, minute by minute, and what does not add up.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use postern_protocol::status::SourceAccount;
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Parameters, PathId};
use super::schema;
use super::schema::parameters::LedgerSpan;
use super::schema::problems::ReadProblems;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::balance::{Balance, Entry, MinuteEntry};
use crate::rfc3339;
use crate::store::minutes::{Span, minute_of};

/// Longest span of one request, in minutes: a day.
const MAX_MINUTES: u64 = 24 * 60;

/// The span when the request names none, in minutes.
const DEFAULT_MINUTES: u64 = 60;

/// Most sources of an answer.
const MAX_SOURCES: usize = 100;

#[derive(Serialize)]
pub(super) struct LedgerAnswer {
    #[serde(serialize_with = "rfc3339::serialize")]
    from: Timestamp,
    #[serde(serialize_with = "rfc3339::serialize")]
    to: Timestamp,
    items: Vec<MinuteLine>,
    missing: Vec<MissingSpan>,
    totals: Sums,
    sources: Vec<SourceLine>,
}

#[derive(Serialize)]
struct MinuteLine {
    #[serde(serialize_with = "rfc3339::serialize")]
    minute: Timestamp,
    protocol: String,
    in_flight: u64,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize)]
struct Sums {
    received: u64,
    accepted: u64,
    dropped: BTreeMap<String, u64>,
    in_flight_change: i64,
    gap: i64,
}

#[derive(Serialize)]
struct MissingSpan {
    #[serde(serialize_with = "rfc3339::serialize")]
    from: Timestamp,
    #[serde(serialize_with = "rfc3339::serialize")]
    to: Timestamp,
}

#[derive(Serialize)]
struct SourceLine {
    source: String,
    protocol: String,
    received: u64,
    accepted: u64,
    dropped: BTreeMap<String, u64>,
}

/// Reads the ledger's whole minutes in a span of at most a day: received = accepted + Σ dropped + the change of what is in flight.
/// What does not add up is the `gap` of its line; minutes without a word while the gateway was up are `missing`.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/ledger", operation_id = "read_ledger", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway"), LedgerSpan),
    responses((status = 200, description = "The minutes", body = schema::intake::LedgerAnswer), ReadProblems),
)]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    mut parameters: Parameters,
) -> Result<Json<LedgerAnswer>, Problem> {
    api.principal.require(Permission::Read)?;
    let (from, to) = (parameters.time("from")?, parameters.time("to")?);
    parameters.finish()?;
    let span = span(from, to, app.now())?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let balance = Balance::new(store.minutes(&gateway.id, span).await?, span, gateway.started());
    let sources = store.minute_sources(&gateway.id, span, MAX_SOURCES).await?;
    Ok(Json(LedgerAnswer {
        from: at(span.from),
        to: at(span.to),
        items: balance.minutes.into_iter().map(line).collect(),
        missing: balance.missing.iter().map(|span| MissingSpan { from: at(span.from), to: at(span.to) }).collect(),
        totals: sums(balance.totals),
        sources: sources.into_iter().map(source).collect(),
    }))
}

fn span(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> Result<Span, Problem> {
    let to = to.map_or_else(|| minute_of(now).saturating_add(1), minute_of);
    let from = from.map_or_else(|| to.saturating_sub(DEFAULT_MINUTES), minute_of);
    if from >= to {
        return Err(Problem::parameter("from", "from is at least a minute before to; both are cut to whole minutes"));
    }
    if to.saturating_sub(from) > MAX_MINUTES {
        return Err(Problem::parameter("from", "from and to are a day apart at most; ask for one day after the other"));
    }
    Ok(Span { from, to })
}

fn at(minute: u64) -> Timestamp {
    Timestamp::from_secs(i64::try_from(minute.saturating_mul(60)).unwrap_or(i64::MAX))
}

fn line(one: MinuteEntry) -> MinuteLine {
    MinuteLine { minute: at(one.minute), protocol: one.protocol, in_flight: one.in_flight, sums: sums(one.entry) }
}

fn sums(entry: Entry) -> Sums {
    let gap = entry.gap();
    Sums { received: entry.received, accepted: entry.accepted, dropped: entry.dropped, in_flight_change: entry.in_flight_change, gap }
}

fn source(one: SourceAccount) -> SourceLine {
    let SourceAccount { source, protocol, account } = one;
    SourceLine { source, protocol, received: account.received, accepted: account.accepted, dropped: account.dropped }
}
