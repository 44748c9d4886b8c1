//! The console on a real pseudo-terminal, for tests: keys in, and what is shown.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::pty::openpty;

const SOON: Duration = Duration::from_secs(20);

/// A console at work; ends with the test.
pub(crate) struct Screen {
    program: Child,
    keyboard: File,
    output: Receiver<Vec<u8>>,
    /// What was shown and not yet looked at.
    shown: String,
}

impl Screen {
    pub(crate) fn open(broker: &Path, environment: &[(&str, &str)]) -> Self {
        let pty = openpty(None, None).unwrap();
        // A session of its own with this terminal: so Ctrl-C would be a signal if the console let it.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_console"), "--broker"]).arg(broker);
        command.env_remove("SSH_CONNECTION").envs(environment.iter().copied());
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let program = command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave)).spawn().unwrap();
        let mut screen = File::from(pty.master.try_clone().unwrap());
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(bytes @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..bytes].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { program, keyboard: File::from(pty.master), output, shown: String::new() }
    }

    pub(crate) fn keys(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits until `text` is shown, and returns everything up to it.
    pub(crate) fn wait(&mut self, text: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error} while waiting for {text:?} in {:?}", self.shown),
            }
        }
    }

    /// Goes from the menu into an entry and waits for its first question.
    pub(crate) fn enter(&mut self, entry: &str, question: &str) {
        self.wait("Number, ");
        self.keys(format!("{entry}\r").as_bytes());
        self.wait(question);
    }

    /// Waits for the end of an entry and goes back to the menu.
    pub(crate) fn finish(&mut self, outcome: &str) {
        self.wait(outcome);
        self.wait("Press Enter");
        self.keys(b"\r");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.program.try_wait().unwrap().is_none()
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.program.wait().unwrap()
    }

    /// Whether the terminal itself echoes and edits lines.
    pub(crate) fn is_in_line_mode(&self) -> bool {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        tcgetattr(&self.keyboard).unwrap().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
