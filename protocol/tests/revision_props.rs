//! Documents from outside never panic, and every fault lies inside the document.

use postern_protocol::revision::template::Template;
use postern_protocol::revision::{field::Field, parse};
use proptest::prelude::*;

const DOCUMENT: &str = r#"{"format": 1, "rules": [
  {"id": "a", "version": 2, "description": "ä \u00e4 \ud83d\ude00", "match": {"trap": {"oid": "1.3.6.1", "varbinds": [{"oid": "1.3", "equals": "1"}]}},
   "release": {"source": {"max_bytes": 64}, "i": {"from": "index:1.3 | varbind:1.3", "max_bytes": 10}},
   "then": {"raise": {"resource": "{source}/{i}", "kind": "k{{}}", "severity": {"by": "i", "map": {"1": "major"}, "default": "minor"}, "summary": "s",
            "labels": {"i": "{i}"}}}},
  {"id": "b", "match": {"syslog": {"facilities": ["kern"], "max_severity": 3, "sources": ["10.0.0.0/8"], "regex": "(?P<x>a+)"}},
   "release": {"x": {"from": "capture:x", "max_bytes": 9}}, "then": {"clear": {"resource": "{x}", "kind": "k"}}, "continue": true},
  {"id": "c", "match": {"push": {"state": "raise", "kinds": ["k"]}}, "then": {"suppress": {}}}]}"#;

/// What a mutation puts in.
fn insertions() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3),
        prop::sample::select(
            &["{", "}", "[", "]", "\"", ",", ":", "\\", "null", "1e999", "{}", "\"id\":\"a\",", "\u{feff}", "\"\\ud800\""][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

#[test]
fn the_document_of_these_tests_is_good() {
    assert_eq!(parse(DOCUMENT.as_bytes()).map(|document| document.rules.len()), Ok(3));
}

proptest! {
    #[test]
    fn a_mutated_document_is_taken_or_refused_with_places_inside_it(
        mutations in prop::collection::vec((0..DOCUMENT.len(), 0..4_usize, insertions()), 1..4)
    ) {
        let mut text = DOCUMENT.as_bytes().to_vec();
        for (at, removed, inserted) in mutations {
            let at = at.min(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted);
        }
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            let lines = text.iter().filter(|b| **b == b'\n').count() + 1;
            for problem in problems {
                prop_assert!((1..=lines).contains(&(problem.line as usize)), "{problem:?}");
                prop_assert!((problem.column as usize) <= text.len() + 1, "{problem:?}");
                prop_assert!(!problem.reason.is_empty() && problem.reason.len() < 2_000);
            }
        }
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn selectors_and_templates_never_panic(text in "\\PC{0,40}|[a-z:.|{} 0-9]{0,40}") {
        if let Ok(field) = text.parse::<Field>() {
            prop_assert_eq!(field.to_string().parse::<Field>(), Ok(field));
        }
        if let Ok(template) = Template::parse(&text) {
            template.render(|_| Some("x"));
        }
    }
}
