//! A copy of every frame that leaves, for whoever keeps the customer's view of it.
//!
//! The tunnel never waits for it: what its reader cannot take is counted, so that the reader can say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use postern_protocol::id::Lane;
use tokio::sync::mpsc;

/// Where a frame was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The control stream: an `Up`.
    Control,
    /// A lane's stream: a `Batch`.
    Lane(Lane),
}

/// A frame that was handed to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where to.
    pub stream: Stream,
    /// The whole frame: four bytes of length, then the message.
    pub frame: Bytes,
}

/// Hands out a copy of every frame that leaves; clones share what it counts.
#[derive(Clone, Debug)]
pub struct Tap {
    to: mpsc::Sender<Sent>,
    missed: Arc<AtomicU64>,
}

impl Tap {
    /// Makes a tap for up to `queue` frames that wait, its reader, and the count of frames that the reader missed.
    pub fn new(queue: usize) -> (Self, mpsc::Receiver<Sent>, Arc<AtomicU64>) {
        let (to, from) = mpsc::channel(queue.max(1));
        let missed = Arc::new(AtomicU64::new(0));
        (Self { to, missed: Arc::clone(&missed) }, from, missed)
    }

    /// Passes a frame on.
    pub(crate) fn pass(&self, sent: Sent) {
        // A reader that is gone, as in tests or while the daemon stops, misses them as well.
        if self.to.try_send(sent).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_reader_cannot_take_is_counted() {
        let (tap, mut reader, missed) = Tap::new(1);
        for text in [&b"a"[..], b"b", b"c"] {
            tap.pass(Sent { stream: Stream::Lane(Lane::Alerts), frame: Bytes::copy_from_slice(text) });
        }
        assert_eq!(reader.try_recv().unwrap().frame, &b"a"[..]);
        assert_eq!(missed.load(Ordering::Relaxed), 2);
    }
}
