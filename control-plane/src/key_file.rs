//! Files that hold secrets: made anew with mode 0600, flushed to disk, refused when others may read them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest key file that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a file with a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be made.
    #[error("cannot make {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("{path} has mode {mode:o}: others may read it; set it to 600")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the folder `path` with mode 0700; its parent must exist.
///
/// # Errors
/// [`KeyFileError::Create`], also when it exists.
pub fn create_folder(path: &Path) -> Result<(), KeyFileError> {
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(|source| KeyFileError::Create { path: path.to_owned(), source })
}

/// Writes a new file with mode 0600, durably.
///
/// # Errors
/// [`KeyFileError::Create`], also when it exists.
pub fn create(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let fail = |source| KeyFileError::Create { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(fail)?;
    sync_parent(path).map_err(fail)
}

/// Replaces a file that anyone may read as a whole, by rename.
///
/// # Errors
/// [`KeyFileError::Create`] when it cannot be written.
pub fn replace_public(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let fail = |source| KeyFileError::Create { path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary).map_err(fail)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&temporary, path).and_then(|()| sync_parent(path)).map_err(fail)
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// [`KeyFileError::Open`] when others may read it, [`KeyFileError::Read`] when it cannot be read or is not text.
pub fn read(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let fail = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

/// Reads a text file that anyone may read, for example a certificate.
///
/// # Errors
/// [`KeyFileError::Read`] when it cannot be read or is not text.
pub fn read_public(path: &Path) -> Result<String, KeyFileError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map(|_| text).map_err(|source| KeyFileError::Read { path: path.to_owned(), source })
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"secret").unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Open { mode: 0o640, .. })));
    }

    #[test]
    fn a_bare_file_name_lies_in_the_present_folder() {
        assert!(sync_parent(Path::new("key")).is_ok());
    }

    #[test]
    fn an_existing_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"first").unwrap();
        assert!(create(&path, b"second").is_err());
        assert_eq!(read(&path).unwrap().as_str(), "first");
    }
}
