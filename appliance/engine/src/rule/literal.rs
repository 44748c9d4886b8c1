//! Texts of which a message must contain one before a rule's regular expression can match: all of them are looked for in one pass,
//! so that a line costs what it matches and not how many rules there are.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use postern_protocol::revision::literal;

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
        let Some(texts) = literal::needed(expression) else { return false };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_once_and_ascending() {
        let mut literals = Literals::default();
        assert!(literals.add(7, "panic") && literals.add(3, "kernel (?:panic|oops)") && !literals.add(5, r"\d"));
        let literals = literals.finish();
        assert_eq!(literals.found("kernel panic, and a panic again"), [3, 7]);
        assert!(literals.found("all is well").is_empty());
    }
}
