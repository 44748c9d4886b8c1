//! A listener in the middle of the tunnel that sees every decrypted byte.
//!
//! Pins forbid a stranger in the middle. This one is no stranger: it holds the control plane's tunnel key towards the gateway
//! and the gateway's client key towards the control plane, both of the rig, and passes HTTP/2 requests on as they come. Gateway
//! and control plane are the real programs, unchanged.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use postern_protocol::frame::Decoder;
use postern_protocol::message::{Batch, Records};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::rig::Rig;

/// One request and its answer, decrypted, HPACK undone.
#[derive(Clone, Default)]
pub(crate) struct Exchange {
    pub(crate) heads: String,
    pub(crate) up: Vec<u8>,
    pub(crate) down: Vec<u8>,
}

/// What was seen. Behind a lock because each stream writes from its own task and the test reads in between.
type Tap = Arc<Mutex<Vec<Exchange>>>;

/// The relay; it stops when dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    tap: Tap,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(rig: &Rig) -> Self {
        let keys = rig.layout().control_dir().join("keys");
        let identity = rig.layout().gateway_dir().join("identity");
        let ca = certificates(&keys.join("ca.pem"));
        let server = server_config(&keys, &ca);
        let client = client_config(&identity, &ca);
        let upstream = rig.prepared.sockets.https();
        let tap = Tap::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&tap);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, TlsAcceptor::from(server), TlsConnector::from(client), upstream, shared) => (),
                    _ = stopped => (),
                }
            });
        });
        Self { address, tap, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.tap.lock().unwrap().clone()
    }

    /// Every byte that passed, each piece with its name: heads, bodies, and what batches hold once decompressed.
    pub(crate) fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for (number, exchange) in self.exchanges().into_iter().enumerate() {
            let path = exchange.heads.split_whitespace().nth(1).unwrap_or_default().to_owned();
            if path.starts_with("/tunnel/v1/lane/") {
                all.push((format!("{number} {path} records"), records(&path, &exchange.up)));
            }
            all.push((format!("{number} {path} heads"), exchange.heads.into_bytes()));
            all.push((format!("{number} {path} up"), exchange.up));
            all.push((format!("{number} {path} down"), exchange.down));
        }
        all
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What a lane's batches hold.
fn records(path: &str, up: &[u8]) -> Vec<u8> {
    let is_known = |record: &[u8]| match path.rsplit('/').next() {
        Some("alerts") => postern_protocol::alert::Alert::decode(record).is_ok(),
        Some("inventory") => <postern_protocol::inventory::Inventory as prost::Message>::decode(record)
            .is_ok_and(|read| prost::Message::encode_to_vec(&read) == record),
        Some("samples") => postern_protocol::sample::Sample::decode(record).is_ok_and(|read| read.encode() == record),
        _ => false,
    };
    let (mut decoder, mut all) = (Decoder::default(), Vec::new());
    decoder.push(up);
    while let Some(batch) = decoder.next::<Batch>().unwrap() {
        let plain = zstd::decode_all(batch.records_zstd.as_slice()).unwrap();
        // It must be what the protocol says, else something else could hide in it.
        let records = <Records as prost::Message>::decode(plain.as_slice()).unwrap();
        assert!(records.records.iter().all(|record| is_known(record)), "{path}");
        all.extend(plain);
    }
    all
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, connector: TlsConnector, upstream: SocketAddr, tap: Tap) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, connector, tap) = (acceptor.clone(), connector.clone(), Arc::clone(&tap));
        connections.spawn(async move {
            // A connection that fails is the gateway's to try again; the test sees what it got through.
            drop(pass_on(stream, acceptor, connector, upstream, tap).await);
        });
    }
}

async fn pass_on(stream: TcpStream, acceptor: TlsAcceptor, connector: TlsConnector, upstream: SocketAddr, tap: Tap) -> anyhow::Result<()> {
    let gateway = acceptor.accept(stream).await?;
    let control = connector.connect(ServerName::try_from("127.0.0.1")?, TcpStream::connect(upstream).await?).await?;
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(control)).await?;
    let service = hyper::service::service_fn(move |request| exchange(request, sender.clone(), Arc::clone(&tap)));
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(gateway), service);
    tokio::select! {
        ended = served => ended?,
        ended = connection => ended?,
    }
    Ok(())
}

type Tapped = http_body_util::combinators::BoxBody<Bytes, hyper::Error>;

async fn exchange(
    request: Request<Incoming>,
    mut sender: hyper::client::conn::http2::SendRequest<Tapped>,
    tap: Tap,
) -> Result<Response<Tapped>, hyper::Error> {
    let (head, body) = request.into_parts();
    let at = {
        let mut exchanges = tap.lock().unwrap();
        exchanges.push(Exchange {
            heads: format!("{} {} {:?}", head.method, head.uri.path(), (&head.uri, &head.headers)),
            ..Exchange::default()
        });
        exchanges.len() - 1
    };
    let up = Arc::clone(&tap);
    let body = body.map_frame(move |frame| tapped(frame, |bytes| up.lock().unwrap()[at].up.extend_from_slice(bytes)));
    let (head, body) = sender.send_request(Request::from_parts(head, body.boxed())).await?.into_parts();
    tap.lock().unwrap()[at].heads.push_str(&format!(" -> {} {:?}", head.status, head.headers));
    let body = body.map_frame(move |frame| tapped(frame, |bytes| tap.lock().unwrap()[at].down.extend_from_slice(bytes)));
    Ok(Response::from_parts(head, body.boxed()))
}

fn tapped(frame: Frame<Bytes>, record: impl FnOnce(&[u8])) -> Frame<Bytes> {
    match frame.data_ref() {
        Some(bytes) => record(bytes),
        None => record(format!("{:?}", frame.trailers_ref()).as_bytes()),
    }
    frame
}

fn server_config(keys: &Path, ca: &[CertificateDer<'static>]) -> Arc<ServerConfig> {
    let chain = [certificates(&keys.join("tunnel.pem")).as_slice(), ca].concat();
    let key = PrivateKeyDer::from_pem_file(keys.join("tunnel.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    // The client's certificate is asked for as the control plane asks, so that the gateway sees no difference.
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)), provider()).build().unwrap();
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"postern/1".to_vec()];
    Arc::new(config)
}

fn client_config(identity: &Path, ca: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let key = PrivateKeyDer::from_pem_file(identity.join("client.key")).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config =
        builder.with_root_certificates(roots(ca)).with_client_auth_cert(certificates(&identity.join("client.pem")), key).unwrap();
    config.alpn_protocols = vec![b"postern/1".to_vec()];
    Arc::new(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(ca: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(ca.iter().cloned());
    roots
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}
