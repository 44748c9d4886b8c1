//! Runs one program with one argument, no environment, and bounds on its time and output. Called by `transport` for VMware's tool.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Pause between two looks at a program that has closed its output and should end.
const ENDS_WITHIN: Duration = Duration::from_millis(10);

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// It ended with a failure.
    #[error("the program failed: {0}")]
    Failed(ExitStatus),
    /// It could not be started, or its output not read.
    #[error("the program cannot be run")]
    Run(#[from] io::Error),
    /// It took too long and was killed.
    #[error("the program did not end in time")]
    Timeout,
}

/// Returns the standard output of `program argument`; a program that writes more than `max_bytes` is killed, and that much returned.
///
/// # Errors
/// [`CommandError`] when it cannot be run, fails, or is not done within `timeout`.
pub(crate) fn output(program: &Path, argument: &str, timeout: Duration, max_bytes: usize) -> Result<Vec<u8>, CommandError> {
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    command.arg(argument).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let ended = read_and_wait(&mut child, deadline, max_bytes);
    // It may have ended by itself; either way nothing is left behind.
    let _ = child.kill();
    let _ = child.wait();
    match ended? {
        (Some(status), _) if !status.success() => Err(CommandError::Failed(status)),
        (_, output) => Ok(output),
    }
}

/// Returns how the program ended, `None` while it still had something to say.
fn read_and_wait(child: &mut Child, deadline: Instant, max_bytes: usize) -> Result<(Option<ExitStatus>, Vec<u8>), CommandError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let stdout = child.stdout.take().ok_or(CommandError::Timeout)?;
    std::thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(max_bytes as u64).read_to_end(&mut output);
        // Whoever waited may have given up.
        let _ = sender.send(read.map(|_| output));
    });
    let left = deadline.saturating_duration_since(Instant::now());
    let output = receiver.recv_timeout(left).map_err(|_| CommandError::Timeout)??;
    if output.len() >= max_bytes {
        return Ok((None, output));
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((Some(status), output));
        }
        if Instant::now() >= deadline {
            return Err(CommandError::Timeout);
        }
        std::thread::sleep(ENDS_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    #[test]
    fn output_is_returned_and_cut() {
        let echo = Path::new("/bin/echo");
        assert_eq!(output(echo, "hello", LIMIT * 10, 100).unwrap(), b"hello\n");
        assert_eq!(output(echo, "hello", LIMIT * 10, 3).unwrap(), b"hel");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let started = Instant::now();
        assert!(matches!(output(Path::new("/bin/sleep"), "60", LIMIT, 100), Err(CommandError::Timeout)));
        assert!(started.elapsed() < LIMIT * 10);
    }

    #[test]
    fn a_program_that_never_stops_talking_is_killed() {
        assert_eq!(output(Path::new("/usr/bin/yes"), "y", LIMIT * 10, 100).unwrap().len(), 100);
    }

    #[test]
    fn failure_and_absence_are_errors() {
        assert!(matches!(output(Path::new("/bin/false"), "", LIMIT * 10, 100), Err(CommandError::Failed(_))));
        assert!(matches!(output(Path::new("/no/such/program"), "", LIMIT, 100), Err(CommandError::Run(_))));
    }
}
