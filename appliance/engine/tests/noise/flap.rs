//! Flaps: what comes and goes stays open, and what was reported last decides.

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{AlertState, DecisionKind};
use postern_protocol::revision;

use super::{Bench, key, rules, second, trap};

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
