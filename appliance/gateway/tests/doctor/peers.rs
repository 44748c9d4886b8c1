//! What may stand at the other end: a control plane that answers as told, a sign-in page, a proxy, a network that swallows long packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::DATE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use postern_protocol::farewell;
use postern_uplink::tls::{self, ENROLMENT_ALPN, TUNNEL_ALPN};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::pki::Server;

/// A peer that serves until it is dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    _end: DropGuard,
}

impl Peer {
    /// Serves every connection with `serve`.
    pub(crate) async fn start<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let (stop, tasks) = (end.clone(), TaskTracker::new());
        tasks.clone().spawn(end.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.spawn(stop.clone().run_until_cancelled_owned(serve(stream)));
            }
        }));
        Self { address, _end: end.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn proxy(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What a control plane answers.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) status: u16,
    pub(crate) detail: String,
    pub(crate) versions: &'static str,
    /// Its clock, seen from ours.
    pub(crate) ahead: time::Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self { status: 404, detail: String::new(), versions: "1-2", ahead: time::Duration::ZERO }
    }
}

/// Starts a control plane, or whoever takes its place, with the certificate of `server`.
pub(crate) async fn control_plane(server: &Server, manner: Manner) -> Peer {
    let config = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(server.chain.clone(), server.private_key()).unwrap();
    config.alpn_protocols = vec![TUNNEL_ALPN.to_vec(), ENROLMENT_ALPN.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Peer::start(move |stream| {
        let (acceptor, manner) = (acceptor.clone(), manner.clone());
        async move {
            let Ok(tls) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |_: Request<hyper::body::Incoming>| {
                let answer = answer(&manner);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _broken = server.serve_connection(TokioIo::new(tls), service).await;
        }
    })
    .await
}

fn answer(manner: &Manner) -> Response<Full<Bytes>> {
    let clock = SystemTime::now() + manner.ahead;
    let problem = serde_json::json!({ "detail": manner.detail }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(problem)));
    *response.status_mut() = manner.status.try_into().unwrap();
    response.headers_mut().insert(DATE, httpdate::fmt_http_date(clock).parse().unwrap());
    response.headers_mut().insert(farewell::VERSIONS_HEADER, manner.versions.parse().unwrap());
    response
}

/// Starts a peer that answers whatever it is sent with `text`, and closes.
pub(crate) async fn says(text: &'static str) -> Peer {
    Peer::start(move |mut stream| async move {
        let mut asked = [0; 4096];
        let _asked = stream.read(&mut asked).await;
        let _gone = stream.write_all(text.as_bytes()).await;
        let _gone = stream.shutdown().await;
        // What is still to be read would make the close a reset.
        while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// Starts a peer that takes connections and says nothing.
pub(crate) async fn silent() -> Peer {
    Peer::start(|mut stream| async move {
        let mut swallowed = [0; 4096];
        while stream.read(&mut swallowed).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// Starts a proxy that connects whoever asks to `to`, whatever was asked for.
pub(crate) async fn proxy_to(to: SocketAddr) -> Peer {
    Peer::start(move |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let Ok(mut behind) = TcpStream::connect(to).await else { return };
        let _gone = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
        let _ended = copy_bidirectional(&mut stream, &mut behind).await;
    })
    .await
}

/// Starts a way to `to` on which packets beyond 576 bytes are lost without a word: a connection whose segments may be longer passes
/// nothing that would make one.
pub(crate) async fn black_hole_before(to: SocketAddr) -> Peer {
    Peer::start(move |mut stream| async move {
        let Ok(mut behind) = TcpStream::connect(to).await else { return };
        if SockRef::from(&stream).tcp_mss().unwrap() <= 536 {
            let _ended = copy_bidirectional(&mut stream, &mut behind).await;
        } else {
            // The greeting alone is longer than that.
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
    })
    .await
}
