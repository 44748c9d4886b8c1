//! What the sections that keep noise down may not say: each fault is told with its place.

use postern_protocol::revision::parse;

const RULE: &str = r#"{"id": "r", "match": {"push": {}}, "release": {"n": {"from": "field:n", "max_bytes": 9}},
    "then": {"raise": {"resource": "x", "kind": "k", "severity": "minor", "summary": "s"}}"#;

/// Holds that a document with one good rule and `members` has the one fault of this path and reason.
#[track_caller]
fn assert_fault(members: &str, path: &str, reason: &str) {
    assert_one_fault(&format!(r#"{{"format": 1, "rules": [{RULE}}}], {members}}}"#), path, reason);
}

/// Holds that a rule with `members` has the one fault of this path and reason.
#[track_caller]
fn assert_rule_fault(members: &str, path: &str, reason: &str) {
    assert_one_fault(&format!(r#"{{"format": 1, "rules": [{RULE}, {members}}}]}}"#), path, reason);
}

#[track_caller]
fn assert_one_fault(document: &str, path: &str, reason: &str) {
    let found = parse(document.as_bytes()).err().unwrap_or_default();
    let told: Vec<_> = found.iter().map(|problem| (problem.path.as_str(), problem.reason.contains(reason))).collect();
    assert_eq!(told, [(path, true)], "{found:#?}");
    assert!(found.iter().all(|problem| problem.line > 0 && problem.column > 0));
}

fn window(id: &str, when: &str) -> String {
    format!(r#"{{"id": "{id}", "when": {when}}}"#)
}

#[track_caller]
fn assert_when_fault(when: &str, path: &str, reason: &str) {
    assert_fault(&format!(r#""windows": [{}]"#, window("w", when)), &format!("windows[0].when.{path}"), reason);
}

#[test]
fn all_of_it_is_taken_when_it_is_good() {
    let members = r#""noise": {"flap": "off", "storm": {"per_source": 50}},
        "windows": [
            {"id": "once", "when": {"once": {"from": "2026-12-24T22:00:00+01:00", "until": "2026-12-25T06:00:00+01:00"}}},
            {"id": "weekly", "affects": {"rules": ["cisco.*", "r", "*"], "networks": ["10.0.0.0/8", "2001:db8::1"]},
             "when": {"weekly": {"days": ["sat", "sun"], "at": "02:30", "minutes": 90, "time_zone": "Europe/Berlin"}}},
            {"id": "monthly", "when": {"monthly": {"nth": -1, "day": "fri", "at": "22:00", "minutes": 600, "time_zone": "+02:00"}}}],
        "dependencies": [{"id": "d", "parent": "sw-1", "children": {"groups": ["rack"]}}],
        "silences": [{"id": "alive"}, {"id": "beat", "of": {"sources": ["a"]}, "every_s": 60, "times": 2, "severity": "critical"}]"#;
    let rule = r#""threshold": {"count": 5, "within_s": 60, "per": "source"}, "rate": {"of": "n", "per_s": 60, "above": 5, "below": -5},
        "flap": {"changes": 6, "within_s": 60, "quiet_s": 60}"#;
    let document = parse(format!(r#"{{"format": 1, "rules": [{RULE}, {rule}}}], {members}}}"#).as_bytes()).unwrap();
    assert_eq!((document.windows.len(), document.dependencies.len(), document.silences.len()), (3, 1, 2));
}

#[test]
fn figures_out_of_their_range_are_refused() {
    assert_fault(r#""noise": {"storm": {"per_source": 1}}"#, "noise.storm.per_source", "2 to 100000");
    assert_fault(r#""noise": {"storm": {"within_s": 3601}}"#, "noise.storm.within_s", "1 to 3600");
    assert_fault(r#""noise": {"flap": {"changes": 3, "within_s": 1, "quiet_s": 1}}"#, "noise.flap.changes", "4 to 64");
    assert_rule_fault(r#""threshold": {"count": 1, "within_s": 60}"#, "rules[0].threshold.count", "2 to 10000");
    assert_rule_fault(r#""threshold": {"count": 2, "within_s": 0}"#, "rules[0].threshold.within_s", "1 to 86400");
    assert_rule_fault(r#""flap": {"changes": 4, "within_s": 1, "quiet_s": 0}"#, "rules[0].flap.quiet_s", "1 to 86400");
    assert_fault(r#""silences": [{"id": "s", "every_s": 0}]"#, "silences[0].every_s", "1 to 604800");
    assert_fault(r#""silences": [{"id": "s", "times": 1}]"#, "silences[0].times", "2 to 1000");
    assert_fault(
        r#""dependencies": [{"id": "d", "parent": "p", "children": {"tags": ["t"]}, "before_s": 3601}]"#,
        "dependencies[0].before_s",
        "0 to 3600",
    );
}

#[test]
fn a_rate_needs_a_number_that_is_released_and_a_limit() {
    assert_rule_fault(r#""rate": {"of": "m", "per_s": 60, "above": 1}"#, "rules[0].rate.of", "not released");
    assert_rule_fault(r#""rate": {"of": "n", "per_s": 60}"#, "rules[0].rate", "above, below or both");
    assert_rule_fault(r#""rate": {"of": "n", "per_s": 60, "above": 1, "below": 2}"#, "rules[0].rate.above", "everything");
}

#[test]
fn only_rules_that_raise_have_thresholds_rates_and_flaps() {
    let rule = |member: &str| {
        format!(r#"{{"format": 1, "rules": [{{"id": "r", "match": {{"push": {{}}}}, "then": {{"suppress": {{}}}}, {member}}}]}}"#)
    };
    assert_one_fault(&rule(r#""threshold": {"count": 2, "within_s": 60}"#), "rules[0].threshold", "only a rule that raises");
    assert_one_fault(&rule(r#""rate": {"of": "n", "per_s": 60}"#), "rules[0].rate", "only a rule that raises");
    assert_one_fault(&rule(r#""flap": "off""#), "rules[0].flap", "only a rule that raises");
}

#[test]
fn a_window_is_at_a_time_that_there_is() {
    assert_when_fault(r#"{"once": {"from": "2026-12-24T22:00:00", "until": "2026-12-25T06:00:00Z"}}"#, "once.from", "offset");
    assert_when_fault(r#"{"once": {"from": "2026-12-24T22:00:00Z", "until": "2026-12-24T22:00:00Z"}}"#, "once.until", "before it begins");
    let weekly = |days: &str, rest: &str| format!(r#"{{"weekly": {{"days": [{days}], {rest}}}}}"#);
    assert_when_fault(&weekly("", r#""at": "02:30", "minutes": 1"#), "weekly.days", "at least one day");
    assert_when_fault(&weekly(r#""sun", "sun""#, r#""at": "02:30", "minutes": 1"#), "weekly.days[1]", "twice");
    assert_when_fault(&weekly(r#""sun""#, r#""at": "2:30", "minutes": 1"#), "weekly.at", "HH:MM");
    assert_when_fault(&weekly(r#""sun""#, r#""at": "02:30", "minutes": 10081"#), "weekly.minutes", "1 to 10080");
    let zone = r#""at": "02:30", "minutes": 1, "time_zone": "Europe/Atlantis""#;
    assert_when_fault(&weekly(r#""sun""#, zone), "weekly.time_zone", "no time zone");
    let monthly = |nth: i8| format!(r#"{{"monthly": {{"nth": {nth}, "day": "sun", "at": "02:30", "minutes": 1}}}}"#);
    for nth in [0, 5, -2] {
        assert_when_fault(&monthly(nth), "monthly.nth", "-1 for the last");
    }
}

#[test]
fn ids_are_unique_also_among_silences_and_rules() {
    let when = r#"{"weekly": {"days": ["sun"], "at": "02:30", "minutes": 1}}"#;
    let twice = format!(r#""windows": [{}, {}]"#, window("w", when), window("w", when));
    assert_fault(&twice, "windows[1].id", "windows[0] has the id w already");
    assert_fault(r#""silences": [{"id": "s"}, {"id": "s"}]"#, "silences[1].id", "already");
    assert_fault(r#""silences": [{"id": "r"}]"#, "silences[0].id", "a rule has the id r already");
}

#[test]
fn a_scope_names_what_there_can_be() {
    let of = |scope: &str| format!(r#""silences": [{{"id": "s", "of": {scope}}}]"#);
    assert_fault(&of(r#"{"networks": ["10.0.0.7/8"]}"#), "silences[0].of.networks[0]", "write 10.0.0.0/8");
    assert_fault(&of(r#"{"sources": ["a", ""]}"#), "silences[0].of.sources[1]", "1 to 512 bytes");
    assert_fault(&of(r#"{"rules": ["r"]}"#), "silences[0].of.rules", "leave this out");
    let many = format!(r#"{{"groups": [{}]}}"#, vec![r#""g""#; 1_025].join(","));
    assert_fault(&of(&many), "silences[0].of.groups", "more than 1024");
    let depends = |children: &str| format!(r#""dependencies": [{{"id": "d", "parent": "p", "children": {children}}}]"#);
    assert_fault(&depends("{}"), "dependencies[0].children", "say what depends on it");
    assert_fault(&depends(r#"{"rules": ["Cisco*"]}"#), "dependencies[0].children.rules[0]", "cisco.*");
    assert_fault(r#""dependencies": [{"id": "d", "parent": "", "children": {"tags": ["t"]}}]"#, "dependencies[0].parent", "1 to 512");
}
