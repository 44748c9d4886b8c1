//! The table beside a plain one that keeps whole records and goes through all of them each time: same verdicts, states and records.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::alert::{Alert, AlertKey, AlertState, Course, Decision, DecisionKind, Evidence, Severity, Suppression};
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

use super::super::checkpoint;
use super::super::moment::{Clock, ClockKind, Moment};
use super::super::slot::Change;
use super::{Ending, Room, Table};
use crate::alert::Verdict;
use crate::rule::{NoiseFacts, Report};

/// What a step does to the alert of one key.
#[derive(Clone, Debug)]
enum Step {
    Raise { key: u8, says: u8, clear_after_s: Option<u32>, clock: Option<Clock> },
    Clear { key: u8, clock: Option<Clock> },
    Close { key: u8, seen: u64 },
    Fold { key: u8, under: Option<u8> },
    Suppress { key: u8, until: Option<i64> },
    Flap { key: u8, flapping: bool },
    Note { key: u8, what: DecisionKind },
    Expire,
    Resend,
    Drain,
    DrainUrgent,
    Restart,
    Crash,
    Time { seconds: i64 },
}

/// An open alert of the plain table.
#[derive(Clone, Debug)]
struct Plain {
    alert: Alert,
    change: Change,
    heard: Timestamp,
    clock: Option<Clock>,
    clear_after_s: Option<u32>,
}

impl Plain {
    fn due(&self) -> Option<Timestamp> {
        Some(self.heard.saturating_add(Duration::from_secs(self.clear_after_s?.into())))
    }
}

/// The plain table.
#[derive(Clone, Debug, Default)]
struct Reference {
    open: BTreeMap<AlertKey, Plain>,
    ended: Vec<Alert>,
    ends: BTreeMap<AlertKey, (u64, Option<Clock>)>,
    last_revision: u64,
    was_away: bool,
}

impl Reference {
    fn next(&mut self, now: Timestamp) -> u64 {
        self.last_revision = (self.last_revision + 1).max(u64::try_from(now.as_micros()).unwrap());
        self.last_revision
    }

    fn note_end(&mut self, key: &AlertKey, revision: u64, clock: Option<Clock>) {
        if self.ends.get(key).is_none_or(|end| end.0 <= revision) {
            self.ends.insert(key.clone(), (revision, clock));
        }
    }

    fn end(&mut self, mut alert: Alert, clock: Option<Clock>, now: Timestamp) {
        alert.revision = self.next(now);
        self.note_end(&alert.key, alert.revision, clock);
        self.ended.push(alert);
    }

    fn raise(&mut self, report: Report, moment: Moment, now: Timestamp) -> Verdict {
        let after_an_end = !late(moment.clock, self.ends.get(&report.key).and_then(|end| end.1));
        if let Some(open) = self.open.get(&report.key) {
            let is_late = late(moment.clock, open.clock);
            if is_late && !after_an_end {
                self.note(&report.key, decision(moment.received, DecisionKind::LateReport, report.rule.as_str()), now);
                return Verdict::Late;
            }
            let revision = self.next(now);
            let open = self.open.get_mut(&report.key).unwrap();
            open.alert.revision = revision;
            open.alert.count += 1;
            open.alert.last_seen = open.alert.last_seen.max(moment.received);
            open.heard = now;
            let mut change = Change::Counted;
            if !is_late {
                if open.alert.severity != report.severity {
                    change = Change::Urgent;
                }
                let Report { severity, summary, labels, rule, rule_version, evidence, .. } = report;
                open.alert = Alert { severity, summary, labels, rule, rule_version, evidence, ..open.alert.clone() };
                (open.clock, open.clear_after_s) = (moment.clock, report.clear_after_s);
            }
            open.change = graver(open.change, change);
            return Verdict::Updated;
        }
        if !after_an_end {
            return Verdict::Late;
        }
        let revision = self.next(now);
        let Report { key, severity, summary, labels, rule, rule_version, clear_after_s, evidence, noise: _ } = report;
        let (first_seen, last_seen) = (moment.received, moment.received);
        let alert = Alert {
            key: key.clone(),
            occurrence: revision,
            revision,
            state: AlertState::Open,
            severity,
            summary,
            count: 1,
            first_seen,
            last_seen,
            cleared_at: None,
            labels,
            rule,
            rule_version,
            evidence,
            course: Course::default(),
        };
        self.open.insert(key, Plain { alert, change: Change::Urgent, heard: now, clock: moment.clock, clear_after_s });
        Verdict::Raised
    }

    fn clear(&mut self, key: &AlertKey, by: &str, moment: Moment, now: Timestamp) -> Verdict {
        let Some(open) = self.open.get(key) else { return Verdict::ClearedNothing };
        if late(moment.clock, open.clock) {
            self.note(key, decision(moment.received, DecisionKind::LateClear, by), now);
            return Verdict::Late;
        }
        let Plain { mut alert, clock, .. } = self.open.remove(key).unwrap();
        let at = moment.received.max(alert.last_seen);
        alert.course.note(decision(at, DecisionKind::Cleared, by));
        let alert = Alert { state: AlertState::Cleared, cleared_at: Some(at), evidence: evidence("end"), ..alert };
        self.end(alert, moment.clock.or(clock), now);
        Verdict::Cleared
    }

    fn close(&mut self, key: &AlertKey, seen: u64, now: Timestamp) {
        let Some(mut open) = self.open.remove(key) else { return };
        let (all, seen) = (open.alert.count, seen.clamp(1, open.alert.count));
        self.end(Alert { state: AlertState::Closed, count: seen, ..open.alert.clone() }, None, now);
        if all > seen {
            let revision = self.next(now);
            let first_seen = open.alert.last_seen;
            open.alert = Alert { occurrence: revision, revision, count: all - seen, first_seen, ..open.alert };
            open.change = Change::Urgent;
            self.open.insert(key.clone(), open);
        }
    }

    fn expire(&mut self, now: Timestamp) -> Vec<AlertKey> {
        if std::mem::take(&mut self.was_away) {
            for open in self.open.values_mut().filter(|open| open.clear_after_s.is_some()) {
                open.heard = open.heard.max(now);
            }
        }
        let due = self.open.iter().filter_map(|(key, open)| Some((open.due()?, open.alert.occurrence, key.clone())));
        let mut due: Vec<_> = due.filter(|(at, ..)| *at <= now).collect();
        due.sort();
        for (.., key) in &due {
            let Plain { mut alert, .. } = self.open.remove(key).unwrap();
            let at = now.max(alert.last_seen);
            alert.course.note(decision(at, DecisionKind::TimedOut, alert.rule.as_str()));
            self.end(Alert { state: AlertState::Cleared, cleared_at: Some(at), ..alert }, None, now);
        }
        due.into_iter().map(|(.., key)| key).collect()
    }

    fn decide(&mut self, key: &AlertKey, change: Change, now: Timestamp, decide: impl FnOnce(&mut Course)) {
        if !self.open.contains_key(key) {
            return;
        }
        let revision = self.next(now);
        let open = self.open.get_mut(key).unwrap();
        decide(&mut open.alert.course);
        open.alert.revision = revision;
        open.change = graver(open.change, change);
    }

    fn note(&mut self, key: &AlertKey, decision: Decision, now: Timestamp) {
        self.decide(key, Change::Counted, now, |course| {
            if course.decisions.last().is_some_and(|last| last.what == decision.what && last.by == decision.by) {
                course.decisions.pop();
            }
            course.note(decision);
        });
    }

    fn resend(&mut self, now: Timestamp) -> u64 {
        let mut keys: Vec<_> = self.open.values().map(|open| (open.alert.revision, open.alert.key.clone())).collect();
        keys.sort();
        let first = self.last_revision;
        for (_, key) in &keys {
            self.decide(key, Change::Urgent, now, |_| ());
        }
        if keys.is_empty() { self.next(now) } else { (first + 1).max(u64::try_from(now.as_micros()).unwrap()) }
    }

    fn drain(&mut self, wanted: &[Change]) -> Vec<Alert> {
        let mut drained = std::mem::take(&mut self.ended);
        for open in self.open.values_mut().filter(|open| wanted.contains(&open.change)) {
            open.change = Change::None;
            drained.push(open.alert.clone());
        }
        drained.sort_by_key(|alert| alert.revision);
        drained
    }

    fn restart(&mut self) {
        self.was_away = true;
        for open in self.open.values_mut().filter(|open| open.change == Change::Counted) {
            open.change = Change::Urgent;
        }
    }

    fn apply(&mut self, alert: &Alert) {
        self.last_revision = self.last_revision.max(alert.revision);
        self.was_away = true;
        if self.open.get(&alert.key).is_some_and(|open| open.alert.revision >= alert.revision) {
            return;
        }
        self.open.remove(&alert.key);
        if alert.state == AlertState::Open {
            let (heard, clock, clear_after_s) = (alert.last_seen, None, Some(7));
            self.open.insert(alert.key.clone(), Plain { alert: alert.clone(), change: Change::None, heard, clock, clear_after_s });
        } else {
            self.note_end(&alert.key, alert.revision, None);
        }
    }
}

/// The rule in words: the same clock of the same sender, behind by more than nothing and no more than ten minutes.
fn late(this: Option<Clock>, last: Option<Clock>) -> bool {
    let (Some(this), Some(last)) = (this, last) else { return false };
    let behind = last.nanos - this.nanos;
    (this.kind, this.sender) == (last.kind, last.sender) && (1..=600_000_000_000).contains(&behind)
}

fn graver(one: Change, other: Change) -> Change {
    if one == Change::Urgent || other == Change::Urgent { Change::Urgent } else { other }
}

fn decision(at: Timestamp, what: DecisionKind, by: &str) -> Decision {
    Decision { at, what, by: by.to_owned(), text: String::new() }
}

fn evidence(peer: &str) -> Evidence {
    Evidence { peer: peer.to_owned(), conflict: peer.len() == 3, ..Evidence::default() }
}

fn key(number: u8) -> AlertKey {
    AlertKey { resource: format!("r{number}"), kind: "k".repeat(usize::from(number) + 1), qualifier: String::new() }
}

/// A report that says one of a few things, in texts of different lengths.
fn report(number: u8, says: u8, clear_after_s: Option<u32>) -> Report {
    let labels = (0..says).map(|label| (format!("l{label}"), "x".repeat(usize::from(says) * 60))).collect();
    Report {
        key: key(number),
        severity: if says == 0 { Severity::Minor } else { Severity::Major },
        summary: format!("says {says}"),
        labels,
        rule: format!("rule-{says}").parse().unwrap(),
        rule_version: says.into(),
        clear_after_s,
        evidence: evidence(if says == 1 { "abc" } else { "abcd" }),
        noise: NoiseFacts::default(),
    }
}

/// The two tables, and what a disk would have.
struct Rig {
    table: Table,
    reference: Reference,
    checkpoint: Vec<u8>,
    checkpointed: Reference,
    later: Vec<Alert>,
    now: Timestamp,
}

impl Rig {
    fn new() -> Self {
        let table = Table::new();
        let (checkpoint, now) = (checkpoint::encode(&table, vec![]), Timestamp::from_secs(1_800_000_000));
        let reference = Reference::default();
        Self { table, checkpointed: reference.clone(), reference, checkpoint, later: vec![], now }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let Self { table, reference, now, .. } = self;
        let now = *now;
        let moment = |clock: &Option<Clock>| Moment { received: now, clock: *clock };
        match step {
            Step::Raise { key, says, clear_after_s, clock } => {
                let was_open = reference.open.contains_key(&super::tests::key(*key));
                let raised = table.raise(&report(*key, *says, *clear_after_s), moment(clock), (Room::Reserved, now));
                prop_assert_eq!(raised.verdict, reference.raise(report(*key, *says, *clear_after_s), moment(clock), now));
                prop_assert_eq!(raised.is_new, !was_open && raised.verdict == Verdict::Raised);
                prop_assert_eq!(raised.slot, table.slot_of(&super::tests::key(*key)));
            }
            Step::Clear { key: number, clock } => {
                let ending = Ending { evidence: evidence("end"), by: "rule-c", kind: DecisionKind::Cleared };
                let verdict = table.clear(&key(*number), ending, moment(clock), now);
                prop_assert_eq!(verdict, reference.clear(&key(*number), "rule-c", moment(clock), now));
            }
            Step::Close { key: number, seen } => {
                let occurrence = reference.open.get(&key(*number)).map_or(0, |open| open.alert.occurrence);
                table.close(&key(*number), occurrence, *seen, now);
                reference.close(&key(*number), *seen, now);
            }
            Step::Fold { key: number, under } => self.decide(*number, |table, slot| {
                let made = decision(now, DecisionKind::Folded, "storm");
                let parent = under.map(key);
                table.fold(slot, parent.clone(), made.clone(), now);
                move |course: &mut Course| (course.parent, _) = (parent, course.note(made))
            }),
            Step::Suppress { key, until } => self.decide(*key, |table, slot| {
                let made = decision(now, DecisionKind::Suppressed, "window");
                let suppressed = until.map(|until| Suppression { by: "window".to_owned(), until: Timestamp::from_secs(until) });
                table.suppress(slot, suppressed.clone(), made.clone(), now);
                move |course: &mut Course| (course.suppressed, _) = (suppressed, course.note(made))
            }),
            Step::Flap { key, flapping } => self.decide(*key, |table, slot| {
                let (made, flapping) = (decision(now, DecisionKind::FlapStarted, "rule"), *flapping);
                table.set_flapping(slot, flapping, made.clone(), now);
                move |course: &mut Course| (course.flapping, _) = (flapping, course.note(made))
            }),
            Step::Note { key: number, what } => {
                if let Some(slot) = table.slot_of(&key(*number)) {
                    table.note(slot, decision(now, *what, "n"), now);
                }
                reference.note(&key(*number), decision(now, *what, "n"), now);
            }
            Step::Expire => prop_assert_eq!(table.expire(now), reference.expire(now)),
            Step::Resend => prop_assert_eq!(table.resend_open(now), reference.resend(now)),
            Step::Drain => {
                let drained = table.drain_changes();
                prop_assert_eq!(&drained, &reference.drain(&[Change::Counted, Change::Urgent]));
                prop_assert!(!table.has_changes());
                self.later.extend(drained);
            }
            Step::DrainUrgent => {
                let drained = table.drain_urgent();
                prop_assert_eq!(&drained, &reference.drain(&[Change::Urgent]));
                self.later.extend(drained);
            }
            Step::Restart => {
                self.checkpoint = checkpoint::encode(&self.table, b"noise".to_vec());
                let (restored, noise) = checkpoint::decode(&self.checkpoint).unwrap();
                prop_assert_eq!(noise, b"noise");
                prop_assert_eq!(checkpoint::encode(&restored, b"noise".to_vec()), self.checkpoint.clone());
                self.table = restored;
                self.reference.restart();
                self.checkpointed = self.reference.clone();
                self.later.clear();
            }
            Step::Crash => {
                self.table = checkpoint::decode(&self.checkpoint).unwrap().0;
                self.reference = self.checkpointed.clone();
                self.reference.restart();
                for alert in &self.later {
                    self.table.apply(alert.clone(), Some(7));
                    self.reference.apply(alert);
                }
            }
            Step::Time { seconds } => self.now = Timestamp::from_nanos(now.as_nanos() + seconds * 1_000_000_000),
        }
        self.check()
    }

    fn decide<F: FnOnce(&mut Course)>(&mut self, number: u8, decide: impl FnOnce(&mut Table, super::SlotId) -> F) {
        if let Some(slot) = self.table.slot_of(&key(number)) {
            let decided = decide(&mut self.table, slot);
            self.reference.decide(&key(number), Change::Urgent, self.now, decided);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let open: BTreeMap<_, _> = self.table.open_alerts().map(|alert| (alert.key.clone(), alert)).collect();
        let plain: BTreeMap<_, _> = self.reference.open.iter().map(|(key, open)| (key.clone(), open.alert.clone())).collect();
        prop_assert_eq!(&open, &plain);
        prop_assert_eq!(self.table.open_count(), plain.len());
        prop_assert_eq!(self.table.last_revision(), self.reference.last_revision);
        prop_assert!(self.table.has_changes() || self.reference.open.values().all(|open| open.change == Change::None));
        let mut occurrences = Vec::new();
        for slot in self.table.slots() {
            let view = self.table.view(slot).unwrap();
            let alert = &plain[&view.key.to_key()];
            prop_assert!(view.key == alert.key && view.rule == alert.rule.as_str());
            let suppressed = alert.course.suppressed.as_ref().map(|by| (by.by.as_str(), by.until));
            prop_assert_eq!((view.suppressed, view.flapping), (suppressed, alert.course.flapping));
            prop_assert_eq!(view.parent.map(|parent| parent.to_key()), alert.course.parent.clone());
            prop_assert_eq!((view.severity, view.occurrence, view.count), (alert.severity, alert.occurrence, alert.count));
            prop_assert_eq!((view.first_seen, view.last_seen), (alert.first_seen, alert.last_seen));
            occurrences.push(view.occurrence);
        }
        prop_assert!(occurrences.is_sorted() && occurrences.len() == plain.len());
        let shown = plain.values().filter(|alert| alert.course.parent.is_none() && alert.course.suppressed.is_none()).count();
        prop_assert_eq!(self.table.shown_count(), shown);
        Ok(())
    }
}

fn clock() -> impl Strategy<Value = Option<Clock>> {
    let kind = prop_oneof![Just(ClockKind::Syslog), Just(ClockKind::Uptime)];
    let seconds = prop_oneof![4 => -3..4_i64, 1 => -700..700_i64];
    prop::option::weighted(
        0.8,
        (kind, 0..2_u32, seconds).prop_map(|(kind, sender, seconds)| Clock {
            nanos: (1_800_000_000 + seconds) * 1_000_000_000,
            sender,
            kind,
        }),
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..4_u8;
    let what = prop::sample::select(&DecisionKind::ALL[..4]);
    let step = prop_oneof![
        12 => (key(), 0..4_u8, prop::option::of(1..20_u32), clock())
            .prop_map(|(key, says, clear_after_s, clock)| Step::Raise { key, says, clear_after_s, clock }),
        6 => (key(), clock()).prop_map(|(key, clock)| Step::Clear { key, clock }),
        2 => (key(), 0..4_u64).prop_map(|(key, seen)| Step::Close { key, seen }),
        2 => (key(), prop::option::of(key())).prop_map(|(key, under)| Step::Fold { key, under }),
        2 => (key(), prop::option::of(any::<i32>())).prop_map(|(key, until)| Step::Suppress { key, until: until.map(i64::from) }),
        2 => (key(), any::<bool>()).prop_map(|(key, flapping)| Step::Flap { key, flapping }),
        4 => (key(), what).prop_map(|(key, what)| Step::Note { key, what }),
        4 => Just(Step::Expire),
        1 => Just(Step::Resend),
        3 => Just(Step::Drain),
        3 => Just(Step::DrainUrgent),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        4 => (-2..12_i64).prop_map(|seconds| Step::Time { seconds }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn the_table_is_the_plain_one(steps in steps()) {
        let mut rig = Rig::new();
        for step in &steps {
            rig.step(step)?;
        }
    }
}
