//! Traps, informs and syslog.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

use crate::site::{Site, inform};

#[tokio::test]
async fn an_inform_is_answered_and_its_retransmission_changes_nothing() {
    let site = Site::new("");
    site.run(async |gateway| {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let first = gateway.ask_snmp(&socket, &inform(4711, 3)).await;
        let again = gateway.ask_snmp(&socket, &inform(4711, 3)).await;
        assert_eq!(first, again);
        assert!(first.contains(&0xa2), "a Response PDU");
        let report = gateway.status().await;
        let traps = &report.ledger.by_protocol["snmp_trap"];
        assert_eq!((traps.received, traps.accepted, traps.dropped["duplicate"]), (2, 1, 1));
        assert_eq!(report.open_alerts, 1);
    })
    .await;
}

#[tokio::test]
async fn bad_datagrams_are_counted_by_reason_and_the_service_goes_on() {
    let site = Site::new("");
    site.run(async |gateway| {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = gateway.address("snmp_trap", "udp").await;
        let good = inform(1, 1);
        let mut version_5 = good.clone();
        version_5[4] = 5;
        for datagram in [&good[..good.len() - 1], &[0xff; 60_000], b"", &version_5] {
            socket.send_to(datagram, address).await.unwrap();
        }
        gateway.ask_snmp(&socket, &good).await;
        let report = gateway.until(|report| report.ledger.totals.received == 5).await;
        let dropped = &report.ledger.totals.dropped;
        assert_eq!((dropped["malformed"], dropped["unsupported_version"], report.ledger.totals.accepted), (3, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn syslog_is_taken_over_udp_tcp_and_tls() {
    let site = Site::new("");
    site.run(async |gateway| {
        let line = b"<11>1 2026-01-01T00:00:00Z web-1 nginx 7 - - upstream failed";
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.send_to(line, gateway.address("syslog", "udp").await).await.unwrap();
        let mut tcp = TcpStream::connect(gateway.address("syslog", "tcp").await).await.unwrap();
        tcp.write_all(&[&line[..], b"\n"].concat()).await.unwrap();
        tcp.write_all(format!("{} ", line.len()).as_bytes()).await.unwrap();
        tcp.write_all(line).await.unwrap();
        let mut tls = tls(&site, gateway.address("syslog_tls", "tls").await).await;
        tls.write_all(format!("{} ", line.len()).as_bytes()).await.unwrap();
        tls.write_all(line).await.unwrap();
        let report = gateway.until(|report| report.ledger.totals.accepted == 4).await;
        assert_eq!(report.ledger.by_protocol["syslog"].received, 4);
        let open = |name: &str, proto: &str| report.listeners.iter().find(|l| l.name == name && l.proto == proto).unwrap().connections;
        assert_eq!((open("syslog", "tcp"), open("syslog_tls", "tls")), (Some(1), Some(1)));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_counted_and_closed() {
    let site = Site::new("");
    site.run(async |gateway| {
        let mut stream = TcpStream::connect(gateway.address("syslog_tls", "tls").await).await.unwrap();
        stream.write_all(b"<11>plain text on the wrong port, long enough for a record header\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let report = gateway.until(|report| report.ledger.totals.received == 1).await;
        assert_eq!(report.ledger.totals.dropped["not_authentic"], 1);
    })
    .await;
}

#[tokio::test]
async fn what_has_arrived_is_handled_before_a_stop() {
    let site = Site::new("");
    site.run(async |gateway| {
        let address = gateway.address("syslog", "udp").await;
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for n in 0..500 {
            udp.send_to(format!("<11>host app: message {n}").as_bytes(), address).await.unwrap();
        }
    })
    .await;
    let report = site.run(async |gateway| gateway.status().await).await;
    let totals = report.ledger.totals;
    let lost = totals.dropped.get("kernel_buffer").copied().unwrap_or(0);
    assert_eq!((totals.accepted + lost, totals.in_flight), (500, 0), "{totals:?}");
    assert!(report.ledger.crash_windows.is_empty(), "a stop by request is clean");
}

/// Connects as a client that trusts the site's CA.
pub(crate) async fn tls(site: &Site, address: std::net::SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(site.ca.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(postern_uplink::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}
