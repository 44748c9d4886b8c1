//! Files that only root writes: made whole or not at all, and never through a link that someone else could have laid.
//!
//! Every name is opened relative to a directory that was checked to belong to this user and to be writable by no one else. In such
//! a directory nobody can swap a name between two calls.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, geteuid, unlinkat};

const CHUNK_BYTES: usize = 4096;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot access {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Longer than it may be.
    #[error("{} is longer than {most} bytes", path.display())]
    Long {
        /// Which file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A link, a device, a second name of another file.
    #[error("{} is not a plain file", path.display())]
    Odd {
        /// Which file.
        path: PathBuf,
    },
    /// Someone else could change it.
    #[error("{} does not belong to this user alone: its owner or mode is wrong", path.display())]
    Shared {
        /// Which directory.
        path: PathBuf,
    },
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    /// Other owner and group than this user's.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Access {
    /// This user's only.
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, owner: None };
    /// Everyone reads.
    pub(crate) const PUBLIC: Self = Self { mode: 0o644, owner: None };
}

/// A directory that belongs to this user alone.
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// [`FileError::Shared`] when another user owns it or may write there; [`FileError::Io`], also for a symbolic link.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| io(path, errno))?;
        let stat = fstat(&fd).map_err(|errno| io(path, errno))?;
        if Uid::from_raw(stat.st_uid) != geteuid() || stat.st_mode & 0o022 != 0 {
            return Err(FileError::Shared { path: path.to_owned() });
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the directory at `path`, made with mode 0755 when absent.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub(crate) fn open_or_create(path: &Path) -> Result<Self, FileError> {
        use std::os::unix::fs::DirBuilderExt as _;
        match std::fs::DirBuilder::new().mode(0o755).create(path) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(FileError::Io { path: path.to_owned(), cause }),
            _ => Self::open(path),
        }
    }

    /// Reads a plain file of at most `most` bytes; `None` when there is none.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.path.join(name);
        let Some((file, _)) = self.existing(name, OFlag::O_RDONLY | OFlag::O_NONBLOCK)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|cause| FileError::Io { path: path.clone(), cause })?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
            return Err(FileError::Long { path, most });
        }
        Ok(Some(bytes))
    }

    /// Reads a plain UTF-8 file, as [`Dir::read`].
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn read_text(&self, name: &str, most: u64) -> Result<Option<String>, FileError> {
        let Some(bytes) = self.read(name, most)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some)
            .map_err(|error| FileError::Io { path: self.path.join(name), cause: io::Error::new(io::ErrorKind::InvalidData, error) })
    }

    /// Tells whether there is something of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        nix::sys::stat::fstatat(&self.fd, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes a file whole, synced and in place of what was there.
    ///
    /// # Errors
    /// [`FileError::Io`]; then the old file is as it was.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], access: Access) -> Result<(), FileError> {
        let path = self.path.join(name);
        let cannot = |errno| io(&path, errno);
        let new = format!(".{name}.new");
        match unlinkat(&self.fd, new.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(cannot(errno)),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, new.as_str(), flags, Mode::from_bits_truncate(0o600)).map_err(cannot)?;
        let mut file = File::from(fd);
        file.write_all(bytes).map_err(|cause| FileError::Io { path: path.clone(), cause })?;
        // In this order root needs no capability to change the mode of another user's file.
        fchmod(file.as_fd(), Mode::from_bits_truncate(access.mode)).map_err(cannot)?;
        if let Some((uid, gid)) = access.owner {
            fchown(file.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(cannot)?;
        }
        fsync(file.as_fd()).map_err(cannot)?;
        renameat(&self.fd, new.as_str(), &self.fd, name).map_err(cannot)?;
        self.sync()
    }

    /// Opens a plain file to append to, made with mode 0600 when absent; returns its length too.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn append(&self, name: &str) -> Result<(File, u64), FileError> {
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK;
        match self.existing(name, flags)? {
            Some((file, stat)) => Ok((file, u64::try_from(stat.st_size).unwrap_or_default())),
            None => Err(io(&self.path.join(name), Errno::ENOENT)),
        }
    }

    /// Gives a file another name, which nobody has yet.
    ///
    /// # Errors
    /// [`FileError::Io`], also when there is a file of the new name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        if self.has(to) {
            return Err(io(&self.path.join(to), Errno::EEXIST));
        }
        renameat(&self.fd, from, &self.fd, to).map_err(|errno| io(&self.path.join(from), errno))?;
        self.sync()
    }

    /// Removes a file; none is fine.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub(crate) fn remove(&self, name: &str) -> Result<(), FileError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => self.sync(),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(io(&self.path.join(name), errno)),
        }
    }

    /// Overwrites a file with zeros, syncs and removes it; none is fine. What is not a plain file is only removed.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub(crate) fn erase(&self, name: &str) -> Result<(), FileError> {
        let path = self.path.join(name);
        let cannot = |cause| FileError::Io { path: path.clone(), cause };
        match self.existing(name, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
            Ok(Some((mut file, stat))) => {
                let mut left = usize::try_from(stat.st_size).unwrap_or_default();
                while left > 0 {
                    let chunk = left.min(CHUNK_BYTES);
                    file.write_all([0; CHUNK_BYTES].get(..chunk).unwrap_or_default()).map_err(cannot)?;
                    left = left.saturating_sub(chunk);
                }
                file.sync_all().map_err(cannot)?;
            }
            Ok(None) => return Ok(()),
            Err(FileError::Odd { .. }) => {}
            Err(error) => return Err(error),
        }
        self.remove(name)
    }

    /// Opens a plain file that has no second name.
    fn existing(&self, name: &str, flags: OFlag) -> Result<Option<(File, FileStat)>, FileError> {
        let path = self.path.join(name);
        let mode = Mode::from_bits_truncate(0o600);
        let fd = match openat(&self.fd, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, mode) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENXIO) => return Err(FileError::Odd { path }),
            Err(errno) => return Err(io(&path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| io(&path, errno))?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG || stat.st_nlink != 1 {
            return Err(FileError::Odd { path });
        }
        Ok(Some((File::from(fd), stat)))
    }

    fn sync(&self) -> Result<(), FileError> {
        fsync(&self.fd).map_err(|errno| io(&self.path, errno))
    }
}

/// Reads what another program wrote, at most `most` bytes; `None` when there is no such plain file of that length.
///
/// The file's directory may be another user's, so neither a link is followed nor a pipe waited for.
pub(crate) fn read_foreign(path: &Path, most: u64) -> Option<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(nix::fcntl::open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    if u64::try_from(bytes.len()).ok()? > most {
        return None;
    }
    String::from_utf8(bytes).ok()
}

fn io(path: &Path, errno: Errno) -> FileError {
    FileError::Io { path: path.to_owned(), cause: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn a_file_is_written_whole_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = Dir::open(dir.path()).unwrap();
        at.write("a", b"one", Access::PRIVATE).unwrap();
        at.write("a", b"two", Access::PUBLIC).unwrap();
        assert_eq!(at.read_text("a", 3).unwrap().unwrap(), "two");
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777, 0o644);
        assert!(matches!(at.read("a", 2), Err(FileError::Long { .. })));
        assert!(at.read("b", 2).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_laid_link_is_neither_read_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(victim.path(), "victim").unwrap();
        for name in ["a", ".a.new"] {
            symlink(victim.path(), dir.path().join(name)).unwrap();
        }
        let at = Dir::open(dir.path()).unwrap();
        assert!(matches!(at.read("a", 10), Err(FileError::Odd { .. })));
        at.write("a", b"ours", Access::PRIVATE).unwrap();
        symlink(victim.path(), dir.path().join("token")).unwrap();
        at.erase("token").unwrap();
        std::fs::hard_link(victim.path(), dir.path().join("hard")).unwrap();
        assert!(matches!(at.read("hard", 10), Err(FileError::Odd { .. })));
        at.erase("hard").unwrap();
        assert_eq!(std::fs::read_to_string(victim.path()).unwrap(), "victim");
        assert!(!at.has("token") && !at.has("hard"));
    }

    #[test]
    fn a_pipe_in_place_of_a_file_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("p"), Mode::from_bits_truncate(0o600)).unwrap();
        let at = Dir::open(dir.path()).unwrap();
        assert!(matches!(at.read("p", 10), Err(FileError::Odd { .. })));
        at.erase("p").unwrap();
        assert!(!at.has("p"));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Dir::open(dir.path()), Err(FileError::Shared { .. })));
        symlink("/etc", dir.path().join("link")).unwrap();
        assert!(matches!(Dir::open(&dir.path().join("link")), Err(FileError::Io { .. })));
    }

    #[test]
    fn what_is_erased_is_zero_on_the_disk_before_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = Dir::open(dir.path()).unwrap();
        at.write("token", &[b'x'; 10_000], Access::PRIVATE).unwrap();
        let mut held = File::open(dir.path().join("token")).unwrap();
        at.erase("token").unwrap();
        let mut left = Vec::new();
        held.read_to_end(&mut left).unwrap();
        assert!(left.len() == 10_000 && left.iter().all(|byte| *byte == 0));
        assert!(!at.has("token"));
    }

    #[test]
    fn renaming_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let at = Dir::open(dir.path()).unwrap();
        at.write("a", b"", Access::PUBLIC).unwrap();
        at.write("b", b"", Access::PUBLIC).unwrap();
        assert!(at.rename("a", "b").is_err());
        at.rename("a", "c").unwrap();
        assert!(at.has("c") && !at.has("a"));
    }
}
