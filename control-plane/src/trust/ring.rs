//! The key ring: which of the keys in the `keys` folder are in use, and which come next. One small file, `ring.json`, replaced as a
//! whole; without it the keys that `init` made are in use.
//!
//! Every change of it raises `serial`, under which gateways keep what they were told. `since` says with which serial something became
//! part of that: a gateway that confirmed it, or a later one, has it.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::key_file::{self, KeyFileError};

/// Name of the file.
pub const FILE: &str = "ring.json";

const LOCK: &str = "ring.lock";

/// Why the ring cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The file is there and is not a ring.
    #[error("keys/{FILE} is damaged: put it back from a backup, with the keys that it names")]
    Damaged(#[source] serde_json::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Another process changes it, or the lock's file cannot be made.
    #[error("keys/{LOCK} cannot be locked")]
    Lock(#[source] std::io::Error),
}

/// Which keys are in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// Grows with every change.
    pub serial: u64,
    /// Name of the certificate authority.
    pub authority: String,
    /// The one that takes its place.
    pub next_authority: Option<NextAuthority>,
    /// Name of the tunnel's key.
    pub tunnel: String,
    /// The key that takes its place: pinned by every gateway before it does.
    pub next_tunnel: NextKey,
    /// Keys that were made after `init`: the number in the name of the last one.
    pub made: u64,
    /// Further addresses (`host:port`) at which gateways find this control plane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// A certificate authority that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextAuthority {
    /// Its name.
    pub name: String,
    /// Serial of the ring that first had it.
    pub since: u64,
    /// How far the change is.
    pub stage: Stage,
}

/// How far the change of the certificate authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Gateways are told to trust it; it issues nothing for them.
    Prepared,
    /// It issues; certificates of the one before are still good.
    Switched,
}

/// A key of the tunnel that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextKey {
    /// Its name.
    pub name: String,
    /// Serial of the ring that first had it; 0 for the one of `init`, which every gateway got at its enrolment.
    pub since: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            serial: 0,
            authority: "ca".to_owned(),
            next_authority: None,
            tunnel: "tunnel".to_owned(),
            next_tunnel: NextKey { name: "tunnel-backup".to_owned(), since: 0 },
            made: 0,
            addresses: Vec::new(),
        }
    }
}

impl Ring {
    /// Reads the ring of `folder`.
    ///
    /// # Errors
    /// [`RingError`] when there is one that cannot be read.
    pub fn load(folder: &Path) -> Result<Self, RingError> {
        let text = match key_file::read_public(&folder.join(FILE)) {
            Err(KeyFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text?,
        };
        serde_json::from_str(&text).map_err(RingError::Damaged)
    }

    /// Changes the ring of `folder` durably, one process at a time; what `change` refuses stays undone.
    ///
    /// # Errors
    /// What `change` says, or [`RingError`].
    pub fn change<T, E: From<RingError>>(folder: &Path, change: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let lock = File::create(folder.join(LOCK)).map_err(RingError::Lock)?;
        // Unlocked when the file is closed.
        lock.lock().map_err(RingError::Lock)?;
        let mut ring = Self::load(folder)?;
        let before = ring.clone();
        let done = change(&mut ring)?;
        if ring != before {
            ring.serial = ring.serial.max(before.serial.saturating_add(1));
            let text = serde_json::to_string_pretty(&ring).map_err(RingError::Damaged)?;
            key_file::replace_public(&folder.join(FILE), text.as_bytes()).map_err(RingError::File)?;
        }
        Ok(done)
    }

    /// Returns the name of a key that was never used before.
    pub(crate) fn fresh_name(&mut self, kind: &str) -> String {
        self.made = self.made.saturating_add(1);
        format!("{kind}-{}", self.made.saturating_add(1))
    }

    /// Returns the serial that the change under way will have.
    pub(crate) fn coming_serial(&self) -> u64 {
        self.serial.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_kept_under_the_next_serial_and_a_refused_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Ring::load(folder.path()).unwrap(), Ring::default());
        Ring::change::<_, RingError>(folder.path(), |ring| {
            ring.tunnel = ring.fresh_name("tunnel");
            Ok(())
        })
        .unwrap();
        let kept = Ring::load(folder.path()).unwrap();
        assert_eq!((kept.serial, kept.tunnel.as_str()), (1, "tunnel-2"));
        let refused = Ring::change(folder.path(), |ring| {
            ring.authority = "other".to_owned();
            Err::<(), _>(RingError::Lock(std::io::ErrorKind::Other.into()))
        });
        assert!(refused.is_err());
        assert_eq!(Ring::load(folder.path()).unwrap(), kept);
    }

    #[test]
    fn a_damaged_ring_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(matches!(Ring::load(folder.path()), Err(RingError::Damaged(_))));
    }
}
