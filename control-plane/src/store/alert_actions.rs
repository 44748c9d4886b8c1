//! What people and programs do with an alert: acknowledge, close, write a note. One transaction each, history and answer included.
//!
//! Tells nobody: `crate::alert_actions` publishes the change and tells the gateway.

use postern_protocol::alert::{AlertKey, AlertState};
use postern_protocol::id::GatewayId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::idempotency::{self, Answer, Known, OnceKey};
use super::pairs::{self, Actor};
use super::{StoreError, TenantStore, next_change};
use crate::store::alerts::{self, AlertView};

/// Most notes that one alert can have.
pub const MAX_NOTES: u32 = 200;

/// What to do with an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertAction {
    /// Says that somebody took note. The first one stays.
    Acknowledge,
    /// Ends it, whether or not its condition lasts. A new report opens it again as a new occurrence.
    Close,
    /// Adds a text for others to read.
    Note(String),
    /// Takes the acknowledgement back.
    Unacknowledge,
}

/// A wish to do something with an alert.
#[derive(Clone, Debug)]
pub struct AlertRequest {
    /// The alert.
    pub id: String,
    /// What to do.
    pub action: AlertAction,
    /// Who wants it, for the history.
    pub by: String,
    /// Revisions of which the alert must have one; `None` for any.
    pub expected: Option<Vec<i64>>,
    /// Under which key the answer is kept, to be given again.
    pub once: Option<OnceKey>,
}

/// What became of an [`AlertRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum Acted {
    /// The alert has another revision than expected.
    Changed {
        /// The one it has.
        revision: i64,
    },
    /// It was done, or was so already.
    Done(Box<Done>),
    /// The key came with another request before.
    KeyMisused,
    /// The answer that was given before.
    Repeated(Answer),
}

/// The alert afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The alert afterwards.
    pub alert: AlertView,
    /// Whether anything changed.
    pub changed: bool,
    /// The gateways that must be told of a close; they are told what the store says is pending.
    pub tell: Vec<GatewayId>,
}

impl TenantStore {
    /// Does something with an alert.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such an alert, [`StoreError::Conflict`] if its state does not allow it.
    pub async fn act_on_alert(&self, request: AlertRequest, now: Timestamp) -> Result<Acted, StoreError> {
        self.write(move |tx| act(tx, &request, now)).await
    }
}

/// Does something with an alert in the caller's transaction: what [`TenantStore::act_on_alert`] does.
///
/// # Errors
/// As there; the transaction is then to be dropped.
pub fn act(tx: &Transaction<'_>, request: &AlertRequest, now: Timestamp) -> Result<Acted, StoreError> {
    if let Some(once) = &request.once {
        match idempotency::look_up(tx, once, now)? {
            Known::Answered(answer) => return Ok(Acted::Repeated(answer)),
            Known::Misused | Known::Unanswered => return Ok(Acted::KeyMisused),
            Known::New => {}
        }
    }
    let row = find(tx, &request.id)?;
    if request.expected.as_ref().is_some_and(|expected| !expected.contains(&row.revision)) {
        return Ok(Acted::Changed { revision: row.revision });
    }
    let mut tell = Vec::new();
    let changed = match &request.action {
        AlertAction::Acknowledge => acknowledge(tx, &row, &request.by, now)?,
        AlertAction::Close => close(tx, &row, Actor { name: &request.by, at: now }, &mut tell)?,
        AlertAction::Note(text) => note(tx, &row, &request.by, text, now)?,
        AlertAction::Unacknowledge => unacknowledge(tx, &row, &request.by, now)?,
    };
    if changed {
        tx.execute("UPDATE alert SET revision = ?2 WHERE id = ?1", params![row.id, next_change(tx)?])?;
    }
    let alert = alerts::find(tx, &row.id)?.ok_or(StoreError::NotFound)?;
    if let Some(once) = &request.once {
        let body = serde_json::to_vec(&alert).map_err(|_| StoreError::Corrupt("alert"))?;
        idempotency::keep(tx, once, &Answer { status: 200, body }, now)?;
    }
    Ok(Acted::Done(Box::new(Done { alert, changed, tell })))
}

struct AlertRow {
    id: String,
    revision: i64,
    state: String,
    count: i64,
    acknowledged: bool,
    rule: String,
    gateway: String,
    /// Whether it is made of the rows of a pair's sides.
    is_merged: bool,
    key: AlertKey,
}

impl AlertRow {
    /// Whether a close has to be confirmed by the gateway: until then its older records of this occurrence must not open the alert
    /// again. A cleared one is not open there, and the control plane's own are not there at all.
    fn waits_for_gateway(&self) -> bool {
        self.state == AlertState::Open.name() && !self.rule.starts_with("control-plane.")
    }
}

fn find(tx: &Transaction<'_>, id: &str) -> Result<AlertRow, StoreError> {
    let sql = "SELECT id, revision, state, count, acknowledged_at IS NOT NULL, rule, gateway, decided_by IS NOT NULL,
               resource, kind, qualifier FROM alert WHERE id = (SELECT coalesce(merged_into, id) FROM alert WHERE id = ?1)";
    let row = tx
        .prepare_cached(sql)?
        .query_row([id], |row| {
            Ok(AlertRow {
                id: row.get(0)?,
                revision: row.get(1)?,
                state: row.get(2)?,
                count: row.get(3)?,
                acknowledged: row.get(4)?,
                rule: row.get(5)?,
                gateway: row.get(6)?,
                is_merged: row.get(7)?,
                key: AlertKey { resource: row.get(8)?, kind: row.get(9)?, qualifier: row.get(10)? },
            })
        })
        .optional()?;
    row.ok_or(StoreError::NotFound)
}

fn acknowledge(tx: &Transaction<'_>, row: &AlertRow, by: &str, now: Timestamp) -> Result<bool, StoreError> {
    if row.acknowledged {
        return Ok(false);
    }
    if row.state == AlertState::Closed.name() {
        return Err(StoreError::Conflict("a closed alert cannot be acknowledged".into()));
    }
    tx.execute("UPDATE alert SET acknowledged_by = ?2, acknowledged_at = ?3 WHERE id = ?1", params![row.id, by, now.as_nanos()])?;
    write_down(tx, row, by, "acknowledged", "", now)?;
    Ok(true)
}

fn unacknowledge(tx: &Transaction<'_>, row: &AlertRow, by: &str, now: Timestamp) -> Result<bool, StoreError> {
    if !row.acknowledged {
        return Ok(false);
    }
    if row.state == AlertState::Closed.name() {
        return Err(StoreError::Conflict("a closed alert stays as it was".into()));
    }
    tx.execute("UPDATE alert SET acknowledged_by = NULL, acknowledged_at = NULL WHERE id = ?1", [&row.id])?;
    write_down(tx, row, by, "unacknowledged", "", now)?;
    Ok(true)
}

/// Closes an alert, every side of it, and says in `tell` which gateways have to confirm it.
fn close(tx: &Transaction<'_>, row: &AlertRow, by: Actor<'_>, tell: &mut Vec<GatewayId>) -> Result<bool, StoreError> {
    if row.state == AlertState::Closed.name() {
        return Ok(false);
    }
    let Actor { name: by, at: now } = by;
    let gateway = || GatewayId::new(row.gateway.clone()).map_err(|_| StoreError::Corrupt("gateway identifier"));
    if row.is_merged {
        *tell = pairs::close_sides(tx, &row.id, by, now)?;
        pairs::refresh(tx, &gateway()?, &row.key, Actor { name: by, at: now })?;
        return Ok(true);
    }
    if row.waits_for_gateway() {
        tell.push(gateway()?);
    }
    let count_seen = row.waits_for_gateway().then_some(row.count);
    tx.execute(
        "UPDATE alert SET state = 'closed', closed_at = ?2, closed_by = ?3, close_count_seen = ?4 WHERE id = ?1",
        params![row.id, now.as_nanos(), by, count_seen],
    )?;
    write_down(tx, row, by, "closed", "", now)?;
    Ok(true)
}

fn note(tx: &Transaction<'_>, row: &AlertRow, by: &str, text: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM alert_history WHERE alert = ?1 AND what = 'note'";
    let notes: u32 = tx.prepare_cached(sql)?.query_row([&row.id], |row| row.get(0))?;
    if notes >= MAX_NOTES {
        return Err(StoreError::Conflict(format!("the alert has {MAX_NOTES} notes already")));
    }
    write_down(tx, row, by, "note", text, now)?;
    Ok(true)
}

fn write_down(tx: &Transaction<'_>, row: &AlertRow, by: &str, what: &str, text: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO alert_history (alert, at, actor, what, text) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        row.id,
        now.as_nanos(),
        by,
        what,
        text
    ])?;
    Ok(())
}
