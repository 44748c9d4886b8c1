//! A storm of traps with real faults hidden in it: each is found, little else is shown, and every trap is in exactly one figure.
//!
//! The engine with the built-in rules, as the gateway's pipeline drives it: a tick a second, a drain every thousand events. `STORM_TRAPS`
//! says how many traps (50,000; `make soak` takes a million), `STORM_SEED` which; both are printed.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test through and through")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, Notification, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Authenticity};
use postern_protocol::oid::Oid;
use postern_protocol::timestamp::Timestamp;

const SOURCES: u64 = 5_000;
const FAULTS: usize = 50;

/// How long the traps come, and when it has certainly been quiet for long: a minute's window, and five minutes of quiet.
const STORM_S: u64 = 280;
const QUIET_S: u64 = 400;

/// Events between two commits of the pipeline.
const COMMIT: u64 = 1_000;

/// The most that engine and records may need: 32,768 traps are remembered word for word, 60,000 alerts are open.
const MAX_BYTES: usize = 160 << 20;

/// Notifications that tell of a fault, and the kinds of their alerts.
const RARE: [(&str, &str); 10] = [
    ("1.3.6.1.4.1.9.9.13.3.0.3", "temperature-high"),
    ("1.3.6.1.4.1.9.9.13.3.0.4", "fan-failed"),
    ("1.3.6.1.4.1.9.9.13.3.0.5", "power-supply-failed"),
    ("1.3.6.1.4.1.9.9.48.2.0.1", "memory-low"),
    ("1.3.6.1.4.1.9.9.500.0.0.6", "stack-member-removed"),
    ("1.3.6.1.4.1.318.0.5", "ups-on-battery"),
    ("1.3.6.1.4.1.318.0.17", "ups-battery-bad"),
    ("1.3.6.1.4.1.318.0.51", "ups-charger-failed"),
    ("1.3.6.1.2.1.15.7.2", "bgp-peer-down"),
    ("1.3.6.1.6.3.1.1.5.6", "egp-neighbour-loss"),
];

/// Xorshift (Marsaglia 2003): the same seed, the same storm.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn source(number: u64) -> IpAddr {
    let number = u32::try_from(number).unwrap();
    Ipv4Addr::from_bits(0x0a00_0000 + number * 7).into()
}

fn trap(source: IpAddr, oid: &Oid, varbinds: Vec<Varbind>, received: Timestamp) -> Event {
    Event {
        received,
        peer: source,
        transport: Transport::Udp,
        authenticity: Authenticity::Community,
        relay: None,
        tls_name: None,
        body: Body::Notification(Notification { trap_oid: oid.clone(), uptime: 0, trap_address: None, engine_id: None, varbinds }),
    }
}

/// Names of what is noise.
struct Noise {
    link: [Oid; 2],
    index: Vec<Oid>,
    authentication_failure: Oid,
    configuration_changed: Oid,
    unknown: Vec<Oid>,
}

impl Noise {
    fn new() -> Self {
        let oid = |text: &str| text.parse().unwrap();
        Self {
            link: [oid("1.3.6.1.6.3.1.1.5.3"), oid("1.3.6.1.6.3.1.1.5.4")],
            index: (1..=4).map(|index| oid(&format!("1.3.6.1.2.1.2.2.1.1.{index}"))).collect(),
            authentication_failure: oid("1.3.6.1.6.3.1.1.5.5"),
            configuration_changed: oid("1.3.6.1.4.1.9.9.43.2.0.1"),
            unknown: (1..=5).map(|number| oid(&format!("1.3.6.1.4.1.99999.1.0.{number}"))).collect(),
        }
    }

    fn event(&self, random: &mut Random, now: Timestamp) -> Event {
        let source = source(random.below(SOURCES));
        match random.below(100) {
            0..50 => {
                let index = random.below(4);
                let value = Value::Integer(i64::try_from(index).unwrap() + 1);
                let varbinds = vec![Varbind { name: self.index[usize::try_from(index).unwrap()].clone(), value }];
                trap(source, &self.link[usize::try_from(random.below(2)).unwrap()], varbinds, now)
            }
            50..75 => trap(source, &self.authentication_failure, vec![], now),
            75..90 => trap(source, &self.configuration_changed, vec![], now),
            _ => trap(source, &self.unknown[usize::try_from(random.below(5)).unwrap()], vec![], now),
        }
    }
}

/// What others know by the records.
#[derive(Default)]
struct Known {
    open: BTreeMap<AlertKey, Alert>,
    /// Reports of occurrences that ended, storms' own not counted.
    ended_reports: u64,
}

impl Known {
    fn take(&mut self, records: Vec<Alert>) {
        for alert in records {
            if alert.state == AlertState::Open {
                self.open.insert(alert.key.clone(), alert);
                continue;
            }
            self.open.remove(&alert.key);
            self.ended_reports += if alert.key.kind == "storm" { 0 } else { alert.count };
        }
    }

    fn shown(&self) -> Vec<&Alert> {
        self.open.values().filter(|alert| alert.course.parent.is_none() && alert.course.suppressed.is_none()).collect()
    }
}

#[test]
fn every_fault_in_a_storm_is_found_and_little_else_is_shown() {
    let (traps, seed) = (variable("STORM_TRAPS", 50_000), variable("STORM_SEED", 20_261_122));
    println!("STORM_TRAPS={traps} STORM_SEED={seed}");
    let mut random = Random(seed | 1);
    let noise = Noise::new();
    let mut engine = AlertEngine::new(RuleIndex::built_in().unwrap());
    // Where the faults are: at which trap, and of which device.
    let mut faults = BTreeMap::new();
    let mut devices = BTreeSet::new();
    while faults.len() < FAULTS {
        let device = random.below(SOURCES);
        if devices.insert(device) {
            faults.entry(random.below(traps)).or_insert((source(device), RARE[devices.len() % RARE.len()]));
        }
    }
    let before = resident_bytes();
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    let mut known = Known::default();
    let (mut second, mut peak, mut most_shown) = (0, 0, 0);
    let started = Instant::now();
    let mut handled = 0;
    for number in 0..traps {
        let nanos = i64::try_from(u128::from(number) * u128::from(STORM_S) * 1_000_000_000 / u128::from(traps)).unwrap();
        let now = Timestamp::from_nanos(Timestamp::from_secs(1_800_000_000).as_nanos() + nanos);
        if nanos / 1_000_000_000 != second {
            second = nanos / 1_000_000_000;
            engine.tick(now);
            known.take(engine.drain_changes());
            most_shown = most_shown.max(known.shown().len());
        }
        let fault = faults.get(&number).map(|(device, (oid, _))| trap(*device, &oid.parse().unwrap(), vec![], now));
        for event in fault.into_iter().chain([noise.event(&mut random, now)]) {
            *verdicts.entry(format!("{:?}", engine.handle(&event, now))).or_default() += 1;
            handled += 1;
        }
        if number % COMMIT == 0 {
            known.take(engine.drain_changes());
            peak = peak.max(resident_bytes().saturating_sub(before));
        }
    }
    let took = started.elapsed();
    known.take(engine.drain_changes());

    // Every fault is shown, once.
    for (device, (_, kind)) in faults.values() {
        let found = known.shown().iter().filter(|alert| alert.key.kind == *kind && alert.evidence.peer == device.to_string()).count();
        assert_eq!(found, 1, "{kind} of {device} is shown {found} times");
    }
    // Besides, only storms are.
    let (storms, others): (Vec<_>, Vec<_>) = known.shown().into_iter().partition(|alert| alert.key.kind == "storm");
    assert_eq!(others.len(), FAULTS, "{:#?}", others.iter().map(|alert| &alert.key).collect::<Vec<_>>());
    assert!(!storms.is_empty());
    for storm in &storms {
        println!("shown: {}", storm.summary);
    }
    // Each trap is in one figure, and in one alert if it is a report.
    let count = |verdict: Verdict| verdicts.get(&format!("{verdict:?}")).copied().unwrap_or(0);
    assert_eq!(handled, traps + FAULTS as u64);
    assert_eq!(verdicts.values().sum::<u64>(), handled);
    let figures = engine.figures();
    let wanted = [Verdict::Raised, Verdict::Updated, Verdict::Cleared, Verdict::Held, Verdict::Suppressed, Verdict::Unmatched].map(count);
    assert_eq!([figures.raised, figures.updated, figures.cleared, figures.held, figures.suppressed, figures.unmatched], wanted);
    assert_eq!(figures.rules.iter().map(|rule| rule.matched).sum::<u64>(), handled, "one rule for each");
    assert_eq!(count(Verdict::TableFull) + count(Verdict::Unmatched) + count(Verdict::Late), 0);
    let reports = known.open.values().filter(|alert| alert.key.kind != "storm").map(|alert| alert.count).sum::<u64>() + known.ended_reports;
    assert_eq!(reports, count(Verdict::Raised) + count(Verdict::Updated), "what alerts count is what was reported");
    assert_eq!(known.open, engine.open_alerts().map(|alert| (alert.key.clone(), alert)).collect());
    let mib = peak as f64 / f64::from(1 << 20);
    println!("{handled} traps in {:.1} s: {verdicts:?}", took.as_secs_f64());
    println!("{} open, {} shown at the end, at most {most_shown}; {mib:.0} MiB at most", known.open.len(), known.shown().len());
    assert!(peak <= MAX_BYTES, "{mib:.0} MiB");

    // Once it is quiet, what is still open stays folded: no screen fills with what nobody cleared.
    let end = Timestamp::from_secs(1_800_000_000 + i64::try_from(STORM_S).unwrap());
    for second in 0..QUIET_S {
        engine.tick(end.saturating_add(std::time::Duration::from_secs(second)));
    }
    known.take(engine.drain_changes());
    let storms = known.shown().iter().filter(|alert| alert.key.kind == "storm").count();
    assert!(storms > 0 && known.shown().len() <= FAULTS + storms, "{} shown, {storms} storms", known.shown().len());
    for storm in known.shown().iter().filter(|alert| alert.key.kind == "storm") {
        println!("lasts: {}", storm.summary);
    }
    println!("{QUIET_S} s later: {} open, {} shown", known.open.len(), known.shown().len());
}

/// Bytes of this process that are in memory, as `/proc/self/statm` says.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
