//! The table of open alerts. It knows nothing of rules or events, only of reports, clears and closes by key.

use std::collections::{BTreeMap, HashMap};

use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::timestamp::Timestamp;

use super::ends::Ends;
use super::memo::Writer;
use super::{MAX_OPEN_ALERTS, TABLE_FULL_KIND, TABLE_FULL_RESOURCE, Verdict};
use crate::rule::Report;

/// The open alerts and what changed since the last drain.
#[derive(Debug)]
pub(super) struct Table {
    open: HashMap<AlertKey, Slot>,
    /// Keys of slots that were only counted again; one whose alert ended or was drained since is harmless.
    counted: Vec<AlertKey>,
    /// Keys of slots with news that must not wait; the same is true of them.
    urgent: Vec<AlertKey>,
    /// Occurrences that ended since the last drain.
    ended: Vec<Alert>,
    ends: Ends,
    last_revision: u64,
    max_open: usize,
    /// Key of the alert that says that the table is full; it has a place beyond the limit.
    full_key: AlertKey,
}

/// An open alert.
#[derive(Debug)]
struct Slot {
    alert: Alert,
    change: Change,
    /// The remembered notification that wrote its texts and evidence.
    writer: Option<Writer>,
    /// Its revision when it was last reported; a later one only sent it again.
    reported: u64,
}

/// What happened to an open alert since it was last drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// It was reported again: count, time, texts and evidence are newer, its severity is the same.
    Counted,
    /// It was raised, or its severity changed, or all are to be sent again.
    Urgent,
}

impl Table {
    pub(super) fn new() -> Self {
        let full_key = AlertKey { resource: TABLE_FULL_RESOURCE.to_owned(), kind: TABLE_FULL_KIND.to_owned(), qualifier: String::new() };
        Self {
            open: HashMap::new(),
            counted: Vec::new(),
            urgent: Vec::new(),
            ended: Vec::new(),
            ends: Ends::default(),
            last_revision: 0,
            max_open: MAX_OPEN_ALERTS,
            full_key,
        }
    }

    pub(super) const fn bound(&mut self, max_open: usize) {
        self.max_open = max_open;
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn open_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.open.values().map(|slot| &slot.alert)
    }

    /// Returns the open alerts with whether each changed since the last drain.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&Alert, bool)> {
        self.open.values().map(|slot| (&slot.alert, slot.change != Change::None))
    }

    /// Returns the occurrences that ended since the last drain.
    pub(super) fn ended(&self) -> &[Alert] {
        &self.ended
    }

    /// Returns the ends that are remembered, oldest first.
    pub(super) fn ends(&self) -> impl Iterator<Item = (u64, &AlertKey)> {
        self.ends.iter()
    }

    /// Remembers an end.
    pub(super) fn note_end(&mut self, key: &AlertKey, revision: u64) {
        self.ends.note(key, revision);
    }

    pub(super) const fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Puts back the pieces that a checkpoint holds.
    pub(super) fn from_parts(last_revision: u64, open: Vec<(Alert, bool)>, ended: Vec<Alert>) -> Self {
        let mut table = Self { ended, last_revision, ..Self::new() };
        for alert in &table.ended {
            table.ends.note(&alert.key, alert.revision);
        }
        for (alert, changed) in open {
            let mut slot = Slot::new(alert);
            if changed {
                slot.mark(Change::Urgent, &mut table.urgent);
            }
            table.open.insert(slot.alert.key.clone(), slot);
        }
        table
    }

    /// Takes in a committed record: it replaces an older one of its key.
    pub(super) fn apply(&mut self, alert: Alert) {
        self.last_revision = self.last_revision.max(alert.revision);
        if self.open.get(&alert.key).is_some_and(|slot| slot.alert.revision >= alert.revision) {
            return;
        }
        match alert.state {
            AlertState::Open => {
                self.open.insert(alert.key.clone(), Slot::new(alert));
            }
            AlertState::Cleared | AlertState::Closed => {
                self.ends.note(&alert.key, alert.revision);
                self.open.remove(&alert.key);
            }
        }
    }

    /// Takes in what this gateway had reported before its disk was set back; see [`super::AlertEngine::adopt`].
    pub(super) fn adopt(&mut self, theirs: Alert, now: Timestamp) {
        self.last_revision = self.last_revision.max(theirs.revision);
        let Some(slot) = self.open.get_mut(&theirs.key) else {
            if theirs.state == AlertState::Open && !self.ends.is_after(&theirs.key, theirs.revision) {
                self.open.insert(theirs.key.clone(), Slot::new(theirs));
            }
            return;
        };
        if theirs.revision == slot.reported {
            return;
        }
        let ours = &mut slot.alert;
        let revision = next_revision(&mut self.last_revision, now);
        match (theirs.revision > slot.reported, theirs.state) {
            // It had ended when ours, which the disk had kept, was last reported.
            (true, AlertState::Cleared | AlertState::Closed) if theirs.occurrence >= ours.occurrence => {
                self.open.remove(&theirs.key);
                return;
            }
            // Ours began after the disk was set back, by a clock that is behind: it is news.
            (true, AlertState::Cleared | AlertState::Closed) => slot.reported = revision,
            (true, AlertState::Open) if theirs.occurrence >= ours.occurrence && theirs.revision > ours.revision => {
                *slot = Slot::new(theirs);
                return;
            }
            (true, AlertState::Open) => {
                let (occurrence, count) = (ours.occurrence.max(theirs.occurrence), ours.count.max(theirs.count));
                *slot = Slot::new(Alert { occurrence, count, ..theirs });
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
        slot.alert.revision = revision;
        slot.mark(Change::Urgent, &mut self.urgent);
    }

    /// Opens an alert that was seen at `seen`, or counts it again.
    pub(super) fn raise(&mut self, report: Report, seen: Timestamp, now: Timestamp) -> Verdict {
        if !self.has_room() && !self.open.contains_key(&report.key) {
            // Rule and evidence stay, so that the alert shows who last found no room; the text of the report does not.
            let summary = format!("{} alerts are open; reports of further ones are only counted here until some end", self.max_open);
            let full = Report { key: self.full_key.clone(), severity: Severity::Critical, summary, labels: BTreeMap::new(), ..report };
            self.count(full, seen, now);
            return Verdict::TableFull;
        }
        self.count(report, seen, now)
    }

    /// Ends the alert of `key`, if it is open.
    pub(super) fn clear(&mut self, key: &AlertKey, evidence: Evidence, seen: Timestamp, now: Timestamp) -> Verdict {
        let Some(mut alert) = self.open.remove(key).map(|slot| slot.alert) else { return Verdict::ClearedNothing };
        alert.revision = self.next_revision(now);
        alert.state = AlertState::Cleared;
        // A clock that was set back must not end an alert before its last report.
        alert.cleared_at = Some(seen.max(alert.last_seen));
        alert.evidence = evidence;
        self.ends.note(key, alert.revision);
        self.ended.push(alert);
        self.end_table_full(seen, now);
        Verdict::Cleared
    }

    /// Closes `occurrence` of the alert of `key`, if it is open, with the reports that were seen; more start a new occurrence.
    pub(super) fn close(&mut self, key: &AlertKey, occurrence: u64, count_seen: u64, now: Timestamp) {
        if self.open.get(key).is_none_or(|slot| slot.alert.occurrence != occurrence) {
            return;
        }
        let Some(mut alert) = self.open.remove(key).map(|slot| slot.alert) else { return };
        // A record has at least one report, even if the person claims to have seen none.
        let seen = count_seen.clamp(1, alert.count.max(1));
        let surplus = alert.count.saturating_sub(seen);
        let unseen = (surplus > 0).then(|| alert.clone());
        alert.revision = self.next_revision(now);
        alert.state = AlertState::Closed;
        alert.count = seen;
        let ended_at = alert.last_seen;
        self.ends.note(key, alert.revision);
        self.ended.push(alert);
        if let Some(mut alert) = unseen {
            alert.revision = self.next_revision(now);
            alert.occurrence = alert.revision;
            alert.count = surplus;
            // When the first of them came is not kept; the last is the one whose time is known.
            alert.first_seen = alert.last_seen;
            self.insert(alert);
        }
        self.end_table_full(ended_at, now);
    }

    /// Gives every open alert a new revision, and returns the first of them; with none open, one that no alert gets.
    pub(super) fn resend_open(&mut self, now: Timestamp) -> u64 {
        let mut keys: Vec<_> = self.open.values().map(|slot| (slot.alert.revision, slot.alert.key.clone())).collect();
        keys.sort_unstable();
        let mut since = None;
        for (_, key) in keys {
            let revision = self.next_revision(now);
            since = since.or(Some(revision));
            if let Some(slot) = self.open.get_mut(&key) {
                slot.alert.revision = revision;
                slot.mark(Change::Urgent, &mut self.urgent);
            }
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
        let counted = std::mem::take(&mut self.counted);
        let mut changes = self.drain_urgent();
        changes.extend(counted.iter().filter_map(|key| self.open.get_mut(key)?.take()));
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
    }

    /// Returns only the records that must not wait, in ascending revision; what was only counted again stays for a later call.
    pub(super) fn drain_urgent(&mut self) -> Vec<Alert> {
        let mut changes = std::mem::take(&mut self.ended);
        changes.extend(self.urgent.drain(..).filter_map(|key| self.open.get_mut(&key)?.take()));
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
    }

    /// Counts the alert of `key` again, if it is open and still as `writer` wrote it; says whether it did.
    pub(super) fn count_again(&mut self, key: &AlertKey, writer: Writer, seen: Timestamp, now: Timestamp) -> bool {
        let Some(slot) = self.open.get_mut(key).filter(|slot| slot.writer == Some(writer)) else { return false };
        slot.alert.revision = next_revision(&mut self.last_revision, now);
        slot.alert.count = slot.alert.count.saturating_add(1);
        slot.alert.last_seen = slot.alert.last_seen.max(seen);
        slot.reported = slot.alert.revision;
        slot.mark(Change::Counted, &mut self.counted);
        true
    }

    /// Notes that all texts and the evidence of the alert of `key` come from one remembered notification.
    pub(super) fn was_written_by(&mut self, key: &AlertKey, writer: Writer) {
        if let Some(slot) = self.open.get_mut(key) {
            slot.writer = Some(writer);
        }
    }

    /// Returns how many alerts wait that were only counted again.
    pub(super) const fn counted_again(&self) -> usize {
        self.counted.len()
    }

    /// Opens an alert or counts it again, whether there is room or not.
    pub(super) fn count(&mut self, report: Report, seen: Timestamp, now: Timestamp) -> Verdict {
        let revision = self.next_revision(now);
        match self.open.get_mut(&report.key) {
            Some(slot) => {
                let alert = &mut slot.alert;
                let same = alert.severity == report.severity;
                alert.revision = revision;
                alert.severity = report.severity;
                alert.summary = report.summary;
                alert.count = alert.count.saturating_add(1);
                alert.last_seen = alert.last_seen.max(seen);
                alert.labels = report.labels;
                alert.rule = report.rule;
                alert.rule_version = report.rule_version;
                alert.evidence = report.evidence;
                (slot.writer, slot.reported) = (None, revision);
                if same {
                    slot.mark(Change::Counted, &mut self.counted);
                } else {
                    slot.mark(Change::Urgent, &mut self.urgent);
                }
                Verdict::Updated
            }
            None => {
                let alert = Alert {
                    key: report.key,
                    occurrence: revision,
                    revision,
                    state: AlertState::Open,
                    severity: report.severity,
                    summary: report.summary,
                    count: 1,
                    first_seen: seen,
                    last_seen: seen,
                    cleared_at: None,
                    labels: report.labels,
                    rule: report.rule,
                    rule_version: report.rule_version,
                    course: postern_protocol::alert::Course::default(),
                    evidence: report.evidence,
                };
                self.insert(alert);
                Verdict::Raised
            }
        }
    }

    /// Puts an alert in that must not wait.
    fn insert(&mut self, alert: Alert) {
        let mut slot = Slot::new(alert);
        slot.mark(Change::Urgent, &mut self.urgent);
        self.open.insert(slot.alert.key.clone(), slot);
    }

    fn next_revision(&mut self, now: Timestamp) -> u64 {
        next_revision(&mut self.last_revision, now)
    }

    /// Returns how many alerts are open besides the one about the full table.
    fn open_others(&self) -> usize {
        self.open.len().saturating_sub(usize::from(self.open.contains_key(&self.full_key)))
    }

    fn has_room(&self) -> bool {
        self.open.len() < self.max_open || self.open_others() < self.max_open
    }

    /// Ends the alert about the full table once a tenth of the room is free, so that it does not come and go.
    fn end_table_full(&mut self, seen: Timestamp, now: Timestamp) {
        if self.open.contains_key(&self.full_key) && self.open_others() <= self.max_open.saturating_sub(self.max_open.div_ceil(10)) {
            let evidence = Evidence { chosen_by: TABLE_FULL_RESOURCE.to_owned(), ..Evidence::default() };
            self.clear(&self.full_key.clone(), evidence, seen, now);
        }
    }
}

impl Slot {
    const fn new(alert: Alert) -> Self {
        let reported = alert.revision;
        Self { alert, change: Change::None, writer: None, reported }
    }

    /// Notes a change, with the key in `keys` unless what was noted before says as much.
    fn mark(&mut self, change: Change, keys: &mut Vec<AlertKey>) {
        let noted = match self.change {
            Change::None => false,
            Change::Counted => change == Change::Counted,
            Change::Urgent => true,
        };
        if !noted {
            self.change = change;
            keys.push(self.alert.key.clone());
        }
    }

    /// Returns the record if it changed since the last call.
    fn take(&mut self) -> Option<Alert> {
        (std::mem::replace(&mut self.change, Change::None) != Change::None).then(|| self.alert.clone())
    }
}

/// Returns the next revision: it grows strictly, and past what a lost state had given out, because that was not ahead of time.
fn next_revision(last: &mut u64, now: Timestamp) -> u64 {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    *last = last.saturating_add(1).max(micros);
    *last
}
