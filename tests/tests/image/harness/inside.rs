//! The agent of a test variant: scripts that run inside the machine as root, over its second serial port.
//!
//! The other end is tests/image/tools/run, which the initrd of the test variant starts from the tools disk.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use super::machine::Machine;
use super::{BOOT, REACTION};

/// What the agent says while nothing is asked.
const READY: &str = "0 0 ready";

/// The agent, ready.
pub(crate) struct Inside {
    stream: UnixStream,
    read: Vec<u8>,
    number: u32,
    /// It was heard since the machine last failed to answer.
    listens: bool,
}

/// What a script did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) output: String,
}

impl Ran {
    /// The output of a script that has succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}", self.output);
        self.output
    }
}

impl Inside {
    /// Waits until the agent answers.
    pub(crate) fn of(machine: &Machine) -> Self {
        Self::within(machine, BOOT)
    }

    /// The same for a machine that may take `deadline`.
    pub(crate) fn within(machine: &Machine, deadline: Duration) -> Self {
        let stream = UnixStream::connect(machine.agent()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut inside = Self { stream, read: Vec::new(), number: 0, listens: false };
        let start = Instant::now();
        while inside.attempt("true", Duration::from_secs(5)).is_none() {
            assert!(start.elapsed() < deadline, "no agent answers after {deadline:?}; the console says:\n{}", machine.console.tail());
        }
        inside
    }

    /// Runs a script of busybox's shell.
    pub(crate) fn run(&mut self, script: &str) -> Ran {
        self.run_within(script, REACTION)
    }

    /// Runs a script that may take `deadline`.
    pub(crate) fn run_within(&mut self, script: &str, deadline: Duration) -> Ran {
        self.attempt(script, deadline).unwrap_or_else(|| panic!("no answer after {deadline:?} from {script:?}"))
    }

    /// Runs a script, unless the machine restarts meanwhile.
    pub(crate) fn try_run(&mut self, script: &str) -> Option<Ran> {
        self.attempt(script, Duration::from_secs(10))
    }

    /// Reads a file of the machine.
    pub(crate) fn file(&mut self, path: &str) -> String {
        self.run(&format!("cat {path}")).ok()
    }

    fn attempt(&mut self, script: &str, deadline: Duration) -> Option<Ran> {
        self.number += 1;
        let line = format!("{} {}\n", self.number, BASE64.encode(script.as_bytes()));
        // The terminal inside buffers so much without flow control; what is longer belongs on the tools disk.
        assert!(line.len() < 4000, "the script is too long");
        let start = Instant::now();
        // Keys that come while the machine starts would choose an entry of the boot loader.
        while !self.listens {
            if start.elapsed() > deadline {
                return None;
            }
            self.listens = self.line().is_some_and(|line| line.trim_end() == READY);
        }
        self.stream.write_all(line.as_bytes()).unwrap();
        while start.elapsed() < deadline {
            let Some(line) = self.line() else { continue };
            let mut words = line.split_whitespace();
            if words.next() != Some(&self.number.to_string()) {
                continue;
            }
            let status = words.next().and_then(|word| word.parse().ok())?;
            let output = BASE64.decode(words.next().unwrap_or_default().as_bytes()).ok()?;
            return Some(Ran { status, output: String::from_utf8_lossy(&output).into_owned() });
        }
        self.listens = false;
        None
    }

    /// One line, if it comes within a moment.
    fn line(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        if !self.read.contains(&b'\n') {
            let length = self.stream.read(&mut buffer).ok()?;
            self.read.extend(&buffer[..length]);
        }
        let end = self.read.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.read.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}
