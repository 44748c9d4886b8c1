//! The wall: what no rule releases is nowhere in the decrypted tunnel, nor in what is stored.
//!
//! A relay that holds both sides' keys stands in the tunnel between the real programs and keeps every decrypted byte (see
//! `harness::relay`). Marks are planted in every place of raw events that can hold text. Under the built-in rules, whose
//! catch-alls see all of these events, none may appear. Under a rule that releases one field, exactly that field's mark appears:
//! the search would find the others.

use std::path::Path;

use crate::harness::relay::Relay;
use crate::harness::rig::{Options, Rig};
use crate::revisions;
use postern_tests::api::Force;
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{logger, push, run, succeeded};

/// Where a mark was planted, and the mark: no base64, no word, nothing that could be there by chance.
const PLANTED: [(&str, &str); 12] = [
    ("trap varbind", "MARKAqz7vk3wd9tp2xr"),
    ("v1 trap varbind", "MARKBqz7vk3wd9tp2xr"),
    ("inform varbind", "MARKCqz7vk3wd9tp2xr"),
    ("community", "MARKDqz7vk3wd9tp2xr"),
    ("syslog message over UDP", "MARKEqz7vk3wd9tp2xr"),
    ("syslog message over TCP", "MARKFqz7vk3wd9tp2xr"),
    ("structured data", "MARKGqz7vk3wd9tp2xr"),
    ("message id", "MARKHqz7vk3wd9tp2xr"),
    ("push summary", "MARKIqz7vk3wd9tp2xr"),
    ("push field", "MARKJqz7vk3wd9tp2xr"),
    ("process id", "MARKKqz7vk3wd9tp2xr"),
    ("octet string that is not text", "MARKLqz7vk3wd9tp2xr"),
];

fn mark(place: &str) -> &'static str {
    PLANTED.iter().find(|(name, _)| *name == place).unwrap().1
}

/// Sends an event for every mark; returns how many.
fn plant(rig: &Rig) -> u64 {
    let trap = rig.prepared.sockets.snmp_trap().to_string();
    let name = "1.3.6.1.4.1.55555.1.1.0";
    let hex: String =
        [b"\0\xff", mark("octet string that is not text").as_bytes()].concat().iter().map(|byte| format!("{byte:02x}")).collect();
    let community = mark("community");
    let v1 = ["-v", "1", "-c", community, &trap, "1.3.6.1.4.1.55555", "192.0.2.1", "6", "42", "1", name, "s", mark("v1 trap varbind")];
    succeeded(&run("snmptrap", &v1));
    let v2 = ["-v", "2c", "-c", community, &trap, "", "1.3.6.1.4.1.55555.0.7", name, "s", mark("trap varbind"), name, "x", &hex];
    succeeded(&run("snmptrap", &v2));
    let inform = ["-v", "2c", "-c", community, &trap, "", "1.3.6.1.4.1.55555.0.8", name, "s", mark("inform varbind")];
    succeeded(&run("snmpinform", &inform));
    let syslog = rig.prepared.sockets.syslog();
    logger(syslog, &["--udp", "--priority", "daemon.err", "--tag", "app", mark("syslog message over UDP")]);
    let parameter = format!("p=\"{}\"", mark("structured data"));
    let tcp = ["--tcp", "--rfc5424", "--priority", "daemon.err", "--tag", "app", "--msgid", mark("message id"), "--sd-id", "x@32473"];
    logger(syslog, &[&tcp[..], &["--sd-param", &parameter, mark("syslog message over TCP")]].concat());
    // logger takes only numbers for a process id; RFC 5424 §6.2.6 does not.
    let line = format!("<27>1 2026-11-21T10:00:00Z host app {} - - text", mark("process id"));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(line.as_bytes(), syslog).unwrap();
    let event = serde_json::json!({"events": [{"resource": "r", "kind": "k", "severity": "major",
        "summary": mark("push summary"), "fields": {"f": mark("push field")}}]});
    assert_eq!(push(&rig.prepared, &event.to_string(), &[]).0, 200);
    7
}

/// Places whose mark is in `bytes`.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let marks: Vec<&str> = PLANTED.iter().map(|(_, mark)| *mark).collect();
    let held = holding(bytes, &marks);
    PLANTED.iter().filter(|(_, mark)| held.contains(mark)).map(|(place, _)| *place).collect()
}

/// Those of `marks` that are in `bytes`, in any of the spellings that a careless encoder might give them.
pub(crate) fn holding<'a>(bytes: &[u8], marks: &[&'a str]) -> Vec<&'a str> {
    let lower = bytes.to_ascii_lowercase();
    let has = |needle: &[u8]| lower.windows(needle.len()).any(|window| window == needle);
    let spelt = |mark: &str| {
        let text = mark.to_ascii_lowercase();
        let pairs: Vec<String> = mark.bytes().map(|byte| format!("{byte:02x}")).collect();
        // Base64 shifts with the position: the middle of each of its three forms.
        let base64 = (0..3).map(|shift| {
            let padded = [&b"\0\0\0"[..shift], mark.as_bytes()].concat();
            let text = data_encoding::BASE64.encode(&padded).to_ascii_lowercase();
            text[4..text.len() - 4].to_owned()
        });
        [text, pairs.concat(), pairs.join(":")].into_iter().chain(base64).any(|spelling| has(spelling.as_bytes()))
    };
    marks.iter().filter(|mark| spelt(mark)).copied().collect()
}

fn everywhere(relay: &Relay) -> Vec<(String, &'static str)> {
    relay.everything().iter().flat_map(|(where_, bytes)| found(bytes).into_iter().map(|place| (where_.clone(), place))).collect()
}

/// Marks in the files of a directory.
fn in_files(dir: &Path) -> Vec<(String, &'static str)> {
    let files = files(dir);
    files.iter().flat_map(|(path, bytes)| found(bytes).into_iter().map(|place| (path.clone(), place))).collect()
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.is_file() {
            // A database may fold its log away meanwhile.
            all.extend(std::fs::read(&path).ok().map(|bytes| (path.display().to_string(), bytes)));
        }
    }
    all
}

pub(crate) fn through_relay() -> (Rig, Relay) {
    let mut rig = Rig::enrolled(&Options::default());
    let relay = Relay::start(&rig);
    rig.redirect_gateway(relay.address, "");
    rig.start_gateway();
    (rig, relay)
}

#[test]
fn marks_in_raw_events_are_found_nowhere_beyond_the_gateway() {
    let (rig, relay) = through_relay();
    let events = plant(&rig);
    rig.wait_for_status("all events", |status| status.ledger.totals.accepted >= events);
    rig.wait_until_delivered();
    rig.api.wait_for_alert("the trap", |alert| alert.to_string().contains("1.3.6.1.4.1.55555.0.7"));
    rig.api.wait_for_alert("the push", |alert| alert["kind"] == "k");
    // A status report follows every two seconds; see one that was made after the events.
    let seen = relay.exchanges().iter().map(|exchange| exchange.up.len()).sum::<usize>();
    wait_for("a later status report", SOON, || {
        let now = relay.exchanges().iter().map(|exchange| exchange.up.len()).sum::<usize>();
        if now > seen + 200 { Ok(()) } else { Err(format!("{now} bytes")) }
    });

    let exchanges = relay.exchanges();
    let paths: Vec<&str> = exchanges.iter().filter_map(|exchange| exchange.heads.split_whitespace().nth(1)).collect();
    assert!(paths.contains(&"/tunnel/v1/control") && paths.contains(&"/tunnel/v1/lane/alerts"), "{paths:?}");
    assert_eq!(everywhere(&relay), [], "marks in the decrypted tunnel");
    assert_eq!(in_files(&rig.layout().control_dir()), [], "marks in what the control plane stores");
    assert_eq!(in_files(&rig.layout().gateway_dir().join("spool")), [], "marks in what waits to be sent");
    let logs = ["gateway", "control-plane"].map(|name| std::fs::read(rig.layout().log(name)).unwrap());
    assert_eq!(logs.iter().flat_map(|log| found(log)).collect::<Vec<_>>(), Vec::<&str>::new(), "marks in logs");
    let bytes: usize = relay.everything().iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{bytes} decrypted bytes in {} exchanges searched for {} marks", paths.len(), PLANTED.len());
}

#[test]
fn a_field_that_a_rule_releases_is_found_and_no_other() {
    let (rig, relay) = through_relay();
    let rule = |id: &str, matcher: serde_json::Value, from: &str| {
        serde_json::json!({
            "id": id, "match": matcher, "release": {"text": {"from": from, "max_bytes": 100}},
            "then": {"raise": {"resource": id, "kind": "released", "qualifier": "{text}", "severity": "minor", "summary": "{text}"}}
        })
    };
    let document = serde_json::json!({"format": 1, "rules": [
        rule("trap", serde_json::json!({"trap": {"oid": "1.3.6.1.4.1.55555.0.7"}}), "varbind:1.3.6.1.4.1.55555.1.1"),
        rule("line", serde_json::json!({"syslog": {}}), "message"),
        rule("push", serde_json::json!({"push": {}}), "field:f"),
    ]});
    revisions::apply(&rig, &document.to_string(), Force::Checked);
    plant(&rig);
    rig.api.wait_for_alert("the push", |alert| alert["resource"] == "push");
    rig.wait_until_delivered();
    let mut places: Vec<&str> = everywhere(&relay).into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places, ["push field", "syslog message over TCP", "syslog message over UDP", "trap varbind"]);
}
