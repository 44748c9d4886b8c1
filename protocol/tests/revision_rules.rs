//! What rules may name and bring along: ends, lookups, facts about sources, packs and their changes. Every fault is told with its path.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use postern_protocol::revision::document::Document;
use postern_protocol::revision::{MAX_RULES, Problem, pack, parse};

fn problems(text: &str) -> Vec<Problem> {
    parse(text.as_bytes()).expect_err("the document is refused")
}

fn good(text: &str) -> Document {
    parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[track_caller]
fn assert_fault(text: &str, path: &str, reason: &str) {
    let found = problems(text);
    let fits = |problem: &Problem| problem.path == path && problem.reason.contains(reason);
    assert!(found.iter().any(fits), "no fault `{path}` with {reason:?} in {found:#?}");
}

/// A document of one syslog rule that raises `link-down` of the port that its expression finds.
fn document(members: &str, sections: &str) -> String {
    format!(
        r#"{{"format": 1, "rules": [{{"id": "port",
            "match": {{"syslog": {{"regex": "port (?P<port>\\w+) of (?P<unit>\\w+) down"}}}},
            "release": {{"source": {{"max_bytes": 64}}, "port": {{"from": "capture:port", "max_bytes": 64}},
                         "unit": {{"from": "capture:unit", "max_bytes": 64}}}},
            "then": {{"raise": {{"resource": "{{source}}/{{port}}", "kind": "link-down", "severity": "major", "summary": "{{port}} {{unit}}"}}}}
            {members}}}] {sections}}}"#
    )
}

fn with_ending(ending: &str) -> String {
    document(&format!(r#", "clear_on": [{{"syslog": {{"programs": ["x"], "regex": "port (?P<port>\\w+) up"}}}}, {ending}]"#), "")
}

#[test]
fn what_ends_an_alert_must_be_able_to_say_which() {
    assert_eq!(good(&with_ending(r#"{"syslog": {"regex": "(?P<port>\\w+) is back"}}"#)).rules[0].clear_on.len(), 2);
    for (ending, path, reason) in [
        (r#"{"syslog": {"regex": "a("}}"#, "rules[0].clear_on[1].syslog.regex", "unclosed group"),
        (r#"{"syslog": {"regex": "link up"}}"#, "rules[0].clear_on[1]", "needs a group (?P<port>"),
        (r#"{"syslog": {"programs": ["link"]}}"#, "rules[0].clear_on[1]", "needs a group (?P<port>"),
        (r#"{"trap": {}}"#, "rules[0].clear_on[1]", "must be `syslog`"),
        (r#"{"syslog": {}, "trap": {}}"#, "rules[0].clear_on[1]", "exactly one member"),
        (r#"{"line": {}}"#, "rules[0].clear_on[1]", "exactly one member"),
    ] {
        assert_fault(&with_ending(ending), path, reason);
    }
    let many = vec![r#"{"syslog": {"regex": "(?P<port>\\w+) up"}}"#; 17].join(",");
    assert_fault(&document(&format!(r#", "clear_on": [{many}]"#), ""), "rules[0].clear_on", "at most 16");
    let clear = r#"{"format": 1, "rules": [{"id": "a", "match": {"trap": {}}, "clear_on": [{"trap": {}}],
        "then": {"clear": {"resource": "a", "kind": "k"}}}]}"#;
    assert_fault(clear, "rules[0].clear_on", "only a rule that raises");
}

#[test]
fn tags_and_time_outs_are_bounded() {
    assert_fault(&document(r#", "tags": ["core", "Core"]"#, ""), "rules[0].tags[1]", "a tag has 1 to 64");
    assert_fault(&document(&format!(r#", "tags": [{}"x"]"#, r#""x","#.repeat(32)), ""), "rules[0].tags", "at most 32");
    let seconds =
        |seconds: u32| document("", "").replace(r#""severity": "major","#, &format!(r#""severity": "major", "clear_after_s": {seconds},"#));
    for bad in [0, 2_592_001] {
        assert_fault(&seconds(bad), "rules[0].then.raise.clear_after_s", "1 to 2592000");
    }
    good(&seconds(60));
}

#[test]
fn a_lookup_needs_its_table() {
    let released = |from: &str, tables: &str| {
        document("", &format!(r#", "tables": {tables}"#)).replace(r#""from": "capture:unit""#, &format!(r#""from": "{from}""#))
    };
    good(&released("lookup:units:capture:unit", r#"{"units": {"rows": {"1": "left"}, "default": "unknown"}}"#));
    for (from, tables, path, reason) in [
        ("lookup:units:host", "{}", "rules[0].release.unit.from", "has no table units"),
        ("lookup:units:trap_oid", r#"{"units": {"rows": {}}}"#, "rules[0].release.unit.from", "has no field lookup:units:trap_oid"),
        ("lookup:units:capture:gone", r#"{"units": {"rows": {}}}"#, "rules[0].release.unit.from", "no group (?P<gone>"),
        ("lookup:units", r#"{"units": {"rows": {}}}"#, "rules[0].release.unit.from", "lookup:TABLE:FIELD"),
        ("host", r#"{"Units": {"rows": {}}}"#, "tables.Units", "a table's name"),
        ("host", r#"{"units": {"rows": {"a": 1}}}"#, "tables.units.rows.a", "invalid type"),
        ("host", r#"{"units": {"row": {}}}"#, "tables.units.row", "unknown field"),
    ] {
        assert_fault(&released(from, tables), path, reason);
    }
    let long = format!(r#"{{"units": {{"rows": {{"a": "{}"}}}}}}"#, "x".repeat(257));
    assert_fault(&released("host", &long), "tables.units.rows.a", "at most 256 bytes");
    let rows: Vec<_> = (0..=10_000).map(|row| format!(r#""{row}": """#)).collect();
    assert_fault(&released("host", &format!(r#"{{"units": {{"rows": {{{}}}}}}}"#, rows.join(","))), "tables.units.rows", "10001 rows");
    let tables: Vec<_> = (0..=64).map(|table| format!(r#""t{table}": {{"rows": {{}}}}"#)).collect();
    assert_fault(&released("host", &format!("{{{}}}", tables.join(","))), "tables", "65 tables are more than 64");
}

#[test]
fn facts_about_sources_are_bounded() {
    let sources = |facts: &str| document("", &format!(r#", "sources": [{{"networks": ["10.0.0.0/8"], {facts}}}]"#));
    good(&sources(r#""name": "core-1", "site": "Bremen", "owner": "net", "group": "core", "tags": ["core"]"#));
    for (facts, path, reason) in [
        (r#""name": """#, "sources[0].name", "1 to 128 bytes"),
        (r#""site": "a\nb""#, "sources[0].site", "control"),
        (r#""tags": ["A B"]"#, "sources[0].tags[0]", "a tag has"),
    ] {
        assert_fault(&sources(facts), path, reason);
    }
    assert_fault(&sources(&format!(r#""owner": "{}""#, "x".repeat(129))), "sources[0].owner", "1 to 128 bytes");
}

fn with_packs(packs: &str) -> String {
    format!(r#"{{"format": 1, "rules": [], "packs": [{packs}]}}"#)
}

#[test]
fn packs_are_those_of_the_program_once_each() {
    for (packs, path, reason) in [
        (r#"{"id": "gone", "version": 1}"#, "packs[0]", "there is no pack \"gone\""),
        (r#"{"id": "ietf", "version": 999}"#, "packs[0]", "has versions"),
        (r#"{"id": "ietf", "version": 1}, {"id": "ietf", "version": 1}"#, "packs[1].id", "packs[0] is ietf already"),
    ] {
        assert_fault(&with_packs(packs), path, reason);
    }
    let same = document("", r#", "packs": [{"id": "ietf", "version": 1}]"#).replace(r#""id": "port""#, r#""id": "if-link-down""#);
    assert_fault(&same, "rules[0].id", "packs[0] has the rule if-link-down already");
}

#[test]
fn a_changed_rule_of_a_pack_is_checked_like_any_other() {
    let change = |change: &str| with_packs(&format!(r#"{{"id": "ietf", "version": 1, "overrides": {{"if-link-down": {change}}}}}"#));
    let changed = good(&change(r#"{"then": {"raise": {"severity": "critical"}}, "version": 7}"#));
    let rules = pack::rules(&changed).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(rules.iter().any(|meant| meant.rule.version == 7 && meant.path == "packs[0].overrides.if-link-down"));
    let without = pack::rules(&good(&change("null"))).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(without.len() + 1, rules.len());
    let at = |below: &str| format!("packs[0].overrides.if-link-down{below}");
    for (text, below, reason) in [
        (r#"{"then": {"raise": {"severity": "bad"}}}"#, ".then.raise.severity", "not a severity"),
        (r#"{"then": {"raise": {"summary": "{gone}"}}}"#, ".then.raise.summary", "gone is not released"),
        (r#"{"then": {"suppress": {}}}"#, ".then", "raise and suppress exclude each other"),
        (r#"{"match": {"trap": {"oid": "1"}}}"#, ".match.trap.oid", "an OID has"),
        (r#"{"match": {"trap": {"varbinds": [{"oid": "1.3", "regex": "("}]}}}"#, ".match.trap.varbinds[0].regex", "unclosed"),
        (r#"{"id": "other"}"#, ".id", "keeps the rule's id"),
        (r#"{"unknown": 1}"#, ".unknown", "unknown field"),
        ("7", "", "invalid type"),
    ] {
        assert_fault(&change(text), &at(below), reason);
    }
    assert_fault(
        &with_packs(r#"{"id": "ietf", "version": 1, "overrides": {"gone": null}}"#),
        "packs[0].overrides.gone",
        "has no rule \"gone\"",
    );
}

#[test]
fn rules_of_packs_count_towards_the_bounds() {
    let rule = |id| format!(r#"{{"id": "r{id}", "match": {{"push": {{}}}}, "then": {{"suppress": {{}}}}}}"#);
    let rules: Vec<_> = (0..MAX_RULES).map(rule).collect();
    let text = format!(r#"{{"format": 1, "rules": [{}], "packs": [{{"id": "ietf", "version": 1}}]}}"#, rules.join(","));
    assert_fault(&text, "rules", "those of packs included, are more than 10000");
}

#[test]
fn expressions_that_need_no_text_are_few() {
    let rule = |id| format!(r#"{{"id": "r{id}", "match": {{"syslog": {{"regex": "^\\w+ {id}$"}}}}, "then": {{"suppress": {{}}}}}}"#);
    let rules = |count: usize| format!(r#"{{"format": 1, "rules": [{}]}}"#, (10..10 + count).map(rule).collect::<Vec<_>>().join(","));
    assert!(problems(&rules(91).replace("\\\\w+ ", "\\\\w")).iter().all(|problem| problem.reason.contains("without any fixed text")));
    good(&rules(64).replace("\\\\w+ ", "\\\\w"));
    good(&rules(90));
}

#[test]
fn regular_expressions_cannot_be_bombs() {
    let with =
        |regex: &str| document("", "").replace(r"port (?P<port>\\w+) of (?P<unit>\\w+) down", &format!("(?P<port>)(?P<unit>){regex}"));
    for (regex, reason) in [
        (r"(?:(?:(?:a{100}){100}){100}){100}".to_owned(), "too large"),
        (r"(?:\\w{200}){200}".to_owned(), "too large"),
        (r"\\pL{1000}".to_owned(), ""),
        ("(".repeat(200) + &")".repeat(200), "nest"),
        ("x".repeat(1_025), "at most 1024 bytes"),
        (r"(a)\\1".to_owned(), "backreference"),
        ("(?=a)".to_owned(), "look-around"),
    ] {
        let began = std::time::Instant::now();
        assert_fault(&with(&regex), "rules[0].match.syslog.regex", reason);
        assert!(began.elapsed().as_secs() < 5, "{regex}");
    }
}
