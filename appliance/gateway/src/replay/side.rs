//! One revision in a replay: its engine, and what became of every alert under it.

use std::collections::BTreeMap;
use std::sync::Arc;

use postern_engine::alert::AlertEngine;
use postern_engine::event::Event;
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey};
use postern_protocol::dictionary::Dictionary;
use postern_protocol::replay::{Figures, Seen};
use postern_protocol::timestamp::Timestamp;

/// Most alerts that one side follows; of more, it says how many there were.
const MAX_ALERTS: usize = 100_000;

/// Most rules whose figures are told, those that matched most.
const MAX_RULES: usize = 200;

/// One revision's engine.
pub(crate) struct Side {
    engine: AlertEngine,
    alerts: BTreeMap<AlertKey, Followed>,
    /// Records of alerts that found no room.
    further: u64,
}

/// What became of one alert.
struct Followed {
    seen: Seen,
    occurrence: u64,
    /// Reports of the newest occurrence.
    count: u64,
}

impl Side {
    /// Makes an engine without alerts.
    pub(crate) fn new(rules: RuleIndex, dictionary: Arc<Dictionary>) -> Self {
        let mut engine = AlertEngine::new(rules);
        engine.replace_dictionary(dictionary);
        Self { engine, alerts: BTreeMap::new(), further: 0 }
    }

    /// Hands it an event.
    pub(crate) fn handle(&mut self, event: &Event, now: Timestamp) {
        self.engine.handle(event, now);
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.engine.tick(now);
        self.drain();
    }

    /// Takes note of what changed.
    pub(crate) fn drain(&mut self) {
        for alert in self.engine.drain_changes() {
            self.follow(&alert);
        }
    }

    fn follow(&mut self, alert: &Alert) {
        let shown = alert.course.parent.is_none() && alert.course.suppressed.is_none();
        let rule = alert.rule.as_str().to_owned();
        let is_full = self.alerts.len() >= MAX_ALERTS;
        match self.alerts.get_mut(&alert.key) {
            Some(known) => {
                let earlier = if known.occurrence == alert.occurrence { known.count } else { 0 };
                let count = known.seen.count.saturating_sub(earlier).saturating_add(alert.count);
                let raised = known.seen.raised.saturating_add(u64::from(known.occurrence != alert.occurrence));
                known.seen = Seen { state: alert.state, severity: alert.severity, count, raised, rule, shown };
                (known.occurrence, known.count) = (alert.occurrence, alert.count);
            }
            None if is_full => self.further = self.further.saturating_add(1),
            None => {
                let seen = Seen { state: alert.state, severity: alert.severity, count: alert.count, raised: 1, rule, shown };
                self.alerts.insert(alert.key.clone(), Followed { seen, occurrence: alert.occurrence, count: alert.count });
            }
        }
    }

    /// Returns every alert and what became of it.
    pub(crate) fn alerts(&self) -> impl Iterator<Item = (&AlertKey, &Seen)> {
        self.alerts.iter().map(|(key, followed)| (key, &followed.seen))
    }

    /// Returns what became of one alert.
    pub(crate) fn alert(&self, key: &AlertKey) -> Option<&Seen> {
        self.alerts.get(key).map(|followed| &followed.seen)
    }

    /// Returns how many records were not followed.
    pub(crate) const fn further(&self) -> u64 {
        self.further
    }

    /// Returns the counters.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = self.engine.figures();
        figures.shown = self.alerts().filter(|(_, seen)| seen.shown).count() as u64;
        figures.rules.sort_by(|one, other| other.matched.cmp(&one.matched).then_with(|| one.id.cmp(&other.id)));
        figures.rules.truncate(MAX_RULES);
        figures
    }
}
