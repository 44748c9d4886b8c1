//! What maintenance windows keep quiet, and what is derived anew from open alerts after a start or with other rules.

use std::sync::Arc;

use postern_protocol::alert::{Decision, DecisionKind, Suppression};
use postern_protocol::id::RuleId;
use postern_protocol::timestamp::Timestamp;

use super::family::{Places, text_of};
use super::flap::Change;
use super::scope::Subject;
use super::storm::{Storm, StormId, Told};
use super::watch::SILENT_KIND;
use super::window::Standing;
use super::{Hands, Noise};
use crate::alert::SlotId;

/// What windows keep quiet, and how each of them stands.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    suppressed: Places,
    /// The first end of what keeps an alert quiet; none when that must be found anew.
    due: Option<Timestamp>,
    standings: Vec<Option<(Timestamp, Standing)>>,
}

impl Quiet {
    /// Returns until when window number `index` holds, if it does now.
    fn until(&mut self, index: usize, hands: &Hands<'_>) -> Option<Timestamp> {
        let window = hands.rules.noise().windows.get(index)?;
        self.standings.resize(hands.rules.noise().windows.len(), None);
        let known = self.standings.get_mut(index)?;
        let good = |(asked, standing): &(Timestamp, Standing)| *asked <= hands.now && hands.now < standing.changes;
        let (_, standing) = known.filter(good).unwrap_or_else(|| (hands.now, window.calendar.standing(hands.now)));
        *known = Some((hands.now, standing));
        standing.until
    }
}

impl Noise {
    /// Marks a new alert as quiet if a window is about it; of several, the one that ends last.
    pub(super) fn keep_quiet(&mut self, slot: SlotId, subject: &Subject<'_>, hands: &mut Hands<'_>) -> bool {
        let windows = &hands.rules.noise().windows;
        let mut last: Option<(Timestamp, &str)> = None;
        for (index, window) in windows.iter().enumerate().filter(|(_, window)| window.affects.holds(subject)) {
            if let Some(until) = self.quiet.until(index, hands).filter(|until| last.is_none_or(|(last, _)| *until > last)) {
                last = Some((until, &window.id));
            }
        }
        let Some((until, id)) = last else { return false };
        hands.suppress(slot, id, until);
        self.quiet.suppressed.insert(slot, hands.table);
        self.quiet.due = self.quiet.due.map(|due| due.min(until));
        true
    }

    /// Raises what is still open when its window is over; a window that lasts longer by now keeps it quiet so much longer.
    pub(super) fn end_windows(&mut self, hands: &mut Hands<'_>) {
        if self.quiet.suppressed.is_empty() || self.quiet.due.is_some_and(|due| hands.now < due) {
            return;
        }
        let mut due = Timestamp::from_nanos(i64::MAX);
        for slot in self.quiet.suppressed.all() {
            let Some((id, until)) = hands.table.view(slot).and_then(|view| view.suppressed.map(|(id, until)| (id.to_owned(), until)))
            else {
                self.quiet.suppressed.remove(slot);
                continue;
            };
            let index = hands.rules.noise().windows.iter().position(|window| window.id == id);
            match index.and_then(|index| self.quiet.until(index, hands)) {
                Some(later) => {
                    if later != until {
                        hands.suppress(slot, &id, later);
                    }
                    due = due.min(later);
                }
                None => {
                    let decision = Decision { at: hands.now, what: DecisionKind::Unsuppressed, by: id, text: String::new() };
                    hands.table.suppress(slot, None, decision, hands.now);
                    self.quiet.suppressed.remove(slot);
                }
            }
        }
        self.quiet.due = Some(due);
    }

    /// Makes anew what follows from the open alerts and the document.
    pub(super) fn rebuild(&mut self, hands: &mut Hands<'_>) {
        self.parents.clear();
        self.family.clear();
        self.quiet = Quiet::default();
        for slot in hands.table.slots().collect::<Vec<_>>() {
            self.take_up(slot, hands);
        }
        for parent in self.family.parents() {
            let storm = StormId::of(&parent).is_some_and(|id| self.storms.get(&id).is_some());
            let lasts = hands.table.slot_of(&parent).is_some() && (storm || self.parents.is_parent(&parent));
            if !lasts {
                self.release(&parent, None, hands);
            }
        }
        self.rewatch(hands);
    }

    /// Takes up one open alert as its record has it.
    pub(super) fn take_up(&mut self, slot: SlotId, hands: &mut Hands<'_>) {
        let Some(view) = hands.table.view(slot) else { return };
        let key = view.key.to_key();
        if let Some(parent) = view.parent {
            self.family.insert(&parent.to_key(), (slot, hands.table));
        }
        if view.suppressed.is_some() {
            self.quiet.suppressed.insert(slot, hands.table);
            self.quiet.due = None;
        }
        if view.flapping {
            let flap = hands.rules.noise().flap(view.rule).copied().unwrap_or_default();
            self.flaps.adopt(Change { key: &key, occurrence: view.occurrence, at: hands.now }, &flap);
        }
        if view.rule == RuleId::own().as_str()
            && let Some(id) = StormId::of(&key)
        {
            let StormId { kind, source } = &id;
            let sources = source.iter().map(|source| (Arc::clone(source), 0)).collect();
            let (since, severity, told) = (view.first_seen, view.severity, Told { at: hands.now, alerts: 0, open: 0 });
            let storm = Storm { since, alerts: 0, severity, sources, quiet_since: None, told };
            self.storms.put_back(StormId { kind: Arc::clone(kind), source: source.clone() }, storm);
        }
        if key.kind == SILENT_KIND {
            self.silences.mark_silent(&key.resource);
        }
        let dependencies = &hands.rules.noise().dependencies;
        if !dependencies.is_empty() {
            let numbers = dependencies.of_parent(&key);
            if !numbers.is_empty() {
                self.parents.open((&numbers, dependencies), &key, hands.now);
            }
        }
    }
}

impl Hands<'_> {
    fn suppress(&mut self, slot: SlotId, id: &str, until: Timestamp) {
        let text = format!("until {}", text_of(until));
        let decision = Decision { at: self.now, what: DecisionKind::Suppressed, by: id.to_owned(), text };
        self.table.suppress(slot, Some(Suppression { by: id.to_owned(), until }), decision, self.now);
    }
}
