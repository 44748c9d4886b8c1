//! What left, for the customer to look at: every frame of the tunnel, decoded by the published contract, in a ring on the disk.
//!
//! The tunnel hands over a copy of each frame and never waits; what the ring could not take is counted and said in the ring itself.
//! [`Viewer`] is the daemon's task, [`tail`] the command that reads. Nothing here leaves the site.

mod contract;
mod decode;
mod ring;
pub mod tail;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use postern_protocol::timestamp::Timestamp;
use postern_uplink::tunnel::tap::{Sent, Stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::contract::Contract;
pub use self::decode::NOT_IN_CONTRACT;
use self::decode::{Decoded, Decoder};
use self::ring::Ring;

/// Frames that may wait to be written; further ones are counted as missed. A batch has up to a megabyte, a third of it once it is
/// compressed: that bounds the memory.
pub(crate) const QUEUE: usize = 64;

/// Frames that are written at once.
const AT_ONCE: usize = 16;

/// The kind of a line that says how many frames before it are missing.
pub const MISSED: &str = "missed";

/// One line of the ring: one frame that left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counted up; one that is missing was removed for room.
    pub number: u64,
    /// When it was handed to the connection, RFC 3339.
    pub at: String,
    /// `control`, or the lane's name.
    pub stream: String,
    /// The message; on the control stream which one.
    pub kind: String,
    /// Bytes of the frame, as they left inside TLS.
    pub bytes: u64,
    /// The content, field by field, as the contract names them.
    pub content: Value,
}

/// The daemon's task that keeps the ring.
pub(crate) struct Viewer {
    decoder: Decoder,
    ring: Ring,
    frames: mpsc::Receiver<Sent>,
    missed: Arc<AtomicU64>,
}

impl Viewer {
    /// Puts the task together around what the tunnel's tap hands out.
    ///
    /// # Errors
    /// When `dir` cannot be used.
    pub(crate) fn open(dir: &Path, frames: mpsc::Receiver<Sent>, missed: Arc<AtomicU64>) -> anyhow::Result<Self> {
        Ok(Self { decoder: Decoder::new(Contract::built_in()?), ring: Ring::open(dir)?, frames, missed })
    }

    /// Writes until `stop` is cancelled, and then what still waits. A disk that refuses is no reason to stop: it is told in the log.
    ///
    /// # Errors
    /// When writing panicked: a fault of the program.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut refused = false;
        loop {
            let mut frames = Vec::new();
            // Cancel-safe: what was not received stays in the queue.
            tokio::select! {
                biased;
                received = self.frames.recv_many(&mut frames, AT_ONCE) => {
                    if received == 0 {
                        stop.cancelled().await;
                        return Ok(());
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
            let (viewer, written) = tokio::task::spawn_blocking(move || {
                let written = self.write(&frames);
                (self, written)
            })
            .await?;
            self = viewer;
            match written {
                Ok(()) => refused = false,
                Err(error) if !refused => {
                    refused = true;
                    tracing::warn!(%error, "what leaves cannot be written down: outbound tail will not show it");
                }
                Err(_) => {}
            }
        }
    }

    fn write(&mut self, frames: &[Sent]) -> io::Result<()> {
        let at = Timestamp::from(SystemTime::now());
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let content = serde_json::json!({ "frames": missed, "why": "the disk was slower than the tunnel" });
            self.append(at, "", (0, Decoded { kind: MISSED.to_owned(), content }))?;
        }
        for Sent { stream, frame } in frames {
            let name = match stream {
                Stream::Control => "control",
                Stream::Lane(lane) => lane.name(),
            };
            let decoded = self.decoder.decode(name, frame);
            self.append(at, name, (frame.len() as u64, decoded))?;
        }
        Ok(())
    }

    fn append(&mut self, at: Timestamp, stream: &str, (bytes, decoded): (u64, Decoded)) -> io::Result<()> {
        let Decoded { kind, content } = decoded;
        let line = Line { number: self.ring.next(), at: rfc3339(at), stream: stream.to_owned(), kind, bytes, content };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.ring.append(&text)
    }
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(at.as_nanos().into()).map_or_else(|_| at.as_nanos().to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[tokio::test]
    async fn frames_become_lines_and_what_was_missed_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (to, frames) = mpsc::channel(4);
        let missed = Arc::new(AtomicU64::new(3));
        let viewer = Viewer::open(dir.path(), frames, Arc::clone(&missed)).unwrap();
        let heartbeat = Bytes::from_static(&[0, 0, 0, 4, 0x12, 0x02, 0x08, 0x01]);
        to.send(Sent { stream: Stream::Control, frame: heartbeat }).await.unwrap();
        drop(to);
        let stop = CancellationToken::new();
        stop.cancel();
        viewer.run(stop).await.unwrap();
        let lines: Vec<Line> = tail::lines(dir.path()).unwrap().collect();
        assert_eq!(lines.iter().map(|line| (line.number, line.kind.as_str())).collect::<Vec<_>>(), [(1, MISSED), (2, "heartbeat")]);
        assert_eq!(lines[1].bytes, 8);
        assert!(lines[1].at.ends_with('Z') && missed.load(Ordering::Relaxed) == 0);
    }
}
