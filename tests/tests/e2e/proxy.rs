//! The 3128 listener as a proxy: to the control plane and nowhere else.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::harness::rig::{Options, Rig};
use postern_tests::tools::{printed, run};

fn curl_through(rig: &Rig, scheme: &str, url: &str) -> std::process::Output {
    let proxy = format!("{scheme}://{}", rig.prepared.sockets.proxy());
    let ca = rig.api.ca();
    run("curl", &["-sS", "-v", "--max-time", "10", "-x", &proxy, "--proxy-cacert", ca, "--cacert", ca, url])
}

/// Sends bytes as they are and returns the whole answer.
fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // The listener may close at once with our bytes unread, which resets the connection after the answer.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split_whitespace().nth(1).unwrap_or_default()
}

#[test]
fn curl_reaches_the_control_plane_through_it_plain_and_over_tls() {
    let rig = Rig::start();
    for scheme in ["http", "https"] {
        let output = curl_through(&rig, scheme, &format!("{}/api/v1/openapi.json", rig.api.console()));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(&output)));
        assert!(document["openapi"].is_string());
    }
}

#[test]
fn connect_elsewhere_is_refused_with_the_reason() {
    let rig = Rig::start();
    let port = rig.prepared.sockets.https().port();
    let elsewhere = [
        "https://example.com/".to_owned(),
        format!("https://127.0.0.1:{}/", rig.prepared.sockets.syslog().port()),
        "https://127.0.0.1:22/".to_owned(),
        format!("https://127.0.0.2:{port}/"),
        format!("https://[::1]:{port}/"),
    ];
    for url in elsewhere {
        let output = curl_through(&rig, "http", &url);
        assert!(!output.status.success());
        assert!(printed(&output).contains("403"), "{}", printed(&output));
    }
    let answer = raw(rig.prepared.sockets.proxy(), b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
    assert_eq!(status(&answer), "403");
    assert!(answer.contains("example.com:443 is not allowed"), "{answer}");
}

#[test]
fn fetching_another_site_and_malformed_requests_are_refused() {
    let rig = Rig::start();
    let output = curl_through(&rig, "http", "http://example.com/");
    assert!(printed(&output).contains("403"), "{}", printed(&output));
    let address = rig.prepared.sockets.proxy();
    let too_many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let cases: [(&[u8], &[&str]); 8] = [
        (b"rubbish\r\n\r\n", &["400"]),
        (b"CONNECT nothing HTTP/1.1\r\nHost: x\r\n\r\n", &["400"]),
        (b"CONNECT a:99999 HTTP/1.1\r\nHost: x\r\n\r\n", &["400"]),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", &["400"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &["404", "405"]),
        (b"DELETE /v1/push HTTP/1.1\r\nHost: x\r\n\r\n", &["405"]),
        (b"POST /v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", &["400"]),
        (b"POST /v1/push HTTP/1.1\r\nHost: x\r\n\r\n", &["401", "411", "400"]),
    ];
    for (request, expected) in cases {
        let answer = raw(address, request);
        assert!(expected.contains(&status(&answer)), "{} -> {answer}", String::from_utf8_lossy(request));
    }
    let answer = raw(address, format!("GET / HTTP/1.1\r\nHost: x\r\n{too_many}\r\n").as_bytes());
    assert_eq!(status(&answer), "431", "{answer}");
    assert!(curl_through(&rig, "http", &format!("{}/api/v1/openapi.json", rig.api.console())).status.success(), "service goes on");
}

#[test]
fn a_half_closed_tunnel_still_delivers_the_answer() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let rig = Rig::start_with(&Options { gateway_toml: &format!("connect_allow = [\"{address}\"]\n"), ..Options::default() });
    let server = std::thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).unwrap();
        stream.write_all(&vec![b'a'; 2_000_000]).unwrap();
        asked.len()
    });
    let mut client = TcpStream::connect(rig.prepared.sockets.proxy()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert_eq!(status(&String::from_utf8_lossy(&head)), "200");
    client.write_all(&vec![b'q'; 1_000_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!((server.join().unwrap(), answer.len()), (1_000_000, 2_000_000));
}

#[test]
fn idle_tunnels_end_and_connections_are_limited() {
    let rig = Rig::start_with(&Options { gateway_toml: "idle_timeout_s = 1\nmax_connections = 4\n", ..Options::default() });
    let proxy = rig.prepared.sockets.proxy();
    let target = rig.prepared.sockets.https();
    let mut idle = TcpStream::connect(proxy).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    idle.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    drop(idle.read_to_end(&mut answer));
    assert_eq!(status(&String::from_utf8_lossy(&answer)), "200", "it was open, then ended by itself");

    // Beyond the limit a connection is refused or waits; either way nobody is served by a fifth while four are held.
    let hold = || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream.write_all(b"CONNECT ").unwrap();
        stream
    };
    let held: Vec<TcpStream> = (0..4).map(|_| hold()).collect();
    rig.wait_for_status("the four", |status| status.listeners.iter().any(|socket| socket.name == "proxy" && socket.connections == Some(4)));
    let mut fifth = TcpStream::connect(proxy).unwrap();
    fifth.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    drop(fifth.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()));
    let mut first_bytes = [0; 12];
    let read = fifth.read(&mut first_bytes).unwrap_or(0);
    assert!(!first_bytes[..read].starts_with(b"HTTP/1.1 200"), "four connections were held");
    drop(held);
    postern_tests::deadline::wait_for("the proxy to serve again", postern_tests::deadline::SOON, || {
        let output = curl_through(&rig, "http", &format!("{}/api/v1/openapi.json", rig.api.console()));
        if output.status.success() { Ok(()) } else { Err(printed(&output)) }
    });
}
