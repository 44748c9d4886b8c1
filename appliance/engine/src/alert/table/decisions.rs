//! What is decided about open alerts besides raise and clear.

use postern_protocol::alert::{AlertKey, Course, Decision, Suppression};
use postern_protocol::timestamp::Timestamp;

use super::{Change, Moment, SlotId, Table, next_revision};

impl Table {
    /// Folds an alert under another, or lets it stand for itself again.
    pub(crate) fn fold(&mut self, slot: SlotId, parent: Option<AlertKey>, decision: Decision, now: Timestamp) {
        self.decide(slot, Change::Urgent, now, |course| {
            course.parent = parent;
            course.note(decision);
        });
    }

    /// Says that a maintenance window keeps an alert quiet, or that none does any more.
    pub(crate) fn suppress(&mut self, slot: SlotId, suppression: Option<Suppression>, decision: Decision, now: Timestamp) {
        self.decide(slot, Change::Urgent, now, |course| {
            course.suppressed = suppression;
            course.note(decision);
        });
    }

    /// Says whether an alert flaps: what the decision is, tells.
    pub(crate) fn set_flapping(&mut self, slot: SlotId, flapping: bool, decision: Decision, now: Timestamp) {
        self.decide(slot, Change::Urgent, now, |course| {
            course.flapping = flapping;
            course.note(decision);
        });
    }

    /// Adds reports that were held back before the one that opened an alert.
    pub(crate) fn count_held(&mut self, slot: SlotId, reports: u64, since: Timestamp) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.count = slot.count.saturating_add(reports);
            slot.first_seen = slot.first_seen.min(since);
        }
    }

    /// Says whether a report of an open alert is older than its last, by the sender's own clock.
    pub(crate) fn is_late(&self, slot: SlotId, moment: Moment) -> bool {
        self.slots.get(slot).is_some_and(|slot| moment.is_late(slot.clock))
    }

    /// Forgets who wrote an alert's texts, so that the next report is held against the rules.
    pub(crate) fn forget_writer(&mut self, slot: SlotId) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.writer = None;
        }
    }

    /// Notes a decision about an alert. One that only repeats the last but for its time takes that one's place.
    pub(crate) fn note(&mut self, slot: SlotId, decision: Decision, now: Timestamp) {
        self.decide(slot, Change::Counted, now, |course| match course.decisions.last_mut() {
            Some(last) if (last.what, &last.by) == (decision.what, &decision.by) => *last = decision,
            Some(_) | None => course.note(decision),
        });
    }

    fn decide(&mut self, id: SlotId, change: Change, now: Timestamp, decide: impl FnOnce(&mut Course)) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let mut course = slot.course();
        decide(&mut course);
        slot.set_course(&course);
        slot.revision = next_revision(&mut self.last_revision, now);
        self.mark(Some(id), change);
    }
}
