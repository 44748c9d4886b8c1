//! What the built-in rules make of real notifications, log lines and pushes, and what they never let out.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod logs;
mod traps;

use std::collections::BTreeMap;
use std::sync::Arc;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, Authenticity, Severity};
use postern_protocol::dictionary::{Dictionary, built_in};
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct Rig(AlertEngine);

impl Rig {
    fn new() -> Self {
        let mut engine = AlertEngine::new(RuleIndex::built_in().unwrap_or_else(|problems| panic!("{problems:#?}")));
        engine.replace_dictionary(Arc::new(Dictionary::new(vec![Arc::new(built_in::table())])));
        Self(engine)
    }

    fn handle(&mut self, body: Body) -> Verdict {
        let event = Event {
            received: NOW,
            peer: [10, 0, 0, 7].into(),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body,
        };
        self.0.handle(&event, NOW)
    }

    fn trap(&mut self, oid: &str, varbinds: &[(&str, Value)]) -> Verdict {
        self.handle(trap(oid, varbinds))
    }

    fn syslog(&mut self, program: &str, severity: u8, message: &str) -> Verdict {
        self.handle(syslog(program, severity, message))
    }

    /// The one alert that is open.
    #[track_caller]
    fn alert(&self) -> Alert {
        let open: Vec<_> = self.0.open_alerts().collect();
        assert_eq!(open.len(), 1, "{open:#?}");
        (*open.first().unwrap()).clone()
    }

    /// Resource, kind and qualifier of the one open alert.
    #[track_caller]
    fn key(&self) -> [String; 3] {
        let key = self.alert().key;
        [key.resource, key.kind, key.qualifier]
    }
}

fn trap(oid: &str, varbinds: &[(&str, Value)]) -> Body {
    let varbinds = varbinds.iter().map(|(name, value)| Varbind { name: name.parse().unwrap(), value: value.clone() }).collect();
    Body::Notification(Notification { trap_oid: oid.parse().unwrap(), uptime: 1, trap_address: None, engine_id: None, varbinds })
}

fn syslog(program: &str, severity: u8, message: &str) -> Body {
    Body::Syslog(SyslogMessage {
        facility: if program == "kernel" { 0 } else { 10 },
        severity,
        pri_present: true,
        host: Some("db1".to_owned()),
        program: Some(program.to_owned()),
        message: message.to_owned(),
        ..SyslogMessage::default()
    })
}

fn text(text: &str) -> Value {
    Value::OctetString(text.as_bytes().to_vec())
}

fn oid(text: &str) -> Value {
    Value::Oid(text.parse().unwrap())
}

#[test]
fn pushes_raise_and_clear() {
    let mut rig = Rig::new();
    let push = |state| {
        Body::Push(PushEvent {
            state,
            resource: "sensor-1".to_owned(),
            kind: "too-hot".to_owned(),
            qualifier: "inlet".to_owned(),
            severity: Severity::Warning,
            summary: "SECRET".to_owned(),
            fields: BTreeMap::from([("a".to_owned(), "SECRET".to_owned())]),
        })
    };
    assert_eq!(rig.handle(push(PushState::Raise)), Verdict::Raised);
    let alert = rig.alert();
    assert_eq!(rig.key(), ["sensor-1", "too-hot", "inlet"]);
    assert_eq!((alert.severity, alert.summary.as_str()), (Severity::Warning, "too-hot on sensor-1"));
    assert!(!format!("{alert:?}").contains("SECRET"));
    assert_eq!(rig.handle(push(PushState::Clear)), Verdict::Cleared);
}

#[test]
fn a_push_without_a_qualifier_makes_an_alert_without_one() {
    let mut rig = Rig::new();
    let event = PushEvent {
        state: PushState::Raise,
        resource: "sensor-1".to_owned(),
        kind: "too-hot".to_owned(),
        qualifier: String::new(),
        severity: Severity::Warning,
        summary: String::new(),
        fields: BTreeMap::new(),
    };
    assert_eq!(rig.handle(Body::Push(event)), Verdict::Raised);
    assert_eq!(rig.key(), ["sensor-1", "too-hot", ""]);
}

#[test]
fn a_mark_in_text_that_no_rule_releases_never_comes_out() {
    const MARK: &str = "MARK7f3a";
    let mut rig = Rig::new();
    let document = postern_protocol::revision::parse(postern_protocol::revision::BUILT_IN.as_bytes()).unwrap();
    // Every OID that a rule names, each with a marked varbind that no rule releases.
    for postern_protocol::revision::pack::Meant { rule, .. } in postern_protocol::revision::pack::rules(&document).unwrap() {
        if let postern_protocol::revision::document::Matcher::Trap(matcher) = &rule.matcher {
            let oid =
                matcher.oid.clone().or_else(|| matcher.prefix.as_ref().map(|prefix| format!("{prefix}.1"))).unwrap_or("1.3.9".to_owned());
            rig.trap(&oid, &[("1.3.6.1.4.1.9999.1.0", text(MARK)), ("1.3.6.1.2.1.1.5.0", text(MARK))]);
        }
    }
    for severity in 0..=7 {
        for message in [
            MARK.to_owned(),
            format!("No space left on device: {MARK}"),
            format!("Failed password for {MARK} from 10.0.0.1 port 1 ssh2"),
            format!("oom-kill {MARK}"),
        ] {
            rig.syslog("sshd", severity, &message);
            rig.syslog("kernel", severity, &message);
        }
    }
    let changes = rig.0.drain_changes();
    assert!(changes.len() > 25, "the rules were at work");
    for alert in changes {
        let encoded = alert.encode();
        let found = encoded.windows(MARK.len()).any(|window| window == MARK.as_bytes());
        assert!(!found, "{alert:#?}");
    }
}

#[test]
fn evidence_names_the_sender_and_a_claim_that_differs() {
    let mut rig = Rig::new();
    let Body::Notification(notification) = trap("1.3.6.1.6.3.1.1.5.1", &[]) else { panic!("a trap") };
    rig.handle(Body::Notification(Notification { trap_address: Some([192, 0, 2, 9].into()), ..notification }));
    let evidence = rig.alert().evidence;
    assert_eq!((evidence.peer.as_str(), evidence.trap_address.as_str(), evidence.conflict), ("10.0.0.7", "192.0.2.9", true));
    assert_eq!((evidence.chosen_by.as_str(), evidence.transport.as_str()), ("peer", "udp"));

    let mut rig = Rig::new();
    let Body::Syslog(message) = syslog("nginx", 3, "x") else { panic!("a message") };
    rig.handle(Body::Syslog(SyslogMessage { host: Some("10.9.9.9".to_owned()), ..message }));
    let evidence = rig.alert().evidence;
    assert_eq!((evidence.hostname.as_str(), evidence.chosen_by.as_str(), evidence.conflict), ("10.9.9.9", "hostname", true));
}

#[test]
fn the_longest_alert_fits_a_record() {
    let mut rig = Rig::new();
    let long = "ü".repeat(5_000);
    rig.handle(Body::Syslog(SyslogMessage { host: Some(long.clone()), program: Some(long), severity: 1, ..SyslogMessage::default() }));
    let alert = rig.alert();
    assert_eq!(Alert::decode(&alert.encode()).expect("a record"), alert);
}
