//! The files of the spool: making, listing, reading and removing them, so that each step is durable before the next builds on it.
//!
//! No knowledge of the format beyond file names. Called by recovery, the writer and the reader.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::segment::SegmentId;

const BLOCK_BYTES: usize = 4096;

/// The spool's directory, held by this process alone.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory when absent, and takes it for this process.
    pub(crate) fn take(path: &Path) -> Result<Self, SpoolError> {
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

    /// Returns the path of a segment's file.
    pub(crate) fn path_of(&self, id: SegmentId) -> PathBuf {
        self.path.join(id.file_name())
    }

    /// Lists the segments by number. Two of one number cannot be: the writer never reuses one.
    pub(crate) fn list(&self) -> Result<Vec<SegmentId>, SpoolError> {
        let at = |cause| SpoolError::File { path: self.path.clone(), cause };
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(at)? {
            let name = entry.map_err(at)?.file_name();
            match name.to_str().and_then(SegmentId::from_file_name) {
                Some(id) => segments.push(id),
                None if name == "lock" => {}
                None => tracing::warn!(?name, "a foreign file lies in the spool"),
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Makes the file of a new segment; its name is durable on return.
    pub(crate) fn create(&self, id: SegmentId) -> Result<File, SpoolError> {
        let path = self.path_of(id);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = made.map_err(|cause| SpoolError::File { path, cause })?;
        self.sync()?;
        Ok(file)
    }

    /// Removes the files of segments.
    pub(crate) fn remove(&self, ids: &[SegmentId]) -> Result<(), SpoolError> {
        for id in ids {
            let path = self.path_of(*id);
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(SpoolError::File { path, cause }),
                Err(_) | Ok(()) => {}
            }
        }
        if ids.is_empty() { Ok(()) } else { self.sync() }
    }

    /// Writes the part of a segment from `offset` again as it was read, ends the file behind it, and makes that durable.
    ///
    /// Written again, since after a failed fsync the kernel may hold pages for clean that never reached the disk.
    pub(crate) fn settle(&self, id: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), SpoolError> {
        let path = self.path_of(id);
        let settle = || {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(offset.saturating_add(bytes.len() as u64))?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        settle().map_err(|cause| SpoolError::File { path: path.clone(), cause })
    }

    /// Reads a part of a segment, up to `most` bytes from `offset`. Blocks that the disk cannot read come back as zeros.
    ///
    /// # Errors
    /// When the file cannot be opened; `NotFound` when it was trimmed meanwhile.
    pub(crate) fn read(&self, id: SegmentId, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path_of(id))?;
        let length = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; length];
        if read_at(&mut file, offset, &mut bytes).is_err() {
            let mut place = offset;
            for block in bytes.chunks_mut(BLOCK_BYTES) {
                if let Err(error) = read_at(&mut file, place, block) {
                    tracing::warn!(segment = id.number, offset = place, %error, "a block of the spool is unreadable");
                    block.fill(0);
                }
                place = place.saturating_add(BLOCK_BYTES as u64);
            }
        }
        Ok(bytes)
    }

    fn sync(&self) -> Result<(), SpoolError> {
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(|cause| SpoolError::File { path: self.path.clone(), cause })
    }
}

fn read_at(file: &mut File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(into)
}
