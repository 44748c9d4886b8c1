//! What the API and the console show of an alert, and how it is read from a row.

use std::collections::BTreeMap;

use postern_protocol::alert::{AlertState, Decision, DecisionKind, Evidence, Severity};
use postern_protocol::id::GatewayId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use crate::rfc3339;
use crate::store::StoreError;

/// The columns that [`views`] reads, in its order.
pub(super) const COLUMNS: &str = "id, gateway, resource, kind, qualifier, revision, state, severity, summary, count, first_seen, last_seen,
    cleared_at, closed_at, labels, rule, evidence, acknowledged_by, acknowledged_at, decided_by, suppressed_by, suppressed_until, flapping,
    decisions, CASE parent WHEN '' THEN NULL ELSE
        (SELECT coalesce(shown.id, up.id) FROM alert AS up LEFT JOIN alert AS shown ON shown.id = up.merged_into
         WHERE up.id = alert.parent AND (alert.state <> 'open' OR coalesce(shown.state, up.state) = 'open')) END, rule_version";

/// An alert, as the API and the console show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertView {
    /// Stable for gateway, resource, kind and qualifier.
    pub id: String,
    /// The gateway that reported it; of a pair, the one whose report counts.
    pub gateway: GatewayId,
    /// The pair whose gateways' reports are merged here.
    pub pair: Option<String>,
    /// What each gateway of the pair says, by gateway; nothing without a pair.
    pub reports: Vec<Report>,
    /// Whether it lasts.
    pub state: AlertState,
    /// How grave it is.
    pub severity: Severity,
    /// What is affected.
    pub resource: String,
    /// What is wrong with it.
    pub kind: String,
    /// Tells apart alerts of one kind on one resource.
    pub qualifier: String,
    /// What a person reads first.
    pub summary: String,
    /// Reports in this occurrence.
    pub count: u64,
    /// When this occurrence was first reported.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub first_seen: Timestamp,
    /// When it was last reported.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub last_seen: Timestamp,
    /// When its end was reported.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub cleared_at: Option<Timestamp>,
    /// Released facts by name.
    pub labels: BTreeMap<String, String>,
    /// When a person closed it.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub closed_at: Option<Timestamp>,
    /// The alert that folds it: the storm that it belongs to, or the fault that explains it. An open alert has none that is not open.
    pub parent: Option<String>,
    /// Alerts that this one folds.
    pub children: u64,
    /// Grows with every change; also the ETag and the event id.
    pub revision: i64,
    /// Who reported it last, and how that was decided.
    pub evidence: Evidence,
    /// The rule that raised it.
    pub rule: String,
    /// That rule's version.
    pub rule_version: u32,
    /// Who took note of it.
    pub acknowledged: Option<Acknowledged>,
    /// Who works on it; none until alerts can be assigned.
    pub assignee: Option<String>,
    /// What people wrote about it, oldest first.
    pub notes: Vec<Note>,
    /// What keeps it quiet.
    pub suppressed: Option<Suppressed>,
    /// Whether it comes and goes so often that its clears do not count for now.
    pub flapping: bool,
    /// What its gateway decided about this occurrence, oldest first.
    pub decisions: Vec<DecisionView>,
}

impl AlertView {
    /// Whether `gateway` reported it, alone or as one of a pair.
    pub fn is_of(&self, gateway: &str) -> bool {
        self.gateway.as_str() == gateway || self.reports.iter().any(|report| report.gateway.as_str() == gateway)
    }
}

/// What one gateway of a pair says of an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The gateway.
    pub gateway: GatewayId,
    /// Whether it lasts there.
    pub state: AlertState,
    /// How grave it is there.
    pub severity: Severity,
    /// Its reports in this occurrence.
    pub count: u64,
    /// When this occurrence was first reported there.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub first_seen: Timestamp,
    /// When it was last reported there.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub last_seen: Timestamp,
    /// When its end was reported there.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub cleared_at: Option<Timestamp>,
    /// Who reported it last there, and how that was decided.
    pub evidence: Evidence,
}

/// Who took note of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    /// A user, or `client:ID`.
    pub by: String,
    /// When.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
}

/// What a person wrote about an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// A user, or `client:ID`.
    pub by: String,
    /// When.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// What keeps an alert quiet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suppressed {
    /// A maintenance window.
    pub by: String,
    /// Until when: if it is still open then, it is raised.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub until: Timestamp,
}

/// What a gateway decided about an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionView {
    /// When.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// What.
    pub what: DecisionKind,
    /// A rule, a window, a dependency, or the key of another alert.
    pub by: String,
    /// The figures behind it.
    pub text: String,
}

impl From<Decision> for DecisionView {
    fn from(Decision { at, what, by, text }: Decision) -> Self {
        Self { at, what, by, text }
    }
}

/// One thing that happened to an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// When.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// A user, `client:ID`, or `gateway:ID`.
    pub actor: String,
    /// `raised`, `severity`, `cleared`, `acknowledged`, `unacknowledged`, `closed`, `note`, `paired`, `unpaired`, or what a gateway decided:
    /// `threshold_reached`, `rate_reached`, `silent`, `flap_started`, `flap_ended`, `suppressed`, `unsuppressed`, `folded`, `unfolded`,
    /// `late_clear`, `late_report`.
    pub what: String,
    /// The note, old and new value, or the figures behind a decision.
    pub text: String,
}

/// An earlier occurrence of an alert, as it was when the next one began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OccurrenceView {
    /// Whether it had ended, and how.
    pub state: AlertState,
    /// How grave it was last.
    pub severity: Severity,
    /// Its text.
    pub summary: String,
    /// Its reports.
    pub count: u64,
    /// When it was first reported.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub first_seen: Timestamp,
    /// When it was last reported.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub last_seen: Timestamp,
    /// When its end was reported.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub cleared_at: Option<Timestamp>,
    /// When a person closed it.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub closed_at: Option<Timestamp>,
    /// Who took note of it.
    pub acknowledged: Option<Acknowledged>,
}

/// Runs a query for [`COLUMNS`] and adds each alert's notes.
pub(super) fn views(db: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<AlertView>, StoreError> {
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push(view(row)?);
    }
    add_notes(db, &mut alerts)?;
    add_reports(db, &mut alerts)?;
    add_children(db, &mut alerts)?;
    Ok(alerts)
}

fn view(row: &Row<'_>) -> Result<AlertView, StoreError> {
    let (gateway, decided_by): (String, Option<String>) = (row.get(1)?, row.get(19)?);
    // The gateway of a merged row is its pair.
    let (gateway, pair) = match decided_by {
        None => (gateway, None),
        Some(decider) => (decider, Some(gateway)),
    };
    Ok(AlertView {
        id: row.get(0)?,
        gateway: GatewayId::new(gateway).map_err(|_| StoreError::Corrupt("gateway identifier"))?,
        pair,
        reports: Vec::new(),
        resource: row.get(2)?,
        kind: row.get(3)?,
        qualifier: row.get(4)?,
        revision: row.get(5)?,
        state: state(row, 6)?,
        severity: severity(row, 7)?,
        summary: row.get(8)?,
        count: count(row, 9)?,
        first_seen: Timestamp::from_nanos(row.get(10)?),
        last_seen: Timestamp::from_nanos(row.get(11)?),
        cleared_at: time(row, 12)?,
        closed_at: time(row, 13)?,
        labels: json(row, 14, "labels")?,
        rule: row.get(15)?,
        rule_version: row.get(25)?,
        evidence: json(row, 16, "evidence")?,
        acknowledged: acknowledged(row, 17)?,
        parent: row.get(24)?,
        children: 0,
        assignee: None,
        notes: Vec::new(),
        suppressed: suppressed(row, 20)?,
        flapping: row.get(22)?,
        decisions: json::<Vec<Decision>>(row, 23, "decision")?.into_iter().map(DecisionView::from).collect(),
    })
}

fn add_notes(db: &Connection, alerts: &mut [AlertView]) -> Result<(), StoreError> {
    let mut query = db.prepare_cached("SELECT actor, at, text FROM alert_history WHERE alert = ?1 AND what = 'note' ORDER BY number")?;
    for alert in alerts {
        let notes =
            query.query_map([&alert.id], |row| Ok(Note { by: row.get(0)?, at: Timestamp::from_nanos(row.get(1)?), text: row.get(2)? }))?;
        alert.notes = notes.collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn add_reports(db: &Connection, alerts: &mut [AlertView]) -> Result<(), StoreError> {
    let mut query = db.prepare_cached(
        "SELECT gateway, state, severity, count, first_seen, last_seen, cleared_at, evidence FROM alert WHERE merged_into = ?1
         ORDER BY gateway",
    )?;
    for alert in alerts.iter_mut().filter(|alert| alert.pair.is_some()) {
        let mut rows = query.query([&alert.id])?;
        while let Some(row) = rows.next()? {
            alert.reports.push(Report {
                gateway: GatewayId::new(row.get::<_, String>(0)?).map_err(|_| StoreError::Corrupt("gateway identifier"))?,
                state: state(row, 1)?,
                severity: severity(row, 2)?,
                count: count(row, 3)?,
                first_seen: Timestamp::from_nanos(row.get(4)?),
                last_seen: Timestamp::from_nanos(row.get(5)?),
                cleared_at: time(row, 6)?,
                evidence: json(row, 7, "evidence")?,
            });
        }
    }
    Ok(())
}

/// Counts what each alert folds: of one that is not open, only what is not open either.
fn add_children(db: &Connection, alerts: &mut [AlertView]) -> Result<(), StoreError> {
    let mut query = db.prepare_cached(
        "SELECT count(*) FROM alert WHERE parent <> '' AND merged_into IS NULL AND (?2 OR state <> 'open')
         AND parent IN (SELECT id FROM alert WHERE id = ?1 OR merged_into = ?1)",
    )?;
    for alert in alerts {
        let children: i64 = query.query_row((&alert.id, alert.state == AlertState::Open), |row| row.get(0))?;
        alert.children = u64::try_from(children).unwrap_or(0);
    }
    Ok(())
}

/// Reads the earlier occurrence in a row.
pub(super) fn occurrence(row: &Row<'_>) -> Result<OccurrenceView, StoreError> {
    Ok(OccurrenceView {
        state: state(row, 0)?,
        severity: severity(row, 1)?,
        summary: row.get(2)?,
        count: count(row, 3)?,
        first_seen: Timestamp::from_nanos(row.get(4)?),
        last_seen: Timestamp::from_nanos(row.get(5)?),
        cleared_at: time(row, 6)?,
        closed_at: time(row, 7)?,
        acknowledged: acknowledged(row, 8)?,
    })
}

fn state(row: &Row<'_>, at: usize) -> Result<AlertState, StoreError> {
    AlertState::from_name(&row.get::<_, String>(at)?).ok_or(StoreError::Corrupt("alert state"))
}

/// Reads the severity in column `at` of a row.
pub(crate) fn severity(row: &Row<'_>, at: usize) -> Result<Severity, StoreError> {
    let number: i64 = row.get(at)?;
    u8::try_from(number).ok().and_then(Severity::from_number).ok_or(StoreError::Corrupt("severity"))
}

fn count(row: &Row<'_>, at: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| StoreError::Corrupt("count"))
}

fn time(row: &Row<'_>, at: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_nanos))
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(row.get_ref(at)?.as_str().unwrap_or_default()).map_err(|_| StoreError::Corrupt(what))
}

fn suppressed(row: &Row<'_>, at: usize) -> Result<Option<Suppressed>, StoreError> {
    let (by, until): (String, i64) = (row.get(at)?, row.get(at.saturating_add(1))?);
    Ok((!by.is_empty()).then_some(Suppressed { by, until: Timestamp::from_nanos(until) }))
}

fn acknowledged(row: &Row<'_>, at: usize) -> Result<Option<Acknowledged>, StoreError> {
    let (by, when) = (row.get::<_, Option<String>>(at)?, time(row, at.saturating_add(1))?);
    Ok(by.zip(when).map(|(by, at)| Acknowledged { by, at }))
}
