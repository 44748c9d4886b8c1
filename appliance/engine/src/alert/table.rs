//! The table of open alerts. It knows nothing of rules or events, only of reports, clears and closes by key.

use std::collections::{BTreeMap, HashMap};

use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::timestamp::Timestamp;

use super::{MAX_OPEN_ALERTS, TABLE_FULL_KIND, TABLE_FULL_RESOURCE, Verdict};
use crate::rule::Report;

/// The open alerts and what changed since the last drain.
#[derive(Debug)]
pub(super) struct Table {
    open: HashMap<AlertKey, Slot>,
    /// Keys of slots that changed; one whose alert ended since is harmless.
    changed: Vec<AlertKey>,
    /// Occurrences that ended since the last drain.
    ended: Vec<Alert>,
    last_revision: u64,
    max_open: usize,
    /// Key of the alert that says that the table is full; it has a place beyond the limit.
    full_key: AlertKey,
}

/// An open alert.
#[derive(Debug)]
struct Slot {
    alert: Alert,
    changed: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        let full_key = AlertKey { resource: TABLE_FULL_RESOURCE.to_owned(), kind: TABLE_FULL_KIND.to_owned(), qualifier: String::new() };
        Self { open: HashMap::new(), changed: Vec::new(), ended: Vec::new(), last_revision: 0, max_open: MAX_OPEN_ALERTS, full_key }
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
        self.open.values().map(|slot| (&slot.alert, slot.changed))
    }

    /// Returns the occurrences that ended since the last drain.
    pub(super) fn ended(&self) -> &[Alert] {
        &self.ended
    }

    pub(super) const fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Puts back the pieces that a checkpoint holds.
    pub(super) fn from_parts(last_revision: u64, open: Vec<(Alert, bool)>, ended: Vec<Alert>) -> Self {
        let mut table = Self { ended, last_revision, ..Self::new() };
        for (alert, changed) in open {
            if changed {
                table.changed.push(alert.key.clone());
            }
            table.open.insert(alert.key.clone(), Slot { alert, changed });
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
                self.open.insert(alert.key.clone(), Slot { alert, changed: false });
            }
            AlertState::Cleared | AlertState::Closed => {
                self.open.remove(&alert.key);
            }
        }
    }

    /// Opens an alert that was seen at `seen`, or counts it again.
    pub(super) fn raise(&mut self, report: Report, seen: Timestamp, now: Timestamp) -> Verdict {
        if !self.open.contains_key(&report.key) && !self.has_room() {
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
        self.ended.push(alert);
        if let Some(mut alert) = unseen {
            alert.revision = self.next_revision(now);
            alert.occurrence = alert.revision;
            alert.count = surplus;
            // When the first of them came is not kept; the last is the one whose time is known.
            alert.first_seen = alert.last_seen;
            self.changed.push(key.clone());
            self.open.insert(key.clone(), Slot { alert, changed: true });
        }
        self.end_table_full(ended_at, now);
    }

    /// Gives every open alert a new revision.
    pub(super) fn resend_open(&mut self, now: Timestamp) {
        let mut keys: Vec<_> = self.open.values().map(|slot| (slot.alert.revision, slot.alert.key.clone())).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            let revision = self.next_revision(now);
            if let Some(slot) = self.open.get_mut(&key) {
                slot.alert.revision = revision;
                slot.mark(&mut self.changed);
            }
        }
    }

    /// Returns the newest record of every occurrence that changed since the last call, in ascending revision.
    pub(super) fn drain_changes(&mut self) -> Vec<Alert> {
        let mut changes = std::mem::take(&mut self.ended);
        for key in self.changed.drain(..) {
            if let Some(slot) = self.open.get_mut(&key)
                && std::mem::take(&mut slot.changed)
            {
                changes.push(slot.alert.clone());
            }
        }
        changes.sort_unstable_by_key(|alert| alert.revision);
        changes
    }

    /// Opens an alert or counts it again, whether there is room or not.
    pub(super) fn count(&mut self, report: Report, seen: Timestamp, now: Timestamp) -> Verdict {
        let revision = self.next_revision(now);
        match self.open.get_mut(&report.key) {
            Some(slot) => {
                let alert = &mut slot.alert;
                alert.revision = revision;
                alert.severity = report.severity;
                alert.summary = report.summary;
                alert.count = alert.count.saturating_add(1);
                alert.last_seen = alert.last_seen.max(seen);
                alert.labels = report.labels;
                alert.rule = report.rule;
                alert.rule_version = report.rule_version;
                alert.evidence = report.evidence;
                slot.mark(&mut self.changed);
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
                    evidence: report.evidence,
                };
                self.changed.push(alert.key.clone());
                self.open.insert(alert.key.clone(), Slot { alert, changed: true });
                Verdict::Raised
            }
        }
    }

    /// Returns the next revision: it grows strictly, and past what a lost state had given out, because that was not ahead of time.
    fn next_revision(&mut self, now: Timestamp) -> u64 {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        self.last_revision = self.last_revision.saturating_add(1).max(micros);
        self.last_revision
    }

    /// Returns how many alerts are open besides the one about the full table.
    fn open_others(&self) -> usize {
        self.open.len().saturating_sub(usize::from(self.open.contains_key(&self.full_key)))
    }

    fn has_room(&self) -> bool {
        self.open_others() < self.max_open
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
    fn mark(&mut self, changed: &mut Vec<AlertKey>) {
        if !std::mem::replace(&mut self.changed, true) {
            changed.push(self.alert.key.clone());
        }
    }
}
