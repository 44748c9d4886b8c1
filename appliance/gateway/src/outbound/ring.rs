//! The ring on the disk: lines of JSON in files that are begun one after another, the oldest removed for the next.
//!
//! ```text
//! outbound/            0700
//!   00000000000000000007.jsonl    0600; named after the number of its first line
//! ```
//! Written without fsync: it is a view of what left, not a record that anything depends on. A line that a power cut tore is skipped by
//! readers. Owned by the daemon's one task; `tail` reads beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::numbered_files;

/// Most bytes of the whole ring, and of one of its files before the next begins.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
const FILE_BYTES: u64 = 1024 * 1024;

const EXTENSION: &str = "jsonl";

/// The writing end.
#[derive(Debug)]
pub(super) struct Ring {
    dir: PathBuf,
    current: Option<(File, u64)>,
    next: u64,
}

impl Ring {
    /// Goes on behind what lies in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        crate::create_private_dir(dir)?;
        let next = match files(dir)?.last() {
            None => 1,
            // A run that was cut off may have left a torn line: the next run begins a file of its own.
            Some((first, path)) => first.saturating_add(std::fs::read(path)?.iter().filter(|byte| **byte == b'\n').count() as u64 + 1),
        };
        Ok(Self { dir: dir.to_owned(), current: None, next })
    }

    /// Returns the number of the next line.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Appends a line, which ends with its line feed, and makes room.
    ///
    /// # Errors
    /// When the disk refuses; the next line tries again in a new file.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.write(line);
        if written.is_err() {
            self.current = None;
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (mut file, filled) = match self.current.take() {
            Some((file, filled)) if filled < FILE_BYTES => (file, filled),
            _ => {
                self.make_room()?;
                let path = numbered_files::path(&self.dir, self.next, EXTENSION);
                (OpenOptions::new().create(true).append(true).mode(0o600).open(path)?, 0)
            }
        };
        file.write_all(line)?;
        self.current = Some((file, filled.saturating_add(length)));
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// Removes the oldest files until a further one fits.
    fn make_room(&self) -> io::Result<()> {
        let sized = |(_, path): (u64, PathBuf)| Some((path.metadata().ok()?.len(), path));
        let files: Vec<(u64, PathBuf)> = files(&self.dir)?.into_iter().filter_map(sized).collect();
        let mut all: u64 = files.iter().map(|(bytes, _)| bytes).sum();
        for (bytes, path) in files {
            if all.saturating_add(FILE_BYTES) <= MAX_BYTES {
                break;
            }
            std::fs::remove_file(path)?;
            all = all.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// The ring's files with the number of their first line, oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    numbered_files::list(dir, EXTENSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_ring_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        let line = [vec![b'x'; 300_000], b"\n".to_vec()].concat();
        for _ in 0..100 {
            ring.append(&line).unwrap();
        }
        let files = files(dir.path()).unwrap();
        let bytes: u64 = files.iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
        // The line that fills a file may reach beyond it.
        assert!((MAX_BYTES * 3 / 4..=MAX_BYTES + 300_001).contains(&bytes), "{bytes}");
        assert!(files[0].0 > 1 && ring.next() == 101);
        assert_eq!(files[0].1.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        ring.append(b"{}\n").unwrap();
        ring.append(b"{}\n").unwrap();
        assert!(Ring::open(dir.path()).unwrap().next() >= 3);
    }
}
