//! SNMPv3 and communities by net-snmp's own programs.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use postern_gateway::table::Table;
use postern_protocol::status::Status;
use postern_protocol::status::intake::Waiting;
use tokio::net::UdpSocket;
use tokio::process::Command;

use crate::restart::{ready, start};
use crate::site::{Running, Site};

/// Engine ID of the device that sends traps.
const ENGINE: &str = "80001f8804706f737465726e";

const LINK_DOWN: &str = "1.3.6.1.6.3.1.1.5.3";

/// Arguments that make the user of [`site`] send authPriv.
const PRIVATE: &[&str] = &["-u", "monitor", "-l", "authPriv", "-a", "SHA-256", "-A", "correct horse", "-x", "AES", "-X", "battery staple"];

fn document(snmp: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({"format": 1, "rules": [{"id": "all", "match": {"trap": {}}, "then": {"suppress": {}}}], "snmp": snmp})
}

/// A site with one user, bound to [`ENGINE`].
fn site() -> Site {
    let site = Site::new("");
    site.keep_secrets(&[("monitor.auth", "correct horse"), ("monitor.priv", "battery staple")]);
    site.configure(1, &document(&users(&serde_json::json!([]))));
    site
}

fn users(resets: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "users": [{
            "name": "monitor", "engines": [ENGINE],
            "auth": {"algorithm": "sha-256", "secret": "monitor.auth"}, "priv": {"algorithm": "aes-128", "secret": "monitor.priv"}
        }],
        "engine_resets": resets
    })
}

/// Runs `snmptrap` or `snmpinform`; returns whether it was content.
async fn send(site: &Site, program: &str, arguments: &[&str], to: SocketAddr) -> bool {
    let home = site.path("net-snmp");
    let mut command = Command::new(program);
    command.env("SNMPCONFPATH", &home).env("SNMP_PERSISTENT_DIR", &home).env("MIBS", "").args(["-v", "3", "-r", "1", "-t", "2"]);
    command.args(arguments).arg(to.to_string()).args(["42", LINK_DOWN, "1.3.6.1.2.1.2.2.1.1.7", "i", "7"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap().success()
}

/// Returns the trap that `snmptrap` sends for an engine's boots and time.
async fn trap(site: &Site, user: &[&str], clock: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (engine, mut buffer) = (format!("0x{ENGINE}"), vec![0; 2048]);
    let arguments = [user, &["-e", &engine, "-Z", clock]].concat();
    assert!(send(site, "snmptrap", &arguments, socket.local_addr().unwrap()).await);
    let length = socket.recv(&mut buffer).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// Sends datagrams in order from one new socket.
async fn deliver(gateway: &Running, datagrams: &[&[u8]]) {
    deliver_from(&UdpSocket::bind("127.0.0.1:0").await.unwrap(), gateway, datagrams).await;
}

async fn deliver_from(socket: &UdpSocket, gateway: &Running, datagrams: &[&[u8]]) {
    let address = gateway.address("snmp_trap", "udp").await;
    for datagram in datagrams {
        socket.send_to(datagram, address).await.unwrap();
    }
}

/// Waits until so many datagrams are settled; returns how many were accepted, and the report.
async fn settled(gateway: &Running, received: u64) -> (u64, Status) {
    let report = gateway.until(|report| report.ledger.totals.received == received && report.ledger.totals.in_flight == 0).await;
    (report.ledger.totals.accepted, report)
}

fn dropped(report: &Status, reason: &str) -> u64 {
    report.ledger.totals.dropped.get(reason).copied().unwrap_or(0)
}

fn waiting<'a>(report: &'a Status, reason: &str) -> &'a Waiting {
    report.intake.waiting_room.iter().find(|entry| entry.reason == reason).unwrap()
}

#[tokio::test]
async fn an_inform_is_discovered_answered_and_counted_once() {
    let site = site();
    site.run(async |gateway| {
        let address = gateway.address("snmp_trap", "udp").await;
        assert!(send(&site, "snmpinform", PRIVATE, address).await, "the Response was taken");
        let report = gateway.until(|report| report.ledger.totals.accepted == 1).await;
        assert_eq!(dropped(&report, "discovery") + 1, report.ledger.totals.received, "the rest were discovery: {report:?}");
        let engine = report.intake.snmp_engine.clone().unwrap();
        assert_eq!((engine.boots, engine.engine_id.len()), (1, 26));
        assert!(report.intake.waiting_room.is_empty());
    })
    .await;
    site.run(async |gateway| assert_eq!(gateway.status().await.intake.snmp_engine.unwrap().boots, 2)).await;
}

#[tokio::test]
async fn an_inform_whose_answer_was_lost_is_answered_again_and_counted_once() {
    let site = site();
    site.run(async |gateway| {
        let address = gateway.address("snmp_trap", "udp").await;
        let (device_side, gateway_side) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let relay = async {
            let (mut question, mut answer, mut device, mut lost) = ([0; 2048], [0; 2048], None, false);
            loop {
                tokio::select! {
                    received = device_side.recv_from(&mut question) => {
                        let (length, from) = received.unwrap();
                        device = Some(from);
                        gateway_side.send_to(&question[..length], address).await.unwrap();
                    }
                    received = gateway_side.recv(&mut answer) => {
                        let length = received.unwrap();
                        // The first answer behind the event is its Response; net-snmp then asks again under another msgID.
                        if !lost && gateway.status().await.ledger.totals.accepted == 1 {
                            lost = true;
                            continue;
                        }
                        device_side.send_to(&answer[..length], device.unwrap()).await.unwrap();
                    }
                }
            }
        };
        let asked = device_side.local_addr().unwrap();
        let answered = tokio::select! {
            answered = send(&site, "snmpinform", PRIVATE, asked) => answered,
            () = relay => false,
        };
        assert!(answered);
        let report = gateway.status().await;
        assert_eq!((report.ledger.totals.accepted, dropped(&report, "duplicate")), (1, 1), "{:?}", report.ledger.totals);
    })
    .await;
}

#[tokio::test]
async fn answers_come_from_the_address_that_was_asked() {
    let site = site();
    let text = std::fs::read_to_string(site.config_file()).unwrap();
    std::fs::write(site.config_file(), text.replacen("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"", 1)).unwrap();
    site.run(async |gateway| {
        let port = gateway.address("snmp_trap", "udp").await.port();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // A connected socket takes answers from that address alone: Reports and the Response.
        assert!(send(&site, "snmpinform", PRIVATE, SocketAddr::from(([127, 0, 0, 2], port))).await);
        peer.connect(("127.0.0.2", port)).await.unwrap();
        peer.send(&crate::site::inform(1, 1)).await.unwrap();
        let mut buffer = [0; 512];
        let answer = tokio::time::timeout(Duration::from_secs(5), peer.recv(&mut buffer)).await;
        assert!(answer.is_ok_and(|received| received.is_ok()));
    })
    .await;
}

#[tokio::test]
async fn a_copied_trap_is_refused_also_after_a_kill() {
    let site = site();
    let (first, second) = (trap(&site, PRIVATE, "3,1000").await, trap(&site, PRIVATE, "3,1001").await);
    let mut daemon = start(&site);
    let gateway = site.running();
    ready(&gateway, &mut daemon).await;
    deliver(&gateway, &[&first, &first]).await;
    let (accepted, report) = settled(&gateway, 2).await;
    assert_eq!((accepted, dropped(&report, "replayed")), (1, 1));
    // An answered inform is a commit that came after the trap's.
    assert!(send(&site, "snmpinform", PRIVATE, gateway.address("snmp_trap", "udp").await).await);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut daemon = start(&site);
    ready(&gateway, &mut daemon).await;
    let before = gateway.status().await.ledger.totals;
    deliver(&gateway, &[&first, &second, &second]).await;
    let (accepted, report) = settled(&gateway, before.received + 3).await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!((accepted - before.accepted, dropped(&report, "replayed")), (1, 3));
}

#[tokio::test]
async fn a_forged_message_with_newer_boots_changes_nothing() {
    let site = site();
    let (mut forged, genuine) = (trap(&site, PRIVATE, "9,1000").await, trap(&site, PRIVATE, "3,1000").await);
    *forged.last_mut().unwrap() ^= 1;
    site.run(async |gateway| {
        deliver(gateway, &[&forged, &genuine]).await;
        let (accepted, report) = settled(gateway, 2).await;
        assert_eq!((accepted, dropped(&report, "wrong_digest")), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_lower_level_an_unknown_user_and_a_wrong_key_wait_with_advice() {
    let site = site();
    let downgraded = trap(&site, &["-u", "monitor", "-l", "noAuthNoPriv"], "3,1000").await;
    let stranger = trap(&site, &["-u", "stranger", "-l", "noAuthNoPriv"], "3,1000").await;
    let mut other_key = PRIVATE.to_vec();
    other_key[7] = "another passphrase";
    let wrong = trap(&site, &other_key, "3,1000").await;
    site.run(async |gateway| {
        deliver(gateway, &[&downgraded, &stranger, &wrong]).await;
        let (accepted, report) = settled(gateway, 3).await;
        assert_eq!(accepted, 0);
        for (reason, user, level) in [
            ("level_too_low", "monitor", "no_auth_no_priv"),
            ("unknown_user", "stranger", "no_auth_no_priv"),
            ("wrong_digest", "monitor", "auth_priv"),
        ] {
            let entry = waiting(&report, reason);
            assert_eq!((entry.user.as_str(), entry.level.as_str(), entry.count, dropped(&report, reason)), (user, level, 1, 1));
            assert_eq!((entry.source.as_str(), entry.engine_id.as_str()), ("127.0.0.1", ENGINE));
            assert!(Table(&report).to_string().contains(&entry.advice) && !entry.advice.is_empty());
        }
    })
    .await;
    site.run(async |gateway| assert_eq!(gateway.status().await.intake.waiting_room.len(), 3, "they wait after a restart")).await;
}

#[tokio::test]
async fn a_device_that_starts_over_waits_until_it_is_reset_once() {
    let site = site();
    let (known, replaced, again) =
        (trap(&site, PRIVATE, "7,1000").await, trap(&site, PRIVATE, "3,10").await, trap(&site, PRIVATE, "1,10").await);
    site.run(async |gateway| {
        deliver(gateway, &[&known, &replaced]).await;
        let (accepted, report) = settled(gateway, 2).await;
        assert_eq!((accepted, dropped(&report, "not_in_time_window")), (1, 1));
        let advice = &waiting(&report, "not_in_time_window").advice;
        assert!(advice.contains("snmpEngineBoots 3 where 7 was known") && advice.contains("snmp.engine_resets"), "{advice}");
    })
    .await;
    site.configure(2, &document(&users(&serde_json::json!([{"engine": ENGINE, "serial": 1}]))));
    site.run(async |gateway| {
        deliver(gateway, &[&replaced]).await;
        let (accepted, report) = settled(gateway, 3).await;
        assert_eq!(accepted, 2);
        assert!(report.intake.waiting_room.is_empty(), "it waits no more: {report:?}");
    })
    .await;
    site.run(async |gateway| {
        deliver(gateway, &[&again]).await;
        assert_eq!(settled(gateway, 4).await.0, 2, "the same reset is carried out once");
    })
    .await;
}

#[tokio::test]
async fn reports_to_one_address_are_few_and_hardly_longer_than_what_asked_for_them() {
    let site = site();
    let device = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asking = send(&site, "snmpinform", PRIVATE, device.local_addr().unwrap());
    let mut question = vec![0; 2048];
    let (_, received) = tokio::join!(asking, device.recv(&mut question));
    question.truncate(received.unwrap());
    site.run(async |gateway| {
        deliver_from(&device, gateway, &vec![&question[..]; 100]).await;
        let (_, report) = settled(gateway, 100).await;
        assert_eq!(dropped(&report, "discovery"), 100);
    })
    .await;
    let (mut answer, mut answers) = ([0; 2048], 0);
    while let Ok(length) = device.try_recv(&mut answer) {
        answers += 1;
        assert!(length <= 2 * question.len(), "{length} bytes for {}", question.len());
    }
    assert!((10..=20).contains(&answers), "{answers} for 100 questions");
}

#[tokio::test]
async fn communities_are_taken_from_granted_sources_only() {
    let site = Site::new("");
    site.keep_secrets(&[("community.core", "public"), ("community.edge", "edge-only")]);
    let grants = serde_json::json!({"communities": [
        {"sources": ["127.0.0.0/8"], "secrets": ["community.edge"]}, {"sources": ["127.0.0.2/32"], "secrets": ["community.core"]}
    ]});
    site.configure(1, &document(&grants));
    site.run(async |gateway| {
        let address = gateway.address("snmp_trap", "udp").await;
        for (from, request_id) in [("127.0.0.1:0", 1), ("127.0.0.2:0", 2)] {
            // The community is `public`.
            UdpSocket::bind(from).await.unwrap().send_to(&crate::site::inform(request_id, 1), address).await.unwrap();
        }
        let (accepted, report) = settled(gateway, 2).await;
        assert_eq!((accepted, dropped(&report, "bad_community")), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_leaves_one_user_out_and_is_told() {
    let site = Site::new("");
    site.configure(1, &document(&users(&serde_json::json!([]))));
    site.run(async |gateway| {
        let warnings = gateway.status().await.intake.warnings;
        assert!(
            warnings.iter().any(|warning| warning.contains("snmp.users[0].auth.secret") && warning.contains("seal it first")),
            "{warnings:?}"
        );
    })
    .await;
}
