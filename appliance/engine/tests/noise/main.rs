//! Noise control as the engine does it: what becomes of alerts when events, ticks, restarts and other rules come together.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod dependency;
mod flap;
mod limits;
mod silence;
mod storm;
mod together;
mod window;

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey, Authenticity, DecisionKind, Severity};
use postern_protocol::revision;
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

/// Rules that take a pushed event's word for everything, with `sections` of the document.
fn rules(raise: &str, sections: &str) -> RuleIndex {
    let release = r#"{"resource": {"max_bytes": 64}, "kind": {"max_bytes": 64}, "summary": {"max_bytes": 64}}"#;
    let document = format!(
        r#"{{"format": 1, {sections} "rules": [
            {{"id": "push.raise", "match": {{"push": {{"state": "raise"}}}}, "release": {release}, "tags": ["pushed"], {raise}
              "then": {{"raise": {{"resource": "{{resource}}", "kind": "{{kind}}", "severity": "major", "summary": "{{summary}}"}}}}}},
            {{"id": "push.clear", "match": {{"push": {{"state": "clear"}}}}, "release": {release},
              "then": {{"clear": {{"resource": "{{resource}}", "kind": "{{kind}}"}}}}}}]}}"#
    );
    RuleIndex::compile(&revision::parse(document.as_bytes()).unwrap()).unwrap()
}

/// An engine with its clock, in seconds, and all that was drained.
struct Bench {
    engine: AlertEngine,
    now: i64,
    drained: Vec<Alert>,
}

const START: i64 = 1_800_000_000;

fn second(second: i64) -> Timestamp {
    Timestamp::from_secs(START + second)
}

fn utc(text: &str) -> i64 {
    postern_protocol::revision::window_time::instant(text).unwrap().as_secs() - START
}

fn key(resource: &str, kind: &str) -> AlertKey {
    AlertKey { resource: resource.to_owned(), kind: kind.to_owned(), qualifier: String::new() }
}

fn storm(resource: &str, kind: &str) -> AlertKey {
    AlertKey { resource: resource.to_owned(), kind: "storm".to_owned(), qualifier: kind.to_owned() }
}

impl Bench {
    fn new(raise: &str, sections: &str) -> Self {
        Self { engine: AlertEngine::new(rules(raise, sections)), now: 0, drained: Vec::new() }
    }

    /// Lets time pass, a tick every second.
    fn until(&mut self, until: i64) -> &mut Self {
        while self.now < until {
            self.now += 1;
            self.engine.tick(second(self.now));
            self.drain();
        }
        self
    }

    /// The gateway is down until then: nothing ticks.
    fn down_until(&mut self, until: i64, rules: RuleIndex) -> &mut Self {
        self.engine = AlertEngine::restore(rules, &self.engine.checkpoint()).unwrap();
        self.now = until;
        self
    }

    fn drain(&mut self) {
        self.drained.extend(self.engine.drain_changes());
    }

    fn push(&mut self, source: u8, (resource, kind): (&str, &str), state: PushState) -> Verdict {
        let event = Event {
            received: second(self.now),
            peer: [192, 0, 2, source].into(),
            transport: Transport::Tcp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body: Body::Push(PushEvent {
                state,
                resource: resource.to_owned(),
                kind: kind.to_owned(),
                qualifier: String::new(),
                severity: Severity::Minor,
                summary: "text".to_owned(),
                fields: BTreeMap::new(),
            }),
        };
        let verdict = self.engine.handle(&event, second(self.now));
        self.drain();
        verdict
    }

    fn raise(&mut self, source: u8, resource: &str, kind: &str) -> Verdict {
        self.push(source, (resource, kind), PushState::Raise)
    }

    fn clear(&mut self, source: u8, resource: &str, kind: &str) -> Verdict {
        self.push(source, (resource, kind), PushState::Clear)
    }

    /// The newest record of an alert that was drained.
    #[track_caller]
    fn alert(&self, key: &AlertKey) -> &Alert {
        self.drained.iter().rev().find(|alert| alert.key == *key).unwrap()
    }

    fn is_open(&self, key: &AlertKey) -> bool {
        self.engine.open_alerts().any(|alert| alert.key == *key)
    }

    fn parent(&self, key: &AlertKey) -> Option<AlertKey> {
        self.engine.open_alerts().find(|alert| alert.key == *key).and_then(|alert| alert.course.parent)
    }

    /// Keys of open alerts that nothing folds or keeps quiet.
    fn shown(&self) -> Vec<String> {
        let shown = |alert: &Alert| alert.course.parent.is_none() && alert.course.suppressed.is_none();
        let name = |alert: Alert| format!("{} {} {}", alert.key.resource, alert.key.kind, alert.key.qualifier).trim_end().to_owned();
        let mut names: Vec<_> = self.engine.open_alerts().filter(shown).map(name).collect();
        names.sort();
        names
    }

    fn decisions(&self, key: &AlertKey) -> Vec<DecisionKind> {
        self.alert(key).course.decisions.iter().map(|decision| decision.what).collect()
    }
}

const STORM: &str = r#""noise": {"storm": {"per_source": 5, "per_gateway": 12, "within_s": 60, "quiet_s": 120}},"#;

const RACK: &str = r#""dependencies": [{"id": "rack", "parent": "sw-1", "children": {"networks": ["192.0.2.0/25"]}, "before_s": 30}],"#;

const SILENCE: &str = r#""silences": [{"id": "alive", "of": {"networks": ["192.0.2.0/25"]}, "every_s": 60}],"#;

/// linkDown (3) or linkUp (4) of one interface.
fn trap(number: u32, source: u8, at: i64) -> Event {
    Event {
        received: second(at),
        peer: [192, 0, 2, source].into(),
        transport: Transport::Udp,
        authenticity: Authenticity::Community,
        relay: None,
        tls_name: None,
        body: Body::Notification(Notification {
            trap_oid: format!("1.3.6.1.6.3.1.1.5.{number}").parse().unwrap(),
            uptime: 0,
            trap_address: None,
            engine_id: None,
            varbinds: vec![Varbind { name: "1.3.6.1.2.1.2.2.1.1.7".parse().unwrap(), value: Value::Integer(7) }],
        }),
    }
}
