//! Compiles MIB modules in a child process: this program again, as `postern-control mib-compile`.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::report::Report;

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

    /// Compiles the modules of `archives`, each a zip, tar, tar.gz or tar.xz, or one module's text. Where two have a module of the same name, the
    /// later archive's counts.
    ///
    /// # Errors
    /// [`CompileError`]; faults of modules are none, the report has them.
    pub async fn compile(&self, archives: &[Bytes]) -> Result<Compiled, CompileError> {
        let _ = (&self.program, self.limits, archives);
        Err(CompileError::Died("not built yet".to_owned()))
    }
}
