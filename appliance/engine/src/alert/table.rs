//! The table of open alerts. It knows nothing of rules or events, only of reports, clears, closes and decisions by key or place.
//!
//! `merge` takes in records, `timers` ends what is not heard of, `decisions` keeps the course, `changes` says what is to be sent.

mod changes;
mod decisions;
mod merge;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::alert::{Alert, AlertKey, AlertState, Decision, DecisionKind, Evidence, Severity};
use postern_protocol::timestamp::Timestamp;

use self::changes::mark;
use super::ends::Ends;
use super::memo::Writer;
use super::moment::{Clock, Moment};
use super::slot::{Change, Slot, View, Written};
use super::slots::{SlotId, Slots};
use super::{MAX_OPEN_ALERTS, RESERVED_ALERTS, TABLE_FULL_KIND, TABLE_FULL_RESOURCE, Verdict};
use crate::rule::Report;

/// The open alerts and what changed since the last drain.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slots,
    /// Slots that were only counted again; one whose alert ended or was drained since is harmless.
    counted: Vec<SlotId>,
    /// Slots with news that must not wait; the same is true of them.
    urgent: Vec<SlotId>,
    /// Occurrences that ended since the last drain.
    ended: Vec<Alert>,
    ends: Ends,
    /// Alerts that end by themselves, by when to look after them: at that time or later.
    timers: BTreeSet<(Timestamp, SlotId)>,
    /// Whether time passed of which nothing is known, so that no report could be heard in it.
    was_away: bool,
    last_revision: u64,
    max_open: usize,
    /// How many more may be open of those that are in no storm.
    reserved: usize,
    /// Key of the alert that says that the table is full; it has a place beyond the limit.
    full_key: AlertKey,
    /// Where texts are packed.
    packed: Vec<u8>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raised {
    pub(crate) verdict: Verdict,
    /// The alert that it is about; none when it found no room, or was late.
    pub(crate) slot: Option<SlotId>,
    /// Whether it opened the alert.
    pub(crate) is_new: bool,
    /// Whether the alert's texts are now those of the report.
    pub(crate) wrote: bool,
}

/// Which room a new alert may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// That which all share.
    Shared,
    /// The reserve as well: nothing folds it.
    Reserved,
}

/// How an alert ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending<'a> {
    /// Who reported the end.
    pub(crate) evidence: Evidence,
    /// What decided it: a rule's id.
    pub(crate) by: &'a str,
    /// What kind of end it is.
    pub(crate) kind: DecisionKind,
}

/// An open alert as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) alert: Alert,
    /// Whether it changed since the last drain.
    pub(super) changed: bool,
    pub(super) clock: Option<Clock>,
    pub(super) heard: Timestamp,
    pub(super) clear_after_s: Option<u32>,
}

impl Table {
    pub(super) fn new() -> Self {
        let full_key = AlertKey { resource: TABLE_FULL_RESOURCE.to_owned(), kind: TABLE_FULL_KIND.to_owned(), qualifier: String::new() };
        Self {
            slots: Slots::default(),
            counted: Vec::new(),
            urgent: Vec::new(),
            ended: Vec::new(),
            ends: Ends::default(),
            timers: BTreeSet::new(),
            was_away: false,
            last_revision: 0,
            max_open: MAX_OPEN_ALERTS,
            reserved: RESERVED_ALERTS,
            full_key,
            packed: Vec::new(),
        }
    }

    pub(super) const fn bound(&mut self, max_open: usize) {
        self.max_open = max_open;
        self.reserved = max_open.saturating_mul(RESERVED_ALERTS) / MAX_OPEN_ALERTS;
    }

    pub(super) const fn open_count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn open_alerts(&self) -> impl Iterator<Item = Alert> {
        self.slots.iter().map(|(_, slot)| slot.alert())
    }

    /// Returns how many open alerts nothing folds or keeps quiet.
    pub(super) fn shown_count(&self) -> usize {
        self.slots.iter().filter(|(_, slot)| slot.is_shown()).count()
    }

    /// Returns the places of the open alerts, the longest open first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotId> {
        let mut slots: Vec<_> = self.slots.iter().map(|(id, slot)| (slot.occurrence, id)).collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, id)| id)
    }

    /// Returns the place of the alert of `key`, if it is open.
    pub(crate) fn slot_of(&self, key: &AlertKey) -> Option<SlotId> {
        self.slots.find(key)
    }

    /// Returns what can be seen of an open alert; `None` when it has ended.
    pub(crate) fn view(&self, slot: SlotId) -> Option<View<'_>> {
        Some(self.slots.get(slot)?.view())
    }

    /// Says whether an alert is open and folded under that of `parent`.
    pub(crate) fn is_under(&self, slot: SlotId, parent: &AlertKey) -> bool {
        self.view(slot).and_then(|view| view.parent).is_some_and(|key| key == *parent)
    }

    /// Returns the open alerts as a checkpoint has them, in ascending revision, one at a time.
    pub(super) fn kept(&self) -> impl Iterator<Item = Kept> {
        let mut slots: Vec<_> = self.slots.iter().map(|(id, slot)| (slot.revision, id)).collect();
        slots.sort_unstable();
        slots.into_iter().filter_map(|(_, id)| self.slots.get(id)).map(|slot| Kept {
            alert: slot.alert(),
            changed: slot.change != Change::None,
            clock: slot.clock,
            heard: slot.heard,
            clear_after_s: slot.clear_after_s,
        })
    }

    /// Returns the occurrences that ended since the last drain.
    pub(super) fn ended(&self) -> &[Alert] {
        &self.ended
    }

    /// Returns the ends that are remembered.
    pub(super) const fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Remembers an end.
    pub(super) fn note_end(&mut self, key: &AlertKey, revision: u64, clock: Option<Clock>) {
        self.ends.note(key, revision, clock);
    }

    pub(super) const fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Makes a table with what a checkpoint says besides open alerts.
    pub(super) fn restored(last_revision: u64, ended: Vec<Alert>) -> Self {
        let mut table = Self { ended, last_revision, was_away: true, ..Self::new() };
        for alert in &table.ended {
            table.ends.note(&alert.key, alert.revision, None);
        }
        table
    }

    /// Puts back an open alert that a checkpoint holds.
    pub(super) fn put_back(&mut self, kept: Kept) {
        let Kept { alert, changed, clock, heard, clear_after_s } = kept;
        let id = self.put(Slot { clock, heard, clear_after_s, ..Slot::new(&alert) });
        if changed {
            self.mark(id, Change::Urgent);
        }
    }

    /// Opens an alert, or counts it again, unless the report is older than its last end.
    pub(crate) fn raise(&mut self, report: &Report, moment: Moment, (room, now): (Room, Timestamp)) -> Raised {
        if let Some(id) = self.slots.find(&report.key) {
            return self.count(id, report, moment, now);
        }
        if self.ends.is_late(&report.key, moment) {
            return Raised { verdict: Verdict::Late, slot: None, is_new: false, wrote: false };
        }
        if self.is_full(room) {
            // Rule and evidence stay, so that the alert shows who last found no room; the text of the report does not.
            let open = self.open_others();
            let summary = format!("{open} alerts are open; reports of further ones are only counted here until some end");
            let (key, severity, labels) = (self.full_key.clone(), Severity::Critical, BTreeMap::new());
            let full = Report { key, severity, summary, labels, clear_after_s: None, ..report.clone() };
            self.raise_own(&full, Moment::arrival(moment.received), now);
            return Raised { verdict: Verdict::TableFull, slot: None, is_new: false, wrote: false };
        }
        self.open(report, moment, now)
    }

    /// Opens an alert or counts it again, whether there is room or not.
    pub(crate) fn raise_own(&mut self, report: &Report, moment: Moment, now: Timestamp) -> Raised {
        match self.slots.find(&report.key) {
            Some(id) => self.count(id, report, moment, now),
            None => self.open(report, moment, now),
        }
    }

    /// Ends the alert of `key`, if it is open and the end is not older than its last report.
    pub(crate) fn clear(&mut self, key: &AlertKey, ending: Ending<'_>, moment: Moment, now: Timestamp) -> Verdict {
        let Ending { evidence, by, kind } = ending;
        let Some((id, slot)) = self.slots.find(key).and_then(|id| Some((id, self.slots.get(id)?))) else { return Verdict::ClearedNothing };
        if moment.is_late(slot.clock) {
            self.note(id, Decision { at: moment.received, what: DecisionKind::LateClear, by: by.to_owned(), text: String::new() }, now);
            return Verdict::Late;
        }
        let clock = moment.clock.or(slot.clock);
        let Some(mut alert) = self.take_out(id).map(|slot| slot.alert()) else { return Verdict::ClearedNothing };
        // A clock that was set back must not end an alert before its last report.
        let cleared_at = moment.received.max(alert.last_seen);
        alert.course.note(Decision { at: cleared_at, what: kind, by: by.to_owned(), text: String::new() });
        alert.cleared_at = Some(cleared_at);
        alert.evidence = evidence;
        self.end(Alert { state: AlertState::Cleared, ..alert }, clock, now);
        self.end_table_full(moment.received, now);
        Verdict::Cleared
    }

    /// Closes `occurrence` of the alert of `key`, if it is open, with the reports that were seen; more start a new occurrence.
    pub(super) fn close(&mut self, key: &AlertKey, occurrence: u64, count_seen: u64, now: Timestamp) {
        let open = |id| self.slots.get(id).is_some_and(|slot| slot.occurrence == occurrence);
        let Some(mut slot) = self.slots.find(key).filter(|id| open(*id)).and_then(|id| self.take_out(id)) else { return };
        let alert = slot.alert();
        // A record has at least one report, even if the person claims to have seen none.
        let seen = count_seen.clamp(1, alert.count.max(1));
        let surplus = alert.count.saturating_sub(seen);
        let ended_at = alert.last_seen;
        self.end(Alert { state: AlertState::Closed, count: seen, ..alert }, None, now);
        if surplus > 0 {
            let revision = self.next_revision(now);
            (slot.revision, slot.reported, slot.occurrence, slot.count) = (revision, revision, revision, surplus);
            // When the first of them came is not kept; the last is the one whose time is known.
            slot.first_seen = slot.last_seen;
            (slot.change, slot.writer) = (Change::None, None);
            let id = self.put(slot);
            self.mark(id, Change::Urgent);
        }
        self.end_table_full(ended_at, now);
    }

    /// Counts an alert again, if it is open and still as `writer` wrote it and the report is no older; says whether it did.
    pub(super) fn count_again(&mut self, id: SlotId, writer: Writer, moment: Moment, now: Timestamp) -> bool {
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.writer == Some(writer) && !moment.is_late(slot.clock)) else {
            return false;
        };
        slot.count_one(moment, next_revision(&mut self.last_revision, now), now);
        slot.clock = moment.clock;
        mark(slot, id, Change::Counted, &mut self.counted);
        true
    }

    /// Notes that all texts and the evidence of an alert come from one remembered notification.
    pub(super) fn was_written_by(&mut self, id: SlotId, writer: Writer) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.writer = Some(writer);
        }
    }

    /// Counts an open alert again. An older report than the newest is counted, too, but what the newest said stands.
    fn count(&mut self, id: SlotId, report: &Report, moment: Moment, now: Timestamp) -> Raised {
        let raised = |verdict| Raised { verdict, slot: Some(id), is_new: false, wrote: false };
        let is_late = self.slots.get(id).is_some_and(|slot| moment.is_late(slot.clock));
        if is_late && self.ends.is_late(&report.key, moment) {
            let by = report.rule.as_str().to_owned();
            self.note(id, Decision { at: moment.received, what: DecisionKind::LateReport, by, text: String::new() }, now);
            return raised(Verdict::Late);
        }
        let revision = self.next_revision(now);
        let Some(slot) = self.slots.get_mut(id) else { return raised(Verdict::Late) };
        slot.count_one(moment, revision, now);
        if is_late {
            mark(slot, id, Change::Counted, &mut self.counted);
            return raised(Verdict::Updated);
        }
        let change = if slot.severity == report.severity { Change::Counted } else { Change::Urgent };
        Written::of_report(report).pack(&mut self.packed);
        slot.rewrite(&self.packed);
        (slot.severity, slot.rule_version, slot.clock, slot.writer) = (report.severity, report.rule_version, moment.clock, None);
        if slot.clear_after_s != report.clear_after_s {
            slot.clear_after_s = report.clear_after_s;
            self.set_timer(id);
        }
        self.mark(Some(id), change);
        Raised { wrote: true, ..raised(Verdict::Updated) }
    }

    fn open(&mut self, report: &Report, moment: Moment, now: Timestamp) -> Raised {
        let revision = self.next_revision(now);
        Written::of_report(report).pack(&mut self.packed);
        let id = self.put(Slot {
            text: self.packed.as_slice().into(),
            course: None,
            occurrence: revision,
            revision,
            reported: revision,
            count: 1,
            first_seen: moment.received,
            last_seen: moment.received,
            heard: now,
            clock: moment.clock,
            timer: None,
            writer: None,
            clear_after_s: report.clear_after_s,
            rule_version: report.rule_version,
            severity: report.severity,
            change: Change::None,
        });
        self.mark(id, Change::Urgent);
        Raised { verdict: Verdict::Raised, slot: id, is_new: true, wrote: true }
    }

    /// Notes the end of an occurrence that has left its slot.
    fn end(&mut self, alert: Alert, clock: Option<Clock>, now: Timestamp) {
        let revision = self.next_revision(now);
        self.ends.note(&alert.key, revision, clock);
        self.ended.push(Alert { revision, ..alert });
    }

    fn put(&mut self, slot: Slot) -> Option<SlotId> {
        let id = self.slots.insert(Slot { timer: None, ..slot })?;
        self.set_timer(id);
        Some(id)
    }

    fn take_out(&mut self, id: SlotId) -> Option<Slot> {
        let mut slot = self.slots.remove(id)?;
        if let Some(at) = slot.timer.take() {
            self.timers.remove(&(at, id));
        }
        Some(slot)
    }

    fn next_revision(&mut self, now: Timestamp) -> u64 {
        next_revision(&mut self.last_revision, now)
    }

    /// Returns how many alerts are open besides the one about the full table.
    fn open_others(&self) -> usize {
        self.slots.len().saturating_sub(usize::from(self.slots.find(&self.full_key).is_some()))
    }

    /// Says whether a new alert finds no room.
    pub(crate) fn is_full(&self, room: Room) -> bool {
        let most = match room {
            Room::Shared => self.max_open,
            Room::Reserved => self.max_open.saturating_add(self.reserved),
        };
        self.slots.len() >= most && self.open_others() >= most
    }

    /// Ends the alert about the full table once a tenth of the room is free, so that it does not come and go.
    fn end_table_full(&mut self, seen: Timestamp, now: Timestamp) {
        if self.slots.find(&self.full_key).is_some() && self.open_others() <= self.max_open.saturating_sub(self.max_open.div_ceil(10)) {
            let evidence = Evidence { chosen_by: TABLE_FULL_RESOURCE.to_owned(), ..Evidence::default() };
            let ending = Ending { evidence, by: TABLE_FULL_RESOURCE, kind: DecisionKind::Cleared };
            self.clear(&self.full_key.clone(), ending, Moment::arrival(seen), now);
        }
    }
}

impl Slot {
    fn count_one(&mut self, moment: Moment, revision: u64, now: Timestamp) {
        (self.revision, self.reported, self.heard) = (revision, revision, now);
        self.count = self.count.saturating_add(1);
        self.last_seen = self.last_seen.max(moment.received);
    }
}

/// Returns the next revision: it grows strictly, and past what a lost state had given out, because that was not ahead of time.
fn next_revision(last: &mut u64, now: Timestamp) -> u64 {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    *last = last.saturating_add(1).max(micros);
    *last
}
