//! Compiles MIB modules in a child process: this program again, as `postern-control mib-compile`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::report::Report;
use super::worker::REFUSED;

/// Most bytes of the child's answer.
const MAX_ANSWER_BYTES: u64 = 256 * 1024 * 1024;

/// Most bytes of what the child says before it dies.
const MAX_COMPLAINT_BYTES: u64 = 4096;

/// What a compilation may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Address space of the child, bytes.
    pub memory_bytes: u64,
    /// Time until it is killed.
    pub time: Duration,
}

/// Starts compilations.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    limits: Limits,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The table, as `protocol::dictionary::Table::parse` takes it.
    pub table: Vec<u8>,
    /// What there is to say about the modules.
    pub report: Report,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The upload is no archive that can be read, or is too large: the sender's fault.
    #[error("{0}")]
    Archive(String),
    /// The child could not be started or spoken with.
    #[error("the compiler cannot be run")]
    Child(#[source] std::io::Error),
    /// The child ended without an answer: it ran into its limit of memory, or has a fault.
    #[error("the compiler ended without an answer ({0})")]
    Died(String),
    /// It took longer than it may.
    #[error("the compiler took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 3 * 1024 * 1024 * 1024, time: Duration::from_secs(120) }
    }
}

impl Compiler {
    /// Compiles with `program`, which is `postern-control`.
    pub const fn new(program: PathBuf, limits: Limits) -> Self {
        Self { program, limits }
    }

    /// Compiles the modules of `archives`, each a zip, tar, tar.gz or tar.xz, or one module's text. Of two modules of one
    /// name the one with the later LAST-UPDATED counts, else the later one.
    ///
    /// # Errors
    /// [`CompileError`]; faults of modules are none, the report has them.
    pub async fn compile(&self, archives: &[Bytes]) -> Result<Compiled, CompileError> {
        let work = tokio::time::timeout(self.limits.time, self.work(archives));
        // The child is killed when `work` is dropped.
        work.await.unwrap_or(Err(CompileError::TimedOut(self.limits.time)))
    }

    async fn work(&self, archives: &[Bytes]) -> Result<Compiled, CompileError> {
        let mut command = Command::new(&self.program);
        command.arg("mib-compile").arg("--memory-bytes").arg(self.limits.memory_bytes.to_string());
        command.arg("--seconds").arg(self.limits.time.as_secs().max(1).to_string());
        command.env_clear().kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(CompileError::Child)?;
        let (Some(mut input), Some(output), Some(complaints)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(CompileError::Child(std::io::ErrorKind::BrokenPipe.into()));
        };
        let give = async move {
            for archive in archives {
                input.write_all(&(archive.len() as u64).to_be_bytes()).await?;
                input.write_all(archive).await?;
            }
            input.shutdown().await
        };
        let (mut answer, mut said) = (Vec::new(), Vec::new());
        let mut output = output.take(MAX_ANSWER_BYTES);
        let hear = async {
            let mut complaints = complaints;
            (&mut complaints).take(MAX_COMPLAINT_BYTES).read_to_end(&mut said).await?;
            // What nobody wants to know must not make it wait.
            tokio::io::copy(&mut complaints, &mut tokio::io::sink()).await
        };
        // It may answer and end before it has read everything, so that giving fails: its answer says why.
        let (_given, taken, _heard) = tokio::join!(give, output.read_to_end(&mut answer), hear);
        taken.map_err(CompileError::Child)?;
        let status = child.wait().await.map_err(CompileError::Child)?;
        match parse(&answer) {
            Some(outcome) if status.success() => outcome,
            Some(_) | None => Err(CompileError::Died(format!("{status}; {}", String::from_utf8_lossy(&said).trim()))),
        }
    }
}

/// Reads what `worker::serve` wrote; `None` when it is cut.
fn parse(answer: &[u8]) -> Option<Result<Compiled, CompileError>> {
    let (length, rest) = answer.split_first_chunk()?;
    let length = u64::from_be_bytes(*length);
    if length == REFUSED {
        return Some(Err(CompileError::Archive(String::from_utf8_lossy(rest).into_owned())));
    }
    let (report, table) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some(Ok(Compiled { table: table.to_vec(), report: serde_json::from_slice(report).ok()? }))
}
