//! The way to ask the broker: a blocking client with time-outs, one call per connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::verb::{MAX_LINE_BYTES, Reply, Verb};

/// The broker restarts services for `apply` and makes keys for `ssh`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The broker closed the connection or its answer is none.
    #[error("the broker's answer is not understood")]
    Answer(#[source] serde_json::Error),
    /// It cannot be reached.
    #[error("the broker cannot be reached at {}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The connection broke, or took too long.
    #[error("the connection to the broker failed")]
    Io(#[source] io::Error),
    /// The question is longer than a line may be.
    #[error("the request is longer than {MAX_LINE_BYTES} bytes")]
    Long,
}

/// A connection to the broker.
pub struct Broker(UnixStream);

impl Broker {
    /// Connects to the socket at `path`, see [`crate::verb::SOCKET`].
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let cannot = |cause| ClientError::Connect { path: path.to_owned(), cause };
        let stream = UnixStream::connect(path).map_err(cannot)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(cannot)?;
        stream.set_write_timeout(Some(SEND_TIMEOUT)).map_err(cannot)?;
        Ok(Self(stream))
    }

    /// Waits no longer than `patience` for the answer, in place of the two minutes that the slowest verb may take.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn answer_within(self, patience: Duration) -> Result<Self, ClientError> {
        self.0.set_read_timeout(Some(patience)).map_err(ClientError::Io)?;
        Ok(self)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is no answer; that the broker refuses or fails is a [`Reply`].
    pub fn call(mut self, verb: &Verb) -> Result<Reply, ClientError> {
        // May hold the enrolment token.
        let mut line = Zeroizing::new(serde_json::to_vec(verb).map_err(ClientError::Answer)?);
        line.push(b'\n');
        if line.len() > MAX_LINE_BYTES {
            return Err(ClientError::Long);
        }
        // A broker that is busy answers without reading all.
        let written = self.0.write_all(&line);
        let mut answer = Vec::new();
        let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let read = BufReader::new(self.0.take(most)).read_until(b'\n', &mut answer);
        if answer.is_empty() {
            written.map_err(ClientError::Io)?;
        }
        read.map_err(ClientError::Io)?;
        serde_json::from_slice(&answer).map_err(ClientError::Answer)
    }
}
