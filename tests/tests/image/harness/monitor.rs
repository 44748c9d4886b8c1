//! A machine's QEMU, asked over QMP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use postern_tests::deadline::{SOON, wait_for};
use serde_json::{Value, json};

/// One connection to a QEMU.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects as soon as QEMU listens at `socket`.
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = wait_for("QEMU's monitor", SOON, || UnixStream::connect(socket).map_err(|error| error.to_string()));
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line();
        monitor.ask("qmp_capabilities", &json!({}));
        monitor
    }

    /// Runs a command and returns its answer.
    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        let request = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        loop {
            let mut answer = self.line();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(value) = answer.get_mut("return") {
                return value.take();
            }
        }
    }

    /// Puts `file` into the CD-ROM drive, or takes out what is there.
    pub(crate) fn change_cdrom(&mut self, file: Option<&Path>) {
        match file {
            Some(file) => {
                let arguments = json!({"id": "cdrom", "filename": file, "format": "raw"});
                self.ask("blockdev-change-medium", &arguments);
            }
            None => drop(self.ask("eject", &json!({"id": "cdrom", "force": true}))),
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).expect("QEMU answers in time");
        assert!(length > 0, "QEMU has ended");
        serde_json::from_str(&line).unwrap()
    }
}
