//! Reading a tenant's alerts: as the API and the console show them, page by page, and what happened to one.
//!
//! Writes nothing: `ingest` applies what gateways send, `alert_actions` what people do.

mod filter;
mod view;

use postern_protocol::timestamp::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;

use super::{StoreError, TenantStore};
use filter::Condition;
use view::{COLUMNS, views};

pub use filter::{AlertFilter, Cursor, Folding};

pub(crate) use view::severity;
pub use view::{Acknowledged, AlertView, DecisionView, HistoryEntry, Note, OccurrenceView, Report, Suppressed};

/// Most alerts on one page.
pub const MAX_PAGE: usize = 1000;

/// Most entries of an alert's history that are shown: the newest.
pub const MAX_HISTORY: u32 = 1000;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// What is on the page.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last.
    pub next_cursor: Option<String>,
}

impl TenantStore {
    /// Lists alerts, newest `first_seen` first, at most `limit` (1 to [`MAX_PAGE`]), from `cursor` on.
    ///
    /// Alerts that arrive between two pages neither move nor repeat what follows the cursor.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn list_alerts(&self, filter: AlertFilter, limit: usize, cursor: Option<Cursor>) -> Result<Page<AlertView>, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        self.read(move |db| {
            let snapshot = db.unchecked_transaction()?; // alerts and their notes as of one moment
            let condition = Condition::new(filter, cursor);
            let sql = format!("SELECT {COLUMNS} FROM alert {} ORDER BY first_seen DESC, id LIMIT ?", condition.sql());
            let mut values = condition.values;
            values.push(Value::Integer(i64::try_from(limit).unwrap_or(0).saturating_add(1))); // one more tells whether there is more
            let mut items = views(&snapshot, &sql, values)?;
            let more = items.len() > limit;
            items.truncate(limit);
            let next_cursor = items.last().filter(|_| more).map(|last| Cursor::after(last.first_seen, &last.id).to_string());
            Ok(Page { items, next_cursor })
        })
        .await
    }

    /// Finds an alert.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn find_alert(&self, id: &str) -> Result<Option<AlertView>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| find(&*db.unchecked_transaction()?, &id)).await
    }

    /// Returns the newest [`MAX_HISTORY`] entries of an alert's history, oldest first; `None` if there is no such alert.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn alert_history(&self, id: &str) -> Result<Option<Vec<HistoryEntry>>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let Some(id) = shown(db, &id)? else { return Ok(None) };
            let mut query = db.prepare_cached(
                "SELECT at, actor, what, text FROM
                   (SELECT number, at, actor, what, text FROM alert_history WHERE alert = ?1 ORDER BY number DESC LIMIT ?2)
                 ORDER BY number",
            )?;
            let entries = query.query_map((&id, MAX_HISTORY), |row| {
                Ok(HistoryEntry { at: Timestamp::from_nanos(row.get(0)?), actor: row.get(1)?, what: row.get(2)?, text: row.get(3)? })
            })?;
            Ok(Some(entries.collect::<Result<_, _>>()?))
        })
        .await
    }

    /// Returns the newest 100 earlier occurrences of an alert, newest first; `None` if there is no such alert.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn occurrences(&self, id: &str) -> Result<Option<Vec<OccurrenceView>>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let Some(id) = shown(db, &id)? else { return Ok(None) };
            let mut query = db.prepare_cached(
                "SELECT state, severity, summary, count, first_seen, last_seen, cleared_at, closed_at, acknowledged_by, acknowledged_at
                 FROM occurrence WHERE alert = ?1 ORDER BY occurrence DESC LIMIT 100",
            )?;
            let mut rows = query.query([&id])?;
            let mut occurrences = Vec::new();
            while let Some(row) = rows.next()? {
                occurrences.push(view::occurrence(row)?);
            }
            Ok(Some(occurrences))
        })
        .await
    }

    /// Returns at most `limit` alerts whose revision is greater than `revision`, in the order of their revisions.
    ///
    /// Nothing is missed: a revision is taken and committed by the one writer, so none appears below one that was seen.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn alerts_changed_since(&self, revision: i64, limit: usize) -> Result<Vec<AlertView>, StoreError> {
        let limit = i64::try_from(limit.clamp(1, MAX_PAGE)).unwrap_or(1);
        self.read(move |db| {
            let snapshot = db.unchecked_transaction()?;
            let sql = format!("SELECT {COLUMNS} FROM alert WHERE revision > ? AND merged_into IS NULL ORDER BY revision LIMIT ?");
            views(&snapshot, &sql, vec![Value::Integer(revision), Value::Integer(limit)])
        })
        .await
    }

    /// Returns the revision of the newest change.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn newest_change(&self) -> Result<i64, StoreError> {
        self.read(|db| Ok(db.query_row("SELECT number FROM change_number", [], |row| row.get(0))?)).await
    }
}

/// Finds an alert within a transaction.
pub(super) fn find(db: &Connection, id: &str) -> Result<Option<AlertView>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM alert WHERE id = (SELECT coalesce(merged_into, id) FROM alert WHERE id = ?)");
    Ok(views(db, &sql, vec![Value::Text(id.to_owned())])?.pop())
}

/// Returns the identifier of the alert that shows `id`: itself, or the merged one of its pair.
fn shown(db: &Connection, id: &str) -> Result<Option<String>, StoreError> {
    Ok(db.prepare_cached("SELECT coalesce(merged_into, id) FROM alert WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?)
}
