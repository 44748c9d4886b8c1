//! The MIB modules of a tenant: takes archives, has all of them compiled together, keeps the outcome and wakes the gateways, which
//! then get the new table. Called by the API and the console.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use postern_protocol::dictionary;
use postern_protocol::dictionary::table::{Table, TableError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::mib::compiler::{CompileError, Compiled, Compiler, Limits};
use crate::mib::report::Report;
use crate::store::audit::{By, Deed, What};
use crate::store::mibs::{NewDictionary, NewUpload, UploadChange};
use crate::store::{StoreError, TenantStore};

/// Most bytes of one archive.
pub const MAX_ARCHIVE_BYTES: usize = 64 * 1024 * 1024;

/// Most bytes of all archives of a tenant.
const MAX_TOTAL_BYTES: u64 = 256 * 1024 * 1024;

/// Most archives of a tenant.
const MAX_ARCHIVES: usize = 64;

/// Most archives that are taken in at once, of all tenants: each may be in memory. The others wait, unread.
const UPLOADS_AT_ONCE: usize = 2;

/// Most characters of a file's name.
const MAX_NAME_CHARACTERS: usize = 128;

/// Takes archives in turns and compiles them one after the other.
pub struct Mibs {
    compiler: Compiler,
    uploads: Arc<Semaphore>,
    turn: Semaphore,
}

/// Why the modules are as they were.
#[derive(Debug, thiserror::Error)]
pub enum MibError {
    /// The compiler did not take the archives.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There are too many, or they are too large.
    #[error("{0}")]
    Room(String),
    /// The store failed, has this archive already, or not the one to remove.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The compiled table is too large for the gateways.
    #[error("what the modules compile to cannot be used")]
    Table(#[from] TableError),
}

impl Mibs {
    /// Compiles with `program`, which is `postern-control`.
    pub fn new(program: PathBuf) -> Self {
        let uploads = Arc::new(Semaphore::new(UPLOADS_AT_ONCE));
        Self { compiler: Compiler::new(program, Limits::default()), uploads, turn: Semaphore::new(1) }
    }

    /// Waits until an archive may be read; the permit is kept until it is out of memory again.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the program stops.
    pub async fn upload_turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.uploads).acquire_owned().await.map_err(|_| StoreError::Stopped)
    }
}

/// Adds an archive to those of the principal's tenant.
///
/// # Errors
/// [`MibError`] says why not; nothing is kept then. Faults of modules are none: the report has them.
pub async fn add(app: &App, principal: &Principal, name: &str, archive: Bytes) -> Result<Report, MibError> {
    principal.require(Permission::Configure)?;
    let turn = app.mibs.turn.acquire().await.map_err(|_| StoreError::Stopped)?;
    let store = app.stores.tenant(&principal.tenant)?;
    let there = store.mib_uploads().await?;
    let content = archive.clone();
    let sha256 = blocking(move || dictionary::digest(&content)).await?;
    if there.iter().any(|one| one.sha256 == data_encoding::HEXLOWER.encode(&sha256)) {
        return Err(StoreError::Conflict("this very archive is there already".to_owned()).into());
    }
    let bytes = there.iter().fold(archive.len() as u64, |sum, one| sum.saturating_add(one.bytes));
    if there.len() >= MAX_ARCHIVES || bytes > MAX_TOTAL_BYTES {
        let most = MAX_TOTAL_BYTES / 1024 / 1024;
        return Err(MibError::Room(format!("at most {MAX_ARCHIVES} archives of {most} MiB together are kept: delete one first")));
    }
    let mut archives = store.mib_archives(None).await?;
    archives.push(archive.clone());
    let upload = NewUpload { name: file_name(name), sha256, archive };
    let about = format!("MIB archive {}: added", upload.name);
    let report = compile(app, principal, &store, archives, UploadChange::Add(upload)).await?;
    store.note(Deed::done(By::from(principal), What::MibsChanged, about, app.now())).await?;
    drop(turn);
    Ok(report)
}

/// Removes the archive of that number.
///
/// # Errors
/// [`MibError`] says why not; nothing has changed then.
pub async fn remove(app: &App, principal: &Principal, number: i64) -> Result<Report, MibError> {
    principal.require(Permission::Configure)?;
    let turn = app.mibs.turn.acquire().await.map_err(|_| StoreError::Stopped)?;
    let store = app.stores.tenant(&principal.tenant)?;
    if !store.mib_uploads().await?.iter().any(|one| one.number == number) {
        return Err(StoreError::NotFound.into());
    }
    let archives = store.mib_archives(Some(number)).await?;
    let report = compile(app, principal, &store, archives, UploadChange::Remove(number)).await?;
    let about = format!("MIB archive {number}: removed");
    store.note(Deed::done(By::from(principal), What::MibsChanged, about, app.now())).await?;
    drop(turn);
    Ok(report)
}

async fn compile(
    app: &App,
    principal: &Principal,
    store: &TenantStore,
    archives: Vec<Bytes>,
    change: UploadChange,
) -> Result<Report, MibError> {
    let Compiled { table, report } = if archives.is_empty() { empty() } else { app.mibs.compiler.compile(&archives).await? };
    drop(archives);
    // Nothing that a gateway would refuse is kept.
    let bytes = Bytes::from(table.clone());
    let digest = blocking(move || Table::parse(bytes).map(|table| dictionary::digest(table.bytes()))).await??;
    let new = NewDictionary { digest, table, report: report.clone(), by: principal.actor.to_string(), at: app.now() };
    store.change_mibs(change, new).await?;
    for (_, gateway) in app.gateways.connected().into_iter().filter(|(tenant, _)| *tenant == principal.tenant) {
        app.gateways.wake(&gateway);
    }
    let (modules, notifications) = (report.totals.modules, report.totals.resolved);
    tracing::info!(tenant = %principal.tenant, by = %principal.actor, modules, notifications, "MIB modules compiled");
    Ok(report)
}

/// Hashes and checks take longer than a worker of the runtime may be held.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)
}

/// A table without a name: gateways that have another one get it, and have only the built-in names again.
fn empty() -> Compiled {
    Compiled { table: dictionary::builder::Builder::default().encode().unwrap_or_default(), report: Report::default() }
}

/// A file's name as it may be shown: its last part, printable, not too long.
fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARACTERS).collect();
    if kept.trim().is_empty() { "unnamed".to_owned() } else { kept.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_of_a_files_name_is_kept() {
        assert_eq!(file_name("C:\\mibs\\cisco.zip"), "cisco.zip");
        assert_eq!(file_name("../\u{7}\n"), "unnamed");
        assert_eq!(file_name(&"x".repeat(500)).len(), MAX_NAME_CHARACTERS);
    }

    #[test]
    fn a_dictionary_of_no_module_is_one() {
        assert!(Table::parse(Bytes::from(empty().table)).is_ok_and(|table| table.is_empty()));
    }
}
