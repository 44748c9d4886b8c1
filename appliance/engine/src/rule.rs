//! Rules, compiled from a document to an index: which rules may match an event is looked up, not tried one by one.
//!
//! `index` and `literal` find the candidates, `matcher` holds the conditions against the event, `field` takes out what a rule releases, `source`
//! says who reported, `outcome` fills the templates. `AlertEngine` is the only caller; nothing here remembers anything.

mod compile;
mod field;
mod index;
mod literal;
mod matcher;
mod outcome;
mod source;

use postern_protocol::dictionary::Dictionary;
use postern_protocol::id::RuleId;
use postern_protocol::revision::document::Document;
use postern_protocol::revision::{self, Problem};

use self::field::Released;
use self::index::Index;
use self::matcher::Matcher;
use self::outcome::Action;
use crate::event::Event;

pub(crate) use self::outcome::{Outcome, Report};

/// The rules of one document, compiled.
#[derive(Clone, Debug)]
pub struct RuleIndex {
    rules: Vec<Rule>,
    index: Index,
}

/// One rule, compiled.
#[derive(Clone, Debug)]
struct Rule {
    id: RuleId,
    version: u32,
    matcher: Matcher,
    released: Vec<Released>,
    action: Action,
    continues: bool,
}

impl RuleIndex {
    /// Compiles the rules of `document`.
    ///
    /// # Errors
    /// Every fault, with its path but without a line. A document that `revision::parse` took has none.
    pub fn compile(document: &Document) -> Result<Self, Vec<Problem>> {
        let rules = compile::rules(document)?;
        let index = Index::new(rules.iter().map(|rule| &rule.matcher));
        Ok(Self { rules, index })
    }

    /// Compiles the rules that every gateway has until a revision replaces them.
    ///
    /// # Errors
    /// Every fault of the built-in document; a test holds that there is none.
    pub fn built_in() -> Result<Self, Vec<Problem>> {
        Self::compile(&revision::parse(revision::BUILT_IN.as_bytes())?)
    }

    /// Returns the number of rules.
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns whether there is no rule.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Calls `act` with what each rule that decides about `event` makes of it: the first that matches, and the next while a rule
    /// says `continue`. Not called when none matches. Says whether one of them names the event's kind, rather than catches all.
    pub(crate) fn decide(&self, event: &Event, dictionary: &Dictionary, mut act: impl FnMut(Outcome)) -> bool {
        let mut names = false;
        for number in self.index.candidates(event) {
            let Some(rule) = self.rules.get(number) else { continue };
            if rule.matcher.matches(event) {
                names |= rule.matcher.names_its_events();
                act(outcome::of(rule, event, dictionary));
                if !rule.continues {
                    return names;
                }
            }
        }
        names
    }
}
