//! Tenants: a row in the system database and a database file of their own.

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::{StoreError, Stores, SystemStore, TenantStore};

/// A tenant as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantView {
    /// Identifier.
    pub id: TenantId,
    /// Name for people.
    pub name: String,
    /// When it was created.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub created_at: Timestamp,
}

impl Stores {
    /// Creates a tenant with its database.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the identifier is taken.
    pub async fn create_tenant(&self, tenant: &TenantId, name: &str, now: Timestamp) -> Result<(), StoreError> {
        // The file first: a tenant that exists always has its database. A file without a row is unreachable and taken over here.
        let path = self.tenant_file(tenant);
        let store = TenantStore::open(&path)?;
        let (id, name) = (tenant.clone(), name.to_owned());
        self.system
            .write(move |tx| {
                let taken = tx.query_row("SELECT 1 FROM tenant WHERE id = ?1", [id.as_str()], |_| Ok(()));
                match taken {
                    Ok(()) => Err(StoreError::Conflict(format!("there is a tenant {id} already"))),
                    Err(rusqlite::Error::QueryReturnedNoRows) => {
                        tx.execute("INSERT INTO tenant VALUES (?1, ?2, ?3)", params![id.as_str(), name, now.as_nanos()])?;
                        Ok(())
                    }
                    Err(fault) => Err(fault.into()),
                }
            })
            .await?;
        drop(store);
        Ok(())
    }
}

impl SystemStore {
    /// Returns every tenant by identifier.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_tenants(&self) -> Result<Vec<TenantView>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT id, name, created_at FROM tenant ORDER BY id")?;
            let mut rows = statement.query([])?;
            let mut tenants = Vec::new();
            while let Some(row) = rows.next()? {
                tenants.push(TenantView {
                    id: TenantId::new(row.get::<_, String>(0)?).map_err(|_| StoreError::Corrupt("tenant"))?,
                    name: row.get(1)?,
                    created_at: Timestamp::from_nanos(row.get(2)?),
                });
            }
            Ok(tenants)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_a_file_of_its_own_and_a_name_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let acme = TenantId::new("acme").unwrap();
        assert!(matches!(stores.tenant(&acme), Err(StoreError::NotFound)));
        stores.create_tenant(&acme, "Acme", Timestamp::from_secs(1)).await.unwrap();
        assert!(stores.tenant(&acme).is_ok());
        assert!(folder.path().join("tenants/acme.db").is_file());
        assert!(matches!(stores.create_tenant(&acme, "Acme", Timestamp::from_secs(2)).await, Err(StoreError::Conflict(_))));
        assert_eq!(stores.system().list_tenants().await.unwrap().len(), 1);
    }
}
