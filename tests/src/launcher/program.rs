//! The two programs: where they are, how one is run to its end, and how one is started to stay.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `postern-control`.
    pub control: PathBuf,
    /// `postern-gateway`.
    pub gateway: PathBuf,
}

impl Binaries {
    pub(crate) fn beside_this_program() -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("cannot tell where this program is")?;
        Self::in_dir(this.parent().unwrap_or(Path::new(".")))
    }

    /// Takes the programs in `dir`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn in_dir(dir: &Path) -> anyhow::Result<Self> {
        let find = |name: &str| {
            let path = dir.join(name);
            anyhow::ensure!(path.is_file(), "{} is not built; `make run` and `make test` build it", path.display());
            Ok(path)
        };
        Ok(Self { control: find("postern-control")?, gateway: find("postern-gateway")? })
    }
}

/// Runs `program` to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; the text has what it wrote to standard error.
pub fn output<A: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} failed ({}): {}", program.display(), output.status, complaint.trim());
    Ok(output.stdout)
}

/// Makes the command that starts `program` to stay, with its output in `log`.
///
/// setpriv(1) has the kernel send SIGTERM to the program when the thread that started it is gone, so that a launcher killed by
/// SIGKILL leaves nothing behind; it executes the program in its own place. Where it is missing, that comfort is too.
///
/// # Errors
/// When the log cannot be opened.
pub fn to_stay(program: &Path, log: &Path) -> anyhow::Result<Command> {
    let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().map(Path::new).find(|path| path.is_file());
    let mut command = match setpriv {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(log);
    let file = open().with_context(|| format!("cannot open {}", log.display()))?;
    let copy = file.try_clone().with_context(|| format!("cannot open {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(copy);
    Ok(command)
}
