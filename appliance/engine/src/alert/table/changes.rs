//! What changed since the last drain, and what of it must not wait.

use postern_protocol::alert::Alert;
use postern_protocol::timestamp::Timestamp;

use super::{Change, Slot, SlotId, Table};

impl Table {
    /// Gives every open alert a new revision, and returns the first of them; with none open, one that no alert gets.
    pub(crate) fn resend_open(&mut self, now: Timestamp) -> u64 {
        let mut slots: Vec<_> = self.slots.iter().map(|(id, slot)| (slot.revision, id)).collect();
        slots.sort_unstable();
        let mut since = None;
        for (_, id) in slots {
            let revision = self.next_revision(now);
            since = since.or(Some(revision));
            if let Some(slot) = self.slots.get_mut(id) {
                slot.revision = revision;
            }
            self.mark(Some(id), Change::Urgent);
        }
        // Others may end what they have under it: a later start must not seem to know less.
        since.unwrap_or_else(|| self.next_revision(now))
    }

    /// Returns whether something changed that must not wait.
    pub(crate) const fn has_urgent(&self) -> bool {
        !self.urgent.is_empty() || !self.ended.is_empty()
    }

    /// Returns whether anything changed.
    pub(crate) const fn has_changes(&self) -> bool {
        self.has_urgent() || !self.counted.is_empty()
    }

    /// Returns the newest record of every occurrence that changed since the last call, in ascending revision.
    pub(crate) fn drain_changes(&mut self) -> Vec<Alert> {
        let mut changes = self.drain_urgent();
        changes.extend(self.counted.drain(..).filter_map(|id| self.slots.get_mut(id)?.take()));
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
    }

    /// Returns only the records that must not wait, in ascending revision; what was only counted again stays for a later call.
    pub(crate) fn drain_urgent(&mut self) -> Vec<Alert> {
        let mut changes = std::mem::take(&mut self.ended);
        changes.extend(self.urgent.drain(..).filter_map(|id| self.slots.get_mut(id)?.take()));
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
    }

    /// Returns how many alerts wait that were only counted again.
    pub(crate) const fn counted_again(&self) -> usize {
        self.counted.len()
    }

    pub(super) fn mark(&mut self, id: Option<SlotId>, change: Change) {
        let Some((id, slot)) = id.and_then(|id| Some((id, self.slots.get_mut(id)?))) else { return };
        let list = match change {
            Change::None => return,
            Change::Counted => &mut self.counted,
            Change::Urgent => &mut self.urgent,
        };
        mark(slot, id, change, list);
    }
}

impl Slot {
    /// Returns the record if it changed since the last call.
    fn take(&mut self) -> Option<Alert> {
        (std::mem::replace(&mut self.change, Change::None) != Change::None).then(|| self.alert())
    }
}

/// Notes a change, with the place in `list` unless what was noted before says as much.
pub(super) fn mark(slot: &mut Slot, id: SlotId, change: Change, list: &mut Vec<SlotId>) {
    let noted = match slot.change {
        Change::None => false,
        Change::Counted => change == Change::Counted,
        Change::Urgent => true,
    };
    if !noted {
        slot.change = change;
        list.push(id);
    }
}
