//! The site's last word: fields that no rule may release, whoever signed it.

use postern_protocol::oid::Oid;
use postern_protocol::revision::Problem;
use postern_protocol::revision::document::{Document, Rule};
use postern_protocol::revision::field::Field;
use postern_protocol::revision::pack::{self, Meant};

/// Fields that are forbidden.
#[derive(Clone, Debug, Default)]
pub(crate) struct Veto(Vec<Field>);

impl Veto {
    /// Makes a veto of what the bootstrap file lists.
    pub(crate) const fn new(forbidden: Vec<Field>) -> Self {
        Self(forbidden)
    }

    /// Returns every release in `document` that is forbidden.
    pub(crate) fn problems(&self, document: &Document) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.0.is_empty() {
            // Most sites forbid nothing: no pack need be read for that.
            return problems;
        }
        // A pack that is not there is the compiler's to tell.
        for Meant { path, rule } in pack::rules(document).unwrap_or_default() {
            for (name, field) in self.forbidden_in(&rule) {
                problems.push(Problem {
                    path: format!("{path}.release.{name}"),
                    line: 0,
                    column: 0,
                    reason: format!("the site's own file forbids to release {field} (veto.forbidden_fields)"),
                });
            }
        }
        for index in 0..if self.covers_sources() { document.silences.len() } else { 0 } {
            let reason =
                "the site's own file forbids to release who a source is (veto.forbidden_fields): alerts about silence name it".to_owned();
            problems.push(Problem { path: format!("silences[{index}]"), line: 0, column: 0, reason });
        }
        problems
    }

    /// Tells whether what alerts about silence say is forbidden: who a source is.
    fn covers_sources(&self) -> bool {
        self.0.iter().any(|forbidden| covers(forbidden, &Field::Source))
    }

    /// Takes the rules out of `document` that release what is forbidden, also those of packs; returns how many those were.
    pub(crate) fn strip(&self, document: &mut Document) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let before = document.rules.len();
        document.rules.retain(|rule| self.forbidden_in(rule).is_empty());
        let mut stripped = before.saturating_sub(document.rules.len());
        if self.covers_sources() {
            stripped = stripped.saturating_add(std::mem::take(&mut document.silences).len());
        }
        for wanted in &mut document.packs {
            // A pack that is not there is the compiler's to tell.
            let rules = pack::rules_of(wanted, "packs", &mut Vec::new());
            for rule in rules.iter().filter(|rule| !self.forbidden_in(rule).is_empty()) {
                wanted.overrides.insert(rule.id.as_str().to_owned(), serde_json::Value::Null);
                stripped = stripped.saturating_add(1);
            }
        }
        stripped
    }

    fn forbidden_in(&self, rule: &Rule) -> Vec<(String, Field)> {
        let released = rule.release.iter().flat_map(|(name, release)| {
            // A checked document has no selector that does not parse.
            release.fields(name).unwrap_or_default().into_iter().map(move |field| (name.clone(), field))
        });
        released.filter(|(_, field)| self.0.iter().any(|forbidden| covers(forbidden, field))).collect()
    }
}

/// Tells whether releasing `released` would tell something of `forbidden`.
fn covers(forbidden: &Field, released: &Field) -> bool {
    match (forbidden, released) {
        // What a table says of a text tells the text.
        (forbidden, Field::Lookup { of, .. }) => forbidden == released || covers(forbidden, of),
        // What the document knows of an address tells of the address.
        (Field::Peer | Field::Source, Field::Group | Field::Owner | Field::Site | Field::SourceName | Field::Tags) => true,
        // A capture is a part of the message.
        (Field::Message, Field::Capture(_)) => true,
        // `source` is the host where a syslog line names one.
        (Field::Host | Field::Peer, Field::Source) => true,
        (Field::TrapName | Field::TrapOid, Field::TrapName | Field::TrapOid) => true,
        // Whatever the words, a name holds the index, and a value is the value.
        (forbidden, released) => {
            forbidden == released || overlap(value_of(forbidden), value_of(released)) || overlap(index_of(forbidden), index_of(released))
        }
    }
}

/// Returns of which varbind `field` tells the value.
const fn value_of(field: &Field) -> Option<&Oid> {
    match field {
        Field::Named(oid) | Field::Value(oid) | Field::Varbind(oid) => Some(oid),
        _ => None,
    }
}

/// Returns of which varbind `field` tells the index.
const fn index_of(field: &Field) -> Option<&Oid> {
    match field {
        Field::Index(oid) | Field::Name(oid) | Field::Named(oid) => Some(oid),
        _ => None,
    }
}

/// A selector takes the first varbind at or below its OID: either may lie below the other.
fn overlap(forbidden: Option<&Oid>, released: Option<&Oid>) -> bool {
    forbidden.zip(released).is_some_and(|(f, r)| f.strip_prefix(r).is_some() || r.strip_prefix(f).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::revision;

    fn document(from: &str, matcher: &str) -> Document {
        let text = format!(
            r#"{{"format":1,"rules":[{{"id":"r","match":{matcher},"release":{{"x":{{"from":"{from}","max_bytes":10}}}},
               "then":{{"raise":{{"resource":"a","kind":"k","severity":"minor","summary":"s {{x}}"}}}}}}]}}"#
        );
        revision::parse(text.as_bytes()).unwrap()
    }

    fn forbids(forbidden: &str, from: &str, matcher: &str) -> bool {
        let veto = Veto::new(vec![forbidden.parse().unwrap()]);
        let mut document = document(from, matcher);
        let problems = veto.problems(&document);
        assert_eq!(veto.strip(&mut document), problems.len());
        problems.iter().all(|problem| problem.path == "rules[0].release.x") && !problems.is_empty()
    }

    #[test]
    fn what_is_forbidden_is_found_also_where_it_hides() {
        let syslog = r#"{"syslog":{"regex":"(?P<user>\\w+)"}}"#;
        let trap = r#"{"trap":{}}"#;
        assert!(forbids("message", "message", syslog));
        assert!(forbids("message", "capture:user", syslog));
        assert!(forbids("message", "program | message", syslog));
        assert!(forbids("peer", "site", syslog) && forbids("source", "source_name", syslog) && !forbids("message", "tags", syslog));
        assert!(forbids("varbind:1.3.6.1.4.1", "varbind:1.3.6.1.4.1.9.9", trap));
        assert!(forbids("varbind:1.3.6.1.4.1.9.9", "varbind:1.3.6.1.4.1", trap));
        for (forbidden, released) in
            [("varbind", "value"), ("varbind", "named"), ("index", "name"), ("index", "named"), ("named", "varbind"), ("value", "varbind")]
        {
            assert!(forbids(&format!("{forbidden}:1.3.6.1.4.1"), &format!("{released}:1.3.6.1.4.1.9"), trap), "{forbidden} {released}");
        }
        assert!(forbids("trap_oid", "trap_name", trap));
        assert!(!forbids("varbind:1.3.6.1.4.1", "name:1.3.6.1.4.1.9", trap));
        assert!(!forbids("message", "program", syslog));
        assert!(!forbids("varbind:1.3.6.1.4.1.9", "varbind:1.3.6.1.4.1.8", trap));
    }

    #[test]
    fn alerts_about_silence_name_sources_so_who_forbids_that_forbids_them() {
        let text = br#"{"format": 1, "rules": [], "silences": [{"id": "alive"}]}"#;
        for (forbidden, count) in [("source", 1), ("host", 1), ("peer", 1), ("message", 0)] {
            let veto = Veto::new(vec![forbidden.parse().unwrap()]);
            let mut document = revision::parse(text).unwrap();
            let paths: Vec<_> = veto.problems(&document).into_iter().map(|problem| problem.path).collect();
            assert_eq!(paths, vec!["silences[0]"; count], "{forbidden}");
            assert_eq!((veto.strip(&mut document), document.silences.len()), (count, 1 - count), "{forbidden}");
        }
    }
}
