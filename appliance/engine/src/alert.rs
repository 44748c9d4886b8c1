//! Alert state: which alerts are open, how often each was reported, what changed since the last commit.
//!
//! Pure: `now` is an argument, records come out of [`AlertEngine::drain_changes`]. The gateway's pipeline is the one owner. State is
//! `restore(checkpoint)` plus [`AlertEngine::apply`] for every record that was committed later.

mod checkpoint;
mod ends;
mod memo;
mod moment;
mod own;
mod rehearsal;
mod slot;
mod slots;
mod table;
mod text;

use std::sync::Arc;

use postern_protocol::alert::{Alert, AlertKey, DecisionKind};
use postern_protocol::dictionary::Dictionary;
use postern_protocol::replay::{Figures, RuleFigures};
use postern_protocol::revision::document::Mode;
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;

use self::memo::{Known, Memo};
use crate::event::{Body, Event};
use crate::mib::{self, UnknownOids};
use crate::noise::{Hands, Noise};
use crate::rule::{Counters, Outcome, RuleIndex};

pub use self::checkpoint::CheckpointError;
pub use self::own::{OWN_RESOURCE, OwnReport};

pub(crate) use self::moment::Moment;
pub(crate) use self::own::evidence as own_evidence;
pub(crate) use self::slot::KeyRef;
pub(crate) use self::slots::SlotId;
pub(crate) use self::table::{Ending, Raised, Room, Table};

/// Most alerts that are open at once. Further ones are counted in one critical alert of [`TABLE_FULL_RESOURCE`].
pub const MAX_OPEN_ALERTS: usize = 100_000;

/// How many more may be open of kinds that are in no storm: a storm that fills the table must not hide a rare fault.
pub const RESERVED_ALERTS: usize = 2_048;

/// Resource of the alert that counts reports for which there was no room.
pub const TABLE_FULL_RESOURCE: &str = "gateway";

/// Kind of the alert that counts reports for which there was no room; it ends when a tenth of the room is free again.
pub const TABLE_FULL_KIND: &str = "alert-table-full";

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An alert ended.
    Cleared,
    /// A clear found no open alert, so nothing happened.
    ClearedNothing,
    /// It is held back: a threshold or rate is not reached, or the alert that it would end flaps.
    Held,
    /// It was reported before what is known already, by the sender's own clock, and was passed over.
    Late,
    /// A new occurrence of an alert opened.
    Raised,
    /// A rule says that nothing is to happen.
    Suppressed,
    /// A new alert found no room; the alert that says so counted it.
    TableFull,
    /// No rule matched.
    Unmatched,
    /// An open alert was counted again.
    Updated,
}

/// The rules and the state of every open alert.
#[derive(Debug)]
pub struct AlertEngine {
    rules: RuleIndex,
    counters: Counters,
    table: Table,
    noise: Noise,
    dictionary: Arc<Dictionary>,
    unknown: UnknownOids,
    memo: Memo,
}

impl AlertEngine {
    /// Makes an engine without alerts.
    pub fn new(rules: RuleIndex) -> Self {
        Self::with(rules, Table::new(), Noise::default())
    }

    /// Makes an engine with the state that [`AlertEngine::checkpoint`] wrote.
    ///
    /// # Errors
    /// [`CheckpointError`] when the bytes are anything else.
    pub fn restore(rules: RuleIndex, checkpoint: &[u8]) -> Result<Self, CheckpointError> {
        let (table, noise) = checkpoint::decode(checkpoint)?;
        let noise = Noise::restore(&noise, &table)?;
        Ok(Self::with(rules, table, noise))
    }

    fn with(rules: RuleIndex, table: Table, mut noise: Noise) -> Self {
        let counters = Counters::new(&rules);
        noise.outdated();
        Self { rules, counters, table, noise, dictionary: Arc::default(), unknown: UnknownOids::default(), memo: Memo::default() }
    }

    /// Bounds the open alerts to `max_open_alerts` instead of [`MAX_OPEN_ALERTS`], and the reserve to as much of [`RESERVED_ALERTS`] in
    /// proportion.
    #[must_use]
    pub fn bounded_to(mut self, max_open_alerts: usize) -> Self {
        self.table.bound(max_open_alerts);
        self
    }

    /// Takes in a record that was committed after the checkpoint. Records come in the order in which they were drained: only for a
    /// recovery, see [`AlertEngine::adopt`].
    pub fn apply(&mut self, alert: Alert) {
        let clear_after_s = self.rules.clear_after(&alert.rule);
        self.table.apply(alert, clear_after_s);
        self.noise.outdated();
    }

    /// Takes in a record that this gateway had reported before its disk was set back, and that others hold it to.
    ///
    /// Both sides may have gone on meanwhile, so the two are merged, and doing it twice is as good as once:
    /// - the newer one's state wins, and what only sent an alert again makes it no newer;
    /// - the occurrence never falls: others pass over records of one that they have seen the last of, for ever;
    /// - what ended here after they last heard of it stays ended (the newest ends are remembered);
    /// - when theirs had ended and ours was reported after that, ours is a new occurrence;
    /// - when both are open, its count is more than theirs, so that no one closes a report that they have not seen.
    ///
    /// What differs from both gets a new revision and is drained. A record beyond the bound of open alerts is taken in, too.
    pub fn adopt(&mut self, alert: Alert, now: Timestamp) {
        let clear_after_s = self.rules.clear_after(&alert.rule);
        self.table.adopt(alert, clear_after_s, now);
        self.noise.outdated();
    }

    /// Handles one event at `now`. When several rules decide about it (`continue`), the verdict is the last one's.
    pub fn handle(&mut self, event: &Event, now: Timestamp) -> Verdict {
        self.noise.heard(event, &mut Hands { table: &mut self.table, rules: &self.rules, now });
        let hash = self.memo.hash(event);
        let known = hash.and_then(|hash| self.memo.find(hash, event));
        if let Some(known) = known.filter(|entry| self.table.count_again(entry.known.slot, entry.writer, Moment::of(event), now)) {
            let named = known.known.named;
            self.counters.repeated(known.known.rule);
            self.note_unknown(event, named, now);
            return Verdict::Updated;
        }
        let mut verdict = Verdict::Unmatched;
        let mut outcomes = 0_usize;
        let mut raised = None;
        let mut deciding = self.rules.deciding(event, &self.dictionary);
        while let Some(decided) = deciding.next(&mut self.counters) {
            outcomes = outcomes.saturating_add(1);
            let mut hands = Hands { table: &mut self.table, rules: &self.rules, now };
            let moment = Moment::of(event);
            if decided.mode == Mode::Observe {
                let held = matches!(&decided.outcome, Outcome::Raise(report) if self.noise.admit(report, event, &hands).is_none());
                match held {
                    true => self.counters.became(decided.rule, Verdict::Held),
                    false => self.counters.observe(decided, now),
                }
                continue;
            }
            let rule = decided.rule;
            let became = match decided.outcome {
                Outcome::Clear { key, rule, evidence } => {
                    let ending = Ending { evidence, by: rule.as_str(), kind: DecisionKind::Cleared };
                    self.noise.clear(&key, ending, moment, &mut hands)
                }
                Outcome::Raise(report) => {
                    let became = self.noise.raise(&report, event, &mut hands);
                    raised = became.slot.filter(|_| became.wrote).map(|slot| (slot, rule));
                    became.verdict
                }
                Outcome::Suppress => Verdict::Suppressed,
            };
            self.counters.became(rule, became);
            verdict = became;
        }
        let named = deciding.names_the_event();
        if verdict == Verdict::Unmatched {
            self.counters.unmatched();
        }
        if let (1, Verdict::Raised | Verdict::Updated, Some((slot, rule)), Some(hash)) = (outcomes, verdict, raised, hash)
            && !self.rules.noise().counts(rule)
            && let Some(entry) = self.memo.remember(hash, event, Known { slot, rule, named })
        {
            self.table.was_written_by(entry.known.slot, entry.writer);
        }
        self.note_unknown(event, named, now);
        verdict
    }

    /// Says that time has passed: about once a second, with a clock that may jump.
    pub fn tick(&mut self, now: Timestamp) {
        self.noise.tick(&mut Hands { table: &mut self.table, rules: &self.rules, now });
    }

    /// Counts a notification that neither the dictionary nor a rule names.
    fn note_unknown(&mut self, event: &Event, named: bool, now: Timestamp) {
        if let (false, Body::Notification(trap)) = (named, &event.body) {
            let oid = &trap.trap_oid;
            if !self.unknown.count_again(oid, event.peer, now) && mib::trap_name(&self.dictionary, oid).is_none() {
                self.unknown.count_first(oid, event.peer, now);
            }
        }
    }

    /// Returns the notifications that neither the dictionary nor a rule names, most frequent first; at most 256.
    pub fn unknown_oids(&self) -> Vec<UnknownOid> {
        self.unknown.report()
    }

    /// Replaces the names that alerts are written with. What it knows is unknown no more.
    pub fn replace_dictionary(&mut self, dictionary: Arc<Dictionary>) {
        self.unknown.retain(|oid| mib::trap_name(&dictionary, oid).is_none());
        self.dictionary = dictionary;
        self.memo.clear();
    }

    /// Opens an alert about the gateway itself, or counts it again. There is always room for it.
    pub fn own(&mut self, report: OwnReport, now: Timestamp) -> Verdict {
        let raised = self.table.raise_own(&report.report(), Moment::arrival(now), now);
        let mut hands = Hands { table: &mut self.table, rules: &self.rules, now };
        raised.slot.filter(|_| raised.is_new).into_iter().for_each(|slot| self.noise.own_opened(slot, &mut hands));
        raised.verdict
    }

    /// Ends an alert about the gateway itself, if it is open.
    pub fn own_clear(&mut self, kind: &str, qualifier: &str, now: Timestamp) -> Verdict {
        let ending = Ending { evidence: own::evidence(), by: OWN_RESOURCE, kind: DecisionKind::Cleared };
        let key = own::key(kind, qualifier);
        let verdict = self.table.clear(&key, ending, Moment::arrival(now), now);
        if verdict == Verdict::Cleared {
            self.noise.ended(&key, &mut Hands { table: &mut self.table, rules: &self.rules, now });
        }
        verdict
    }

    /// Closes the alert of `key` because a person did so who saw `count_seen` reports of `occurrence`.
    ///
    /// Reports beyond that start a new occurrence at once, so that nobody closes what they have not seen. An occurrence that is not
    /// open (any more) is left alone.
    pub fn close(&mut self, key: &AlertKey, occurrence: u64, count_seen: u64, now: Timestamp) {
        self.table.close(key, occurrence, count_seen, now);
        self.noise.closed(key, &mut Hands { table: &mut self.table, rules: &self.rules, now });
    }

    /// Marks every open alert changed, with a new revision, so that the next drain sends the whole state. Returns the first of these
    /// revisions: what others know under an older one is not open any more.
    pub fn resend_open(&mut self, now: Timestamp) -> u64 {
        self.table.resend_open(now)
    }

    /// Returns the newest revision that was given out.
    pub const fn last_revision(&self) -> u64 {
        self.table.last_revision()
    }

    /// Replaces the rules. Open alerts stay, whatever rule raised them.
    pub fn replace_rules(&mut self, rules: RuleIndex) {
        self.counters = Counters::new(&rules);
        self.rules = rules;
        self.noise.outdated();
        self.memo.clear();
    }

    /// Returns the rules in force, and the names that alerts are written with.
    pub fn in_force(&self) -> (RuleIndex, Arc<Dictionary>) {
        (self.rules.clone(), Arc::clone(&self.dictionary))
    }

    /// Returns what became of the events of each rule that one was held against, since these rules are in force.
    pub fn rule_figures(&self) -> Vec<RuleFigures> {
        self.counters.rule_figures(&self.rules)
    }

    /// Returns what became of all events since these rules are in force. `shown` and `open` are those of now: open alerts, and those
    /// of them that nothing folds or keeps quiet.
    pub fn figures(&self) -> Figures {
        Figures { open: self.open_count() as u64, shown: self.table.shown_count() as u64, ..self.counters.figures(&self.rules) }
    }

    /// Returns how many keys and sources the noise control forgot for want of room: what it counts is bounded.
    pub fn forgotten(&self) -> u64 {
        self.noise.forgotten()
    }

    /// Returns the keys of the alerts that `event` is evidence for, whatever is open. Nothing is raised, counted or remembered.
    pub fn keys(&self, event: &Event) -> Vec<AlertKey> {
        self.rules.keys(event, &self.dictionary)
    }

    /// Returns the newest record of every occurrence that changed since the last call, in ascending revision.
    pub fn drain_changes(&mut self) -> Vec<Alert> {
        self.table.drain_changes()
    }

    /// Returns the newest record of those only that must not wait: raised, ended, of another severity, or to be sent again. The
    /// others, which were only counted again, stay for [`AlertEngine::drain_changes`].
    pub fn drain_urgent(&mut self) -> Vec<Alert> {
        self.table.drain_urgent()
    }

    /// Returns whether [`AlertEngine::drain_urgent`] has something.
    pub const fn has_urgent(&self) -> bool {
        self.table.has_urgent()
    }

    /// Returns how many open alerts were only counted again since they were drained, about.
    pub const fn counted_again(&self) -> usize {
        self.table.counted_again()
    }

    /// Returns whether [`AlertEngine::drain_changes`] has something.
    pub const fn has_changes(&self) -> bool {
        self.table.has_changes()
    }

    /// Returns the number of open alerts.
    pub fn open_count(&self) -> usize {
        self.table.open_count()
    }

    /// Returns the open alerts in no particular order.
    pub fn open_alerts(&self) -> impl Iterator<Item = Alert> {
        self.table.open_alerts()
    }

    /// Encodes the whole state: open alerts, changes that were not drained, and the last revision.
    pub fn checkpoint(&self) -> Vec<u8> {
        checkpoint::encode(&self.table, self.noise.checkpoint())
    }
}
