//! Warnings say what is hardly meant, and nothing else.
#![expect(clippy::panic, reason = "helpers of tests")]

use postern_protocol::revision::{BUILT_IN, parse, warnings};

/// The paths and reasons of the warnings about a document.
fn warned(text: &str) -> Vec<(String, String)> {
    let document = parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    warnings(&document).into_iter().map(|warning| (warning.path, warning.reason)).collect()
}

fn rule(id: &str, matcher: &str, more: &str) -> String {
    let then = r#"{"raise": {"resource": "r", "kind": "k", "severity": "minor", "summary": "s"}}"#;
    format!(r#"{{"id": "{id}", "match": {matcher}, "then": {then}{more}}}"#)
}

fn document(rules: &[String], sections: &str) -> String {
    format!(r#"{{"format": 1, "rules": [{}]{sections}}}"#, rules.join(","))
}

#[test]
fn the_built_in_document_has_no_warning() {
    assert_eq!(warned(BUILT_IN), []);
}

#[test]
fn a_rule_that_an_earlier_one_covers_is_out_of_reach() {
    for (wide, narrow) in [
        (r#"{"trap": {"prefix": "1.3.6.1.4.1.9"}}"#, r#"{"trap": {"oid": "1.3.6.1.4.1.9.9.43.2.0.1"}}"#),
        (r#"{"trap": {"prefix": "1.3.6.1.4.1.9"}}"#, r#"{"trap": {"prefix": "1.3.6.1.4.1.9.1", "sources": ["10.0.0.1"]}}"#),
        (
            r#"{"trap": {"oid": "1.3.6.1.7", "varbinds": [{"oid": "1.3"}]}}"#,
            r#"{"trap": {"oid": "1.3.6.1.7", "varbinds": [{"oid": "1.4"}, {"oid": "1.3"}]}}"#,
        ),
        (r#"{"trap": {"sources": ["10.0.0.0/8", "192.0.2.0/24"]}}"#, r#"{"trap": {"oid": "1.3.6.1.7", "sources": ["10.1.0.0/16"]}}"#),
        (
            r#"{"syslog": {"max_severity": 4, "programs": ["a", "b"]}}"#,
            r#"{"syslog": {"max_severity": 3, "programs": ["b"], "regex": "lost"}}"#,
        ),
        (r#"{"syslog": {"regex": "lost"}}"#, r#"{"syslog": {"regex": "lost", "hosts": ["h"]}}"#),
        (r#"{"syslog": {"msgids": ["m"]}}"#, r#"{"syslog": {"msgids": ["m"], "fields": {"a": "b"}}}"#),
        (r#"{"push": {"kinds": ["a", "b"]}}"#, r#"{"push": {"kinds": ["a"], "state": "clear"}}"#),
        (r#"{"push": {"fields": {"a": "b"}}}"#, r#"{"push": {"fields": {"a": "b", "c": "d"}}}"#),
    ] {
        let both = |more: &str| document(&[rule("wide", wide, more), rule("narrow", narrow, "")], "");
        let found = warned(&both(""));
        assert!(
            found.iter().any(|(path, reason)| path == "rules[1]" && reason.contains("rule wide (rules[0]) takes every")),
            "{wide} {narrow} {found:?}"
        );
        for more in [r#", "continue": true"#, r#", "mode": "observe""#] {
            assert!(warned(&both(more)).iter().all(|(path, _)| path != "rules[1]"), "{more}: {wide}");
        }
        let swapped = warned(&document(&[rule("narrow", narrow, ""), rule("wide", wide, "")], ""));
        assert!(swapped.iter().all(|(path, _)| path != "rules[1]"), "{wide} {narrow} {swapped:?}");
    }
}

#[test]
fn a_rule_of_a_pack_that_an_own_rule_covers_is_named_by_its_place() {
    let own = rule("own", r#"{"trap": {"oid": "1.3.6.1.6.3.1.1.5.3"}}"#, "");
    let found = warned(&document(&[own], r#", "packs": [{"id": "ietf", "version": 1}]"#));
    assert!(found.iter().any(|(path, reason)| path == "packs[0].overrides.if-link-down" && reason.contains("own (rules[0])")), "{found:?}");
}

#[test]
fn what_takes_everything_is_too_broad() {
    for matcher in [
        r#"{"trap": {}}"#,
        r#"{"trap": {"prefix": "1.3.6.1"}}"#,
        r#"{"syslog": {}}"#,
        r#"{"syslog": {"max_severity": 7}}"#,
        r#"{"syslog": {"regex": ".*"}}"#,
        r#"{"push": {}}"#,
    ] {
        let found = warned(&document(&[rule("a", matcher, "")], ""));
        assert!(found.iter().any(|(path, reason)| path == "rules[0].match" && reason.contains("this takes")), "{matcher} {found:?}");
        assert_eq!(
            warned(&document(&[rule("a", matcher, r#", "mode": "observe""#)], ""))
                .iter()
                .filter(|(path, _)| path == "rules[0].match")
                .count(),
            0
        );
    }
    for matcher in [r#"{"trap": {"prefix": "1.3.6.1.4.1.9"}}"#, r#"{"syslog": {"max_severity": 3}}"#, r#"{"push": {"state": "raise"}}"#] {
        assert_eq!(warned(&document(&[rule("a", matcher, "")], "")), [], "{matcher}");
    }
    let found = warned(&document(&[rule("a", r#"{"syslog": {"regex": "^\\d+$"}}"#, "")], ""));
    assert!(found.iter().any(|(path, _)| path == "rules[0].match.syslog.regex"), "{found:?}");
}

#[test]
fn names_that_nothing_has_are_told() {
    let tagged = rule("known.a", r#"{"trap": {"oid": "1.3.6.1.7"}}"#, r#", "tags": ["core"]"#);
    let sections = r#",
        "tables": {"unused": {"rows": {}}},
        "sources": [{"networks": ["10.0.0.0/8"], "group": "access"}, {"networks": ["10.0.0.0/8"]}],
        "windows": [{"id": "w", "affects": {"rules": ["known.*", "gone", "go*"], "groups": ["access", "lost"], "tags": ["core", "edge"]},
                     "when": {"once": {"from": "2026-12-24T22:00:00Z", "until": "2026-12-25T22:00:00Z"}}}],
        "dependencies": [{"id": "d", "parent": "sw-1", "children": {"groups": ["lost"]}}]"#;
    let clear = r#"{"id": "c", "match": {"trap": {"oid": "1.3.6.1.8"}}, "then": {"clear": {"resource": "r", "kind": "other"}}}"#;
    let mut paths: Vec<_> = warned(&document(&[tagged, clear.to_owned()], sections)).into_iter().map(|(path, _)| path).collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "dependencies[0].children.groups[0]",
            "rules[1].then.clear.kind",
            "sources[1].networks[0]",
            "tables.unused",
            "windows[0].affects.groups[1]",
            "windows[0].affects.rules[1]",
            "windows[0].affects.rules[2]",
            "windows[0].affects.tags[1]",
        ]
    );
}

#[test]
fn ten_thousand_rules_are_compared_in_little_time() {
    let rules: Vec<_> = (0..10_000)
        .map(|n| match n % 3 {
            0 => rule(
                &format!("r{n}"),
                &format!(r#"{{"trap": {{"oid": "1.3.6.1.6.3.1.1.5.3", "sources": ["10.{}.{}.1"]}}}}"#, n / 256, n % 256),
                "",
            ),
            1 => rule(&format!("r{n}"), &format!(r#"{{"push": {{"kinds": ["kind-{n}"]}}}}"#), ""),
            _ => rule(&format!("r{n}"), &format!(r#"{{"syslog": {{"hosts": ["host-{n}"], "max_severity": 3}}}}"#), ""),
        })
        .collect();
    let text = document(&rules, "").replace(
        r#", "then": {"raise": {"resource": "r", "kind": "k", "severity": "minor", "summary": "s"}}"#,
        r#", "then": {"suppress": {}}"#,
    );
    let document = parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let began = std::time::Instant::now();
    warnings(&document);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
