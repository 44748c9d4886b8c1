//! What became of the events that each rule matched, and what rules that only observe would have raised.
//!
//! Counts start at 0 with each set of rules. Owned by `AlertEngine`, which says what became of each outcome; bounded, so that no
//! sender can make it grow.

use std::collections::BTreeMap;

use postern_protocol::alert::{AlertKey, Severity};
use postern_protocol::replay::{Figures, RuleFigures, WouldBe};
use postern_protocol::timestamp::Timestamp;

use super::{Decided, Outcome, RuleIndex, RuleNumber};
use crate::alert::Verdict;

/// Most would-be alerts of all rules together that are remembered; of more, the one that was not reported for longest is forgotten.
const MAX_WOULD_BE: usize = 4_096;

/// Most would-be alerts that the figures of one rule list.
const MAX_LISTED: usize = 10;

/// The counters of one set of rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    rules: Vec<Count>,
    totals: Count,
    unmatched: u64,
    observed: Observed,
}

/// The counters of one rule, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    examined: u64,
    matched: u64,
    raised: u64,
    updated: u64,
    cleared: u64,
    suppressed: u64,
    held: u64,
    scanned_bytes: u64,
}

impl Counters {
    /// Makes the counters of `rules`, all 0.
    pub(crate) fn new(rules: &RuleIndex) -> Self {
        Self { rules: vec![Count::default(); rules.len()], ..Self::default() }
    }

    /// Counts an event that was held against a rule, and how many bytes of its text the rule's expressions looked at.
    pub(super) fn examined(&mut self, rule: RuleNumber, scanned_bytes: usize) {
        if let Some(count) = self.rules.get_mut(rule.index()) {
            count.examined = count.examined.saturating_add(1);
            count.scanned_bytes = count.scanned_bytes.saturating_add(scanned_bytes as u64);
        }
    }

    /// Counts an event that a rule matched.
    pub(super) fn matched(&mut self, rule: RuleNumber) {
        if let Some(count) = self.rules.get_mut(rule.index()) {
            count.matched = count.matched.saturating_add(1);
        }
    }

    /// Counts a report that was known word for word, and so was not held against the rule again.
    pub(crate) fn repeated(&mut self, rule: RuleNumber) {
        self.matched(rule);
        self.became(rule, Verdict::Updated);
    }

    /// Counts what became of a rule's outcome.
    pub(crate) fn became(&mut self, rule: RuleNumber, verdict: Verdict) {
        let one = self.rules.get_mut(rule.index());
        for count in one.into_iter().chain([&mut self.totals]) {
            let field = match verdict {
                Verdict::Cleared => &mut count.cleared,
                Verdict::Held => &mut count.held,
                Verdict::Raised => &mut count.raised,
                Verdict::Suppressed => &mut count.suppressed,
                Verdict::Updated => &mut count.updated,
                Verdict::ClearedNothing | Verdict::Late | Verdict::TableFull | Verdict::Unmatched => continue,
            };
            *field = field.saturating_add(1);
        }
    }

    /// Counts an event that no rule matched.
    pub(crate) fn unmatched(&mut self) {
        self.unmatched = self.unmatched.saturating_add(1);
    }

    /// Counts what a rule that only observes would have done.
    pub(crate) fn observe(&mut self, decided: Decided, now: Timestamp) {
        let Decided { rule, outcome, .. } = decided;
        let Some(count) = self.rules.get_mut(rule.index()) else { return };
        let field = match outcome {
            Outcome::Clear { key, .. } => match self.observed.clear(rule, key) {
                true => &mut count.cleared,
                false => return,
            },
            Outcome::Raise(report) => match self.observed.raise((rule, report.key), report.severity, now) {
                true => &mut count.raised,
                false => &mut count.updated,
            },
            Outcome::Suppress => &mut count.suppressed,
        };
        *field = field.saturating_add(1);
    }

    /// Returns the figures of every rule that an event was held against, in the order of the rules.
    pub(crate) fn rule_figures(&self, rules: &RuleIndex) -> Vec<RuleFigures> {
        let figures = |(number, count): (usize, &Count)| {
            let number = RuleNumber::new(number);
            let facts = rules.facts(number)?;
            Some(RuleFigures {
                id: facts.id.as_str().to_owned(),
                version: facts.version,
                observes: facts.observes(),
                examined: count.examined,
                matched: count.matched,
                raised: count.raised,
                updated: count.updated,
                cleared: count.cleared,
                suppressed: count.suppressed,
                held: count.held,
                scanned_bytes: count.scanned_bytes,
                would: self.observed.newest(number),
            })
        };
        self.rules.iter().enumerate().filter(|(_, count)| count.examined > 0 || count.matched > 0).filter_map(figures).collect()
    }

    /// Returns the figures of all rules together; `shown` and `open` are the alert table's to say.
    pub(crate) fn figures(&self, rules: &RuleIndex) -> Figures {
        let mut by_rule = self.rule_figures(rules);
        by_rule.retain(|rule| rule.matched > 0);
        Figures {
            raised: self.totals.raised,
            updated: self.totals.updated,
            cleared: self.totals.cleared,
            suppressed: self.totals.suppressed,
            held: self.totals.held,
            unmatched: self.unmatched,
            shown: 0,
            open: 0,
            rules: by_rule,
        }
    }
}

/// Whose would-be alert, and which.
type Slot = (RuleNumber, AlertKey);

/// The alerts that rules would have open.
#[derive(Clone, Debug, Default)]
struct Observed {
    open: BTreeMap<Slot, Would>,
    /// By the serial of the last report, oldest first.
    order: BTreeMap<u64, Slot>,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Would {
    severity: Severity,
    count: u64,
    last_seen: Timestamp,
    serial: u64,
}

impl Observed {
    /// Returns whether it is new.
    fn raise(&mut self, slot: Slot, severity: Severity, now: Timestamp) -> bool {
        self.last = self.last.saturating_add(1);
        let serial = self.last;
        let before = self.open.get(&slot).copied();
        if let Some(before) = before {
            self.order.remove(&before.serial);
        } else if self.open.len() >= MAX_WOULD_BE
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.open.remove(&oldest);
        }
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        self.order.insert(serial, slot.clone());
        self.open.insert(slot, Would { severity, count, last_seen: now, serial });
        before.is_none()
    }

    /// Returns whether there was one to end.
    fn clear(&mut self, rule: RuleNumber, key: AlertKey) -> bool {
        let ended = self.open.remove(&(rule, key));
        if let Some(ended) = ended {
            self.order.remove(&ended.serial);
        }
        ended.is_some()
    }

    /// Returns the newest of `rule`, the newest first.
    fn newest(&self, rule: RuleNumber) -> Vec<WouldBe> {
        let first = AlertKey { resource: String::new(), kind: String::new(), qualifier: String::new() };
        let of_rule = self.open.range((rule, first)..).take_while(|((of, _), _)| *of == rule);
        let mut newest: Vec<_> = of_rule.map(|((_, key), would)| (key, would)).collect();
        newest.sort_unstable_by_key(|(_, would)| std::cmp::Reverse(would.serial));
        let listed = newest.into_iter().take(MAX_LISTED).map(|(key, would)| WouldBe {
            resource: key.resource.clone(),
            kind: key.kind.clone(),
            qualifier: key.qualifier.clone(),
            severity: would.severity,
            count: would.count,
            last_seen: would.last_seen.as_nanos(),
        });
        listed.collect()
    }
}
