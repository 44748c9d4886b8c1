//! What the gateway's daemon says of itself: the last report of its doctor, read from its status socket.
//!
//! The daemon is not trusted: what it says is bounded in length and time, and only shown. Nothing is sent to it.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use postern_protocol::status::doctor::{Finding, Report};
use serde::Deserialize;

use super::paths::Paths;

/// Longest wait for all of the answer: the broker does nothing else meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest answer.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Most findings that are handed on, and characters of each of their texts.
const MAX_FINDINGS: usize = 40;
const MAX_TEXT_CHARS: usize = 500;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It answered something else.
    #[error("the gateway's answer is not understood")]
    Answer(#[source] serde_json::Error),
    /// It does not answer.
    #[error("the gateway does not answer: it starts once this appliance is enrolled")]
    Silent(#[source] io::Error),
}

/// The part of its status that is looked at.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    doctor: Option<Report>,
}

/// Asks for the doctor's last report; `None` before the first.
///
/// # Errors
/// [`AskError`].
pub(crate) fn doctor(paths: &Paths) -> Result<Option<Report>, AskError> {
    let text = read(paths).map_err(AskError::Silent)?;
    let status: Status = serde_json::from_slice(&text).map_err(AskError::Answer)?;
    Ok(status.doctor.map(|Report { at, findings }| Report { at, findings: findings.into_iter().take(MAX_FINDINGS).map(cut).collect() }))
}

fn cut(finding: Finding) -> Finding {
    let cut = |text: String| text.chars().take(MAX_TEXT_CHARS).collect();
    let Finding { id, grade, what, evidence, advice } = finding;
    Finding { id: cut(id), grade, what: cut(what), evidence: cut(evidence), advice: cut(advice) }
}

fn read(paths: &Paths) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(paths.gateway_socket())?;
    let (until, mut text, mut piece) = (Instant::now() + PATIENCE, Vec::new(), vec![0; 64 * 1024]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(text),
            read => text.extend_from_slice(piece.get(..read).unwrap_or_default()),
        }
        if text.len() > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    use postern_protocol::status::doctor::Grade;

    fn asked(answer: &str) -> Result<Option<Report>, AskError> {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        std::fs::create_dir_all(dir.path().join("var/lib/postern")).unwrap();
        let listener = UnixListener::bind(paths.gateway_socket()).unwrap();
        let answer = answer.to_owned();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whoever asked may have heard enough.
            let _ = stream.write_all(answer.as_bytes());
        });
        let asked = doctor(&paths);
        daemon.join().unwrap();
        asked
    }

    #[test]
    fn the_last_report_comes_bounded_and_nothing_else_with_it() {
        let finding = r#"{"id":"dns","grade":"fault","what":"w","evidence":"e","advice":"a"}"#;
        let many = vec![finding.replace("\"w\"", &format!("\"{}\"", "w".repeat(9_999))); 100].join(",");
        let report = asked(&format!(r#"{{"version":"1","doctor":{{"at":7,"findings":[{many}]}}}}"#)).unwrap().unwrap();
        assert_eq!((report.at, report.findings.len(), report.findings[0].what.len()), (7, MAX_FINDINGS, MAX_TEXT_CHARS));
        assert_eq!(report.findings[0].grade, Grade::Fault);
        assert_eq!(asked(r#"{"doctor":null}"#).unwrap(), None);
        assert!(matches!(asked("no status"), Err(AskError::Answer(_))));
        assert!(matches!(asked(&" ".repeat(MAX_BYTES + 1)), Err(AskError::Silent(_))));
    }

    #[test]
    fn a_daemon_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(doctor(&Paths::below(dir.path())), Err(AskError::Silent(_))));
    }
}
