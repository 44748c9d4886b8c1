//! Instructions for one event, counted by valgrind's callgrind: they do not depend on what else the machine does.
//!
//! The program runs itself under callgrind with a few events and with many; the difference, divided, is the cost of one. Of the rows
//! about rules and alert state, only what `AlertEngine::handle` does is counted. Figures are printed beside those of `instructions.txt`,
//! which is to be brought up to date (`RECORD=1`) by whoever changes them on purpose; one that grew by a tenth fails.

// A bench is a test with figures: whatever goes wrong ends it.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "load/datagrams.rs"]
mod datagrams;
#[path = "engine/mixture.rs"]
mod mixture;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use postern_engine::alert::AlertEngine;
use postern_engine::event::{Body, Event, Transport};
use postern_engine::rule::RuleIndex;
use postern_engine::snmp;
use postern_engine::snmp::engine_id::EngineId;
use postern_engine::snmp::usm::{LocalEngine, Outcome, Secret, UserConfig, Users, Usm};
use postern_engine::syslog::{self, Context, Zone};
use postern_protocol::alert::Authenticity;
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use postern_protocol::timestamp::Timestamp;

/// Events of the short and of the long run.
const FEW: usize = 1_000;
const MANY: usize = 5_000;

/// Where the load seems to come from.
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

type Work = fn(usize);

/// What a figure may have grown by since it was recorded.
const MAX_GROWTH: f64 = 1.1;

/// How much more than with 100 rules an event may cost with 10,000.
const MAX_RATIO: f64 = 2.0;

/// What is counted; from [`HANDLES`] on, in `AlertEngine::handle` alone.
const ALL: [(&str, Work); 10] = [
    ("decode a v2c trap", decode_v2c),
    ("verify, decrypt and decode a v3 trap", decode_v3),
    ("decode an RFC 5424 line", decode_5424),
    ("decode an RFC 3164 line", decode_3164),
    ("rules and alert state, a trap that is counted again", handle_traps),
    ("rules and alert state, lines of which 1 in 20 matches", handle_lines),
    ("rules and alert state, a trap that differs each time", handle_differing),
    ("all packs, mixed events", handle_all_packs),
    ("100 mixed rules, mixed events", handle_hundred),
    ("10,000 mixed rules, mixed events", handle_ten_thousand),
];

const HANDLES: usize = 4;
const HANDLE: &str = "postern_engine::alert::AlertEngine::handle";

/// The rows that are compared with each other.
const HUNDRED: usize = 8;
const TEN_THOUSAND: usize = 9;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [kind, count] = arguments.as_slice() {
        return ALL[kind.parse::<usize>().unwrap()].1(count.parse().unwrap());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind: not installed, so instructions are not counted; the Debian package is valgrind");
        return;
    }
    let recorded = recorded();
    let mut now = BTreeMap::new();
    for (kind, (name, _)) in ALL.iter().enumerate() {
        let per_event = (count(kind, MANY) - count(kind, FEW)) / (MANY - FEW) as u64;
        assert!(per_event > 0, "nothing was counted of {name}: is {HANDLE} a function of its own?");
        match recorded.get(*name) {
            Some(before) => println!("{name:<55} {per_event:>8}  recorded {before:>8}  ratio {:.3}", ratio(per_event, *before)),
            None => println!("{name:<55} {per_event:>8}"),
        }
        now.insert((*name).to_owned(), per_event);
    }
    if std::env::var_os("RECORD").is_some() {
        let text: String = now.iter().map(|(name, figure)| format!("{figure:>8}  {name}\n")).collect();
        std::fs::write(record(), text).unwrap();
        return;
    }
    let growth = |(name, figure): (&String, &u64)| Some((name.clone(), ratio(*figure, *recorded.get(name)?)));
    let grown: Vec<_> = now.iter().filter_map(growth).filter(|(_, ratio)| *ratio > MAX_GROWTH).collect();
    assert!(grown.is_empty(), "more than recorded: {grown:?}");
    let more = ratio(now[ALL[TEN_THOUSAND].0], now[ALL[HUNDRED].0]);
    assert!(more < MAX_RATIO, "10,000 rules cost {more:.2} times what 100 cost");
}

fn ratio(now: u64, before: u64) -> f64 {
    f64::from(u32::try_from(now).unwrap()) / f64::from(u32::try_from(before.max(1)).unwrap())
}

fn record() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt")
}

fn recorded() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(record()).unwrap_or_default();
    let entry = |line: &str| line.trim().split_once("  ").map(|(figure, name)| (name.to_owned(), figure.parse().unwrap()));
    text.lines().filter_map(entry).collect()
}

/// Instructions of a whole run.
fn count(kind: usize, events: usize) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("callgrind.out");
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    if kind >= HANDLES {
        command.arg(format!("--toggle-collect={HANDLE}"));
    }
    let ran = command.arg(this).arg(kind.to_string()).arg(events.to_string()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(&out).unwrap();
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: "))).unwrap();
    totals.split_whitespace().next().unwrap().parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_790_000_000)
}

fn decode_v2c(count: usize) {
    for datagram in datagrams::v2c(FEW).iter().cycle().take(count) {
        black_box(snmp::decode(black_box(datagram)).unwrap());
    }
}

fn decode_v3(count: usize) {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    let user = UserConfig {
        name: datagrams::USER.to_owned(),
        engines: Vec::new(),
        sources: vec!["127.0.0.0/8".parse().unwrap()],
        auth: Some((AuthAlgorithm::Sha256, secret(datagrams::AUTH_PASSPHRASE))),
        privacy: Some((PrivAlgorithm::Aes128, KeyExtension::Standard, secret(datagrams::PRIV_PASSPHRASE))),
        minimum: SecurityLevel::AuthPriv,
    };
    let local = LocalEngine { engine: EngineId::new(&datagrams::engine_id(99)).unwrap(), boots: 1, started: now(), salt: 7 };
    let mut usm = Usm::new(local, std::sync::Arc::new(Users::new(vec![user])));
    // The same preparation for any count, so that the difference is the receiver's work alone.
    for datagram in datagrams::v3(MANY, 0).iter().take(count) {
        let outcome = usm.process(black_box(datagram), PEER, now());
        assert!(matches!(black_box(outcome), Ok(Outcome::Notification(_))));
    }
}

fn decode_5424(count: usize) {
    let context = Context { received: now(), zone: &Zone::UTC };
    for line in datagrams::syslog(FEW).iter().cycle().take(count) {
        black_box(syslog::decode(black_box(line), &context).unwrap());
    }
}

fn decode_3164(count: usize) {
    let context = Context { received: now(), zone: &Zone::UTC };
    let line = b"<38>Nov 20 08:15:02 server-07 sshd[2210]: Accepted publickey for deploy from 192.0.2.7 port 40022 ssh2";
    for _ in 0..count {
        black_box(syslog::decode(black_box(line), &context).unwrap());
    }
}

fn event(body: Body) -> Event {
    let authenticity = Authenticity::None;
    Event { received: now(), peer: PEER, transport: Transport::Udp, authenticity, relay: None, tls_name: None, body }
}

fn handle_traps(count: usize) {
    let events =
        datagrams::v2c(FEW).iter().map(|datagram| event(Body::Notification(snmp::decode(datagram).unwrap().notification))).collect();
    handle(events, count);
}

fn handle_lines(count: usize) {
    let context = Context { received: now(), zone: &Zone::UTC };
    let events = datagrams::syslog(FEW).iter().map(|line| event(Body::Syslog(syslog::decode(line, &context).unwrap()))).collect();
    handle(events, count);
}

fn handle(events: Vec<Event>, count: usize) {
    let mut engine = AlertEngine::new(RuleIndex::built_in().unwrap());
    for event in events.iter().cycle().take(count) {
        black_box(engine.handle(black_box(event), now()));
    }
}

fn handle_differing(count: usize) {
    let events: Vec<_> = (0..MANY).map(mixture::trap_that_differs).collect();
    let mut engine = AlertEngine::new(RuleIndex::built_in().unwrap());
    handle_with(&mut engine, &events, count);
}

fn handle_all_packs(count: usize) {
    handle_with(&mut mixture::engine(&mixture::full_pack()), &mixture::events(MANY), count);
}

fn handle_hundred(count: usize) {
    handle_with(&mut mixture::engine(&serde_json::from_str(&mixture::mixed_rules(100)).unwrap()), &mixture::events(MANY), count);
}

fn handle_ten_thousand(count: usize) {
    handle_with(&mut mixture::engine(&serde_json::from_str(&mixture::mixed_rules(10_000)).unwrap()), &mixture::events(MANY), count);
}

fn handle_with(engine: &mut AlertEngine, events: &[Event], count: usize) {
    for event in events.iter().take(count) {
        black_box(engine.handle(black_box(event), now()));
    }
}
