//! The stores: one system database that says who exists, and one database file for each tenant with everything that is theirs.
//!
//! A [`TenantStore`] in hand can reach no other tenant's rows: tenant scope is a type, not a `WHERE` clause. Queries live in the
//! sibling modules as `impl` blocks; this one only hands out stores. Called by everything in the control plane that keeps state.

pub mod ahead;
pub mod alert_actions;
mod alert_record;
pub mod alerts;
pub mod audit;
mod audit_outbox;
pub mod certificates;
pub mod clients;
pub(crate) mod course;
pub mod cursors;
mod database;
pub mod gateway_audit;
pub mod gateway_events;
pub mod gateways;
pub mod healing;
pub mod idempotency;
pub mod incarnations;
pub mod ingest;
pub mod inventory;
pub mod mibs;
pub mod minutes;
mod overtaken;
pub mod own_alerts;
pub mod paces;
pub mod pairs;
pub mod replays;
pub mod revisions;
pub mod rollouts;
pub mod rule_figures;
pub mod samples;
pub mod secrets;
pub mod sessions;
pub mod tags;
pub mod tenants;
pub mod tokens;
pub mod unknown_oids;
mod unknown_sign_ins;
pub mod users;

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use postern_protocol::id::TenantId;
use rusqlite::{Connection, Transaction};

use database::Database;

/// Why a store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The present state does not allow it; the text says why, for a person.
    #[error("{0}")]
    Conflict(String),
    /// A row holds what the program never writes.
    #[error("the database holds an invalid {0}")]
    Corrupt(&'static str),
    /// A file or folder of the store cannot be made.
    #[error("cannot make {path}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database was written by a newer version of the program.
    #[error("the database has schema version {found}; this program knows versions up to {known}")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The system gave no random bytes for a new secret or name.
    #[error(transparent)]
    Random(#[from] crate::random::Unavailable),
    /// The database engine reports a fault.
    #[error("database fault")]
    Sqlite(#[from] rusqlite::Error),
    /// The program is stopping.
    #[error("the store is shutting down")]
    Stopped,
}

/// All stores of a control plane.
#[derive(Clone)]
pub struct Stores {
    system: SystemStore,
    folder: PathBuf,
    // A mutex because any request may be the first to need a tenant; it is held for a map look-up or one file open.
    tenants: Arc<Mutex<HashMap<TenantId, TenantStore>>>,
}

impl Stores {
    /// Opens the stores below `folder`, making the system database if it is not there.
    ///
    /// # Errors
    /// [`StoreError`] when a folder or database cannot be made, opened or migrated.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let tenants = folder.join("tenants");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&tenants);
        made.map_err(|source| StoreError::File { path: tenants, source })?;
        let system = SystemStore { database: Database::open(&folder.join("system.db"), &SYSTEM_MIGRATIONS)? };
        Ok(Self { system, folder: folder.to_owned(), tenants: Arc::default() })
    }

    /// Returns the system store.
    pub fn system(&self) -> &SystemStore {
        &self.system
    }

    /// Returns the store of `tenant`. The first use opens its file, which takes a moment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the tenant was never created.
    pub fn tenant(&self, tenant: &TenantId) -> Result<TenantStore, StoreError> {
        let mut open = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(tenant) {
            return Ok(store.clone());
        }
        let path = self.tenant_file(tenant);
        if !path.is_file() {
            return Err(StoreError::NotFound);
        }
        let store = TenantStore::open(&path)?;
        open.insert(tenant.clone(), store.clone());
        Ok(store)
    }

    fn tenant_file(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join("tenants").join(format!("{tenant}.db"))
    }
}

/// The system database: tenants, gateways, tokens, users, API clients. Cheap to clone.
#[derive(Clone)]
pub struct SystemStore {
    database: Database,
}

impl SystemStore {
    /// Runs `change` in one transaction of the only writer and commits it durably; an error rolls it back.
    ///
    /// # Errors
    /// Whatever `change` returns, or [`StoreError`] from the database.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.write(change).await
    }

    /// Runs `query` on a read-only connection.
    ///
    /// # Errors
    /// Whatever `query` returns, or [`StoreError`] from the database.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.read(query).await
    }
}

/// How a tenant's database came to its present shape, version by version.
const MIGRATIONS: [&str; 4] =
    [include_str!("tenant.sql"), include_str!("tenant_2.sql"), include_str!("tenant_3.sql"), include_str!("tenant_4.sql")];

/// The same of the system database.
const SYSTEM_MIGRATIONS: [&str; 3] = [include_str!("system.sql"), include_str!("system_2.sql"), include_str!("system_3.sql")];

/// Brings a tenant's database to the present shape, as [`TenantStore::open`] does.
///
/// # Errors
/// [`StoreError`] when a migration fails.
pub fn prepare_tenant(connection: &mut Connection) -> Result<(), StoreError> {
    database::migrate(connection, &MIGRATIONS)
}

/// One tenant's own database: alerts, revisions, gateway states. Cheap to clone.
#[derive(Clone)]
pub struct TenantStore {
    database: Database,
}

impl TenantStore {
    /// Opens or makes a tenant's database file. Programs reach it through [`Stores::tenant`].
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened or migrated.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(path, &MIGRATIONS)? })
    }

    /// Runs `change` in one transaction of the only writer and commits it durably; an error rolls it back.
    ///
    /// # Errors
    /// Whatever `change` returns, or [`StoreError`] from the database.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.write(change).await
    }

    /// As [`write`](Self::write), but for what may wait: of all such changes at most one stands in the writer's queue, so that an
    /// alert never waits for more than the change in hand and one more. Keep such a change small.
    ///
    /// # Errors
    /// Whatever `change` returns, or [`StoreError`] from the database.
    pub async fn write_in_turn<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.write_in_turn(change).await
    }

    /// As [`write`](Self::write), but does not wait for the disk: for what is said again soon, such as a gateway's status. A power
    /// cut may take the change back, whole; a crash of the program does not.
    ///
    /// # Errors
    /// Whatever `change` returns, or [`StoreError`] from the database.
    pub async fn write_lazily<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.write_lazily(change).await
    }

    /// Runs `query` on a read-only connection.
    ///
    /// # Errors
    /// Whatever `query` returns, or [`StoreError`] from the database.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.read(query).await
    }
}

/// Takes the next change number of a tenant: every change of an alert's row carries a new one as its `revision`.
///
/// # Errors
/// [`StoreError::Sqlite`] from the database.
pub fn next_change(tx: &Transaction<'_>) -> Result<i64, StoreError> {
    Ok(tx
        .prepare_cached("UPDATE change_number SET number = number + 1 WHERE only_row = 1 RETURNING number")?
        .query_row([], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_of_version_1_keeps_its_rows_and_gets_the_new_tables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let old = Database::open(&path, &MIGRATIONS[..1]).unwrap();
        let alert = "INSERT INTO alert VALUES ('a', 'gw', 'r', 'k', '', 1, 1, 1, 'open', 3, 's', 1, 1, 1, NULL, NULL, NULL, NULL, '{}',
                     'rule', 1, '{}', NULL, NULL)";
        old.write(move |tx| Ok(tx.execute_batch(alert)?)).await.unwrap();
        drop(old);
        let store = TenantStore::open(&path).unwrap();
        let count = |sql: &'static str| {
            let store = store.clone();
            async move { store.read(move |db| Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)).await.unwrap() }
        };
        assert_eq!(count("SELECT count(*) FROM alert WHERE summary = 's'").await, 1);
        assert_eq!(count("SELECT number FROM change_number").await, 0);
        for table in ["ledger_minute", "ledger_source", "unknown_oid", "mib_upload", "dictionary"] {
            let sql = Box::leak(format!("SELECT count(*) FROM {table}").into_boxed_str());
            assert_eq!(count(sql).await, 0, "{table}");
        }
        assert_eq!(count("PRAGMA user_version").await, 4);
        drop(store);
        assert!(matches!(Database::open(&path, &MIGRATIONS[..1]), Err(StoreError::Newer { found: 4, known: 1 })));
    }
}
