//! Regular expressions of rules, each compiled when a text is first held against it.
//!
//! A document may have thousands, most of them about what no device of the site ever says; compiled, each takes a millisecond and tens
//! of kilobytes. What compiles and what does not is held by `revision::parse`, under the same limits.

#![expect(clippy::disallowed_types, reason = "a part of one value, no global state")]

use std::sync::OnceLock;

use postern_protocol::revision::literal;
use postern_protocol::revision::pattern::{self, PatternError};
use regex::Regex;

/// A regular expression.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    text: String,
    /// Texts of which every match has one; empty when there are none.
    needed: Vec<Vec<u8>>,
    regex: OnceLock<Option<Regex>>,
}

impl Expression {
    /// Takes an expression. One that is tried often, because no text says when, is compiled at once.
    ///
    /// # Errors
    /// What is wrong with its syntax, or with its size when it is compiled at once.
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        let expression = |needed, regex| Self { text: text.to_owned(), needed, regex };
        match literal::needed(text) {
            Some(needed) => Ok(expression(needed, OnceLock::new())),
            None => Ok(expression(Vec::new(), OnceLock::from(Some(pattern::compile(text)?)))),
        }
    }

    /// Returns the texts of which every match has one; empty when there are none.
    pub(super) fn needed(&self) -> &[Vec<u8>] {
        &self.needed
    }

    /// Returns it compiled; `None` when it is too large, as none is that `revision::parse` took.
    pub(super) fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| pattern::compile(&self.text).ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression_is_told_at_once() {
        assert!(matches!(Expression::new("fan ("), Err(PatternError::Syntax(_))));
        assert_eq!(Expression::new(r"(?:\w{100}){100}").unwrap_err(), PatternError::Compiled);
    }

    #[test]
    fn an_expression_is_compiled_when_it_is_needed() {
        let expression = Expression::new(r"fan (\d+) failed").unwrap();
        assert!(expression.regex.get().is_none() && expression.needed() == [b" failed".to_vec()], "{expression:?}");
        assert!(expression.regex().is_some_and(|regex| regex.is_match("fan 7 failed")));
        assert!(expression.clone().regex.get().is_some());
        let any = Expression::new(r"\d+").unwrap();
        assert!(any.regex.get().is_some() && any.needed().is_empty());
    }
}
