//! The inside of the child process: takes archives from a stream, gives back the report and the table.
//!
//! Into the child go archives, each as its length (8 bytes, big-endian) and its bytes. Out come the report's length (8 bytes), the
//! report as JSON, and the table up to the end. An archive that cannot be read is told as a report's length of 2^64 - 1 and a text.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use postern_protocol::dictionary::builder::{BuildError, Definition};
use postern_protocol::dictionary::built_in;

use super::archive::{ArchiveError, Files};
use super::assemble::assemble;
use super::report::Report;

/// Says that a text follows, which tells why there is no report.
pub(super) const REFUSED: u64 = u64::MAX;

/// Most bytes of one archive as it comes.
pub(super) const MAX_ARCHIVE_BYTES: u64 = 256 * 1024 * 1024;

/// Why a compilation has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// An archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The limits cannot be set.
    #[error("cannot limit the compiler")]
    Limit(#[source] nix::Error),
    /// The parent cannot be spoken with.
    #[error("cannot speak with the parent")]
    Stream(#[source] io::Error),
    /// The modules do not fit into a table.
    #[error(transparent)]
    Table(#[from] BuildError),
}

/// What came of a compilation.
#[derive(Debug)]
pub struct Worked {
    /// The table.
    pub table: Vec<u8>,
    /// The report.
    pub report: Report,
}

/// Limits this process to `memory_bytes` of address space and `seconds` of processor time, for good.
///
/// # Errors
/// [`WorkError::Limit`].
pub fn limit(memory_bytes: u64, seconds: u64) -> Result<(), WorkError> {
    setrlimit(Resource::RLIMIT_AS, memory_bytes, memory_bytes).map_err(WorkError::Limit)?;
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds).map_err(WorkError::Limit)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(WorkError::Limit)
}

/// Does a child's work: archives from `input`, the outcome to `output`.
///
/// # Errors
/// [`WorkError`]; an archive that cannot be read is told to the parent and is no error here.
pub fn serve(input: &mut dyn Read, output: &mut dyn Write) -> Result<(), WorkError> {
    let mut files = Files::default();
    let mut number = 0_u32;
    let mut length = [0; 8];
    let outcome = loop {
        match input.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break compile(files),
            Err(error) => return Err(WorkError::Stream(error)),
        }
        number = number.saturating_add(1);
        let length = u64::from_be_bytes(length).min(MAX_ARCHIVE_BYTES);
        let mut archive = Vec::new();
        input.take(length).read_to_end(&mut archive).map_err(WorkError::Stream)?;
        if let Err(error) = files.unpack(&format!("upload {number}"), &archive) {
            break Err(error.into());
        }
    };
    let write = |output: &mut dyn Write| match &outcome {
        Ok(Worked { table, report }) => {
            let report = serde_json::to_vec(report)?;
            output.write_all(&(report.len() as u64).to_be_bytes())?;
            output.write_all(&report)?;
            output.write_all(table)
        }
        Err(error) => {
            output.write_all(&REFUSED.to_be_bytes())?;
            output.write_all(crate::chain(error).as_bytes())
        }
    };
    write(output).and_then(|()| output.flush()).map_err(WorkError::Stream)
}

/// Compiles the modules in files, folders and archives at `paths`, for the command line.
///
/// # Errors
/// [`WorkError`].
pub fn compile_paths(paths: &[PathBuf]) -> Result<Worked, WorkError> {
    let mut files = Files::default();
    for path in paths {
        add_path(&mut files, path)?;
    }
    compile(files)
}

fn add_path(files: &mut Files, path: &Path) -> Result<(), WorkError> {
    let fail = |source| WorkError::File { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(fail)?.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).map_err(fail)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(fail)?;
        entries.sort();
        for entry in entries {
            // A link may lead in a circle.
            if !std::fs::symlink_metadata(&entry).map_err(fail)?.is_symlink() {
                add_path(files, &entry)?;
            }
        }
        return Ok(());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_ARCHIVE_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    Ok(files.unpack(&path.to_string_lossy(), &bytes)?)
}

fn compile(files: Files) -> Result<Worked, WorkError> {
    let started = Instant::now();
    let built_in: Vec<Definition> = built_in::table().definitions().collect();
    let assembled = assemble(files, &built_in)?;
    let mut report = assembled.report;
    report.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.totals.peak_bytes = peak_bytes();
    Ok(Worked { table: assembled.table, report })
}

/// Returns the most memory that this process had; 0 when that is not known.
fn peak_bytes() -> u64 {
    // Linux counts in KiB (getrusage(2)).
    getrusage(UsageWho::RUSAGE_SELF).ok().and_then(|usage| u64::try_from(usage.max_rss()).ok()).map_or(0, |kib| kib.saturating_mul(1024))
}
