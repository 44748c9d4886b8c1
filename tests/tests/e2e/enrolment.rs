//! One-time tokens, the one port's several faces, and who is let in by which.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::harness::rig::{Options, Rig};
use postern_tests::tools::{printed, run, run_with_input};

/// `enrol`'s exit codes when there is no identity: whoever runs it, the way there, or the token is at fault.
const HERE: i32 = 1;
const LATER: i32 = 75;
const REFUSED: i32 = 76;

/// Enrols a second gateway with this token; returns where its identity is, or exit code and words of the failure.
fn enrol(rig: &Rig, name: &str, token: &str) -> Result<PathBuf, (i32, String)> {
    enrol_at(rig, rig.api.console(), name, token, &[])
}

fn enrol_at(rig: &Rig, server: &str, name: &str, token: &str, more: &[&str]) -> Result<PathBuf, (i32, String)> {
    let dir = rig.layout().root().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let config = dir.join("gateway.toml");
    std::fs::write(&config, format!("data_dir = {:?}\n[server]\nurl = \"{server}\"\n", dir.join("data"))).unwrap();
    let program = rig.prepared.binaries.gateway.to_str().unwrap();
    let args = ["enrol", "--config", config.to_str().unwrap(), "--server", server, "--token-file", "-"];
    let output = run_with_input(program, &[&args, more].concat(), token.as_bytes());
    if output.status.success() { Ok(dir.join("data/identity")) } else { Err((output.status.code().unwrap(), printed(&output))) }
}

/// A proxy that gives each of its clients this answer and hangs up.
fn proxy_that_says(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            drop(client.read(&mut [0; 4096]));
            drop(client.write_all(answer.as_bytes()));
        }
    });
    url
}

fn token(rig: &Rig, more: &[&str]) -> String {
    let out = rig.layout().root().join("a.token");
    drop(std::fs::remove_file(&out));
    let args = ["token", "create", "--tenant", "default", "--gateway-name", "second", "--out", out.to_str().unwrap()];
    rig.control_command(&[&args, more].concat()).unwrap();
    assert_eq!(mode(&out), 0o600);
    std::fs::read_to_string(out).unwrap()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_token_works_once_and_keys_stay_private() {
    let rig = Rig::enrolled(&Options::default());
    let token = token(&rig, &[]);
    let identity = enrol(&rig, "second", &token).unwrap();
    assert_eq!(mode(&identity), 0o700);
    for entry in std::fs::read_dir(&identity).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let gateways = rig.api.get("/api/v1/gateways").ok().body;
    assert!(gateways.contains("second"), "{gateways}");

    let (code, refusal) = enrol(&rig, "third", &token).unwrap_err();
    assert!(code == REFUSED && refusal.contains("used"), "{code} {refusal}");
    assert!(!rig.layout().root().join("third/data/identity/gateway.json").exists());
}

#[test]
fn a_token_whose_file_cannot_be_written_is_good_for_nothing() {
    let rig = Rig::enrolled(&Options::default());
    let taken = rig.layout().root().join("taken");
    std::fs::write(&taken, "mine").unwrap();
    let args = ["token", "create", "--tenant", "default", "--gateway-name", "nobodys", "--out", taken.to_str().unwrap()];
    rig.control_command(&args).unwrap_err();
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "mine");
    let list = rig.control_command(&["token", "list"]).unwrap();
    let line = list.lines().find(|line| line.contains("nobodys")).unwrap();
    assert!(line.contains("revoked"), "{line}");
}

#[test]
fn expired_revoked_altered_and_foreign_tokens_are_refused_with_the_reason() {
    let rig = Rig::enrolled(&Options::default());
    let expired = token(&rig, &["--expires", "1s"]);
    let start = std::time::Instant::now();
    postern_tests::deadline::wait_for("the token to expire", postern_tests::deadline::SOON, || {
        if start.elapsed().as_millis() > 2100 { Ok(()) } else { Err("not yet".into()) }
    });
    let (code, refusal) = enrol(&rig, "expired", &expired).unwrap_err();
    assert!(code == REFUSED && refusal.contains("expired"), "{code} {refusal}");

    let revoked = token(&rig, &[]);
    let list: serde_json::Value = rig.api.get("/api/v1/enrolment-tokens").ok().json();
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list:#}"));
    let id = items.iter().find(|item| item["state"] == "usable").unwrap()["id"].clone();
    rig.control_command(&["token", "revoke", id.as_str().unwrap()]).unwrap();
    let (code, refusal) = enrol(&rig, "revoked", &revoked).unwrap_err();
    assert!(code == REFUSED && refusal.contains("revoked"), "{code} {refusal}");

    let good = token(&rig, &[]);
    let mut altered = good.trim().to_owned();
    let last = altered.pop().unwrap();
    altered.push(if last == 'A' { 'B' } else { 'A' });
    let (code, refusal) = enrol(&rig, "altered", &altered).unwrap_err();
    assert!(code == REFUSED && refusal.contains("altered"), "{code} {refusal}");
    let (code, refusal) = enrol(&rig, "foreign", "hello").unwrap_err();
    assert!(code == REFUSED && refusal.contains("not an enrolment token"), "{code} {refusal}");
    enrol(&rig, "good", &good).unwrap();
}

#[test]
fn a_token_of_another_control_plane_sends_nothing() {
    let (here, elsewhere) = (Rig::enrolled(&Options::default()), Rig::enrolled(&Options::default()));
    let foreign = token(&elsewhere, &[]);
    let (code, refusal) = enrol(&here, "stray", &foreign).unwrap_err();
    assert_eq!(code, REFUSED);
    assert!(!refusal.contains("unknown"), "refused by the gateway itself, before the secret was sent: {refusal}");
    assert!(["pin", "CA", "authority", "certificate"].iter().any(|word| refusal.contains(word)), "{refusal}");
    // The token is still good where it belongs.
    enrol(&elsewhere, "stray", &foreign).unwrap();
}

#[test]
fn what_may_pass_is_told_apart_from_what_will_not() {
    let mut rig = Rig::enrolled(&Options::default());
    let token = token(&rig, &[]);
    let server = rig.api.console().to_owned();
    for (answer, reason) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "offers no scheme"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "HTTP proxy"),
    ] {
        let (code, told) = enrol_at(&rig, &server, "second", &token, &["--proxy", &proxy_that_says(answer)]).unwrap_err();
        assert!(code == LATER && told.contains(reason), "{code} {told}");
    }
    let (code, told) = enrol_at(&rig, "https://control.invalid", "second", &token, &[]).unwrap_err();
    assert_eq!(code, LATER, "{told}");
    rig.stop_control();
    let (code, told) = enrol(&rig, "second", &token).unwrap_err();
    assert_eq!(code, LATER, "{told}");

    let (code, told) = enrol_at(&rig, "no address", "second", &token, &[]).unwrap_err();
    assert_eq!(code, HERE, "{told}");
    let (code, told) = enrol_at(&rig, &server, "second", &token, &["--no-such-flag"]).unwrap_err();
    assert_eq!(code, HERE, "{told}");

    rig.start_control();
    enrol(&rig, "second", &token).unwrap();
    let (code, told) = enrol(&rig, "second", &token).unwrap_err();
    assert!(code == HERE && told.contains("identity already"), "{code} {told}");
}

fn s_client(rig: &Rig, args: &[&str], input: &str) -> String {
    let address = rig.prepared.sockets.https().to_string();
    printed(&run_with_input("openssl", &[&["s_client", "-connect", &address, "-CAfile", rig.api.ca()], args].concat(), input.as_bytes()))
}

#[test]
fn each_alpn_shows_its_own_face() {
    let rig = Rig::start();
    let request = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let browser = s_client(&rig, &["-alpn", "h2,http/1.1", "-brief"], "");
    assert!(!browser.contains("Requested Signature Algorithms") && browser.contains("Verification: OK"), "{browser}");
    let browser = s_client(&rig, &["-alpn", "http/1.1"], "");
    assert!(browser.contains("No client certificate CA names sent"), "a browser is never asked: {browser}");

    let stranger = s_client(&rig, &["-alpn", "postern/1", "-quiet", "-ign_eof"], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(stranger.contains("alert"), "the tunnel needs a client certificate: {stranger}");

    let dir = rig.layout().root().join("forged");
    std::fs::create_dir(&dir).unwrap();
    let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=forged", "-days", "1"];
    postern_tests::tools::succeeded(&run("openssl", &[&made[..], &["-keyout", key, "-out", certificate]].concat()));
    let forged = s_client(
        &rig,
        &["-alpn", "postern/1", "-cert", certificate, "-key", key, "-quiet", "-ign_eof"],
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    );
    assert!(forged.contains("alert"), "a certificate of another authority is refused: {forged}");

    let enrolment = s_client(&rig, &["-alpn", "postern-enrol/1", "-quiet", "-ign_eof"], request);
    assert!(enrolment.contains("404"), "the enrolment face shows no API: {enrolment}");
    assert_eq!(rig.api.bare("POST", "/enrol/v1", Some("{}"), &[]).unwrap().status, 404, "and the public one no enrolment");
    let old = s_client(&rig, &["-tls1_1"], "");
    assert!(old.contains("alert") || old.contains("error") || old.contains("no protocols"), "TLS 1.1 is refused: {old}");
    assert!(s_client(&rig, &["-tls1_2", "-brief"], "").contains("TLSv1.2"), "TLS 1.2 is the floor");
}

#[test]
fn a_revoked_gateway_is_cut_off() {
    let rig = Rig::start_with(&Options { expected_errors: &["revoked", "refused", "tunnel"], ..Options::default() });
    rig.control_command(&["gateway", "revoke", &rig.gateway_id()]).unwrap();
    rig.wait_for_status("the tunnel to end", |status| status.tunnel.state != postern_protocol::status::TunnelState::Up);
    postern_tests::tools::link_trap(rig.prepared.sockets.snmp_trap(), postern_tests::tools::LINK_DOWN, 1);
    rig.wait_for_status("the alert to be kept", |status| status.spool.lanes.get("alerts").is_some_and(|lane| lane.records == 1));
    assert_eq!(rig.api.alerts().iter().filter(|alert| crate::interop_snmp::is_link(alert, 1)).count(), 0);
}
