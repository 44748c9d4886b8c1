//! Answers to POSTs that carried an Idempotency-Key, kept for a day, so that a client that lost an answer may ask again.
//!
//! `look_up` and `keep` are for work in the tenant's database: called inside its transaction, so that work and answer are
//! committed together or not at all. `begin_once` and `answer_once` are for other work.

use std::time::Duration;

use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{StoreError, TenantStore};

/// How long an answer is kept.
pub const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceKey {
    /// Who asks: keys of two principals never meet.
    pub principal: String,
    /// The key that the client chose.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub request: Vec<u8>,
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was answered.
    Answered(Answer),
    /// The key came with another request.
    Misused,
    /// It is new.
    New,
    /// It was begun and never answered.
    Unanswered,
}

/// The status of a request that was begun; no answer has it.
const BEGUN: u16 = 0;

impl TenantStore {
    /// Forgets answers that are too old to be asked for again.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn forget_answers(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write_in_turn(move |tx| forget(tx, now)).await
    }

    /// Looks for the answer to a request; a new one is marked as begun. For work that is not done in the tenant's database: if the
    /// program dies before [`Self::answer_once`], the request stays [`Known::Unanswered`].
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn begin_once(&self, once: OnceKey, now: Timestamp) -> Result<Known, StoreError> {
        self.write(move |tx| {
            let known = look_up(tx, &once, now)?;
            if known == Known::New {
                keep(tx, &once, &Answer { status: BEGUN, body: Vec::new() }, now)?;
            }
            Ok(known)
        })
        .await
    }

    /// Keeps the answer to a request that was begun; without one (the work failed) the request counts as new again.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn answer_once(&self, once: OnceKey, answer: Option<Answer>) -> Result<(), StoreError> {
        self.write(move |tx| {
            let row = params![once.principal, once.key];
            match answer {
                Some(Answer { status, body }) => tx.execute(
                    "UPDATE idempotency SET status = ?3, body = ?4 WHERE principal = ?1 AND key = ?2",
                    params![once.principal, once.key, status, body],
                )?,
                None => tx.execute("DELETE FROM idempotency WHERE principal = ?1 AND key = ?2", row)?,
            };
            Ok(())
        })
        .await
    }
}

/// Looks for the answer to a request.
pub(super) fn look_up(db: &Connection, once: &OnceKey, now: Timestamp) -> Result<Known, StoreError> {
    let row = db
        .prepare_cached("SELECT request, status, body FROM idempotency WHERE principal = ?1 AND key = ?2 AND created_at > ?3")?
        .query_row(params![once.principal, once.key, horizon(now)], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, Answer { status: row.get(1)?, body: row.get(2)? }))
        })
        .optional()?;
    Ok(match row {
        None => Known::New,
        Some((request, _)) if request != once.request => Known::Misused,
        Some((_, Answer { status: BEGUN, .. })) => Known::Unanswered,
        Some((_, answer)) => Known::Answered(answer),
    })
}

fn forget(tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM idempotency WHERE created_at <= ?1", [horizon(now)])?;
    Ok(())
}

/// Keeps the answer to a request, and forgets those that are too old.
pub(super) fn keep(tx: &Transaction<'_>, once: &OnceKey, answer: &Answer, now: Timestamp) -> Result<(), StoreError> {
    forget(tx, now)?;
    tx.execute(
        "INSERT INTO idempotency (principal, key, request, status, body, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![once.principal, once.key, once.request, answer.status, answer.body, now.as_nanos()],
    )?;
    Ok(())
}

fn horizon(now: Timestamp) -> i64 {
    now.as_nanos().saturating_sub(i64::try_from(KEEP.as_nanos()).unwrap_or(i64::MAX))
}
