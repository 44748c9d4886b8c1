//! `audit verify`: reads the whole log and says everything that is wrong with it, by file and line. Changes nothing.
//!
//! What it finds: a line that was changed, removed or added, a file that is gone, an end that was cut off behind what the control
//! plane countersigned, and a countersignature that does not fit. What only the control plane can find is a log that was made
//! anew as a whole: it holds the first one.

use std::fmt;
use std::path::Path;

use postern_protocol::message::AuditReceipt;
use serde::Serialize;

use super::AuditError;
use super::line::{self, Place};
use super::log::{self, LogFile};
use super::receipt::{self, Found};
use crate::revision::signers::Signers;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// The entry that the control plane countersigned is another one here.
    Another {
        /// Its number.
        number: u64,
    },
    /// Entries do not follow on what came before.
    Broken {
        /// File.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What the line says its number is.
        number: u64,
    },
    /// The beginning is gone, and the control plane never had it.
    Headless {
        /// Number of the last entry that is gone.
        up_to: u64,
    },
    /// The receipt is not one of the control plane.
    Receipt,
    /// The log ends before what the control plane has countersigned.
    Truncated {
        /// Number of its last entry.
        last: u64,
        /// Number of the countersigned one.
        countersigned: u64,
    },
    /// A line is no entry.
    Unreadable {
        /// File.
        file: String,
        /// Line, from 1.
        line: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Another { number } => {
                write!(f, "entry {number} is not the one that the control plane countersigned: it, or one before it, was changed")
            }
            Self::Broken { file, line, number } => write!(
                f,
                "{file} line {line}: entry {number} does not follow on the entry before it: one of the two was changed, or entries between them were removed"
            ),
            Self::Headless { up_to } => {
                write!(f, "entries up to {up_to} are gone, and the control plane has not countersigned them: files were removed")
            }
            Self::Receipt => f.write_str("receipt.json does not carry a signature of the control plane for this gateway: it was changed"),
            Self::Truncated { last, countersigned } => write!(
                f,
                "the log ends at entry {last}, but the control plane countersigned entry {countersigned}: its end was cut off, or the disk was set back"
            ),
            Self::Unreadable { file, line } => write!(f, "{file} line {line} is not an entry: it was changed or damaged"),
        }
    }
}

/// What the log is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Number of the oldest entry that is left; 0 for none.
    pub first: u64,
    /// Number of the newest one.
    pub last: u64,
    /// Digest of the newest one, hexadecimal.
    pub digest: String,
    /// Number of the last entry that the control plane countersigned; 0 for none.
    pub countersigned: u64,
    /// When it did, nanoseconds since the Unix epoch.
    pub countersigned_at: i64,
    /// Everything that is wrong; nothing when the log is whole.
    pub faults: Vec<Fault>,
}

/// Checks the log in `dir`. Without `signers` the receipt's signature is not looked at.
///
/// # Errors
/// [`AuditError::File`] when it cannot be read.
pub(crate) fn verify(dir: &Path, signers: Option<&Signers>) -> Result<Verified, AuditError> {
    let mut check = Check::default();
    let receipt = match receipt::load(dir)? {
        Found::None => None,
        Found::Receipt(receipt) if signers.is_none_or(|signers| receipt::signed(&receipt, signers)) => Some(receipt),
        Found::Receipt(_) | Found::Unreadable => {
            check.faults.push(Fault::Receipt);
            None
        }
    };
    check.receipt = receipt;
    for file in log::files(dir)? {
        check.file(&file)?;
    }
    Ok(check.finish())
}

#[derive(Default)]
struct Check {
    receipt: Option<AuditReceipt>,
    first: u64,
    /// The last entry that was read, as it says of itself.
    last: Option<Place>,
    faults: Vec<Fault>,
}

impl Check {
    fn file(&mut self, file: &LogFile) -> Result<(), AuditError> {
        let content = std::fs::read(&file.path).map_err(|cause| AuditError::File { path: file.path.clone(), cause })?;
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // What follows the last end of a line was never told done.
        let lines = content.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
        for (line, text) in (1..).zip(lines) {
            if line == 1 {
                match line::read_head(text) {
                    Some(before) => self.head(&name, file, before),
                    None => self.faults.push(Fault::Unreadable { file: name.clone(), line }),
                }
                continue;
            }
            match line::read_entry(text) {
                Some(entry) => self.entry(&name, line, entry),
                None => self.faults.push(Fault::Unreadable { file: name.clone(), line }),
            }
        }
        Ok(())
    }

    fn head(&mut self, name: &str, file: &LogFile, before: Place) {
        let fits = self.last.is_none_or(|last| last == before) && file.first == before.number.saturating_add(1);
        if !fits {
            self.faults.push(Fault::Broken { file: name.to_owned(), line: 1, number: file.first });
        }
        if self.last.is_none() && before == Place::ORIGIN {
            self.first = 1;
        }
        if self.last.is_none() && before.number > 0 {
            self.first = file.first;
            // Trimming takes only what was countersigned, or far too much; the entry that says so is in the log.
            if self.receipt.as_ref().is_none_or(|receipt| receipt.number < before.number) {
                self.faults.push(Fault::Headless { up_to: before.number });
            }
        }
        self.last = Some(before);
    }

    fn entry(&mut self, name: &str, line: usize, entry: line::EntryLine<'_>) {
        if self.last.unwrap_or(Place::ORIGIN).after(entry.text) != entry.place {
            self.faults.push(Fault::Broken { file: name.to_owned(), line, number: entry.place.number });
        }
        if self.receipt.as_ref().is_some_and(|receipt| receipt.number == entry.place.number && receipt.digest != entry.place.digest) {
            self.faults.push(Fault::Another { number: entry.place.number });
        }
        self.last = Some(entry.place);
    }

    fn finish(mut self) -> Verified {
        let last = self.last.unwrap_or(Place::ORIGIN);
        if let Some(receipt) = self.receipt.as_ref().filter(|receipt| receipt.number > last.number) {
            self.faults.push(Fault::Truncated { last: last.number, countersigned: receipt.number });
        }
        let receipt = self.receipt.unwrap_or_default();
        Verified {
            first: if last.number == 0 { 0 } else { self.first },
            last: last.number,
            digest: last.hex(),
            countersigned: receipt.number,
            countersigned_at: receipt.at,
            faults: self.faults,
        }
    }
}
