//! Questions to gateways, what a document would have made of their recent events, and the answers. Kept for a day, and few.

use std::time::Duration;

use postern_protocol::id::GatewayId;
use postern_protocol::replay::Replayed;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;

use super::audit::{self, By, Deed, Outcome, What};
use super::{StoreError, TenantStore};
use crate::rfc3339;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a gateway may take: then nobody waits any more.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// How many of a gateway are kept.
const MOST: u32 = 20;

/// A question to be stored.
#[derive(Clone, Debug)]
pub struct NewReplay {
    /// The gateway that is asked.
    pub gateway: GatewayId,
    /// The candidate document.
    pub document: Vec<u8>,
    /// From when on.
    pub since: Timestamp,
    /// Who asks.
    pub by: By,
    /// The present time.
    pub at: Timestamp,
}

/// A question that its gateway has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingReplay {
    /// Its number.
    pub number: u64,
    /// The candidate document.
    pub document: Vec<u8>,
    /// From when on.
    pub since: Timestamp,
    /// Who asks.
    pub asked_by: String,
}

/// A question and its answer, as the API and the console show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayView {
    /// Its number.
    pub id: u64,
    /// Whether there is an answer.
    pub state: ReplayStanding,
    /// From when on.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub since: Timestamp,
    /// When it was asked.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub asked_at: Timestamp,
    /// Who asked.
    pub asked_by: String,
    /// When the answer came.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub answered_at: Option<Timestamp>,
    /// The answer.
    pub result: Option<Replayed>,
}

/// Whether a question has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStanding {
    /// It has.
    Answered,
    /// No answer came in time.
    Unanswered,
    /// The gateway is at it.
    Waiting,
}

impl TenantStore {
    /// Stores a question and what was done with the audit; returns its number.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while the gateway has another one to answer.
    pub async fn ask_replay(&self, new: NewReplay) -> Result<u64, StoreError> {
        self.write(move |tx| ask(tx, &new)).await
    }

    /// Returns the questions that `gateway` has to answer.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn pending_replays(&self, gateway: &GatewayId, now: Timestamp) -> Result<Vec<PendingReplay>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT number, document, since, asked_by FROM replay WHERE gateway = ?1 AND answered_at IS NULL AND asked_at > ?2
                 ORDER BY number",
            )?;
            let mut rows = query.query(params![gateway.as_str(), before(now, PATIENCE)])?;
            let mut pending = Vec::new();
            while let Some(row) = rows.next()? {
                let since = Timestamp::from_nanos(row.get(2)?);
                pending.push(PendingReplay { number: number(row)?, document: row.get(1)?, since, asked_by: row.get(3)? });
            }
            Ok(pending)
        })
        .await
    }

    /// Stores an answer; says whether anybody waits for it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn answer_replay(&self, gateway: &GatewayId, (number, result): (u64, Replayed), now: Timestamp) -> Result<bool, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            let result = serde_json::to_string(&result).map_err(|_| StoreError::Corrupt("replay"))?;
            let Ok(number) = i64::try_from(number) else { return Ok(false) };
            let changed = tx
                .prepare_cached(
                    "UPDATE replay SET result = ?3, answered_at = ?4, document = x'' WHERE number = ?1 AND gateway = ?2 AND answered_at IS NULL",
                )?
                .execute(params![number, gateway.as_str(), result, now.as_nanos()])?;
            Ok(changed > 0)
        })
        .await
    }

    /// Finds a question of `gateway` with its answer.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn find_replay(&self, gateway: &GatewayId, number: u64, now: Timestamp) -> Result<Option<ReplayView>, StoreError> {
        let (gateway, number) = (gateway.clone(), i64::try_from(number).unwrap_or(i64::MAX));
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT number, since, asked_at, asked_by, answered_at, result FROM replay WHERE gateway = ?1 AND number = ?2 AND asked_at > ?3",
            )?;
            let mut rows = query.query(params![gateway.as_str(), number, before(now, KEPT)])?;
            rows.next()?.map(|row| view(row, now)).transpose()
        })
        .await
    }
}

fn ask(tx: &Transaction<'_>, new: &NewReplay) -> Result<u64, StoreError> {
    let NewReplay { gateway, document, since, by, at } = new;
    let waiting: Option<i64> = tx
        .prepare_cached("SELECT number FROM replay WHERE gateway = ?1 AND answered_at IS NULL AND asked_at > ?2")?
        .query_row(params![gateway.as_str(), before(*at, PATIENCE)], |row| row.get(0))
        .optional()?;
    if let Some(number) = waiting {
        return Err(StoreError::Conflict(format!("the gateway is still at replay {number}; wait for its answer, at most 10 minutes")));
    }
    tx.prepare_cached(
        "DELETE FROM replay WHERE asked_at <= ?2 OR gateway = ?1 AND number NOT IN
         (SELECT number FROM replay WHERE gateway = ?1 ORDER BY number DESC LIMIT ?3)",
    )?
    .execute(params![gateway.as_str(), before(*at, KEPT), MOST.saturating_sub(1)])?;
    tx.prepare_cached("INSERT INTO replay (gateway, document, since, asked_at, asked_by) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![gateway.as_str(), document, since.as_nanos(), at.as_nanos(), by.to_string()])?;
    let number = u64::try_from(tx.last_insert_rowid()).map_err(|_| StoreError::Corrupt("replay"))?;
    let detail = format!("replay {number}: a document of {} bytes tried on what came since {}", document.len(), rfc3339::format(*since));
    let about = format!("gateway {gateway}");
    audit::note(tx, Deed { at: *at, by: by.clone(), what: What::ReplayAsked, about, detail, outcome: Outcome::Done })?;
    Ok(number)
}

fn view(row: &Row<'_>, now: Timestamp) -> Result<ReplayView, StoreError> {
    let (asked_at, result): (_, Option<String>) = (Timestamp::from_nanos(row.get(2)?), row.get(5)?);
    let result: Option<Replayed> = result.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| StoreError::Corrupt("replay"))?;
    let state = match &result {
        Some(_) => ReplayStanding::Answered,
        None if now.saturating_since(asked_at) > PATIENCE => ReplayStanding::Unanswered,
        None => ReplayStanding::Waiting,
    };
    Ok(ReplayView {
        id: number(row)?,
        state,
        since: Timestamp::from_nanos(row.get(1)?),
        asked_at,
        asked_by: row.get(3)?,
        answered_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_nanos),
        result,
    })
}

/// Returns the nanoseconds of a moment so long before another.
fn before(at: Timestamp, span: Duration) -> i64 {
    at.as_nanos().saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

fn number(row: &Row<'_>) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(0)?).map_err(|_| StoreError::Corrupt("replay"))
}

#[cfg(test)]
mod tests {
    use postern_protocol::replay::{Figures, ReplayState};

    use super::*;

    fn answer() -> Replayed {
        Replayed {
            state: ReplayState::Done,
            reason: String::new(),
            problems: Vec::new(),
            from: 0,
            until: 1,
            events: 2,
            undecodable: 0,
            effective: Figures::default(),
            candidate: Figures { raised: 1, ..Figures::default() },
            differences: Vec::new(),
            further: 0,
        }
    }

    #[tokio::test]
    async fn one_question_at_a_time_is_told_until_it_is_answered_or_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        let at = Timestamp::from_secs;
        let ask = |seconds: i64| {
            let (gateway, by) = (gateway.clone(), By::command_line());
            store.ask_replay(NewReplay { gateway, document: b"{}".to_vec(), since: at(0), by, at: at(seconds) })
        };
        let first = ask(1000).await.unwrap();
        assert!(matches!(ask(1100).await, Err(StoreError::Conflict(_))));
        assert_eq!(store.pending_replays(&gateway, at(1100)).await.unwrap()[0].number, first);
        assert!(store.pending_replays(&gateway, at(2000)).await.unwrap().is_empty(), "nobody waits any more");
        assert_eq!(store.find_replay(&gateway, first, at(2000)).await.unwrap().unwrap().state, ReplayStanding::Unanswered);
        let second = ask(2000).await.unwrap();
        assert!(!store.answer_replay(&GatewayId::new("other").unwrap(), (second, answer()), at(2001)).await.unwrap());
        assert!(store.answer_replay(&gateway, (second, answer()), at(2002)).await.unwrap());
        assert!(!store.answer_replay(&gateway, (second, answer()), at(2003)).await.unwrap(), "once");
        let view = store.find_replay(&gateway, second, at(3000)).await.unwrap().unwrap();
        assert_eq!((view.state, view.result), (ReplayStanding::Answered, Some(answer())));
        assert!(store.find_replay(&gateway, second, at(2000 + 24 * 3600)).await.unwrap().is_none(), "kept for a day");
        for index in 0..30 {
            let number = ask(3000 + index).await.unwrap();
            store.answer_replay(&gateway, (number, answer()), at(3000 + index)).await.unwrap();
        }
        let kept: i64 = store.read(|db| Ok(db.query_row("SELECT count(*) FROM replay", [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(kept, 20);
    }
}
