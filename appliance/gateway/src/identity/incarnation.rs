//! Which start of the daemon this is: a number drawn at random, kept on the disk with the one before.
//!
//! The control plane holds the chain of a gateway's starts: a start that does not continue it comes from a disk that was set back, or from
//! a copy of it. Drawn once the spool's lock says that no other daemon runs on this directory.

use std::fs;
use std::io;
use std::path::Path;

use postern_uplink::identity::IdentityError;
use postern_uplink::identity::renewed;
use serde::{Deserialize, Serialize};

const FILE: &str = "incarnation.json";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncarnationError {
    /// The file cannot be written.
    #[error("this start of the gateway cannot be kept")]
    File(#[from] IdentityError),
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

/// This start and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// This one, never 0.
    pub(crate) current: u64,
    /// The one that the disk held; 0 for none.
    pub(crate) previous: u64,
}

/// As texts: JSON's numbers end at 2^53 in many readers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    current: String,
    previous: String,
}

impl Incarnation {
    /// Draws this start and makes it durable in `dir`.
    ///
    /// # Errors
    /// [`IncarnationError`].
    pub(crate) fn begin(dir: &Path) -> Result<Self, IncarnationError> {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IncarnationError::Random)?;
        let this = Self { current: u64::from_be_bytes(bytes).max(1), previous: last(&dir.join(FILE)) };
        let stored = Stored { current: format!("{:016x}", this.current), previous: format!("{:016x}", this.previous) };
        let path = dir.join(FILE);
        let text = serde_json::to_vec(&stored).map_err(|error| IdentityError::Malformed { path, reason: error.to_string() })?;
        renewed::replace(dir, FILE, &text)?;
        Ok(this)
    }
}

/// Returns the start that the disk holds. What cannot be read is as none: the control plane then asks whether another one lives.
fn last(path: &Path) -> u64 {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the last start of the gateway cannot be read");
            }
            return 0;
        }
    };
    let stored: Option<Stored> = serde_json::from_slice(&text).ok();
    stored.and_then(|stored| u64::from_str_radix(&stored.current, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_follows_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let first = Incarnation::begin(dir.path()).unwrap();
        let second = Incarnation::begin(dir.path()).unwrap();
        assert_eq!((first.previous, second.previous), (0, first.current));
        assert_ne!(first.current, second.current);
    }

    #[test]
    fn a_damaged_file_follows_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"current\":\"zz\",\"previous\":\"\"}").unwrap();
        assert_eq!(Incarnation::begin(dir.path()).unwrap().previous, 0);
    }
}
