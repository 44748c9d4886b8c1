//! How far each lane of each gateway is committed. Written only in the transaction that commits the records (`ingest`).

use postern_protocol::id::{Epoch, GatewayId, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{StoreError, TenantStore};

/// Epochs of a gateway that are remembered; a spool never holds records of more.
const MAX_EPOCHS: i64 = 64;

/// The last committed place of a lane in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The lane.
    pub lane: Lane,
    /// The epoch.
    pub epoch: Epoch,
    /// Sequence of the last committed record.
    pub sequence: Sequence,
}

impl TenantStore {
    /// Returns what is committed of `gateway`, over all lanes and remembered epochs.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn cursors(&self, gateway: &GatewayId) -> Result<Vec<Cursor>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| of_gateway(db, &gateway)).await
    }
}

/// Returns what is committed of `gateway`: what [`TenantStore::cursors`] does.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn of_gateway(db: &Connection, gateway: &GatewayId) -> Result<Vec<Cursor>, StoreError> {
    let mut statement = db.prepare_cached("SELECT lane, epoch, sequence FROM lane_cursor WHERE gateway = ?1")?;
    let mut rows = statement.query([gateway.as_str()])?;
    let mut cursors = Vec::new();
    while let Some(row) = rows.next()? {
        cursors.push(Cursor {
            lane: Lane::from_number(row.get(0)?).ok_or(StoreError::Corrupt("lane"))?,
            epoch: Epoch(u64::from_be_bytes(row.get(1)?)),
            sequence: Sequence(u64::try_from(row.get::<_, i64>(2)?).map_err(|_| StoreError::Corrupt("sequence"))?),
        });
    }
    Ok(cursors)
}

impl TenantStore {
    /// Whether records of `gateway` are missing and it was not asked for all its open alerts since.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn has_open_gap(&self, gateway: &GatewayId) -> Result<bool, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| open_gap(db, &gateway)).await
    }

    /// Records that `gateway` was asked for all its open alerts and lived to do it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn close_gaps(&self, gateway: &GatewayId) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| mark_resent(tx, &gateway)).await
    }
}

/// Whether records are missing that nothing made up for: what [`TenantStore::has_open_gap`] does.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn open_gap(db: &Connection, gateway: &GatewayId) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached("SELECT 1 FROM lane_gap WHERE gateway = ?1 AND resent = 0 LIMIT 1")?;
    Ok(statement.exists([gateway.as_str()])?)
}

/// Says that what is missing was made up for: what [`TenantStore::close_gaps`] does.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn mark_resent(tx: &Transaction<'_>, gateway: &GatewayId) -> Result<(), StoreError> {
    tx.execute("UPDATE lane_gap SET resent = 1 WHERE gateway = ?1 AND resent = 0", [gateway.as_str()])?;
    Ok(())
}

/// Where records of a lane stand that are not alerts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) lane: Lane,
    pub(super) epoch: Epoch,
    /// Sequence of the first record, at least 1.
    pub(super) first: Sequence,
    pub(super) records: usize,
}

/// What became of a lane's cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// Everything up to here is committed.
    pub committed: Sequence,
    /// Records of the batch, from its beginning, that were committed before.
    pub repeated: usize,
    /// Records that never came: the gateway gave them up, or this store was restored from an older state.
    pub skipped: u64,
}

/// Moves the cursor behind records of a lane that nobody can send again, and notes those that are missing before them.
pub(super) fn take(tx: &Transaction<'_>, gateway: &GatewayId, place: Place, now: Timestamp) -> Result<Advanced, StoreError> {
    let Place { lane, epoch, first, records } = place;
    let before = committed(tx, gateway, lane, epoch)?;
    let last = Sequence(first.0.saturating_add(records as u64).saturating_sub(1));
    if last <= before {
        return Ok(Advanced { committed: before, repeated: records, skipped: 0 });
    }
    let next = before.0.saturating_add(1);
    let repeated = usize::try_from(next.saturating_sub(first.0)).unwrap_or(usize::MAX);
    let skipped = first.0.saturating_sub(next);
    if skipped > 0 {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        tx.prepare_cached(
            "INSERT INTO lane_gap (gateway, lane, epoch, after_sequence, records, at, resent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)",
        )?
        .execute(params![
            gateway.as_str(),
            lane.number(),
            epoch.0.to_be_bytes(),
            signed(before.0),
            signed(skipped),
            now.as_nanos()
        ])?;
    }
    advance(tx, gateway, Cursor { lane, epoch, sequence: last }, now)?;
    Ok(Advanced { committed: last, repeated, skipped })
}

/// Returns the committed sequence of one lane and epoch; 0 before the first record.
pub(super) fn committed(db: &Connection, gateway: &GatewayId, lane: Lane, epoch: Epoch) -> Result<Sequence, StoreError> {
    let sequence: Option<i64> = db
        .prepare_cached("SELECT sequence FROM lane_cursor WHERE gateway = ?1 AND lane = ?2 AND epoch = ?3")?
        .query_row(params![gateway.as_str(), lane.number(), epoch.0.to_be_bytes()], |row| row.get(0))
        .optional()?;
    Ok(Sequence(u64::try_from(sequence.unwrap_or(0)).map_err(|_| StoreError::Corrupt("sequence"))?))
}

/// Moves a cursor on, and forgets epochs that are too old to matter.
pub(super) fn advance(tx: &Transaction<'_>, gateway: &GatewayId, cursor: Cursor, now: Timestamp) -> Result<(), StoreError> {
    let sequence = i64::try_from(cursor.sequence.0).map_err(|_| StoreError::Conflict("the sequence is too great".to_owned()))?;
    let (gateway, lane, epoch) = (gateway.as_str(), cursor.lane.number(), cursor.epoch.0.to_be_bytes());
    tx.prepare_cached(
        "INSERT INTO lane_cursor (gateway, lane, epoch, sequence, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (gateway, lane, epoch) DO UPDATE SET sequence = ?4, seen_at = ?5",
    )?
    .execute(params![gateway, lane, epoch, sequence, now.as_nanos()])?;
    tx.prepare_cached(
        "DELETE FROM lane_cursor WHERE gateway = ?1 AND lane = ?2 AND epoch IN
         (SELECT epoch FROM lane_cursor WHERE gateway = ?1 AND lane = ?2 ORDER BY seen_at DESC LIMIT -1 OFFSET ?3)",
    )?
    .execute(params![gateway, lane, MAX_EPOCHS])?;
    Ok(())
}
