//! `outbound tail`: reads the ring beside the daemon that writes it, and goes on when asked to.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use postern_protocol::timestamp::Timestamp;

use super::{Line, ring};

/// How often it is looked for more, and how many lines are shown without `--since`.
const EVERY: Duration = Duration::from_millis(250);
const LAST: usize = 20;

/// Most characters of a content on a terminal; `--json` shows all.
const SHOWN_CHARACTERS: usize = 400;

/// What is shown, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// From when on; the last 20 frames when `None`.
    pub since: Option<jiff::Timestamp>,
    /// Whether to go on.
    pub then: Then,
    /// How a line is written.
    pub form: Form,
}

/// What comes after the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The end.
    End,
    /// What leaves from now on.
    Follow,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it lies in the ring.
    Json,
    /// For people, cut to the width of a glance.
    Text,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The ring cannot be read.
    #[error("{} cannot be read: nothing has left yet, or this is another user than the daemon's", dir.display())]
    Ring {
        /// Where it lies.
        dir: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The output is gone.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    /// `--since` is neither.
    #[error("{0:?} is neither a time span, for example 10m or 2h, nor a time, for example 2026-01-31T12:00:00Z")]
    Since(String),
}

/// Reads what `--since` says.
///
/// # Errors
/// [`TailError::Since`].
pub fn parse_since(text: &str, now: SystemTime) -> Result<jiff::Timestamp, TailError> {
    let wrong = || TailError::Since(text.chars().take(80).collect());
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let now = jiff::Timestamp::from_nanosecond(Timestamp::from(now).as_nanos().into()).map_err(|_| wrong())?;
    now.checked_sub(span.abs()).map_err(|_| wrong())
}

/// Shows what left, through `show`, which says when the reader has gone.
///
/// # Errors
/// [`TailError`].
pub fn run(dir: &Path, tail: Tail, mut show: impl FnMut(&str) -> io::Result<()>) -> Result<(), TailError> {
    let cannot = |cause| TailError::Ring { dir: dir.to_owned(), cause };
    let mut last = VecDeque::new();
    let mut seen = 0;
    for line in lines(dir).map_err(cannot)? {
        seen = line.number;
        match tail.since {
            Some(since) if line.at.parse::<jiff::Timestamp>().is_ok_and(|at| at < since) => {}
            Some(_) => show(&tail.form.write(&line)).map_err(TailError::Output)?,
            None => {
                last.push_back(line);
                if last.len() > LAST {
                    last.pop_front();
                }
            }
        }
    }
    for line in last {
        show(&tail.form.write(&line)).map_err(TailError::Output)?;
    }
    if tail.then == Then::End {
        return Ok(());
    }
    loop {
        std::thread::sleep(EVERY);
        for line in lines_after(dir, seen).map_err(cannot)? {
            seen = line.number;
            show(&tail.form.write(&line)).map_err(TailError::Output)?;
        }
    }
}

/// Returns every line that the ring holds, oldest first.
///
/// # Errors
/// When its directory cannot be read.
pub fn lines(dir: &Path) -> io::Result<impl Iterator<Item = Line>> {
    lines_after(dir, 0)
}

/// Leaves out files whose lines are all known. One that is removed meanwhile was the oldest, and is passed over; so is a line that is
/// not whole yet.
fn lines_after(dir: &Path, seen: u64) -> io::Result<impl Iterator<Item = Line>> {
    let files = ring::files(dir)?;
    let known = files.iter().take_while(|(first, _)| *first <= seen).count().saturating_sub(1);
    let texts = files.into_iter().skip(known).filter_map(|(_, path)| std::fs::read(path).ok());
    let lines = texts
        .flat_map(|text| text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect::<Vec<Line>>());
    Ok(lines.filter(move |line| line.number > seen))
}

impl Form {
    fn write(self, line: &Line) -> String {
        match self {
            Self::Json => serde_json::to_string(line).unwrap_or_default() + "\n",
            Self::Text => {
                let Line { at, stream, kind, bytes, content, .. } = line;
                let content = content.to_string();
                let shown: String = content.chars().filter(|c| !c.is_control()).take(SHOWN_CHARACTERS).collect();
                let rest = if content.chars().count() > SHOWN_CHARACTERS { " …" } else { "" };
                format!("{at:<30} {stream:<9} {kind:<20} {bytes:>8} B  {shown}{rest}\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::ring::Ring;

    fn write(ring: &mut Ring, at: &str) {
        let line = Line {
            number: ring.next(),
            at: at.to_owned(),
            stream: "control".to_owned(),
            kind: "heartbeat".to_owned(),
            bytes: 9,
            content: serde_json::json!({ "nonce": 1 }),
        };
        ring.append(&[serde_json::to_vec(&line).unwrap(), b"\n".to_vec()].concat()).unwrap();
    }

    #[test]
    fn a_span_and_a_time_both_say_since_when() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        assert_eq!(parse_since("10m", now).unwrap().as_second(), 9_400);
        assert_eq!(parse_since("1970-01-01T00:00:07Z", now).unwrap().as_second(), 7);
        assert!(parse_since("yesterday", now).is_err());
    }

    #[test]
    fn the_last_lines_or_those_since_a_time_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        (10..40).for_each(|second| write(&mut ring, &format!("2026-01-01T00:00:{second}Z")));
        let shown = |since| {
            let mut shown = Vec::new();
            let tail = Tail { since, then: Then::End, form: Form::Json };
            run(dir.path(), tail, |line| {
                shown.push(serde_json::from_str::<Line>(line).unwrap().number);
                Ok(())
            })
            .unwrap();
            shown
        };
        assert_eq!(shown(None), (11..=30).collect::<Vec<_>>());
        assert_eq!(shown(Some("2026-01-01T00:00:38Z".parse().unwrap())), [29, 30]);
    }

    #[test]
    fn following_shows_what_comes_once_and_ends_with_its_reader() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        write(&mut ring, "2026-01-01T00:00:00Z");
        let mut shown = Vec::new();
        let tail = Tail { since: None, then: Then::Follow, form: Form::Text };
        let ended = run(dir.path(), tail, |line| {
            shown.push(line.to_owned());
            if shown.len() == 3 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            write(&mut ring, "2026-01-01T00:00:01Z");
            Ok(())
        });
        assert!(matches!(ended, Err(TailError::Output(_))));
        assert!(shown.len() == 3 && shown[0].contains("00:00:00Z") && shown[2].contains("heartbeat"), "{shown:?}");
    }
}
