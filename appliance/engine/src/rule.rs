//! Rules, compiled from a document to an index: which rules may match an event is looked up, not tried one by one.
//!
//! `index`, with `oid_tree`, `literal` and `networks`, finds the candidates, `matcher`, with `expression`, holds the conditions
//! against the event, `field` takes out what a rule releases, `source`
//! says who reported and `facts` what the document knows of it, `outcome` fills the templates, `counters` counts. `AlertEngine` is the
//! only caller; besides the counters, which it owns, nothing here remembers anything.

mod compile;
mod counters;
mod expression;
mod facts;
mod field;
mod index;
mod literal;
mod matcher;
mod networks;
mod oid_tree;
mod outcome;
mod source;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use postern_protocol::alert::AlertKey;
use postern_protocol::dictionary::Dictionary;
use postern_protocol::id::RuleId;
use postern_protocol::revision::document::{Document, Mode, Table};
use postern_protocol::revision::intake::SourceFacts;
use postern_protocol::revision::{self, Problem};

use self::facts::Sources;
use self::field::Released;
use self::index::{Candidates, Index};
use self::matcher::Matcher;
use self::outcome::Action;
use crate::event::Event;
use crate::noise::Settings;

pub(crate) use self::counters::Counters;
pub(crate) use self::outcome::{NoiseFacts, Origin, Outcome, Report};
pub(crate) use self::source::{Sender, sender};

/// The rules of one document, compiled.
#[derive(Clone, Debug)]
pub struct RuleIndex {
    /// What is tried: each rule of the document, and right after it one for each of its `clear_on`.
    rules: Vec<Rule>,
    facts: Vec<RuleFacts>,
    /// Seconds without a report after which an alert ends, by the rules that say so.
    clear_after: BTreeMap<RuleId, u32>,
    sources: Sources,
    noise: Settings,
    tables: BTreeMap<String, Table>,
    index: Index,
}

/// The place of a rule among those that the document means (`pack::rules`), from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RuleNumber(u32);

/// What is known of a rule besides what it is for and does.
#[derive(Clone, Debug)]
pub(crate) struct RuleFacts {
    pub(crate) id: RuleId,
    pub(crate) version: u32,
    pub(crate) mode: Mode,
    pub(crate) tags: Arc<[String]>,
    pub(crate) clear_after_s: Option<u32>,
}

/// What one rule makes of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decided {
    pub(crate) rule: RuleNumber,
    /// When it only observes, nothing is to happen but [`Counters::observe`].
    pub(crate) mode: Mode,
    pub(crate) outcome: Outcome,
}

/// What is tried, compiled.
#[derive(Clone, Debug)]
struct Rule {
    number: RuleNumber,
    matcher: Matcher,
    released: Vec<Released>,
    action: Action,
    continues: bool,
}

impl RuleNumber {
    /// Counts from 0; a document has far fewer rules than a number can say.
    pub(crate) fn new(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Returns it as the index of a list.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl RuleFacts {
    /// Returns whether the rule raises nothing.
    pub(crate) const fn observes(&self) -> bool {
        matches!(self.mode, Mode::Observe)
    }
}

impl RuleIndex {
    /// Compiles the rules of `document`.
    ///
    /// # Errors
    /// Every fault, with its path but without a line; but of expressions that are only compiled when they are needed, only faults of
    /// syntax. A document that `revision::parse` took has none.
    pub fn compile(document: &Document) -> Result<Self, Vec<Problem>> {
        let compile::Compiled { rules, facts, noise } = compile::rules(document)?;
        let sources = Sources::new(&document.sources)?;
        let index = Index::new(rules.iter().map(|rule| &rule.matcher));
        let clear_after = facts.iter().filter_map(|facts| Some((facts.id.clone(), facts.clear_after_s?))).collect();
        Ok(Self { rules, facts, clear_after, sources, noise, tables: document.tables.clone(), index })
    }

    /// Compiles the rules that every gateway has until a revision replaces them.
    ///
    /// # Errors
    /// Every fault of the built-in document; a test holds that there is none.
    pub fn built_in() -> Result<Self, Vec<Problem>> {
        Self::compile(&revision::parse(revision::BUILT_IN.as_bytes())?)
    }

    /// Returns the number of rules, those of packs included.
    pub const fn len(&self) -> usize {
        self.facts.len()
    }

    /// Returns whether there is no rule.
    pub const fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Returns the keys of the alerts that `event` is evidence for: those that rules would raise or clear because of it.
    pub fn keys(&self, event: &Event, dictionary: &Dictionary) -> Vec<AlertKey> {
        let mut keys = Vec::new();
        let mut counters = Counters::default();
        let mut deciding = self.deciding(event, dictionary);
        while let Some(decided) = deciding.next(&mut counters) {
            match decided.outcome {
                Outcome::Clear { key, .. } => keys.push(key),
                Outcome::Raise(report) => keys.push(report.key),
                Outcome::Suppress => {}
            }
        }
        keys
    }

    /// Returns what is known of a rule.
    pub(crate) fn facts(&self, number: RuleNumber) -> Option<&RuleFacts> {
        self.facts.get(number.index())
    }

    /// Returns what noise is kept down with.
    pub(crate) const fn noise(&self) -> &Settings {
        &self.noise
    }

    /// Returns what the document knows of an address.
    pub(crate) fn facts_of(&self, address: IpAddr) -> Option<&Arc<SourceFacts>> {
        self.sources.of(address)
    }

    /// Returns whether a rule is called `id`.
    pub(crate) fn has_rule(&self, id: &str) -> bool {
        self.facts.iter().any(|facts| facts.id.as_str() == id)
    }

    /// Returns after how many seconds without a report an alert of the rule called `id` ends by itself.
    pub(crate) fn clear_after(&self, id: &RuleId) -> Option<u32> {
        self.clear_after.get(id).copied()
    }

    /// Returns who reported `event`, as far as noise control wants to know.
    pub(crate) fn origin(&self, event: &Event) -> Origin {
        let address = source::address(event);
        Origin { source: source::source(event).into_owned(), address: Some(address), facts: self.sources.of(address).cloned() }
    }

    /// Begins to hold the rules against `event`.
    pub(crate) fn deciding<'r>(&'r self, event: &'r Event, dictionary: &'r Dictionary) -> Deciding<'r> {
        Deciding { rules: self, event, dictionary, candidates: self.index.candidates(event), over: false, names: false }
    }
}

/// The rules that decide about one event, one after the other: the first that matches, and the next while a rule says `continue` or
/// only observes.
pub(crate) struct Deciding<'r> {
    rules: &'r RuleIndex,
    event: &'r Event,
    dictionary: &'r Dictionary,
    candidates: Candidates<'r>,
    over: bool,
    names: bool,
}

impl Deciding<'_> {
    /// Returns what the next rule that decides makes of the event.
    pub(crate) fn next(&mut self, counters: &mut Counters) -> Option<Decided> {
        while !self.over {
            let rule = self.rules.rules.get(self.candidates.next()?)?;
            let mut scanned = 0_usize;
            let matches = rule.matcher.matches(self.event, &mut scanned);
            counters.examined(rule.number, scanned);
            if !matches {
                continue;
            }
            counters.matched(rule.number);
            let facts = self.rules.facts(rule.number)?;
            if !facts.observes() {
                self.names |= rule.matcher.names_its_events();
                self.over = !rule.continues;
            }
            let outcome = outcome::of(rule, facts, self);
            return Some(Decided { rule: rule.number, mode: facts.mode, outcome });
        }
        None
    }

    /// Returns whether one of the rules so far names the event's kind, rather than catches all.
    pub(crate) const fn names_the_event(&self) -> bool {
        self.names
    }
}
