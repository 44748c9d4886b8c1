//! Files of a ring that are named by a number, so that their names sort by age.

use std::io;
use std::path::{Path, PathBuf};

/// Returns where the file of that number lies.
pub(crate) fn path(dir: &Path, number: u64, extension: &str) -> PathBuf {
    dir.join(format!("{number:020}.{extension}"))
}

/// Returns the files of `dir` with their numbers, oldest first; what is named otherwise is passed over.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn list(dir: &Path, extension: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let is_one = path.extension().and_then(|found| found.to_str()) == Some(extension);
        if let (Some(number), true) = (number, is_one) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}
