//! The one public port: console, API, enrolment and tunnel, told apart by ALPN in the ClientHello.
//!
//! ALPN decides which TLS configuration answers; what a connection may do is decided by the certificate that it then showed. Each
//! kind has its own router, so that no path of one is reachable through another. Connections are bounded, in all and from one
//! address, and each has to say something in time.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::app::App;
use crate::metrics::Metrics;
use crate::sources::{Place, Sources};
use crate::tls::{ALPN_ENROLMENT, ALPN_TUNNEL, ServerConfigs};
use crate::tunnel::connection::{self, Caller};
use crate::{api, console, descriptors, enrolment, headers, small_body};

/// Handshakes at once; further connections wait in the kernel's queue. From one address so many that it cannot keep everybody
/// else waiting there; a further one is closed.
const MAX_HANDSHAKES: usize = 512;
const MAX_HANDSHAKES_FROM_ONE: usize = 128;

/// Connections of browsers, programs and enrolling gateways at once; a further one is closed. Tunnels have places of their own, so
/// that a crowd without certificates cannot shut the gateways out.
const MAX_PUBLIC: usize = 4096;
const MAX_PUBLIC_FROM_ONE: usize = 1024;
const MAX_TUNNELS: usize = 4096;

/// How long a peer may take for its handshake, and for the head of a request; the first one is due as soon as the handshake is done.
const HANDSHAKE: Duration = Duration::from_secs(10);
const REQUEST_HEAD: Duration = Duration::from_secs(20);

/// How long a peer may leave what we send unread before the kernel gives it up: hyper would wait for ever, and its place with it.
const UNREAD: Duration = Duration::from_secs(60);

/// How long requests may take to finish when the program stops.
const DRAIN: Duration = Duration::from_secs(6);

/// Pause after the system refused to accept, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
struct Port {
    app: Arc<App>,
    enrolment: Router,
    public: Router,
    handshakes: Arc<Semaphore>,
    handshakes_from: Sources,
    public_places: Arc<Semaphore>,
    public_from: Sources,
    tunnel_places: Arc<Semaphore>,
}

/// Serves the port until `app.stop`, then lets what is under way finish for a few seconds. `configs` may change while it runs.
pub async fn serve(app: Arc<App>, listener: TcpListener, configs: watch::Receiver<ServerConfigs>) {
    let public = api::router(Arc::clone(&app)).merge(console::router(Arc::clone(&app)));
    let public = public.layer(axum::middleware::map_response(headers::add)).layer(axum::middleware::from_fn(small_body::take_in));
    let (all, room) = (MAX_HANDSHAKES + MAX_PUBLIC + MAX_TUNNELS, descriptors::for_connections());
    if room < all {
        tracing::warn!(room, all, "fewer connections are taken than usual: raise the limit of open files (LimitNOFILE)");
    }
    let places = |most| Arc::new(Semaphore::new(descriptors::share(most, all, room)));
    let port = Arc::new(Port {
        app: Arc::clone(&app),
        enrolment: enrolment::router(Arc::clone(&app)).layer(axum::middleware::from_fn(small_body::take_in)),
        public,
        handshakes: places(MAX_HANDSHAKES),
        handshakes_from: Sources::new(MAX_HANDSHAKES_FROM_ONE),
        public_places: places(MAX_PUBLIC),
        public_from: Sources::new(MAX_PUBLIC_FROM_ONE),
        tunnel_places: places(MAX_TUNNELS),
    });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = app.stop.cancelled() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = accept(&listener, &port.handshakes) => accepted,
        };
        match accepted {
            Ok((socket, permit)) => {
                Metrics::add(&app.metrics.connections, 1);
                let Some(from_one) = port.handshakes_from.enter(socket.from.ip()) else {
                    Metrics::add(&app.metrics.connections_failed, 1);
                    continue;
                };
                let (port, configs) = (Arc::clone(&port), configs.borrow().clone());
                connections.spawn(async move {
                    let from = socket.from;
                    if let Err(error) = one(&port, socket, &configs, Handshaking { _permit: permit, _from_one: from_one }).await {
                        Metrics::add(&port.app.metrics.connections_failed, 1);
                        tracing::debug!(%from, error = %crate::chain(&error), "connection failed");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::info!(left = connections.len(), "connections cut at the end");
        connections.shutdown().await;
    }
}

struct Socket {
    tcp: TcpStream,
    from: SocketAddr,
}

/// Given back when the handshake is done.
struct Handshaking {
    _permit: OwnedSemaphorePermit,
    _from_one: Place,
}

async fn accept(listener: &TcpListener, handshakes: &Arc<Semaphore>) -> std::io::Result<(Socket, OwnedSemaphorePermit)> {
    let permit = Arc::clone(handshakes).acquire_owned().await.map_err(std::io::Error::other)?;
    let (tcp, from) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    setsockopt(&tcp, TcpUserTimeout, &u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX))?;
    Ok((Socket { tcp, from }, permit))
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    #[error("HTTP failed")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the peer was too slow")]
    Slow,
    #[error("all places for such connections are taken")]
    Full,
    #[error("the tunnel's peer showed no certificate")]
    NoCertificate,
}

async fn one(port: &Port, socket: Socket, configs: &ServerConfigs, handshaking: Handshaking) -> Result<(), ConnectionError> {
    let (app, from) = (&port.app, socket.from);
    let (kind, tls) = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE, handshake(socket.tcp, configs)) => done.map_err(|_| ConnectionError::Slow)??,
        () = app.stop.cancelled() => return Ok(()),
    };
    drop(handshaking);
    let places = if kind == Kind::Tunnel { &port.tunnel_places } else { &port.public_places };
    let _place = places.try_acquire().map_err(|_| ConnectionError::Full)?;
    // Many gateways may share one address, and each has proven itself.
    let _from_one = if kind == Kind::Tunnel { None } else { Some(port.public_from.enter(from.ip()).ok_or(ConnectionError::Full)?) };
    match kind {
        Kind::Enrolment => http(&app.stop, tls, from, port.enrolment.clone()).await,
        Kind::Public => http(&app.stop, tls, from, port.public.clone()).await,
        Kind::Tunnel => {
            let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
            // The verifier demands one; without it there is nobody to serve.
            let certificate = certificate.ok_or(ConnectionError::NoCertificate)?.into_owned();
            connection::serve(Arc::clone(app), tls, Caller { certificate, from }).await;
            Ok(())
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Enrolment,
    Public,
    Tunnel,
}

async fn handshake(tcp: TcpStream, configs: &ServerConfigs) -> Result<(Kind, TlsStream<TcpStream>), ConnectionError> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await.map_err(ConnectionError::Handshake)?;
    let hello = start.client_hello();
    let offers = |id: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|offer| offer == id));
    let (kind, config): (Kind, &Arc<ServerConfig>) = if offers(ALPN_TUNNEL) {
        (Kind::Tunnel, &configs.tunnel)
    } else if offers(ALPN_ENROLMENT) {
        (Kind::Enrolment, &configs.enrolment)
    } else {
        (Kind::Public, &configs.public)
    };
    let config = Arc::clone(config);
    Ok((kind, start.into_stream(config).await.map_err(ConnectionError::Handshake)?))
}

async fn http<I>(stop: &CancellationToken, io: I, from: SocketAddr, router: Router) -> Result<(), ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(Notify::new());
    let first = Arc::clone(&asked);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        first.notify_one();
        request.extensions_mut().insert(ConnectInfo(from));
        request.map(axum::body::Body::new)
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(128)
        .max_header_list_size(32 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)));
    // hyper's own limits begin with the first bytes: before, it does not know which HTTP the peer speaks.
    let silent = async {
        if tokio::time::timeout(REQUEST_HEAD, asked.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        done = connection.as_mut() => return done.map_err(ConnectionError::Http),
        () = silent => return Err(ConnectionError::Slow),
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(ConnectionError::Http)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    /// Serves a peer that says no more than `said`, and returns how its connection ended.
    async fn serve_one(said: &[u8]) -> Result<(), ConnectionError> {
        let (mut peer, io) = tokio::io::duplex(1024);
        peer.write_all(said).await.unwrap();
        let stop = CancellationToken::new();
        let served = http(&stop, io, ([127, 0, 0, 1], 1).into(), Router::new());
        tokio::time::timeout(Duration::from_secs(300), served).await.expect("the connection ends by itself")
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_asks_for_anything_loses_its_place() {
        for said in [b"".as_slice(), b"G", b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            assert!(serve_one(said).await.is_err(), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _permit) = accept(&listener, &Arc::new(Semaphore::new(1))).await.unwrap();
        let patience = nix::sys::socket::getsockopt(&socket.tcp, TcpUserTimeout).unwrap();
        assert_eq!(Duration::from_millis(patience.into()), UNREAD);
    }
}
