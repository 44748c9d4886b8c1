//! What each gateway is made of, as it last said: committed with the inventory lane's cursor.

use postern_protocol::id::{Epoch, GatewayId, Lane, Sequence};
use postern_protocol::inventory::Inventory;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::cursors::{self, Place};
use super::{StoreError, TenantStore};

/// Records of the inventory lane, in order and without a gap among themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct InventoryBatch {
    /// Epoch of the sequences.
    pub epoch: Epoch,
    /// Sequence of the first record, at least 1.
    pub first_sequence: Sequence,
    /// The records.
    pub records: Vec<Inventory>,
}

impl TenantStore {
    /// Commits records of `gateway`'s inventory lane; others get their turn first.
    ///
    /// # Errors
    /// [`StoreError`] from the database; nothing is committed then.
    pub async fn apply_inventory(
        &self,
        gateway: &GatewayId,
        batch: InventoryBatch,
        now: Timestamp,
    ) -> Result<cursors::Advanced, StoreError> {
        let gateway = gateway.clone();
        self.write_in_turn(move |tx| apply(tx, &gateway, &batch, now)).await
    }

    /// Returns what `gateway` is made of; `None` if it never said.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn inventory(&self, gateway: &GatewayId) -> Result<Option<Inventory>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let text: Option<String> = db
                .prepare_cached("SELECT record FROM gateway_inventory WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| row.get(0))
                .optional()?;
            text.map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Corrupt("inventory"))).transpose()
        })
        .await
    }
}

/// Applies records in one transaction with their lane's cursor: the newest one stays.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn apply(tx: &Transaction<'_>, gateway: &GatewayId, batch: &InventoryBatch, now: Timestamp) -> Result<cursors::Advanced, StoreError> {
    let place = Place { lane: Lane::Inventory, epoch: batch.epoch, first: batch.first_sequence, records: batch.records.len() };
    let advanced = cursors::take(tx, gateway, place, now)?;
    if let Some(newest) = batch.records.iter().skip(advanced.repeated).last() {
        let text = serde_json::to_string(newest).map_err(|_| StoreError::Corrupt("inventory"))?;
        tx.prepare_cached("INSERT OR REPLACE INTO gateway_inventory (gateway, record, at) VALUES (?1, ?2, ?3)")?.execute(params![
            gateway.as_str(),
            text,
            now.as_nanos()
        ])?;
    }
    Ok(advanced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_record_stays_and_a_repetition_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        let record = |cpus| Inventory { cpus, ..Inventory::default() };
        let batch = |first, records| InventoryBatch { epoch: Epoch(1), first_sequence: Sequence(first), records };
        let now = Timestamp::from_secs(1);
        store.apply_inventory(&gateway, batch(1, vec![record(1), record(2)]), now).await.unwrap();
        let again = store.apply_inventory(&gateway, batch(1, vec![record(1)]), now).await.unwrap();
        assert_eq!((again.committed, again.repeated), (Sequence(2), 1));
        assert_eq!(store.inventory(&gateway).await.unwrap(), Some(record(2)));
        assert_eq!(store.inventory(&GatewayId::new("other").unwrap()).await.unwrap(), None);
    }
}
