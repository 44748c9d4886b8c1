//! The public port over real TLS: who is asked for a certificate, which headers pages carry, and how it stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Site, csr};
use hyper::{Method, StatusCode};
use postern_control::ca::{CertificateAuthority, CertificateRequest, Subject, Term};
use postern_control::{clock, tls};
use postern_protocol::timestamp::Timestamp;
use rcgen::KeyPair;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Notes whether the server asked for a certificate; has none.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shows one certificate to whoever asks.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Asks for the tunnel with that certificate; `None` when not even a status comes back.
async fn ask_for_the_tunnel(site: &Site, certificate: &str, key: &KeyPair) -> Option<StatusCode> {
    let key = tls::provider().key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut config = site.client(tls::ALPN_TUNNEL, None);
    config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key))));
    let tls = site.connect(config).await.ok()?;
    let io = hyper_util::rt::TokioIo::new(tls);
    let (mut send, connection) = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.ok()?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    let request = hyper::Request::post("https://localhost/tunnel/v1/control").body(String::new()).unwrap();
    send.send_request(request).await.ok().map(|response| response.status())
}

#[tokio::test]
async fn only_a_gateways_own_certificate_opens_its_tunnel() {
    let site = Site::start().await;
    let (listener_key, listener_csr) = csr();
    let (_, secret) = site.token(Duration::from_secs(3600)).await;
    let enrolled = site.enrol_with(&secret, listener_csr).await.ok().unwrap().response;
    let issue = |authority: &CertificateAuthority, now: Timestamp| {
        let (key, csr) = csr();
        let whom = Subject { gateway: &enrolled.gateway, tenant: &enrolled.tenant };
        let term = Term { now, life: Duration::from_secs(90 * 86_400) };
        (authority.issue_client(&CertificateRequest::from_pem(&csr).unwrap(), whom, term).unwrap().pem, key)
    };
    let folder = tempfile::tempdir().unwrap();
    let other = CertificateAuthority::create(folder.path(), "ca", clock::now()).unwrap();

    let (of_another_authority, key) = issue(&other, clock::now());
    assert_eq!(ask_for_the_tunnel(&site, &of_another_authority, &key).await, None);
    let (expired, key) = issue(site.app.trust.current().issuing(), Timestamp::from_secs(clock::now().as_secs() - 91 * 86_400));
    assert_eq!(ask_for_the_tunnel(&site, &expired, &key).await, None);
    assert_eq!(ask_for_the_tunnel(&site, &enrolled.listener_certificate, &listener_key).await, None);
    // Older than what is written down of this gateway: one that was never given to it.
    let (of_another_key, key) = issue(site.app.trust.current().issuing(), Timestamp::from_secs(clock::now().as_secs() - 60));
    assert_eq!(ask_for_the_tunnel(&site, &of_another_key, &key).await, Some(StatusCode::FORBIDDEN));
    site.stop().await;
}

#[tokio::test]
async fn only_the_tunnel_asks_for_a_certificate() {
    let site = Site::start().await;
    for (alpn, expected) in [(b"h2".as_slice(), false), (b"http/1.1", false), (tls::ALPN_ENROLMENT, false), (tls::ALPN_TUNNEL, true)] {
        let asked = Arc::new(Asked::default());
        let mut config = site.client(alpn, None);
        config.client_auth_cert_resolver = Arc::clone(&asked) as _;
        let _connected = site.connect(config).await;
        assert_eq!(asked.0.load(Ordering::Relaxed), expected, "{}", String::from_utf8_lossy(alpn));
    }
    site.stop().await;
}

#[tokio::test]
async fn a_tunnel_without_a_certificate_is_refused() {
    let site = Site::start().await;
    // With TLS 1.3 the client learns of it at its first read.
    let refused = match site.connect(site.client(tls::ALPN_TUNNEL, None)).await {
        Ok(mut tls) => {
            let _sent = tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            tls.read_u8().await.is_err()
        }
        Err(_) => true,
    };
    assert!(refused);
    site.stop().await;
}

#[tokio::test]
async fn answers_carry_the_security_headers() {
    let site = Site::start().await;
    for path in ["/sign-in", "/api/v1/openapi.json", "/api/v1/nothing", "/nothing"] {
        let (_, headers, _) = site.request(b"http/1.1", Method::GET, path, Vec::new()).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(headers["strict-transport-security"].to_str().unwrap().starts_with("max-age="), "{path}");
        assert!(headers.contains_key("referrer-policy"), "{path}");
    }
    site.stop().await;
}

#[tokio::test]
async fn the_admin_address_shows_health_and_metrics() {
    let site = Site::start().await;
    let get = async |path: &str| {
        let mut tcp = tokio::net::TcpStream::connect(site.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").await.contains("control_tunnel_sessions 0"));
    let (status, _, _) = site.request(b"http/1.1", Method::GET, "/metrics", Vec::new()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    site.stop().await;
}

#[tokio::test]
async fn a_connection_that_never_speaks_does_not_hold_the_stop() {
    let site = Site::start().await;
    let _silent = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let _idle = site.connect(site.client(b"http/1.1", None)).await.unwrap();
    site.stop().await;
}

#[tokio::test]
async fn a_tunnels_certificate_is_verified_on_every_connection() {
    let site = Site::start().await;
    let identity = site.enrol().await;
    // One configuration, so that the client may resume what the first connection left behind.
    let client = site.client(tls::ALPN_TUNNEL, Some(&identity));
    for _ in 0..2 {
        let mut tls = site.connect(client.clone()).await.unwrap();
        tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        // With TLS 1.3 a ticket would come before the first answer.
        tls.read_u8().await.unwrap();
        assert_eq!(tls.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    site.stop().await;
}

#[tokio::test]
async fn one_host_with_idle_connections_does_not_keep_the_others_waiting() {
    let site = Site::start().await;
    let mut idle = Vec::new();
    for _ in 0..512 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        idle.push(socket.connect(site.address).await.unwrap());
    }
    let another = tokio::time::timeout(crate::support::SOON / 2, site.connect(site.client(b"http/1.1", None))).await;
    assert!(another.is_ok_and(|connected| connected.is_ok()));
    site.stop().await;
}
