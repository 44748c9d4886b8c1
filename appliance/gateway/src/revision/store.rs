//! The three revisions that a gateway keeps: the newest that was ever taken in, the one in force, and the last confirmed one.
//!
//! `newest.json`, `effective.json` and `confirmed.json` in one directory, written to a temporary file, synced and renamed. A file
//! that is damaged counts as absent and is told: the cloud sends again what is missing. No file stands for the built-in rules.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use postern_protocol::id::RevisionNumber;
use postern_protocol::message::SignedRevision;
use postern_protocol::revision::Problem;
use serde::{Deserialize, Serialize};

use super::trial::Kept;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The last one that was confirmed.
    Confirmed,
    /// The one in force.
    Effective,
    /// The newest that was taken in.
    Newest,
}

impl Slot {
    const fn file_name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed.json",
            Self::Effective => "effective.json",
            Self::Newest => "newest.json",
        }
    }
}

/// Why a revision cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot access {}", path.display())]
pub struct StoreError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: io::Error,
}

/// A revision as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// The revision as it came.
    pub(crate) signed: SignedRevision,
    /// Why it was refused or taken back; empty when it was not.
    pub(crate) problems: Vec<Problem>,
    /// Whether it was in force on trial and was taken back.
    pub(crate) taken_back: bool,
    /// Its trial, while it is on one.
    pub(crate) trial: Option<Kept>,
}

impl Stored {
    /// Takes a revision as it came.
    pub(crate) const fn new(signed: SignedRevision) -> Self {
        Self { signed, problems: Vec::new(), taken_back: false, trial: None }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFile {
    number: RevisionNumber,
    document: String,
    signature: String,
    #[serde(default)]
    problems: Vec<Problem>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    taken_back: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<Kept>,
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    /// Uses `dir`, which is made when absent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
        made.map_err(|cause| StoreError { path: dir.to_owned(), cause })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Reads one slot; `None` when it is empty or damaged.
    pub(crate) fn read(&self, slot: Slot) -> Option<Stored> {
        let path = self.dir.join(slot.file_name());
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(path = %path.display(), error = %error, "a stored revision cannot be read");
                return None;
            }
        };
        let stored = decode(&text);
        if stored.is_none() {
            tracing::error!(path = %path.display(), "a stored revision is damaged");
        }
        stored
    }

    /// Replaces one slot, durably.
    ///
    /// # Errors
    /// [`StoreError`]; the slot then holds what it held before.
    pub(crate) fn write(&self, slot: Slot, stored: &Stored) -> Result<(), StoreError> {
        let path = self.dir.join(slot.file_name());
        let file = StoredFile {
            number: RevisionNumber(stored.signed.number),
            document: BASE64.encode(&stored.signed.document),
            signature: BASE64.encode(&stored.signed.signature),
            problems: stored.problems.clone(),
            taken_back: stored.taken_back,
            trial: stored.trial,
        };
        let write = || {
            let text = serde_json::to_vec_pretty(&file)?;
            let staged = path.with_extension("new");
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            out.write_all(&text)?;
            out.sync_all()?;
            fs::rename(&staged, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|cause| StoreError { path: path.clone(), cause })
    }

    /// Empties one slot, durably.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn clear(&self, slot: Slot) -> Result<(), StoreError> {
        let path = self.dir.join(slot.file_name());
        let clear = || match fs::remove_file(&path) {
            Ok(()) => File::open(&self.dir)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        clear().map_err(|cause| StoreError { path: path.clone(), cause })
    }
}

fn decode(text: &[u8]) -> Option<Stored> {
    let file: StoredFile = serde_json::from_slice(text).ok()?;
    let signed = SignedRevision {
        number: file.number.0,
        document: BASE64.decode(file.document.as_bytes()).ok()?,
        signature: BASE64.decode(file.signature.as_bytes()).ok()?,
    };
    Some(Stored { signed, problems: file.problems, taken_back: file.taken_back, trial: file.trial })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_as_it_was_written_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("revisions")).unwrap();
        assert_eq!(store.read(Slot::Effective), None);
        let problem = Problem { path: "rules[0]".into(), line: 1, column: 2, reason: "bad".into() };
        let signed = SignedRevision { number: 3, document: b"{\xff}".to_vec(), signature: vec![1; 64] };
        let kept = Kept { until: 7, until_since_boot_ms: 8, within_s: 9, unclean_starts: 1, stopped: true };
        let stored = Stored { signed, problems: vec![problem], taken_back: true, trial: Some(kept) };
        store.write(Slot::Newest, &stored).unwrap();
        assert_eq!(store.read(Slot::Newest), Some(stored));
        fs::write(dir.path().join("revisions/newest.json"), b"{").unwrap();
        assert_eq!(store.read(Slot::Newest), None);
        store.clear(Slot::Newest).unwrap();
        store.clear(Slot::Newest).unwrap();
        assert!(!dir.path().join("revisions/newest.json").exists());
    }
}
