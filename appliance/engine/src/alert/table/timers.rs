//! Alerts that end by themselves when nothing is heard of them.
//!
//! Each has one entry, for the time at which to look after it. A report only moves what the look will find, so counting costs no more.

use postern_protocol::alert::{Alert, AlertKey, AlertState, Decision, DecisionKind};
use postern_protocol::timestamp::Timestamp;

use super::{SlotId, Table};

/// Most alerts that end by themselves in one go; the next are some moments later.
const MAX_EXPIRED_AT_ONCE: usize = 10_000;

impl Table {
    /// Ends what was not reported for as long as its rule says, what was due first before the rest; at most 10,000 alerts in one go.
    /// Returns their keys.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<AlertKey> {
        if std::mem::take(&mut self.was_away) {
            self.hear_all(now);
        }
        let mut due = Vec::new();
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now && due.len() < MAX_EXPIRED_AT_ONCE) {
            self.timers.remove(&(at, id));
            let Some(slot) = self.slots.get_mut(id) else { continue };
            slot.timer = None;
            match slot.due() {
                Some(at) if at <= now => due.push((at, slot.occurrence, id)),
                Some(_) | None => self.set_timer(id),
            }
        }
        due.sort_unstable();
        let mut expired = Vec::with_capacity(due.len());
        for (_, _, id) in due {
            let Some(mut alert) = self.take_out(id).map(|slot| slot.alert()) else { continue };
            let cleared_at = now.max(alert.last_seen);
            let by = alert.rule.as_str().to_owned();
            alert.course.note(Decision { at: cleared_at, what: DecisionKind::TimedOut, by, text: String::new() });
            alert.cleared_at = Some(cleared_at);
            expired.push(alert.key.clone());
            self.end(Alert { state: AlertState::Cleared, ..alert }, None, now);
        }
        if !expired.is_empty() {
            self.end_table_full(now, now);
        }
        expired
    }

    /// Sees to it that the alert is looked after when it is due, and no later.
    pub(crate) fn set_timer(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let due = slot.due();
        if let (Some(at), Some(due)) = (slot.timer, due)
            && at <= due
        {
            return;
        }
        if let Some(at) = std::mem::replace(&mut slot.timer, due) {
            self.timers.remove(&(at, id));
        }
        self.timers.extend(due.map(|due| (due, id)));
    }

    /// Lets the time that ends alerts by themselves begin anew: nobody listened in the time before.
    fn hear_all(&mut self, now: Timestamp) {
        for (_, id) in &self.timers {
            if let Some(slot) = self.slots.get_mut(*id) {
                slot.heard = slot.heard.max(now);
            }
        }
    }
}
