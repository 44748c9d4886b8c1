//! What the spool needs of a disk: a directory of files, each step of which is made durable on demand.
//!
//! Implemented by [`super::disk::Disk`] and by the simulation's disk, which tears, loses, fills up and fails. No knowledge of the
//! format. A file system may lose whatever was not synced: a file's bytes and length until [`Storage::sync_data`], a name (made,
//! renamed, removed) until [`Storage::sync_dir`].

use std::io;

const BLOCK_BYTES: usize = 4096;

/// A directory of files. `StorageFull` means that there is no room now; any other error of a write or a sync is a fault of the disk.
pub trait Storage: Send + Sync + 'static {
    /// A file that is open for writing.
    type File: Send;

    /// Lists the names of the files; directories are left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `preallocated` zeros that have their room on the disk. When that fails, no file is left behind.
    ///
    /// # Errors
    /// `StorageFull`, `AlreadyExists`, or a fault.
    fn create(&self, name: &str, preallocated: u64) -> io::Result<Self::File>;

    /// Opens a file for writing.
    ///
    /// # Errors
    /// When it is not there, or a fault.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// `StorageFull`, after which any part of it may be written; or a fault.
    fn write_at(&self, file: &mut Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's bytes and its length durable.
    ///
    /// # Errors
    /// Any error means that nobody knows what is on the disk.
    fn sync_data(&self, file: &mut Self::File) -> io::Result<()>;

    /// Cuts the file to `bytes`.
    ///
    /// # Errors
    /// A fault.
    fn truncate(&self, file: &mut Self::File, bytes: u64) -> io::Result<()>;

    /// Returns the length of a file.
    ///
    /// # Errors
    /// `NotFound`, or a fault.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Reads from `offset` and returns how much: all of `into`, unless the file ends before.
    ///
    /// # Errors
    /// `NotFound`, or a fault of the medium.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Renames a file, in place of another one if there is one: after a crash the name has the one or the other, whole.
    ///
    /// # Errors
    /// `StorageFull`, or a fault.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or a fault.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: those of files that were made, renamed and removed.
    ///
    /// # Errors
    /// As for [`Storage::sync_data`].
    fn sync_dir(&self) -> io::Result<()>;

    /// Returns the bytes that are free on the disk.
    ///
    /// # Errors
    /// A fault.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Keeps a copy of a damaged file for a person to look at, in place of the oldest beyond a few; a copy that is there stays.
    ///
    /// # Errors
    /// When it cannot be kept; the spool goes on without.
    fn keep_damaged(&self, name: &str) -> io::Result<()>;

    /// Lists the copies that are kept.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn damaged(&self) -> io::Result<Vec<String>>;

    /// Says where a file is, for people.
    fn place_of(&self, name: &str) -> std::path::PathBuf;
}

/// Reads a part of a file, up to `most` bytes from `offset`. Blocks that the disk cannot read come back as zeros.
///
/// # Errors
/// `NotFound`, and what keeps the length from being known.
pub(crate) fn read(storage: &impl Storage, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(storage.length(name)?.saturating_sub(offset)).unwrap_or(usize::MAX).min(most);
    let mut bytes = vec![0; length];
    match fill(storage, name, offset, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(cause),
        Err(_) => {
            let mut place = offset;
            for block in bytes.chunks_mut(BLOCK_BYTES) {
                if let Err(error) = fill(storage, name, place, block) {
                    tracing::warn!(name, offset = place, %error, "a block of the spool is unreadable");
                    block.fill(0);
                }
                place = place.saturating_add(BLOCK_BYTES as u64);
            }
            Ok(bytes)
        }
    }
}

fn fill(storage: &impl Storage, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let read = storage.read_at(name, offset, into)?;
    if read == into.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
