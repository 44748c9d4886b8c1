//! Thresholds and rates: what is held back until there was enough of it.

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, PushEvent};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{DecisionKind, Severity};
use postern_protocol::revision;
use postern_protocol::revision::document::PushState;

use super::{Bench, key, rules, second, trap};

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
