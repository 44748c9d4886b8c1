//! The merged row of a pair: written anew from its sides' rows.

use postern_protocol::alert::{AlertKey, AlertState, Severity};
use postern_protocol::id::{AlertId, GatewayId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::merge::{Merged, Side, merge};
use super::{ABOUT_ITSELF, members, write_down};
use crate::feed::Change;
use crate::store::course::{self, Same};
use crate::store::{StoreError, alert_record, next_change};

/// Who made a side change, for the merged history.
#[derive(Clone, Copy)]
pub(in crate::store) struct Actor<'a> {
    /// A user, `client:ID`, `gateway:ID` or `control-plane`.
    pub(in crate::store) name: &'a str,
    /// When.
    pub(in crate::store) at: Timestamp,
}

/// What became of a merged row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Refreshed {
    /// Its change.
    pub(in crate::store) change: Change,
    /// Whether a side was closed with it just now, and its gateway has to be told.
    pub(in crate::store) close_pending: bool,
}

/// The merged row as it was.
struct Before {
    state: AlertState,
    severity: u8,
    first_seen: i64,
    ended: i64,
    closed_at: Option<i64>,
    closed_by: Option<String>,
}

/// A side's row.
struct SideRow {
    id: String,
    side: Side,
}

/// Writes the merged row of `key` anew; `None` while no side has it.
pub(in crate::store) fn refresh(
    tx: &Transaction<'_>,
    pair: &GatewayId,
    key: &AlertKey,
    actor: Actor<'_>,
) -> Result<Option<Refreshed>, StoreError> {
    let merged_id = AlertId::derive(pair, key);
    let before = before(tx, merged_id.as_str())?;
    let mut sides = sides(tx, pair, key)?;
    let close_pending = close_late(tx, before.as_ref(), &mut sides)?;
    let facts: Vec<Side> = sides.iter().map(|row| row.side.clone()).collect();
    let Some(merged) = merge(&facts) else { return Ok(None) };
    let Some(decider) = sides.iter().find(|row| row.side.gateway == merged.decided_by) else { return Ok(None) };
    let begins = before.as_ref().is_none_or(|before| is_new_life(before, &merged));
    let change = next_change(tx)?;
    if before.is_none() {
        tx.prepare_cached(
            "INSERT INTO alert (id, gateway, resource, kind, qualifier, occurrence, gateway_revision, revision, state, severity, summary,
             count, first_seen, last_seen, labels, rule, rule_version, evidence)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 'open', 1, '', 0, 0, 0, '{}', '', 0, '{}')",
        )?
        .execute(params![merged_id.as_str(), pair.as_str(), key.resource, key.kind, key.qualifier])?;
    } else if begins {
        alert_record::archive(tx, merged_id.as_str())?;
        tx.prepare_cached("UPDATE alert SET acknowledged_by = NULL, acknowledged_at = NULL WHERE id = ?1")?
            .execute([merged_id.as_str()])?;
    }
    write(tx, merged_id.as_str(), change, (&merged, decider))?;
    for row in &sides {
        tx.prepare_cached("UPDATE alert SET merged_into = ?2 WHERE id = ?1 AND merged_into IS NOT ?2")?
            .execute(params![row.id, merged_id.as_str()])?;
    }
    history(tx, (merged_id.as_str(), before.as_ref().filter(|_| !begins)), (&merged, decider.side.severity), actor)?;
    let change = Change::Alert { id: merged_id.as_str().to_owned(), revision: change };
    Ok(Some(Refreshed { change, close_pending }))
}

/// Closes every side of a merged alert, for a person; says which gateways have to be told.
pub(in crate::store) fn close_sides(tx: &Transaction<'_>, merged: &str, by: &str, now: Timestamp) -> Result<Vec<GatewayId>, StoreError> {
    let mut query =
        tx.prepare_cached("SELECT id, gateway, state FROM alert WHERE merged_into = ?1 AND state <> 'closed' ORDER BY gateway")?;
    let sides: Vec<(String, String, String)> =
        query.query_map([merged], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    let mut tell = Vec::new();
    for (id, gateway, state) in sides {
        // A gateway that does not have it open has nothing to confirm.
        let waits = state == AlertState::Open.name();
        tx.prepare_cached(
            "UPDATE alert SET state = 'closed', closed_at = ?2, closed_by = ?3,
             close_count_seen = CASE WHEN ?4 THEN count ELSE NULL END WHERE id = ?1",
        )?
        .execute(params![id, now.as_nanos(), by, waits])?;
        if waits {
            tell.push(GatewayId::new(gateway).map_err(|_| StoreError::Corrupt("gateway identifier"))?);
        }
    }
    Ok(tell)
}

/// A side that says only now what it saw before the alert was closed is closed with it.
fn close_late(tx: &Transaction<'_>, before: Option<&Before>, sides: &mut [SideRow]) -> Result<bool, StoreError> {
    let Some((closed_at, before)) = before.and_then(|before| Some((before.closed_at?, before))) else { return Ok(false) };
    if before.state != AlertState::Closed {
        return Ok(false);
    }
    let mut pending = false;
    for row in sides.iter_mut().filter(|row| row.side.state == AlertState::Open && row.side.last_seen.as_nanos() <= closed_at) {
        tx.prepare_cached("UPDATE alert SET state = 'closed', closed_at = ?2, closed_by = ?3, close_count_seen = count WHERE id = ?1")?
            .execute(params![row.id, closed_at, before.closed_by])?;
        row.side.state = AlertState::Closed;
        pending = true;
    }
    Ok(pending)
}

/// Whether the merged alert begins anew: it was over and is open, or all that is known of it is newer than what was.
fn is_new_life(before: &Before, merged: &Merged) -> bool {
    let reopened = before.state != AlertState::Open && merged.state == AlertState::Open;
    reopened || merged.first_seen.as_nanos() > before.ended.max(before.first_seen)
}

fn write(tx: &Transaction<'_>, id: &str, change: i64, (merged, decider): (&Merged, &SideRow)) -> Result<(), StoreError> {
    let occurrence = merged.first_seen.as_micros().max(0);
    tx.prepare_cached(
        "UPDATE alert SET occurrence = ?2, revision = ?3, state = ?4, count = ?5, first_seen = ?6, last_seen = ?7, cleared_at = ?8,
         decided_by = ?9, (severity, summary, labels, rule, rule_version, evidence, closed_at, closed_by, parent, parent_key,
         suppressed_by, suppressed_until, flapping, decisions) =
         (SELECT severity, summary, labels, rule, rule_version, evidence, closed_at, closed_by, parent, parent_key,
          suppressed_by, suppressed_until, flapping, decisions FROM alert WHERE id = ?10),
         close_count_seen = (SELECT max(close_count_seen) FROM alert WHERE merged_into = ?1 OR id = ?10) WHERE id = ?1",
    )?
    .execute(params![
        id,
        occurrence,
        change,
        merged.state.name(),
        i64::try_from(merged.count).unwrap_or(i64::MAX),
        merged.first_seen.as_nanos(),
        merged.last_seen.as_nanos(),
        merged.cleared_at.map(Timestamp::as_nanos),
        merged.decided_by,
        decider.id,
    ])?;
    course::uncircle(tx, id)
}

/// Writes down what the merged alert did; `same` is it before, in the same life.
fn history(
    tx: &Transaction<'_>,
    (id, same): (&str, Option<&Before>),
    (merged, severity): (&Merged, u8),
    actor: Actor<'_>,
) -> Result<(), StoreError> {
    let named = |number: u8| Severity::from_number(number).map_or("unknown", Severity::name);
    match same {
        None => write_down(tx, id, Actor { at: merged.first_seen, ..actor }, ("raised", named(severity)))?,
        Some(before) if before.severity != severity => {
            let text = format!("{} → {}", named(before.severity), named(severity));
            write_down(tx, id, Actor { at: merged.last_seen, ..actor }, ("severity", &text))?;
        }
        Some(_) => {}
    }
    let course = course::of(tx, id)?;
    for course::Noted { at, what, text } in course::news(tx, id, &course, Same::Nearly)? {
        write_down(tx, id, Actor { at, ..actor }, (what, &text))?;
    }
    if same.map(|before| before.state) != Some(merged.state) {
        match merged.state {
            AlertState::Cleared => {
                let actor = Actor { at: merged.cleared_at.unwrap_or(actor.at), ..actor };
                write_down(tx, id, actor, ("cleared", &course::end(&course)))?;
            }
            AlertState::Closed => write_down(tx, id, actor, ("closed", ""))?,
            AlertState::Open => {}
        }
    }
    Ok(())
}

fn before(tx: &Transaction<'_>, id: &str) -> Result<Option<Before>, StoreError> {
    let row = tx
        .prepare_cached(
            "SELECT state, severity, first_seen, max(last_seen, coalesce(cleared_at, last_seen)), closed_at, closed_by FROM alert WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let before = Before {
                state: AlertState::Open,
                severity: row.get(1)?,
                first_seen: row.get(2)?,
                ended: row.get(3)?,
                closed_at: row.get(4)?,
                closed_by: row.get(5)?,
            };
            Ok((before, row.get::<_, String>(0)?))
        })
        .optional()?;
    row.map(|(before, state)| Ok(Before { state: AlertState::from_name(&state).ok_or(StoreError::Corrupt("alert state"))?, ..before }))
        .transpose()
}

fn sides(tx: &Transaction<'_>, pair: &GatewayId, key: &AlertKey) -> Result<Vec<SideRow>, StoreError> {
    let sql = format!("SELECT state, severity, count, first_seen, last_seen, cleared_at FROM alert WHERE id = ?1 AND NOT {ABOUT_ITSELF}");
    let mut query = tx.prepare_cached(&sql)?;
    let mut sides = Vec::new();
    for gateway in members(tx, pair.as_str())? {
        let id = AlertId::derive(&gateway, key).as_str().to_owned();
        let mut rows = query.query([&id])?;
        let Some(row) = rows.next()? else { continue };
        let side = Side {
            gateway: gateway.into(),
            state: AlertState::from_name(&row.get::<_, String>(0)?).ok_or(StoreError::Corrupt("alert state"))?,
            severity: row.get(1)?,
            count: u64::try_from(row.get::<_, i64>(2)?).map_err(|_| StoreError::Corrupt("count"))?,
            first_seen: Timestamp::from_nanos(row.get(3)?),
            last_seen: Timestamp::from_nanos(row.get(4)?),
            cleared_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_nanos),
        };
        sides.push(SideRow { id, side });
    }
    Ok(sides)
}
