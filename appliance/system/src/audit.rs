//! The broker's audit: one JSON line per event, each with the hash of the line before it.
//!
//! A line is a JSON object whose last member is `hash`: the SHA-256, in hex, of the same object without that member. `previous` is
//! the `hash` of the line before, across files and restarts; zeros for the first line of all. A line is on the disk before the
//! broker acts. Only the broker writes; [`verify`] needs nothing but the text.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::files::{Dir, FileError};
use crate::veto::Listener;

const NAME: &str = "audit.jsonl";
/// A file that has grown so long is set aside.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// So many files are set aside, `audit.1.jsonl` the newest.
const MAX_OLD_FILES: u32 = 8;
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A line is never longer: requests are bounded.
const MAX_LINE_BYTES: u64 = 512 * 1024;

/// Why the audit cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another broker has it.
    #[error("another broker writes the audit")]
    Busy,
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be written or synced.
    #[error("the audit cannot be written")]
    Write(#[source] std::io::Error),
}

/// Something worth a line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The boot program did its work.
    Boot {
        /// What went wrong, if anything.
        problems: Vec<String>,
    },
    /// Other ports are open than before.
    Firewall {
        /// Listeners whose ports are open.
        open: Vec<Listener>,
        /// Whether SSH's port is.
        ssh: bool,
    },
    /// What came of a request.
    Outcome {
        /// `sequence` of the request.
        of: u64,
        /// `ok`, `refused` or `failed`.
        outcome: &'static str,
        /// Why not.
        reason: Option<String>,
    },
    /// Someone wants something; written before it is done.
    Request {
        /// User id of the peer.
        uid: u32,
        /// Process id of the peer.
        pid: i32,
        /// The account, when it is one of ours.
        who: Option<&'static str>,
        /// What, without secrets.
        verb: Value,
    },
    /// SSH went off by its time.
    SshExpired {},
    /// The broker started.
    Start {
        /// Its version.
        version: &'static str,
    },
    /// The last line of the file was not whole: power was cut, or someone touched it.
    TornTail {
        /// Bytes that are no line.
        bytes: u64,
    },
    /// A user asks too often; what it asks is counted only, until it is quiet.
    Throttled {
        /// The user.
        uid: u32,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    sequence: u64,
    time: String,
    previous: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// What of a line ties it to the others.
#[derive(Deserialize)]
struct Link {
    sequence: u64,
    previous: String,
    hash: String,
}

/// The open audit. One at a time: the file is locked.
pub(crate) struct Audit {
    dir: Dir,
    file: Flock<File>,
    length: u64,
    next: u64,
    previous: String,
}

impl Audit {
    /// Opens the audit in the directory at `path` and goes on behind its last whole line.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        let dir = Dir::open(path)?;
        let (file, length) = lock(&dir)?;
        let mut audit = Self { dir, file, length, next: 1, previous: FIRST.to_owned() };
        let tail = audit.tail()?;
        let whole_end = tail.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let (whole, torn) = tail.split_at(whole_end);
        let last = whole.lines().rev().find_map(|line| link(line).ok());
        let good_end = whole.lines().next_back().is_none_or(|line| link(line).is_ok());
        match last {
            Some(link) => (audit.next, audit.previous) = (link.sequence.saturating_add(1), link.hash),
            // An empty file follows one that was set aside, or nothing.
            None => audit.follow_old_file()?,
        }
        if !torn.is_empty() || !good_end {
            if !torn.is_empty() {
                audit.write(b"\n")?;
            }
            let bytes = if torn.is_empty() { whole.lines().next_back().map_or(0, str::len) } else { torn.len() };
            audit.append(&Event::TornTail { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) })?;
        }
        Ok(audit)
    }

    /// Writes one line and syncs it; returns its sequence.
    ///
    /// # Errors
    /// [`AuditError`]: then what was to be done must not be done.
    pub(crate) fn append(&mut self, event: &Event) -> Result<u64, AuditError> {
        if self.length > MAX_FILE_BYTES {
            self.set_aside()?;
        }
        let time = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let sequence = self.next;
        let json = serde_json::to_string(&Line { sequence, time, previous: &self.previous, event });
        let body = json.map_err(|error| AuditError::Write(error.into()))?;
        let hash = hash(&body);
        let open = body.strip_suffix('}').unwrap_or(&body);
        self.write(format!("{open},\"hash\":\"{hash}\"}}\n").as_bytes())?;
        self.file.sync_data().map_err(AuditError::Write)?;
        self.next = sequence.saturating_add(1);
        self.previous = hash;
        Ok(sequence)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        self.file.write_all(bytes).map_err(AuditError::Write)?;
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Reads the end of the file, where at least one whole line is if there is any.
    fn tail(&mut self) -> Result<String, AuditError> {
        let start = self.length.saturating_sub(MAX_LINE_BYTES.saturating_mul(2));
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(start)).map_err(AuditError::Write)?;
        (&*self.file).take(MAX_LINE_BYTES.saturating_mul(2)).read_to_end(&mut bytes).map_err(AuditError::Write)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn follow_old_file(&mut self) -> Result<(), AuditError> {
        let text = self.dir.read_text(&old_name(1), MAX_FILE_BYTES.saturating_add(MAX_LINE_BYTES))?;
        if let Some(link) = text.as_deref().and_then(|text| text.lines().rev().find_map(|line| link(line).ok())) {
            (self.next, self.previous) = (link.sequence.saturating_add(1), link.hash);
        }
        Ok(())
    }

    fn set_aside(&mut self) -> Result<(), AuditError> {
        self.dir.remove(&old_name(MAX_OLD_FILES))?;
        for number in (1..MAX_OLD_FILES).rev() {
            if self.dir.has(&old_name(number)) {
                self.dir.rename(&old_name(number), &old_name(number.saturating_add(1)))?;
            }
        }
        self.dir.rename(NAME, &old_name(1))?;
        (self.file, self.length) = lock(&self.dir)?;
        Ok(())
    }
}

fn lock(dir: &Dir) -> Result<(Flock<File>, u64), AuditError> {
    let (file, length) = dir.append(NAME)?;
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| AuditError::Busy)?;
    Ok((file, length))
}

fn old_name(number: u32) -> String {
    format!("audit.{number}.jsonl")
}

fn hash(body: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(body.as_bytes()))
}

/// What a file of the audit shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Lines that are whole and fit the one before.
    pub lines: u64,
    /// The `previous` of the first line: the hash of what came before this text.
    pub begins_after: String,
    /// The `hash` of the last line: what comes next must name it.
    pub ends_with: String,
    /// What does not fit, by line number.
    pub faults: Vec<(u64, LineFault)>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Its own text was changed.
    #[error("the line was changed")]
    Changed,
    /// It does not follow the line before: lines were taken out, put in or moved.
    #[error("the line does not follow the one before")]
    Gap,
    /// It is no line of an audit. A `torn_tail` event behind it says that the broker found it so at its start.
    #[error("this is not a line of an audit")]
    Torn,
}

/// Checks the chain in the text of one or more files, oldest first.
pub fn verify(text: &str) -> Verified {
    let mut verified = Verified::default();
    let mut before: Option<Link> = None;
    for (at, line) in text.lines().enumerate() {
        let number = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
        let link = match link(line) {
            Ok(link) => link,
            Err(fault) => {
                verified.faults.push((number, fault));
                continue;
            }
        };
        match &before {
            None => verified.begins_after.clone_from(&link.previous),
            Some(before) if before.hash == link.previous && before.sequence.saturating_add(1) == link.sequence => {}
            Some(_) => verified.faults.push((number, LineFault::Gap)),
        }
        verified.lines = verified.lines.saturating_add(1);
        verified.ends_with.clone_from(&link.hash);
        before = Some(link);
    }
    verified
}

/// Reads a line's link and checks its own hash.
fn link(line: &str) -> Result<Link, LineFault> {
    let link: Link = serde_json::from_str(line).map_err(|_| LineFault::Torn)?;
    let (open, _) = line.rsplit_once(",\"hash\":\"").ok_or(LineFault::Torn)?;
    if format!("{open},\"hash\":\"{}\"}}", hash(&format!("{open}}}"))) == line { Ok(link) } else { Err(LineFault::Changed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dir: &tempfile::TempDir) -> String {
        std::fs::read_to_string(dir.path().join(NAME)).unwrap()
    }

    fn expired(audit: &mut Audit) -> u64 {
        audit.append(&Event::SshExpired {}).unwrap()
    }

    #[test]
    fn the_chain_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let mut audit = Audit::open(dir.path()).unwrap();
            audit.append(&Event::Start { version: "1" }).unwrap();
            expired(&mut audit);
        }
        let verified = verify(&text(&dir));
        assert_eq!((verified.lines, verified.faults.len(), verified.begins_after.as_str()), (6, 0, FIRST));
    }

    #[test]
    fn a_changed_a_missing_and_an_added_line_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(dir.path()).unwrap();
        (0..4).for_each(|_| {
            expired(&mut audit);
        });
        let text = text(&dir);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(verify(&text.replacen("ssh_expired", "ssh_expirex", 1)).faults, [(1, LineFault::Changed)]);
        assert_eq!(verify(&[lines[0], lines[2]].join("\n")).faults, [(2, LineFault::Gap)]);
        assert_eq!(verify(&[lines[0], lines[0], lines[1]].join("\n")).faults, [(2, LineFault::Gap)]);
        assert_eq!(verify(&[lines[0], "{}", lines[1]].join("\n")).faults, [(2, LineFault::Torn)]);
        assert_eq!(verify(&lines[1..].join("\n")).begins_after, link(lines[0]).ok().unwrap().hash);
    }

    #[test]
    fn a_torn_tail_is_told_and_the_chain_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(dir.path()).unwrap();
        expired(&mut audit);
        expired(&mut audit);
        drop(audit);
        let whole = text(&dir);
        std::fs::write(dir.path().join(NAME), &whole[..whole.len() - 20]).unwrap();
        drop(Audit::open(dir.path()).unwrap());
        let text = text(&dir);
        assert!(text.lines().last().unwrap().contains("\"event\":\"torn_tail\""), "{text}");
        let verified = verify(&text);
        assert_eq!((verified.lines, verified.faults), (2, vec![(2, LineFault::Torn)]));
    }

    #[test]
    fn a_last_line_that_was_changed_is_told_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(dir.path()).unwrap();
        expired(&mut audit);
        expired(&mut audit);
        drop(audit);
        let whole = text(&dir);
        std::fs::write(dir.path().join(NAME), whole.replace("\"sequence\":2", "\"sequence\":9")).unwrap();
        drop(Audit::open(dir.path()).unwrap());
        assert!(text(&dir).lines().last().unwrap().contains("\"event\":\"torn_tail\""));
    }

    #[test]
    fn long_files_are_set_aside_and_the_chain_spans_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(dir.path()).unwrap();
        expired(&mut audit);
        audit.length = MAX_FILE_BYTES + 1;
        expired(&mut audit);
        audit.length = MAX_FILE_BYTES + 1;
        audit.set_aside().unwrap();
        drop(audit);
        expired(&mut Audit::open(dir.path()).unwrap());
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let all = [read("audit.2.jsonl"), read("audit.1.jsonl"), read(NAME)].concat();
        let verified = verify(&all);
        assert_eq!((verified.lines, verified.faults.len()), (3, 0));
    }

    #[test]
    fn only_one_writes() {
        let dir = tempfile::tempdir().unwrap();
        let _audit = Audit::open(dir.path()).unwrap();
        assert!(matches!(Audit::open(dir.path()), Err(AuditError::Busy)));
    }
}
