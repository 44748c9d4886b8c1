//! One SQLite file: a single writer, a few read-only connections, migrations by `PRAGMA user_version`.
//!
//! WAL with `synchronous=FULL`: a commit that returned survives a power cut. Work runs on blocking threads, never on the
//! runtime's workers. Private to `store`; the command line opens the same files while the server runs, which WAL allows.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::StoreError;

/// Most queries that run at once on one file; more of them wait their turn.
const READERS: usize = 4;

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Database {
    path: Arc<PathBuf>,
    // Idle read-only connections; the lock is held for a push or a pop. Dropped before the writer: only the writer, as the last
    // connection, can fold the WAL into the file.
    readers: Arc<Mutex<Vec<Connection>>>,
    // Async and fair: writers queue here without holding a thread. SQLite allows one writer anyway.
    writer: Arc<tokio::sync::Mutex<Connection>>,
    // Held by the one change that may wait and stands in the writer's queue; the others wait here.
    turn: Arc<tokio::sync::Mutex<()>>,
    permits: Arc<Semaphore>,
}

impl Database {
    /// Opens or makes the file and brings its schema up: `migrations[n]` leads from version n to n + 1.
    pub(super) fn open(path: &Path, migrations: &[&str]) -> Result<Self, StoreError> {
        // Made by us first: SQLite would let the umask decide who may read it, and gives its other files the same mode.
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let mut writer = Connection::open(path)?;
        writer.busy_timeout(BUSY_TIMEOUT)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", true)?;
        writer.pragma_update(None, "trusted_schema", false)?;
        writer.set_prepared_statement_cache_capacity(64);
        migrate(&mut writer, migrations)?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            turn: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS)),
            readers: Arc::default(),
        })
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.commit(Durability::Full, change).await
    }

    /// As `write`, but of all such changes at most one stands in the writer's queue: the others do not delay what is urgent.
    pub(super) async fn write_in_turn<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.turn.lock().await;
        self.commit(Durability::Full, change).await
    }

    /// As `write`, but does not wait for the disk: a power cut may take the change back, whole, and nothing else.
    pub(super) async fn write_lazily<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.commit(Durability::Lazy, change).await
    }

    async fn commit<T: Send + 'static>(
        &self,
        durability: Durability,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        run(move || {
            // Every change says it anew: one that failed or panicked leaves nothing for the next. Outside a transaction only.
            writer.pragma_update(None, "synchronous", durability.pragma())?;
            let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = change(&tx)?;
            tx.commit()?;
            Ok(result)
        })
        .await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let database = self.clone();
        run(move || {
            let idle = database.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| reader(&database.path), Ok)?;
            let result = query(&connection);
            database.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            result
        })
        .await
    }
}

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    Full,
    Lazy,
}

impl Durability {
    /// In WAL mode, `NORMAL` leaves the sync to the next commit that is `FULL`, or to the next checkpoint.
    const fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Lazy => "NORMAL",
        }
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(StoreError::Stopped),
        },
    }
}

fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        drop(Database::open(&path, &["CREATE TABLE a (x INTEGER) STRICT", "CREATE TABLE b (x INTEGER) STRICT"]).unwrap());
        assert!(matches!(Database::open(&path, &[""]), Err(StoreError::Newer { found: 2, known: 1 })));
    }

    #[tokio::test]
    async fn a_failed_change_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("x.db"), &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        let refused = database
            .write(|tx| {
                tx.execute("INSERT INTO a VALUES (1)", [])?;
                Err::<(), _>(StoreError::Conflict("no".to_owned()))
            })
            .await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
        let rows: i64 = database.read(|c| Ok(c.query_row("SELECT count(*) FROM a", [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(rows, 0);
    }

    #[tokio::test]
    async fn a_change_after_a_lazy_one_waits_for_the_disk_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("x.db"), &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        let level = |tx: &Transaction<'_>| Ok(tx.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?);
        assert_eq!(database.write_lazily(level).await.unwrap(), 1, "NORMAL");
        assert_eq!(database.write(level).await.unwrap(), 2, "FULL");
    }

    #[tokio::test]
    async fn a_closed_database_is_one_file_that_others_cannot_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let database = Database::open(&path, &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        database.write(|tx| Ok(tx.execute("INSERT INTO a VALUES (1)", [])?)).await.unwrap();
        database.read(|c| Ok(c.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0))?)).await.unwrap();
        drop(database);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn what_is_urgent_waits_for_one_change_in_hand_and_one_more() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("x.db"), &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let insert = |tx: &Transaction<'_>, x: i64| Ok(tx.execute("INSERT INTO a VALUES (?1)", [x])?);
        let in_hand = database.write_in_turn(move |tx| {
            held.recv().map_err(|_| StoreError::Stopped)?;
            insert(tx, 0)
        });
        let waiting = (1..=20).map(|_| database.write_in_turn(move |tx| insert(tx, 0)));
        let urgent = database.write(move |tx| insert(tx, 1));
        let release = async move {
            // Everybody has queued by now: a joined future polls its parts in order.
            release.send(()).unwrap();
        };
        let waiting = futures_util::future::join_all(waiting);
        let (first, rest, alert, ()) = tokio::join!(in_hand, waiting, urgent, release);
        assert!(first.is_ok() && alert.is_ok() && rest.iter().all(Result::is_ok));
        let place: i64 = database.read(|c| Ok(c.query_row("SELECT rowid FROM a WHERE x = 1", [], |row| row.get(0))?)).await.unwrap();
        assert!(place <= 3, "it was the {place}th of 22");
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("x.db"), &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        assert!(database.read(|c| Ok(c.execute("INSERT INTO a VALUES (1)", [])?)).await.is_err());
    }
}
