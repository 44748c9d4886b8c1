//! Noise control as the engine does it: what becomes of alerts when events, ticks, restarts and other rules come together.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, OWN_RESOURCE, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Authenticity, DecisionKind, Severity};
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
        self.drained.iter().rev().find(|alert| alert.key == *key).unwrap_or_else(|| panic!("no record of {key:?}"))
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

// Thresholds and rates.

#[test]
fn a_threshold_holds_reports_back_and_counts_them_when_it_is_reached() {
    let mut bench = Bench::new(r#""threshold": {"count": 3, "within_s": 60},"#, "");
    assert_eq!(bench.raise(1, "r", "k"), Verdict::Held);
    bench.until(30);
    assert_eq!(bench.raise(1, "r", "k"), Verdict::Held);
    assert_eq!(bench.drained, []);
    bench.until(60);
    assert_eq!(bench.raise(1, "r", "k"), Verdict::Raised);
    bench.until(200);
    assert_eq!(bench.raise(1, "r", "k"), Verdict::Updated, "what is open is not held back");
    let alert = bench.alert(&key("r", "k"));
    assert_eq!((alert.count, alert.first_seen, alert.last_seen), (4, second(0), second(200)));
    assert_eq!(bench.decisions(&key("r", "k")), [DecisionKind::ThresholdReached]);
    assert_eq!(bench.engine.figures().held, 2);
}

#[test]
fn a_threshold_counts_on_after_a_restart() {
    let raise = r#""threshold": {"count": 3, "within_s": 60},"#;
    let mut bench = Bench::new(raise, "");
    bench.raise(1, "r", "k");
    bench.raise(1, "r", "k");
    bench.down_until(50, rules(raise, ""));
    assert_eq!(bench.raise(1, "r", "k"), Verdict::Raised);
    assert_eq!(bench.alert(&key("r", "k")).count, 3);
}

#[test]
fn a_source_s_reports_of_different_alerts_reach_its_threshold_together() {
    let mut bench = Bench::new(r#""threshold": {"count": 3, "within_s": 60, "per": "source"},"#, "");
    assert_eq!(bench.raise(1, "a", "login"), Verdict::Held);
    assert_eq!(bench.raise(2, "b", "login"), Verdict::Held, "another source");
    assert_eq!(bench.raise(1, "c", "login"), Verdict::Held);
    assert_eq!(bench.raise(1, "d", "login"), Verdict::Raised);
    assert_eq!(bench.shown(), ["d login"]);
}

#[test]
fn a_number_that_grows_too_fast_raises() {
    let document = r#"{"format": 1, "rules": [{"id": "errors", "match": {"push": {}},
        "release": {"resource": {"max_bytes": 9}, "errors": {"from": "field:errors", "max_bytes": 9}},
        "rate": {"of": "errors", "per_s": 60, "above": 100},
        "then": {"raise": {"resource": "{resource}", "kind": "errors", "severity": "minor", "summary": "{errors}"}}}]}"#;
    let mut engine = AlertEngine::new(RuleIndex::compile(&revision::parse(document.as_bytes()).unwrap()).unwrap());
    let mut report = |at: i64, errors: &str| {
        let body = PushEvent {
            state: PushState::Raise,
            resource: "r".to_owned(),
            kind: "k".to_owned(),
            qualifier: String::new(),
            severity: Severity::Minor,
            summary: String::new(),
            fields: BTreeMap::from([("errors".to_owned(), errors.to_owned())]),
        };
        let event = Event { received: second(at), body: Body::Push(body), ..trap(1, 1, 1) };
        engine.handle(&event, second(at))
    };
    let verdicts = [report(0, "10"), report(60, "110"), report(120, "x"), report(180, "311"), report(240, "413")];
    assert_eq!(verdicts, [Verdict::Held, Verdict::Held, Verdict::Held, Verdict::Raised, Verdict::Updated]);
}

// Flaps.

const FLAP: &str = r#""noise": {"flap": {"changes": 4, "within_s": 600, "quiet_s": 60}},"#;

/// Raises and clears every second, until it flaps.
fn flapping() -> Bench {
    let mut bench = Bench::new("", FLAP);
    for _ in 0..2 {
        bench.until(bench.now + 1).raise(1, "r", "k");
        bench.until(bench.now + 1).clear(1, "r", "k");
    }
    bench
}

#[test]
fn an_alert_that_comes_and_goes_stays_open_and_says_so_once() {
    let mut bench = flapping();
    let flapping = bench.alert(&key("r", "k"));
    assert_eq!((flapping.state, flapping.course.flapping), (AlertState::Open, true));
    for _ in 0..100 {
        assert_eq!(bench.until(bench.now + 1).raise(1, "r", "k"), Verdict::Updated);
        assert_eq!(bench.until(bench.now + 1).clear(1, "r", "k"), Verdict::Held);
    }
    let last = bench.alert(&key("r", "k"));
    assert_eq!((last.state, last.count), (AlertState::Open, 101));
    assert_eq!(bench.drained.iter().filter(|alert| alert.state == AlertState::Cleared).count(), 1, "before it flapped");
}

#[test]
fn a_flap_that_ends_with_a_clear_ends_the_alert() {
    let mut bench = flapping();
    let over = bench.now;
    bench.until(over + 59);
    assert!(bench.is_open(&key("r", "k")));
    bench.until(over + 60);
    let ended = bench.alert(&key("r", "k"));
    assert_eq!((ended.state, ended.cleared_at), (AlertState::Cleared, Some(second(over))));
    let decisions = bench.decisions(&key("r", "k"));
    assert_eq!(decisions, [DecisionKind::FlapStarted, DecisionKind::FlapEnded, DecisionKind::Cleared]);
}

#[test]
fn a_flap_that_ends_with_a_report_leaves_the_alert_open() {
    let mut bench = flapping();
    bench.raise(1, "r", "k");
    bench.until(bench.now + 60);
    let alert = bench.alert(&key("r", "k"));
    assert_eq!((alert.state, alert.course.flapping), (AlertState::Open, false));
    assert_eq!(bench.clear(1, "r", "k"), Verdict::Cleared);
}

#[test]
fn a_flap_outlives_a_restart_with_the_clear_that_waits() {
    let mut bench = flapping();
    let over = bench.now;
    bench.down_until(over + 30, rules("", FLAP)).until(over + 61);
    assert_eq!(bench.alert(&key("r", "k")).state, AlertState::Cleared);
}

#[test]
fn a_notification_that_is_known_word_for_word_still_tells_that_a_flap_goes_on() {
    let document = r#"{"format": 1, "noise": {"flap": {"changes": 4, "within_s": 600, "quiet_s": 60}}, "packs": [{"id": "ietf", "version": 1}], "rules": []}"#;
    let mut engine = AlertEngine::new(RuleIndex::compile(&revision::parse(document.as_bytes()).unwrap()).unwrap());
    let (down, up) = (|at| trap(3, 1, at), |at| trap(4, 1, at));
    for at in 0..10 {
        engine.handle(&if at % 2 == 0 { down(at) } else { up(at) }, second(at));
    }
    engine.handle(&down(10), second(10));
    for at in 10..80 {
        engine.tick(second(at));
    }
    assert_eq!(engine.open_count(), 1, "the last report was that it is down");
}

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

// Storms.

const STORM: &str = r#""noise": {"storm": {"per_source": 5, "per_gateway": 12, "within_s": 60, "quiet_s": 120}},"#;

#[test]
fn a_storm_folds_what_came_before_and_after_and_leaves_a_rare_fault_alone() {
    let mut bench = Bench::new("", STORM);
    for number in 0..4 {
        bench.raise(1, &number.to_string(), "noise");
    }
    bench.raise(1, "disk", "disk-failed");
    assert_eq!(bench.shown().len(), 5);
    bench.raise(1, "4", "noise");
    bench.raise(1, "5", "noise");
    bench.raise(1, "fan", "fan-failed");
    assert_eq!(bench.shown(), ["192.0.2.1 storm noise", "disk disk-failed", "fan fan-failed"]);
    for number in 0..6 {
        assert_eq!(bench.parent(&key(&number.to_string(), "noise")), Some(storm("192.0.2.1", "noise")));
    }
    let records: Vec<_> = bench.drained.iter().filter(|alert| alert.key.kind == "noise").map(|alert| &alert.key).collect();
    assert!(records.len() >= 6, "none is withheld");
    bench.until(10);
    let alert = bench.alert(&storm("192.0.2.1", "noise"));
    assert_eq!(alert.labels["alerts"], "6");
    assert_eq!(alert.severity, Severity::Major);
}

#[test]
fn a_storm_ends_when_it_is_quiet_and_what_is_left_stands_for_itself() {
    let mut bench = Bench::new("", STORM);
    for number in 0..6 {
        bench.raise(1, &number.to_string(), "noise");
    }
    for number in 2..6 {
        bench.clear(1, &number.to_string(), "noise");
    }
    bench.until(180);
    assert_eq!(bench.shown(), ["192.0.2.1 storm noise"]);
    bench.until(181);
    assert_eq!(bench.shown(), ["0 noise", "1 noise"]);
    assert_eq!(bench.alert(&storm("192.0.2.1", "noise")).state, AlertState::Cleared);
    assert_eq!(bench.decisions(&key("0", "noise")), [DecisionKind::Folded, DecisionKind::Unfolded]);
}

#[test]
fn storms_of_sources_are_folded_under_that_of_all() {
    let mut bench = Bench::new("", STORM);
    for source in 1..=4 {
        for number in 0..6 {
            bench.raise(source, &format!("{source}.{number}"), "noise");
        }
    }
    assert_eq!(bench.shown(), [format!("{OWN_RESOURCE} storm noise")]);
    assert_eq!(bench.parent(&storm("192.0.2.1", "noise")), Some(storm(OWN_RESOURCE, "noise")));
    assert_eq!(bench.parent(&storm("192.0.2.4", "noise")), Some(storm(OWN_RESOURCE, "noise")));
    assert_eq!(bench.parent(&key("4.5", "noise")), Some(storm("192.0.2.4", "noise")));
    bench.until(300);
    assert_eq!(bench.shown().len(), 24, "all storms are over, and nothing was cleared");
}

#[test]
fn a_storm_outlives_a_restart_and_ends_at_once_with_rules_that_know_none() {
    let mut bench = Bench::new("", STORM);
    for number in 0..6 {
        bench.raise(1, &number.to_string(), "noise");
    }
    bench.until(1);
    bench.down_until(30, rules("", STORM)).until(31);
    bench.raise(1, "6", "noise");
    assert_eq!(bench.shown(), ["192.0.2.1 storm noise"]);
    bench.engine.replace_rules(rules("", r#""noise": {"storm": "off"},"#));
    bench.until(bench.now + 1);
    assert_eq!(bench.shown().len(), 7);
}

#[test]
fn a_storm_that_only_the_records_know_ends_all_the_same() {
    let mut bench = Bench::new("", STORM);
    let checkpoint = bench.engine.checkpoint();
    for number in 0..6 {
        bench.raise(1, &number.to_string(), "noise");
    }
    // Killed before the next checkpoint: the records that were committed are all that is left.
    bench.engine = AlertEngine::restore(rules("", STORM), &checkpoint).unwrap();
    for alert in bench.drained.clone() {
        bench.engine.apply(alert);
    }
    assert_eq!(bench.shown(), ["192.0.2.1 storm noise"]);
    bench.until(200);
    assert_eq!(bench.shown().len(), 6);
}

#[test]
fn a_storm_that_a_person_closed_lets_go_of_its_alerts_and_comes_back_with_the_next() {
    let mut bench = Bench::new("", STORM);
    for number in 0..5 {
        bench.raise(1, &number.to_string(), "noise");
    }
    let (occurrence, count) = (bench.alert(&storm("192.0.2.1", "noise")).occurrence, bench.alert(&storm("192.0.2.1", "noise")).count);
    bench.engine.close(&storm("192.0.2.1", "noise"), occurrence, count, second(1));
    assert_eq!(bench.shown().len(), 5);
    bench.raise(1, "5", "noise");
    assert_eq!(bench.parent(&key("5", "noise")), Some(storm("192.0.2.1", "noise")));
    assert!(bench.is_open(&storm("192.0.2.1", "noise")));
}

// Maintenance windows.

const WINDOW: &str = r#""windows": [{"id": "night", "affects": {"networks": ["192.0.2.0/30"]},
    "when": {"once": {"from": "2027-01-15T08:10:00Z", "until": "2027-01-15T08:20:00Z"}}}],"#;

/// An engine a minute into the window.
fn in_window() -> Bench {
    let mut bench = Bench::new("", WINDOW);
    bench.now = utc("2027-01-15T08:11:00Z");
    bench
}

#[test]
fn what_is_still_open_when_the_window_ends_is_raised_then() {
    let mut bench = in_window();
    bench.raise(1, "r", "k");
    bench.raise(77, "elsewhere", "k");
    assert_eq!(bench.shown(), ["elsewhere k"]);
    let alert = bench.alert(&key("r", "k"));
    let suppressed = alert.course.suppressed.as_ref().unwrap();
    assert_eq!((suppressed.by.as_str(), suppressed.until), ("night", second(utc("2027-01-15T08:20:00Z"))));
    bench.until(utc("2027-01-15T08:19:59Z"));
    assert_eq!(bench.shown(), ["elsewhere k"]);
    bench.until(utc("2027-01-15T08:20:00Z"));
    assert_eq!(bench.shown(), ["elsewhere k", "r k"]);
    assert_eq!(bench.decisions(&key("r", "k")), [DecisionKind::Suppressed, DecisionKind::Unsuppressed]);
}

#[test]
fn a_clear_passes_through_the_window_and_nothing_is_raised_at_its_end() {
    let mut bench = in_window();
    bench.raise(1, "r", "k");
    assert_eq!(bench.clear(1, "r", "k"), Verdict::Cleared);
    assert_eq!(bench.alert(&key("r", "k")).state, AlertState::Cleared);
    let records = bench.drained.len();
    bench.until(utc("2027-01-15T08:21:00Z"));
    assert_eq!(bench.drained.len(), records);
}

#[test]
fn what_was_open_before_the_window_stays_as_it_is() {
    let mut bench = Bench::new("", WINDOW);
    bench.now = utc("2027-01-15T08:09:00Z");
    bench.raise(1, "r", "k");
    bench.until(utc("2027-01-15T08:11:00Z"));
    bench.raise(1, "r", "k");
    assert_eq!(bench.shown(), ["r k"]);
    bench.clear(1, "r", "k");
    bench.raise(1, "r", "k");
    assert!(bench.shown().is_empty(), "a new occurrence is a new alert");
}

#[test]
fn a_window_that_ends_while_the_gateway_is_down_is_settled_by_the_first_tick() {
    let mut bench = in_window();
    bench.raise(1, "r", "k");
    bench.down_until(utc("2027-01-15T09:30:00Z"), rules("", WINDOW));
    assert!(bench.shown().is_empty());
    bench.until(bench.now + 1);
    assert_eq!(bench.shown(), ["r k"]);
}

#[test]
fn a_gateway_that_starts_in_the_window_keeps_quiet_what_is_new() {
    let mut bench = in_window();
    bench.down_until(bench.now, rules("", WINDOW));
    bench.raise(1, "r", "k");
    assert!(bench.shown().is_empty());
}

#[test]
fn a_window_that_is_made_longer_or_taken_away_holds_so_long() {
    let mut bench = in_window();
    bench.raise(1, "r", "k");
    bench.engine.replace_rules(rules("", &WINDOW.replace("08:20:00", "08:40:00")));
    bench.until(utc("2027-01-15T08:39:59Z"));
    assert!(bench.shown().is_empty());
    let until = bench.alert(&key("r", "k")).course.suppressed.as_ref().map(|suppressed| suppressed.until);
    assert_eq!(until, Some(second(utc("2027-01-15T08:40:00Z"))));
    bench.engine.replace_rules(rules("", ""));
    bench.until(bench.now + 1);
    assert_eq!(bench.shown(), ["r k"]);
}

#[test]
fn a_window_may_be_for_rules_and_tags() {
    for affects in [r#"{"rules": ["push.*"]}"#, r#"{"tags": ["pushed"]}"#, "{}"] {
        let mut bench = Bench::new("", &WINDOW.replace(r#"{"networks": ["192.0.2.0/30"]}"#, affects));
        bench.now = utc("2027-01-15T08:11:00Z");
        bench.raise(99, "r", "k");
        assert!(bench.shown().is_empty(), "{affects}");
    }
}

// Dependencies.

const RACK: &str = r#""dependencies": [{"id": "rack", "parent": "sw-1", "children": {"networks": ["192.0.2.0/25"]}, "before_s": 30}],"#;

#[test]
fn a_dead_switch_is_one_alert_with_its_children() {
    let mut bench = Bench::new("", RACK);
    bench.raise(1, "old", "unreachable");
    bench.until(31);
    bench.raise(2, "a", "unreachable");
    bench.until(40);
    bench.raise(200, "sw-1", "node-down");
    bench.raise(3, "b", "unreachable");
    bench.raise(201, "elsewhere", "unreachable");
    assert_eq!(bench.shown(), ["elsewhere unreachable", "old unreachable", "sw-1 node-down"]);
    assert_eq!(bench.parent(&key("a", "unreachable")), Some(key("sw-1", "node-down")));
    bench.clear(3, "b", "unreachable");
    bench.clear(200, "sw-1", "node-down");
    assert_eq!(bench.shown(), ["a unreachable", "elsewhere unreachable", "old unreachable"]);
}

#[test]
fn children_stay_folded_while_another_alert_of_the_parent_lasts() {
    let mut bench = Bench::new("", RACK);
    bench.raise(200, "sw-1/if/1", "link-down");
    bench.raise(200, "sw-1/if/2", "link-down");
    bench.raise(2, "a", "unreachable");
    bench.clear(200, "sw-1/if/1", "link-down");
    assert_eq!(bench.shown(), ["sw-1/if/2 link-down"]);
    bench.clear(200, "sw-1/if/2", "link-down");
    assert_eq!(bench.shown(), ["a unreachable"]);
}

#[test]
fn a_dependency_takes_its_children_out_of_a_storm() {
    let mut bench = Bench::new("", &format!("{RACK} {STORM}"));
    for number in 0..6 {
        bench.raise(2, &number.to_string(), "unreachable");
    }
    assert_eq!(bench.shown(), ["192.0.2.2 storm unreachable"]);
    bench.raise(200, "sw-1", "silent");
    assert_eq!(bench.parent(&key("0", "unreachable")), Some(key("sw-1", "silent")));
    bench.until(300);
    assert_eq!(bench.shown(), ["sw-1 silent"], "the storm is over, its alerts are explained");
}

#[test]
fn no_alert_is_folded_under_itself_however_dependencies_go_round() {
    let ring = r#""dependencies": [{"id": "ab", "parent": "a", "children": {"networks": ["192.0.2.2"]}},
        {"id": "ba", "parent": "b", "children": {"networks": ["192.0.2.1"]}}],"#;
    let mut bench = Bench::new("", ring);
    bench.raise(1, "a", "node-down");
    bench.raise(2, "b", "node-down");
    assert_eq!(bench.shown(), ["a node-down"]);
}

#[test]
fn a_dependency_holds_after_a_restart_and_ends_with_the_document_s() {
    let mut bench = Bench::new("", RACK);
    bench.raise(200, "sw-1", "node-down");
    bench.raise(2, "a", "unreachable");
    bench.down_until(10, rules("", RACK));
    bench.raise(3, "b", "unreachable");
    assert_eq!(bench.shown(), ["sw-1 node-down"]);
    bench.engine.replace_rules(rules("", ""));
    bench.until(bench.now + 1);
    assert_eq!(bench.shown(), ["a unreachable", "b unreachable", "sw-1 node-down"]);
}

// Silence.

const SILENCE: &str = r#""silences": [{"id": "alive", "of": {"networks": ["192.0.2.0/25"]}, "every_s": 60}],"#;

#[test]
fn a_source_that_falls_silent_is_an_alert_until_it_is_heard_again() {
    let mut bench = Bench::new("", SILENCE);
    bench.raise(1, "r", "k");
    bench.raise(200, "s", "k");
    bench.until(180);
    assert!(!bench.is_open(&key("192.0.2.1", "silent")));
    bench.until(181);
    assert_eq!(bench.shown(), ["192.0.2.1 silent", "r k", "s k"]);
    let alert = bench.alert(&key("192.0.2.1", "silent"));
    assert_eq!((alert.rule.as_str(), alert.severity), ("alive", Severity::Major));
    assert_eq!(alert.summary, "192.0.2.1 has been silent for 3 min 1 s; it is usually heard every 1 min");
    assert_eq!(bench.decisions(&key("192.0.2.1", "silent")), [DecisionKind::Silent]);
    bench.until(500);
    bench.raise(1, "r", "k");
    assert_eq!(bench.alert(&key("192.0.2.1", "silent")).state, AlertState::Cleared);
}

#[test]
fn the_gateway_s_own_outage_makes_nobody_silent() {
    let mut bench = Bench::new("", SILENCE);
    bench.raise(1, "r", "k");
    bench.until(60);
    bench.down_until(86_400, rules("", SILENCE)).until(86_400 + 119);
    assert!(!bench.is_open(&key("192.0.2.1", "silent")));
    bench.until(86_400 + 130);
    assert!(bench.is_open(&key("192.0.2.1", "silent")));
}

#[test]
fn a_silence_that_is_taken_away_ends_its_alerts() {
    let mut bench = Bench::new("", SILENCE);
    bench.raise(1, "r", "k");
    bench.until(200);
    assert!(bench.is_open(&key("192.0.2.1", "silent")));
    bench.engine.replace_rules(rules("", ""));
    bench.until(bench.now + 1);
    assert!(!bench.is_open(&key("192.0.2.1", "silent")));
}

#[test]
fn a_heartbeat_that_never_came_is_missed_by_the_name_that_is_listed() {
    let mut bench = Bench::new("", r#""silences": [{"id": "backup", "of": {"sources": ["192.0.2.9"]}, "every_s": 60}],"#);
    bench.until(182);
    assert_eq!(bench.shown(), ["192.0.2.9 silent"]);
    bench.raise(9, "r", "k");
    assert_eq!(bench.shown(), ["r k"]);
}

// All together.

/// Events of all kinds from a fixed sequence, with ticks, drains, and a restart in the midst when `restart`.
fn run(restart: Option<usize>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let sections = format!("{FLAP_AND_STORM} {RACK} {SILENCE}");
    let raise = r#""threshold": {"count": 2, "within_s": 60},"#;
    let mut bench = Bench::new(raise, &sections);
    let mut state = 7_u64;
    for step in 0..6_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = state >> 33;
        let resource = ["sw-1", "a", "b", "c", "d", "e", "f", "g"][usize::try_from(number % 8).unwrap()];
        let kind = ["node-down", "noise"][usize::try_from(number / 8 % 2).unwrap()];
        let source = u8::try_from(number / 16 % 5).unwrap();
        match number / 128 % 4 {
            0 => bench.clear(source, resource, kind),
            _ => bench.raise(source, &format!("{resource}{}", number / 512 % 7), kind),
        };
        if number / 4_096 % 3 == 0 {
            bench.until(bench.now + 1 + i64::try_from(number / 16_384 % 40).unwrap() / 30 * 200);
        }
        if restart == Some(step) {
            bench.engine = AlertEngine::restore(rules(raise, &sections), &bench.engine.checkpoint()).unwrap();
        }
    }
    (bench.drained.iter().map(Alert::encode).collect(), bench.engine.checkpoint())
}

const FLAP_AND_STORM: &str = r#""noise": {"flap": {"changes": 4, "within_s": 60, "quiet_s": 60},
    "storm": {"per_source": 5, "per_gateway": 12, "within_s": 60, "quiet_s": 60}},"#;

#[test]
fn the_same_events_give_the_same_bytes() {
    let (one, other) = (run(None), run(None));
    assert!(one.0.len() > 6_000, "{} records", one.0.len());
    assert!(one == other);
}

#[test]
fn a_checkpoint_that_was_restored_is_the_same_again() {
    let mut bench = Bench::new("", &format!("{FLAP_AND_STORM} {RACK} {SILENCE}"));
    for number in 0..40_u8 {
        bench.raise(number % 3, &(number / 2).to_string(), ["noise", "node-down"][usize::from(number % 2)]);
        bench.clear(number % 3, &(number / 4).to_string(), "noise");
        bench.until(bench.now + 1);
    }
    let checkpoint = bench.engine.checkpoint();
    let restored = AlertEngine::restore(rules("", &format!("{FLAP_AND_STORM} {RACK} {SILENCE}")), &checkpoint).unwrap();
    assert!(restored.checkpoint() == checkpoint);
}
