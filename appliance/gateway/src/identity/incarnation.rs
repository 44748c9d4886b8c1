//! Which start of the daemon this is: a number drawn at random, kept on the disk with those that it follows.
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

/// Starts that may pass without a session before the oldest but the first are forgotten.
const MAX_EARLIER: usize = 64;

/// This start, and those that it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// This one, never 0.
    pub(crate) current: u64,
    /// The last one that had a session, and all since: the control plane knows the first of them, and perhaps a later one.
    pub(crate) earlier: Vec<u64>,
    /// The oldest alert revision that a start found on this disk since the last session: of a disk that was set back, later starts
    /// find what came meanwhile, too. `None` once a session has given this start all that its disk forgot.
    pub(crate) found: Option<u64>,
}

/// As texts: JSON's numbers end at 2^53 in many readers.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    current: String,
    earlier: Vec<String>,
    #[serde(default)]
    found: Option<String>,
}

impl Incarnation {
    /// Draws this start, which found alerts up to revision `found`, and makes it durable in `dir`.
    ///
    /// # Errors
    /// [`IncarnationError`].
    pub(crate) fn begin(dir: &Path, found: u64) -> Result<Self, IncarnationError> {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IncarnationError::Random)?;
        let (mut earlier, oldest) = starts(&dir.join(FILE));
        if earlier.len() > MAX_EARLIER {
            // The first one had a session; of the others the latest may have had.
            earlier.drain(1..=earlier.len() - MAX_EARLIER);
        }
        let found = Some(oldest.map_or(found, |oldest| oldest.min(found)));
        let this = Self { current: u64::from_be_bytes(bytes).max(1), earlier, found };
        this.keep(dir)?;
        Ok(this)
    }

    /// Returns the start before this one; 0 for none.
    pub(crate) fn previous(&self) -> u64 {
        self.earlier.last().copied().unwrap_or(0)
    }

    /// Takes note that this start has a session: the next one follows it, and no earlier one counts.
    ///
    /// # Errors
    /// [`IncarnationError`].
    pub(crate) fn heard(&mut self, dir: &Path) -> Result<(), IncarnationError> {
        if self.earlier.is_empty() {
            return Ok(());
        }
        self.replace(dir, Self { current: self.current, earlier: Vec::new(), found: self.found })
    }

    /// Takes note that the disk has all that the control plane knows: what earlier starts found counts no more.
    ///
    /// # Errors
    /// [`IncarnationError`].
    pub(crate) fn healed(&mut self, dir: &Path) -> Result<(), IncarnationError> {
        if self.found.is_none() {
            return Ok(());
        }
        self.replace(dir, Self { found: None, ..self.clone() })
    }

    fn replace(&mut self, dir: &Path, with: Self) -> Result<(), IncarnationError> {
        with.keep(dir)?;
        *self = with;
        Ok(())
    }

    fn keep(&self, dir: &Path) -> Result<(), IncarnationError> {
        let text = |number: &u64| format!("{number:016x}");
        let stored =
            Stored { current: text(&self.current), earlier: self.earlier.iter().map(text).collect(), found: self.found.as_ref().map(text) };
        let path = dir.join(FILE);
        let text = serde_json::to_vec(&stored).map_err(|error| IdentityError::Malformed { path, reason: error.to_string() })?;
        Ok(renewed::replace(dir, FILE, &text)?)
    }
}

/// Returns the starts that the disk holds, in order, and the oldest revision that they found without a session. What cannot be read is as none: the control plane then asks whether another one
/// lives.
fn starts(path: &Path) -> (Vec<u64>, Option<u64>) {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the last start of the gateway cannot be read");
            }
            return (Vec::new(), None);
        }
    };
    let Stored { current, mut earlier, found } = serde_json::from_slice(&text).unwrap_or_default();
    earlier.push(current);
    let number = |text: &String| u64::from_str_radix(text, 16).ok();
    (earlier.iter().filter_map(number).collect(), found.as_ref().and_then(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_follows_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let first = Incarnation::begin(dir.path(), 7).unwrap();
        let second = Incarnation::begin(dir.path(), 7).unwrap();
        assert_eq!((first.previous(), second.previous()), (0, first.current));
        assert_ne!(first.current, second.current);
    }

    #[test]
    fn a_damaged_file_follows_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"current\":\"zz\",\"earlier\":[]}").unwrap();
        assert_eq!(Incarnation::begin(dir.path(), 7).unwrap().previous(), 0);
    }

    #[test]
    fn starts_without_a_session_keep_what_they_follow() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Incarnation::begin(dir.path(), 7).unwrap();
        known.heard(dir.path()).unwrap();
        let starts: Vec<u64> = (0..3).map(|_| Incarnation::begin(dir.path(), 7).unwrap().current).collect();
        let mut last = Incarnation::begin(dir.path(), 7).unwrap();
        assert_eq!(last.earlier, [known.current, starts[0], starts[1], starts[2]]);
        last.heard(dir.path()).unwrap();
        assert_eq!(Incarnation::begin(dir.path(), 7).unwrap().earlier, [last.current]);
    }

    #[test]
    fn of_very_many_starts_without_a_session_the_known_one_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Incarnation::begin(dir.path(), 7).unwrap();
        known.heard(dir.path()).unwrap();
        for _ in 0..2 * MAX_EARLIER {
            Incarnation::begin(dir.path(), 7).unwrap();
        }
        let last = Incarnation::begin(dir.path(), 7).unwrap();
        assert_eq!((last.earlier.len(), last.earlier[0]), (MAX_EARLIER, known.current));
    }

    #[test]
    fn the_oldest_state_that_was_found_counts_until_the_disk_has_all_back() {
        let dir = tempfile::tempdir().unwrap();
        let found = |found| Incarnation::begin(dir.path(), found).unwrap();
        assert_eq!((found(5).found, found(9).found, found(7).found), (Some(5), Some(5), Some(5)));
        found(8).heard(dir.path()).unwrap();
        assert_eq!(found(9).found, Some(5), "a session alone gives nothing back");
        found(8).healed(dir.path()).unwrap();
        assert_eq!(found(9).found, Some(9));
    }
}
