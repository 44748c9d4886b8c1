//! The wire under a session: TCP (or a proxy's tunnel), TLS with both certificates, HTTP/2, and frames on its streams.
//!
//! Nothing outlives its [`Connection`]: hyper's own tasks end when it is dropped. Called by `control` and `lane`.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Frame, Incoming as Body};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor as _;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use postern_protocol::frame::{self, Decoder, FrameError};
use rustls::ClientConfig;
use serde::Deserialize;
use socket2::SockRef;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::session::Fault;
use super::tap::{Sent, Stream, Tap};
use crate::dial::error::DialError;
use crate::dial::{Dialled, Way, dial};
use crate::spool::SpoolError;
use crate::tls::{self, Distrust, TUNNEL_ALPN};
use crate::url::{HostPort, ServerUrl, UrlError};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// What may be on its way to us: a revision on the control stream, acknowledgements on the others.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes that may wait in the kernel unsent: few, so that an alert does not queue behind what was written before it.
const UNSENT_BYTES: u32 = 64 * 1024;

const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// Why a session ended, or never began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Loss {
    /// A batch could not be compressed.
    #[error("a batch cannot be compressed")]
    Compression(#[source] io::Error),
    /// No TCP connection.
    #[error("cannot reach the control plane")]
    Dial(#[from] DialError),
    /// The server is not the pinned one.
    #[error(transparent)]
    Distrust(Distrust),
    /// The other side's bytes make no sense.
    #[error("the control plane sent what is not a frame")]
    Frame(#[from] FrameError),
    /// The TLS handshake failed.
    #[error("no TLS connection to the control plane")]
    Handshake(#[source] io::Error),
    /// The HTTP/2 connection broke.
    #[error("the connection to the control plane broke")]
    Http(#[from] hyper::Error),
    /// The server does not offer the tunnel.
    #[error("the server does not offer the tunnel (ALPN): it is another one, or something on the way terminates TLS")]
    NotATunnel,
    /// More came from the control plane than the daemon takes in.
    #[error("the daemon does not keep up with what the control plane sends")]
    Overrun,
    /// The other side broke the protocol, or fell silent, or said goodbye.
    #[error(transparent)]
    Protocol(#[from] Fault),
    /// The control plane refused a stream.
    #[error("the control plane refused {path} ({status}): {detail}")]
    Refused {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// The spool failed: the tunnel cannot go on.
    #[error("the spool failed")]
    Spool(#[from] SpoolError),
    /// The control plane ended a stream.
    #[error("the control plane closed the connection")]
    StreamEnded,
    /// A step took too long.
    #[error("the control plane did not answer within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The server's address cannot stand in a certificate.
    #[error("the control plane's address is not usable")]
    Url(#[from] UrlError),
}

/// An HTTP/2 connection to the control plane.
pub(crate) struct Connection {
    requests: SendRequest<Channel<Bytes>>,
    authority: String,
    address: HostPort,
    executor: Executor,
    _end: DropGuard,
}

/// Opens streams; clones share the connection.
#[derive(Clone)]
pub(crate) struct Opener {
    requests: SendRequest<Channel<Bytes>>,
    authority: String,
    tap: Tap,
}

impl Connection {
    /// Connects. The receiver that comes with the connection hears when it is lost.
    pub(crate) async fn open(
        server: &ServerUrl,
        way: &Way,
        config: Arc<ClientConfig>,
    ) -> Result<(Self, oneshot::Receiver<Result<(), hyper::Error>>), Loss> {
        let name = server.server_name()?;
        let Dialled { stream, address, .. } = dial(way).await?;
        // Not worth a failure: without it an alert may wait behind what was written before it.
        let _unset = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
        let handshake = TlsConnector::from(config).connect(name, stream);
        let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| Loss::Timeout)?;
        let tls = tls.map_err(|error| match tls::distrust(&error) {
            Some(reason) => Loss::Distrust(reason),
            None => Loss::Handshake(error),
        })?;
        if tls.get_ref().1.alpn_protocol() != Some(TUNNEL_ALPN) {
            return Err(Loss::NotATunnel);
        }
        let end = CancellationToken::new();
        let executor = Executor { tasks: TaskTracker::new(), end: end.clone() };
        let handshake = Builder::new(executor.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(TokioIo::new(tls));
        let (requests, driver) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| Loss::Timeout)??;
        let (ended, lost) = oneshot::channel();
        executor.execute(async move {
            // Nobody listens once the session is over.
            let _unheard = ended.send(driver.await);
        });
        Ok((Self { requests, authority: server.authority(), address, executor, _end: end.drop_guard() }, lost))
    }

    /// Closes the connection; what is still to be written has `patience` for it.
    pub(crate) async fn close(self, patience: Duration) {
        let Self { requests, executor, _end, .. } = self;
        drop(requests);
        executor.tasks.close();
        let _all_written = tokio::time::timeout(patience, executor.tasks.wait()).await;
        executor.end.cancel();
        executor.tasks.wait().await;
    }

    /// Returns which of the addresses it leads to.
    pub(crate) fn address(&self) -> &HostPort {
        &self.address
    }

    /// Returns what opens streams on this connection.
    pub(crate) fn opener(&self, tap: Tap) -> Opener {
        Opener { requests: self.requests.clone(), authority: self.authority.clone(), tap }
    }
}

impl Opener {
    /// Opens a stream; the other side answers with its head at once, before it reads. Up to `queue` frames wait to be sent.
    pub(crate) async fn open(&mut self, stream: Stream, queue: usize) -> Result<(FrameSender, FrameReader), Loss> {
        let (sender, body) = Channel::new(queue);
        let path = match stream {
            Stream::Control => "/tunnel/v1/control".to_owned(),
            Stream::Lane(lane) => format!("/tunnel/v1/lane/{}", lane.name()),
        };
        let uri = format!("https://{}{path}", self.authority);
        let request = Request::post(uri).header(hyper::header::CONTENT_TYPE, "application/octet-stream").body(body);
        let Ok(request) = request else { return Err(UrlError::Host(self.authority.clone()).into()) };
        let response = async {
            self.requests.ready().await?;
            self.requests.send_request(request).await
        };
        let response = tokio::time::timeout(HANDSHAKE_TIMEOUT, response).await.map_err(|_| Loss::Timeout)??;
        let status = response.status();
        if status == StatusCode::OK {
            let sender = FrameSender { to: sender, stream, tap: self.tap.clone() };
            return Ok((sender, FrameReader { body: response.into_body(), decoder: Decoder::default() }));
        }
        let reading = Limited::new(response.into_body(), MAX_REFUSAL_BYTES).collect();
        let body = tokio::time::timeout(HANDSHAKE_TIMEOUT, reading).await.map_err(|_| Loss::Timeout)?;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(Loss::Refused { path, status: status.as_u16(), detail: refusal(&body) })
    }
}

/// Reads the reason out of an RFC 9457 problem.
fn refusal(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(default)]
        title: String,
        #[serde(default)]
        detail: String,
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let reason = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
    reason.map_or_else(|| "it gave no reason".to_owned(), |text| text.chars().take(500).collect())
}

/// The sending half of a stream; dropping it ends that half in good order.
pub(crate) struct FrameSender {
    to: Sender<Bytes>,
    stream: Stream,
    tap: Tap,
}

impl FrameSender {
    /// Says how many frames can be queued now.
    pub(crate) fn room(&mut self) -> usize {
        self.to.capacity()
    }

    /// Queues a frame, never waits; says whether that was possible.
    pub(crate) fn queue(&mut self, message: &impl prost::Message) -> bool {
        let frame = frame::encode(message);
        let is_queued = self.to.try_send(Frame::data(frame.clone())).is_ok();
        if is_queued {
            self.tap.pass(Sent { stream: self.stream, frame });
        }
        is_queued
    }
}

/// The receiving half of a stream.
pub(crate) struct FrameReader {
    body: Body,
    decoder: Decoder,
}

impl FrameReader {
    /// Returns the next message, `None` when the other side ended its half. Cancel-safe: what was read stays in the decoder.
    pub(crate) async fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, Loss> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else {
                self.decoder.finish()?;
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.decoder.push(&data);
            }
        }
    }

    /// Reads until the other side has ended its half, too.
    pub(crate) async fn drain(&mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
    }
}

/// Runs hyper's tasks until the connection is dropped.
#[derive(Clone)]
struct Executor {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            let _ended: Option<F::Output> = end.run_until_cancelled(task).await;
        });
    }
}
