//! A document is taken whole or refused whole, and every fault is told with its place.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use postern_protocol::revision::document::{Action, Matcher, Rule};
use postern_protocol::revision::pack;
use postern_protocol::revision::{BUILT_IN, MAX_DOCUMENT_BYTES, MAX_PATTERNS, MAX_PROBLEMS, MAX_RULES, Problem, parse};

fn problems(text: &str) -> Vec<Problem> {
    parse(text.as_bytes()).expect_err("the document is refused")
}

/// Holds that the document has a fault with this path and reason where the mark `¦` stands.
#[track_caller]
fn assert_fault(marked: &str, path: &str, reason: &str) {
    let (before, after) = marked.split_once('¦').expect("a mark");
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap().len();
    let found = problems(&format!("{before}{after}"));
    assert!(
        found.iter().any(|p| p.path == path && (p.line as usize, p.column as usize) == (line, column) && p.reason.contains(reason)),
        "no fault `{path}` at {line}:{column} with {reason:?} in {found:#?}"
    );
}

/// A document of one rule, with `release` and `then` of a good one.
fn with_match(matcher: &str) -> String {
    format!(
        "{{\"format\": 1, \"rules\": [\n{{\"id\": \"a\",\n\"match\": {matcher},\n\"release\": {{\"source\": {{\"max_bytes\": 64}}}},\n\
         \"then\": {{\"clear\": {{\"resource\": \"{{source}}\", \"kind\": \"k\"}}}}}}]}}"
    )
}

/// A document of one syslog rule with a group `x`.
fn with_action(release: &str, then: &str) -> String {
    format!(
        "{{\"format\": 1, \"rules\": [{{\"id\": \"a\",\n\"match\": {{\"syslog\": {{\"regex\": \"(?P<x>.)\"}}}},\n\"release\": {release},\n\"then\": {then}}}]}}"
    )
}

fn built_in_rules() -> Vec<Rule> {
    let document = parse(BUILT_IN.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    pack::rules(&document).unwrap_or_else(|problems| panic!("{problems:#?}")).into_iter().map(|meant| meant.rule).collect()
}

#[test]
fn the_built_in_document_is_good_and_every_rule_says_where_it_comes_from() {
    assert!(built_in_rules().iter().all(|rule| !rule.description.is_empty()));
}

#[test]
fn the_built_in_clears_have_the_key_of_a_raise() {
    let rules = built_in_rules();
    for rule in &rules {
        if let Action::Clear(clear) = &rule.then {
            let pairs = rules.iter().any(|other| match &other.then {
                // A constant in the one may stand where the other fills in a field: `{alarm}` and an OID.
                Action::Raise(raise) => (&raise.resource, &raise.kind) == (&clear.resource, &clear.kind),
                Action::Clear(_) | Action::Suppress {} => false,
            });
            assert!(pairs, "{} clears what no rule raises", rule.id);
        }
    }
}

#[test]
fn the_built_in_catch_alls_release_no_text_of_the_event() {
    let rules = built_in_rules();
    let released = |id: &str| -> Vec<String> {
        let rule = rules.iter().find(|rule| rule.id.as_str() == id).unwrap();
        rule.release.iter().flat_map(|(name, release)| release.fields(name).unwrap()).map(|field| field.to_string()).collect()
    };
    assert_eq!(released("trap-unknown"), ["source", "trap_name", "trap_oid", "trap_oid"]);
    assert_eq!(released("syslog-error"), ["facility", "host", "program", "severity", "source"]);
    assert_eq!(released("push-raise"), ["kind", "qualifier", "resource", "severity"]);
    let last_of = |wanted: fn(&Matcher) -> bool| rules.iter().rfind(|rule| wanted(&rule.matcher)).unwrap().id.as_str();
    assert_eq!(last_of(|matcher| matches!(matcher, Matcher::Trap(_))), "trap-unknown");
    assert_eq!(last_of(|matcher| matches!(matcher, Matcher::Syslog(_))), "syslog-error");
}

#[test]
fn no_built_in_rule_releases_a_message_or_a_pushed_text() {
    for rule in &built_in_rules() {
        for (name, release) in &rule.release {
            for field in release.fields(name).unwrap() {
                let text = field.to_string();
                assert!(!["message", "summary"].contains(&text.as_str()) && !text.starts_with("field:"), "{} releases {text}", rule.id);
            }
        }
    }
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    assert_eq!(problems("")[0].reason, "not JSON: EOF while parsing a value");
    let cut = &problems("{\"format\": 1,\n \"rules\": [}")[0];
    assert_eq!((cut.line, cut.reason.as_str()), (2, "not JSON: expected value"));
    assert_fault(
        &format!("{{\"rules\": {}¦{}{}}}", "[".repeat(32), "[".repeat(9), "]".repeat(41)),
        &format!("rules{}", "[0]".repeat(32)),
        "nested too deeply",
    );
    let error = parse(b"{\"format\": 1,\n \"\xff\"").unwrap_err();
    assert_eq!((error[0].line, error[0].column), (2, 3));
}

#[test]
fn a_document_that_is_too_long_is_not_read() {
    let text = format!("{}{}", BUILT_IN, " ".repeat(MAX_DOCUMENT_BYTES));
    assert!(problems(&text)[0].reason.contains("more than 2097152"));
}

#[test]
fn the_top_is_checked() {
    assert_fault("¦[]", "", "");
    assert_fault("\n ¦{\"format\": 1}", "", "missing field `rules`");
    assert_fault("{\"format\": ¦2, \"rules\": []}", "format", "format 2 is not known");
    assert_fault("{\"format\": 1, \"rules\": ¦{}}", "rules", "must be a list");
    assert_fault("{\"format\": 1, \"rules\": [],\n¦\"rule\": 1}", "rule", "unknown field");
    assert_fault("{\"format\": 1,\n\"rules\": [],\n¦\"rules\": []}", "rules", "given twice");
    assert_fault("{\"format\": 1,\n\"rules\": [],\n¦\"r\\u0075les\": []}", "rules", "given twice");
    let many = format!("{{\"format\": 1, \"rules\": ¦[{}0]}}", "0,".repeat(MAX_RULES));
    assert_fault(&many, "rules", "10001 rules are more than 10000");
}

#[test]
fn too_many_patterns_are_refused_before_one_is_compiled() {
    let rule = |id| {
        format!(
            "{{\"id\": \"r{id}\", \"match\": {{\"syslog\": {{\"regex\": \"(\"}}}}, \"release\": {{}},
              \"then\": {{\"clear\": {{\"resource\": \"a\", \"kind\": \"k\"}}}}}}"
        )
    };
    let rules: Vec<_> = (0..=MAX_PATTERNS).map(rule).collect();
    let found = problems(&format!("{{\"format\": 1, \"rules\": [{}]}}", rules.join(",")));
    // The patterns are not good either, which nobody has looked at.
    assert_eq!(found.len(), 1, "{:?}", found.get(1));
    let reason = format!("{} regular expressions, those of packs included, are more than {MAX_PATTERNS}", MAX_PATTERNS + 1);
    assert_eq!((found[0].path.as_str(), found[0].reason.as_str()), ("rules", reason.as_str()));
}

#[test]
fn a_wrong_shape_is_told_with_its_path() {
    for (matcher, path, reason) in [
        (r#"{"trap": {"oid": ¦1}}"#, ".trap.oid", "invalid type: integer `1`, expected a string"),
        (r#"{"trap": {¦"iod": "1.3"}}"#, ".trap.iod", "unknown field `iod`, expected one of `oid`"),
        (r#"¦{"trap": {}, "syslog": {}}"#, "", "exactly one member: push, syslog, trap"),
        (r#"¦{"snmp": {}}"#, "", "exactly one member: push, syslog, trap"),
        (r#"¦"trap""#, "", "exactly one member: push, syslog, trap"),
        (r#"{"push": {"state": ¦"up"}}"#, ".push.state", "unknown variant `up`, expected `raise` or `clear`"),
        (r#"{"trap": {"varbinds": [{"oid": "1.3", ¦"eq": "1"}]}}"#, ".trap.varbinds[0].eq", "unknown field `eq`"),
    ] {
        assert_fault(&with_match(matcher), &format!("rules[0].match{path}"), reason);
    }
    assert_fault("{\"format\": 1, \"rules\": [\n¦{\"id\": \"a\"}]}", "rules[0]", "missing field `match`");
    assert_fault("{\"format\": 1, \"rules\": [\n{\"id\": ¦\"A b\"}]}", "rules[0].id", "an identifier is 1 to 64");
    assert_fault("{\"format\": 1, \"rules\": [\n¦7]}", "rules[0]", "invalid type: integer `7`");
}

#[test]
fn a_severity_that_is_none_says_what_one_is() {
    let raise = |severity: &str| {
        let then = format!(r#"{{"raise": {{"resource": "r", "kind": "k", "summary": "s", "severity": {severity}}}}}"#);
        with_action(r#"{"source": {"max_bytes": 9}}"#, &then)
    };
    let path = "rules[0].then.raise.severity";
    assert_fault(&raise(r#"¦"fatal""#), path, r#"write critical, major, minor, warning or indeterminate, or {"by""#);
    assert_fault(&raise("¦3"), path, "invalid type: integer `3`, expected critical, major");
    let map = raise(r#"{"by": "source", "map": {"1": ¦"bad"}, "default": "minor"}"#);
    assert_fault(&map, &format!("{path}.map.1"), "unknown variant `bad`");
    assert_fault(&raise(r#"{"by": ¦"x", "map": {}, "default": "minor"}"#), &format!("{path}.by"), "x is not released");
    assert!(parse(raise(r#"{"by": "source", "map": {"1": "major"}, "default": "minor"}"#).as_bytes()).is_ok());
}

#[test]
fn conditions_are_checked() {
    for (matcher, path, reason) in [
        (r#"{"trap": {"oid": ¦"1.x"}}"#, "trap.oid", "an OID is numbers"),
        (r#"{"trap": {"oid": "1.3", "prefix": ¦"1.3"}}"#, "trap.prefix", "not both"),
        (r#"{"trap": {"prefix": ¦"4.3"}}"#, "trap.prefix", "an OID begins with"),
        (r#"{"trap": {"varbinds": [{"oid": "1.3"}, {"oid": ¦"1"}]}}"#, "trap.varbinds[1].oid", "an OID has 2 to"),
        (r#"{"trap": {"varbinds": [{"oid": "1.3", "regex": ¦"a("}]}}"#, "trap.varbinds[0].regex", "unclosed group"),
        (r#"{"trap": {"sources": [¦"10.0.0.1/8"]}}"#, "trap.sources[0]", "write 10.0.0.0/8"),
        (r#"{"syslog": {"facilities": ["kern", ¦"auht"]}}"#, "syslog.facilities[1]", "no such facility"),
        (r#"{"syslog": {"max_severity": ¦8}}"#, "syslog.max_severity", "0 (emergency) to 7 (debug)"),
        (r#"{"syslog": {"programs": [¦""]}}"#, "syslog.programs[0]", "1 to 1024 bytes"),
        (r#"{"syslog": {"regex": ¦"[z-a]"}}"#, "syslog.regex", "invalid character class range"),
        (r#"{"push": {"fields": {"": ¦"x"}}}"#, "push.fields.", "names have 1 to"),
    ] {
        assert_fault(&with_match(matcher), &format!("rules[0].match.{path}"), reason);
    }
}

#[test]
fn releases_are_checked() {
    for (release, path, reason) in [
        (r#"{"source": {"max_bytes": ¦0}}"#, "source.max_bytes", "1 to 1024"),
        (r#"{¦"Source": {"max_bytes": 1, "from": "source"}}"#, "Source", "a name has 1 to 64"),
        (r#"{"source": {"max_bytes": 1, "from": ¦"community"}}"#, "source.from", "there is no field \"community\""),
        (r#"{"source": {"max_bytes": 1, "from": ¦"host | trap_oid"}}"#, "source.from", "matches `syslog` has no field trap_oid"),
        (r#"{"source": {"max_bytes": 1, "from": ¦"capture:y"}}"#, "source.from", "has no group (?P<y>…)"),
        (r#"{"sauce": ¦{"max_bytes": 1}}"#, "sauce.from", "there is no field \"sauce\""),
    ] {
        let then = r#"{"clear": {"resource": "{source}", "kind": "k"}}"#;
        assert_fault(&with_action(release, then), &format!("rules[0].release.{path}"), reason);
    }
}

#[test]
fn actions_are_checked() {
    let release = r#"{"source": {"max_bytes": 9}, "x": {"from": "capture:x", "max_bytes": 9}}"#;
    for (then, path, reason) in [
        (r#"{"clear": {"resource": ¦"{host}", "kind": "k"}}"#, "then.clear.resource", "host is not released"),
        (r#"{"clear": {"resource": ¦"", "kind": "k"}}"#, "then.clear.resource", "a text is needed"),
        (r#"{"clear": {"resource": "r", "kind": ¦"{"}}"#, "then.clear.kind", "is not closed"),
        (
            r#"{"raise": {"resource": "{x}", "kind": "k", "severity": "minor", "summary": "s", "labels": {"a": ¦"{b}"}}}"#,
            "then.raise.labels.a",
            "b is not released",
        ),
        (r#"{"suppress": {¦"a": 1}}"#, "then.suppress.a", "unknown field"),
        (r#"{"suppress": {}}, "continue": ¦true"#, "continue", "ends the search"),
    ] {
        assert_fault(&with_action(release, then), &format!("rules[0].{path}"), reason);
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_text() {
    let text = r#"{"format": 3, "rules": [
        {"id": "a", "match": {"trap": {"oid": "1"}}, "then": {"suppress": {}}},
        {"id": "b", "match": {}, "then": {"suppress": {}}},
        {"id": "a", "match": {"trap": {"oid": 7}}, "then": {}},
        {"id": "a", "match": {"trap": {}}, "id": "c", "then": {"suppress": {}}},
        {"id": "a", "match": {"trap": {}}, "then": {"suppress": {}}}]}"#;
    let found: Vec<_> = problems(text).into_iter().map(|problem| (problem.path, problem.line)).collect();
    let expected = [
        ("format", 1),
        ("rules[0].match.trap.oid", 2),
        ("rules[1].match", 3),
        ("rules[2].then", 4),
        ("rules[3].id", 5),
        ("rules[4].id", 6),
    ];
    assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
}

#[test]
fn the_number_of_faults_is_bounded() {
    let rules: Vec<_> = (0..500).map(|_| "{}").collect();
    let found = problems(&format!("{{\"format\": 1, \"rules\": [{}]}}", rules.join(",")));
    assert_eq!(found.len(), MAX_PROBLEMS + 1);
    assert!(found[MAX_PROBLEMS].reason.contains("more than 100 faults"));
}

#[test]
fn a_document_survives_being_written() {
    let document = parse(BUILT_IN.as_bytes()).unwrap();
    let written = serde_json::to_vec(&document).unwrap();
    assert_eq!(parse(&written), Ok(document));
}
