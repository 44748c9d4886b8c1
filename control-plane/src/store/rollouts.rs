//! Roll-outs and how far each got with each of its gateways. Everything that decides how one goes on is here, so that it survives
//! a restart of the program; `rollouts::plan` decides.

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::Problem;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::audit::{self, By, Deed, Outcome, What};
use super::revisions::RevisionState;
use super::{StoreError, TenantStore};
use crate::rollouts::change::Change;
use crate::rollouts::plan::{Member, MemberState, Offline, OnFailure, Stage};

/// Most roll-outs in a list.
const LISTED: i64 = 100;

/// Whether a roll-out goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Every gateway had its turn.
    Done,
    /// It goes on.
    Running,
    /// It was stopped, by a failure or by a person.
    Stopped,
}

impl RolloutState {
    /// Returns the state's name in APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// A roll-out as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRollout {
    /// Its identifier.
    pub id: String,
    /// Which gateways; empty for all.
    pub tag: String,
    /// What changes.
    pub change: Change,
    /// How far each stage reaches.
    pub stages: Vec<Stage>,
    /// What is done about gateways that are away.
    pub offline: Offline,
    /// What is done about failures.
    pub on_failure: OnFailure,
    /// The gateways with their stages, from 1.
    pub members: Vec<(GatewayId, u32)>,
}

/// A roll-out as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RolloutView {
    /// Its identifier.
    pub id: String,
    /// Which gateways; empty for all.
    pub tag: String,
    /// What changes.
    pub change: Change,
    /// How far each stage reaches.
    pub stages: Vec<Stage>,
    /// What is done about gateways that are away.
    pub offline: Offline,
    /// What is done about failures.
    pub on_failure: OnFailure,
    /// When it was begun.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub created_at: Timestamp,
    /// Who began it.
    pub created_by: String,
    /// Whether it goes on.
    pub state: RolloutState,
    /// Since when.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub state_at: Timestamp,
    /// Why it was stopped; empty when it was not.
    pub reason: String,
}

/// How far a roll-out got with one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Which.
    pub gateway: GatewayId,
    /// Its stage, from 1.
    pub stage: u32,
    /// How far.
    pub state: MemberState,
    /// The revision that it got.
    pub revision: Option<RevisionNumber>,
    /// Why it failed or was left out.
    pub reason: String,
    /// Since when.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub state_at: Timestamp,
}

impl TenantStore {
    /// Begins a roll-out.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one of its gateways is in another one that goes on.
    pub async fn start_rollout(&self, new: NewRollout, by: By, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            for (gateway, _) in &new.members {
                let busy: Option<String> = tx
                    .prepare_cached(
                        "SELECT o.id FROM rollout o JOIN rollout_gateway m ON m.rollout = o.id
                         WHERE o.state = 'running' AND m.gateway = ?1 LIMIT 1",
                    )?
                    .query_row([gateway.as_str()], |row| row.get(0))
                    .optional()?;
                if let Some(busy) = busy {
                    return Err(StoreError::Conflict(format!("{gateway} is in roll-out {busy}, which goes on: stop that one first")));
                }
            }
            tx.execute(
                "INSERT INTO rollout (id, tag, change, stages, offline, on_failure, created_at, created_by, state, state_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'running', ?7)",
                params![
                    new.id,
                    new.tag,
                    json(&new.change)?,
                    json(&new.stages)?,
                    word(&new.offline)?,
                    word(&new.on_failure)?,
                    at.as_nanos(),
                    by.who
                ],
            )?;
            for (gateway, stage) in &new.members {
                tx.execute(
                    "INSERT INTO rollout_gateway (rollout, gateway, stage, state, state_at) VALUES (?1, ?2, ?3, 'waiting', ?4)",
                    params![new.id, gateway.as_str(), stage, at.as_nanos()],
                )?;
            }
            note(tx, &new.id, (by, at), format!("began; gateways: {}; change: {}", new.members.len(), new.change.in_words()))
        })
        .await
    }

    /// Returns the newest roll-outs, newest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_rollouts(&self) -> Result<Vec<RolloutView>, StoreError> {
        self.read(|db| views(db, "ORDER BY created_at DESC, id LIMIT ?1", [LISTED])).await
    }

    /// Returns the roll-outs that go on.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn running_rollouts(&self) -> Result<Vec<RolloutView>, StoreError> {
        self.read(|db| views(db, "WHERE state = 'running' ORDER BY created_at", [])).await
    }

    /// Returns one roll-out with its gateways by stage.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn find_rollout(&self, id: &str) -> Result<Option<(RolloutView, Vec<MemberView>)>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let Some(view) = views(db, "WHERE id = ?1", [&id])?.pop() else { return Ok(None) };
            let mut statement = db.prepare_cached(
                "SELECT gateway, stage, state, revision, reason, state_at FROM rollout_gateway WHERE rollout = ?1 ORDER BY stage, gateway",
            )?;
            let mut rows = statement.query([&id])?;
            let mut members = Vec::new();
            while let Some(row) = rows.next()? {
                members.push(member_view(row)?);
            }
            Ok(Some((view, members)))
        })
        .await
    }

    /// Returns the gateways of a roll-out as its plan looks at them; whether they are revoked is not in this database.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn rollout_members(&self, id: &str) -> Result<Vec<Member>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT m.gateway, m.stage, m.state, m.revision, r.state, r.problems, coalesce(s.connected, 0),
                        (SELECT max(number) FROM revision n WHERE n.gateway = m.gateway)
                 FROM rollout_gateway m
                 LEFT JOIN revision r ON r.gateway = m.gateway AND r.number = m.revision
                 LEFT JOIN gateway_state s ON s.gateway = m.gateway
                 WHERE m.rollout = ?1 ORDER BY m.stage, m.gateway",
            )?;
            let mut rows = statement.query([&id])?;
            let mut members = Vec::new();
            while let Some(row) = rows.next()? {
                members.push(member(row)?);
            }
            Ok(members)
        })
        .await
    }

    /// Notes how far a roll-out got with a gateway.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn mark_rollout(&self, id: &str, gateway: &GatewayId, mark: (MemberState, String), at: Timestamp) -> Result<(), StoreError> {
        let (id, gateway, (state, reason)) = (id.to_owned(), gateway.clone(), mark);
        self.write(move |tx| {
            tx.execute(
                "UPDATE rollout_gateway SET state = ?3, reason = ?4, state_at = ?5 WHERE rollout = ?1 AND gateway = ?2",
                params![id, gateway.as_str(), state.name(), reason, at.as_nanos()],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends a roll-out that goes on; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn end_rollout(&self, id: &str, end: (RolloutState, String), who: (By, Timestamp)) -> Result<(), StoreError> {
        let (id, (state, reason)) = (id.to_owned(), end);
        self.write(move |tx| {
            let changed = tx.execute(
                "UPDATE rollout SET state = ?2, reason = ?3, state_at = ?4 WHERE id = ?1 AND state = 'running'",
                params![id, state.name(), reason, who.1.as_nanos()],
            )?;
            if changed > 0 {
                let text = if reason.is_empty() { state.name().to_owned() } else { format!("{}: {reason}", state.name()) };
                note(tx, &id, who, text)?;
            }
            Ok(())
        })
        .await
    }

    /// Has a stopped roll-out go on without the gateways that failed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was not stopped.
    pub async fn resume_rollout(&self, id: &str, who: (By, Timestamp)) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |tx| {
            let changed = tx.execute(
                "UPDATE rollout SET state = 'running', reason = '', state_at = ?2 WHERE id = ?1 AND state = 'stopped'",
                params![id, who.1.as_nanos()],
            )?;
            if changed == 0 {
                return Err(StoreError::Conflict("the roll-out is not stopped".to_owned()));
            }
            tx.execute("UPDATE rollout_gateway SET state = 'skipped' WHERE rollout = ?1 AND state = 'failed'", [&id])?;
            note(tx, &id, who, "goes on without the gateways that failed".to_owned())
        })
        .await
    }
}

/// Notes, in the transaction that stores it, that a gateway got its revision.
pub(super) fn sent(tx: &Transaction<'_>, id: &str, gateway: &GatewayId, sent: (i64, Timestamp)) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE rollout_gateway SET state = 'sent', revision = ?3, state_at = ?4 WHERE rollout = ?1 AND gateway = ?2",
        params![id, gateway.as_str(), sent.0, sent.1.as_nanos()],
    )?;
    Ok(())
}

fn note(tx: &Transaction<'_>, id: &str, who: (By, Timestamp), detail: String) -> Result<(), StoreError> {
    let (by, at) = who;
    audit::note(tx, Deed { at, by, what: What::Rollout, about: format!("roll-out {id}"), detail, outcome: Outcome::Done })
}

fn views(db: &Connection, condition: &str, params: impl rusqlite::Params) -> Result<Vec<RolloutView>, StoreError> {
    let columns = "id, tag, change, stages, offline, on_failure, created_at, created_by, state, state_at, reason";
    let mut statement = db.prepare_cached(&format!("SELECT {columns} FROM rollout {condition}"))?;
    let mut rows = statement.query(params)?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        let state: String = row.get(8)?;
        let known = [RolloutState::Done, RolloutState::Running, RolloutState::Stopped].into_iter().find(|known| known.name() == state);
        views.push(RolloutView {
            id: row.get(0)?,
            tag: row.get(1)?,
            change: parsed(&row.get::<_, String>(2)?)?,
            stages: parsed(&row.get::<_, String>(3)?)?,
            offline: named(row.get(4)?)?,
            on_failure: named(row.get(5)?)?,
            created_at: Timestamp::from_nanos(row.get(6)?),
            created_by: row.get(7)?,
            state: known.ok_or(StoreError::Corrupt("roll-out"))?,
            state_at: Timestamp::from_nanos(row.get(9)?),
            reason: row.get(10)?,
        });
    }
    Ok(views)
}

fn member_view(row: &Row<'_>) -> Result<MemberView, StoreError> {
    Ok(MemberView {
        gateway: gateway(row.get(0)?)?,
        stage: row.get(1)?,
        state: named(row.get(2)?)?,
        revision: number(row.get(3)?)?,
        reason: row.get(4)?,
        state_at: Timestamp::from_nanos(row.get(5)?),
    })
}

fn member(row: &Row<'_>) -> Result<Member, StoreError> {
    let stands = match row.get::<_, Option<String>>(4)? {
        None => None,
        Some(state) => {
            let problems: Vec<Problem> = parsed(&row.get::<_, String>(5)?)?;
            Some((RevisionState::from_name(&state)?, problems.into_iter().next().map(|problem| problem.reason).unwrap_or_default()))
        }
    };
    Ok(Member {
        gateway: gateway(row.get(0)?)?,
        stage: row.get(1)?,
        state: named(row.get(2)?)?,
        revision: number(row.get(3)?)?,
        stands,
        newest: number(row.get(7)?)?.unwrap_or(RevisionNumber(0)),
        connected: row.get(6)?,
        revoked: false,
    })
}

fn gateway(text: String) -> Result<GatewayId, StoreError> {
    GatewayId::new(text).map_err(|_| StoreError::Corrupt("gateway"))
}

fn number(stored: Option<i64>) -> Result<Option<RevisionNumber>, StoreError> {
    stored.map(|number| u64::try_from(number).map(RevisionNumber).map_err(|_| StoreError::Corrupt("revision number"))).transpose()
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Corrupt("roll-out"))
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt("roll-out"))
}

/// Writes a plain variant by its name.
fn word(value: &impl Serialize) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) | Err(_) => Err(StoreError::Corrupt("roll-out")),
    }
}

fn named<T: DeserializeOwned>(word: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|_| StoreError::Corrupt("roll-out"))
}
