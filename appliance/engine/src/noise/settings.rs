//! What a document says about noise, compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postern_protocol::alert::Severity;
use postern_protocol::revision::Problem;
use postern_protocol::revision::document::{Document, Rule};
use postern_protocol::revision::noise::{Flap, Rate, Storm, Threshold};

use super::dependency::Dependencies;
use super::scope::{Scope, Subject};
use super::silence::Patience;
use super::window::Calendar;
use crate::rule::RuleNumber;

/// What noise is kept down with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// By the rule's number; most rules hold nothing back.
    limits: BTreeMap<usize, Limits>,
    /// What rules say in place of `flap`, by id.
    flaps: BTreeMap<String, Option<Flap>>,
    flap: Option<Flap>,
    pub(super) storm: Option<Storm>,
    pub(super) windows: Vec<Window>,
    pub(super) dependencies: Dependencies,
    pub(super) silences: Vec<Silence>,
    pub(super) patience: Vec<Patience>,
}

/// When a rule's reports are held back.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) threshold: Option<Threshold>,
    pub(super) rate: Option<Rate>,
}

/// A maintenance window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) id: String,
    pub(super) affects: Scope,
    pub(super) calendar: Calendar,
}

/// A watch over sources.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub(super) id: postern_protocol::id::RuleId,
    pub(super) of: Scope,
    pub(super) severity: Severity,
    /// Sources that must be heard though they never were: the names that a heartbeat lists.
    pub(super) listed: BTreeSet<String>,
}

impl Settings {
    /// Compiles what `document` says, whose rules are `rules`, those of packs included.
    ///
    /// # Errors
    /// Every fault, with its path but without a line. A document that `revision::parse` took has none.
    pub(crate) fn compile<'r>(document: &Document, rules: impl Iterator<Item = &'r Rule>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let noise = document.noise.clone().unwrap_or_default();
        let mut settings = Self { flap: noise.flap.settings().copied(), storm: noise.storm.settings().copied(), ..Self::default() };
        for (number, rule) in rules.enumerate() {
            if rule.threshold.is_some() || rule.rate.is_some() {
                settings.limits.insert(number, Limits { threshold: rule.threshold, rate: rule.rate.clone() });
            }
            if let Some(flap) = &rule.flap {
                settings.flaps.insert(rule.id.as_str().to_owned(), flap.settings().copied());
            }
        }
        for (index, window) in document.windows.iter().enumerate() {
            let id = window.id.as_str().to_owned();
            let affects = Scope::compile(&window.affects)
                .map_err(|(at, error)| (format!("windows[{index}].affects.networks[{at}]"), error.to_string()));
            let calendar = Calendar::compile(&window.when).map_err(|error| (format!("windows[{index}].when"), error.to_string()));
            match (affects, calendar) {
                (Ok(affects), Ok(calendar)) => settings.windows.push(Window { id, affects, calendar }),
                (affects, calendar) => problems.extend([affects.err(), calendar.err()].into_iter().flatten().map(problem)),
            }
        }
        match Dependencies::compile(&document.dependencies) {
            Ok(dependencies) => settings.dependencies = dependencies,
            Err((number, at, error)) => {
                problems.push(problem((format!("dependencies[{number}].children.networks[{at}]"), error.to_string())))
            }
        }
        for (index, silence) in document.silences.iter().enumerate() {
            match Scope::compile(&silence.of) {
                Ok(of) => {
                    let listed = if silence.every_s.is_some() { of.sources().clone() } else { BTreeSet::new() };
                    settings.silences.push(Silence { id: silence.id.clone(), of, severity: silence.severity, listed });
                    let every = silence.every_s.map(|seconds| Duration::from_secs(seconds.into()));
                    settings.patience.push(Patience { every, times: silence.times });
                }
                Err((at, error)) => problems.push(problem((format!("silences[{index}].of.networks[{at}]"), error.to_string()))),
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Returns what holds a rule's reports back.
    pub(super) fn limits(&self, rule: Option<RuleNumber>) -> Option<&Limits> {
        if self.limits.is_empty() { None } else { self.limits.get(&rule?.index()) }
    }

    /// Returns whether each of a rule's reports must be seen: something counts them.
    pub(crate) fn counts(&self, rule: RuleNumber) -> bool {
        self.limits(Some(rule)).is_some()
    }

    /// Returns when alerts of the rule called `rule` flap, unless that is not wanted.
    pub(super) fn flap(&self, rule: &str) -> Option<&Flap> {
        if self.flaps.is_empty() {
            return self.flap.as_ref();
        }
        self.flaps.get(rule).map_or(self.flap.as_ref(), Option::as_ref)
    }

    /// Returns whether sources are watched at all.
    pub(crate) fn watches(&self) -> bool {
        !self.silences.is_empty()
    }

    /// Returns the silence that is about a source: the first in the document.
    pub(super) fn watch(&self, subject: &Subject<'_>) -> Option<usize> {
        self.silences.iter().position(|silence| silence.of.holds(subject))
    }
}

fn problem((path, reason): (String, String)) -> Problem {
    Problem { path, line: 0, column: 0, reason }
}

impl Settings {
    /// Returns the names that heartbeats list, with the first silence that lists each.
    pub(super) fn listed(&self) -> Vec<(String, usize)> {
        let mut listed = BTreeMap::new();
        for (number, silence) in self.silences.iter().enumerate() {
            for name in &silence.listed {
                listed.entry(name.clone()).or_insert(number);
            }
        }
        listed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::revision::noise::Switch;

    use super::*;

    #[test]
    fn a_rule_s_word_on_flaps_beats_the_document_s() {
        let text = br#"{"format": 1, "noise": {"flap": "off"}, "rules": [
            {"id": "a", "match": {"push": {}}, "then": {"raise": {"resource": "r", "kind": "k", "severity": "minor", "summary": "s"}},
             "flap": {"changes": 5, "within_s": 9, "quiet_s": 9}}]}"#;
        let document = postern_protocol::revision::parse(text).unwrap();
        let settings = Settings::compile(&document, document.rules.iter()).unwrap();
        assert_eq!(settings.flap("a").map(|flap| flap.changes), Some(5));
        assert_eq!(settings.flap("b"), None);
        assert_eq!(settings.storm, Some(Storm::default()), "on when left out");
        assert!(!matches!(document.noise, Some(ref noise) if matches!(noise.flap, Switch::On(_))));
    }
}
