//! The 3128 listener: tunnels, refusals and pushes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::receivers::tls;
use crate::site::{ONE_EVENT, PUSH_KEY, Site, push, signed_push};

#[tokio::test]
async fn a_tunnel_keeps_half_closed_connections() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let site = Site::new(&format!("connect_allow = [\"{address}\"]"));
    site.run(async |gateway| {
        let serve = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).await.unwrap();
            stream.write_all(format!("answer to {question}").repeat(1000).as_bytes()).await.unwrap();
        };
        let ask = async {
            let mut stream = TcpStream::connect(gateway.address("proxy", "tcp").await).await.unwrap();
            stream.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nquest").as_bytes()).await.unwrap();
            stream.write_all(b"ion").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(serve, ask);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "answer to question".repeat(1000));
    })
    .await;
}

#[tokio::test]
async fn anything_else_is_refused_with_status_and_reason() {
    let site = Site::new("");
    site.run(async |gateway| {
        for (request, status, reason) in [
            ("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", "403", "allowed: 127.0.0.1:9"),
            ("CONNECT 127.0.0.1:3128 HTTP/1.1\r\nHost: h\r\n\r\n", "403", "allowed: 127.0.0.1:9"),
            ("CONNECT localhost:9 HTTP/1.1\r\nHost: h\r\n\r\n", "403", "allowed: 127.0.0.1:9"),
            ("CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: h\r\n\r\n", "502", "cannot be reached"),
            ("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "403", "fetches nothing"),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "404", "POST /v1/push"),
            ("GET /v1/push HTTP/1.1\r\nHost: h\r\n\r\n", "405", "POST only"),
            ("nonsense\r\n\r\n", "400", "not HTTP/1.1"),
        ] {
            let answer = gateway.exchange(request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(reason), "{request}{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_signed_push_counts_once() {
    let site = Site::new("");
    site.run(async |gateway| {
        let request = signed_push(ONE_EVENT, "");
        let accepted = gateway.exchange(&request).await;
        assert!(accepted.starts_with("HTTP/1.1 200 ") && accepted.ends_with("{\"accepted\":1}"), "{accepted}");
        assert!(gateway.exchange(&request).await.starts_with("HTTP/1.1 409 "));
        let report = gateway.status().await;
        let pushes = &report.ledger.by_protocol["push"];
        assert_eq!((pushes.received, pushes.accepted, pushes.dropped["replayed"], report.open_alerts), (2, 1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_repeats_the_answer_and_nothing_else() {
    let site = Site::new("");
    site.run(async |gateway| {
        let keyed = signed_push(ONE_EVENT, "Idempotency-Key: k1\r\n");
        for _ in 0..2 {
            let answer = gateway.exchange(&keyed).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"accepted\":1}"), "{answer}");
        }
        let other = ONE_EVENT.replace("hot", "cold");
        assert!(gateway.exchange(&signed_push(&other, "Idempotency-Key: k1\r\n")).await.starts_with("HTTP/1.1 422 "));
        let pushes = &gateway.status().await.ledger.by_protocol["push"];
        assert_eq!((pushes.received, pushes.accepted, pushes.dropped["duplicate"], pushes.dropped["replayed"]), (3, 1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn bad_pushes_are_refused_and_counted() {
    let site = Site::new("");
    site.run(async |gateway| {
        let wrong_key = push(ONE_EVENT, "Postern-Signature: id=demo, ts=1, mac=00\r\n");
        let forged = format!("Postern-Signature: id=demo, ts=1, mac={}\r\n", "0".repeat(64));
        let oversized = b"POST /v1/push HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n";
        for (request, status, reason) in [
            (wrong_key, "400", "malformed"),
            (push(ONE_EVENT, &forged), "401", "does not fit"),
            (push(ONE_EVENT, ""), "401", "needs a Postern-Signature"),
            (push(ONE_EVENT, &format!("Authorization: Bearer demo.{PUSH_KEY}\r\n")), "401", "over TLS only"),
            (signed_push("{\"events\":[{\"resource\":1}]}", ""), "400", "events[0].resource"),
            (oversized.to_vec(), "413", "more than 262144"),
        ] {
            let answer = gateway.exchange(&request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(reason), "{answer}");
        }
        let pushes = &gateway.status().await.ledger.by_protocol["push"];
        let count = |reason: &str| pushes.dropped.get(reason).copied().unwrap_or(0);
        assert_eq!((count("malformed"), count("bad_signature"), count("not_authentic"), count("too_long")), (2, 1, 2, 1));
        assert_eq!(pushes.received, 6);
    })
    .await;
}

#[tokio::test]
async fn a_bearer_token_is_taken_over_tls_and_the_connection_is_kept() {
    let site = Site::new("");
    site.run(async |gateway| {
        let mut stream = tls(&site, gateway.address("proxy", "tcp").await).await;
        let length = ONE_EVENT.len();
        let head = format!("POST http://postern.internal/v1/push HTTP/1.1\r\nHost: postern.internal\r\nContent-Length: {length}\r\n");
        let credential = format!("Authorization: Bearer demo.{PUSH_KEY}\r\n");
        for expectation in ["", "Expect: 100-continue\r\n"] {
            stream.write_all(format!("{head}{credential}{expectation}\r\n").as_bytes()).await.unwrap();
            if !expectation.is_empty() {
                let mut interim = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
                stream.read_exact(&mut interim).await.unwrap();
                assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            stream.write_all(ONE_EVENT.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"{\"accepted\":1}") {
                assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
            }
        }
        assert_eq!(gateway.status().await.ledger.by_protocol["push"].accepted, 2);
    })
    .await;
}

#[tokio::test]
async fn a_connection_above_the_limit_is_told_so() {
    let site = Site::new("max_connections = 1");
    site.run(async |gateway| {
        let address = gateway.address("proxy", "tcp").await;
        let mut first = TcpStream::connect(address).await.unwrap();
        // Half a request holds the one connection.
        first.write_all(b"POST /v1/push HTTP/1.1\r\n").await.unwrap();
        loop {
            let answer = gateway.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            if answer.starts_with("HTTP/1.1 503 ") {
                break;
            }
        }
        drop(first);
        loop {
            let answer = gateway.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            if answer.starts_with("HTTP/1.1 404 ") {
                break;
            }
        }
    })
    .await;
}
