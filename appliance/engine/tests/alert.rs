//! What an alert does, one behaviour at a time; `alert_model` holds that they also hold together.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, CheckpointError, OWN_RESOURCE, OwnReport, TABLE_FULL_KIND, Verdict};
use postern_engine::event::{Body, Event, PushEvent, Transport};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState, Authenticity, Severity};
use postern_protocol::revision;
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

fn engine() -> AlertEngine {
    AlertEngine::new(RuleIndex::built_in().unwrap())
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

fn event(resource: &str, state: PushState, at: i64) -> Event {
    Event {
        received: second(at),
        peer: [192, 0, 2, 1].into(),
        transport: Transport::Tls,
        authenticity: Authenticity::Tls,
        relay: None,
        tls_name: Some("demo".to_owned()),
        body: Body::Push(PushEvent {
            state,
            resource: resource.to_owned(),
            kind: "k".to_owned(),
            qualifier: String::new(),
            severity: Severity::Minor,
            summary: String::new(),
            fields: BTreeMap::new(),
        }),
    }
}

fn raise(engine: &mut AlertEngine, resource: &str, at: i64) -> Verdict {
    engine.handle(&event(resource, PushState::Raise, at), second(at))
}

fn clear(engine: &mut AlertEngine, resource: &str, at: i64) -> Verdict {
    engine.handle(&event(resource, PushState::Clear, at), second(at))
}

/// The only record of the only change.
#[track_caller]
fn change(engine: &mut AlertEngine) -> Alert {
    let mut changes = engine.drain_changes();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    changes.pop().unwrap()
}

#[test]
fn a_rule_that_makes_its_resource_of_an_empty_qualifier_still_makes_a_record_that_decodes() {
    let document = r#"{"format": 1, "rules": [{"id": "odd", "match": {"push": {}}, "release": {"qualifier": {"max_bytes": 9}},
        "then": {"raise": {"resource": "{qualifier}", "kind": "{qualifier}", "severity": "minor", "summary": "{qualifier}"}}}]}"#;
    let rules = RuleIndex::compile(&revision::parse(document.as_bytes()).unwrap()).unwrap();
    let mut engine = AlertEngine::new(rules);
    assert_eq!(raise(&mut engine, "r", 0), Verdict::Raised);
    let alert = change(&mut engine);
    assert_eq!(Alert::decode(&alert.encode()), Ok(alert));
}

#[test]
fn repeats_are_one_alert_with_a_count() {
    let mut engine = engine();
    assert_eq!(raise(&mut engine, "r", 0), Verdict::Raised);
    for at in 1..1000 {
        assert_eq!(raise(&mut engine, "r", at), Verdict::Updated);
    }
    let alert = change(&mut engine);
    assert_eq!((alert.count, alert.first_seen, alert.last_seen), (1000, second(0), second(999)));
    assert_eq!(alert.state, AlertState::Open);
}

#[test]
fn a_clear_without_a_raise_is_ignored() {
    let mut engine = engine();
    assert_eq!(clear(&mut engine, "r", 0), Verdict::ClearedNothing);
    assert_eq!(engine.drain_changes(), vec![]);
}

#[test]
fn a_cleared_alert_keeps_its_count_and_leaves_the_engine() {
    let mut engine = engine();
    raise(&mut engine, "r", 0);
    raise(&mut engine, "r", 1);
    assert_eq!(clear(&mut engine, "r", 2), Verdict::Cleared);
    assert_eq!(engine.open_count(), 0);
    let alert = change(&mut engine);
    assert_eq!((alert.state, alert.count, alert.cleared_at), (AlertState::Cleared, 2, Some(second(2))));
}

#[test]
fn a_raise_after_a_clear_is_a_new_occurrence() {
    let mut engine = engine();
    raise(&mut engine, "r", 0);
    clear(&mut engine, "r", 1);
    raise(&mut engine, "r", 2);
    let changes = engine.drain_changes();
    let states: Vec<_> = changes.iter().map(|alert| (alert.state, alert.count, alert.occurrence == alert.revision)).collect();
    assert_eq!(states, [(AlertState::Cleared, 1, false), (AlertState::Open, 1, true)]);
    assert!(changes.first().unwrap().revision < changes.last().unwrap().revision);
}

#[test]
fn a_close_leaves_what_was_not_seen_open() {
    let mut engine = engine();
    for at in 0..5 {
        raise(&mut engine, "r", at);
    }
    let alert = change(&mut engine);
    engine.close(&alert.key, alert.occurrence, 3, second(9));
    let changes = engine.drain_changes();
    let states: Vec<_> = changes.iter().map(|alert| (alert.state, alert.count)).collect();
    assert_eq!(states, [(AlertState::Closed, 3), (AlertState::Open, 2)]);
    let new = changes.last().unwrap();
    assert!(new.occurrence > alert.occurrence && new.first_seen == second(4));
}

#[test]
fn a_close_of_another_occurrence_is_ignored() {
    let mut engine = engine();
    raise(&mut engine, "r", 0);
    let alert = change(&mut engine);
    engine.close(&alert.key, alert.occurrence - 1, 1, second(1));
    assert_eq!((engine.drain_changes(), engine.open_count()), (vec![], 1));
    engine.close(&alert.key, alert.occurrence, 1, second(1));
    assert_eq!((change(&mut engine).state, engine.open_count()), (AlertState::Closed, 0));
}

#[test]
fn revisions_grow_when_the_clock_is_set_back_and_when_the_state_is_lost() {
    let mut old = engine();
    raise(&mut old, "r", 100);
    let before = change(&mut old).revision;
    raise(&mut old, "r", 0);
    assert_eq!(change(&mut old).revision, before + 1);
    let mut fresh = engine();
    raise(&mut fresh, "r", 101);
    assert!(change(&mut fresh).revision > before + 1);
}

#[test]
fn all_open_alerts_are_sent_again_with_new_revisions() {
    let mut engine = engine();
    ["a", "b", "c"].iter().for_each(|resource| assert_eq!(raise(&mut engine, resource, 0), Verdict::Raised));
    let before = engine.drain_changes();
    engine.resend_open(second(1));
    let after = engine.drain_changes();
    let facts = |alerts: &[Alert]| alerts.iter().map(|alert| (alert.key.clone(), alert.occurrence, alert.count)).collect::<Vec<_>>();
    assert_eq!(facts(&before), facts(&after));
    assert!(after.first().unwrap().revision > before.last().unwrap().revision);
}

#[test]
fn a_full_table_says_so_until_there_is_room_again() {
    let mut engine = engine().bounded_to(2);
    raise(&mut engine, "a", 0);
    raise(&mut engine, "b", 0);
    assert_eq!(raise(&mut engine, "c", 1), Verdict::TableFull);
    assert_eq!(raise(&mut engine, "d", 2), Verdict::TableFull);
    assert_eq!(raise(&mut engine, "a", 3), Verdict::Updated);
    let full = engine.open_alerts().find(|alert| alert.key.kind == TABLE_FULL_KIND).unwrap();
    assert_eq!((full.count, full.severity, full.key.resource.as_str()), (2, Severity::Critical, "gateway"));
    clear(&mut engine, "a", 4);
    assert_eq!(engine.open_count(), 1);
    assert_eq!(raise(&mut engine, "c", 5), Verdict::Raised);
}

#[test]
fn open_alerts_outlive_the_rules_that_raised_them() {
    let mut engine = engine();
    raise(&mut engine, "r", 0);
    engine.replace_rules(RuleIndex::compile(&revision::parse(br#"{"format": 1, "rules": []}"#).unwrap()).unwrap());
    assert_eq!(raise(&mut engine, "r", 1), Verdict::Unmatched);
    assert_eq!(engine.open_count(), 1);
}

#[test]
fn a_rule_that_continues_lets_later_rules_see_the_event() {
    let rules = r#"{"format": 1, "rules": [
        {"id": "a", "match": {"push": {}}, "continue": true,
         "then": {"raise": {"resource": "a", "kind": "k", "severity": "minor", "summary": "s"}}},
        {"id": "b", "match": {"push": {}}, "then": {"raise": {"resource": "b", "kind": "k", "severity": "minor", "summary": "s"}}},
        {"id": "c", "match": {"push": {}}, "then": {"raise": {"resource": "c", "kind": "k", "severity": "minor", "summary": "s"}}}]}"#;
    let mut engine = AlertEngine::new(RuleIndex::compile(&revision::parse(rules.as_bytes()).unwrap()).unwrap());
    raise(&mut engine, "r", 0);
    let resources: Vec<_> = engine.drain_changes().into_iter().map(|alert| alert.key.resource).collect();
    assert_eq!(resources, ["a", "b"]);
}

#[test]
fn changes_that_were_not_drained_are_in_the_checkpoint() {
    let mut engine = engine();
    raise(&mut engine, "a", 0);
    raise(&mut engine, "b", 0);
    clear(&mut engine, "b", 1);
    let mut restored = AlertEngine::restore(RuleIndex::built_in().unwrap(), &engine.checkpoint()).unwrap();
    assert_eq!(restored.drain_changes(), engine.drain_changes());
}

#[test]
fn a_record_older_than_the_state_changes_nothing() {
    let mut live = engine();
    raise(&mut live, "r", 0);
    let first = change(&mut live);
    clear(&mut live, "r", 1);
    let cleared = change(&mut live);
    raise(&mut live, "r", 2);
    let second = change(&mut live);
    let mut restored = engine();
    for record in [first.clone(), cleared.clone(), second.clone(), first, cleared] {
        restored.apply(record);
    }
    assert_eq!(restored.open_alerts().collect::<Vec<_>>(), [second]);
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let restore = |bytes: &[u8]| AlertEngine::restore(RuleIndex::built_in().unwrap(), bytes).map(|_| ());
    assert_eq!(restore(b""), Err(CheckpointError::Format(0)));
    assert!(matches!(restore(b"\xff"), Err(CheckpointError::Encoding(_))));
    // Format 1 with one open entry that is no alert.
    assert!(matches!(restore(&[8, 1, 26, 3, 10, 1, 0]), Err(CheckpointError::Alert(_))));
}

proptest! {
    #[test]
    fn bytes_that_are_no_checkpoint_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let rules = RuleIndex::compile(&revision::parse(br#"{"format": 1, "rules": []}"#).unwrap()).unwrap();
        let _ = AlertEngine::restore(rules, &bytes);
    }
}

#[test]
fn an_alert_about_the_gateway_itself_has_room_in_a_full_table_and_ends_like_any_other() {
    let mut engine = engine().bounded_to(0);
    let report = |severity| OwnReport {
        kind: "kernel-drops".to_owned(),
        qualifier: "syslog_udp".to_owned(),
        severity,
        summary: "12 datagrams".to_owned(),
        labels: BTreeMap::new(),
    };
    assert_eq!(engine.own(report(Severity::Major), second(1)), Verdict::Raised);
    assert_eq!(engine.own(report(Severity::Minor), second(2)), Verdict::Updated);
    let open = change(&mut engine);
    assert_eq!((open.key.resource.as_str(), open.rule.as_str(), open.count), (OWN_RESOURCE, "postern", 2));
    assert_eq!(Alert::decode(&open.encode()).unwrap(), open);
    assert_eq!(engine.own_clear("kernel-drops", "", second(3)), Verdict::ClearedNothing);
    assert_eq!(engine.own_clear("kernel-drops", "syslog_udp", second(3)), Verdict::Cleared);
    assert_eq!(change(&mut engine).state, AlertState::Cleared);
}
