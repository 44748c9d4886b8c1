//! Records of alerts that were reported before: by this gateway's last life, or by one whose disk was set back.

use postern_protocol::alert::{Alert, AlertState};
use postern_protocol::timestamp::Timestamp;

use super::{Change, Slot, Table, next_revision};

impl Table {
    /// Takes in a committed record: it replaces an older one of its key. `clear_after_s` is what the rule of that name says now.
    pub(crate) fn apply(&mut self, alert: Alert, clear_after_s: Option<u32>) {
        self.last_revision = self.last_revision.max(alert.revision);
        self.was_away = true;
        let known = self.slots.find(&alert.key);
        if known.and_then(|id| self.slots.get(id)).is_some_and(|slot| slot.revision >= alert.revision) {
            return;
        }
        known.map(|id| self.take_out(id));
        match alert.state {
            AlertState::Open => {
                self.put(Slot { clear_after_s, ..Slot::new(&alert) });
            }
            AlertState::Cleared | AlertState::Closed => self.ends.note(&alert.key, alert.revision, None),
        }
    }

    /// Takes in what this gateway had reported before its disk was set back; see [`super::AlertEngine::adopt`].
    pub(crate) fn adopt(&mut self, theirs: Alert, clear_after_s: Option<u32>, now: Timestamp) {
        self.last_revision = self.last_revision.max(theirs.revision);
        let Some(id) = self.slots.find(&theirs.key) else {
            if theirs.state == AlertState::Open && !self.ends.is_after(&theirs.key, theirs.revision) {
                self.put(Slot { clear_after_s, heard: now, ..Slot::new(&theirs) });
            }
            return;
        };
        let Some(ours) = self.slots.get_mut(id).filter(|ours| ours.reported != theirs.revision) else { return };
        let revision = next_revision(&mut self.last_revision, now);
        match (theirs.revision > ours.reported, theirs.state) {
            // It had ended when ours, which the disk had kept, was last reported.
            (true, AlertState::Cleared | AlertState::Closed) if theirs.occurrence >= ours.occurrence => {
                self.take_out(id);
                return;
            }
            // Ours began after the disk was set back, by a clock that is behind: it is news.
            (true, AlertState::Cleared | AlertState::Closed) => ours.reported = revision,
            (true, AlertState::Open) if theirs.occurrence >= ours.occurrence && theirs.revision > ours.revision => {
                ours.replace(&theirs);
                return;
            }
            (true, AlertState::Open) => {
                let (occurrence, count) = (ours.occurrence.max(theirs.occurrence), ours.count.max(theirs.count));
                ours.replace(&Alert { occurrence, count, ..theirs });
            }
            (false, AlertState::Open) => {
                if theirs.occurrence < ours.occurrence || (theirs.occurrence == ours.occurrence && ours.count > theirs.count) {
                    return;
                }
                // Nobody closes a report that they have not seen: there is at least one more than they were shown.
                ours.count = ours.count.max(theirs.count.saturating_add(1));
                ours.occurrence = theirs.occurrence;
                ours.first_seen = ours.first_seen.min(theirs.first_seen);
            }
            (false, AlertState::Cleared | AlertState::Closed) => {
                if theirs.occurrence < ours.occurrence {
                    return;
                }
                // It ended and was reported again. When the first of these reports came is not kept.
                ours.count = ours.count.saturating_sub(theirs.count).max(1);
                ours.occurrence = revision;
                ours.first_seen = ours.last_seen;
            }
        }
        ours.revision = revision;
        self.mark(Some(id), Change::Urgent);
    }
}

impl Slot {
    /// Takes on all that another's record says; what records do not say stays.
    fn replace(&mut self, alert: &Alert) {
        let Self { heard, clock: _, timer, clear_after_s, .. } = *self;
        *self = Self { heard, timer, clear_after_s, ..Self::new(alert) };
    }
}
