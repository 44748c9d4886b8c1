//! net-snmp's SNMPv3 against the gateway: every pair of algorithms that it knows, replays, forgeries, downgrades, clocks that go back.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use postern_protocol::status::Status;
use serde_json::{Value, json};

use crate::harness::rig::Rig;
use crate::revisions::apply;
use postern_tests::api::Force;
use postern_tests::tools::{LINK_DOWN, run, run_with_input, succeeded};

const IF_INDEX: &str = "1.3.6.1.2.1.2.2.1.1";

/// Names of net-snmp and of revisions.
const AUTH: [(&str, &str); 6] =
    [("MD5", "md5"), ("SHA", "sha-1"), ("SHA-224", "sha-224"), ("SHA-256", "sha-256"), ("SHA-384", "sha-384"), ("SHA-512", "sha-512")];
const PRIVACY: [(&str, &str); 4] = [("DES", "des"), ("AES", "aes-128"), ("AES-192", "aes-192"), ("AES-256", "aes-256")];

const AUTH_PASSPHRASE: &str = "the-authentication-passphrase";
const PRIV_PASSPHRASE: &str = "the-encryption-passphrase";

/// An engine with a user.
const ENGINE: &str = "80007ed905a1b2c3d4e5f60708";

/// Has `postern-control` seal a secret for the rig's gateway.
pub(crate) fn seal(rig: &Rig, name: &str, content: &str) {
    let (gateway, config) = (rig.gateway_id(), rig.layout().control_config().display().to_string());
    let arguments = ["secret", "seal", "--config", &config, "--tenant", &rig.prepared.first.tenant, "--gateway", &gateway, "--name", name];
    succeeded(&run_with_input(&rig.prepared.binaries.control.display().to_string(), &arguments, content.as_bytes()));
}

/// The built-in rules with an `snmp` section.
pub(crate) fn with_snmp(snmp: &Value) -> String {
    let mut document: Value = serde_json::from_str(postern_protocol::revision::BUILT_IN).unwrap();
    document["snmp"] = snmp.clone();
    document.to_string()
}

/// One user `ops`, SHA-256 and AES-128, from anywhere on loopback.
fn ops() -> Value {
    json!({"users": [{
        "name": "ops", "sources": ["127.0.0.0/8"],
        "auth": {"algorithm": "sha-256", "secret": "auth"}, "priv": {"algorithm": "aes-128", "secret": "priv"},
    }]})
}

fn rig_with(snmp: &Value) -> Rig {
    let rig = Rig::start();
    seal(&rig, "auth", AUTH_PASSPHRASE);
    seal(&rig, "priv", PRIV_PASSPHRASE);
    apply(&rig, &with_snmp(snmp), Force::Checked);
    rig
}

/// Arguments of net-snmp for a user at authPriv.
fn auth_priv<'a>(user: &'a str, auth: &'a str, privacy: &'a str) -> Vec<&'a str> {
    vec!["-v", "3", "-l", "authPriv", "-u", user, "-a", auth, "-A", AUTH_PASSPHRASE, "-x", privacy, "-X", PRIV_PASSPHRASE]
}

fn link_down(program: &str, credentials: &[&str], to: SocketAddr, if_index: u32) {
    let (to, name, value) = (to.to_string(), format!("{IF_INDEX}.{if_index}"), if_index.to_string());
    let arguments: &[&str] = &["-r", "1", "-t", "2", &to, "", LINK_DOWN, &name, "i", &value];
    succeeded(&run(program, &[credentials, arguments].concat()));
}

/// The datagram that net-snmp sends with these credentials.
fn captured(credentials: &[&str], if_index: u32) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    link_down("snmptrap", credentials, socket.local_addr().unwrap(), if_index);
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn send(rig: &Rig, datagram: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(datagram, rig.prepared.sockets.snmp_trap()).unwrap();
}

fn dropped(status: &Status, reason: &str) -> u64 {
    status.ledger.by_protocol["snmp_trap"].dropped.get(reason).copied().unwrap_or(0)
}

fn wait_for_drops(rig: &Rig, reason: &str, count: u64) -> Status {
    rig.wait_for_status(reason, |status| dropped(status, reason) == count)
}

fn accepted(rig: &Rig, count: u64) -> Status {
    rig.wait_for_status("accepted traps", |status| status.ledger.by_protocol["snmp_trap"].accepted == count)
}

/// With `boots` and `time` of the sender's engine, from which it counts on.
fn at<'a>(credentials: &[&'a str], clock: &'a str) -> Vec<&'a str> {
    [credentials, &["-e", ENGINE, "-Z", clock]].concat()
}

#[test]
fn every_pair_of_algorithms_is_understood_as_trap_and_as_inform() {
    let mut users = Vec::new();
    for (_, auth) in AUTH {
        users.push(json!({"name": format!("u-{auth}"), "sources": ["127.0.0.0/8"], "auth": {"algorithm": auth, "secret": "auth"}}));
        for (_, privacy) in PRIVACY {
            users.push(json!({"name": format!("u-{auth}-{privacy}"), "sources": ["127.0.0.0/8"],
                "auth": {"algorithm": auth, "secret": "auth"}, "priv": {"algorithm": privacy, "secret": "priv"}}));
        }
    }
    users.push(json!({"name": "nobody", "sources": ["127.0.0.0/8"]}));
    let rig = rig_with(&json!({"users": users, "allow_weak": ["md5", "des"]}));
    let to = rig.prepared.sockets.snmp_trap();
    let mut sent = 0;
    for program in ["snmptrap", "snmpinform"] {
        for (theirs, auth) in AUTH {
            let user = format!("u-{auth}");
            sent += 1;
            link_down(program, &["-v", "3", "-l", "authNoPriv", "-u", &user, "-a", theirs, "-A", AUTH_PASSPHRASE], to, sent);
            for (their_cipher, privacy) in PRIVACY {
                sent += 1;
                link_down(program, &auth_priv(&format!("u-{auth}-{privacy}"), theirs, their_cipher), to, sent);
            }
        }
        sent += 1;
        link_down(program, &["-v", "3", "-l", "noAuthNoPriv", "-u", "nobody"], to, sent);
    }
    let status = accepted(&rig, u64::from(sent));
    let others: u64 =
        status.ledger.by_protocol["snmp_trap"].dropped.iter().filter(|(reason, _)| *reason != "discovery").map(|(_, n)| n).sum();
    assert_eq!(others, 0, "{:?}", status.ledger.by_protocol);
    rig.wait_until_delivered();
    // So many at once are a storm, and an alert says so.
    let alerts: Vec<_> = rig.api.alerts().into_iter().filter(|alert| alert["kind"] != "storm").collect();
    assert_eq!(alerts.len(), sent as usize);
    let count = |level: &str| alerts.iter().filter(|alert| alert["evidence"]["authenticity"] == level).count();
    assert_eq!((count("none"), count("usm_auth"), count("usm_priv")), (2, 12, 48));
    assert!(alerts.iter().all(|alert| alert["evidence"]["engine_id"].as_str().is_some_and(|id| id.len() >= 10)), "{alerts:#?}");
}

#[test]
fn a_replayed_trap_is_refused_also_after_a_power_cut() {
    let mut rig = rig_with(&ops());
    let ops = auth_priv("ops", "SHA-256", "AES");
    let datagram = captured(&at(&ops, "7,1000"), 1);
    send(&rig, &datagram);
    accepted(&rig, 1);
    send(&rig, &datagram);
    wait_for_drops(&rig, "replayed", 1);
    rig.wait_until_delivered();
    rig.kill_gateway();
    rig.start_gateway();
    // The count of the first refusal may be lost with the power: the crash window says so.
    let before = dropped(&rig.status().unwrap(), "replayed");
    send(&rig, &datagram);
    wait_for_drops(&rig, "replayed", before + 1);
    // A genuine one still passes.
    send(&rig, &captured(&at(&ops, "7,1010"), 2));
    accepted(&rig, 2);
}

#[test]
fn a_forged_message_with_newer_boots_does_not_silence_the_genuine_sender() {
    let rig = rig_with(&ops());
    let ops = auth_priv("ops", "SHA-256", "AES");
    send(&rig, &captured(&at(&ops, "7,1000"), 1));
    accepted(&rig, 1);
    let mut forged = captured(&at(&ops, "7,1001"), 2);
    let engine: Vec<u8> = (0..ENGINE.len() / 2).map(|n| u8::from_str_radix(&ENGINE[2 * n..2 * n + 2], 16).unwrap()).collect();
    let place = forged.windows(engine.len()).position(|window| window == engine).unwrap() + engine.len();
    assert_eq!(forged[place..place + 3], [2, 1, 7], "msgAuthoritativeEngineBoots follows the engine ID (RFC 3414 §2.4)");
    forged[place + 2] = 100;
    send(&rig, &forged);
    wait_for_drops(&rig, "wrong_digest", 1);
    send(&rig, &captured(&at(&ops, "7,1002"), 3));
    accepted(&rig, 2);
}

#[test]
fn whoever_is_refused_is_in_the_waiting_room_with_the_reason() {
    let mut document = ops();
    document["users"].as_array_mut().unwrap().push(json!({
        "name": "bound", "engines": ["80007ed9050102030405060708"], "auth": {"algorithm": "sha-256", "secret": "auth"},
    }));
    let rig = rig_with(&document);
    let to = rig.prepared.sockets.snmp_trap();
    let user = |name: &'static str, passphrase: &'static str| {
        vec!["-e", ENGINE, "-v", "3", "-l", "authNoPriv", "-u", name, "-a", "SHA-256", "-A", passphrase]
    };
    link_down("snmptrap", &user("stranger", AUTH_PASSPHRASE), to, 1);
    link_down("snmptrap", &user("ops", AUTH_PASSPHRASE), to, 2);
    let wrong = [
        "-e",
        ENGINE,
        "-v",
        "3",
        "-l",
        "authPriv",
        "-u",
        "ops",
        "-a",
        "SHA-256",
        "-A",
        "another-passphrase",
        "-x",
        "AES",
        "-X",
        PRIV_PASSPHRASE,
    ];
    link_down("snmptrap", &wrong, to, 3);
    link_down("snmptrap", &user("bound", AUTH_PASSPHRASE), to, 4);
    let status = rig.wait_for_status("four refusals", |status| status.intake.waiting_room.iter().map(|one| one.count).sum::<u64>() == 4);
    let entry = |reason: &str, user: &str| {
        let found = status.intake.waiting_room.iter().find(|one| one.reason == reason && one.user == user);
        found.unwrap_or_else(|| panic!("{reason} of {user} in {:#?}", status.intake.waiting_room))
    };
    for (reason, user) in [("unknown_user", "stranger"), ("level_too_low", "ops"), ("wrong_digest", "ops")] {
        let one = entry(reason, user);
        assert_eq!((one.source.as_str(), one.engine_id.as_str(), one.count), ("127.0.0.1", ENGINE, 1));
        assert!(!one.advice.is_empty());
    }
    let unbound = status.intake.waiting_room.iter().find(|one| one.user == "bound").unwrap();
    assert!(["unknown_engine", "unknown_user"].contains(&unbound.reason.as_str()), "{unbound:?}");
    assert_eq!(status.ledger.by_protocol["snmp_trap"].accepted, 0);
    assert_eq!(status.open_alerts, 0);
}

#[test]
fn a_replaced_device_is_taken_again_after_an_audited_reset() {
    let rig = rig_with(&ops());
    let ops_user = auth_priv("ops", "SHA-256", "AES");
    send(&rig, &captured(&at(&ops_user, "7,1000"), 1));
    // Its engine starts again: more boots, time from zero.
    send(&rig, &captured(&at(&ops_user, "8,5"), 2));
    accepted(&rig, 2);
    send(&rig, &captured(&at(&ops_user, "3,5"), 3));
    let status = wait_for_drops(&rig, "not_in_time_window", 1);
    assert_eq!(status.intake.waiting_room[0].reason, "not_in_time_window");
    let mut document = ops();
    document["engine_resets"] = json!([{"engine": ENGINE, "serial": 1}]);
    apply(&rig, &with_snmp(&document), Force::Checked);
    send(&rig, &captured(&at(&ops_user, "3,9"), 4));
    accepted(&rig, 3);
    // The same revision again resets nothing.
    apply(&rig, &with_snmp(&document), Force::Checked);
    send(&rig, &captured(&at(&ops_user, "2,9"), 5));
    wait_for_drops(&rig, "not_in_time_window", 2);
}

#[test]
fn an_inform_is_answered_and_counted_once_and_our_boots_grow() {
    let mut rig = rig_with(&ops());
    let to = rig.prepared.sockets.snmp_trap();
    let ops = auth_priv("ops", "SHA-256", "AES");
    link_down("snmpinform", &ops, to, 1);
    let before = accepted(&rig, 1).intake.snmp_engine.unwrap();
    rig.kill_gateway();
    rig.start_gateway();
    let after = rig.status().unwrap().intake.snmp_engine.unwrap();
    assert_eq!((after.engine_id, after.boots), (before.engine_id, before.boots + 1));
    link_down("snmpinform", &ops, to, 1);
    let alert = rig.api.wait_for_alert("the second report", |alert| alert["count"] == 2);
    assert_eq!(alert["evidence"]["authenticity"], "usm_priv");
}

#[test]
fn a_community_is_taken_only_from_its_networks() {
    let rig = Rig::start();
    seal(&rig, "core-community", "s3cret");
    apply(&rig, &with_snmp(&json!({"communities": [{"sources": ["127.0.0.0/8"], "secrets": ["core-community"]}]})), Force::Checked);
    let to = rig.prepared.sockets.snmp_trap();
    link_down("snmptrap", &["-v", "2c", "-c", "public"], to, 1);
    wait_for_drops(&rig, "bad_community", 1);
    link_down("snmptrap", &["-v", "2c", "-c", "s3cret"], to, 2);
    accepted(&rig, 1);
    apply(&rig, &with_snmp(&json!({"communities": [{"sources": ["10.0.0.0/8"], "secrets": ["core-community"]}]})), Force::Checked);
    link_down("snmptrap", &["-v", "2c", "-c", "s3cret"], to, 3);
    wait_for_drops(&rig, "bad_community", 2);
}

#[test]
fn a_revision_that_names_a_missing_secret_is_refused_with_its_place() {
    let rig = Rig::start();
    let reply = rig.api.put_configuration(&rig.gateway_id(), &with_snmp(&ops()), Force::Checked);
    assert!(reply.status == 422 || reply.status == 400, "{reply:?}");
    assert!(reply.body.contains("snmp.users[0].auth.secret"), "{reply:?}");
    rig.api.put_configuration(&rig.gateway_id(), &with_snmp(&ops()), Force::Forced).ok();
    let status = rig.wait_for_status("the refusal", |status| status.revision.failed.is_some());
    let problems = status.revision.failed.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.path == "snmp.users[0].auth.secret"), "{problems:?}");
}

#[test]
fn a_revision_that_waits_for_a_secret_comes_into_force_when_the_secret_does() {
    let rig = Rig::start();
    rig.api.put_configuration(&rig.gateway_id(), &with_snmp(&ops()), Force::Forced).ok();
    rig.wait_for_status("the refusal", |status| status.revision.failed.is_some());
    seal(&rig, "auth", AUTH_PASSPHRASE);
    seal(&rig, "priv", PRIV_PASSPHRASE);
    rig.wait_for_status("the revision", |status| status.revision.failed.is_none() && status.revision.effective == status.revision.desired);
    link_down("snmpinform", &auth_priv("ops", "SHA-256", "AES"), rig.prepared.sockets.snmp_trap(), 1);
    // Another passphrase holds at once, under the same revision.
    seal(&rig, "auth", "another-authentication-passphrase");
    let rotated = ["-v", "3", "-l", "authPriv", "-u", "ops", "-a", "SHA-256", "-A", "another-authentication-passphrase", "-x", "AES"];
    let rotated = [&rotated[..], &["-X", PRIV_PASSPHRASE]].concat();
    let version = |status: &Status| status.intake.secrets.iter().any(|secret| secret.name == "auth" && secret.version == 2);
    rig.wait_for_status("the second version", version);
    link_down("snmpinform", &rotated, rig.prepared.sockets.snmp_trap(), 2);
    accepted(&rig, 2);
}
