//! Rules, compiled.

use postern_protocol::revision::{self, Problem, document::Document};

/// The rules of one document, compiled to an index.
#[derive(Clone, Debug)]
pub struct RuleIndex {
    rules: usize,
}

impl RuleIndex {
    /// Compiles the rules of `document`.
    ///
    /// # Errors
    /// Every fault, when the document did not come from `revision::parse`.
    pub fn compile(document: &Document) -> Result<Self, Vec<Problem>> {
        Ok(Self { rules: document.rules.len() })
    }

    /// Compiles the built-in rules.
    ///
    /// # Errors
    /// Every fault of the built-in document; a test holds that there is none.
    pub fn built_in() -> Result<Self, Vec<Problem>> {
        Self::compile(&revision::parse(revision::BUILT_IN.as_bytes())?)
    }

    /// Returns the number of rules.
    pub const fn len(&self) -> usize {
        self.rules
    }

    /// Returns whether there is no rule.
    pub const fn is_empty(&self) -> bool {
        self.rules == 0
    }
}
