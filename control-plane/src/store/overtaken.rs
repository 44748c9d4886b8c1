//! How far an alert's history is that newer states have overtaken: what its lane itself said last of it.
//!
//! A state that comes ahead of its order is shown at once and writes no history. The records between come later, in order, and each
//! writes then what it would have written without; with the one that was ahead, the two are one again. Called by `alert_record`.

use postern_protocol::alert::{Alert, AlertState};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::StoreError;
use super::alert_record::signed;

/// An alert as its lane said it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// 0: nothing yet.
    pub(super) occurrence: i64,
    pub(super) gateway_revision: i64,
    pub(super) state: AlertState,
    pub(super) severity: i64,
}

/// Returns how far the lane is with an alert that was overtaken.
pub(super) fn find(tx: &Transaction<'_>, id: &str) -> Result<Option<Behind>, StoreError> {
    let row = tx
        .prepare_cached("SELECT occurrence, gateway_revision, state, severity FROM alert_overtaken WHERE alert = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?)))
        .optional()?;
    let Some((occurrence, gateway_revision, state, severity)) = row else { return Ok(None) };
    let state = AlertState::from_name(&state).ok_or(StoreError::Corrupt("alert state"))?;
    Ok(Some(Behind { occurrence, gateway_revision, state, severity }))
}

/// Notes how far the lane is.
pub(super) fn note(tx: &Transaction<'_>, id: &str, behind: Behind) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO alert_overtaken (alert, occurrence, gateway_revision, state, severity) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![id, behind.occurrence, behind.gateway_revision, behind.state.name(), behind.severity])?;
    Ok(())
}

/// Says that the lane has caught up.
pub(super) fn forget(tx: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM alert_overtaken WHERE alert = ?1")?.execute([id])?;
    Ok(())
}

/// Keeps what a record says of an occurrence that is over by now. Who acknowledged it stays, and what a person closed stays closed.
pub(super) fn keep_occurrence(tx: &Transaction<'_>, id: &str, alert: &Alert, now: i64) -> Result<(), StoreError> {
    let closed_at = (alert.state == AlertState::Closed).then_some(now);
    tx.prepare_cached(
        "INSERT INTO occurrence (alert, occurrence, state, severity, summary, count, first_seen, last_seen, cleared_at, closed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (alert, occurrence) DO UPDATE SET
         state = CASE state WHEN 'closed' THEN state ELSE excluded.state END, severity = excluded.severity, summary = excluded.summary,
         count = excluded.count, first_seen = excluded.first_seen, last_seen = excluded.last_seen, cleared_at = excluded.cleared_at,
         closed_at = coalesce(closed_at, excluded.closed_at)",
    )?
    .execute(params![
        id,
        signed(alert.occurrence)?,
        alert.state.name(),
        alert.severity.number(),
        alert.summary,
        i64::try_from(alert.count).unwrap_or(i64::MAX),
        alert.first_seen.as_nanos(),
        alert.last_seen.as_nanos(),
        alert.cleared_at.map(postern_protocol::timestamp::Timestamp::as_nanos),
        closed_at,
    ])?;
    Ok(())
}
