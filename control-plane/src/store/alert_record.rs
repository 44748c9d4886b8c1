//! Applies one alert record to a tenant's rows, inside the transaction of `ingest` or `unreachable`.
//!
//! A record replaces what is older and nothing else. A new occurrence archives the one before. What a person closed stays closed:
//! while the gateway still reports that occurrence as open, the close is (again) pending and will be told to it. A record that comes
//! ahead of its order changes what is shown and writes no history; those that it overtook write theirs when they come.

use postern_protocol::alert::{Alert, AlertState, Severity};
use postern_protocol::id::{AlertId, GatewayId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::course::{self, Same};
use super::overtaken::{self, Behind};
use super::pairs::{self, Actor};
use super::{StoreError, next_change};
use crate::feed::Change;

/// What a record did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The change of the alert's row.
    pub(super) change: Change,
    /// Whether the gateway has to be told of a close.
    pub(super) close_pending: bool,
}

/// What is stored of an alert, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    occurrence: i64,
    gateway_revision: i64,
    state: AlertState,
    severity: i64,
    count: i64,
    closed_at: Option<i64>,
    closed_by: Option<String>,
    close_count_seen: Option<i64>,
}

/// The columns of a close, as they will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Close {
    at: Option<i64>,
    by: Option<String>,
    count_seen: Option<i64>,
}

/// Where a record comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The gateway that it is about.
    pub(super) gateway: &'a GatewayId,
    /// Who reports it, for the history.
    pub(super) actor: &'a str,
    /// The present time.
    pub(super) now: Timestamp,
}

/// Whether a record comes in its lane's order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// Before it: history is left to when it comes again.
    Ahead,
    /// When those before it have come.
    InOrder,
}

/// Applies `alert`; `None` when what is stored is as new. The change is the merged row's when the gateway is in a pair.
pub(super) fn apply(tx: &Transaction<'_>, origin: Origin<'_>, alert: &Alert) -> Result<Option<Outcome>, StoreError> {
    merge(tx, origin, alert, apply_side(tx, origin, (alert, Arrival::InOrder))?)
}

/// Applies `alert`, which comes ahead of its order and will come again in it; `None` when what is stored is as new.
pub(super) fn apply_ahead(tx: &Transaction<'_>, origin: Origin<'_>, alert: &Alert) -> Result<Option<Outcome>, StoreError> {
    merge(tx, origin, alert, apply_side(tx, origin, (alert, Arrival::Ahead))?)
}

fn merge(tx: &Transaction<'_>, origin: Origin<'_>, alert: &Alert, side: Option<Outcome>) -> Result<Option<Outcome>, StoreError> {
    let Some(outcome) = side else { return Ok(None) };
    let pair = if pairs::is_mergeable(alert.rule.as_str()) { pairs::of_gateway(tx, origin.gateway)? } else { None };
    let Some(pair) = pair else { return Ok(Some(outcome)) };
    let merged = pairs::refresh(tx, &pair, &alert.key, Actor { name: origin.actor, at: origin.now })?;
    Ok(Some(match merged {
        Some(merged) => Outcome { change: merged.change, close_pending: outcome.close_pending || merged.close_pending },
        None => outcome,
    }))
}

fn apply_side(tx: &Transaction<'_>, origin: Origin<'_>, (alert, arrival): (&Alert, Arrival)) -> Result<Option<Outcome>, StoreError> {
    let Origin { gateway, now, .. } = origin;
    let id = AlertId::derive(gateway, &alert.key);
    let id = id.as_str();
    let numbers = (signed(alert.occurrence)?, signed(alert.revision)?);
    let stored = find(tx, id)?;
    let behind = overtaken::find(tx, id)?;
    if let Some(stored) = &stored
        && (stored.gateway_revision >= numbers.1 || stored.occurrence > numbers.0)
    {
        return match behind {
            Some(behind) if arrival == Arrival::InOrder => catch_up(tx, (origin, id), alert, (stored, behind)),
            Some(_) | None => Ok(None),
        };
    }
    let same = stored.as_ref().filter(|stored| stored.occurrence == numbers.0);
    let (state, close) = close_after(same, alert.state, now);
    if same.is_none() && stored.is_some() {
        archive(tx, id)?;
    }
    let change = next_change(tx)?;
    if stored.is_none() {
        tx.prepare_cached(
            "INSERT INTO alert (id, gateway, resource, kind, qualifier, occurrence, gateway_revision, revision, state,
             severity, summary, count, first_seen, last_seen, labels, rule, rule_version, evidence)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 'open', 1, '', 0, 0, 0, '{}', '', 0, '{}')",
        )?
        .execute(params![id, gateway.as_str(), alert.key.resource, alert.key.kind, alert.key.qualifier])?;
    }
    write_columns(tx, id, alert, change)?;
    course::write(tx, (id, gateway), &alert.course)?;
    tx.prepare_cached("UPDATE alert SET state = ?2, closed_at = ?3, closed_by = ?4, close_count_seen = ?5 WHERE id = ?1")?
        .execute(params![id, state.name(), close.at, close.by, close.count_seen])?;
    if same.is_none() {
        tx.prepare_cached("UPDATE alert SET acknowledged_by = NULL, acknowledged_at = NULL WHERE id = ?1")?.execute([id])?;
    }
    match (arrival, behind) {
        (Arrival::Ahead, Some(_)) => {}
        (Arrival::Ahead, None) => overtaken::note(tx, id, stored.as_ref().map_or(NOTHING_YET, Stored::as_behind))?,
        (Arrival::InOrder, Some(behind)) => {
            let before = said_before(behind, same).filter(|before| before.occurrence == numbers.0);
            let entries = history(before.as_ref(), alert, state, now);
            write_history(tx, (origin, id), with_decisions(tx, id, alert, entries)?)?;
            overtaken::forget(tx, id)?;
        }
        (Arrival::InOrder, None) => {
            let entries = with_decisions(tx, id, alert, history(same, alert, state, now))?;
            write_history(tx, (origin, id), entries)?;
        }
    }
    let change = Change::Alert { id: id.to_owned(), revision: change };
    Ok(Some(Outcome { change, close_pending: close.count_seen.is_some() }))
}

/// What the lane has said of an alert before it says anything.
const NOTHING_YET: Behind = Behind { occurrence: 0, gateway_revision: 0, state: AlertState::Open, severity: 0 };

impl Stored {
    const fn as_behind(&self) -> Behind {
        Behind { occurrence: self.occurrence, gateway_revision: self.gateway_revision, state: self.state, severity: self.severity }
    }
}

/// Returns an alert as its lane said it last, for the history; what a person closed since stays closed.
fn said_before(behind: Behind, shown: Option<&Stored>) -> Option<Stored> {
    let Behind { occurrence, gateway_revision, state, severity } = behind;
    let is_closed = shown.is_some_and(|shown| shown.occurrence == occurrence && shown.closed_by.is_some());
    let state = if is_closed { AlertState::Closed } else { state };
    let (count, closed_at, closed_by, close_count_seen) = (0, None, None, None);
    (occurrence > 0).then_some(Stored { occurrence, gateway_revision, state, severity, count, closed_at, closed_by, close_count_seen })
}

/// Takes a record, in its order, that what is shown has overtaken: it completes the history, and the occurrence that it is about.
fn catch_up(
    tx: &Transaction<'_>,
    (origin, id): (Origin<'_>, &str),
    alert: &Alert,
    (stored, behind): (&Stored, Behind),
) -> Result<Option<Outcome>, StoreError> {
    let (occurrence, gateway_revision) = (signed(alert.occurrence)?, signed(alert.revision)?);
    if behind.gateway_revision >= gateway_revision || behind.occurrence > occurrence {
        return Ok(None);
    }
    let before = said_before(behind, Some(stored)).filter(|before| before.occurrence == occurrence);
    let (state, _) = close_after(before.as_ref(), alert.state, origin.now);
    if occurrence < stored.occurrence {
        overtaken::keep_occurrence(tx, id, alert, origin.now.as_nanos())?;
    }
    if gateway_revision < stored.gateway_revision {
        overtaken::note(tx, id, Behind { occurrence, gateway_revision, state, severity: i64::from(alert.severity.number()) })?;
    } else {
        overtaken::forget(tx, id)?;
    }
    let entries = with_decisions(tx, id, alert, history(before.as_ref(), alert, state, origin.now))?;
    if entries.is_empty() {
        return Ok(None);
    }
    write_history(tx, (origin, id), entries)?;
    // Whoever looks at the alert is to see its history grow.
    let revision = next_change(tx)?;
    tx.prepare_cached("UPDATE alert SET revision = ?2 WHERE id = ?1")?.execute(params![id, revision])?;
    let change = Change::Alert { id: id.to_owned(), revision };
    Ok(Some(Outcome { change, close_pending: stored.close_count_seen.is_some() }))
}

/// Adds what was decided since, each at its time.
fn with_decisions(tx: &Transaction<'_>, id: &str, alert: &Alert, mut entries: Vec<HistoryEntry>) -> Result<Vec<HistoryEntry>, StoreError> {
    let decided = course::news(tx, id, &alert.course, Same::Moment)?;
    entries.extend(decided.into_iter().map(|course::Noted { at, what, text }| HistoryEntry { at, what, text }));
    entries.sort_by_key(|entry| entry.at);
    Ok(entries)
}

fn write_history(tx: &Transaction<'_>, (origin, id): (Origin<'_>, &str), entries: Vec<HistoryEntry>) -> Result<(), StoreError> {
    for entry in entries {
        tx.prepare_cached("INSERT INTO alert_history (alert, at, actor, what, text) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            id,
            entry.at.as_nanos(),
            origin.actor,
            entry.what,
            entry.text
        ])?;
    }
    Ok(())
}

/// Decides state and close columns of the occurrence after a record that reports `reported`.
fn close_after(same: Option<&Stored>, reported: AlertState, now: Timestamp) -> (AlertState, Close) {
    let was_closed = same.filter(|stored| stored.state == AlertState::Closed);
    match (was_closed, reported) {
        (Some(closed), AlertState::Open) => {
            let count_seen = closed.close_count_seen.or(Some(closed.count));
            (AlertState::Closed, Close { at: closed.closed_at, by: closed.closed_by.clone(), count_seen })
        }
        // The condition is over on the gateway, by the close or by itself: nothing is left to tell it.
        (Some(closed), AlertState::Cleared | AlertState::Closed) => {
            (AlertState::Closed, Close { at: closed.closed_at, by: closed.closed_by.clone(), count_seen: None })
        }
        (None, AlertState::Closed) => (AlertState::Closed, Close { at: Some(now.as_nanos()), by: None, count_seen: None }),
        (None, AlertState::Open | AlertState::Cleared) => (reported, Close::default()),
    }
}

struct HistoryEntry {
    at: Timestamp,
    what: &'static str,
    text: String,
}

fn history(same: Option<&Stored>, alert: &Alert, state: AlertState, now: Timestamp) -> Vec<HistoryEntry> {
    let mut entries = Vec::new();
    match same {
        None => entries.push(HistoryEntry { at: alert.first_seen, what: "raised", text: alert.severity.name().to_owned() }),
        Some(stored) => {
            let before = u8::try_from(stored.severity).ok().and_then(Severity::from_number);
            if let Some(before) = before.filter(|before| *before != alert.severity) {
                let text = format!("{before} → {}", alert.severity);
                entries.push(HistoryEntry { at: alert.last_seen, what: "severity", text });
            }
        }
    }
    if same.map(|stored| stored.state) != Some(state) {
        match state {
            AlertState::Cleared => {
                entries.push(HistoryEntry { at: alert.cleared_at.unwrap_or(now), what: "cleared", text: course::end(&alert.course) });
            }
            AlertState::Closed => entries.push(HistoryEntry { at: now, what: "closed", text: String::new() }),
            AlertState::Open => {}
        }
    }
    entries
}

fn find(tx: &Transaction<'_>, id: &str) -> Result<Option<Stored>, StoreError> {
    let row = tx
        .prepare_cached(
            "SELECT occurrence, gateway_revision, state, severity, count, closed_at, closed_by, close_count_seen
             FROM alert WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let stored = Stored {
                occurrence: row.get(0)?,
                gateway_revision: row.get(1)?,
                state: AlertState::Open,
                severity: row.get(3)?,
                count: row.get(4)?,
                closed_at: row.get(5)?,
                closed_by: row.get(6)?,
                close_count_seen: row.get(7)?,
            };
            Ok((stored, row.get::<_, String>(2)?))
        })
        .optional()?;
    row.map(|(stored, state)| Ok(Stored { state: AlertState::from_name(&state).ok_or(StoreError::Corrupt("alert state"))?, ..stored }))
        .transpose()
}

/// Keeps the occurrence as it is, before the next begins.
pub(super) fn archive(tx: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO occurrence (alert, occurrence, state, severity, summary, count, first_seen, last_seen, cleared_at,
         closed_at, acknowledged_by, acknowledged_at)
         SELECT id, occurrence, state, severity, summary, count, first_seen, last_seen, cleared_at, closed_at, acknowledged_by,
         acknowledged_at FROM alert WHERE id = ?1",
    )?
    .execute([id])?;
    Ok(())
}

fn write_columns(tx: &Transaction<'_>, id: &str, alert: &Alert, change: i64) -> Result<(), StoreError> {
    let labels = serde_json::to_string(&alert.labels).map_err(|_| StoreError::Corrupt("label"))?;
    let evidence = serde_json::to_string(&alert.evidence).map_err(|_| StoreError::Corrupt("evidence"))?;
    tx.prepare_cached(
        "UPDATE alert SET occurrence = ?2, gateway_revision = ?3, revision = ?4, severity = ?5, summary = ?6, count = ?7,
         first_seen = ?8, last_seen = ?9, cleared_at = ?10, labels = ?11, rule = ?12, rule_version = ?13, evidence = ?14
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        signed(alert.occurrence)?,
        signed(alert.revision)?,
        change,
        alert.severity.number(),
        alert.summary,
        i64::try_from(alert.count).unwrap_or(i64::MAX),
        alert.first_seen.as_nanos(),
        alert.last_seen.as_nanos(),
        alert.cleared_at.map(Timestamp::as_nanos),
        labels,
        alert.rule.as_str(),
        alert.rule_version,
        evidence
    ])?;
    Ok(())
}

pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Conflict(format!("{number} is beyond what a store can count")))
}
