//! `make bench ROWS=drain`: a backlog of measurements and alerts drains after an outage while new alerts overtake it.
//!
//! The figure is the time from a trap to its alert in the API during the drain; it is judged by its 99th percentile.

use std::time::{Duration, Instant};

use postern_protocol::status::{Status, TunnelState};
use postern_tests::launcher::control_plane;
use postern_tests::snmp::{LINK_DOWN, Sender, TRAP_V2, link};
use postern_tests::tools::push;

use crate::postern::Postern;
use crate::process::{Process, wait_until};

const MEASUREMENTS: u64 = 1_000_000;
const PER_PUSH: u64 = 1_000;
const ALERTS: u32 = 10_000;

/// What a new alert may take during the drain, at the 99th percentile.
const BOUND: Duration = Duration::from_secs(2);

/// Runs the drain and panics when new alerts wait too long, or something is missing at the end.
pub(crate) fn run() {
    let dir = tempfile::Builder::new().prefix("postern-drain-").tempdir().unwrap();
    let mut postern = Postern::start(dir.path(), "");
    postern.control.end();
    let start = Instant::now();
    for number in 0..MEASUREMENTS / PER_PUSH {
        let (status, said) = push(&postern.prepared, &measurements(number), &[]);
        assert!((200..300).contains(&status), "push {number}: {status} {said}");
    }
    let volley = Sender::new(postern.trap()).inform(1..=ALERTS, Duration::from_secs(120), |_| {});
    let status = postern.status();
    println!(
        "{MEASUREMENTS} measurements and {} alerts taken in {:.1} s without a control plane; {} MiB on disk, lanes {:?}",
        volley.acknowledged,
        start.elapsed().as_secs_f64(),
        status.spool.bytes_on_disk >> 20,
        status.spool.lanes,
    );
    let mut serve = control_plane::serve(&postern.prepared.binaries, &postern.prepared.layout).unwrap();
    postern.control = Process::start(&mut serve, &dir.path().join("control-again.out"));
    wait_until("the control plane", || control_plane::answers(postern.prepared.sockets.https()));
    wait_until("the tunnel", || postern.status().tunnel.state == TunnelState::Up);
    let start = Instant::now();
    let sender = Sender::new(postern.trap());
    let mut taken = Vec::new();
    while waiting(&postern.status(), "samples") > 0 {
        let if_index = ALERTS + 1 + taken.len() as u32;
        let sent = Instant::now();
        sender.send(&link(TRAP_V2, if_index as i32, LINK_DOWN, if_index));
        let suffix = format!("/{if_index}");
        while !newest(&postern).ends_with(&suffix) {
            assert!(sent.elapsed() < Duration::from_secs(60), "a new alert does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
        taken.push(sent.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("drained in {:.1} s", start.elapsed().as_secs_f64());
    assert!(taken.len() >= 20, "only {} alerts were tried while the backlog lasted", taken.len());
    taken.sort_unstable();
    let (median, p99) = (taken[taken.len() / 2], taken[(taken.len() * 99).div_ceil(100) - 1]);
    println!(
        "{} new alerts during the drain, trap to API: median {median:?}, p99 {p99:?}, slowest {:?}",
        taken.len(),
        taken[taken.len() - 1]
    );
    wait_until("the last alert", || waiting(&postern.status(), "alerts") == 0);
    assert_eq!(postern.api.alerts().iter().filter(|alert| alert["kind"] == "link-down").count(), ALERTS as usize + taken.len());
    assert!(p99 < BOUND, "p99 {p99:?}");
}

fn measurements(push: u64) -> String {
    let one = |n: u64| {
        format!(
            r#"{{"resource":"server-{}","metric":"cpu.load.{}","value":{},"unit":"%","labels":{{"push":"{push}"}}}}"#,
            n % 200,
            n % 1000 / 200,
            n % 101
        )
    };
    let list: Vec<String> = (push * PER_PUSH..(push + 1) * PER_PUSH).map(one).collect();
    format!(r#"{{"measurements":[{}]}}"#, list.join(","))
}

fn waiting(status: &Status, lane: &str) -> u64 {
    status.spool.lanes.get(lane).map_or(0, |lane| lane.records)
}

/// Resource of the alert that was raised last.
fn newest(postern: &Postern) -> String {
    let page = postern.api.get("/api/v1/alerts?limit=1").json();
    page["items"][0]["resource"].as_str().unwrap_or_default().to_owned()
}
