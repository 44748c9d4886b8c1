//! Mixed rules and mixed events, for what the engine costs.

use std::net::{IpAddr, Ipv4Addr};

use postern_engine::alert::AlertEngine;
use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_engine::syslog::{self, Context, Zone};
use postern_protocol::alert::{Authenticity, Severity};
use postern_protocol::oid::Oid;
use postern_protocol::revision::document::{Document, PushState};
use postern_protocol::revision::pack;
use postern_protocol::timestamp::Timestamp;

const LINK_DOWN: &str = "1.3.6.1.6.3.1.1.5.3";
const UPS_ON_BATTERY: &str = "1.3.6.1.2.1.33.2.1";

/// Devices that report.
const DEVICES: usize = 40;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(1_790_000_000)
}

/// A document with the newest version of every pack, the catch-alls last.
pub(crate) fn full_pack() -> Document {
    let mut newest: Vec<(&str, u32)> = Vec::new();
    for (id, version) in pack::known() {
        match newest.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => *known = version.max(*known),
            None => newest.push((id, version)),
        }
    }
    newest.sort_by_key(|(id, _)| *id == "catch-all");
    let packs: Vec<_> = newest.iter().map(|(id, version)| format!(r#"{{"id": "{id}", "version": {version}}}"#)).collect();
    serde_json::from_str(&format!(r#"{{"format": 1, "rules": [], "packs": [{}]}}"#, packs.join(","))).unwrap()
}

/// A document with `count` rules of mixed kinds, of which those of two packs are the last.
pub(crate) fn mixed_rules(count: usize) -> String {
    let document = |rules: &[String]| {
        let packs = r#"[{"id": "ietf", "version": 1}, {"id": "catch-all", "version": 1}]"#;
        format!(r#"{{"format": 1, "rules": [{}], "packs": {packs}}}"#, rules.join(","))
    };
    let of_packs = pack::rules(&serde_json::from_str(&document(&[])).unwrap()).unwrap().len();
    document(&(0..count - of_packs).map(rule).collect::<Vec<_>>())
}

fn rule(n: usize) -> String {
    let (vendor, device) = (50_000 + n % 300, format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256));
    // Without spaces, so that ten thousand fit into a document.
    let matcher = match n % 10 {
        0 => format!(r#"{{"trap":{{"oid":"1.3.6.1.4.1.{vendor}.0.{n}"}}}}"#),
        1 => format!(r#"{{"trap":{{"prefix":"1.3.6.1.4.1.{vendor}.{n}"}}}}"#),
        2 => format!(r#"{{"trap":{{"oid":"{LINK_DOWN}","sources":["{device}"]}}}}"#),
        3 => format!(r#"{{"trap":{{"oid":"1.3.6.1.4.1.{vendor}.0.1","varbinds":[{{"oid":"1.3.6.1.4.1.{vendor}.1","equals":"{n}"}}]}}}}"#),
        4 => format!(r#"{{"syslog":{{"programs":["service-{}"],"regex":"worker {n} (?P<what>\\w+) failed"}}}}"#, n % 100),
        5 => format!(r#"{{"syslog":{{"regex":"(?P<unit>\\w+) of volume-{n} is (?:degraded|offline)"}}}}"#),
        6 => format!(r#"{{"syslog":{{"hosts":["host-{n}"],"max_severity":3}}}}"#),
        7 => format!(r#"{{"syslog":{{"msgids":["MSG-{n}"]}}}}"#),
        8 => format!(r#"{{"syslog":{{"fields":{{"logid":"{n}"}}}}}}"#),
        _ => format!(r#"{{"push":{{"kinds":["kind-{n}"]}}}}"#),
    };
    let then = r#"{"raise":{"resource":"{source}","kind":"k","severity":"minor","summary":"s"}}"#;
    format!(r#"{{"id":"r{n}","match":{matcher},"release":{{"source":{{"max_bytes":64}}}},"then":{then}}}"#)
}

/// Events as a site has them: of ten, two traps that are counted again, two that differ each time, five lines of which one in ten
/// matches a rule, and a push.
pub(crate) fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|n| match n % 10 {
            0 | 5 => link_down(n),
            1 | 6 => trap_that_differs(n),
            9 => push(n),
            _ => line(n),
        })
        .collect()
}

/// A trap that came before, word for word.
pub(crate) fn link_down(n: usize) -> Event {
    let port = i64::try_from(n / 5 % 20 + 1).unwrap();
    let column = |column: u32| varbind(&format!("1.3.6.1.2.1.2.2.1.{column}.{port}"), Value::Integer(port));
    event(n, Body::Notification(notification(LINK_DOWN, vec![column(1), column(7), column(8)])))
}

/// A trap of an alert that is open, with another text and number each time.
pub(crate) fn trap_that_differs(n: usize) -> Event {
    let number = i32::try_from(n).unwrap();
    let varbinds = vec![
        varbind("1.3.6.1.2.1.33.1.2.3.0", Value::Integer(number.into())),
        varbind("1.3.6.1.2.1.33.1.2.2.0", Value::Integer(i64::from(number) + 1)),
        varbind("1.3.6.1.2.1.33.1.9.7.0", Value::Integer(2)),
    ];
    event(n, Body::Notification(notification(UPS_ON_BATTERY, varbinds)))
}

fn line(n: usize) -> Event {
    let host = n % DEVICES;
    let text = if (n / 5).is_multiple_of(10) {
        format!(
            "<3>1 2026-11-20T08:15:00.000001+01:00 server-{host:02} kernel - - - disk sda1: I/O error, dev sda, sector {n} op 0x0:(READ)"
        )
    } else {
        let (address, port) = (n % 250, 40_000 + n % 20_000);
        format!(
            "<38>1 2026-11-20T08:15:00.000001+01:00 server-{host:02} sshd {} - - Accepted publickey for deploy from 192.0.2.{address} port \
             {port} ssh2: ED25519 SHA256:0123456789abcdef",
            1_000 + n % 7_000
        )
    };
    let message: SyslogMessage = syslog::decode(text.as_bytes(), &Context { received: now(), zone: &Zone::UTC }).unwrap();
    event(n, Body::Syslog(message))
}

fn push(n: usize) -> Event {
    let push = PushEvent {
        state: PushState::Raise,
        resource: format!("agent-{}", n % DEVICES),
        kind: "disk-full".to_owned(),
        qualifier: "/var".to_owned(),
        severity: Severity::Minor,
        summary: format!("{} % used", n % 100),
        fields: std::collections::BTreeMap::new(),
    };
    event(n, Body::Push(push))
}

fn notification(oid: &str, varbinds: Vec<Varbind>) -> Notification {
    Notification { trap_oid: oid.parse::<Oid>().unwrap(), uptime: 1, trap_address: None, engine_id: None, varbinds }
}

fn varbind(oid: &str, value: Value) -> Varbind {
    Varbind { name: oid.parse::<Oid>().unwrap(), value }
}

fn event(n: usize, body: Body) -> Event {
    let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(n / 7 % DEVICES).unwrap()));
    Event { received: now(), peer, transport: Transport::Udp, authenticity: Authenticity::None, relay: None, tls_name: None, body }
}

/// Compiles a document that needs no check.
pub(crate) fn engine(document: &Document) -> AlertEngine {
    AlertEngine::new(RuleIndex::compile(document).unwrap_or_else(|problems| panic!("{problems:#?}")))
}
