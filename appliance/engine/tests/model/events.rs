//! What happens in a sequence, and what the rules make of each event.

use std::collections::BTreeMap;

use postern_engine::event::{Body, Event, Fields, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_protocol::alert::{AlertKey, Authenticity, Severity};
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

use crate::document::{PEERS, START, VARIANTS};
use crate::reference::Report;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A device reports.
    Event { peer: usize, what: What },
    /// A person closes one of the open alerts.
    Close { number: usize, seen: u64 },
    /// Other rules, by the number of the variant.
    Replace(usize),
    /// The gateway is stopped and started so many seconds later.
    Restart(i64),
    /// All that is open is sent again.
    Resend,
    /// Seconds pass, each with its tick.
    Wait(i64),
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// linkDown or linkUp of an interface, so many seconds late by the device's clock, if it has one.
    Link {
        up: bool,
        index: u32,
        late: Option<i64>,
    },
    AuthenticationFailure,
    Login {
        pid: u32,
    },
    Cron,
    Load(i32),
    Temperature {
        resource: usize,
        grave: bool,
    },
    NodeDown {
        resource: usize,
    },
    Alarm {
        resource: usize,
        grave: bool,
    },
    Noise,
    Clear {
        kind: &'static str,
        resource: usize,
    },
    Unmatched,
}

/// What the rules make of an event.
pub(crate) enum Outcome {
    Clear { key: AlertKey, clock: Option<i64> },
    Raise(Report),
    Suppress,
    Unmatched,
}

impl What {
    /// What the rules of `document` say about it.
    pub(crate) fn outcome(&self, peer: usize, now: i64) -> Outcome {
        let peer = PEERS[peer];
        let minor = |rule, key| Outcome::Raise(Report { rule, key, severity: Severity::Minor, peer, clock: None, number: 0.0 });
        match self {
            Self::Link { up, index, late } => {
                let (key, clock) = (key(&format!("{peer}/{index}"), "link-down", ""), late.map(|late| now - late));
                if *up {
                    return Outcome::Clear { key, clock };
                }
                Outcome::Raise(Report { rule: "trap.link", key, severity: Severity::Minor, peer, clock, number: 0.0 })
            }
            Self::AuthenticationFailure => minor("trap.auth", key(peer, "auth", "")),
            Self::Login { pid } => minor("log.login", key(peer, "login", &pid.to_string())),
            Self::Load(number) => {
                let (key, number) = (key(peer, "load", ""), f64::from(*number));
                Outcome::Raise(Report { rule: "push.load", key, severity: Severity::Minor, peer, clock: None, number })
            }
            Self::Temperature { resource, grave } => {
                let key = key(&resource_named("temp", *resource), "temp", "");
                Outcome::Raise(Report { rule: "push.temp", key, severity: severity(*grave), peer, clock: None, number: 0.0 })
            }
            Self::NodeDown { resource } => minor("push.down", key(&resource_named("node-down", *resource), "node-down", "")),
            Self::Alarm { resource, grave } => {
                let key = key(&resource_named("alarm", *resource), "alarm", "");
                Outcome::Raise(Report { rule: "push.alarm", key, severity: severity(*grave), peer, clock: None, number: 0.0 })
            }
            Self::Clear { kind, resource } => Outcome::Clear { key: key(&resource_named(kind, *resource), kind, ""), clock: None },
            Self::Noise => Outcome::Suppress,
            Self::Cron | Self::Unmatched => Outcome::Unmatched,
        }
    }

    /// The event itself.
    pub(crate) fn event(&self, peer: usize, now: i64) -> Event {
        let link = |number: u32, index: u32, late: Option<i64>| {
            let name = format!("1.3.6.1.2.1.2.2.1.1.{index}").parse().unwrap();
            let uptime = late.map_or(0, |late| u32::try_from((now - late + 1_000) * 100).unwrap());
            trap(number, uptime, vec![Varbind { name, value: Value::Integer(index.into()) }])
        };
        let raise = |kind: &str, resource: String| push(PushState::Raise, kind, resource);
        let body = match self {
            Self::Link { up, index, late } => link(if *up { 4 } else { 3 }, *index, *late),
            Self::AuthenticationFailure => trap(5, 0, vec![]),
            Self::Login { pid } => syslog("sshd", Some(pid.to_string())),
            Self::Cron => syslog("cron", None),
            Self::Unmatched => syslog("other", None),
            Self::Load(number) => {
                let fields = BTreeMap::from([("value".to_owned(), number.to_string())]);
                Body::Push(PushEvent { fields, ..raise("load", PEERS[peer].to_owned()) })
            }
            Self::Temperature { resource, grave } => {
                Body::Push(PushEvent { severity: severity(*grave), ..raise("temp", resource_named("temp", *resource)) })
            }
            Self::NodeDown { resource } => Body::Push(raise("node-down", resource_named("node-down", *resource))),
            Self::Alarm { resource, grave } => {
                Body::Push(PushEvent { severity: severity(*grave), ..raise("alarm", resource_named("alarm", *resource)) })
            }
            Self::Noise => Body::Push(raise("noise", "r".to_owned())),
            Self::Clear { kind, resource } => Body::Push(push(PushState::Clear, kind, resource_named(kind, *resource))),
        };
        Event {
            received: time(now),
            peer: PEERS[peer].parse().unwrap(),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body,
        }
    }
}

pub(crate) fn time(second: i64) -> Timestamp {
    Timestamp::from_secs(START + second)
}

fn key(resource: &str, kind: &str, qualifier: &str) -> AlertKey {
    AlertKey { resource: resource.to_owned(), kind: kind.to_owned(), qualifier: qualifier.to_owned() }
}

/// A device's name where an alert may mean that it is gone, else one of very few names.
fn resource_named(kind: &str, number: usize) -> String {
    if matches!(kind, "node-down" | "load") { PEERS[number % PEERS.len()].to_owned() } else { format!("{kind}-{number}") }
}

const fn severity(grave: bool) -> Severity {
    if grave { Severity::Major } else { Severity::Minor }
}

fn trap(number: u32, uptime: u32, varbinds: Vec<Varbind>) -> Body {
    let trap_oid = format!("1.3.6.1.6.3.1.1.5.{number}").parse().unwrap();
    Body::Notification(Notification { trap_oid, uptime, trap_address: None, engine_id: None, varbinds })
}

fn syslog(program: &str, pid: Option<String>) -> Body {
    Body::Syslog(SyslogMessage {
        facility: 4,
        severity: 6,
        program: Some(program.to_owned()),
        pid,
        fields: Fields::default(),
        message: "text".to_owned(),
        ..SyslogMessage::default()
    })
}

fn push(state: PushState, kind: &str, resource: String) -> PushEvent {
    let (qualifier, summary, fields) = (String::new(), "text".to_owned(), BTreeMap::new());
    PushEvent { state, resource, kind: kind.to_owned(), qualifier, severity: Severity::Minor, summary, fields }
}

/// Sequences: most events are of few alerts, so that they meet.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let late = prop_oneof![2 => Just(None), 2 => Just(Some(0)), 1 => (1..4_i64).prop_map(Some)];
    let what = prop_oneof![
        6 => (any::<bool>(), 1..3_u32, late).prop_map(|(up, index, late)| What::Link { up, index, late }),
        3 => Just(What::AuthenticationFailure),
        3 => (1..4_u32).prop_map(|pid| What::Login { pid }),
        1 => Just(What::Cron),
        2 => (0..40_i32).prop_map(What::Load),
        3 => (0..2_usize, any::<bool>()).prop_map(|(resource, grave)| What::Temperature { resource, grave }),
        3 => (0..3_usize).prop_map(|resource| What::NodeDown { resource }),
        8 => (0..8_usize, any::<bool>()).prop_map(|(resource, grave)| What::Alarm { resource, grave }),
        1 => Just(What::Noise),
        4 => (prop::sample::select(vec!["alarm", "node-down", "node-down", "temp", "load"]), 0..8_usize)
            .prop_map(|(kind, resource)| What::Clear { kind, resource }),
        1 => Just(What::Unmatched),
    ];
    let step = prop_oneof![
        40 => (0..PEERS.len(), what).prop_map(|(peer, what)| Step::Event { peer, what }),
        3 => (0..8_usize, 0..6_u64).prop_map(|(number, seen)| Step::Close { number, seen }),
        1 => (0..VARIANTS.len()).prop_map(Step::Replace),
        1 => (0..40_i64).prop_map(Step::Restart),
        1 => Just(Step::Resend),
        12 => (1..4_i64).prop_map(Step::Wait),
        2 => (10..25_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}
