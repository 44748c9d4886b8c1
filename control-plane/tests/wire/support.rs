//! A control plane on loopback and a gateway made of nothing but TLS, HTTP/2 and frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use postern_control::app::App;
use postern_control::ca::CertificateAuthority;
use postern_control::config::Config;
use postern_control::serve::{ServeError, Server};
use postern_control::signer::Signer;
use postern_control::store::Stores;
use postern_control::store::audit::By;
use postern_control::{clock, enrolment, tls};
use postern_protocol::enrolment::{EnrolRequest, EnrolResponse};
use postern_protocol::frame;
use postern_protocol::id::TenantId;
use postern_protocol::message::{Down, Hello, Up, down, up};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Longest that anything may take here.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Site {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) tenant: TenantId,
    pub(crate) tasks: JoinSet<Result<(), ServeError>>,
    _folder: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts with another configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: folder.path().to_owned(),
            names: vec!["localhost".parse().unwrap()],
            client_certificate_life: Duration::from_secs(30 * 86_400),
            renew_expired_within: Duration::from_secs(30 * 86_400),
            unreachable_after: Duration::from_secs(60),
            bulk_slow_after: Duration::from_secs(1),
        };
        change(&mut config);
        std::fs::create_dir(config.keys()).unwrap();
        CertificateAuthority::create(&config.keys(), "ca", clock::now()).unwrap();
        tls::create_keys(&config.keys()).unwrap();
        Signer::create(&config.keys().join("revision.key")).unwrap();
        let tenant = TenantId::new("acme").unwrap();
        Stores::open(folder.path()).unwrap().create_tenant(&tenant, "Acme", clock::now()).await.unwrap();
        let server = Server::bind(config, clock::now, CancellationToken::new()).await.unwrap();
        let (app, addresses) = (Arc::clone(server.app()), server.addresses());
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run());
        Self { app, address: addresses.listen, admin: addresses.admin, tenant, tasks, _folder: folder }
    }

    /// Stops the control plane and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.app.stop.cancel();
        tokio::time::timeout(SOON, self.tasks.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.app.trust.current().presented().certificate().clone()).unwrap();
        roots
    }

    pub(crate) fn client(&self, alpn: &[u8], identity: Option<&Identity>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    pub(crate) async fn connect(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub(crate) async fn request(&self, alpn: &[u8], method: Method, path: &str, body: Vec<u8>) -> (StatusCode, hyper::HeaderMap, Bytes) {
        let tls = self.connect(self.client(alpn, None)).await.unwrap();
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let (head, body) = send.send_request(request).await.unwrap().into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    }

    /// Makes a token and returns its identifier and secret.
    pub(crate) async fn token(&self, life: Duration) -> (String, String) {
        let (id, token) = enrolment::create_token(&self.app, (&self.tenant, By::command_line()), "Site A", life).await.unwrap();
        (id, data_encoding::BASE64URL_NOPAD.encode(&token.secret))
    }

    pub(crate) async fn try_enrol(&self, secret: &str) -> Result<Identity, serde_json::Value> {
        self.enrol_with(secret, csr().1).await
    }

    pub(crate) async fn enrol_with(&self, secret: &str, listener_csr: String) -> Result<Identity, serde_json::Value> {
        let (key, client_csr) = csr();
        let request = EnrolRequest {
            secret: secret.to_owned(),
            client_csr,
            listener_csr,
            hostname: "site-a".to_owned(),
            program_version: "0.1.0".to_owned(),
        };
        let body = serde_json::to_vec(&request).unwrap();
        let (status, headers, body) = self.request(tls::ALPN_ENROLMENT, Method::POST, "/enrol/v1", body).await;
        if status == StatusCode::OK {
            return Ok(Identity { key: key.serialize_der(), response: serde_json::from_slice(&body).unwrap() });
        }
        assert_eq!(headers["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status.as_u16());
        Err(problem)
    }

    pub(crate) async fn enrol(&self) -> Identity {
        let (_, secret) = self.token(Duration::from_secs(3600)).await;
        self.try_enrol(&secret).await.unwrap()
    }

    /// Opens the tunnel's connection.
    pub(crate) async fn link(&self, identity: &Identity) -> Link {
        let tls = self.connect(self.client(tls::ALPN_TUNNEL, Some(identity))).await.unwrap();
        let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Link { send, _tasks: tasks }
    }

    /// Opens a session: link, greeting and welcome.
    pub(crate) async fn session(&self, identity: &Identity, hello: Hello) -> (Link, Stream, postern_protocol::message::Welcome) {
        let mut link = self.link(identity).await;
        let mut control = link.open("/tunnel/v1/control").await.unwrap();
        control.say(up::Kind::Hello(hello)).await;
        let Some(down::Kind::Welcome(welcome)) = control.hear().await else { panic!("a welcome comes first") };
        (link, control, welcome)
    }
}

/// What a gateway has after its enrolment.
pub(crate) struct Identity {
    key: Vec<u8>,
    pub(crate) response: EnrolResponse,
}

impl Identity {
    /// Returns the same gateway with a renewed certificate, DER.
    pub(crate) fn renewed(&self, key: &KeyPair, certificate: &[u8]) -> Self {
        let mut response = self.response.clone();
        let text = data_encoding::BASE64.encode(certificate);
        response.client_certificate = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        Self { key: key.serialize_der(), response }
    }

    /// Returns the key of its certificate, PKCS#8.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.key.clone()
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.response.client_certificate.as_bytes()).unwrap()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone().into())
    }
}

pub(crate) fn csr() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::new(vec!["gateway.site".to_owned()]).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    (key, csr)
}

pub(crate) fn hello() -> Hello {
    Hello { protocol: 1, program_version: "0.1.0".to_owned(), epoch: 77, ..Hello::default() }
}

pub(crate) struct Link {
    send: hyper::client::conn::http2::SendRequest<Channel<Bytes>>,
    _tasks: JoinSet<Result<(), hyper::Error>>,
}

impl Link {
    pub(crate) async fn open(&mut self, path: &str) -> Result<Stream, Response<Incoming>> {
        let (sender, body) = Channel::new(16);
        let request = Request::post(format!("https://localhost{path}")).body(body).unwrap();
        let response = self.send.send_request(request).await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(response);
        }
        Ok(Stream { sender, body: response.into_body(), decoder: frame::Decoder::default() })
    }
}

/// One stream of a link.
pub(crate) struct Stream {
    sender: Sender<Bytes>,
    body: Incoming,
    decoder: frame::Decoder,
}

impl Stream {
    pub(crate) async fn send(&mut self, message: &impl prost::Message) {
        self.sender.send_data(frame::encode(message)).await.unwrap();
    }

    pub(crate) async fn say(&mut self, kind: up::Kind) {
        self.send(&Up { kind: Some(kind) }).await;
    }

    /// Returns the next message, or `None` at the stream's end.
    pub(crate) async fn next<M: prost::Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.expect("an answer in time")?;
            self.decoder.push(&frame.ok()?.into_data().ok()?);
        }
    }

    pub(crate) async fn hear(&mut self) -> Option<down::Kind> {
        self.next::<Down>().await.and_then(|down| down.kind)
    }
}
