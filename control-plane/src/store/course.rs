//! What a record's course says of an alert (its parent, what keeps it quiet, whether it flaps, what was decided) as columns of its
//! row and entries of its history, and back again for a gateway that forgot it. Called by `alert_record`, `healing` and `pairs`.
//!
//! A parent counts only while it is here and open: an open alert is never hidden behind one that nobody sees.

use postern_protocol::alert::{AlertKey, Course, Decision, DecisionKind, Suppression};
use postern_protocol::id::{AlertId, GatewayId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::StoreError;

/// How many of an alert's newest history entries are looked through for a decision that is written down already.
const LOOKED_THROUGH: u32 = 200;

/// Most steps from a parent to its own parent that are followed.
const MAX_DEPTH: u32 = 8;

/// The columns that [`read`] reads, in its order.
pub(super) const COLUMNS: &str = "parent_key, suppressed_by, suppressed_until, flapping, decisions";

/// Writes the course of the alert `id` of `gateway`.
pub(super) fn write(tx: &Transaction<'_>, (id, gateway): (&str, &GatewayId), course: &Course) -> Result<(), StoreError> {
    let Course { parent, suppressed, flapping, decisions } = course;
    let parent_id = parent.as_ref().map_or_else(String::new, |key| AlertId::derive(gateway, key).to_string());
    let parent_id = if is_above(tx, &parent_id, id)? { String::new() } else { parent_id };
    let parent_key = parent.as_ref().map(|key| serde_json::to_string(&(&key.resource, &key.kind, &key.qualifier)));
    let parent_key = parent_key.transpose().map_err(|_| StoreError::Corrupt("parent"))?.unwrap_or_default();
    let decisions = serde_json::to_string(decisions).map_err(|_| StoreError::Corrupt("decision"))?;
    tx.prepare_cached(
        "UPDATE alert SET parent = ?2, parent_key = ?3, suppressed_by = ?4, suppressed_until = ?5, flapping = ?6, decisions = ?7
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        parent_id,
        parent_key,
        suppressed.as_ref().map_or("", |suppressed| suppressed.by.as_str()),
        suppressed.as_ref().map_or(0, |suppressed| suppressed.until.as_nanos()),
        flapping,
        decisions
    ])?;
    Ok(())
}

/// Reads a course from the columns of [`COLUMNS`], of which `first` is the first.
pub(super) fn read(row: &Row<'_>, first: usize) -> Result<Course, StoreError> {
    let column = |offset: usize| first.saturating_add(offset);
    let (parent_key, by): (String, String) = (row.get(first)?, row.get(column(1))?);
    let parent = match parent_key.as_str() {
        "" => None,
        text => {
            let (resource, kind, qualifier) = serde_json::from_str(text).map_err(|_| StoreError::Corrupt("parent"))?;
            Some(AlertKey { resource, kind, qualifier })
        }
    };
    let until = Timestamp::from_nanos(row.get(column(2))?);
    Ok(Course {
        parent,
        suppressed: (!by.is_empty()).then_some(Suppression { by, until }),
        flapping: row.get(column(3))?,
        decisions: serde_json::from_str(&row.get::<_, String>(column(4))?).map_err(|_| StoreError::Corrupt("decision"))?,
    })
}

/// Reads the course of the alert `id`, as its gateway said it last.
pub(super) fn of(db: &Connection, id: &str) -> Result<Course, StoreError> {
    let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM alert WHERE id = ?1"))?;
    let mut rows = query.query([id])?;
    rows.next()?.map_or_else(|| Ok(Course::default()), |row| read(row, 0))
}

/// Whether `id` is `parent` or stands above it: folding it there would hide both.
fn is_above(db: &Connection, parent: &str, id: &str) -> Result<bool, StoreError> {
    if parent.is_empty() {
        return Ok(false);
    }
    let above = db
        .prepare_cached(
            "WITH RECURSIVE above (id, depth) AS (
                 SELECT ?1, 0
                 UNION ALL
                 SELECT shown.parent, above.depth + 1
                 FROM above JOIN alert ON alert.id = above.id JOIN alert AS shown ON shown.id = coalesce(alert.merged_into, alert.id)
                 WHERE shown.parent <> '' AND above.depth < ?3
             ) SELECT EXISTS (SELECT 1 FROM above LEFT JOIN alert ON alert.id = above.id WHERE ?2 IN (above.id, alert.merged_into))",
        )?
        .query_row(params![parent, id, MAX_DEPTH], |row| row.get(0))?;
    Ok(above)
}

/// Takes a merged row's parent away if the two gateways of the pair fold in a circle.
pub(super) fn uncircle(tx: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    let parent: String = tx.prepare_cached("SELECT parent FROM alert WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    if is_above(tx, &parent, id)? {
        tx.prepare_cached("UPDATE alert SET parent = '' WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// What the history calls a decision; `None` for what it tells already in its own words.
pub(crate) const fn word(kind: DecisionKind) -> Option<&'static str> {
    match kind {
        DecisionKind::Raised | DecisionKind::SeverityChanged | DecisionKind::Cleared | DecisionKind::TimedOut | DecisionKind::Closed => {
            None
        }
        DecisionKind::ThresholdReached => Some("threshold_reached"),
        DecisionKind::RateReached => Some("rate_reached"),
        DecisionKind::Silent => Some("silent"),
        DecisionKind::FlapStarted => Some("flap_started"),
        DecisionKind::FlapEnded => Some("flap_ended"),
        DecisionKind::Suppressed => Some("suppressed"),
        DecisionKind::Unsuppressed => Some("unsuppressed"),
        DecisionKind::Folded => Some("folded"),
        DecisionKind::Unfolded => Some("unfolded"),
        DecisionKind::LateClear => Some("late_clear"),
        DecisionKind::LateReport => Some("late_report"),
    }
}

/// A decision as the history has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) at: Timestamp,
    pub(super) what: &'static str,
    pub(super) text: String,
}

/// How far apart two gateways of a pair may decide the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    /// A record that comes again says the same moment.
    Moment,
    /// Two gateways' clocks differ.
    Nearly,
}

/// Returns what was decided about the alert `id` and is not in its history yet, oldest first.
pub(super) fn news(db: &Connection, id: &str, course: &Course, same: Same) -> Result<Vec<Noted>, StoreError> {
    let told = course.decisions.iter().filter_map(|decision| {
        let what = word(decision.what)?;
        Some(Noted { at: decision.at, what, text: text(decision) })
    });
    let mut told: Vec<_> = told.collect();
    if told.is_empty() {
        return Ok(told);
    }
    let mut query = db.prepare_cached("SELECT at, what, text FROM alert_history WHERE alert = ?1 ORDER BY number DESC LIMIT ?2")?;
    let mut rows = query.query(params![id, LOOKED_THROUGH])?;
    while let Some(row) = rows.next()? {
        let at: i64 = row.get(0)?;
        let (what, text) = (row.get_ref(1)?.as_str().unwrap_or_default(), row.get_ref(2)?.as_str().unwrap_or_default());
        told.retain(|new| {
            let apart = new.at.as_nanos().abs_diff(at);
            new.what != what
                || match same {
                    Same::Moment => apart != 0 || new.text != text,
                    Same::Nearly => u128::from(apart) > super::pairs::merge::SKEW.as_nanos(),
                }
        });
    }
    Ok(told)
}

/// Returns what ended the alert, for the history's own word on it.
pub(super) fn end(course: &Course) -> String {
    let ends = |decision: &&Decision| matches!(decision.what, DecisionKind::Cleared | DecisionKind::TimedOut);
    course.decisions.iter().rev().find(ends).map_or_else(String::new, text)
}

/// Returns a decision's figures with who decided.
pub(crate) fn text(decision: &Decision) -> String {
    match (decision.by.as_str(), decision.text.as_str()) {
        ("", text) => text.to_owned(),
        (by, "") => by.to_owned(),
        (by, text) => format!("{by}: {text}"),
    }
}

#[cfg(test)]
mod tests;
