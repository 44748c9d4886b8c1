//! The spool's directory on a real disk, held by this process alone.
//!
//! Files are 0600 in a directory of 0700. Called by the core and the reader through [`Storage`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

use super::SpoolError;
use super::storage::Storage;

/// Directory of damaged segments, and how many are kept there.
const DAMAGED: &str = "damaged";
const MAX_DAMAGED: usize = 4;

/// The directory.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    _lock: File,
}

impl Disk {
    /// Makes the directory when absent, and takes it for this process.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it, or [`SpoolError::File`].
    pub fn take(path: &Path) -> Result<Self, SpoolError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| SpoolError::File { path, cause }
        };
        DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(at(path))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(at(parent))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::Error(cause)) => Err(at(&lock_path)(cause)),
            Err(TryLockError::WouldBlock) => Err(SpoolError::Locked { dir: path.to_owned() }),
        }
    }

    fn copies(&self) -> io::Result<Vec<(std::time::SystemTime, String)>> {
        let entries = match fs::read_dir(self.path.join(DAMAGED)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut copies = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                copies.push((entry.metadata()?.modified()?, name));
            }
        }
        copies.sort();
        Ok(copies)
    }
}

impl Storage for Disk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_name().into_string() {
                Ok(name) if name == "lock" || entry.file_type()?.is_dir() => {}
                Ok(name) => names.push(name),
                Err(name) => tracing::warn!(?name, "a foreign file lies in the spool"),
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, preallocated: u64) -> io::Result<File> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        match preallocate(&file, preallocated) {
            Ok(()) => Ok(file),
            Err(cause) => {
                fs::remove_file(&path)?;
                Err(cause)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path.join(name))
    }

    fn write_at(&self, file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync_data(&self, file: &mut File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &mut File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.path.join(name))?;
        let mut read = 0;
        while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(some) => read = read.saturating_add(some),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(read)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let facts = statvfs(&self.path)?;
        Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
    }

    fn keep_damaged(&self, name: &str) -> io::Result<()> {
        let dir = self.path.join(DAMAGED);
        DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
        let (from, to) = (self.path.join(name), dir.join(name));
        if to.exists() {
            return Ok(());
        }
        let copies = self.copies()?;
        for (_, oldest) in copies.iter().take(copies.len().saturating_sub(MAX_DAMAGED - 1)) {
            fs::remove_file(dir.join(oldest))?;
        }
        // Where there is no room for a copy a second name does: only what a crash left behind the last commit is cut from it.
        if let Err(cause) = copy(&from, &to) {
            tracing::debug!(error = %cause, "a damaged segment cannot be copied and gets a second name");
            match fs::remove_file(&to) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                Err(_) | Ok(()) => fs::hard_link(&from, &to)?,
            }
        }
        File::open(&dir)?.sync_all()
    }

    fn damaged(&self) -> io::Result<Vec<String>> {
        Ok(self.copies()?.into_iter().map(|(_, name)| format!("{DAMAGED}/{name}")).collect())
    }

    fn place_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Copies by plain reads and writes: the sandbox knows no others.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// Takes room for `bytes` on the disk; a file system that cannot do that gives it when it is written.
fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => file.set_len(bytes),
        Err(cause) => Err(cause.into()),
    }
}
