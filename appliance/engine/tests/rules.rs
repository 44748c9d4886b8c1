//! What rules do beyond raise and clear: ends beside the rule, observing, facts about sources, lookups, counters.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState, Authenticity, Severity};
use postern_protocol::replay::RuleFigures;
use postern_protocol::revision;
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

fn engine(text: &str) -> AlertEngine {
    let document = revision::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    AlertEngine::new(RuleIndex::compile(&document).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_790_000_000 + secs)
}

fn event(peer: &str, body: Body, secs: i64) -> Event {
    let peer: IpAddr = peer.parse().unwrap();
    Event { received: at(secs), peer, transport: Transport::Udp, authenticity: Authenticity::None, relay: None, tls_name: None, body }
}

fn line(text: &str, secs: i64) -> Event {
    let message = SyslogMessage { host: Some("sw-1".to_owned()), message: text.to_owned(), ..SyslogMessage::default() };
    event("192.0.2.7", Body::Syslog(message), secs)
}

fn trap(oid: &str, value: i64, secs: i64) -> Event {
    let varbinds = vec![Varbind { name: "1.3.6.1.4.1.9.1.5".parse().unwrap(), value: Value::Integer(value) }];
    let body = Notification { trap_oid: oid.parse().unwrap(), uptime: 0, trap_address: None, engine_id: None, varbinds };
    event("192.0.2.7", Body::Notification(body), secs)
}

fn push(state: PushState, secs: i64) -> Event {
    let (resource, kind, qualifier) = ("r".to_owned(), "k".to_owned(), String::new());
    let body = PushEvent { state, resource, kind, qualifier, severity: Severity::Minor, summary: String::new(), fields: BTreeMap::new() };
    event("192.0.2.7", Body::Push(body), secs)
}

/// Hands the events in; returns what became of each.
fn handled(engine: &mut AlertEngine, events: &[Event]) -> Vec<Verdict> {
    events.iter().map(|event| engine.handle(event, event.received)).collect()
}

fn only(engine: &mut AlertEngine) -> Alert {
    let mut changes = engine.drain_changes();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    changes.remove(0)
}

fn raising(matcher: &str, more: &str) -> String {
    format!(
        r#"{{"format": 1, "rules": [{{"id": "a", "match": {matcher}, "release": {{"source": {{"max_bytes": 64}}}},
            "then": {{"raise": {{"resource": "{{source}}", "kind": "k", "severity": "major", "summary": "s"}}}}{more}}}]}}"#
    )
}

#[test]
fn an_alert_ends_by_a_pattern_an_oid_a_varbind_or_a_push_beside_its_rule() {
    let (down, up) = ("1.3.6.1.4.1.9.0.1", "1.3.6.1.4.1.9.0.2");
    let test = |value| format!(r#"{{"trap": {{"oid": "{down}", "varbinds": [{{"oid": "1.3.6.1.4.1.9.1.5", "equals": "{value}"}}]}}}}"#);
    for (matcher, ending, events) in [
        (
            r#"{"syslog": {"regex": "fan lost"}}"#.to_owned(),
            r#"{"syslog": {"regex": "fan back"}}"#.to_owned(),
            [line("fan lost", 0), line("fan ok", 1), line("fan back", 2)],
        ),
        (
            format!(r#"{{"trap": {{"oid": "{down}"}}}}"#),
            format!(r#"{{"trap": {{"oid": "{up}"}}}}"#),
            [trap(down, 1, 0), trap("1.3.6.1.4.1.9.0.3", 1, 1), trap(up, 1, 2)],
        ),
        (test(2), test(1), [trap(down, 2, 0), trap(down, 3, 1), trap(down, 1, 2)]),
    ] {
        let mut engine = engine(&raising(&matcher, &format!(r#", "clear_on": [{ending}]"#)));
        assert_eq!(handled(&mut engine, &events), [Verdict::Raised, Verdict::Unmatched, Verdict::Cleared], "{matcher}");
        let ended = only(&mut engine);
        assert_eq!((ended.state, ended.key.resource.as_str()), (AlertState::Cleared, events[0].source_name()), "{matcher}");
        let figures = &engine.rule_figures()[0];
        assert_eq!((figures.id.as_str(), figures.matched, figures.raised, figures.cleared), ("a", 2, 1, 1));
    }
    let mut pushes = engine(&raising(r#"{"push": {"state": "raise"}}"#, r#", "clear_on": [{"push": {"state": "clear"}}]"#));
    let events = [push(PushState::Raise, 0), push(PushState::Clear, 1), push(PushState::Clear, 2)];
    assert_eq!(handled(&mut pushes, &events), [Verdict::Raised, Verdict::Cleared, Verdict::ClearedNothing]);
}

/// How these tests' rules name the source.
trait SourceName {
    fn source_name(&self) -> &'static str;
}

impl SourceName for Event {
    fn source_name(&self) -> &'static str {
        if matches!(self.body, Body::Syslog(_)) { "sw-1" } else { "192.0.2.7" }
    }
}

#[test]
fn a_rule_that_observes_shows_what_it_would_do_and_changes_nothing() {
    let rule = |id: &str, kind: &str, mode: &str| {
        format!(
            r#"{{"id": "{id}", "match": {{"syslog": {{"regex": "fan (?P<fan>\\d+) lost"}}}}, "mode": "{mode}",
                "clear_on": [{{"syslog": {{"regex": "fan (?P<fan>\\d+) back"}}}}], "release": {{"fan": {{"from": "capture:fan", "max_bytes": 8}}}},
                "then": {{"raise": {{"resource": "fan {{fan}}", "kind": "{kind}", "severity": "major", "summary": "s"}}}}}}"#
        )
    };
    let with = format!(r#"{{"format": 1, "rules": [{}, {}]}}"#, rule("new", "new", "observe"), rule("old", "old", "active"));
    let without = format!(r#"{{"format": 1, "rules": [{}]}}"#, rule("old", "old", "active"));
    let (mut with, mut without) = (engine(&with), engine(&without));
    let mut events: Vec<_> = (0..12).map(|fan| line(&format!("fan {fan} lost"), fan)).collect();
    events.extend([line("fan 3 lost", 20), line("fan 4 back", 21), line("nothing", 22)]);
    assert_eq!(handled(&mut with, &events), handled(&mut without, &events));
    assert_eq!(with.drain_changes(), without.drain_changes());

    let figures = with.rule_figures();
    let new = &figures[0];
    let counts = (new.observes, new.matched, new.raised, new.updated, new.cleared);
    assert_eq!((new.id.as_str(), counts), ("new", (true, 14, 12, 1, 1)));
    let would: Vec<_> = new.would.iter().map(|would| (would.resource.as_str(), would.count)).collect();
    assert_eq!((would.len(), would[0], would[1]), (10, ("fan 3", 2), ("fan 11", 1)));
    assert!(would.iter().all(|(resource, _)| *resource != "fan 4"));
    let totals = with.figures();
    assert_eq!(
        (totals.raised, totals.updated, totals.cleared, totals.unmatched),
        (12, 1, 1, 1),
        "an observing rule counts for itself only"
    );
    assert_eq!((totals.open, totals.shown), (11, 11));
}

#[test]
fn an_alert_says_what_the_document_knows_of_its_source() {
    let text = r#"{"format": 1,
        "sources": [{"networks": ["192.0.2.0/24"], "site": "Bremen", "owner": "net", "group": "access", "tags": ["core", "old"]},
                    {"networks": ["192.0.2.7/32"], "name": "switch seven", "site": "Kiel"}],
        "tables": {"rooms": {"rows": {"3": "cellar"}, "default": "nowhere"}, "doors": {"rows": {"3": "red"}}},
        "rules": [{"id": "a", "match": {"trap": {"oid": "1.3.6.1.4.1.9.0.1"}},
          "release": {
            "name": {"from": "source_name | source", "max_bytes": 64}, "site": {"max_bytes": 64}, "owner": {"max_bytes": 64},
            "group": {"max_bytes": 64}, "tags": {"max_bytes": 64},
            "room": {"from": "lookup:rooms:varbind:1.3.6.1.4.1.9.1.5", "max_bytes": 64},
            "door": {"from": "lookup:doors:varbind:1.3.6.1.4.1.9.1.5", "max_bytes": 64}},
          "then": {"raise": {"resource": "{name}", "kind": "k", "severity": "major",
            "summary": "{site} {owner} {group} {tags} {room} {door}"}}}]}"#;
    let summary = |peer: &str, value| {
        let mut engine = engine(text);
        let event = Event { peer: peer.parse().unwrap(), ..trap("1.3.6.1.4.1.9.0.1", value, 0) };
        engine.handle(&event, at(0));
        let alert = only(&mut engine);
        format!("{}: {}", alert.key.resource, alert.summary)
    };
    assert_eq!(summary("192.0.2.7", 3), "switch seven: Kiel - - - cellar red", "the longest prefix holds, whole");
    assert_eq!(summary("192.0.2.8", 4), "192.0.2.8: Bremen net access core, old nowhere -");
    assert_eq!(summary("198.51.100.1", 4), "198.51.100.1: - - - - nowhere -");
}

#[test]
fn counters_tell_what_each_rule_did_and_cost() {
    let text = r#"{"format": 1, "rules": [
        {"id": "quiet", "match": {"syslog": {"regex": "noise"}}, "then": {"suppress": {}}},
        {"id": "both", "version": 3, "match": {"syslog": {"regex": "fan"}}, "continue": true, "release": {"host": {"max_bytes": 9}},
         "then": {"raise": {"resource": "{host}", "kind": "one", "severity": "minor", "summary": "s"}}},
        {"id": "last", "match": {"syslog": {"regex": "fan"}}, "then": {"raise": {"resource": "r", "kind": "two", "severity": "minor", "summary": "s"}}},
        {"id": "trap", "match": {"trap": {"oid": "1.3.6.1.4.1.9.0.1"}}, "then": {"raise": {"resource": "r", "kind": "t", "severity": "minor", "summary": "s"}}},
        {"id": "never", "match": {"push": {}}, "then": {"suppress": {}}}]}"#;
    let mut engine = engine(text);
    let same = trap("1.3.6.1.4.1.9.0.1", 1, 5);
    handled(&mut engine, &[line("noise", 0), line("fan", 1), line("a fan", 2), line("else", 3), same.clone(), same.clone(), same]);
    let figures: Vec<_> = engine.rule_figures();
    let of = |id: &str| figures.iter().find(|figures| figures.id == id).cloned().unwrap_or_default();
    let counts = |f: RuleFigures| (f.matched, f.raised, f.updated, f.suppressed, f.scanned_bytes);
    assert_eq!(counts(of("quiet")), (1, 0, 0, 1, 5));
    assert_eq!((counts(of("both")), of("both").version), ((2, 1, 1, 0, 8), 3));
    assert_eq!(counts(of("last")), (2, 1, 1, 0, 8));
    assert_eq!(counts(of("trap")), (3, 1, 2, 0, 0), "those that were known word for word are counted, too");
    assert_eq!(figures.len(), 4, "what was never held against an event is left out");
    assert_eq!(engine.figures().unmatched, 1);
    engine.replace_rules(RuleIndex::built_in().unwrap());
    assert!(engine.rule_figures().is_empty(), "counters start at 0 with each set of rules");
}

#[test]
fn the_alerts_that_an_event_is_evidence_for_are_told_without_any_effect() {
    let engine = engine(&raising(r#"{"syslog": {"regex": "fan lost"}}"#, r#", "clear_on": [{"syslog": {"regex": "fan back"}}]"#));
    for text in ["fan lost", "fan back"] {
        let keys = engine.keys(&line(text, 0));
        assert_eq!(keys.iter().map(|key| (key.resource.as_str(), key.kind.as_str())).collect::<Vec<_>>(), [("sw-1", "k")]);
    }
    assert!(engine.keys(&line("else", 0)).is_empty());
    assert_eq!((engine.open_count(), engine.rule_figures().len()), (0, 0));
}
