//! The ring's files: their names, what their headers say, and which of them have to go.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use postern_protocol::timestamp::Timestamp;

use super::Bounds;
use super::block::{FILE_HEADER_BYTES, HEADER_BYTES, Header};
use crate::numbered_files;

const EXTENSION: &str = "ring";

/// Files that the ring's bytes, and its hours, are divided into.
const PARTS: u32 = 16;

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    /// When its first and its last entry came; `None` without a block.
    pub(super) span: Option<(i64, i64)>,
}

impl Facts {
    /// Takes note of a block.
    pub(super) fn add(&mut self, header: &Header, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.blocks = self.blocks.saturating_add(1);
        let (first, last) = header.span;
        self.span = Some(self.span.map_or((first, last), |(from, until)| (from.min(first), until.max(last))));
    }
}

/// Returns the files of `dir`, oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    numbered_files::list(dir, EXTENSION)
}

/// Returns where a file lies.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    numbered_files::path(dir, number, EXTENSION)
}

/// Reads a file's headers, up to the first that is damaged.
///
/// # Errors
/// When it cannot be read.
pub(super) fn survey(number: u64, path: PathBuf) -> io::Result<Facts> {
    let mut file = File::open(&path)?;
    let bytes = file.metadata()?.len();
    let mut facts = Facts { number, path, bytes: 0, blocks: 0, span: None };
    let (mut at, mut header) = (FILE_HEADER_BYTES as u64, [0; HEADER_BYTES]);
    while at.saturating_add(HEADER_BYTES as u64) <= bytes {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let Some(header) = Header::decode(&header) else { break };
        facts.add(&header, 0);
        at = at.saturating_add(HEADER_BYTES as u64).saturating_add(header.sealed_bytes() as u64);
    }
    facts.bytes = bytes;
    Ok(facts)
}

/// Every file, oldest first.
#[derive(Debug)]
pub(super) struct Files {
    bounds: Bounds,
    pub(super) all: VecDeque<Facts>,
}

impl Files {
    /// Makes a list of files.
    pub(super) const fn new(bounds: Bounds, all: VecDeque<Facts>) -> Self {
        Self { bounds, all }
    }

    /// Returns how many bytes a file has before the next begins.
    pub(super) fn file_bytes(&self) -> u64 {
        self.bounds.bytes / u64::from(PARTS)
    }

    /// Tells whether the newest file spans enough time for another to begin.
    pub(super) fn is_time_for_another(&self, now: Timestamp) -> bool {
        let begun = self.all.back().and_then(|newest| newest.span).map(|(from, _)| from);
        begun.is_some_and(|from| now.saturating_since(Timestamp::from_nanos(from)) >= self.bounds.keep / PARTS)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.all.iter().map(|facts| facts.bytes).sum()
    }

    /// Takes off the list, and returns, the next file that has to go so that `more` bytes have room and nothing is too old. A time in
    /// the future is of a clock that was wrong, and counts as old when it is as far off.
    pub(super) fn next_to_go(&mut self, more: u64, now: Timestamp) -> Option<Facts> {
        let keep = i64::try_from(self.bounds.keep.as_nanos()).unwrap_or(i64::MAX);
        let oldest = self.all.front()?;
        let is_old = oldest.span.is_some_and(|(_, until)| now.as_nanos().saturating_sub(until).saturating_abs() > keep);
        let is_too_much = self.bytes().saturating_add(more) > self.bounds.bytes;
        if is_old || is_too_much { self.all.pop_front() } else { None }
    }
}
