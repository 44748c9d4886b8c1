//! What comes over the socket: who may, what is no request, and what happens when someone asks for too much.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use postern_appliance::verb::{MAX_LINE_BYTES, Reply};

use crate::site::{CONSOLE, FIRSTBOOT, GATEWAY, STRANGER, Site, done, refused};

/// Writes `bytes` as root and reads the answer.
pub(crate) fn raw(site: &Site, bytes: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(site.socket()).unwrap();
    // The broker answers a line that is too long before it was read to its end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    first_line(stream)
}

/// Reads the answer; what comes after it is the end of the connection, or its reset.
fn first_line(stream: UnixStream) -> Reply {
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn what_is_no_request_is_refused_audited_and_counted() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    refused(&raw(&site, b"{\"verb\":\"reboot\"\n"), "not a request");
    refused(&raw(&site, b"{\"verb\":\"shell\",\"command\":\"id\"}\n"), "unknown variant `shell`");
    refused(&raw(&site, b"{\"verb\":\"reboot\",\"now\":1}\n"), "unknown field `now`");
    refused(&raw(&site, b"\xff\x00\n"), "not a request");
    refused(&raw(&site, b"[[[[[["), "line feed");
    refused(&raw(&site, b""), "line feed");
    refused(&raw(&site, &vec![b' '; MAX_LINE_BYTES + 1]), "longer than");
    refused(&raw(&site, &[b"[".repeat(100_000), b"\n".to_vec()].concat()), "not a request");
    assert_eq!(site.status().refused_requests, 8);
    let audit = site.audit();
    let outcomes = audit.iter().filter(|line| line["event"] == "outcome" && line["outcome"] == "refused").count();
    assert_eq!(outcomes, 8, "{audit:#?}");
    assert!(site.asked().is_empty());
}

#[test]
fn the_kernels_word_on_the_peer_decides() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    refused(&site.ask_as(STRANGER, r#"{"verb":"status"}"#), "this user may ask nothing here");
    refused(&site.ask_as(GATEWAY, r#"{"verb":"reboot"}"#), "postern may not ask for reboot");
    refused(&site.ask_as(CONSOLE, r#"{"verb":"enrol_finished","outcome":{"result":"enrolled"}}"#), "postern-console may not");
    refused(&site.ask_as(FIRSTBOOT, r#"{"verb":"ssh","state":{"ssh":"on","minutes":5}}"#), "postern-firstboot may not");
    assert_eq!(site.ask_as(GATEWAY, r#"{"verb":"firewall"}"#), done());
    assert_eq!(site.ask_as(CONSOLE, r#"{"verb":"reboot"}"#), done());
    assert_eq!(site.asked(), ["start --no-block --job-mode=replace-irreversibly -- reboot.target"]);
    let audit = site.audit();
    let reboot = audit.iter().rposition(|line| line["verb"]["verb"] == "reboot").unwrap();
    assert_eq!((&audit[reboot]["who"], &audit[reboot]["uid"]), (&"postern-console".into(), &CONSOLE.into()));
    assert_eq!((&audit[reboot + 1]["of"], &audit[reboot + 1]["outcome"]), (&audit[reboot]["sequence"], &"ok".into()));
}

#[test]
fn a_vetoed_verb_is_refused_to_everyone_and_audited() {
    let Some(mut site) = Site::new() else { return };
    site.write("var/lib/postern-system/veto.toml", "[appliance]\nforbid = [\"reboot\", \"factory_reset\"]\n");
    site.start();
    refused(&site.ask(r#"{"verb":"reboot"}"#), "the site's veto forbids reboot");
    refused(&site.ask_as(CONSOLE, r#"{"verb":"factory_reset","confirm_hostname":"before"}"#), "forbids factory_reset");
    assert!(site.asked().is_empty() && !site.has("sys/firmware/efi/efivars/FactoryReset-8cf2644b-4b0b-428f-9387-6d876050dc67"));
    assert!(site.audit().iter().any(|line| line["reason"] == "the site's veto forbids reboot"));
}

#[test]
fn slow_clients_keep_nobody_out() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    let mut held = Vec::new();
    while held.len() < 8 {
        // One that is turned away, because an earlier one is not quite gone, is answered at once.
        let mut stream = UnixStream::connect(site.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if stream.read(&mut [0]).is_err() {
            held.push(stream);
        }
    }
    // The ninth of the same user is told; another user is served.
    site.wait_for(
        "the ninth to be refused",
        || matches!(raw(&site, br#"{"verb":"status"}"#), Reply::Refused { reason } if reason.contains("connections of this user")),
    );
    assert_eq!(site.ask_as(GATEWAY, r#"{"verb":"firewall"}"#), done());
    // Those that say nothing are let go after 5 s, however they drip.
    let start = Instant::now();
    let mut answers = 0;
    for mut stream in held {
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let _ = stream.write_all(b" ");
        let reply = first_line(stream);
        answers += usize::from(matches!(reply, Reply::Refused { reason } if reason.contains("no whole line within 5 s")));
    }
    assert_eq!(answers, 8);
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(site.status().refused_requests >= 9, "those that were turned away are counted too");
}

#[test]
fn a_user_who_floods_is_throttled_without_filling_the_audit() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    let is_throttled = |reply: &Reply| matches!(reply, Reply::Refused { reason } if reason.contains("too many requests"));
    let throttled = (0..200).filter(|_| is_throttled(&site.ask_as(GATEWAY, r#"{"verb":"reboot"}"#))).count();
    assert!(throttled > 100, "{throttled}");
    assert_eq!(site.status().refused_requests, 200, "root is not concerned");
    let audit = site.audit();
    assert!(audit.len() < 200, "{}", audit.len());
    assert!(audit.iter().any(|line| line["event"] == "throttled" && line["uid"] == GATEWAY));
}

#[test]
fn without_an_audit_nothing_is_done() {
    let Some(mut site) = Site::new() else { return };
    // A device that is always full, in place of the file, is no plain file.
    std::os::unix::fs::symlink("/dev/full", site.at("var/log/postern/audit.jsonl")).unwrap();
    let output = site.run(&["serve"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("audit.jsonl is not a plain file"), "{said}");
    std::fs::remove_file(site.at("var/log/postern/audit.jsonl")).unwrap();
    site.start();
    site.stop();
}
