//! The table of open alerts. It knows nothing of rules or events, only of reports, clears, closes and decisions by key or place.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::alert::{Alert, AlertKey, AlertState, Course, Decision, DecisionKind, Evidence, Severity, Suppression};
use postern_protocol::timestamp::Timestamp;

use super::ends::Ends;
use super::memo::Writer;
use super::moment::{Clock, Moment};
use super::slot::{Change, Slot, View, Written};
use super::slots::{SlotId, Slots};
use super::{MAX_OPEN_ALERTS, TABLE_FULL_KIND, TABLE_FULL_RESOURCE, Verdict};
use crate::rule::Report;

/// Most alerts that end by themselves in one go; the next are some moments later.
const MAX_EXPIRED_AT_ONCE: usize = 10_000;

/// The open alerts and what changed since the last drain.
#[derive(Debug)]
pub(super) struct Table {
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
            full_key,
            packed: Vec::new(),
        }
    }

    pub(super) const fn bound(&mut self, max_open: usize) {
        self.max_open = max_open;
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

    /// Takes in a committed record: it replaces an older one of its key. `clear_after_s` is what the rule of that name says now.
    pub(super) fn apply(&mut self, alert: Alert, clear_after_s: Option<u32>) {
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
    pub(super) fn adopt(&mut self, theirs: Alert, clear_after_s: Option<u32>, now: Timestamp) {
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

    /// Opens an alert, or counts it again, unless the report is older than its last end.
    pub(crate) fn raise(&mut self, report: Report, moment: Moment, now: Timestamp) -> Raised {
        if let Some(id) = self.slots.find(&report.key) {
            return self.count(id, report, moment, now);
        }
        if self.ends.is_late(&report.key, moment) {
            return Raised { verdict: Verdict::Late, slot: None, is_new: false };
        }
        if !self.has_room() {
            // Rule and evidence stay, so that the alert shows who last found no room; the text of the report does not.
            let summary = format!("{} alerts are open; reports of further ones are only counted here until some end", self.max_open);
            let (key, severity, labels) = (self.full_key.clone(), Severity::Critical, BTreeMap::new());
            self.raise_own(Report { key, severity, summary, labels, clear_after_s: None, ..report }, Moment::arrival(moment.received), now);
            return Raised { verdict: Verdict::TableFull, slot: None, is_new: false };
        }
        self.open(report, moment, now)
    }

    /// Opens an alert or counts it again, whether there is room or not.
    pub(super) fn raise_own(&mut self, report: Report, moment: Moment, now: Timestamp) -> Raised {
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

    /// Ends what was not reported for as long as its rule says; at most 10,000 alerts in one go. Returns their keys.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<AlertKey> {
        if std::mem::take(&mut self.was_away) {
            self.hear_all(now);
        }
        let mut expired = Vec::new();
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now && expired.len() < MAX_EXPIRED_AT_ONCE) {
            self.timers.remove(&(at, id));
            let Some(slot) = self.slots.get_mut(id) else { continue };
            slot.timer = None;
            if slot.due().is_none_or(|due| due > now) {
                self.set_timer(id);
                continue;
            }
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

    /// Notes a decision about an alert. One that only repeats the last but for its time takes that one's place.
    pub(crate) fn note(&mut self, slot: SlotId, decision: Decision, now: Timestamp) {
        self.decide(slot, Change::Counted, now, |course| match course.decisions.last_mut() {
            Some(last) if (last.what, &last.by) == (decision.what, &decision.by) => *last = decision,
            Some(_) | None => course.note(decision),
        });
    }

    /// Gives every open alert a new revision, and returns the first of them; with none open, one that no alert gets.
    pub(super) fn resend_open(&mut self, now: Timestamp) -> u64 {
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
    pub(super) const fn has_urgent(&self) -> bool {
        !self.urgent.is_empty() || !self.ended.is_empty()
    }

    /// Returns whether anything changed.
    pub(super) const fn has_changes(&self) -> bool {
        self.has_urgent() || !self.counted.is_empty()
    }

    /// Returns the newest record of every occurrence that changed since the last call, in ascending revision.
    pub(super) fn drain_changes(&mut self) -> Vec<Alert> {
        let mut changes = self.drain_urgent();
        changes.extend(self.counted.drain(..).filter_map(|id| self.slots.get_mut(id)?.take()));
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
    }

    /// Returns only the records that must not wait, in ascending revision; what was only counted again stays for a later call.
    pub(super) fn drain_urgent(&mut self) -> Vec<Alert> {
        let mut changes = std::mem::take(&mut self.ended);
        changes.extend(self.urgent.drain(..).filter_map(|id| self.slots.get_mut(id)?.take()));
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
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

    /// Returns how many alerts wait that were only counted again.
    pub(super) const fn counted_again(&self) -> usize {
        self.counted.len()
    }

    /// Counts an open alert again. An older report than the newest is counted, too, but what the newest said stands.
    fn count(&mut self, id: SlotId, report: Report, moment: Moment, now: Timestamp) -> Raised {
        let raised = |verdict| Raised { verdict, slot: Some(id), is_new: false };
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
        let Report { key, severity, summary, labels, rule, rule_version, clear_after_s, evidence, noise: _ } = report;
        Written { key: &key, rule: &rule, summary: &summary, evidence: &evidence, labels: &labels }.pack(&mut self.packed);
        slot.rewrite(&self.packed);
        (slot.severity, slot.rule_version, slot.clock, slot.writer) = (severity, rule_version, moment.clock, None);
        if slot.clear_after_s != clear_after_s {
            slot.clear_after_s = clear_after_s;
            self.set_timer(id);
        }
        self.mark(Some(id), change);
        raised(Verdict::Updated)
    }

    fn open(&mut self, report: Report, moment: Moment, now: Timestamp) -> Raised {
        let revision = self.next_revision(now);
        let Report { key, severity, summary, labels, rule, rule_version, clear_after_s, evidence, noise: _ } = report;
        let alert = Alert {
            key,
            occurrence: revision,
            revision,
            state: AlertState::Open,
            severity,
            summary,
            count: 1,
            first_seen: moment.received,
            last_seen: moment.received,
            cleared_at: None,
            labels,
            rule,
            rule_version,
            evidence,
            course: Course::default(),
        };
        let id = self.put(Slot { heard: now, clock: moment.clock, clear_after_s, ..Slot::new(&alert) });
        self.mark(id, Change::Urgent);
        Raised { verdict: Verdict::Raised, slot: id, is_new: true }
    }

    /// Notes the end of an occurrence that has left its slot.
    fn end(&mut self, alert: Alert, clock: Option<Clock>, now: Timestamp) {
        let revision = self.next_revision(now);
        self.ends.note(&alert.key, revision, clock);
        self.ended.push(Alert { revision, ..alert });
    }

    fn decide(&mut self, id: SlotId, change: Change, now: Timestamp, decide: impl FnOnce(&mut Course)) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let mut course = slot.course();
        decide(&mut course);
        slot.set_course(&course);
        slot.revision = next_revision(&mut self.last_revision, now);
        self.mark(Some(id), change);
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

    /// Sees to it that the alert is looked after when it is due, and no later.
    fn set_timer(&mut self, id: SlotId) {
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

    fn mark(&mut self, id: Option<SlotId>, change: Change) {
        let Some((id, slot)) = id.and_then(|id| Some((id, self.slots.get_mut(id)?))) else { return };
        let list = match change {
            Change::None => return,
            Change::Counted => &mut self.counted,
            Change::Urgent => &mut self.urgent,
        };
        mark(slot, id, change, list);
    }

    fn next_revision(&mut self, now: Timestamp) -> u64 {
        next_revision(&mut self.last_revision, now)
    }

    /// Returns how many alerts are open besides the one about the full table.
    fn open_others(&self) -> usize {
        self.slots.len().saturating_sub(usize::from(self.slots.find(&self.full_key).is_some()))
    }

    fn has_room(&self) -> bool {
        self.slots.len() < self.max_open || self.open_others() < self.max_open
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

    /// Takes on all that another's record says; what records do not say stays.
    fn replace(&mut self, alert: &Alert) {
        let Self { heard, clock: _, timer, clear_after_s, .. } = *self;
        *self = Self { heard, timer, clear_after_s, ..Self::new(alert) };
    }

    /// Returns the record if it changed since the last call.
    fn take(&mut self) -> Option<Alert> {
        (std::mem::replace(&mut self.change, Change::None) != Change::None).then(|| self.alert())
    }
}

/// Notes a change, with the place in `list` unless what was noted before says as much.
fn mark(slot: &mut Slot, id: SlotId, change: Change, list: &mut Vec<SlotId>) {
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

/// Returns the next revision: it grows strictly, and past what a lost state had given out, because that was not ahead of time.
fn next_revision(last: &mut u64, now: Timestamp) -> u64 {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    *last = last.saturating_add(1).max(micros);
    *last
}
