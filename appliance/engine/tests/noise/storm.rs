//! Storms: what is folded, what is not, and how they end.

use postern_engine::alert::{AlertEngine, OWN_RESOURCE, Verdict};
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
    assert!(bench.alert(&storm(OWN_RESOURCE, "noise")).summary.ends_with(", 12 open"), "as of when it began");
    bench.until(11);
    assert!(bench.alert(&storm(OWN_RESOURCE, "noise")).summary.ends_with(", 24 open"));
    bench.until(400);
    let shown: Vec<_> = (1..=4).map(|source| format!("192.0.2.{source} storm noise")).collect();
    assert_eq!(bench.shown(), shown, "four are less than half of twelve; six are more than half of five");
}

#[test]
fn a_storm_lasts_while_half_of_its_limit_is_open_and_says_how_many_are() {
    let mut bench = Bench::new("", STORM);
    for number in 0..6 {
        bench.raise(1, &number.to_string(), "noise");
    }
    let key = storm("192.0.2.1", "noise");
    bench.until(1_000);
    assert_eq!(bench.shown(), ["192.0.2.1 storm noise"]);
    assert_eq!(bench.alert(&key).labels["open"], "6");
    for number in 0..3 {
        bench.clear(1, &number.to_string(), "noise");
    }
    bench.until(1_010);
    assert_eq!((bench.shown().len(), bench.alert(&key).labels["open"].as_str()), (1, "3"));
    bench.clear(1, "3", "noise");
    bench.until(1_011);
    assert_eq!(bench.shown(), ["4 noise", "5 noise"]);
    assert_eq!((bench.alert(&key).state, bench.alert(&key).labels["open"].as_str()), (AlertState::Cleared, "2"));
}

#[test]
fn what_storms_of_sources_leave_keeps_up_that_of_all() {
    let mut bench = Bench::new("", STORM);
    for source in 1..=4 {
        for number in 0..5 {
            bench.raise(source, &format!("{source}.{number}"), "noise");
        }
        for number in 0..3 {
            bench.clear(source, &format!("{source}.{number}"), "noise");
        }
    }
    bench.until(400);
    assert_eq!(bench.shown(), [format!("{OWN_RESOURCE} storm noise")]);
    assert_eq!(bench.parent(&crate::key("1.3", "noise")), Some(storm(OWN_RESOURCE, "noise")));
    bench.clear(1, "1.3", "noise");
    bench.clear(2, "2.3", "noise");
    bench.clear(3, "3.3", "noise");
    bench.until(401);
    assert_eq!(bench.shown().len(), 5);
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
fn a_storm_that_fills_the_table_leaves_room_for_what_is_rare_and_for_no_more_than_that() {
    let mut bench = Bench::new("", STORM);
    bench.engine = bench.engine.bounded_to(100);
    for number in 0..200 {
        let verdict = bench.raise(1, &number.to_string(), "noise");
        // The alerts of two storms take places, too: of the source, and of all.
        assert_eq!(verdict, if number < 98 { Verdict::Raised } else { Verdict::TableFull }, "{number}");
    }
    assert_eq!(bench.raise(1, "fan", "fan-failed"), Verdict::Raised);
    assert_eq!(bench.raise(2, "other", "noise"), Verdict::TableFull, "of another source, but the storm of all would fold it");
    assert_eq!(bench.raise(2, "disk", "disk-failed"), Verdict::Raised);
    assert_eq!(bench.raise(1, "psu", "psu-failed"), Verdict::TableFull, "the reserve of 2 is taken");
    let all = format!("{OWN_RESOURCE} storm noise");
    let mut shown = vec![all.as_str(), "fan fan-failed", "gateway alert-table-full", "disk disk-failed"];
    shown.sort_unstable();
    assert_eq!(bench.shown(), shown);
    assert_eq!(bench.engine.open_count(), 103);
    bench.clear(1, "fan", "fan-failed");
    assert_eq!(bench.raise(1, "psu", "psu-failed"), Verdict::Raised, "what ended left its place");
    for number in 0..50 {
        assert_eq!(bench.raise(3, &number.to_string(), "new"), Verdict::TableFull, "{number}");
    }
    assert_eq!(bench.engine.open_count(), 103);
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
    for number in 2..6 {
        bench.clear(1, &number.to_string(), "noise");
    }
    bench.until(200);
    assert_eq!(bench.shown(), ["0 noise", "1 noise"]);
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
