//! The control plane is away for a minute of traffic: nothing is missing afterwards, and nothing goes backwards.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;
use postern_tests::snmp::{LINK_DOWN, LINK_UP, Sender, TRAP_V2, link};

const OUTAGE: Duration = Duration::from_secs(60);
const INTERFACES: u32 = 60;

/// What the gateway must have made of it: reports in the present occurrence, and whether it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Expected {
    count: u64,
    open: bool,
}

#[test]
fn a_minute_without_control_plane_loses_nothing_and_no_revision_goes_backwards() {
    let mut rig = Rig::start();
    // Interfaces come and go too often here for clears to count.
    crate::revisions::without_noise_control(&rig);
    let sender = Sender::new(rig.prepared.sockets.snmp_trap());
    let mut expected: BTreeMap<u32, Expected> = BTreeMap::new();
    let mut sent = 0_u32;
    let mut report = |if_index: u32| {
        // Every seventh report of an interface is its recovery; the next one begins a new occurrence.
        sent += 1;
        let known = expected.entry(if_index).or_default();
        let recovery = known.open && known.count == 6;
        let oid = if recovery { LINK_UP } else { LINK_DOWN };
        sender.send(&link(TRAP_V2, i32::try_from(sent).unwrap(), oid, if_index));
        *known = match (recovery, known.open) {
            (true, _) => Expected { open: false, ..*known },
            (false, true) => Expected { count: known.count + 1, open: true },
            (false, false) => Expected { count: 1, open: true },
        };
    };
    for if_index in 1..=INTERFACES / 2 {
        report(if_index);
    }
    rig.api.wait_for_alert("traffic before", |alert| is_link(alert, INTERFACES / 2));
    rig.wait_until_delivered();
    rig.kill_control();
    let start = Instant::now();
    let mut turn = 0;
    while start.elapsed() < OUTAGE {
        // Each interface at its own pace, so that they end in different states.
        for if_index in (1..=INTERFACES).filter(|if_index| turn % (if_index % 5 + 1) == 0) {
            report(if_index);
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(250));
    }
    rig.wait_for_status("all traffic", |status| status.ledger.totals.accepted == u64::from(sent));

    rig.start_control();
    let watch = watch_stream(&rig);
    let back = Instant::now();
    rig.wait_for_status("the tunnel", |status| status.tunnel.state == postern_protocol::status::TunnelState::Up);
    rig.wait_until_delivered();
    println!("{sent} traps in {OUTAGE:?}; delivered {:?} after the control plane came back", back.elapsed());

    for (if_index, expected) in &expected {
        let state = if expected.open { "open" } else { "cleared" };
        let is_it = |alert: &Value| is_link(alert, *if_index) && alert["state"] == state && alert["count"] == expected.count;
        rig.api.wait_for_alert(&format!("interface {if_index} {expected:?}"), is_it);
    }
    // Only the last state is owed, and revisions only grow.
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for (id, revision) in watch.stop() {
        let before = newest.insert(id.clone(), revision).unwrap_or(0);
        assert!(revision > before, "alert {id} went from revision {before} to {revision}");
    }
    assert!(!newest.is_empty(), "the stream showed what arrived");
    assert!(rig.status().unwrap().ledger.totals.dropped.is_empty());
}

struct Watch {
    curl: std::process::Child,
    reader: std::thread::JoinHandle<Vec<(String, u64)>>,
}

/// Listens to the API's stream of alerts.
fn watch_stream(rig: &Rig) -> Watch {
    let url = format!("{}/api/v1/alerts/stream", rig.api.console());
    let bearer = format!("Authorization: Bearer {}", rig.api.token().unwrap());
    let mut command = Command::new("curl");
    command.args(["-sS", "-N", "--cacert", rig.api.ca(), "-H", &bearer, &url]);
    let mut curl = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let data = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("data:").map(str::to_owned));
        let alerts = data.filter_map(|text| serde_json::from_str::<Value>(&text).ok());
        alerts.filter_map(|alert| Some((alert["id"].as_str()?.to_owned(), revision(&alert)?))).collect()
    });
    Watch { curl, reader }
}

/// A revision, whether it is written as a number or as text.
fn revision(alert: &Value) -> Option<u64> {
    alert["revision"].as_u64().or_else(|| alert["revision"].as_str()?.parse().ok())
}

impl Watch {
    fn stop(mut self) -> Vec<(String, u64)> {
        self.curl.kill().unwrap();
        self.curl.wait().unwrap();
        self.reader.join().unwrap()
    }
}
