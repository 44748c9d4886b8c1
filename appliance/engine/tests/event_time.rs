//! What is late and what is over: the sender's own clock orders reports, and silence ends alerts whose rule says so.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState, Authenticity, DecisionKind, Severity};
use postern_protocol::revision;
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

const RULES: &str = r#"{"format": 1, "rules": [
  {"id": "down", "match": {"trap": {"oid": "1.3.6.1.6.3.1.1.5.3"}}, "release": {"why": {"from": "varbind:1.3.6.1.4.1.9.2", "max_bytes": 9}},
   "then": {"raise": {"resource": "if", "kind": "down", "severity": "major", "summary": "down: {why}"}}},
  {"id": "up", "match": {"trap": {"oid": "1.3.6.1.6.3.1.1.5.4"}}, "then": {"clear": {"resource": "if", "kind": "down"}}},
  {"id": "fan", "match": {"syslog": {"regex": "fan failed"}},
   "then": {"raise": {"resource": "fan", "kind": "failed", "severity": "major", "summary": "fan"}}},
  {"id": "fan-ok", "match": {"syslog": {"regex": "fan ok"}}, "then": {"clear": {"resource": "fan", "kind": "failed"}}},
  {"id": "beat", "match": {"push": {"state": "raise"}},
   "release": {"resource": {"max_bytes": 64}},
   "then": {"raise": {"resource": "{resource}", "kind": "k", "severity": "minor", "summary": "s", "clear_after_s": 60}}}]}"#;

const DOWN: &str = "1.3.6.1.6.3.1.1.5.3";
const UP: &str = "1.3.6.1.6.3.1.1.5.4";

fn rules() -> RuleIndex {
    RuleIndex::compile(&revision::parse(RULES.as_bytes()).unwrap()).unwrap()
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

/// An engine and the time of arrival, which only goes on.
struct Rig {
    engine: AlertEngine,
    at: i64,
}

impl Rig {
    fn new() -> Self {
        Self { engine: AlertEngine::new(rules()), at: 0 }
    }

    fn hear(&mut self, peer: u8, body: Body) -> Verdict {
        self.at += 1;
        let event = Event {
            received: second(self.at),
            peer: [192, 0, 2, peer].into(),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body,
        };
        self.engine.handle(&event, second(self.at))
    }

    /// A notification of a device that runs for `uptime` seconds.
    fn trap(&mut self, peer: u8, oid: &str, uptime: u32) -> Verdict {
        self.trap_with(peer, oid, uptime, "-")
    }

    fn trap_with(&mut self, peer: u8, oid: &str, uptime: u32, why: &str) -> Verdict {
        let varbinds = vec![Varbind { name: "1.3.6.1.4.1.9.2.0".parse().unwrap(), value: Value::OctetString(why.into()) }];
        let (trap_oid, uptime) = (oid.parse().unwrap(), uptime * 100);
        self.hear(peer, Body::Notification(Notification { trap_oid, uptime, trap_address: None, engine_id: None, varbinds }))
    }

    fn line(&mut self, host: &str, message: &str, at: i64) -> Verdict {
        let (host, timestamp, message) = (Some(host.to_owned()), Some(second(at)), message.to_owned());
        self.hear(1, Body::Syslog(SyslogMessage { host, timestamp, message, ..SyslogMessage::default() }))
    }

    fn beat(&mut self) -> Verdict {
        let push = PushEvent {
            state: PushState::Raise,
            resource: "r".to_owned(),
            kind: "k".to_owned(),
            qualifier: String::new(),
            severity: Severity::Minor,
            summary: String::new(),
            fields: BTreeMap::new(),
        };
        self.hear(1, Body::Push(push))
    }

    /// The only open alert.
    #[track_caller]
    fn open(&self) -> Alert {
        let mut open: Vec<_> = self.engine.open_alerts().collect();
        assert_eq!(open.len(), 1, "{open:#?}");
        open.pop().unwrap()
    }
}

fn decisions(alert: &Alert) -> Vec<(DecisionKind, &str)> {
    alert.course.decisions.iter().map(|decision| (decision.what, decision.by.as_str())).collect()
}

#[test]
fn a_clear_that_the_next_report_overtook_ends_nothing_and_is_noted() {
    let mut rig = Rig::new();
    rig.trap(1, DOWN, 1_000);
    assert_eq!(rig.trap_with(1, DOWN, 1_020, "again"), Verdict::Updated);
    assert_eq!(rig.trap(1, UP, 1_010), Verdict::Late);
    assert_eq!(decisions(&rig.open()), [(DecisionKind::LateClear, "up")]);
    assert_eq!(rig.trap(1, UP, 1_020), Verdict::Cleared, "of two at the same time the one that arrives later is later");
    let ended = rig.engine.drain_changes().pop().unwrap();
    assert_eq!((ended.state, decisions(&ended).last().copied()), (AlertState::Cleared, Some((DecisionKind::Cleared, "up"))));
}

#[test]
fn a_report_that_its_clear_overtook_is_no_new_occurrence_over_a_restart_too() {
    let mut rig = Rig::new();
    rig.trap(1, DOWN, 1_000);
    assert_eq!(rig.trap(1, UP, 1_020), Verdict::Cleared);
    assert_eq!(rig.trap(1, DOWN, 1_010), Verdict::Late);
    rig.engine = AlertEngine::restore(rules(), &rig.engine.checkpoint()).unwrap();
    assert_eq!(rig.trap(1, DOWN, 1_010), Verdict::Late);
    assert_eq!(rig.engine.open_count(), 0);
    assert_eq!(rig.trap(1, DOWN, 1_021), Verdict::Raised);
    assert_eq!(rig.trap(1, DOWN, 1_011), Verdict::Late);
    assert_eq!((rig.open().count, decisions(&rig.open())), (1, vec![(DecisionKind::LateReport, "down")]));
}

#[test]
fn an_older_report_counts_but_what_the_newest_said_stands() {
    let mut rig = Rig::new();
    rig.trap_with(1, DOWN, 1_020, "new");
    for round in 1..4 {
        // Also when it is remembered word for word.
        assert_eq!(rig.trap_with(1, DOWN, 1_010, "old"), Verdict::Updated);
        assert_eq!((rig.open().summary.as_str(), rig.open().count), ("down: new", round + 1));
    }
    assert_eq!(rig.trap_with(1, DOWN, 1_021, "old"), Verdict::Updated);
    assert_eq!(rig.open().summary, "down: old");
}

#[test]
fn a_device_that_started_anew_and_another_device_are_heard_as_they_arrive() {
    for (peer, uptime) in [(1, 300), (2, 1_010)] {
        let mut rig = Rig::new();
        rig.trap(1, DOWN, 1_020);
        assert_eq!(rig.trap(peer, UP, uptime), Verdict::Cleared, "peer {peer} at {uptime}");
        assert_eq!(rig.trap(1, DOWN, 400), Verdict::Raised);
    }
}

#[test]
fn syslog_lines_are_ordered_by_their_time_stamps_host_by_host() {
    let mut rig = Rig::new();
    rig.line("a", "fan failed", 100);
    assert_eq!(rig.line("a", "fan ok", 90), Verdict::Late);
    // An hour behind is a clock that was set back, as at the end of summer time.
    assert_eq!(rig.line("a", "fan ok", 100 - 3_600), Verdict::Cleared);
    assert_eq!(rig.line("a", "fan failed", 105), Verdict::Raised);
    assert_eq!(rig.line("b", "fan ok", 90), Verdict::Cleared, "another host behind the same relay");
}

#[test]
fn what_is_not_reported_in_time_ends_by_itself_and_says_so() {
    let mut rig = Rig::new();
    rig.beat();
    rig.at = 40;
    rig.beat();
    rig.engine.tick(second(100));
    assert_eq!(rig.open().count, 2);
    rig.engine.tick(second(101));
    let ended = rig.engine.drain_changes().pop().unwrap();
    assert_eq!((ended.state, ended.cleared_at, ended.count), (AlertState::Cleared, Some(second(101)), 2));
    assert_eq!(decisions(&ended), [(DecisionKind::TimedOut, "beat")]);
    rig.at = 101;
    assert_eq!(rig.beat(), Verdict::Raised);
}

#[test]
fn time_in_which_the_gateway_did_not_run_ends_nothing() {
    let mut rig = Rig::new();
    rig.beat();
    let committed = rig.engine.drain_changes();
    let mut replayed = AlertEngine::new(rules());
    committed.into_iter().for_each(|alert| replayed.apply(alert));
    let restored = AlertEngine::restore(rules(), &rig.engine.checkpoint()).unwrap();
    for mut engine in [restored, replayed] {
        engine.tick(second(1_000));
        engine.tick(second(1_059));
        assert_eq!(engine.open_count(), 1);
        engine.tick(second(1_060));
        assert_eq!(engine.open_count(), 0);
    }
}
