//! All together: the same events give the same bytes.

use postern_engine::alert::AlertEngine;
use postern_protocol::alert::{Alert, DecisionKind};

use super::{Bench, RACK, SILENCE, rules};

/// Events of all kinds from a fixed sequence, with ticks, drains, and a restart in the midst when `restart`.
fn run(restart: Option<usize>) -> Bench {
    let sections = format!("{FLAP_AND_STORM} {RACK} {SILENCE}");
    let raise = r#""threshold": {"count": 2, "within_s": 60},"#;
    let mut bench = Bench::new(raise, &sections);
    let mut state = 7_u64;
    for step in 0..6_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = state >> 33;
        let resource = ["sw-1", "a", "b", "c", "d", "e", "f", "g"].get(usize::try_from(number % 8).unwrap()).unwrap();
        let kind = ["node-down", "noise"].get(usize::try_from(number / 8 % 2).unwrap()).unwrap();
        let source = u8::try_from(number / 16 % 5).unwrap();
        let resource = format!("{resource}/{}", number / 512 % 7);
        match number / 128 % 3 {
            0 => bench.clear(source, &resource, kind),
            _ => bench.raise(source, &resource, kind),
        };
        if (number / 4_096).is_multiple_of(3) {
            bench.until(bench.now + 1 + i64::try_from(number / 16_384 % 40).unwrap() / 30 * 200);
        }
        if restart == Some(step) {
            bench.engine = AlertEngine::restore(rules(raise, &sections), &bench.engine.checkpoint()).unwrap();
        }
    }
    bench
}

fn has_seen(bench: &Bench, what: DecisionKind) -> bool {
    bench.drained.iter().any(|alert| alert.course.decisions.iter().any(|decision| decision.what == what))
}

const FLAP_AND_STORM: &str = r#""noise": {"flap": {"changes": 4, "within_s": 7200, "quiet_s": 60},
    "storm": {"per_source": 5, "per_gateway": 12, "within_s": 60, "quiet_s": 60}},"#;

#[test]
fn the_same_events_give_the_same_bytes() {
    let (one, other) = (run(None), run(None));
    for what in [DecisionKind::ThresholdReached, DecisionKind::FlapEnded, DecisionKind::Unfolded, DecisionKind::Silent] {
        assert!(has_seen(&one, what), "{what:?}");
    }
    let bytes = |bench: &Bench| bench.drained.iter().map(Alert::encode).collect::<Vec<_>>();
    assert!(bytes(&one) == bytes(&other));
    assert!(one.engine.checkpoint() == other.engine.checkpoint());
}

#[test]
fn a_restart_changes_neither_what_is_open_nor_how_often_it_was_reported() {
    let state = |bench: &Bench| {
        let mut open: Vec<_> = bench.engine.open_alerts().map(|alert| (alert.key, alert.count, alert.course.flapping)).collect();
        open.sort();
        open
    };
    let expected = state(&run(None));
    assert!(expected.len() > 10, "{}", expected.len());
    for step in [100, 1_234, 5_990] {
        assert_eq!(state(&run(Some(step))), expected, "after {step}");
    }
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
