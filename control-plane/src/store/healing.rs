//! Makes this database and a gateway agree again after one of them was set back: judges a greeting, gives a gateway back the alerts
//! that its disk forgot, and ends alerts whose end was lost.
//!
//! Plain functions over a connection, so that a simulation runs the very same; the tunnel's `healing` calls them.

use std::collections::BTreeMap;

use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{Epoch, GatewayId, Lane, RuleId, Sequence};
use postern_protocol::message::{Hello, Resent};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::alert_record::{self, Origin};
use super::audit::{self, By, Deed, Outcome, What};
use super::course;
use super::cursors;
use super::gateway_events::{self, GatewayEvent, Happening};
use super::{StoreError, TenantStore, ahead};
use crate::feed::Change;

/// Who clears an alert whose clear was lost, in its history.
const ACTOR: &str = "control-plane";

/// What stands beside such a clear.
const LOST: &str = "not open on the gateway any more; its clear was lost";

/// Rules of the alerts that the control plane raises by itself begin so: no gateway knows them.
const OWN_RULES: &str = "control-plane.%";

/// Version since which a gateway says the newest alert revision that its start found.
const SAYS_REVISION: u32 = 2;

/// Longest word of a gateway that is kept, in characters.
const MAX_WORD: usize = 300;

/// What a greeting says of the two sides' states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Alerts that the gateway reported and its disk has forgotten, by ascending revision. When there are any, the gateway sends its
    /// open alerts again after it has them all, and must not before.
    pub adopt: Vec<Alert>,
    /// The newest alert revision that the gateway is sure to know, when it has to adopt what came later.
    pub known: Option<u64>,
    /// Whether the gateway has to send all its open alerts again.
    pub resend: bool,
    /// What happened, in words.
    pub findings: Vec<GatewayEvent>,
}

impl TenantStore {
    /// Judges the greeting of `gateway` and declares what it finds: in the gateway's history, in the audit, and as a gap that only
    /// a resend closes.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn judge(&self, gateway: &GatewayId, hello: &Hello, now: Timestamp) -> Result<Judgement, StoreError> {
        let (of, hello) = (gateway.clone(), hello.clone());
        let judgement = self.read(move |db| judge(db, &of, &hello, now)).await?;
        if !judgement.findings.is_empty() {
            let (of, declared) = (gateway.clone(), judgement.clone());
            self.write(move |tx| declare(tx, &of, &declared)).await?;
        }
        Ok(judgement)
    }

    /// Declares that the disk (or the memory) of `gateway` was set back to nobody knows when: until it has sent its open alerts again,
    /// it gets everything back that it ever reported, whatever its greetings say.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn declare_set_back(&self, gateway: &GatewayId, text: String, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        let judgement = set_back(text, now);
        self.write(move |tx| declare(tx, &gateway, &judgement)).await
    }

    /// Takes note that `gateway` committed all its open alerts again; see [`resent`].
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn resent(&self, gateway: &GatewayId, said: Resent, now: Timestamp) -> Result<Vec<Change>, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| resent(tx, &gateway, &said, now)).await
    }
}

/// Compares a greeting with what is stored.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn judge(db: &Connection, gateway: &GatewayId, hello: &Hello, now: Timestamp) -> Result<Judgement, StoreError> {
    let mut judgement = Judgement { resend: cursors::open_gap(db, gateway)?, ..Judgement::default() };
    let mut find = |what, text| judgement.findings.push(GatewayEvent { at: now, what, text });
    // What its start found, 0 for an empty disk; a gateway of version 1 does not say it. Later greetings of that start say the same,
    // when more is stored; a later start, before all is healed, finds what came meanwhile, too: what was declared counts.
    let found = (hello.protocol >= SAYS_REVISION).then_some(hello.alert_revision);
    let newest = newest_revision(db, gateway)?;
    // What came ahead of its order moved no cursor.
    let told = ahead::head_told(db, gateway, Epoch(hello.epoch))?;
    let is_beyond = told > head(hello, Lane::Alerts);
    let is_first = told.0 == 0 && cursors::committed(db, gateway, Lane::Alerts, Epoch(hello.epoch))?.0 == 0;
    let declared = declared(db, gateway)?;
    let known =
        found.filter(|_| is_first || is_beyond || declared.is_some()).map(|found| declared.map_or(found, |declared| declared.min(found)));
    if let Some(known) = known.filter(|known| *known < newest) {
        judgement.adopt = reported_after(db, gateway, known)?;
        judgement.known = Some(known);
        let text = format!(
            "the gateway's disk was set back to an older state: its start found alerts up to number {known}, and it had reported up to \
             {newest}. It gets {} back from here and sends all its open ones again",
            judgement.adopt.len()
        );
        if is_first && declared.is_none_or(|declared| known < declared) {
            find(Happening::DiskSetBack, text);
        }
    }
    let is_ahead = |cursor: &cursors::Cursor| cursor.epoch == Epoch(hello.epoch) && head(hello, cursor.lane) < cursor.sequence;
    if is_beyond || cursors::of_gateway(db, gateway)?.iter().any(is_ahead) {
        judgement.resend = true;
        let text = "the gateway's disk was set back while it ran: more of this run is stored here than it knows. It sends all its open \
                    alerts again";
        find(Happening::DiskSetBack, text.to_owned());
    }
    if !hello.rollback.is_empty() {
        let said: String = hello.rollback.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect();
        find(Happening::DiskSetBack, format!("the gateway says: {said}"));
        judgement.resend = true;
    }
    if let Some(stored) = newest_configuration(db, gateway)?.filter(|stored| *stored < hello.newest_revision) {
        judgement.resend = true;
        find(
            Happening::DatabaseRestored,
            format!(
                "this database was restored from an older state: the gateway has had configuration {}, and the newest one here is \
                 {stored}. The present one goes out as {}; all open alerts are asked for again",
                hello.newest_revision,
                hello.newest_revision.saturating_add(1)
            ),
        );
    }
    // It sends them by itself once it has adopted, and not before.
    judgement.resend &= judgement.adopt.is_empty();
    Ok(judgement)
}

/// The epoch under which a finding is noted as a gap: no gateway draws it. Its place is the newest alert revision that the gateway is
/// sure to know.
const DECLARED: [u8; 8] = [0; 8];

/// What was declared, if the gateway has not sent its open alerts again since: the newest alert revision that it is sure to know.
fn declared(db: &Connection, gateway: &GatewayId) -> Result<Option<u64>, StoreError> {
    let known: Option<i64> = db
        .prepare_cached("SELECT min(after_sequence) FROM lane_gap WHERE gateway = ?1 AND resent = 0 AND epoch = ?2")?
        .query_row(params![gateway.as_str(), DECLARED], |row| row.get(0))?;
    known.map(|known| u64::try_from(known).map_err(|_| StoreError::Corrupt("revision"))).transpose()
}

/// Finds a disk (or a memory) set back to nobody knows when: nothing is sure to be known.
pub fn set_back(text: String, now: Timestamp) -> Judgement {
    let findings = vec![GatewayEvent { at: now, what: Happening::DiskSetBack, text }];
    Judgement { known: Some(0), findings, ..Judgement::default() }
}

/// Declares findings: history, audit, and a gap that stays open until the gateway has sent its open alerts again.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn declare(tx: &Transaction<'_>, gateway: &GatewayId, judgement: &Judgement) -> Result<(), StoreError> {
    for finding in &judgement.findings {
        gateway_events::note(tx, gateway, finding)?;
        let deed = Deed {
            at: finding.at,
            by: By::gateway(gateway),
            what: What::GatewayRewound,
            about: format!("gateway {gateway}"),
            detail: finding.text.clone(),
            outcome: Outcome::Done,
        };
        audit::note(tx, deed)?;
    }
    let Some(first) = judgement.findings.first() else { return Ok(()) };
    tx.prepare_cached("DELETE FROM gateway_resent WHERE gateway = ?1")?.execute([gateway.as_str()])?;
    ahead::forget_head(tx, gateway)?;
    let known = judgement.known.and_then(|known| i64::try_from(known).ok()).unwrap_or(i64::MAX);
    tx.prepare_cached("INSERT INTO lane_gap (gateway, lane, epoch, after_sequence, records, at) VALUES (?1, ?2, ?3, ?4, 0, ?5)")?
        .execute(params![gateway.as_str(), Lane::Alerts.number(), DECLARED, known, first.at.as_nanos()])?;
    Ok(())
}

/// Takes note that `gateway` committed all its open alerts again: as soon as the alerts lane has come so far, what is open here under
/// an older revision is over.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn resent(tx: &Transaction<'_>, gateway: &GatewayId, said: &Resent, now: Timestamp) -> Result<Vec<Change>, StoreError> {
    let signed =
        |number: u64| i64::try_from(number).map_err(|_| StoreError::Conflict(format!("{number} is beyond what a store can count")));
    tx.prepare_cached("INSERT OR REPLACE INTO gateway_resent (gateway, epoch, sequence, since_revision) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![gateway.as_str(), said.epoch.to_be_bytes(), signed(said.sequence)?, signed(said.since_revision)?])?;
    settle(tx, gateway, now)
}

/// Ends what a resend left out, if one is noted and the alerts lane has come so far. Called whenever that lane has moved.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn settle(tx: &Transaction<'_>, gateway: &GatewayId, now: Timestamp) -> Result<Vec<Change>, StoreError> {
    let noted = tx
        .prepare_cached("SELECT epoch, sequence, since_revision FROM gateway_resent WHERE gateway = ?1")?
        .query_row([gateway.as_str()], |row| Ok((u64::from_be_bytes(row.get(0)?), row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        .optional()?;
    let Some((epoch, sequence, since)) = noted else { return Ok(Vec::new()) };
    let unsigned = |number: i64| u64::try_from(number).map_err(|_| StoreError::Corrupt("sequence"));
    if cursors::committed(tx, gateway, Lane::Alerts, Epoch(epoch))?.0 < unsigned(sequence)? {
        return Ok(Vec::new());
    }
    tx.prepare_cached("DELETE FROM gateway_resent WHERE gateway = ?1")?.execute([gateway.as_str()])?;
    cursors::mark_resent(tx, gateway)?;
    let lost = alerts(tx, "gateway = ?1 AND gateway_revision < ?2 AND (state = 'open' OR close_count_seen IS NOT NULL)", gateway, since)?;
    let mut changes = Vec::new();
    for alert in lost {
        let ended = Alert { revision: unsigned(since)?, state: AlertState::Cleared, cleared_at: Some(now.max(alert.last_seen)), ..alert };
        let origin = Origin { gateway, actor: ACTOR, now };
        let Some(outcome) = alert_record::apply(tx, origin, &ended)? else { continue };
        if let Change::Alert { id, .. } = &outcome.change {
            tx.prepare_cached("INSERT INTO alert_history (alert, at, actor, what, text) VALUES (?1, ?2, ?3, 'note', ?4)")?
                .execute(params![id, now.as_nanos(), ACTOR, LOST])?;
        }
        changes.push(outcome.change);
    }
    if !changes.is_empty() {
        note_healed(tx, gateway, changes.len(), now)?;
    }
    Ok(changes)
}

fn note_healed(tx: &Transaction<'_>, gateway: &GatewayId, count: usize, now: Timestamp) -> Result<(), StoreError> {
    let text = format!("{count} alerts were open here and not on the gateway any more; they are cleared");
    gateway_events::note(tx, gateway, &GatewayEvent { at: now, what: Happening::AlertsHealed, text: text.clone() })?;
    let about = format!("gateway {gateway}");
    let deed = Deed { at: now, by: By::control_plane(), what: What::AlertsHealed, about, detail: text, outcome: Outcome::Done };
    audit::note(tx, deed)
}

/// Returns the newest revision of an alert that `gateway` reported; 0 for none.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn newest_revision(db: &Connection, gateway: &GatewayId) -> Result<u64, StoreError> {
    let newest: Option<i64> = db
        .prepare_cached("SELECT max(gateway_revision) FROM alert WHERE gateway = ?1 AND rule NOT LIKE ?2")?
        .query_row(params![gateway.as_str(), OWN_RULES], |row| row.get(0))?;
    u64::try_from(newest.unwrap_or(0)).map_err(|_| StoreError::Corrupt("revision"))
}

/// Returns the alerts of `gateway` as it reported them last, whose revision is greater than `known`, by ascending revision.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn reported_after(db: &Connection, gateway: &GatewayId, known: u64) -> Result<Vec<Alert>, StoreError> {
    alerts(db, "gateway = ?1 AND gateway_revision > ?2", gateway, i64::try_from(known).unwrap_or(i64::MAX))
}

/// Reads alerts as their gateway reported them.
fn alerts(db: &Connection, condition: &str, gateway: &GatewayId, revision: i64) -> Result<Vec<Alert>, StoreError> {
    let sql = format!(
        "SELECT resource, kind, qualifier, occurrence, gateway_revision, state, severity, summary, count, first_seen, last_seen,
         cleared_at, labels, rule, rule_version, evidence, close_count_seen, {} FROM alert
         WHERE {condition} AND rule NOT LIKE ?3 ORDER BY gateway_revision",
        course::COLUMNS
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![gateway.as_str(), revision, OWN_RULES])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push(alert(row)?);
    }
    Ok(alerts)
}

fn alert(row: &Row<'_>) -> Result<Alert, StoreError> {
    let number =
        |column, what| -> Result<u64, StoreError> { u64::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Corrupt(what)) };
    let stored = AlertState::from_name(&row.get::<_, String>(5)?).ok_or(StoreError::Corrupt("alert state"))?;
    let labels: BTreeMap<String, String> = serde_json::from_str(&row.get::<_, String>(12)?).map_err(|_| StoreError::Corrupt("label"))?;
    let evidence: Evidence = serde_json::from_str(&row.get::<_, String>(15)?).map_err(|_| StoreError::Corrupt("evidence"))?;
    Ok(Alert {
        key: AlertKey { resource: row.get(0)?, kind: row.get(1)?, qualifier: row.get(2)? },
        occurrence: number(3, "occurrence")?,
        revision: number(4, "revision")?,
        // Closed here and not yet on the gateway: what it said last is that it lasts, and the close is told to it anew.
        state: if row.get::<_, Option<i64>>(16)?.is_some() { AlertState::Open } else { stored },
        severity: Severity::from_number(row.get(6)?).ok_or(StoreError::Corrupt("severity"))?,
        summary: row.get(7)?,
        count: number(8, "count")?,
        first_seen: Timestamp::from_nanos(row.get(9)?),
        last_seen: Timestamp::from_nanos(row.get(10)?),
        cleared_at: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_nanos),
        labels,
        rule: RuleId::new(row.get::<_, String>(13)?).map_err(|_| StoreError::Corrupt("rule"))?,
        rule_version: row.get(14)?,
        evidence,
        course: course::read(row, 17)?,
    })
}

fn newest_configuration(db: &Connection, gateway: &GatewayId) -> Result<Option<u64>, StoreError> {
    let newest: Option<i64> =
        db.prepare_cached("SELECT max(number) FROM revision WHERE gateway = ?1")?.query_row([gateway.as_str()], |row| row.get(0))?;
    newest.map(|number| u64::try_from(number).map_err(|_| StoreError::Corrupt("revision"))).transpose()
}

fn head(hello: &Hello, lane: Lane) -> Sequence {
    let of_lane = hello.heads.iter().filter(|head| head.lane == u32::from(lane.number()) && head.epoch == hello.epoch);
    Sequence(of_lane.map(|head| head.sequence).max().unwrap_or(0))
}

#[cfg(test)]
mod tests;
