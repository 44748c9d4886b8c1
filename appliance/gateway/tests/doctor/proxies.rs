//! Before there is a connection: names, ports, and proxies that say no in their ways.

use crate::peers::{Manner, Peer, control_plane, proxy_to, says};
use crate::pki::{Authority, around_now, fresh_key};
use crate::{examined, fault};

/// An identity; whom it trusts does not matter as long as nobody is reached.
fn identity() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Authority::new("control CA").identity(dir.path(), &[[7; 32]]);
    dir
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let report = examined(identity().path(), &format!("https://127.0.0.1:{port}"), None).await;
    assert_eq!(fault(&report).id, "refused");
    assert!(fault(&report).evidence.contains(&format!("127.0.0.1:{port}")), "{report:#?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_matter_of_dns() {
    // RFC 6761 §6.4: no such name ever resolves.
    let report = examined(identity().path(), "https://control.postern.invalid", None).await;
    let finding = fault(&report);
    assert!(finding.id == "dns-failed" && finding.what.contains("control.postern.invalid"), "{finding:?}");
}

#[tokio::test]
async fn an_address_that_no_network_leads_to_has_no_route() {
    // For documentation only (RFC 3849): nobody announces it.
    let report = examined(identity().path(), "https://[2001:db8::1]", None).await;
    let finding = fault(&report);
    assert!(["no-route", "timed-out"].contains(&finding.id.as_str()), "a machine with IPv6 has a route, and no answer: {finding:?}");
}

async fn behind(proxy: &Peer) -> (String, String, String) {
    let report = examined(identity().path(), "https://control.example", Some(&proxy.proxy())).await;
    let finding = fault(&report);
    (finding.id.clone(), finding.what.clone(), format!("{} {}", finding.evidence, finding.advice))
}

#[tokio::test]
async fn the_schemes_of_a_proxy_that_wants_credentials_are_named() {
    for (challenges, expected) in [
        ("Basic realm=\"x\"", "Basic"),
        ("Digest realm=\"x\", nonce=\"n\", qop=\"auth\"", "Digest"),
        ("NTLM", "NTLM"),
        ("Negotiate\r\nProxy-Authenticate: NTLM", "Negotiate, NTLM"),
    ] {
        let answer = format!("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: {challenges}\r\nContent-Length: 0\r\n\r\n");
        let proxy = says(answer.leak()).await;
        let (id, what, rest) = behind(&proxy).await;
        assert!(id == "proxy-auth" && what.contains(expected) && rest.contains(expected), "{challenges}: {what} {rest}");
    }
}

#[tokio::test]
async fn a_proxys_refusal_its_block_page_and_a_portal_are_told_apart() {
    let refusal = says("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>").await;
    let (id, _, rest) = behind(&refusal).await;
    assert!(id == "proxy-refused" && rest.contains("403 Forbidden"), "{rest}");
    let portal = says("HTTP/1.1 302 Moved\r\nLocation: http://login.hotel.example/\r\nContent-Length: 0\r\n\r\n").await;
    let (id, _, rest) = behind(&portal).await;
    assert!(id == "captive-portal" && rest.contains("login.hotel.example"), "{rest}");
    let other = says("220 mail.example ESMTP\r\n\r\n").await;
    assert_eq!(behind(&other).await.0, "proxy-refused");
    let unreachable = says("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n").await;
    let (id, _, rest) = behind(&unreachable).await;
    assert!(id == "proxy-refused" && rest.contains("cannot reach the control plane"), "{rest}");
}

#[tokio::test]
async fn a_good_proxy_is_no_finding() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("control CA"));
    let server = authority.server(fresh_key(), around_now());
    authority.identity(dir.path(), &[server.pin()]);
    let peer = control_plane(&server, Manner::default()).await;
    let proxy = proxy_to(peer.address).await;
    let report = examined(dir.path(), "https://localhost:8443", Some(&proxy.proxy())).await;
    assert!(report.findings.iter().any(|finding| finding.id == "way" && finding.evidence.contains("through the proxy")), "{report:#?}");
}
