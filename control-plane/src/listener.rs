//! The one public port: console, API, enrolment and tunnel, told apart by ALPN in the ClientHello.
//!
//! ALPN decides which TLS configuration answers; what a connection may do is decided by the certificate that it then showed. Each
//! kind has its own router, so that no path of one is reachable through another. Connections are bounded; further ones wait.

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
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::app::App;
use crate::metrics::Metrics;
use crate::tls::{ALPN_ENROLMENT, ALPN_TUNNEL, ServerConfigs};
use crate::tunnel::connection;
use crate::{api, console, enrolment, headers, small_body};

/// Handshakes at once; further connections wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 512;

/// Connections of browsers, programs and enrolling gateways at once; a further one is closed. Tunnels have places of their own, so
/// that a crowd without certificates cannot shut the gateways out.
const MAX_PUBLIC: usize = 4096;
const MAX_TUNNELS: usize = 4096;

/// How long a peer may take for its handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const REQUEST_HEAD: Duration = Duration::from_secs(20);

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
    public_places: Arc<Semaphore>,
    tunnel_places: Arc<Semaphore>,
}

/// Serves the port until `app.stop`, then lets what is under way finish for a few seconds. `configs` may change while it runs.
pub async fn serve(app: Arc<App>, listener: TcpListener, configs: watch::Receiver<ServerConfigs>) {
    let public = api::router(Arc::clone(&app)).merge(console::router(Arc::clone(&app)));
    let public = public.layer(axum::middleware::map_response(headers::add)).layer(axum::middleware::from_fn(small_body::take_in));
    let port = Arc::new(Port {
        app: Arc::clone(&app),
        enrolment: enrolment::router(Arc::clone(&app)),
        public,
        handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
        public_places: Arc::new(Semaphore::new(MAX_PUBLIC)),
        tunnel_places: Arc::new(Semaphore::new(MAX_TUNNELS)),
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
                let (port, configs) = (Arc::clone(&port), configs.borrow().clone());
                connections.spawn(async move {
                    let from = socket.from;
                    if let Err(error) = one(&port, socket, &configs, permit).await {
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

async fn accept(listener: &TcpListener, handshakes: &Arc<Semaphore>) -> std::io::Result<(Socket, OwnedSemaphorePermit)> {
    let permit = Arc::clone(handshakes).acquire_owned().await.map_err(std::io::Error::other)?;
    let (tcp, from) = listener.accept().await?;
    tcp.set_nodelay(true)?;
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

async fn one(port: &Port, socket: Socket, configs: &ServerConfigs, handshaking: OwnedSemaphorePermit) -> Result<(), ConnectionError> {
    let (app, from) = (&port.app, socket.from);
    let (kind, tls) = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE, handshake(socket.tcp, configs)) => done.map_err(|_| ConnectionError::Slow)??,
        () = app.stop.cancelled() => return Ok(()),
    };
    drop(handshaking);
    let places = if kind == Kind::Tunnel { &port.tunnel_places } else { &port.public_places };
    let _place = places.try_acquire().map_err(|_| ConnectionError::Full)?;
    match kind {
        Kind::Enrolment => http(app, tls, from, port.enrolment.clone()).await,
        Kind::Public => http(app, tls, from, port.public.clone()).await,
        Kind::Tunnel => {
            let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
            // The verifier demands one; without it there is nobody to serve.
            let certificate = certificate.ok_or(ConnectionError::NoCertificate)?.into_owned();
            connection::serve(Arc::clone(app), tls, certificate).await;
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

async fn http(app: &App, tls: TlsStream<TcpStream>, from: SocketAddr, router: Router) -> Result<(), ConnectionError> {
    let service = router.map_request(move |mut request: Request<Incoming>| {
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
    let mut connection = pin!(builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(service)));
    tokio::select! {
        done = connection.as_mut() => return done.map_err(ConnectionError::Http),
        () = app.stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(ConnectionError::Http)
}
