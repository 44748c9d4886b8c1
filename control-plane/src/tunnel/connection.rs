//! One tunnel connection: HTTP/2 whose requests become streams of the session.
//!
//! A request is answered with 200 at once and its two bodies handed to the session; everything after that is frames.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use postern_protocol::farewell;
use postern_protocol::id::Lane;
use postern_protocol::message::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::frames::{Reader, Writer};
use super::identity::{self, Refusal};
use super::session;
use crate::app::App;

/// A dead peer is noticed within the sum of the two.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may take to deliver what was said last.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long a session may take to commit what it has in hand.
const LAST_COMMIT: Duration = Duration::from_secs(10);

/// One control stream, one stream for each lane, and room for a mistake.
const MAX_STREAMS: u32 = 8;

/// Frames that wait for the connection; a sender then waits. Few: pieces of a dictionary must not hold up what comes behind them.
const ANSWER_FRAMES: usize = 4;

type Body = Either<Channel<Bytes>, Full<Bytes>>;

/// Which stream a request opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Lane(Lane),
}

/// A stream that the gateway opened.
pub(super) struct Stream {
    pub(super) kind: Kind,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Who opened a connection, and from where.
pub(crate) struct Caller {
    /// The certificate that it showed.
    pub(crate) certificate: CertificateDer<'static>,
    /// Its other end.
    pub(crate) from: SocketAddr,
}

/// Serves a connection whose TLS handshake is done, until it ends or `app.stop` is cancelled.
pub(crate) async fn serve<I>(app: Arc<App>, io: I, caller: Caller)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Caller { certificate, from } = caller;
    let identified = async {
        let peer = identity::identify(app.stores.system(), &app.trust.current(), &certificate).await?;
        Ok(Context { app: Arc::clone(&app), store: app.stores.tenant(&peer.tenant)?, peer, from })
    };
    match identified.await {
        Ok(context) => run(context, io).await,
        Err(refusal) => {
            tracing::warn!(error = %crate::chain(&refusal), "tunnel refused");
            refuse(&app.stop, io, &refusal).await;
        }
    }
}

async fn run<I>(context: Context, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Full: the request waits for its turn.
    let (opened, streams) = mpsc::channel(MAX_STREAMS as usize);
    let service = service_fn(move |request| {
        let opened = opened.clone();
        async move { Ok::<_, Infallible>(open(request, opened).await) }
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(io), service));
    let mut session = pin!(session::run(context, streams));
    tokio::select! {
        () = &mut session => {
            connection.as_mut().graceful_shutdown();
            // Late or broken: the gateway will find out by itself.
            let _delivered = tokio::time::timeout(FAREWELL, connection).await;
        }
        _closed = &mut connection => {
            // The streams have ended too, so the session does: after the commit in hand.
            let _ended = tokio::time::timeout(LAST_COMMIT, session).await;
        }
    }
}

fn builder() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(MAX_STREAMS as usize);
    builder
}

async fn open(request: Request<Incoming>, opened: mpsc::Sender<Stream>) -> Response<Body> {
    let kind = match kind(request.uri().path()) {
        Ok(kind) => kind,
        Err(status) => return plain(status, "there is no such stream"),
    };
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "streams are opened by POST");
    }
    let (sender, body): (Sender<Bytes>, Channel<Bytes>) = Channel::new(ANSWER_FRAMES);
    let stream = Stream { kind, reader: Reader::new(request.into_body()), writer: Writer::new(sender) };
    if opened.send(stream).await.is_err() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the session has ended");
    }
    let mut response = Response::new(Either::Left(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    response
}

fn kind(path: &str) -> Result<Kind, StatusCode> {
    if path == "/tunnel/v1/control" {
        return Ok(Kind::Control);
    }
    let lane = path.strip_prefix("/tunnel/v1/lane/").and_then(|name| Lane::ALL.into_iter().find(|lane| lane.name() == name));
    match lane.ok_or(StatusCode::NOT_FOUND)? {
        taken @ (Lane::Alerts | Lane::Inventory | Lane::Samples) => Ok(Kind::Lane(taken)),
        // Nothing stores them yet; taking them in would acknowledge what is thrown away.
        Lane::Logs => Err(StatusCode::NOT_IMPLEMENTED),
    }
}

/// Answers every request of a peer that may not open a session, so that a person at the gateway can read why.
async fn refuse<I>(stop: &CancellationToken, io: I, refusal: &Refusal)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let status = match refusal {
        Refusal::Name | Refusal::Revoked(_) | Refusal::Unknown(_) => StatusCode::FORBIDDEN,
        Refusal::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = refusal.to_string();
    let (answered, mut done) = mpsc::channel::<()>(1);
    let service = service_fn(move |_request: Request<Incoming>| {
        let (text, answered) = (text.clone(), answered.clone());
        async move {
            let _first_is_enough = answered.try_send(());
            Ok::<_, Infallible>(plain(status, &text))
        }
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(io), service));
    let patience = tokio::time::sleep(Duration::from_secs(10));
    tokio::select! {
        _closed = &mut connection => return,
        _ = done.recv() => {}
        () = patience => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _delivered = tokio::time::timeout(FAREWELL, connection).await;
}

fn plain(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Refused");
    let problem = serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(problem.to_string()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
    // What the doctor of a gateway that is too old asks for, without a session.
    if let Ok(versions) = header::HeaderValue::from_str(&farewell::versions(OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION)) {
        headers.insert(farewell::VERSIONS_HEADER, versions);
    }
    response
}
