//! Hostile and broken input on every port: counted by reason, answered clearly where there is an answer, and service goes on.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;
use postern_tests::snmp::{self, INFORM, RESPONSE, TRAP_V2, link, tlv, varbind};
use postern_tests::tools::{LINK_DOWN, link_trap, logger, printed, run_with_input};

fn still_works(rig: &Rig) {
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 77);
    rig.api.wait_for_alert("service to go on", |alert| is_link(alert, 77));
    logger(rig.prepared.sockets.syslog(), &["--tcp", "--priority", "daemon.err", "--tag", "goes-on", "x"]);
    rig.api.wait_for_alert("service to go on", |alert| alert.to_string().contains("goes-on"));
}

fn wait_until_dealt_with(rig: &Rig, datagrams: u64) -> postern_protocol::status::Account {
    let status = rig.wait_for_status("all datagrams", |status| {
        let account = status.ledger.by_protocol.get("snmp_trap").cloned().unwrap_or_default();
        account.received >= datagrams && account.in_flight == 0
    });
    status.ledger.by_protocol["snmp_trap"].clone()
}

#[test]
fn truncated_and_mutated_traps_are_counted_as_malformed() {
    let rig = Rig::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = rig.prepared.sockets.snmp_trap();
    let good = link(TRAP_V2, 1, snmp::LINK_DOWN, 1);
    let mut sent = 0_u64;
    let mut send = |datagram: &[u8]| {
        socket.send_to(datagram, to).unwrap();
        sent += 1;
        if sent.is_multiple_of(100) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for length in 0..good.len() {
        send(&good[..length]);
    }
    let truncated = good.len() as u64;
    // Each byte changed in four ways; some of these are other valid traps.
    for at in 0..good.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut mutated = good.clone();
            mutated[at] ^= change;
            send(&mutated);
        }
    }
    let account = wait_until_dealt_with(&rig, sent);
    assert_eq!(account.received, sent);
    let dropped: u64 = account.dropped.values().sum();
    assert!(dropped >= truncated, "no truncated trap was taken: {account:?}");
    assert!(account.dropped["malformed"] >= truncated, "{account:?}");
    still_works(&rig);
}

#[test]
fn giant_datagrams_absurd_varbind_counts_and_wrong_pdus_are_counted_by_reason() {
    let rig = Rig::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = rig.prepared.sockets.snmp_trap();
    let giant = vec![0x30; 65_507];
    let many: Vec<Vec<u8>> = (0..6000).map(|_| varbind(&[1, 3], &tlv(5, &[]))).collect();
    let many = snmp::message(TRAP_V2, 1, snmp::LINK_DOWN, &many);
    assert!(many.len() < 65_507, "{}", many.len());
    // A length of 4 GiB in a datagram of a few bytes, and one that nests ten thousand times.
    let lying = [0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, 1];
    let nested: Vec<u8> = (0..10_000).fold(Vec::new(), |inner, _| if inner.len() < 60_000 { tlv(0x30, &inner) } else { inner });
    let v7 = tlv(0x30, &[snmp::integer(7), tlv(0x30, &[])].concat());
    let get = link(0xa0, 1, snmp::LINK_DOWN, 1);
    let response = link(RESPONSE, 1, snmp::LINK_DOWN, 1);
    for datagram in [&giant[..], &many, &lying, &nested, &v7, &get, &response] {
        socket.send_to(datagram, to).unwrap();
    }
    let account = wait_until_dealt_with(&rig, 7);
    assert_eq!((account.received, account.accepted), (7, 0), "{account:?}");
    for (reason, at_least) in [("malformed", 3), ("unsupported_version", 1), ("wrong_pdu", 2)] {
        assert!(account.dropped.get(reason).copied().unwrap_or(0) >= at_least, "{reason}: {account:?}");
    }
    still_works(&rig);
}

#[test]
fn giant_traps_that_are_valid_are_taken() {
    let rig = Rig::start();
    let sender = snmp::Sender::new(rig.prepared.sockets.snmp_trap());
    let text = tlv(4, &vec![b'x'; 60_000]);
    let giant = snmp::message(INFORM, 9, &[1, 3, 6, 1, 4, 1, 55_555, 0, 1], &[varbind(&[1, 3, 6, 1, 4, 1, 55_555, 1], &text)]);
    sender.send(&giant);
    rig.wait_for_status("the giant", |status| status.ledger.totals.accepted == 1);
    rig.api.wait_for_alert("the giant", |alert| alert.to_string().contains("1.3.6.1.4.1.55555.0.1"));
}

/// Writes until the peer has had enough; returns whether it had.
fn write_until_refused(stream: &mut TcpStream, chunk: &[u8], limit: usize) -> bool {
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut written = 0;
    while written < limit {
        match stream.write(chunk) {
            Ok(0) | Err(_) => return true,
            Ok(length) => written += length,
        }
    }
    false
}

#[test]
fn endless_and_broken_tcp_frames_are_bounded_and_counted() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.syslog();
    let connect = || {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    // A line that never ends.
    let mut endless = connect();
    write_until_refused(&mut endless, &[b'a'; 4096], 8 << 20);
    drop(endless);
    // A frame that announces more than there may be, a length that is none, a length of zero.
    for bad in ["999999999 <13>x", "99999999999999999999999 x", "000 x", "7x"] {
        let mut stream = connect();
        stream.write_all(bad.as_bytes()).unwrap();
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }
    // A frame cut by the end of the connection.
    connect().write_all(b"100 <13>half a frame").unwrap();
    let status = rig.wait_for_status("the drops", |status| {
        status.ledger.by_protocol.get("syslog").is_some_and(|account| account.dropped.values().sum::<u64>() >= 3)
    });
    println!("{:?}", status.ledger.by_protocol["syslog"]);
    assert!(status.ledger.by_protocol["syslog"].dropped.contains_key("too_long"), "{:?}", status.ledger);
    still_works(&rig);
}

#[test]
fn many_connections_that_say_nothing_do_not_stop_the_others() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.syslog();
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(to).unwrap()).collect();
    still_works(&rig);
    drop(idle);
}

#[test]
fn a_wrong_tls_client_is_turned_away_and_a_right_one_is_heard() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.syslog_tls();
    // No TLS at all.
    let mut plain = TcpStream::connect(to).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    plain.write_all(b"<13>hello\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n").unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"<"), "{answer:?}");
    // Too old a TLS.
    let address = to.to_string();
    let s_client = |more: &[&str], input: &str| {
        let args =
            [&["s_client", "-connect", &address, "-CAfile", rig.api.ca(), "-verify_return_error", "-quiet", "-no_ign_eof"], more].concat();
        run_with_input("openssl", &args, input.as_bytes())
    };
    let old = s_client(&["-tls1_1"], "");
    assert!(!old.status.success(), "{}", printed(&old));
    // A right one: RFC 5425 frames are octet-counted.
    let message = "<27>1 2026-11-21T10:00:00Z tlshost tlsapp - - - over TLS";
    let right = s_client(&[], &format!("{} {message}", message.len()));
    assert!(right.status.success(), "{}", printed(&right));
    let alert = rig.api.wait_for_alert("the line over TLS", |alert| alert.to_string().contains("tlsapp"));
    assert_eq!(alert["evidence"]["transport"], "tls");
    still_works(&rig);
}

#[test]
fn syslog_that_is_no_syslog_is_taken_as_text_or_counted() {
    let rig = Rig::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = rig.prepared.sockets.syslog();
    let long = vec![b'x'; 65_507];
    let lines: [&[u8]; 9] = [b"", b"\0\0\0", b"<", b"<999>x", b"<13", b"<13>1 - - - - - [", b"\xff\xfe\xfd", b"<13>\xef\xbb\xbf", &long];
    for line in lines {
        socket.send_to(line, to).unwrap();
    }
    let status = rig.wait_for_status("all lines", |status| {
        status.ledger.by_protocol.get("syslog").is_some_and(|account| account.received == lines.len() as u64 && account.in_flight == 0)
    });
    println!("{:?}", status.ledger.by_protocol["syslog"]);
    still_works(&rig);
}

#[test]
fn the_api_answers_nonsense_with_problems() {
    let rig = Rig::start();
    for (method, path, body) in [
        ("GET", "/api/v1/alerts?limit=0", None),
        ("GET", "/api/v1/alerts?limit=1001", None),
        ("GET", "/api/v1/alerts?cursor=nonsense", None),
        ("GET", "/api/v1/alerts?state=sideways", None),
        ("GET", "/api/v1/nothing", None),
        ("DELETE", "/api/v1/alerts", None),
        ("POST", "/api/v1/enrolment-tokens", Some("{")),
        ("POST", "/api/v1/enrolment-tokens", Some(r#"{"colour": 1}"#)),
    ] {
        let reply = rig.api.ask(method, path, body, &[]).unwrap();
        assert!((400..500).contains(&reply.status), "{method} {path}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{method} {path}: {reply:?}");
        assert_eq!(reply.json()["status"], reply.status);
    }
    still_works(&rig);
}
