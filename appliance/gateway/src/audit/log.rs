//! The audit log's files: appended to, synced, rotated, and trimmed at the old end. Blocks; knows no task.
//!
//! A file's name is the number of its first entry; its first line names the entry before ([`super::line`]). Whoever appends holds
//! `lock`, because the command line writes while the daemon runs: everything is looked at anew when the files are not as they
//! were left. A line without an end is of a write that was never told done, and is cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use postern_protocol::message::AuditEntry;

use super::AuditError;
use super::line::{self, Place};

/// A file that has reached this size is followed by another.
pub(super) const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Beyond this, the oldest file goes if the control plane has countersigned it.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Beyond this, it goes in any case.
const HARD_MAX_BYTES: u64 = 2 * MAX_BYTES;

/// How large the files may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) file: u64,
    pub(super) countersigned: u64,
    pub(super) any: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file: FILE_BYTES, countersigned: MAX_BYTES, any: HARD_MAX_BYTES }
    }
}

/// What was removed at the old end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trimmed {
    /// Number of the last entry that is gone.
    pub(super) up_to: u64,
    /// Whether it was countersigned.
    pub(super) countersigned: bool,
}

/// The files, as this process last saw them.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    limits: Limits,
    lock: File,
    current: Option<Current>,
    last: Place,
    /// After a failed write the pages of the old file cannot be trusted to reach the disk: a new one is begun.
    fresh: bool,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    /// Opens the log in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) fn open(dir: &Path, limits: Limits) -> Result<Self, AuditError> {
        let fault = |cause| AuditError::File { path: dir.to_owned(), cause };
        crate::create_private_dir(dir).map_err(|error| fault(io::Error::other(format!("{error:#}"))))?;
        let lock = private().append(true).create(true).open(dir.join("lock")).map_err(fault)?;
        give_to_owner_of(dir, &lock);
        let mut log = Self { dir: dir.to_owned(), limits, lock, current: None, last: Place::ORIGIN, fresh: false };
        log.locked(|_| Ok(()))?;
        Ok(log)
    }

    /// Takes in what another process may have written.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) fn refresh(&mut self) -> Result<(), AuditError> {
        self.locked(|_| Ok(()))
    }

    /// Returns where the chain is.
    pub(super) fn last(&self) -> Place {
        self.last
    }

    /// Appends entries and waits until the disk has them. After an error none of them is there.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) fn append(&mut self, texts: &[Vec<u8>]) -> Result<(), AuditError> {
        self.locked(|log| {
            let full = log.current.as_ref().is_none_or(|current| current.bytes >= log.limits.file);
            if full || log.fresh {
                log.begin()?;
            }
            let mut place = log.last;
            let mut lines = Vec::new();
            for text in texts {
                place = place.after(text);
                line::push_entry(&mut lines, &place, text);
            }
            let Some(current) = &mut log.current else { return Ok(()) };
            let written = current.file.write_all(&lines).and_then(|()| current.file.sync_data());
            if let Err(cause) = written {
                let _kept = current.file.set_len(current.bytes);
                log.fresh = true;
                return Err(AuditError::File { path: current.path.clone(), cause });
            }
            current.bytes = current.bytes.saturating_add(lines.len() as u64);
            log.last = place;
            Ok(())
        })
    }

    /// Removes the oldest file when there is too much, and the control plane has it or there is far too much.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) fn trim(&mut self, countersigned: u64) -> Result<Option<Trimmed>, AuditError> {
        self.locked(|log| {
            let files = files(&log.dir)?;
            let bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
            let [oldest, next, ..] = files.as_slice() else { return Ok(None) };
            let up_to = next.first.saturating_sub(1);
            let safe = up_to <= countersigned;
            if bytes <= log.limits.countersigned || (!safe && bytes <= log.limits.any) {
                return Ok(None);
            }
            fs::remove_file(&oldest.path).map_err(|cause| AuditError::File { path: oldest.path.clone(), cause })?;
            sync_dir(&log.dir)?;
            Ok(Some(Trimmed { up_to, countersigned: safe }))
        })
    }

    /// Reads at most `count` entries or `bytes` bytes of them from `number` on, or from the oldest that is left.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) fn read(&self, number: u64, count: usize, bytes: usize) -> Result<Vec<AuditEntry>, AuditError> {
        read(&self.dir, number, count, bytes)
    }

    /// Runs `work` while no other process writes, after taking in what one may have written.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, AuditError>) -> Result<T, AuditError> {
        let lock = self.lock.try_clone().map_err(|cause| self.fault(cause))?;
        lock.lock().map_err(|cause| self.fault(cause))?;
        let done = self.look().and_then(|()| work(self));
        // The lock belongs to the open file, which the log keeps.
        lock.unlock().map_err(|cause| self.fault(cause))?;
        done
    }

    fn fault(&self, cause: io::Error) -> AuditError {
        AuditError::File { path: self.dir.clone(), cause }
    }

    /// Finds the newest file and where the chain is, unless both are as this process left them.
    fn look(&mut self) -> Result<(), AuditError> {
        let newest = files(&self.dir)?.pop();
        let left = |current: &Current| newest.as_ref().is_some_and(|file| file.path == current.path && file.bytes == current.bytes);
        if self.current.as_ref().is_some_and(left) {
            return Ok(());
        }
        (self.current, self.last) = (None, Place::ORIGIN);
        while let Some(newest) = files(&self.dir)?.pop() {
            let fault = |cause| AuditError::File { path: newest.path.clone(), cause };
            let mut file = private().read(true).append(true).open(&newest.path).map_err(fault)?;
            let mut content = Vec::new();
            file.read_to_end(&mut content).map_err(fault)?;
            let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
            content.truncate(whole);
            if content.is_empty() {
                // Begun, and then the power went: nothing in it was ever told done.
                fs::remove_file(&newest.path).map_err(fault)?;
                continue;
            }
            let bytes = whole as u64;
            if bytes < newest.bytes {
                file.set_len(bytes).and_then(|()| file.sync_all()).map_err(fault)?;
            }
            file.seek(SeekFrom::End(0)).map_err(fault)?;
            // A damaged line is the check's to tell; the chain goes on behind the last one that can be read.
            let lines = content.strip_suffix(b"\n").unwrap_or(&content).split(|byte| *byte == b'\n');
            let mut place = Place { number: newest.first.saturating_sub(1), ..Place::ORIGIN };
            for (at, text) in lines.enumerate() {
                let read = if at == 0 { line::read_head(text) } else { line::read_entry(text).map(|entry| entry.place) };
                place = read.unwrap_or(place);
            }
            self.last = place;
            self.current = Some(Current { path: newest.path, file, bytes });
            break;
        }
        Ok(())
    }

    /// Begins a file.
    fn begin(&mut self) -> Result<(), AuditError> {
        let path = self.dir.join(name(self.last.number.saturating_add(1)));
        let fault = |cause| AuditError::File { path: path.clone(), cause };
        if self.fresh && self.current.as_ref().is_some_and(|current| current.path == path) {
            // The file whose write failed holds no entry yet: what it has is written again.
            fs::remove_file(&path).map_err(fault)?;
        }
        let mut file = private().append(true).create_new(true).open(&path).map_err(fault)?;
        give_to_owner_of(&self.dir, &file);
        let head = line::head(&self.last);
        let begun = file.write_all(head.as_bytes()).and_then(|()| file.sync_all());
        if let Err(cause) = begun {
            let _gone = fs::remove_file(&path);
            return Err(fault(cause));
        }
        sync_dir(&self.dir)?;
        self.current = Some(Current { path, file, bytes: head.len() as u64 });
        self.fresh = false;
        Ok(())
    }
}

/// One of the log's files.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Number of its first entry, by its name.
    pub(super) first: u64,
    /// Its size.
    pub(super) bytes: u64,
}

/// Lists the log's files, oldest first.
pub(super) fn files(dir: &Path) -> Result<Vec<LogFile>, AuditError> {
    let fault = |cause| AuditError::File { path: dir.to_owned(), cause };
    let mut found = Vec::new();
    for file in fs::read_dir(dir).map_err(fault)? {
        let file = file.map_err(fault)?;
        let name = file.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).filter(|digits| digits.len() == 20);
        let Some(first) = digits.and_then(|digits| digits.parse().ok()) else { continue };
        found.push(LogFile { path: file.path(), first, bytes: file.metadata().map_err(fault)?.len() });
    }
    found.sort_by_key(|file| file.first);
    Ok(found)
}

/// Reads at most `count` entries or `bytes` bytes of them from `number` on; lines that cannot be read are passed over.
pub(super) fn read(dir: &Path, number: u64, count: usize, bytes: usize) -> Result<Vec<AuditEntry>, AuditError> {
    let files = files(dir)?;
    let start = files.iter().rposition(|file| file.first <= number).unwrap_or(0);
    let (mut entries, mut size): (Vec<AuditEntry>, usize) = (Vec::new(), 0);
    for file in files.iter().skip(start) {
        let content = fs::read(&file.path).map_err(|cause| AuditError::File { path: file.path.clone(), cause })?;
        for entry in content.split(|byte| *byte == b'\n').filter_map(line::read_entry).filter(|entry| entry.place.number >= number) {
            size = size.saturating_add(entry.text.len());
            if entries.len() == count || (size > bytes && !entries.is_empty()) {
                return Ok(entries);
            }
            let (text, digest) = (entry.text.to_vec(), entry.place.digest.to_vec());
            entries.push(AuditEntry { number: entry.place.number, text, digest });
        }
    }
    Ok(entries)
}

fn name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// What the superuser makes at the command line must be the daemon's to go on with.
fn give_to_owner_of(dir: &Path, file: &File) {
    let (Ok(wanted), Ok(found)) = (fs::metadata(dir), file.metadata()) else { return };
    if (wanted.uid(), wanted.gid()) != (found.uid(), found.gid()) {
        let _others = std::os::unix::fs::fchown(file, Some(wanted.uid()), Some(wanted.gid()));
    }
}

fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|cause| AuditError::File { path: dir.to_owned(), cause })
}
