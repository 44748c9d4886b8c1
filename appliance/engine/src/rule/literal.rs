//! Texts of which a message must contain one before a rule's regular expression can match: all of them are looked for in one pass,
//! so that a line costs what it matches and not how many rules there are.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};

/// Shortest text worth looking for; shorter ones are in almost every line.
const MIN_BYTES: usize = 3;

/// Most bytes of a text: longer beginnings tell no more.
const MAX_BYTES: usize = 24;

/// Most texts of one expression.
const MAX_TEXTS: usize = 64;

/// Bytes of all texts up to which the fastest automaton is made; it takes the most memory, about a kibibyte for each four bytes.
const FASTEST_BYTES: usize = 8 * 1024;

/// Rules by the texts that they need.
#[derive(Clone, Debug, Default)]
pub(super) struct Literals {
    texts: Vec<Vec<u8>>,
    /// The rule of each text.
    rules: Vec<usize>,
    automaton: Option<AhoCorasick>,
}

impl Literals {
    /// Adds a rule; `false` when its expression needs no text, so that every message must be held against it.
    pub(super) fn add(&mut self, rule: usize, expression: &str) -> bool {
        let Some(texts) = needed(expression) else { return false };
        self.rules.extend(texts.iter().map(|_| rule));
        self.texts.extend(texts);
        true
    }

    /// Makes the automaton of what was added.
    pub(super) fn finish(mut self) -> Self {
        let bytes = self.texts.iter().map(Vec::len).fold(0, usize::saturating_add);
        let kind = if bytes <= FASTEST_BYTES { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let mut builder = AhoCorasickBuilder::new();
        // The bounds of a document keep it far below what an automaton can hold; without one every rule would be tried.
        self.automaton = builder.match_kind(MatchKind::Standard).kind(Some(kind)).build(&self.texts).ok();
        debug_assert!(self.automaton.is_some(), "the document's bounds keep the automaton small");
        self.texts.clear();
        self
    }

    /// Returns the rules of which `message` contains a needed text, ascending.
    pub(super) fn found(&self, message: &str) -> Vec<usize> {
        let mut found = Vec::new();
        let Some(automaton) = &self.automaton else { return self.rules.clone() };
        for hit in automaton.find_overlapping_iter(message) {
            found.extend(self.rules.get(hit.pattern().as_usize()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The texts of which every match of `expression` has one, at its beginning or else at its end.
fn needed(expression: &str) -> Option<Vec<Vec<u8>>> {
    let parsed = regex_syntax::parse(expression).ok()?;
    [ExtractKind::Prefix, ExtractKind::Suffix].into_iter().find_map(|kind| {
        let mut extractor = Extractor::new();
        extractor.kind(kind.clone()).limit_literal_len(MAX_BYTES).limit_total(MAX_TEXTS);
        let mut found = extractor.extract(&parsed);
        // A text that contains another is only a longer way to say it.
        match kind {
            ExtractKind::Prefix => found.minimize_by_preference(),
            _ => found.dedup(),
        }
        telling(&found)
    })
}

fn telling(found: &Seq) -> Option<Vec<Vec<u8>>> {
    let literals = found.literals()?;
    let useful = !literals.is_empty() && literals.iter().all(|literal| literal.len() >= MIN_BYTES);
    useful.then(|| literals.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_needs_its_beginning_or_its_end() {
        let texts =
            |expression| needed(expression).map(|texts| texts.into_iter().map(|text| String::from_utf8(text).unwrap()).collect::<Vec<_>>());
        assert_eq!(texts(r"I/O error, dev (?P<device>\w+)"), Some(vec!["I/O error, dev ".to_owned()]));
        assert_eq!(texts(r"^(?:kernel panic|Oops): "), Some(vec!["kernel panic: ".to_owned(), "Oops: ".to_owned()]));
        assert_eq!(texts(r"\d+ segments failed"), Some(vec![" segments failed".to_owned()]));
        assert_eq!(texts(r"\w+"), None);
        assert_eq!(texts(r"a|panic"), None, "one of its ways needs next to nothing");
        assert!(texts(r"(?i)panic").unwrap().iter().any(|text| "PaNIC".starts_with(text.as_str())));
    }

    #[test]
    fn rules_are_found_once_and_ascending() {
        let mut literals = Literals::default();
        assert!(literals.add(7, "panic") && literals.add(3, "kernel (?:panic|oops)") && !literals.add(5, r"\d"));
        let literals = literals.finish();
        assert_eq!(literals.found("kernel panic, and a panic again"), [3, 7]);
        assert!(literals.found("all is well").is_empty());
    }
}
