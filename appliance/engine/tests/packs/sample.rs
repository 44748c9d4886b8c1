//! A test event as the files have it.

use std::collections::BTreeMap;

use postern_engine::event::{Body, Event, Notification, PushEvent, Transport, Value, Varbind};
use postern_engine::syslog::{self, Context};
use postern_protocol::alert::{Authenticity, Severity};
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

/// One test event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    /// The rule that it is for.
    pub(crate) rule: String,
    /// An SNMP notification.
    trap: Option<Trap>,
    /// A syslog line, with its PRI.
    syslog: Option<String>,
    /// A push.
    push: Option<Push>,
    /// How often it comes, a second apart; once when left out.
    #[serde(default)]
    pub(crate) times: u32,
    /// What comes before: the event that a clear ends.
    pub(crate) after: Option<Box<Sample>>,
    /// The alert that it opens.
    pub(crate) raises: Option<Wanted>,
    /// The alert that it ends.
    pub(crate) clears: Option<Wanted>,
}

/// The alert that is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) resource: String,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) qualifier: String,
    pub(crate) severity: Option<Severity>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trap {
    oid: String,
    /// Name, type (`int`, `text`, `hex`, `oid`, `ip`, `gauge`, `counter`, `ticks`) and value.
    #[serde(default)]
    varbinds: Vec<(String, String, serde_json::Value)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    state: PushState,
    resource: String,
    kind: String,
    #[serde(default)]
    qualifier: String,
    severity: Severity,
}

impl Sample {
    /// Returns the event, from 192.0.2.7, received at `now`.
    pub(crate) fn event(&self, now: Timestamp) -> Event {
        let body = match (&self.trap, &self.syslog, &self.push) {
            (Some(trap), None, None) => Body::Notification(trap.notification(now)),
            (None, Some(line), None) => Body::Syslog(syslog::decode(line.as_bytes(), &Context::utc(now)).expect("a line")),
            (None, None, Some(push)) => Body::Push(push.event()),
            _ => panic!("{}: one of trap, syslog and push", self.rule),
        };
        Event {
            received: now,
            peer: [192, 0, 2, 7].into(),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body,
        }
    }
}

impl Trap {
    fn notification(&self, now: Timestamp) -> Notification {
        let varbinds =
            self.varbinds.iter().map(|(name, kind, value)| Varbind { name: name.parse().expect(name), value: typed(kind, value) });
        Notification {
            trap_oid: self.oid.parse().expect(&self.oid),
            // Its agent has been up for as long as there were seconds.
            uptime: u32::try_from(now.as_secs() % 10_000_000).expect("small") * 100,
            trap_address: None,
            engine_id: None,
            varbinds: varbinds.collect(),
        }
    }
}

impl Push {
    fn event(&self) -> PushEvent {
        PushEvent {
            state: self.state,
            resource: self.resource.clone(),
            kind: self.kind.clone(),
            qualifier: self.qualifier.clone(),
            severity: self.severity,
            summary: "what happened".to_owned(),
            fields: BTreeMap::new(),
        }
    }
}

fn typed(kind: &str, value: &serde_json::Value) -> Value {
    let number = || value.as_u64().and_then(|number| u32::try_from(number).ok()).expect("a number");
    let text = || value.as_str().expect("a text");
    match kind {
        "int" => Value::Integer(value.as_i64().expect("a number")),
        "text" => Value::OctetString(text().as_bytes().to_vec()),
        "hex" => Value::OctetString(text().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()),
        "oid" => Value::Oid(text().parse().expect("an OID")),
        "ip" => Value::IpAddress(text().parse().expect("an address")),
        "gauge" => Value::Gauge32(number()),
        "counter" => Value::Counter32(number()),
        "ticks" => Value::TimeTicks(number()),
        other => panic!("{other} is no type"),
    }
}
