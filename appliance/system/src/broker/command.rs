//! The programs that the broker runs: fixed paths, no shell, an empty environment, bounded time and output.

use std::io::{self, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::paths::Paths;

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
const MAX_SHOWN_CHARS: usize = 400;

/// A program of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nft,
    SshKeygen,
    Systemctl,
}

impl Program {
    const fn path(self) -> &'static str {
        match self {
            Self::Nft => "/usr/sbin/nft",
            Self::SshKeygen => "/usr/bin/ssh-keygen",
            Self::Systemctl => "/usr/bin/systemctl",
        }
    }
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It said so.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which.
        program: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// It could not be started or spoken with.
    #[error("{program} cannot be run")]
    Io {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It took too long and was killed.
    #[error("{program} did not end within {} s", TIMEOUT.as_secs())]
    Slow {
        /// Which.
        program: &'static str,
    },
}

/// Runs `program` with `input` on its standard input and returns what it wrote to standard output.
///
/// # Errors
/// [`CommandError`], also when the program ends with another code than 0.
pub(crate) fn run(paths: &Paths, program: Program, args: &[&str], input: String) -> Result<String, CommandError> {
    let program_path = program.path();
    let cannot = |cause| CommandError::Io { program: program_path, cause };
    let mut child = Command::new(paths.at(program_path))
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    // Three threads, since a program may wait for any of its pipes; all end with the program.
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says why by its code.
        std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    }
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let deadline = Instant::now() + TIMEOUT;
    let both = (stdout.recv_timeout(TIMEOUT), stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())));
    let (Ok(stdout), Ok(stderr)) = both else {
        child.kill().map_err(cannot)?;
        child.wait().map_err(cannot)?;
        return Err(CommandError::Slow { program: program_path });
    };
    let status = child.wait().map_err(cannot)?;
    if status.success() {
        return Ok(stdout);
    }
    let said: String = format!("{status}: {}", stderr.trim()).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(CommandError::Failed { program: program_path, said: said.chars().take(MAX_SHOWN_CHARS).collect() })
}

/// Reads a pipe to its end in a thread of its own; what is beyond the bound is not read, and the program fails by it.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // A broken pipe ends the text; the program's code tells the rest.
            let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        }
        // Nobody listens any more when the program was too slow.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(text: &str) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let program = paths.at(Program::Nft.path());
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, paths)
    }

    #[test]
    fn a_program_gets_its_input_and_nothing_of_our_environment() {
        let (_dir, paths) = script("#!/bin/sh\ncat; env | grep -c -e HOME -e CARGO; pwd; echo \"$1\"\n");
        let output = run(&paths, Program::Nft, &["$(id) ; *"], "x\n".repeat(100_000)).unwrap();
        assert!(output.starts_with("x\n") && output.ends_with("\n0\n/\n$(id) ; *\n"), "{}", output.len());
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let (_dir, paths) = script("#!/bin/sh\necho 'line 1\nline 2' >&2; exit 3\n");
        let error = run(&paths, Program::Nft, &[], String::new()).unwrap_err().to_string();
        assert_eq!(error, "/usr/sbin/nft failed: exit status: 3: line 1 line 2");
        let missing = run(&paths, Program::Systemctl, &[], String::new());
        assert!(matches!(missing, Err(CommandError::Io { .. })));
    }
}
