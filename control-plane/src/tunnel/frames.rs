//! Frames over the two directions of one HTTP/2 stream.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::channel::Sender;
use hyper::body::Incoming;
use postern_protocol::frame::{self, Decoder, FrameError};

/// How long a peer may leave an answer unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The peer sent what is not a frame.
    #[error("the gateway sent what is not a frame")]
    Frame(#[from] FrameError),
    /// The connection is lost.
    #[error("the connection is lost")]
    Lost(#[from] hyper::Error),
    /// The peer does not read, or the stream was reset.
    #[error("the gateway does not take our answer")]
    Unread,
}

/// The frames that come in.
pub(super) struct Reader {
    body: Incoming,
    decoder: Decoder,
}

impl Reader {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, decoder: Decoder::default() }
    }

    /// Returns the next message, or `None` after the last. Cancel-safe: what was read stays in the decoder.
    pub(super) async fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, StreamError> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.decoder.push(&bytes);
                    }
                }
            }
        }
    }
}

/// The frames that go out.
pub(super) struct Writer {
    body: Sender<Bytes>,
}

impl Writer {
    pub(super) fn new(body: Sender<Bytes>) -> Self {
        Self { body }
    }

    /// Sends a message; waits while the peer has much unread.
    pub(super) async fn send(&mut self, message: &impl prost::Message) -> Result<(), StreamError> {
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.body.send_data(frame::encode(message))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StreamError::Unread),
        }
    }
}
