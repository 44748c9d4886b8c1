//! Behind a connection: who answers, with what certificate, at what time.

use postern_gateway::doctor::exit_code;
use postern_protocol::farewell;
use postern_protocol::status::doctor::{Finding, Grade};
use time::Duration;

use crate::peers::{Manner, black_hole_before, control_plane, proxy_to, says, silent};
use crate::pki::{Authority, Server, around_now, fresh_key};
use crate::{examined, fault};

/// A directory with an identity of the authority `control CA`, and the server that it expects.
struct Place {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    /// Pins the key of a server that is valid in this span.
    fn with(valid: (Duration, Duration)) -> (Self, Server) {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("control CA"));
        let server = authority.server(fresh_key(), valid);
        authority.identity(dir.path(), &[server.pin()]);
        (Self { dir, authority }, server)
    }

    async fn fault(&self, url: &str) -> Finding {
        fault(&examined(self.dir.path(), url, None).await).clone()
    }
}

#[tokio::test]
async fn a_control_plane_that_lets_us_in_is_good() {
    let (place, server) = Place::with(around_now());
    let peer = control_plane(&server, Manner::default()).await;
    let report = examined(place.dir.path(), &peer.url(), None).await;
    let good = |id: &str| report.findings.iter().any(|finding| finding.id == id && finding.grade == Grade::Good);
    assert!(good("way") && good("clock") && good("identity") && good("disk"), "{report:#?}");
    // No daemon runs here: that is the one warning.
    assert_eq!((exit_code(&report), report.findings[0].id.as_str()), (1, "daemon-not-running"));
}

#[tokio::test]
async fn revoked_quarantined_and_too_old_are_told_apart() {
    let (place, server) = Place::with(around_now());
    for (status, detail, versions, id) in [
        (403, format!("gateway gw-1 {}", farewell::REVOKED), "1-2", "identity-revoked"),
        (403, format!("this identity {}", farewell::QUARANTINED), "1-2", "identity-quarantined"),
        (404, String::new(), "7-9", "version-too-old"),
        (503, String::new(), "1-2", "control-plane-unwell"),
    ] {
        let peer = control_plane(&server, Manner { status, detail: detail.clone(), versions, ..Manner::default() }).await;
        let finding = place.fault(&peer.url()).await;
        assert!(finding.id == id && finding.evidence.contains(&detail), "{finding:?}");
    }
}

#[tokio::test]
async fn an_intercepting_proxy_is_named_by_its_issuer() {
    let (place, _) = Place::with(around_now());
    let corporate = Authority::new("Corp TLS Inspection");
    let interceptor = control_plane(&corporate.server(fresh_key(), around_now()), Manner::default()).await;
    let proxy = proxy_to(interceptor.address).await;
    let report = examined(place.dir.path(), "https://localhost:8443", Some(&proxy.proxy())).await;
    let finding = fault(&report);
    assert!(finding.id == "tls-intercepted" && finding.what.contains("Corp TLS Inspection"), "{finding:?}");
    assert!(!report.findings.iter().any(|finding| finding.id.contains("clock")), "its clock is not taken: {report:#?}");
}

#[tokio::test]
async fn another_key_of_the_right_authority_is_a_wrong_pin() {
    let (place, _) = Place::with(around_now());
    let other = control_plane(&place.authority.server(fresh_key(), around_now()), Manner::default()).await;
    assert_eq!(place.fault(&other.url()).await.id, "wrong-pin");
}

#[tokio::test]
async fn a_certificate_that_is_over_or_not_yet_valid_is_told_as_such() {
    for (valid, id) in [
        ((Duration::days(-9), Duration::days(-2)), "certificate-expired"),
        ((Duration::days(2), Duration::days(9)), "certificate-not-yet-valid"),
    ] {
        let (place, server) = Place::with(valid);
        let peer = control_plane(&server, Manner::default()).await;
        let finding = place.fault(&peer.url()).await;
        assert!(finding.id == id && finding.evidence.contains("control plane"), "{finding:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_in_seconds_and_not_taken_for_a_bad_certificate() {
    // Ours is ten days behind: the certificate is not valid yet by it, and is by the control plane's.
    let (place, server) = Place::with((Duration::days(9), Duration::days(30)));
    let peer = control_plane(&server, Manner { ahead: Duration::days(10), ..Manner::default() }).await;
    let finding = place.fault(&peer.url()).await;
    assert!(finding.id == "clock-skew" && finding.what.contains("s behind"), "{finding:?}");
    let seconds: i64 = finding.what.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((seconds - 864_000).abs() < 10, "{finding:?}");

    let (place, server) = Place::with(around_now());
    let peer = control_plane(&server, Manner { ahead: Duration::hours(-2), ..Manner::default() }).await;
    let finding = place.fault(&peer.url()).await;
    assert!(finding.id == "clock-skew" && finding.what.contains("s ahead"), "{finding:?}");
}

#[tokio::test]
async fn a_sign_in_page_on_the_control_planes_port_is_a_captive_portal() {
    let (place, _) = Place::with(around_now());
    let redirect = says("HTTP/1.1 302 Found\r\nLocation: http://portal.hotel.example/login\r\nContent-Length: 0\r\n\r\n").await;
    let finding = place.fault(&redirect.url()).await;
    assert!(finding.id == "captive-portal" && finding.evidence.contains("portal.hotel.example"), "{finding:?}");
    let page = says("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Please sign in</html>").await;
    assert_eq!(place.fault(&page.url()).await.id, "captive-portal");
}

#[tokio::test]
async fn something_else_on_the_port_is_told_as_such() {
    let (place, _) = Place::with(around_now());
    let ssh = says("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_eq!(place.fault(&ssh.url()).await.id, "other-service");
    let cut = says("").await;
    assert_eq!(place.fault(&cut.url()).await.id, "tls-cut");
}

#[tokio::test]
async fn a_black_hole_for_long_packets_is_told_from_a_peer_that_is_silent() {
    let (place, server) = Place::with(around_now());
    let peer = control_plane(&server, Manner::default()).await;
    let hole = black_hole_before(peer.address).await;
    let quiet = silent().await;
    let (hole_url, quiet_url) = (hole.url(), quiet.url());
    let (hole, quiet) = tokio::join!(place.fault(&hole_url), place.fault(&quiet_url));
    assert_eq!((hole.id.as_str(), quiet.id.as_str()), ("mtu-blackhole", "timed-out"), "{hole:?} {quiet:?}");
}
