//! The security model against senders that are honest, broken, replaced or hostile.

use std::net::{IpAddr, Ipv4Addr};

use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm};

use super::auth::Authenticator;
use super::*;
use crate::ber;
use crate::snmp::pdu;
use crate::snmp::v3::{self, Envelope, Header, Reportable, ScopedPdu};

const AUTH: &[u8] = b"maplesyrup";
const PRIVACY: &[u8] = b"mapleleaves";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

fn id(text: &str) -> EngineId {
    text.parse().unwrap()
}

fn device() -> EngineId {
    id("80001f8880e9630000d61ff449")
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

fn ours() -> LocalEngine {
    LocalEngine { engine: id("80007ed9050102030405060708"), boots: 5, started: at(-1000), salt: 77 }
}

fn entry(name: &str) -> UserConfig {
    UserConfig {
        name: name.to_owned(),
        engines: Vec::new(),
        sources: vec!["10.0.0.0/8".parse().unwrap()],
        auth: Some((AuthAlgorithm::Sha256, Secret::new(AUTH.to_vec()))),
        privacy: Some((PrivAlgorithm::Aes128, KeyExtension::Standard, Secret::new(PRIVACY.to_vec()))),
        minimum: SecurityLevel::AuthPriv,
    }
}

fn usm(entries: Vec<UserConfig>) -> Usm {
    Usm::new(ours(), Arc::new(Users::new(entries)))
}

/// A message as a sender would make it.
#[derive(Clone, Copy)]
struct Draft {
    engine: EngineId,
    boots: u32,
    time: u32,
    id: i32,
    level: SecurityLevel,
    user: &'static str,
    pdu: u8,
    auth: &'static [u8],
    privacy: &'static [u8],
    reportable: Reportable,
}

fn trap(boots: u32, time: u32) -> Draft {
    Draft {
        engine: device(),
        boots,
        time,
        id: 1,
        level: SecurityLevel::AuthPriv,
        user: "ops",
        pdu: pdu::TRAP_V2,
        auth: AUTH,
        privacy: PRIVACY,
        reportable: Reportable::No,
    }
}

fn inform(boots: u32, time: u32) -> Draft {
    Draft { engine: ours().engine, pdu: pdu::INFORM, reportable: Reportable::Yes, ..trap(boots, time) }
}

fn keys(engine: &EngineId, auth: &[u8], privacy: &[u8]) -> (Authenticator, key::Key) {
    let hash = AuthAlgorithm::Sha256;
    let kul = key::localise(hash, &key::of_passphrase(hash, auth), engine);
    let cipher = (PrivAlgorithm::Aes128, KeyExtension::Standard);
    (Authenticator::new(hash, &kul).unwrap(), key::privacy(hash, cipher, &key::of_passphrase(hash, privacy), engine))
}

impl Draft {
    fn bytes(self) -> Vec<u8> {
        let (authenticator, key) = keys(&self.engine, self.auth, self.privacy);
        let mut scoped = v3::scoped_pdu(self.engine.as_bytes(), b"", |out| {
            out.constructed(self.pdu, |pdu| {
                pdu.integer(ber::INTEGER, 4711);
                pdu.integer(ber::INTEGER, 0);
                pdu.integer(ber::INTEGER, 0);
                pdu.constructed(ber::SEQUENCE, |list| {
                    list.constructed(ber::SEQUENCE, |pair| {
                        pair.oid(&"1.3.6.1.6.3.1.1.4.1.0".parse().unwrap());
                        pair.oid(&"1.3.6.1.6.3.1.1.5.3".parse().unwrap());
                    });
                });
            });
        });
        let time = EngineTime { boots: self.boots, time: self.time };
        let mut salt = Vec::new();
        if self.level == SecurityLevel::AuthPriv {
            salt = vec![1, 2, 3, 4, 5, 6, 7, 8];
            let cipher = cipher::Cipher { algorithm: PrivAlgorithm::Aes128, key: &key, clock: time, salt: [1, 2, 3, 4, 5, 6, 7, 8] };
            cipher.encrypt(&mut scoped).unwrap();
        }
        let header = Header {
            id: self.id,
            level: self.level,
            engine: self.engine.as_bytes(),
            time,
            user: self.user.as_bytes(),
            tag_bytes: if self.level == SecurityLevel::NoAuthNoPriv { 0 } else { 24 },
            salt: &salt,
        };
        let mut message = v3::message(&header, &scoped);
        if self.reportable == Reportable::Yes {
            let at = message.windows(3).position(|bytes| bytes == [ber::OCTET_STRING, 1, level_bits(self.level)]).unwrap();
            message[at + 2] |= 4;
        }
        if self.level != SecurityLevel::NoAuthNoPriv {
            v3::sign(&mut message, |before, after, tag| authenticator.sign(&[before, &[0; 24], after], tag)).unwrap();
        }
        message
    }
}

fn level_bits(level: SecurityLevel) -> u8 {
    match level {
        SecurityLevel::NoAuthNoPriv => 0,
        SecurityLevel::AuthNoPriv => 1,
        SecurityLevel::AuthPriv => 3,
    }
}

fn accept(usm: &mut Usm, draft: Draft, now: i64) -> AuthenticatedNotification {
    accept_bytes(usm, &draft.bytes(), now)
}

fn accept_bytes(usm: &mut Usm, bytes: &[u8], now: i64) -> AuthenticatedNotification {
    match usm.process(bytes, PEER, at(now)) {
        Ok(Outcome::Notification(notification)) => *notification,
        other => panic!("{other:?}"),
    }
}

fn refuse(usm: &mut Usm, draft: Draft, now: i64) -> Refusal {
    refuse_bytes(usm, &draft.bytes(), now)
}

fn refuse_bytes(usm: &mut Usm, bytes: &[u8], now: i64) -> Refusal {
    match usm.process(bytes, PEER, at(now)) {
        Err(refusal) => *refusal,
        other => panic!("{other:?}"),
    }
}

/// The counter that a Report carries, with its value.
fn reported(report: &[u8]) -> (String, u64) {
    let envelope = Envelope::parse(report).unwrap();
    let scoped = ScopedPdu::parse(envelope.data).unwrap();
    assert_eq!(scoped.pdu.tag, pdu::REPORT);
    assert_eq!(envelope.reportable, Reportable::No, "an answer to an answer would never end");
    assert_eq!((envelope.engine, envelope.time.boots), (ours().engine.as_bytes(), 5));
    let mut pdu = scoped.pdu.reader();
    (0..3).for_each(|_| assert!(pdu.element().is_ok()));
    let mut pair = pdu.expect(ber::SEQUENCE).unwrap().reader().expect(ber::SEQUENCE).unwrap().reader();
    (pair.element().unwrap().oid().unwrap().to_string(), pair.element().unwrap().unsigned64().unwrap())
}

#[test]
fn a_trap_is_taken_once_and_its_clock_is_learnt() {
    let mut usm = usm(vec![entry("ops")]);
    let taken = accept(&mut usm, trap(3, 500), 0);
    assert_eq!((&*taken.user, taken.level, taken.kind), ("ops", SecurityLevel::AuthPriv, Kind::Trap));
    assert_eq!(taken.notification.engine_id.as_deref(), Some(device().as_bytes()));
    assert_eq!(taken.notification.trap_oid.to_string(), "1.3.6.1.6.3.1.1.5.3");
    assert_eq!(taken.clock, Some(EngineClock { engine: device(), boots: 3, time: 500, at: at(0), floor: 0 }));
    assert!(taken.response.is_none() && taken.scoped_pdu.is_empty());
    let seen = taken.seen.unwrap();
    assert_eq!((seen.engine, seen.boots, seen.time, seen.at), (device(), 3, 500, at(0)));

    let refusal = refuse(&mut usm, trap(3, 500), 1);
    assert_eq!(refusal.reason, RefusalReason::Replayed);
    assert_eq!(accept(&mut usm, Draft { id: 2, ..trap(3, 500) }, 1).clock, None, "the clock stands where it stood");
}

#[test]
fn a_replay_asks_who_sent_a_message_and_not_when() {
    let mut usm = Usm::for_replay(ours(), Arc::new(Users::new(vec![entry("ops")])));
    for (boots, time) in [(3, 5_000), (3, 5_000), (2, 7), (3, 100)] {
        let notification = accept(&mut usm, trap(boots, time), 1_000_000);
        assert_eq!((notification.clock, notification.seen), (None, None), "nothing of it is to be kept");
    }
    accept(&mut usm, inform(9, 9), 1_000_000);
    accept(&mut usm, inform(9, 9), 1_000_000);
    let mut forged = trap(3, 200).bytes();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    assert_eq!(refuse_bytes(&mut usm, &forged, 1_000_000).reason, RefusalReason::WrongDigest);
}

#[test]
fn bytes_behind_a_message_neither_spoil_it_nor_let_it_in_again() {
    let mut usm = usm(vec![entry("ops")]);
    let mut bytes = trap(3, 500).bytes();
    bytes.extend_from_slice(&[0, 0, 0]);
    accept_bytes(&mut usm, &bytes, 0);
    bytes.push(0);
    assert_eq!(refuse_bytes(&mut usm, &bytes, 0).reason, RefusalReason::Replayed);
}

#[test]
fn a_forged_message_with_newer_boots_leaves_the_clock_alone() {
    let mut usm = usm(vec![entry("ops")]);
    accept(&mut usm, trap(3, 500), 0);
    let refusal = refuse(&mut usm, Draft { auth: b"guessed-it", ..trap(2_000_000, 9) }, 1);
    assert_eq!(refusal.reason, RefusalReason::WrongDigest);
    assert_eq!(refusal.report, None, "the sender is authoritative: nobody else speaks for it");
    assert_eq!(refusal.theirs, Some(EngineTime { boots: 2_000_000, time: 9 }));
    assert_eq!(refusal.ours, Some(EngineTime { boots: 3, time: 501 }));
    accept(&mut usm, trap(3, 502), 2);
}

#[test]
fn a_level_below_the_minimum_is_refused_and_so_is_one_without_keys() {
    let mut usm = usm(vec![entry("ops"), UserConfig { privacy: None, minimum: SecurityLevel::NoAuthNoPriv, ..entry("plain") }]);
    for level in [SecurityLevel::NoAuthNoPriv, SecurityLevel::AuthNoPriv] {
        let refusal = refuse(&mut usm, Draft { level, ..trap(3, 500) }, 0);
        assert_eq!((refusal.reason, refusal.level), (RefusalReason::LevelTooLow, Some(level)));
        accept(&mut usm, Draft { level, user: "plain", ..trap(3, 500) }, 0);
    }
    assert_eq!(refuse(&mut usm, Draft { user: "plain", ..trap(3, 500) }, 0).reason, RefusalReason::LevelTooLow);
}

#[test]
fn messages_without_authentication_never_touch_a_clock() {
    let mut usm = usm(vec![UserConfig { minimum: SecurityLevel::NoAuthNoPriv, ..entry("ops") }]);
    let plain = Draft { level: SecurityLevel::NoAuthNoPriv, ..trap(2_000_000, 9) };
    for _ in 0..2 {
        let taken = accept(&mut usm, plain, 0);
        assert_eq!((taken.clock, taken.seen, taken.level), (None, None, SecurityLevel::NoAuthNoPriv));
    }
    assert_eq!(accept(&mut usm, trap(3, 500), 0).clock.unwrap().boots, 3);
}

#[test]
fn the_window_is_150_seconds_behind_the_engines_time_as_we_know_it() {
    let mut usm = usm(vec![entry("ops")]);
    accept(&mut usm, trap(3, 1000), 0);
    // 100 s later our notion is 1,100.
    accept(&mut usm, trap(3, 950), 100);
    let refusal = refuse(&mut usm, trap(3, 949), 100);
    assert_eq!(refusal.reason, RefusalReason::NotInTimeWindow);
    assert_eq!((refusal.ours, refusal.theirs), (Some(EngineTime { boots: 3, time: 1100 }), Some(EngineTime { boots: 3, time: 949 })));
    assert_eq!(refuse(&mut usm, trap(2, 1100), 100).reason, RefusalReason::NotInTimeWindow);
}

#[test]
fn a_reboot_moves_the_clock_and_a_replaced_device_needs_a_reset() {
    let mut usm = usm(vec![entry("ops")]);
    accept(&mut usm, trap(3, 90_000), 0);
    assert_eq!(accept(&mut usm, trap(4, 2), 1).clock.unwrap().boots, 4);
    let refusal = refuse(&mut usm, trap(1, 7), 2);
    assert_eq!(refusal.reason, RefusalReason::NotInTimeWindow);
    usm.reset_engine(&device());
    assert_eq!(accept(&mut usm, trap(1, 7), 3).clock.unwrap().boots, 1);
    assert_eq!(refuse(&mut usm, trap(4, 2), 4).reason, RefusalReason::Replayed, "a reset forgets no recent message");
    accept(&mut usm, trap(1, 300), 300);
}

#[test]
fn a_sender_whose_clock_starts_over_with_the_same_boots_is_refused_until_it_is_reset() {
    let mut usm = usm(vec![entry("ops")]);
    accept(&mut usm, trap(1, 90_000), 0);
    let refusal = refuse(&mut usm, trap(1, 5), 10);
    assert_eq!((refusal.reason, refusal.ours), (RefusalReason::NotInTimeWindow, Some(EngineTime { boots: 1, time: 90_010 })));
    usm.reset_engine(&device());
    accept(&mut usm, trap(1, 6), 11);
    // What is remembered of the time before the reset does not lift the floor when it is forgotten.
    accept(&mut usm, trap(1, 300), 305);
    accept(&mut usm, trap(1, 302), 307);
}

#[test]
fn a_leap_of_our_clock_or_a_slow_clock_of_the_sender_locks_nobody_out() {
    let mut usm = usm(vec![entry("ops")]);
    accept(&mut usm, trap(3, 1000), 0);
    accept(&mut usm, trap(3, 1001), 86_400);
    accept(&mut usm, trap(3, 1002), -86_400);
    assert_eq!(refuse(&mut usm, trap(3, 1000), -86_400).reason, RefusalReason::Replayed, "what was forgotten is below the floor");
}

#[test]
fn latched_boots_are_refused() {
    let mut usm = usm(vec![entry("ops")]);
    assert_eq!(refuse(&mut usm, trap(2_147_483_647, 5), 0).reason, RefusalReason::NotInTimeWindow);
    accept(&mut usm, trap(2_147_483_646, 2_147_483_647), 0);
    let latched = LocalEngine { boots: 2_147_483_647, ..ours() };
    let mut usm = Usm::new(latched, Arc::new(Users::new(vec![entry("ops")])));
    assert_eq!(refuse(&mut usm, inform(2_147_483_647, 1000), 0).reason, RefusalReason::NotInTimeWindow);
}

#[test]
fn a_restart_with_what_was_kept_refuses_what_was_taken_before() {
    let mut before = usm(vec![entry("ops")]);
    let first = accept(&mut before, trap(3, 500), 0);
    let second = accept(&mut before, trap(3, 560), 60);
    let mut after = usm(vec![entry("ops")]);
    after.restore_clock(second.clock.unwrap());
    after.restore_clock(first.clock.unwrap());
    [first, second].into_iter().for_each(|taken| after.restore_seen(taken.seen.unwrap()));
    assert_eq!(refuse(&mut after, trap(3, 500), 61).reason, RefusalReason::Replayed);
    assert_eq!(refuse(&mut after, trap(3, 560), 61).reason, RefusalReason::Replayed);
    assert_eq!(refuse(&mut after, trap(3, 560), 3600).reason, RefusalReason::NotInTimeWindow);
    accept(&mut after, trap(3, 4000), 3600);
}

#[test]
fn an_unknown_engine_and_an_unknown_user_are_told_apart() {
    let bound = UserConfig { engines: vec![device()], sources: Vec::new(), ..entry("ops") };
    let mut usm = usm(vec![bound]);
    let other = id("80001f8880ffffffffffffffff");
    assert_eq!(refuse(&mut usm, Draft { engine: other, ..trap(3, 500) }, 0).reason, RefusalReason::UnknownEngine);
    let refusal = refuse(&mut usm, Draft { user: "eve", ..trap(3, 500) }, 0);
    assert_eq!((refusal.reason, refusal.user.as_str(), refusal.engine), (RefusalReason::UnknownUser, "eve", Some(device())));
    accept(&mut usm, trap(3, 500), 0);
}

#[test]
fn a_user_of_any_engine_is_taken_from_its_networks_only() {
    let mut usm = usm(vec![entry("ops")]);
    let far: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(usm.process(&trap(3, 500).bytes(), far, at(0)).unwrap_err().reason, RefusalReason::UnknownEngine);
    let mapped: IpAddr = "::ffff:10.0.0.7".parse().unwrap();
    assert!(usm.process(&trap(3, 500).bytes(), mapped, at(0)).is_ok());
}

#[test]
fn entries_of_one_name_are_told_apart_by_engine_and_then_by_the_longest_prefix() {
    let with = |secret: &[u8], engines: &[EngineId], sources: &[&str]| UserConfig {
        auth: Some((AuthAlgorithm::Sha256, Secret::new(secret.to_vec()))),
        engines: engines.to_vec(),
        sources: sources.iter().map(|network| network.parse().unwrap()).collect(),
        ..entry("ops")
    };
    let mut usm = usm(vec![
        with(b"wide-wide-wide", &[], &["10.0.0.0/8"]),
        with(b"near-near-near", &[], &["10.0.0.0/24"]),
        with(b"this-device-only", &[device()], &["10.0.0.0/8"]),
    ]);
    let other = id("80001f8880ffffffffffffffff");
    accept(&mut usm, Draft { auth: b"this-device-only", ..trap(3, 500) }, 0);
    accept(&mut usm, Draft { auth: b"near-near-near", engine: other, ..trap(3, 500) }, 0);
    let far: IpAddr = "10.9.0.1".parse().unwrap();
    assert!(usm.process(&Draft { auth: b"wide-wide-wide", engine: other, ..trap(3, 501) }.bytes(), far, at(0)).is_ok());
}

#[test]
fn a_wrong_privacy_passphrase_is_named_and_leaves_no_trace() {
    let mut usm = usm(vec![entry("ops")]);
    let refusal = refuse(&mut usm, Draft { privacy: b"mapleleaf", ..trap(9, 9) }, 0);
    assert_eq!(refusal.reason, RefusalReason::DecryptionFailed);
    assert_eq!(accept(&mut usm, trap(3, 500), 0).clock.unwrap().boots, 3);
}

#[test]
fn other_users_mean_other_keys_and_the_same_clocks() {
    let mut usm = usm(vec![entry("ops")]);
    accept(&mut usm, trap(3, 500), 0);
    let changed = UserConfig { auth: Some((AuthAlgorithm::Sha256, Secret::new(b"changed-it".to_vec()))), ..entry("ops") };
    usm.replace_users(Arc::new(usm.users.renew(vec![changed])));
    assert_eq!(refuse(&mut usm, trap(3, 501), 1).reason, RefusalReason::WrongDigest);
    assert_eq!(refuse(&mut usm, Draft { auth: b"changed-it", ..trap(2, 501) }, 1).reason, RefusalReason::NotInTimeWindow);
    accept(&mut usm, Draft { auth: b"changed-it", ..trap(3, 501) }, 1);
}

#[test]
fn every_changed_bit_is_refused_and_leaves_no_trace() {
    let mut attacked = usm(vec![entry("ops")]);
    let bytes = trap(3, 500).bytes();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(attacked.process(&changed, PEER, at(0)).is_err(), "bit {bit}");
    }
    let (taken, fresh) = (accept_bytes(&mut attacked, &bytes, 0), accept_bytes(&mut usm(vec![entry("ops")]), &bytes, 0));
    assert_eq!((taken.clock, taken.seen), (fresh.clock, fresh.seen));
}

#[test]
fn a_discovery_is_answered_with_our_engine_and_clock() {
    let mut usm = usm(vec![entry("ops")]);
    // What net-snmp asks before its first inform: no engine ID, no user, an empty GetRequest.
    let probe = hex(
        "303e020103301102045b0d2a12020300ffe30401040201030410300e0400020100020100040004000400301404000400a00e0204346a8a9f0201000201003000",
    );
    for count in 1..=2 {
        match usm.process(&probe, PEER, at(0)) {
            Ok(Outcome::Report(report)) => {
                assert_eq!(reported(&report), ("1.3.6.1.6.3.15.1.1.4.0".to_owned(), count));
                let envelope = Envelope::parse(&report).unwrap();
                assert_eq!(
                    (envelope.id, envelope.time, envelope.level),
                    (0x5b0d_2a12, EngineTime { boots: 5, time: 1000 }, SecurityLevel::NoAuthNoPriv)
                );
                assert_eq!(ScopedPdu::parse(envelope.data).unwrap().request_id(), Some(0x346a_8a9f));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_inform_is_answered_at_its_level_each_time_it_comes() {
    let mut usm = usm(vec![UserConfig { minimum: SecurityLevel::NoAuthNoPriv, ..entry("ops") }]);
    for level in [SecurityLevel::NoAuthNoPriv, SecurityLevel::AuthNoPriv, SecurityLevel::AuthPriv] {
        let draft = Draft { level, ..inform(5, 1000) };
        let mut salts = Vec::new();
        for _ in 0..2 {
            let taken = accept(&mut usm, draft, 3);
            assert_eq!((taken.kind, taken.clock, taken.seen), (Kind::Inform, None, None));
            let response = taken.response.unwrap();
            let envelope = Envelope::parse(&response).unwrap();
            assert_eq!((envelope.id, envelope.level, envelope.time), (1, level, EngineTime { boots: 5, time: 1003 }));
            let (authenticator, key) = keys(&ours().engine, AUTH, PRIVACY);
            if level != SecurityLevel::NoAuthNoPriv {
                let (before, after) = envelope.around_tag();
                assert!(authenticator.verify(&[before, &[0; 24], after], envelope.tag));
            }
            let mut plain = envelope.data.to_vec();
            if level == SecurityLevel::AuthPriv {
                let salt = envelope.salt.try_into().unwrap();
                cipher::Cipher { algorithm: PrivAlgorithm::Aes128, key: &key, clock: envelope.time, salt }.decrypt(&mut plain).unwrap();
                salts.push(envelope.salt.to_vec());
            }
            let scoped = ScopedPdu::parse(&plain).unwrap();
            assert_eq!((scoped.pdu.tag, scoped.request_id()), (pdu::RESPONSE, Some(4711)));
            let asked = ScopedPdu::parse(&taken.scoped_pdu).unwrap();
            assert_eq!(scoped.pdu.content, asked.pdu.content, "the variable-bindings as they came");
        }
        salts.dedup();
        assert!(salts.len() != 1, "a salt came twice");
    }
}

#[test]
fn a_copy_of_an_inform_from_elsewhere_is_refused() {
    let mut usm = usm(vec![entry("ops")]);
    let bytes = inform(5, 1000).bytes();
    accept_bytes(&mut usm, &bytes, 0);
    let elsewhere: IpAddr = "10.0.0.8".parse().unwrap();
    assert_eq!(usm.process(&bytes, elsewhere, at(1)).unwrap_err().reason, RefusalReason::Replayed);
    accept_bytes(&mut usm, &bytes, 2);
}

#[test]
fn what_is_wrong_with_an_inform_is_reported_to_its_sender() {
    let mut usm = usm(vec![entry("ops")]);
    for (draft, reason, counter) in [
        (Draft { level: SecurityLevel::AuthNoPriv, ..inform(5, 1000) }, RefusalReason::LevelTooLow, 1),
        (Draft { user: "eve", ..inform(5, 1000) }, RefusalReason::UnknownUser, 3),
        (Draft { engine: id("80007ed905ffffffff"), user: "eve", ..inform(5, 1000) }, RefusalReason::UnknownUser, 0),
        (Draft { auth: b"guessed-it", ..inform(5, 1000) }, RefusalReason::WrongDigest, 5),
        (Draft { privacy: b"guessed-it", ..inform(5, 1000) }, RefusalReason::DecryptionFailed, 6),
        (inform(5, 849), RefusalReason::NotInTimeWindow, 2),
        (inform(4, 1000), RefusalReason::NotInTimeWindow, 2),
    ] {
        let refusal = refuse(&mut usm, draft, 0);
        assert_eq!(refusal.reason, reason);
        match counter {
            0 => assert_eq!(refusal.report, None),
            counter => assert_eq!(reported(&refusal.report.unwrap()).0, format!("1.3.6.1.6.3.15.1.1.{counter}.0")),
        }
        assert_eq!(refuse(&mut usm, Draft { reportable: Reportable::No, ..draft }, 0).report, None, "nobody asked");
    }
    accept(&mut usm, inform(5, 1150), 0);
}

#[test]
fn a_question_for_our_clock_is_answered_authenticated() {
    let mut usm = usm(vec![entry("ops")]);
    let Ok(Outcome::Report(report)) = usm.process(&inform(0, 0).bytes(), PEER, at(0)) else { panic!("no report") };
    assert_eq!(reported(&report), ("1.3.6.1.6.3.15.1.1.2.0".to_owned(), 1));
    let envelope = Envelope::parse(&report).unwrap();
    assert_eq!((envelope.level, envelope.time), (SecurityLevel::AuthNoPriv, EngineTime { boots: 5, time: 1000 }));
    let (before, after) = envelope.around_tag();
    assert!(keys(&ours().engine, AUTH, PRIVACY).0.verify(&[before, &[0; 24], after], envelope.tag));
}

#[test]
fn traps_in_our_name_and_informs_in_the_senders_are_refused() {
    let mut usm = usm(vec![entry("ops")]);
    let refusal = refuse(&mut usm, Draft { engine: ours().engine, ..trap(5, 1000) }, 0);
    assert_eq!(refusal.reason, RefusalReason::Undecodable(DecodeError::WrongPdu(pdu::TRAP_V2)));
    let refusal = refuse(&mut usm, Draft { engine: device(), ..inform(5, 1000) }, 0);
    assert_eq!(refusal.reason, RefusalReason::Undecodable(DecodeError::WrongPdu(pdu::INFORM)));
    assert_eq!(reported(&refusal.report.unwrap()).0, "1.3.6.1.6.3.15.1.1.4.0");
}

#[test]
fn an_answer_is_not_worth_forging_a_sender_for() {
    let mut usm = usm(vec![entry("ops")]);
    let bytes = inform(5, 1000).bytes();
    let response = accept_bytes(&mut usm, &bytes, 0).response.unwrap();
    assert!(response.len() <= bytes.len() + 16, "{} for {}", response.len(), bytes.len());
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

proptest::proptest! {
    /// What a sender with the key can do to us: sign anything.
    #[test]
    fn whatever_is_signed_is_taken_or_refused_without_a_panic(
        data in proptest::collection::vec(proptest::num::u8::ANY, 0..120),
        salt in proptest::collection::vec(proptest::num::u8::ANY, 7..10),
        time: u32,
        boots: u32,
        des: bool,
    ) {
        let algorithm = if des { PrivAlgorithm::Des } else { PrivAlgorithm::Aes128 };
        let privacy = Some((algorithm, KeyExtension::Standard, Secret::new(PRIVACY.to_vec())));
        let mut usm = usm(vec![UserConfig { privacy, ..entry("ops") }]);
        let time = EngineTime { boots: boots >> 1, time: time >> 1 };
        let engine = device();
        let level = SecurityLevel::AuthPriv;
        let header = Header { id: 1, level, engine: engine.as_bytes(), time, user: b"ops", tag_bytes: 24, salt: &salt };
        let mut message = v3::message(&header, &data);
        v3::sign(&mut message, |before, after, tag| keys(&device(), AUTH, PRIVACY).0.sign(&[before, &[0; 24], after], tag)).unwrap();
        if let Err(refusal) = usm.process(&message, PEER, at(0)) {
            let expected = [RefusalReason::DecryptionFailed, RefusalReason::NotInTimeWindow];
            proptest::prop_assert!(expected.contains(&refusal.reason) || matches!(refusal.reason, RefusalReason::Undecodable(_)));
        }
    }
}
