//! Enrolment against a server over real TLS: what is checked before anything is sent, and what is left on disk.

// A test file may stop at the first surprise.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming as Body;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use postern_protocol::enrolment::{EnrolRequest, EnrolResponse, Token};
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::enrolment::{EnrolError, EnrolOptions, enrol};
use postern_uplink::identity::{Identity, IdentityError};
use postern_uplink::tls::{self, Distrust};
use postern_uplink::url::ServerUrl;
use rcgen::{CertificateSigningRequestParams, SanType};
use rustls::ServerConfig;
use support::Pki;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn options(dir: &Path, server: &TcpListener, pki: &Pki) -> EnrolOptions {
    let now = Timestamp::from(SystemTime::now());
    EnrolOptions {
        server: ServerUrl::parse(&format!("https://{}", server.local_addr().unwrap())).unwrap(),
        token: Token { ca_spki_sha256: pki.ca_spki(), secret: [9; 32], expires: Timestamp::from_secs(now.as_secs() + 60) },
        proxy: None,
        dir: dir.join("identity"),
        hostname: "gw-host".to_owned(),
        listener_names: vec!["gw.lan".to_owned(), "192.0.2.7".to_owned()],
        program_version: "test".to_owned(),
    }
}

/// Serves one connection with `pki`'s certificate; returns the body of the request, if one came.
async fn serve_one(
    listener: &TcpListener,
    pki: &Pki,
    status: StatusCode,
    answer: impl Fn(&EnrolRequest) -> String,
) -> Option<EnrolRequest> {
    let (chain, key) = pki.server_chain();
    let config = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![tls::ENROLMENT_ALPN.to_vec()];
    let (tcp, _) = listener.accept().await.unwrap();
    let stream = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()?;
    let (asked_tx, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(|request: Request<Body>| {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/enrol/v1"));
        let (asked_tx, answer) = (asked_tx.clone(), &answer);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            let request: EnrolRequest = serde_json::from_slice(&body).unwrap();
            let response = Response::builder().status(status).body(Full::new(Bytes::from(answer(&request)))).unwrap();
            asked_tx.send(request).unwrap();
            Ok::<_, hyper::Error>(response)
        }
    });
    let _broken = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    asked.try_recv().ok()
}

fn sign(pki: &Pki, request: &str) -> String {
    CertificateSigningRequestParams::from_pem(request).unwrap().signed_by(&pki.ca).unwrap().pem()
}

fn accept(pki: &Pki) -> impl Fn(&EnrolRequest) -> String {
    move |request| {
        let response = EnrolResponse {
            gateway: GatewayId::new("gw-1").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            client_certificate: sign(pki, &request.client_csr),
            listener_certificate: sign(pki, &request.listener_csr),
            ca: pki.ca.pem(),
            server_pins: vec![BASE64.encode(&pki.server_pin())],
            revision_keys: vec![BASE64.encode(&[5; 32])],
        };
        serde_json::to_string(&response).unwrap()
    }
}

#[tokio::test]
async fn an_enrolled_gateway_has_a_usable_identity_whose_keys_never_left() {
    let (pki, dir, listener) = (Pki::new(), tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let options = options(dir.path(), &listener, &pki);
    let server = options.server.clone();
    let (asked, enrolled) = tokio::join!(serve_one(&listener, &pki, StatusCode::OK, accept(&pki)), enrol(options));
    let (asked, identity) = (asked.unwrap(), enrolled.unwrap());

    assert_eq!(asked.secret, BASE64URL_NOPAD.encode(&[9; 32]));
    assert_eq!((asked.hostname.as_str(), asked.program_version.as_str()), ("gw-host", "test"));
    let names = CertificateSigningRequestParams::from_pem(&asked.listener_csr).unwrap().params.subject_alt_names;
    assert_eq!(names, [SanType::DnsName("gw.lan".try_into().unwrap()), SanType::IpAddress("192.0.2.7".parse().unwrap())]);
    assert!(!asked.client_csr.contains("PRIVATE") && !asked.listener_csr.contains("PRIVATE"));

    assert_eq!((identity.gateway.as_str(), identity.server_url), ("gw-1", server));
    let identity = Identity::load(&dir.path().join("identity")).unwrap();
    assert!(tls::tunnel_client(&identity).is_ok());
    assert!(tls::listener_server(&identity.listener(), tls::ClientAuth::Optional(&identity.ca)).is_ok());
    assert_ne!(tls::spki_sha256(&identity.client_chain[0]), tls::spki_sha256(&identity.listener_chain[0]));
}

#[tokio::test]
async fn a_server_of_another_authority_never_sees_a_byte_of_http() {
    let (pki, other, dir) = (Pki::new(), Pki::new(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = options(dir.path(), &listener, &pki);
    let (asked, enrolled) = tokio::join!(serve_one(&listener, &other, StatusCode::OK, accept(&other)), enrol(options));
    assert!(asked.is_none());
    assert!(matches!(enrolled, Err(EnrolError::Distrust(Distrust::OtherAuthority))));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left behind");
}

#[tokio::test]
async fn a_chain_that_only_shows_the_right_authority_is_refused() {
    // Another server's certificate, with the true authority's certificate put beside it.
    let (pki, dir, listener) = (Pki::new(), tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let forged = Pki { ca: pki.ca, ..Pki::new() };
    let options = options(dir.path(), &listener, &forged);
    let (asked, enrolled) = tokio::join!(serve_one(&listener, &forged, StatusCode::OK, |_| String::new()), enrol(options));
    assert!(asked.is_none());
    assert!(matches!(enrolled, Err(EnrolError::Handshake(_))));
}

#[tokio::test]
async fn a_server_with_the_right_authority_and_another_name_is_refused() {
    let (pki, dir) = (Pki::for_names(&["elsewhere.example"]), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = options(dir.path(), &listener, &pki);
    let (asked, enrolled) = tokio::join!(serve_one(&listener, &pki, StatusCode::OK, accept(&pki)), enrol(options));
    assert!(asked.is_none());
    assert!(matches!(enrolled, Err(EnrolError::Handshake(_))));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_control_planes_words() {
    let (pki, dir, listener) = (Pki::new(), tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let problem =
        |_: &EnrolRequest| r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"the token was used already"}"#.to_owned();
    let options = options(dir.path(), &listener, &pki);
    let (_, enrolled) = tokio::join!(serve_one(&listener, &pki, StatusCode::FORBIDDEN, problem), enrol(options));
    let error = enrolled.err().unwrap();
    assert_eq!(error.to_string(), "the control plane refused to enrol this gateway (403): the token was used already");
    assert!(!dir.path().join("identity").exists());
}

#[tokio::test]
async fn an_answer_that_is_none_leaves_no_identity() {
    let (pki, dir, listener) = (Pki::new(), tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let options = options(dir.path(), &listener, &pki);
    let (_, enrolled) = tokio::join!(serve_one(&listener, &pki, StatusCode::OK, |_| "hello".to_owned()), enrol(options));
    assert!(matches!(enrolled, Err(EnrolError::Answer { .. })));
    assert!(!dir.path().join("identity").exists());
}

#[tokio::test]
async fn an_enrolled_gateway_and_an_expired_token_are_refused_without_a_connection() {
    let (pki, dir, listener) = (Pki::new(), tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut expired = options(dir.path(), &listener, &pki);
    expired.token.expires = Timestamp::from_secs(1_000_000);
    assert!(matches!(enrol(expired).await, Err(EnrolError::Expired(_))));
    let options = options(dir.path(), &listener, &pki);
    std::fs::create_dir(&options.dir).unwrap();
    std::fs::write(options.dir.join("gateway.json"), "{}").unwrap();
    assert!(matches!(enrol(options).await, Err(EnrolError::Identity(IdentityError::Exists { .. }))));
}
