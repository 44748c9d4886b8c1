//! The vault's files: private, replaced as a whole or not at all, durable once written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::VaultError;

/// Makes the vault's directory, unless it is there.
///
/// # Errors
/// [`VaultError::File`].
pub(super) fn make_dir(dir: &Path) -> Result<(), VaultError> {
    DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(|cause| VaultError::File { path: dir.to_owned(), cause })
}

/// Reads a file; `None` when there is none.
///
/// # Errors
/// [`VaultError::File`].
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(VaultError::File { path: path.to_owned(), cause }),
    }
}

/// Replaces a file, durably.
///
/// # Errors
/// [`VaultError::File`]; the file then holds what it held before.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let staged = path.with_extension("new");
    let write = || {
        // A name of an earlier, torn write may be there, with whatever mode.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&staged, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|cause| VaultError::File { path: path.to_owned(), cause })
}
