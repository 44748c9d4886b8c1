//! Storms: what is folded, what is not, and how they end.

use postern_engine::alert::{AlertEngine, OWN_RESOURCE};
use postern_protocol::alert::{AlertState, DecisionKind, Severity};

use super::{Bench, STORM, key, rules, second, storm};

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
