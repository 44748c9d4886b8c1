//! One connection: one line in, within a bounded time and length; one line out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::owner::{Mail, Peer};
use crate::verb::{MAX_LINE_BYTES, Reply, Verb};

/// For the whole line, however it drips in.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the request of `peer`, hands it to the owner and writes the answer.
pub(crate) fn serve(mut stream: UnixStream, peer: Peer, owner: &SyncSender<Mail>) {
    let verb = read_line(&mut stream).and_then(|line| parse(&line));
    let (reply, answer) = sync_channel(1);
    let stopping = || Reply::Failed { reason: "the broker is stopping".to_owned() };
    let answer = match owner.send(Mail::Request { peer, verb, reply }) {
        Ok(()) => answer.recv().unwrap_or_else(|_| stopping()),
        Err(_) => stopping(),
    };
    write(&mut stream, &answer);
}

/// Tells `reason` to a connection that is not served.
pub(crate) fn refuse(mut stream: UnixStream, reason: &str) {
    write(&mut stream, &Reply::Refused { reason: reason.to_owned() });
}

fn write(stream: &mut UnixStream, reply: &Reply) {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    let written = stream.set_write_timeout(Some(WRITE_TIMEOUT)).and_then(|()| stream.write_all(&line));
    if let Err(error) = written {
        tracing::debug!(%error, "the answer did not reach the one who asked");
    }
}

fn parse(line: &[u8]) -> Result<Verb, String> {
    serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))
}

/// Reads up to the first line feed. The text may hold a token: it is erased when dropped, and never moved while it grows.
fn read_line(stream: &mut UnixStream) -> Result<Zeroizing<Vec<u8>>, String> {
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_BYTES));
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no whole line within {} s", READ_TIMEOUT.as_secs()));
        }
        stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        let read = match stream.read(&mut *chunk) {
            Ok(0) => return Err("the request does not end with a line feed".to_owned()),
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let (text, ended) = match read.iter().position(|byte| *byte == b'\n') {
            Some(at) => (read.get(..at).unwrap_or_default(), true),
            None => (read, false),
        };
        if line.len().saturating_add(text.len()) >= MAX_LINE_BYTES {
            return Err(format!("the request is longer than {MAX_LINE_BYTES} bytes"));
        }
        line.extend_from_slice(text);
        if ended {
            return Ok(line);
        }
    }
}
