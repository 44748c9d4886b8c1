//! From the text of a revision to what is put in force, or to every reason against it. Pure.

use postern_engine::rule::RuleIndex;
use postern_protocol::message::SignedRevision;
use postern_protocol::revision::document::{DEFAULT_CONFIRM_WITHIN_S, Document};
use postern_protocol::revision::{self, Problem};

use super::veto::Veto;
use super::{RevisionError, StoreError};

/// A revision that is good: what it says, and its rules compiled.
pub(crate) struct Compiled {
    /// What it says.
    pub(crate) document: Document,
    /// Its rules.
    pub(crate) rules: RuleIndex,
}

impl Compiled {
    /// Returns how long it has to be confirmed, seconds.
    pub(crate) fn confirm_within_s(&self) -> u32 {
        self.document.confirm_within_s.unwrap_or(DEFAULT_CONFIRM_WITHIN_S)
    }
}

/// Why a revision is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not good, or cannot be kept.
    Faulty(Vec<Problem>),
    /// This site forbids what it says.
    Vetoed(Vec<Problem>),
}

impl Refusal {
    /// Refuses it as a whole.
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self::Faulty(whole(reason))
    }

    /// Refuses it because it cannot be kept.
    pub(crate) fn not_kept(error: &StoreError) -> Self {
        Self::whole(format!("the gateway cannot keep the revision: {}", crate::chain(error)))
    }

    /// Returns what is wrong.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Self::Faulty(problems) | Self::Vetoed(problems) => problems,
        }
    }
}

/// Names a problem of the revision as a whole.
pub(super) fn whole(reason: impl Into<String>) -> Vec<Problem> {
    vec![Problem { path: String::new(), line: 0, column: 0, reason: reason.into() }]
}

/// Parses and compiles an authentic revision; takes processor time.
///
/// # Errors
/// Every problem.
pub(crate) fn compile(veto: &Veto, signed: &SignedRevision) -> Result<Compiled, Refusal> {
    let document = revision::parse(&signed.document).map_err(Refusal::Faulty)?;
    let forbidden = veto.problems(&document);
    if !forbidden.is_empty() {
        return Err(Refusal::Vetoed(forbidden));
    }
    Ok(Compiled { rules: RuleIndex::compile(&document).map_err(Refusal::Faulty)?, document })
}

/// Compiles the built-in rules, but for those that the site forbids.
///
/// # Errors
/// [`RevisionError::BuiltIn`].
pub(crate) fn built_in(veto: &Veto) -> Result<Compiled, RevisionError> {
    let mut document = revision::parse(revision::BUILT_IN.as_bytes()).map_err(RevisionError::BuiltIn)?;
    let stripped = veto.strip(&mut document);
    if stripped > 0 {
        tracing::warn!(rules = stripped, "built-in rules are left out because they release what the site forbids");
    }
    Ok(Compiled { rules: RuleIndex::compile(&document).map_err(RevisionError::BuiltIn)?, document })
}
