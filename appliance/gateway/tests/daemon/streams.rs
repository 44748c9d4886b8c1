//! Connections: who may name a client, how many there may be, both IP families, agents and their passwords, the site's own certificate.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::receivers::tls;
use crate::site::Site;

const LINE: &[u8] = b"<11>1 2026-01-01T00:00:00Z - nginx 7 - - upstream failed\n";

/// A site whose receivers, section by section, have these keys besides.
fn with(syslog: &str, proxy: &str) -> Site {
    let site = Site::new(proxy);
    let text = std::fs::read_to_string(site.config_file()).unwrap();
    let text = text.replace("[receivers.syslog]\n", &format!("[receivers.syslog]\n{syslog}\n"));
    std::fs::write(site.config_file(), text.replace("[receivers.syslog_tls]\n", &format!("[receivers.syslog_tls]\n{syslog}\n"))).unwrap();
    site
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client_that_the_ledger_and_the_allow_list_see() {
    let site = with("allow = [\"192.0.2.0/24\"]\nproxy_protocol_from = [\"127.0.0.1\"]", "");
    site.run(async |gateway| {
        let tcp = gateway.address("syslog", "tcp").await;
        for header in ["PROXY TCP4 192.0.2.7 127.0.0.1 40000 514\r\n", "PROXY TCP4 198.51.100.1 127.0.0.1 40000 514\r\n"] {
            let mut stream = TcpStream::connect(tcp).await.unwrap();
            stream.write_all(&[header.as_bytes(), LINE].concat()).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
        }
        let mut none = TcpStream::connect(tcp).await.unwrap();
        none.write_all(LINE).await.unwrap();
        let _ = none.read(&mut [0; 1]).await;
        let report = gateway.until(|report| report.ledger.totals.received == 3 && report.ledger.totals.in_flight == 0).await;
        let totals = &report.ledger.totals;
        assert_eq!((totals.accepted, totals.dropped["source_denied"], totals.dropped["malformed"]), (1, 1, 1));
        assert!(report.ledger.top_sources.iter().any(|source| source.source == "192.0.2.7"), "{:?}", report.ledger.top_sources);
    })
    .await;
}

#[tokio::test]
async fn a_header_from_anyone_else_is_refused_on_every_stream_listener() {
    let site = with("", "");
    site.run(async |gateway| {
        for (name, proto) in [("syslog", "tcp"), ("syslog_tls", "tls"), ("proxy", "tcp")] {
            let mut stream = TcpStream::connect(gateway.address(name, proto).await).await.unwrap();
            stream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 514\r\n").await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer, b"", "{name}");
        }
        let report = gateway.until(|report| report.ledger.totals.received == 3).await;
        assert_eq!(report.ledger.totals.dropped["malformed"], 3);
    })
    .await;
}

#[tokio::test]
async fn one_source_has_no_more_connections_than_it_may() {
    let site = with("max_connections_per_source = 1", "");
    site.run(async |gateway| {
        let address = gateway.address("syslog", "tcp").await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(LINE).await.unwrap();
        gateway.until(|report| report.ledger.totals.accepted == 1).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let report = gateway.until(|report| report.ledger.totals.received == 2).await;
        assert_eq!(report.ledger.totals.dropped["rate_limited"], 1);
    })
    .await;
}

#[tokio::test]
async fn both_families_reach_one_socket_and_an_ipv4_sender_shows_as_such() {
    let site = Site::new("");
    let text = std::fs::read_to_string(site.config_file()).unwrap();
    std::fs::write(site.config_file(), text.replace("127.0.0.1:0", "[::]:0")).unwrap();
    site.run(async |gateway| {
        for (name, proto) in [("syslog", "tcp"), ("syslog_tls", "tls"), ("proxy", "tcp")] {
            let port = gateway.address(name, proto).await.port();
            for host in ["::1", "127.0.0.1"] {
                TcpStream::connect((host, port)).await.unwrap();
            }
        }
        let port = gateway.address("syslog", "tcp").await.port();
        for host in ["::1", "127.0.0.1"] {
            let mut stream = TcpStream::connect((host, port)).await.unwrap();
            stream.write_all(LINE).await.unwrap();
            let local = if host == "::1" { "[::1]:0" } else { "127.0.0.1:0" };
            let udp = tokio::net::UdpSocket::bind(local).await.unwrap();
            udp.send_to(LINE, (host, port)).await.unwrap();
            let traps = gateway.address("snmp_trap", "udp").await.port();
            udp.send_to(&crate::site::inform(1, 1), (host, traps)).await.unwrap();
            udp.recv(&mut [0; 1500]).await.unwrap();
        }
        let report = gateway.until(|report| report.ledger.totals.accepted >= 6).await;
        let mut sources: Vec<&str> = report.ledger.top_sources.iter().map(|source| source.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        assert_eq!(sources, ["127.0.0.1", "::1"]);
    })
    .await;
}

#[tokio::test]
async fn agents_show_a_password_and_are_accounted_by_name() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let site = with("", &format!("connect_allow = [\"{address}\"]\nauthentication = \"basic\"\nusers_file = \"users\""));
    let line = postern_gateway::proxy::users::line("press-4", "correct horse battery").unwrap();
    std::fs::write(site.path("users"), line).unwrap();
    std::fs::set_permissions(site.path("users"), std::fs::Permissions::from_mode(0o600)).unwrap();
    site.run(async |gateway| {
        let connect = |credential: &str| format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{credential}\r\n");
        let basic = |text: &str| format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(text.as_bytes()));
        for refused in [String::new(), basic("press-4:wrong password")] {
            let answer = gateway.exchange(connect(&refused).as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 407 ") && answer.contains("Proxy-Authenticate: Basic realm="), "{answer}");
        }
        for _ in 0..2 {
            let serve = async {
                let (mut stream, _) = server.accept().await.unwrap();
                let mut question = String::new();
                stream.read_to_string(&mut question).await.unwrap();
                stream.write_all(b"answer").await.unwrap();
            };
            let ask = async {
                let mut stream = TcpStream::connect(gateway.address("proxy", "tcp").await).await.unwrap();
                stream.write_all(connect(&basic("press-4:correct horse battery")).as_bytes()).await.unwrap();
                stream.write_all(b"question").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nanswer"), "{answer}");
            };
            tokio::join!(serve, ask);
        }
        let report = gateway.until(|report| report.intake.agents.iter().any(|agent| agent.agent == "press-4" && agent.open == 0)).await;
        let agents: Vec<_> =
            report.intake.agents.iter().map(|a| (a.agent.as_str(), a.tunnels, a.refused, a.bytes_up, a.bytes_down)).collect();
        assert_eq!(agents, [("press-4", 2, 0, 16, 12), ("127.0.0.1", 0, 2, 0, 0)]);
    })
    .await;
}

fn gateway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern-gateway")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[tokio::test]
async fn a_certificate_for_a_request_made_here_is_installed_and_shown_to_clients() {
    let mut site = Site::new("");
    let config = site.config_file();
    let config = config.to_str().unwrap().to_owned();
    let request = gateway(&["listener-csr", "--config", &config, "--name", "gw.example.com", "--name", "localhost"]);
    assert!(request.status.success(), "{}", said(&request));

    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca_params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca_params, ca_key);
    let mut asked = rcgen::CertificateSigningRequestParams::from_pem(&String::from_utf8(request.stdout).unwrap()).unwrap();
    asked.params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    asked.params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    let path = site.path("listener.pem");
    let install = |pem: &str| {
        std::fs::write(&path, pem).unwrap();
        gateway(&["listener-certificate", "--config", &config, "--install", path.to_str().unwrap()])
    };
    let over = install(&asked.signed_by(&issuer).unwrap().pem());
    assert!(!over.status.success() && said(&over).contains("has ended"), "{}", said(&over));
    let other = install(&ca.pem());
    assert!(!other.status.success() && said(&other).contains("the key is not that of the first certificate"), "{}", said(&other));
    asked.params.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let good = install(&asked.signed_by(&issuer).unwrap().pem());
    assert!(good.status.success() && said(&good).contains("gw.example.com"), "{}", said(&good));

    site.ca = ca.pem();
    site.run(async |gateway| {
        for (name, proto) in [("syslog_tls", "tls"), ("proxy", "tcp")] {
            tls(&site, gateway.address(name, proto).await).await;
        }
        assert!(gateway.status().await.intake.warnings.iter().all(|warning| !warning.contains("certificate")));
    })
    .await;
    let again = install(&asked.signed_by(&issuer).unwrap().pem());
    assert!(!again.status.success() && said(&again).contains("there is no request"), "{}", said(&again));
}
