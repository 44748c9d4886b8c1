//! What each combination of things seen on the way is taken for.

use std::io;
use std::time::Duration;

use super::*;

fn certificate(issuer: &str) -> Certificate {
    let (not_before, not_after) = (Timestamp::from_secs(1_000_000), Timestamp::from_secs(2_000_000));
    Certificate { subject: "CN=control".to_owned(), issuer: issuer.to_owned(), not_before, not_after }
}

fn look(trust: Trust, answer: Result<Answer, Silence>) -> Look {
    let presented = if trust == Trust::Unseen { Vec::new() } else { vec![certificate("CN=Corp Inspection CA")] };
    Look { presented, trust, answer }
}

fn answer(status: u16, date: i64) -> Answer {
    Answer { status, detail: String::new(), date: Some(Timestamp::from_secs(date)), versions: Some((1, PROTOCOL_VERSION)) }
}

fn facts(tunnel: Look) -> WayFacts {
    WayFacts { tunnel: Some(tunnel), now: Timestamp::from_secs(1_500_000), ..WayFacts::new("control:443".to_owned(), None) }
}

fn id(facts: &WayFacts) -> String {
    let findings = judge(facts);
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].id.clone()
}

fn refused() -> Result<Answer, Silence> {
    Err(Silence::Refused(rustls::CertificateError::UnknownIssuer.into()))
}

#[test]
fn a_gateway_that_is_let_in_is_good_and_one_that_is_not_is_told_why() {
    assert_eq!(id(&facts(look(Trust::Good, Ok(answer(404, 1_500_000))))), "way");
    let mut no = answer(403, 1_500_000);
    no.detail = format!("gateway gw-1 {}", farewell::REVOKED);
    assert_eq!(id(&facts(look(Trust::Good, Ok(no)))), "identity-revoked");
    let mut old = answer(404, 1_500_000);
    old.versions = Some((PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2));
    assert_eq!(id(&facts(look(Trust::Good, Ok(old)))), "version-too-old");
    assert_eq!(id(&facts(look(Trust::Good, Ok(answer(503, 1_500_000))))), "control-plane-unwell");
    let expired = Err(Silence::Alert(AlertDescription::CertificateExpired));
    assert_eq!(id(&facts(look(Trust::Good, expired))), "certificate-expired");
}

#[test]
fn an_interceptor_is_named_and_a_portal_behind_it_is_recognised() {
    let mut facts = facts(look(Trust::OtherAuthority, refused()));
    let finding = judge(&facts).remove(0);
    assert!(finding.id == "tls-intercepted" && finding.what.contains("CN=Corp Inspection CA"), "{finding:?}");
    facts.plain = Some(PlainAnswer { status: 302, location: Some("http://portal/".to_owned()), is_page: false });
    assert_eq!(id(&facts), "captive-portal");
}

#[test]
fn a_certificate_out_of_time_is_the_clocks_fault_or_its_own() {
    let out = |date| look(Trust::OutOfTime, Ok(answer(404, date)));
    // Ours is ahead, by 100 days: the certificate seems over, and by the control plane's own clock is not.
    let mut ahead = facts(out(1_500_000));
    ahead.now = Timestamp::from_secs(1_500_000 + 8_640_000);
    let finding = judge(&ahead).remove(0);
    assert!(finding.id == "clock-skew" && finding.what.contains("8639999 s ahead"), "{finding:?}");
    let mut over = facts(out(2_100_000));
    over.now = Timestamp::from_secs(2_100_000);
    assert_eq!(id(&over), "certificate-expired");
    let mut early = facts(out(900_000));
    early.now = Timestamp::from_secs(900_000);
    assert_eq!(id(&early), "certificate-not-yet-valid");
}

#[test]
fn the_time_of_a_peer_that_is_not_proven_is_not_taken() {
    let other = facts(look(Trust::OtherAuthority, Ok(answer(404, 9_999_999))));
    assert_eq!(other.clock(), None);
    let good = facts(look(Trust::Good, Ok(answer(404, 1_500_060))));
    assert_eq!(good.clock().map(|clock| clock.offset_ms), Some(60_500));
}

#[test]
fn a_stalled_exchange_is_a_black_hole_only_when_small_segments_pass() {
    let mut facts = facts(look(Trust::Unseen, Err(Silence::Stalled)));
    assert_eq!(id(&facts), "timed-out");
    facts.small = Some(look(Trust::Good, Ok(answer(404, 1_500_000))));
    assert_eq!(id(&facts), "mtu-blackhole");
    facts.tunnel = Some(look(Trust::Good, Err(Silence::Unanswered)));
    assert_eq!(id(&facts), "mtu-blackhole");
}

#[test]
fn what_ends_a_handshake_without_a_certificate_is_told_apart() {
    let reset = Silence::Broke(io::ErrorKind::ConnectionReset.into());
    assert_eq!(id(&facts(look(Trust::Unseen, Err(reset)))), "tls-cut");
    assert_eq!(id(&facts(look(Trust::Unseen, Err(Silence::Alpn)))), "other-service");
    assert_eq!(id(&facts(look(Trust::OtherKey, refused()))), "wrong-pin");
    assert!(STEP < Duration::from_secs(30), "several steps fit into the patience of a person");
}

#[test]
fn a_password_in_the_vault_is_no_fault_of_the_proxys() {
    let error =
        || DialError::ProxyAuthentication { proxy: "p:3128".to_owned(), schemes: vec!["Basic".to_owned()], demand: Demand::Missing };
    let mut facts = WayFacts { not_dialled: Some(error()), ..WayFacts::new("control:443".to_owned(), Some("p:3128".to_owned())) };
    assert_eq!(judge(&facts)[0].grade, postern_protocol::status::doctor::Grade::Fault);
    facts.credentials = Credentials::InVault;
    assert_eq!(judge(&facts)[0].grade, postern_protocol::status::doctor::Grade::Warning);
}
