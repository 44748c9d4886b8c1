//! SNMPv3 as other implementations send it: every pair of algorithms that net-snmp and pysnmp know.

#![expect(clippy::panic, clippy::unwrap_used, reason = "test code outside of #[test] functions")]
#![expect(clippy::disallowed_types, reason = "the peer of a pure decoder is a program with a socket")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern_engine::event::Value;
use postern_engine::snmp::Kind;
use postern_engine::snmp::usm::{AuthenticatedNotification, LocalEngine, Outcome, RefusalReason, Secret, UserConfig, Users, Usm};
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use postern_protocol::timestamp::Timestamp;

const NET_SNMP: &str = include_str!("data/usm/net-snmp.hex");
const PYSNMP: &str = include_str!("data/usm/pysnmp.hex");
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const AUTHS: [&str; 6] = ["MD5", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"];
const PRIVS: [&str; 6] = ["DES", "AES", "AES-192", "AES-256", "AES-192-C", "AES-256-C"];

fn auth(name: &str) -> Option<AuthAlgorithm> {
    Some(match name {
        "none" => return None,
        "MD5" => AuthAlgorithm::Md5,
        "SHA" => AuthAlgorithm::Sha1,
        "SHA-224" => AuthAlgorithm::Sha224,
        "SHA-256" => AuthAlgorithm::Sha256,
        "SHA-384" => AuthAlgorithm::Sha384,
        "SHA-512" => AuthAlgorithm::Sha512,
        other => panic!("{other}"),
    })
}

fn privacy(name: &str) -> Option<(PrivAlgorithm, KeyExtension)> {
    Some(match name {
        "none" => return None,
        "DES" => (PrivAlgorithm::Des, KeyExtension::Standard),
        "3DES" => (PrivAlgorithm::TripleDes, KeyExtension::Standard),
        "AES" => (PrivAlgorithm::Aes128, KeyExtension::Standard),
        "AES-192" => (PrivAlgorithm::Aes192, KeyExtension::Standard),
        "AES-256" => (PrivAlgorithm::Aes256, KeyExtension::Standard),
        "AES-192-C" => (PrivAlgorithm::Aes192, KeyExtension::Reeder),
        "AES-256-C" => (PrivAlgorithm::Aes256, KeyExtension::Reeder),
        other => panic!("{other}"),
    })
}

fn user(name: &str, algorithms: (&str, &str)) -> UserConfig {
    let secret = |text: &str| Secret::new(text.into());
    let (auth, privacy) = (auth(algorithms.0), privacy(algorithms.1));
    UserConfig {
        name: name.to_owned(),
        engines: Vec::new(),
        sources: vec!["127.0.0.0/8".parse().unwrap()],
        minimum: match (auth, privacy) {
            (None, _) => SecurityLevel::NoAuthNoPriv,
            (Some(_), None) => SecurityLevel::AuthNoPriv,
            (Some(_), Some(_)) => SecurityLevel::AuthPriv,
        },
        auth: auth.map(|algorithm| (algorithm, secret("maplesyrup"))),
        privacy: privacy.map(|(algorithm, extension)| (algorithm, extension, secret("mapleleaves"))),
    }
}

fn usm(users: Vec<UserConfig>) -> Usm {
    let engine = "80007ed9050102030405060708".parse().unwrap();
    Usm::new(LocalEngine { engine, boots: 3, started: Timestamp::from_secs(0), salt: 1 }, Arc::new(Users::new(users)))
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Fixtures: the algorithms, and the datagram.
fn fixtures(text: &'static str) -> impl Iterator<Item = ((&'static str, &'static str), Vec<u8>)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [auth, privacy, hex] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        ((auth, privacy), bytes(hex))
    })
}

fn is_link_down(taken: &AuthenticatedNotification) -> bool {
    let interface = taken
        .notification
        .varbinds
        .iter()
        .any(|varbind| varbind.name.to_string() == "1.3.6.1.2.1.2.2.1.1.3" && varbind.value == Value::Integer(3));
    interface && taken.notification.trap_oid.to_string() == "1.3.6.1.6.3.1.1.5.3"
}

#[test]
fn traps_of_every_pair_of_algorithms_are_taken() {
    let mut pairs = 0;
    for (algorithms, datagram) in fixtures(NET_SNMP).chain(fixtures(PYSNMP)) {
        let mut usm = usm(vec![user("user", algorithms)]);
        match usm.process(&datagram, PEER, Timestamp::from_secs(9)) {
            Ok(Outcome::Notification(taken)) => {
                assert!(is_link_down(&taken), "{algorithms:?}: {taken:?}");
                assert_eq!(taken.kind, Kind::Trap);
                pairs += 1;
            }
            other => panic!("{algorithms:?}: {other:?}"),
        }
        // With another passphrase for privacy the digest is good, and what is wrong is named.
        let mut other = user("user", algorithms);
        if let Some((_, _, secret)) = &mut other.privacy {
            *secret = Secret::new(b"mapleleaf".to_vec());
            let refusal = self::usm(vec![other]).process(&datagram, PEER, Timestamp::from_secs(9)).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::DecryptionFailed, "{algorithms:?}");
        }
    }
    assert_eq!(pairs, 1 + 6 * 7 + 6 * 7);
}

/// Answers what comes to a socket until the peer has ended; returns the informs that were taken.
fn serve(usm: &mut Usm, socket: &UdpSocket, peer: &mut Child) -> Vec<AuthenticatedNotification> {
    let mut taken = Vec::new();
    let mut buffer = [0; 65_535];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => match peer.try_wait().unwrap() {
                Some(status) => break assert!(status.success(), "the peer had no answer: {status}"),
                None => continue,
            },
            Err(error) => panic!("{error}"),
        };
        let answer = match usm.process(buffer.get(..length).unwrap(), from.ip(), Timestamp::from_secs(100)) {
            Ok(Outcome::Notification(notification)) => {
                let response = notification.response.clone();
                taken.push(*notification);
                response
            }
            Ok(Outcome::Report(report)) => Some(report),
            Err(refusal) => refusal.report,
        };
        if let Some(answer) = answer {
            socket.send_to(&answer, from).unwrap();
        }
    }
    taken
}

fn snmpinform(to: SocketAddr, arguments: &[&str]) -> Child {
    Command::new("snmpinform")
        .args(["-v3", "-t", "5", "-r", "1"])
        .args(arguments)
        .args([&to.to_string(), "12345", "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.2.2.1.1.3", "i", "3"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn informs_of_net_snmp_find_our_engine_and_believe_our_answers() {
    let pairs = AUTHS.iter().flat_map(|auth| PRIVS.iter().chain(&["none"]).map(move |privacy| (*auth, *privacy))).chain([("none", "none")]);
    let pairs: Vec<_> = pairs.collect();
    let name = |(auth, privacy): (&str, &str)| format!("{auth}+{privacy}");
    let mut usm = usm(pairs.iter().map(|pair| user(&name(*pair), *pair)).collect());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    for pair in pairs {
        let name = name(pair);
        let keys = ["-a", pair.0, "-A", "maplesyrup", "-x", pair.1, "-X", "mapleleaves"];
        let (level, keys) = match pair {
            ("none", _) => ("noAuthNoPriv", &keys[..0]),
            (_, "none") => ("authNoPriv", &keys[..4]),
            _ => ("authPriv", &keys[..]),
        };
        let mut peer = snmpinform(socket.local_addr().unwrap(), &[&["-u", name.as_str(), "-l", level], keys].concat());
        let taken = serve(&mut usm, &socket, &mut peer);
        assert_eq!(taken.len(), 1, "{name}");
        assert!(taken.iter().all(is_link_down), "{name}");
        assert!(taken.iter().all(|taken| *taken.user == *name && taken.kind == Kind::Inform));
    }
}

#[test]
fn an_inform_that_thinks_of_another_start_of_ours_comes_again_with_the_right_clock() {
    let mut usm = usm(vec![user("user", ("SHA-256", "AES"))]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let keys = ["-u", "user", "-l", "authPriv", "-a", "SHA-256", "-A", "maplesyrup", "-x", "AES", "-X", "mapleleaves"];
    let mut peer = snmpinform(socket.local_addr().unwrap(), &[&["-e", "0x80007ed9050102030405060708"], &keys[..]].concat());
    assert_eq!(serve(&mut usm, &socket, &mut peer).len(), 1);
}
