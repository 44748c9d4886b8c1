//! Our decoders beside other people's: `async-snmp` for everything, `snmp2` for v1 and v2c. What they understand, we understand alike;
//! what they seal, we open. net-snmp makes the datagrams of the first two tests, `async-snmp` those of the third, for it also knows
//! 3DES and Reeder's keys.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_snmp::agent::Agent;
use async_snmp::notification::{Notification as Theirs, NotificationAcceptance, NotificationReceiver};
use async_snmp::{
    AuthProtocol, AuthoritativeEngine, DesSaltState, NotificationSinkId, PrivProtocol, UsmConfig, Value as TheirValue,
    VarBind as TheirVarbind,
};
use postern_engine::event::{Notification, Value};
use postern_engine::snmp;
use postern_engine::snmp::engine_id::EngineId;
use postern_engine::snmp::usm::{LocalEngine, Outcome, Secret, UserConfig, Users, Usm};
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use postern_protocol::timestamp::Timestamp;
use postern_tests::tools::{run, succeeded};

const AUTH: &str = "the-authentication-passphrase";
const PRIVACY: &str = "the-encryption-passphrase";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Every type of a varbind that net-snmp writes: name, type letter, value.
const VARBINDS: [[&str; 3]; 12] = [
    ["1.3.6.1.4.1.55555.1", "i", "-2147483648"],
    ["1.3.6.1.4.1.55555.2", "i", "127"],
    ["1.3.6.1.4.1.55555.3", "u", "4294967295"],
    ["1.3.6.1.4.1.55555.4", "c", "4294967295"],
    ["1.3.6.1.4.1.55555.5", "C", "18446744073709551615"],
    ["1.3.6.1.4.1.55555.6", "t", "86400"],
    ["1.3.6.1.4.1.55555.7", "a", "192.0.2.77"],
    ["1.3.6.1.4.1.55555.8", "o", "1.3.6.1.4.1.4294967295.16383.128.127.0"],
    ["1.3.6.1.4.1.55555.9", "s", "fan 2 failed"],
    ["1.3.6.1.4.1.55555.10", "x", "00 ff 80 0a"],
    ["1.3.6.1.4.1.55555.11", "s", ""],
    ["1.3.6.1.4.1.55555.12", "F", "1.5"],
];

/// The datagram that a sender sends to the socket that it is given.
fn captured(send: impl FnOnce(SocketAddr)) -> Vec<u8> {
    let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    send(socket.local_addr().unwrap());
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn snmptrap(before: &[&str], after: &[&str]) -> Vec<u8> {
    captured(|to| {
        let to = to.to_string();
        let varbinds = VARBINDS.concat();
        succeeded(&run("snmptrap", &[before, &[&to], after, &varbinds].concat()));
    })
}

fn varbinds(notification: &Notification) -> Vec<(Vec<u32>, Value)> {
    notification.varbinds.iter().map(|varbind| (varbind.name.numbers().to_vec(), varbind.value.clone())).collect()
}

fn theirs(varbinds: &[TheirVarbind]) -> Vec<(Vec<u32>, Value)> {
    let value = |value: &TheirValue| match value {
        TheirValue::Integer(number) => Value::Integer((*number).into()),
        TheirValue::OctetString(bytes) => Value::OctetString(bytes.to_vec()),
        TheirValue::ObjectIdentifier(oid) => Value::Oid(postern_protocol::oid::Oid::new(oid.arcs()).unwrap()),
        TheirValue::IpAddress(octets) => Value::IpAddress((*octets).into()),
        TheirValue::Counter32(number) => Value::Counter32(*number),
        TheirValue::Gauge32(number) => Value::Gauge32(*number),
        TheirValue::TimeTicks(number) => Value::TimeTicks(*number),
        TheirValue::Opaque(bytes) => Value::Opaque(bytes.to_vec()),
        TheirValue::Counter64(number) => Value::Counter64(*number),
        other => panic!("not sent: {other:?}"),
    };
    varbinds.iter().map(|varbind| (varbind.oid.arcs().to_vec(), value(&varbind.value))).collect()
}

/// Sends a datagram to `async-snmp`'s receiver, which takes it, and returns what it understood.
async fn received(receiver: &NotificationReceiver, datagram: &[u8]) -> Theirs {
    UdpSocket::bind((LOOPBACK, 0)).unwrap().send_to(datagram, receiver.local_addr()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.unwrap().unwrap().notification
}

#[tokio::test]
async fn v1_and_v2c_are_understood_as_two_others_understand_them() {
    let receiver = NotificationReceiver::bind("127.0.0.1:0").await.unwrap();
    let v2c = snmptrap(&["-v", "2c", "-c", "public"], &["4711", "1.3.6.1.4.1.55555.0.1"]);
    let ours = snmp::decode(&v2c).unwrap();
    let Theirs::TrapV2c { trap_oid, uptime, varbinds: list, request_id, .. } = received(&receiver, &v2c).await else {
        panic!("a v2c trap")
    };
    assert_eq!((ours.notification.trap_oid.numbers(), ours.notification.uptime, ours.request_id), (trap_oid.arcs(), uptime, request_id));
    assert_eq!(varbinds(&ours.notification), theirs(&list));
    agrees_with_snmp2(&v2c, &ours);

    for generic in ["0", "1", "2", "3", "4", "5", "6"] {
        let v1 = snmptrap(&["-v", "1", "-c", "public"], &["1.3.6.1.4.1.55555.2", "192.0.2.9", generic, "17", "4711"]);
        let ours = snmp::decode(&v1).unwrap();
        let understood = received(&receiver, &v1).await;
        assert_eq!(ours.notification.trap_oid.numbers(), understood.trap_oid().unwrap().arcs(), "RFC 3584 §3.1, generic {generic}");
        assert_eq!(ours.notification.uptime, understood.uptime());
        let list = theirs(understood.varbinds());
        assert_eq!(varbinds(&ours.notification)[..list.len()], list, "we add snmpTrapEnterprise.0 behind them");
        agrees_with_snmp2(&v1, &ours);
    }
}

fn agrees_with_snmp2(datagram: &[u8], ours: &snmp::Message) {
    let pdu = snmp2::Pdu::from_bytes(datagram).unwrap();
    assert_eq!(pdu.community, ours.community);
    let names: Vec<String> = pdu.varbinds.map(|(name, _)| name.to_id_string()).collect();
    let kept: Vec<String> = ours.notification.varbinds.iter().map(|varbind| varbind.name.to_string()).collect();
    // snmp2 leaves the first two of a v2 notification in the list; we take them out, and add the enterprise to a v1 trap.
    let theirs = &names[if pdu.v1_trap_info.is_some() { 0 } else { 2 }..];
    assert_eq!(&kept[..theirs.len()], theirs);
}

/// A user as each side knows its algorithms.
struct Pair {
    auth: (AuthProtocol, AuthAlgorithm),
    privacy: (PrivProtocol, PrivAlgorithm, KeyExtension),
}

fn pairs() -> Vec<Pair> {
    let auths = [
        (AuthProtocol::Md5, AuthAlgorithm::Md5),
        (AuthProtocol::Sha1, AuthAlgorithm::Sha1),
        (AuthProtocol::Sha224, AuthAlgorithm::Sha224),
        (AuthProtocol::Sha256, AuthAlgorithm::Sha256),
        (AuthProtocol::Sha384, AuthAlgorithm::Sha384),
        (AuthProtocol::Sha512, AuthAlgorithm::Sha512),
    ];
    let ciphers = [
        (PrivProtocol::Des, PrivAlgorithm::Des, KeyExtension::Standard),
        (PrivProtocol::Des3, PrivAlgorithm::TripleDes, KeyExtension::Standard),
        (PrivProtocol::Aes128, PrivAlgorithm::Aes128, KeyExtension::Standard),
        (PrivProtocol::Aes192Blumenthal, PrivAlgorithm::Aes192, KeyExtension::Standard),
        (PrivProtocol::Aes192Reeder, PrivAlgorithm::Aes192, KeyExtension::Reeder),
        (PrivProtocol::Aes256Blumenthal, PrivAlgorithm::Aes256, KeyExtension::Standard),
        (PrivProtocol::Aes256Reeder, PrivAlgorithm::Aes256, KeyExtension::Reeder),
    ];
    auths.into_iter().flat_map(|auth| ciphers.iter().map(move |privacy| Pair { auth, privacy: *privacy })).collect()
}

fn usm(auth: AuthAlgorithm, privacy: (PrivAlgorithm, KeyExtension), now: Timestamp) -> Usm {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    let user = UserConfig {
        name: "ops".to_owned(),
        engines: Vec::new(),
        sources: vec!["127.0.0.0/8".parse().unwrap()],
        auth: Some((auth, secret(AUTH))),
        privacy: Some((privacy.0, privacy.1, secret(PRIVACY))),
        minimum: SecurityLevel::AuthPriv,
    };
    let local = LocalEngine { engine: EngineId::new(&[0x80, 0, 0x7e, 0xd9, 5, 1]).unwrap(), boots: 1, started: now, salt: 1 };
    Usm::new(local, Arc::new(Users::new(vec![user])))
}

#[tokio::test]
async fn what_async_snmp_seals_with_any_pair_of_algorithms_we_open() {
    let now = Timestamp::from(std::time::SystemTime::now());
    for Pair { auth, privacy } in pairs() {
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let engine = AuthoritativeEngine::install(b"\x80\0\x7e\xd9\x05oracle".to_vec(), |_| Ok::<(), Infallible>(())).unwrap();
        let sink = UsmConfig::new("ops").auth_priv(auth.0, AUTH, privacy.0, PRIVACY).unwrap();
        let to = socket.local_addr().unwrap().to_string();
        let salts = DesSaltState::install(|_| Ok::<(), Infallible>(())).unwrap();
        let builder = Agent::builder().bind("127.0.0.1:0").authoritative_engine(engine).des_salt_state(salts);
        let agent = builder.trap_sink(NotificationSinkId::new("s").unwrap(), to, sink).allow_all_access().build().await.unwrap();
        let list = vec![TheirVarbind { oid: async_snmp::oid!(1, 3, 6, 1, 4, 1, 55555, 1), value: TheirValue::Integer(7) }];
        let sent = agent.send_trap(&async_snmp::oid!(1, 3, 6, 1, 6, 3, 1, 1, 5, 3), 4711, list.clone()).await;
        assert!(sent.all_succeeded(), "{sent:?}");
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer).unwrap();
        let opened = usm(auth.1, (privacy.1, privacy.2), now).process(&buffer[..length], LOOPBACK, now);
        let Ok(Outcome::Notification(ours)) = opened else { panic!("{:?} {:?}: {opened:?}", auth.0, privacy.0) };
        assert_eq!(ours.notification.trap_oid.to_string(), "1.3.6.1.6.3.1.1.5.3");
        assert_eq!((ours.notification.uptime, varbinds(&ours.notification)), (4711, theirs(&list)));
        assert_eq!(ours.notification.engine_id.as_deref(), Some(&b"\x80\0\x7e\xd9\x05oracle"[..]));
    }
}

#[tokio::test]
async fn a_v3_trap_of_net_snmp_is_understood_as_async_snmp_understands_it() {
    let now = Timestamp::from(std::time::SystemTime::now());
    let credentials = ["-v", "3", "-l", "authPriv", "-u", "ops", "-a", "SHA-256", "-A", AUTH, "-x", "AES", "-X", PRIVACY];
    let datagram = snmptrap(&[&credentials[..], &["-e", "80007ed90501020304"]].concat(), &["4711", "1.3.6.1.4.1.55555.0.1"]);
    let builder = NotificationReceiver::builder().bind("127.0.0.1:0");
    let builder = builder.usm_user("ops", |user| user.auth_priv(AuthProtocol::Sha256, AUTH, PrivProtocol::Aes128, PRIVACY)).unwrap();
    let engine = AuthoritativeEngine::install(b"\x80\0\x7e\xd9\x05receiver".to_vec(), |_| Ok::<(), Infallible>(())).unwrap();
    let receiver = builder.authoritative_engine(engine).acceptance_policy(|_| NotificationAcceptance::Accept).build().await.unwrap();
    let Theirs::TrapV3 { trap_oid, uptime, varbinds: list, .. } = received(&receiver, &datagram).await else { panic!("a v3 trap") };
    let privacy = (PrivAlgorithm::Aes128, KeyExtension::Standard);
    let opened = usm(AuthAlgorithm::Sha256, privacy, now).process(&datagram, LOOPBACK, now);
    let Ok(Outcome::Notification(ours)) = opened else { panic!("{opened:?}") };
    assert_eq!((ours.notification.trap_oid.numbers(), ours.notification.uptime), (trap_oid.arcs(), uptime));
    assert_eq!(varbinds(&ours.notification), theirs(&list));
}
