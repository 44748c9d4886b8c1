//! Deeds of the system database that belong in a tenant's audit: kept with the deed, in its transaction, and carried over after.
//!
//! Users, API clients, sessions and enrolment tokens are rows of the system database, their audit is the tenant's, and no
//! transaction spans both. So the deed's transaction [`put`]s the entry beside it, and [`Stores::deliver_notes`] writes it into the
//! tenant's chain. Whoever did the deed asks for that at once; what a crash left behind goes with the next one, or with the server's
//! next look. The tenant's database remembers what it took until it is gone here, so an entry comes once.

use postern_protocol::id::TenantId;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::audit::{self, Deed};
use super::{StoreError, Stores};
use crate::random;

/// Length of an entry's identifier.
const ID_BYTES: usize = 16;

/// Most entries that are carried over at once.
const PARCEL: u32 = 256;

/// An entry on its way.
type Entry = ([u8; ID_BYTES], Deed);

/// Keeps a deed for `tenant`'s audit, in the transaction that does it.
///
/// # Errors
/// [`StoreError`] from the database: the deed then must not happen either.
pub(super) fn put(tx: &Transaction<'_>, tenant: &TenantId, deed: &Deed) -> Result<(), StoreError> {
    let text = serde_json::to_vec(deed).map_err(|_| StoreError::Corrupt("audit entry"))?;
    tx.prepare_cached("INSERT INTO audit_outbox (id, tenant, deed) VALUES (?1, ?2, ?3)")?.execute(params![
        random::bytes::<ID_BYTES>()?,
        tenant.as_str(),
        text
    ])?;
    Ok(())
}

impl Stores {
    /// Writes what waits for `tenant`'s audit into it.
    ///
    /// # Errors
    /// [`StoreError`] from either database: what was not carried over waits on.
    pub async fn deliver_notes(&self, tenant: &TenantId) -> Result<(), StoreError> {
        loop {
            let entries = self.waiting(tenant).await?;
            let ids: Vec<[u8; ID_BYTES]> = entries.iter().map(|(id, _)| *id).collect();
            if ids.is_empty() {
                return Ok(());
            }
            self.tenant(tenant)?.write(move |tx| take(tx, entries)).await?;
            self.system().write(move |tx| forget(tx, &ids)).await?;
        }
    }

    /// Writes what waits for any tenant's audit.
    ///
    /// # Errors
    /// As [`Stores::deliver_notes`].
    pub async fn deliver_all_notes(&self) -> Result<(), StoreError> {
        let waiting = self.system().read(|db| {
            let mut query = db.prepare_cached("SELECT DISTINCT tenant FROM audit_outbox")?;
            let tenants = query.query_map([], |row| row.get::<_, String>(0))?;
            Ok(tenants.collect::<Result<Vec<_>, _>>()?)
        });
        for tenant in waiting.await? {
            self.deliver_notes(&TenantId::new(tenant).map_err(|_| StoreError::Corrupt("tenant"))?).await?;
        }
        Ok(())
    }

    async fn waiting(&self, tenant: &TenantId) -> Result<Vec<Entry>, StoreError> {
        let tenant = tenant.clone();
        let waiting = self.system().read(move |db| {
            let mut query = db.prepare_cached("SELECT id, deed FROM audit_outbox WHERE tenant = ?1 ORDER BY number LIMIT ?2")?;
            let mut rows = query.query(params![tenant.as_str(), PARCEL])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                let deed = serde_json::from_slice(&row.get::<_, Vec<u8>>(1)?).map_err(|_| StoreError::Corrupt("audit entry"))?;
                entries.push((row.get(0)?, deed));
            }
            Ok(entries)
        });
        waiting.await
    }
}

/// Takes entries into a tenant's chain that it did not take before, and forgets those that wait no more.
fn take(tx: &Transaction<'_>, entries: Vec<Entry>) -> Result<(), StoreError> {
    let ids: Vec<[u8; ID_BYTES]> = entries.iter().map(|(id, _)| *id).collect();
    for (id, deed) in entries {
        let taken = tx.prepare_cached("SELECT 1 FROM audit_taken WHERE id = ?1")?.query_row([id], |_| Ok(())).optional()?;
        if taken.is_none() {
            audit::note(tx, deed)?;
            tx.prepare_cached("INSERT INTO audit_taken (id) VALUES (?1)")?.execute([id])?;
        }
    }
    let mut query = tx.prepare_cached("SELECT id FROM audit_taken")?;
    let known = query.query_map([], |row| row.get::<_, [u8; ID_BYTES]>(0))?.collect::<Result<Vec<_>, _>>()?;
    for id in known.iter().filter(|id| !ids.contains(id)) {
        tx.prepare_cached("DELETE FROM audit_taken WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

fn forget(tx: &Transaction<'_>, ids: &[[u8; ID_BYTES]]) -> Result<(), StoreError> {
    for id in ids {
        tx.prepare_cached("DELETE FROM audit_outbox WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::audit::{By, What};
    use postern_protocol::timestamp::Timestamp;

    async fn with_tenant() -> (tempfile::TempDir, Stores, TenantId) {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let tenant = TenantId::new("acme").unwrap();
        stores.create_tenant(&tenant, "Acme", Timestamp::from_secs(1)).await.unwrap();
        (folder, stores, tenant)
    }

    async fn keep(stores: &Stores, tenant: &TenantId, about: &'static str) {
        let (tenant, deed) = (tenant.clone(), Deed::done(By::command_line(), What::TokenMade, about.to_owned(), Timestamp::from_secs(2)));
        stores.system().write(move |tx| put(tx, &tenant, &deed)).await.unwrap();
    }

    async fn noted(stores: &Stores, tenant: &TenantId) -> Vec<String> {
        let entries = stores.tenant(tenant).unwrap().audit(100, None).await.unwrap();
        entries.into_iter().rev().map(|entry| entry.about).collect()
    }

    #[tokio::test]
    async fn what_a_crash_left_behind_comes_once_and_in_order() {
        let (folder, stores, tenant) = with_tenant().await;
        keep(&stores, &tenant, "a").await;
        keep(&stores, &tenant, "b").await;
        // It took them, and died before the system database heard of it.
        let entries = stores.waiting(&tenant).await.unwrap();
        stores.tenant(&tenant).unwrap().write(move |tx| take(tx, entries)).await.unwrap();
        drop(stores);
        let stores = Stores::open(folder.path()).unwrap();
        keep(&stores, &tenant, "c").await;
        stores.deliver_all_notes().await.unwrap();
        stores.deliver_all_notes().await.unwrap();
        assert_eq!(noted(&stores, &tenant).await, ["a", "b", "c"]);
        assert!(stores.waiting(&tenant).await.unwrap().is_empty());
        let (_, faults) = stores.tenant(&tenant).unwrap().read(audit::verify).await.unwrap();
        assert_eq!(faults, []);
    }

    #[tokio::test]
    async fn a_deed_that_fails_leaves_nothing_to_note() {
        let (_folder, stores, tenant) = with_tenant().await;
        let of = tenant.clone();
        let failed = stores.system().write(move |tx| {
            put(tx, &of, &Deed::done(By::command_line(), What::TokenMade, "a".to_owned(), Timestamp::from_secs(2)))?;
            Err::<(), _>(StoreError::NotFound)
        });
        assert!(failed.await.is_err());
        stores.deliver_all_notes().await.unwrap();
        assert_eq!(noted(&stores, &tenant).await, Vec::<String>::new());
    }
}
