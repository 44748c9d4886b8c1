//! Events of before: a capture that tcpdump made gives the alerts that the gateway raised when it heard the same; and on site, the
//! received events behind an alert can be read where that is allowed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_protocol::alert::AlertState;
use postern_protocol::replay::{Replayed, Seen};
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{LINK_DOWN, LINK_UP, link_inform, link_trap, logger, push, run, succeeded, trap};
use serde_json::Value;

use crate::harness::rig::{Options, Rig};

/// A capture that is being made; dropping it ends tcpdump.
struct Capture(Child);

impl Capture {
    fn of(rig: &Rig, file: &Path) -> Self {
        let (traps, lines) = (rig.prepared.sockets.snmp_trap().port(), rig.prepared.sockets.syslog().port());
        let filter = format!("udp and (dst port {traps} or dst port {lines})");
        let mut command = Command::new("tcpdump");
        command.args(["-i", "lo", "-n", "-U", "--immediate-mode", "-Z", "root", "-w"]).arg(file).arg(filter);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("listening on")), "tcpdump does not listen");
        // Whatever it says later has somewhere to go.
        std::thread::spawn(move || said.for_each(drop));
        Self(child)
    }

    fn end(mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGINT).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

/// What makes an alert the same here and there.
type Fate = (String, String, String, String, String, u64, String);

fn live(alerts: &[Value]) -> BTreeSet<Fate> {
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap_or_else(|| panic!("{name}: {alert}")).to_owned();
    let fate = |alert: &Value| {
        let rule = alert["rule"].as_str().or_else(|| alert["rule"]["id"].as_str()).unwrap().to_owned();
        let [resource, kind, qualifier, severity, state] =
            ["resource", "kind", "qualifier", "severity", "state"].map(|name| text(alert, name));
        (resource, kind, qualifier, severity, state, alert["count"].as_u64().unwrap(), rule)
    };
    alerts.iter().map(fate).collect()
}

fn replayed(result: &Replayed) -> BTreeSet<Fate> {
    let fate = |difference: &postern_protocol::replay::Difference| {
        let Seen { state, severity, count, rule, .. } = difference.candidate.clone().unwrap();
        let (resource, kind, qualifier) = (difference.resource.clone(), difference.kind.clone(), difference.qualifier.clone());
        (resource, kind, qualifier, severity.name().to_owned(), state.name().to_owned(), count, rule)
    };
    result.differences.iter().map(fate).collect()
}

/// `postern-gateway replay` with the rules that a new gateway has.
fn replay(rig: &Rig, more: &[&str], inputs: &[&Path]) -> Replayed {
    let rules = rig.layout().gateway_config().with_file_name("rules.json");
    std::fs::write(&rules, postern_protocol::revision::BUILT_IN).unwrap();
    let inputs: Vec<&str> = inputs.iter().map(|input| input.to_str().unwrap()).collect();
    let program = rig.prepared.binaries.gateway.to_str().unwrap();
    let output = run(program, &[&["replay", "--json", "--rules", rules.to_str().unwrap()], more, &inputs].concat());
    succeeded(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_capture_gives_the_alerts_that_were_raised_live() {
    let rig = Rig::start();
    let (traps, lines) = (rig.prepared.sockets.snmp_trap(), rig.prepared.sockets.syslog());
    // Its self-test sends what is no event live, and one in a capture.
    rig.wait_for_status("the first revision", |status| status.revision.effective.is_some() && status.revision.provisional.is_none());
    let file = rig.layout().gateway_config().with_file_name("capture.pcap");
    let capture = Capture::of(&rig, &file);
    for if_index in 1..=3 {
        link_trap(traps, LINK_DOWN, if_index);
    }
    link_trap(traps, LINK_DOWN, 2);
    succeeded(&link_inform(traps, LINK_DOWN, 4, &[]));
    link_trap(traps, LINK_UP, 3);
    let v1 = ["-v", "1", "-c", "public", &traps.to_string(), "1.3.6.1.4.1.8072.3.2.10", "192.0.2.9", "2", "0", "4711"];
    succeeded(&run("snmptrap", &[&v1[..], &["1.3.6.1.2.1.2.2.1.1.5", "i", "5"]].concat()));
    trap(traps, "1.3.6.1.4.1.99999.7.1", &["1.3.6.1.4.1.99999.7.2", "s", "a text"]);
    logger(lines, &["--udp", "--rfc5424", "--priority", "daemon.crit", "--tag", "raid", "array md0 degraded"]);
    logger(lines, &["--udp", "--rfc3164", "--priority", "auth.err", "--tag", "sshd", "cannot bind"]);
    rig.wait_for_status("all events", |status| status.ledger.totals.accepted >= 10 && status.ledger.totals.in_flight == 0);
    rig.wait_until_delivered();
    // tcpdump writes each packet at once, but reads them when it may.
    wait_for("the capture", SOON, || {
        (file.metadata().map_err(|error| error.to_string())?.len() > 1_000).then_some(()).ok_or_else(String::new)
    });
    capture.end();
    let live = live(&rig.api.alerts());
    let ports = ["--trap-port", &traps.port().to_string(), "--syslog-port", &lines.port().to_string()].map(str::to_owned);
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let result = replay(&rig, &ports, &[&file]);
    assert_eq!((result.undecodable, result.events), (0, 10), "{result:#?}");
    assert_eq!(replayed(&result), live);
    assert!(live.iter().any(|fate| fate.4 == AlertState::Cleared.name()) && live.len() >= 6, "{live:#?}");
    let rules = rig.layout().gateway_config().with_file_name("rules.json");
    let same = replay(&rig, &[&ports[..], &["--against", rules.to_str().unwrap()]].concat(), &[&file]);
    assert_eq!((same.differences.len(), same.effective.raised), (0, result.candidate.raised), "the same rules differ in nothing");
}

/// `postern-gateway events`.
fn events(rig: &Rig, alert: &str) -> (bool, String) {
    let (program, config) = (rig.prepared.binaries.gateway.clone(), rig.layout().gateway_config());
    let output = run(program.to_str().unwrap(), &["events", alert, "--json", "--config", config.to_str().unwrap()]);
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn audit(rig: &Rig) -> String {
    let (program, config) = (rig.prepared.binaries.gateway.clone(), rig.layout().gateway_config());
    let output = run(program.to_str().unwrap(), &["audit", "--json", "--config", config.to_str().unwrap()]);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn events_behind_an_alert_are_read_on_site_only_where_that_is_allowed_and_written_down() {
    let mut rig = Rig::start_with(&Options { gateway_toml: "[sandbox]\nrequire = true\n", ..Options::default() });
    let (traps, lines) = (rig.prepared.sockets.snmp_trap(), rig.prepared.sockets.syslog());
    for _ in 0..3 {
        link_trap(traps, LINK_DOWN, 7);
    }
    link_trap(traps, LINK_DOWN, 8);
    logger(lines, &["--udp", "--priority", "daemon.crit", "--tag", "raid", "array md7 degraded"]);
    let body = r#"{"events": [{"resource": "pump-3", "kind": "dry", "severity": "major", "summary": "no water"}]}"#;
    assert_eq!(push(&rig.prepared, body, &[]).0, 200);
    let id = |alert: Value| alert["id"].as_str().unwrap().to_owned();
    let link = id(rig.api.wait_for_alert("linkDown", |alert| alert["count"] == 3));
    let pump = id(rig.api.wait_for_alert("the push", |alert| alert["resource"] == "pump-3"));

    let (done, said) = events(&rig, &link);
    assert!(!done && said.contains("read_events = true"), "{said}");
    assert!(!audit(&rig).contains("events-read"), "nothing was read");

    rig.stop_gateway();
    let config = rig.layout().gateway_config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[ring]\nread_events = true\n")).unwrap();
    rig.start_gateway();
    let (done, said) = events(&rig, &link);
    let shown: Vec<&str> = said.lines().filter(|line| line.contains(LINK_DOWN)).collect();
    assert!(done && shown.len() == 3, "what came before the restart, and nothing of interface 8: {said}");
    assert!(shown.iter().all(|line| line.contains("2.2.1.1.7 = 7") && !line.contains("public")), "{said}");
    let (done, said) = events(&rig, &pump);
    assert!(done && said.contains("no water") && said.lines().count() == 1, "{said}");
    let audit = audit(&rig);
    assert!(audit.contains("events-read") && audit.contains(&link) && audit.contains(&pump), "{audit}");
    let ring = rig.status().unwrap().ring.unwrap();
    assert!(ring.bytes > 0 && ring.blocks > 0 && ring.missed == 0, "{ring:?}");
}

#[test]
fn a_candidate_is_tried_on_what_came_and_only_keys_and_counts_come_back() {
    let rig = Rig::start();
    let lines = rig.prepared.sockets.syslog();
    for _ in 0..3 {
        logger(lines, &["--udp", "--priority", "daemon.crit", "--tag", "raid", "array md7 degraded, a marked text"]);
    }
    let before = rig.api.wait_for_alert("the alert in force", |alert| alert["qualifier"] == "raid" && alert["count"] == 3);
    let document = serde_json::json!({"format": 1, "rules": [{
        "id": "raid", "match": {"syslog": {"programs": ["raid"]}}, "release": {"program": {"from": "program", "max_bytes": 32}, "source": {"from": "source", "max_bytes": 64}},
        "then": {"raise": {"severity": "critical", "resource": "{source}", "kind": "raid-degraded", "summary": "{program} says so"}}
    }]});
    let path = format!("/api/v1/gateways/{}/replays", rig.gateway_id());
    let asked = rig.api.post(&path, &serde_json::json!({"document": document, "minutes": 15}).to_string());
    assert_eq!(asked.status, 202, "{asked:?}");
    let at = asked.header("location").unwrap().to_owned();
    let answer = wait_for("the answer", SOON, || {
        let answer = rig.api.get(&at);
        if answer.body.contains("\"done\"") { Ok(answer.body) } else { Err(answer.body) }
    });
    assert!(answer.contains("raid-degraded") && answer.contains(before["kind"].as_str().unwrap()), "{answer}");
    assert!(!answer.contains("marked"), "{answer}");
    assert_eq!(rig.api.alerts().iter().filter(|alert| alert["kind"] == "raid-degraded").count(), 0, "nothing was raised");
    let audit = audit(&rig);
    assert!(audit.contains("replay-asked"), "{audit}");
}
