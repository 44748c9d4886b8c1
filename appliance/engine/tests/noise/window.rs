//! Maintenance windows: what is quiet, and what is raised at the end.

use postern_engine::alert::Verdict;
use postern_protocol::alert::{AlertState, DecisionKind};

use super::{Bench, key, rules, second, utc};

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
