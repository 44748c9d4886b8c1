//! Enrolment over real TLS: what a token gives, and how each refusal reads.

use std::time::Duration;

use crate::support::Site;
use hyper::{Method, StatusCode};
use postern_control::store::audit::By;
use postern_control::store::tokens::NewToken;
use postern_control::{clock, tls};
use postern_protocol::enrolment::Token;
use postern_protocol::timestamp::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const HOUR: Duration = Duration::from_secs(3600);

fn title(problem: &serde_json::Value) -> &str {
    problem["title"].as_str().unwrap()
}

#[tokio::test]
async fn a_token_gives_an_identity_once() {
    let site = Site::start().await;
    let (_, secret) = site.token(HOUR).await;
    let identity = site.try_enrol(&secret).await.unwrap();
    assert!(identity.response.gateway.as_str().starts_with("site-a-"));
    assert_eq!(identity.response.tenant, site.tenant);
    assert_eq!(identity.response.server_pins.len(), 2);
    let refused = site.try_enrol(&secret).await.err().unwrap();
    assert_eq!(title(&refused), "Enrolment token already used");
    let gateways = site.app.stores.list_gateways(&site.tenant).await.unwrap();
    assert_eq!(gateways.len(), 1);
    assert_eq!(gateways[0].revision.desired.map(|number| number.0), Some(1));
    site.stop().await;
}

#[tokio::test]
async fn expired_revoked_and_altered_tokens_are_told_apart() {
    let site = Site::start().await;
    let (id, secret) = site.token(HOUR).await;
    site.app.stores.system().revoke_token(&site.tenant, &id, (By::command_line(), clock::now())).await.unwrap();
    assert_eq!(title(&site.try_enrol(&secret).await.err().unwrap()), "Enrolment token revoked");

    let expired = NewToken {
        id: "old".to_owned(),
        secret_sha256: Token::secret_hash(&[5; 32]),
        tenant: site.tenant.clone(),
        gateway_name: "Old".to_owned(),
        expires_at: Timestamp::from_secs(1),
    };
    site.app.stores.system().insert_token(expired, (By::command_line(), clock::now())).await.unwrap();
    let refused = site.try_enrol(&data_encoding::BASE64URL_NOPAD.encode(&[5; 32])).await.err().unwrap();
    assert_eq!(title(&refused), "Enrolment token expired");
    assert!(refused["detail"].as_str().unwrap().contains("1970-01-01"));

    for altered in [data_encoding::BASE64URL_NOPAD.encode(&[6; 32]), "not base64!".to_owned(), String::new()] {
        assert_eq!(title(&site.try_enrol(&altered).await.err().unwrap()), "Enrolment token not known");
    }
    site.stop().await;
}

#[tokio::test]
async fn of_two_at_once_a_token_takes_one() {
    let site = Site::start().await;
    let (_, secret) = site.token(HOUR).await;
    let (a, b) = tokio::join!(site.try_enrol(&secret), site.try_enrol(&secret));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
    assert_eq!(site.app.stores.list_gateways(&site.tenant).await.unwrap().len(), 1);
    site.stop().await;
}

#[tokio::test]
async fn a_bad_request_does_not_use_up_the_token() {
    let site = Site::start().await;
    let (_, secret) = site.token(HOUR).await;
    let refused = site.enrol_with(&secret, "no request".to_owned()).await.err().unwrap();
    assert_eq!(title(&refused), "Certificate request refused");
    assert!(site.try_enrol(&secret).await.is_ok());
    site.stop().await;
}

#[tokio::test]
async fn enrolment_shows_the_ca_in_its_chain() {
    let site = Site::start().await;
    let tls = site.connect(site.client(tls::ALPN_ENROLMENT, None)).await.unwrap();
    let chain = tls.get_ref().1.peer_certificates().unwrap();
    assert_eq!(chain.last(), Some(site.app.trust.current().presented().certificate()));
    let ca = CertificateDer::from_pem_slice(site.app.trust.current().pem().as_bytes()).unwrap();
    assert_eq!(&ca, site.app.trust.current().presented().certificate());
    site.stop().await;
}

#[tokio::test]
async fn enrolment_and_console_are_not_reachable_through_each_other() {
    let site = Site::start().await;
    let status = async |alpn: &[u8], method: Method, path: &str| site.request(alpn, method, path, b"{}".to_vec()).await.0;
    assert_eq!(status(tls::ALPN_ENROLMENT, Method::POST, "/enrol/v1").await, StatusCode::BAD_REQUEST);
    for path in ["/", "/sign-in", "/api/v1/openapi.json", "/oauth2/token", "/tunnel/v1/control"] {
        assert_eq!(status(tls::ALPN_ENROLMENT, Method::GET, path).await, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/enrol/v1", "/tunnel/v1/control", "/tunnel/v1/lane/alerts"] {
        let status = status(b"http/1.1", Method::POST, path).await;
        assert!(status.is_client_error(), "{path}: {status}");
        assert_ne!(status, StatusCode::BAD_REQUEST, "{path}");
    }
    site.stop().await;
}
