//! Identities over the years, on the wire: renewal by the tunnel and without it, certificates that end, copies, trust bundles.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, UnparsedPublicKey};
use hyper::{Method, StatusCode};
use postern_control::clones::{self, Keep};
use postern_control::store::audit::By;
use postern_control::trust::rotation;
use postern_control::{clock, identities, tls};
use postern_protocol::enrolment::{RenewRequest, RenewResponse};
use postern_protocol::message::{CertificateRequest, Heartbeat, Hello, TrustStatus, down, up};
use postern_protocol::trust::signing_input;
use rcgen::KeyPair;

use crate::support::{Identity, Site, Stream, csr, hello};

/// A greeting of protocol version 2 by that start of a gateway.
fn start(incarnation: u64, previous_incarnation: u64, session: u64) -> Hello {
    Hello { protocol: 2, incarnation, previous_incarnation, session, ..hello() }
}

/// Waits for a message, and passes over others.
async fn until<T>(stream: &mut Stream, what: &str, mut pick: impl FnMut(down::Kind) -> Option<T>) -> T {
    loop {
        let kind = stream.hear().await.unwrap_or_else(|| panic!("the stream ended before {what}"));
        if let Some(found) = pick(kind) {
            return found;
        }
    }
}

async fn goodbye(stream: &mut Stream) -> (String, bool) {
    until(stream, "a goodbye", |kind| if let down::Kind::Goodbye(said) = kind { Some((said.reason, said.retry)) } else { None }).await
}

fn der(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    data_encoding::BASE64.decode(text.as_bytes()).unwrap()
}

async fn renew_by_tunnel(stream: &mut Stream) -> (KeyPair, Vec<u8>) {
    let ((key, request), (_, listener)) = (csr(), csr());
    stream.say(up::Kind::CertificateRequest(CertificateRequest { request: der(&request), listener_request: der(&listener) })).await;
    let reply = until(stream, "certificates", |kind| if let down::Kind::CertificateReply(reply) = kind { Some(reply) } else { None }).await;
    assert_eq!((reply.refused.as_str(), reply.chain.len(), reply.listener_chain.len()), ("", 1, 1));
    (key, reply.chain[0].clone())
}

#[tokio::test]
async fn a_renewed_certificate_opens_sessions_and_the_old_one_does_until_its_end() {
    let site = Site::start().await;
    let enrolled = site.enrol().await;
    let (_link, mut control, _) = site.session(&enrolled, start(1, 0, 1)).await;
    let (key, certificate) = renew_by_tunnel(&mut control).await;
    let renewed = enrolled.renewed(&key, &certificate);
    let (_renewed_link, _control, _) = site.session(&renewed, start(1, 0, 2)).await;
    let seen = identities::view(&site.app.stores, &enrolled.response.gateway).await.unwrap();
    assert_eq!(seen.certificates.iter().filter(|certificate| certificate.first_used_at.is_some()).count(), 2);
    // What a disk that was set back still has.
    let (_old_link, _control, _) = site.session(&enrolled, start(1, 0, 3)).await;
    site.stop().await;
}

#[tokio::test]
async fn a_bad_request_over_the_tunnel_is_refused_in_words_and_the_session_goes_on() {
    let site = Site::start().await;
    let enrolled = site.enrol().await;
    let (_link, mut control, _) = site.session(&enrolled, start(1, 0, 1)).await;
    control.say(up::Kind::CertificateRequest(CertificateRequest { request: vec![1, 2, 3], listener_request: Vec::new() })).await;
    let refused =
        until(&mut control, "a refusal", |kind| if let down::Kind::CertificateReply(reply) = kind { Some(reply) } else { None }).await;
    assert!(refused.chain.is_empty() && refused.refused.contains("certificate request is not valid"), "{}", refused.refused);
    renew_by_tunnel(&mut control).await;
    site.stop().await;
}

#[tokio::test]
async fn a_session_ends_soon_after_its_certificate() {
    let site = Site::start_with(|config| config.client_certificate_life = Duration::from_secs(2)).await;
    let enrolled = site.enrol().await;
    let (_link, mut control, _) = site.session(&enrolled, start(1, 0, 1)).await;
    let begun = std::time::Instant::now();
    let (reason, retry) = goodbye(&mut control).await;
    assert!(reason.contains("certificate has ended") && retry, "{reason}");
    println!("the session ended {:?} after it began", begun.elapsed());
    site.stop().await;
}

async fn renew(site: &Site, request: &RenewRequest) -> Result<RenewResponse, String> {
    let body = serde_json::to_vec(request).unwrap();
    let (status, _, body) = site.request(tls::ALPN_ENROLMENT, Method::POST, "/enrol/v1/renew", body).await;
    if status == StatusCode::OK { Ok(serde_json::from_slice(&body).unwrap()) } else { Err(String::from_utf8(body.to_vec()).unwrap()) }
}

fn signed(identity: &Identity, incarnations: [&str; 2]) -> RenewRequest {
    let mut request = RenewRequest {
        certificate: identity.response.client_certificate.clone(),
        client_csr: csr().1,
        listener_csr: csr().1,
        incarnations: incarnations.map(str::to_owned),
        program_version: "0.1.0".to_owned(),
        signature: String::new(),
    };
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &identity.key_der()).unwrap();
    request.signature = data_encoding::BASE64.encode(key.sign(&SystemRandom::new(), &request.signing_input()).unwrap().as_ref());
    request
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_renewed_for_whoever_holds_its_key() {
    let site = Site::start_with(|config| config.client_certificate_life = Duration::from_secs(1)).await;
    let (enrolled, other) = (site.enrol().await, site.enrol().await);
    let renewed = renew(&site, &signed(&enrolled, ["1", "0"])).await.unwrap();
    assert_ne!(renewed.client_certificate, enrolled.response.client_certificate);
    assert!(!renewed.listener_certificate.is_empty());

    let mut foreign = signed(&other, ["1", "0"]);
    foreign.certificate.clone_from(&enrolled.response.client_certificate);
    assert!(renew(&site, &foreign).await.unwrap_err().contains("not signed by the certificate's key"));
    let mut altered = signed(&enrolled, ["1", "0"]);
    altered.client_csr = csr().1;
    assert!(renew(&site, &altered).await.unwrap_err().contains("not signed by the certificate's key"));
    let mut listener = signed(&enrolled, ["1", "0"]);
    listener.certificate.clone_from(&enrolled.response.listener_certificate);
    assert!(renew(&site, &listener).await.unwrap_err().contains("Not this gateway's certificate"));

    let whose = (&site.tenant, &enrolled.response.gateway);
    site.app.stores.system().revoke_gateway(whose.0, whose.1, (By::command_line(), clock::now())).await.unwrap();
    assert!(renew(&site, &signed(&enrolled, ["1", "0"])).await.unwrap_err().contains("was revoked"));
    site.stop().await;
}

#[tokio::test]
async fn a_copy_is_proven_by_a_sign_of_life_of_the_original_and_kept_out_until_somebody_decides() {
    let site = Site::start().await;
    let enrolled = site.enrol().await;
    let gateway = enrolled.response.gateway.clone();
    let (_link, mut original, _) = site.session(&enrolled, start(1, 0, 1)).await;
    let mut copy_link = site.link(&enrolled).await;
    let mut copy = copy_link.open("/tunnel/v1/control").await.unwrap();
    copy.say(up::Kind::Hello(start(2, 1, 1))).await;
    let alive = async {
        loop {
            original.say(up::Kind::Heartbeat(Heartbeat { nonce: 1 })).await;
            let answered = original.hear().await;
            assert!(!matches!(answered, Some(down::Kind::Goodbye(_)) | None), "the original goes on");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let (reason, retry) = tokio::select! {
        said = goodbye(&mut copy) => said,
        () = alive => unreachable!(),
    };
    assert!(reason.contains("is quarantined") && reason.contains("--other") && !retry, "{reason}");
    let seen = identities::view(&site.app.stores, &gateway).await.unwrap().quarantine.unwrap();
    assert_eq!(
        (seen.current.unwrap().incarnation, seen.other.unwrap().incarnation),
        ("0000000000000001".into(), "0000000000000002".into())
    );
    // Renewal is no way around it.
    assert!(renew(&site, &signed(&enrolled, ["2", "1"])).await.unwrap_err().contains("is quarantined"));
    // The other way round: the copy takes the place, and the original's session ends within seconds.
    let whose = (&site.tenant, &gateway);
    clones::decide(&site.app.stores, whose, Keep::Other, (By::command_line(), clock::now())).await.unwrap();
    let (reason, retry) = goodbye(&mut original).await;
    assert!(reason.contains("for good") && !retry, "{reason}");
    let (_copy_link, _copy, _) = site.session(&enrolled, start(2, 1, 2)).await;
    site.stop().await;
}

#[tokio::test]
async fn a_restart_while_nothing_else_lives_is_welcomed_at_once() {
    let site = Site::start().await;
    let enrolled = site.enrol().await;
    let (link, control, _) = site.session(&enrolled, start(1, 0, 1)).await;
    drop((link, control));
    while site.app.gateways.is_connected(&enrolled.response.gateway) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_link, _control, _) = site.session(&enrolled, start(2, 1, 1)).await;
    assert_eq!(identities::view(&site.app.stores, &enrolled.response.gateway).await.unwrap().quarantine, None);
    site.stop().await;
}

#[tokio::test]
async fn a_change_of_trust_goes_down_signed_and_is_counted_once_it_is_confirmed() {
    let site = Site::start().await;
    let enrolled = site.enrol().await;
    let gateway = enrolled.response.gateway.clone();
    let (_link, mut control, _) = site.session(&enrolled, start(1, 0, 1)).await;
    rotation::prepare_authority(&site.app.config.keys(), clock::now()).unwrap();
    let bundle = until(&mut control, "a bundle", |kind| if let down::Kind::TrustBundle(bundle) = kind { Some(bundle) } else { None }).await;
    assert_eq!((bundle.serial, bundle.authorities.len(), bundle.server_pins.len()), (1, 2, 2));
    let key = data_encoding::BASE64.decode(enrolled.response.revision_keys[0].as_bytes()).unwrap();
    assert!(UnparsedPublicKey::new(&ED25519, key).verify(&signing_input(&gateway, &bundle), &bundle.signature).is_ok());
    assert_eq!(site.app.stores.system().confirmed_trust(&gateway).await.unwrap().confirmed, 0, "sent is not confirmed");
    control.say(up::Kind::TrustStatus(TrustStatus { serial: 1, refused: String::new() })).await;
    while site.app.stores.system().confirmed_trust(&gateway).await.unwrap().confirmed != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One that enrols now gets both at once, and has nothing to confirm.
    let late = site.enrol().await;
    assert_eq!(late.response.ca.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(site.app.stores.system().confirmed_trust(&late.response.gateway).await.unwrap().confirmed, 1);
    site.stop().await;
}

#[tokio::test]
async fn a_revoked_gateway_is_told_at_once_and_does_not_come_back() {
    let site = Site::start().await;
    let enrolled = site.enrol().await;
    let (_link, mut control, _) = site.session(&enrolled, start(1, 0, 1)).await;
    let began = std::time::Instant::now();
    identities::revoke_live(&site.app, (&site.tenant, &enrolled.response.gateway), By::command_line()).await.unwrap();
    let (reason, retry) = goodbye(&mut control).await;
    assert!(reason.contains("was revoked") && !retry, "{reason}");
    // The look for revocations of other programs takes up to two seconds; this one did not wait for it.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    site.stop().await;
}
