//! Silence: who is missed, and who is not.

use postern_protocol::alert::{AlertState, DecisionKind, Severity};

use super::{Bench, SILENCE, key, rules};

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
