//! What keeps noise down: thresholds and rates before an alert opens; flaps, maintenance windows, dependencies and storms once it is
//! open; silence where nothing is heard.
//!
//! `AlertEngine` is the only caller: it hands every report, clear and tick through here to the table of open alerts. Only thresholds and
//! rates hold anything back, and flaps hold back clears; everything else marks alerts that are raised all the same. The other modules
//! are each one idea and know nothing of the table. All memory is bounded, and nothing depends on the order of a hash table.

mod checkpoint;
mod dependency;
mod family;
mod flap;
mod rate;
mod recent;
mod scope;
mod settings;
mod silence;
mod standing;
mod storm;
mod tally;
mod threshold;
mod watch;
mod window;

use postern_protocol::alert::{AlertKey, Decision, DecisionKind, Evidence};
use postern_protocol::timestamp::Timestamp;

use self::dependency::Parents;
use self::family::Family;
use self::flap::{Change, Flaps, Over};
use self::rate::Rates;
use self::scope::Subject;
use self::silence::Silences;
use self::standing::Quiet;
use self::storm::Storms;
use self::threshold::{Admission, Thresholds};
use crate::alert::{Ending, Moment, OWN_RESOURCE, Raised, Room, SlotId, Table, Verdict};
use crate::event::Event;
use crate::rule::{Origin, Report, RuleIndex};

pub(crate) use self::settings::Settings;

/// What the noise control remembers.
#[derive(Debug, Default)]
pub(crate) struct Noise {
    thresholds: Thresholds,
    rates: Rates,
    flaps: Flaps,
    storms: Storms,
    parents: Parents,
    family: Family,
    quiet: Quiet,
    silences: Silences,
    /// Whether alerts or rules came otherwise than by events, so that what is derived from them must be made anew.
    stale: bool,
}

/// What decisions are made by and carried out on.
pub(crate) struct Hands<'e> {
    pub(crate) table: &'e mut Table,
    pub(crate) rules: &'e RuleIndex,
    pub(crate) now: Timestamp,
}

/// A report that is counted: by which rule, of what, from whom.
#[derive(Clone, Copy, Debug)]
struct Reported<'a> {
    rule: &'a str,
    key: &'a AlertKey,
    source: &'a str,
}

/// A report that may open its alert.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Reports that were held back before it, and since when.
    held: Option<(u64, Timestamp)>,
    decisions: Vec<Decision>,
}

impl Noise {
    /// Says whether a report may open its alert or count it again; `None` while its rule's threshold or rate holds it back.
    pub(crate) fn admit(&mut self, report: &Report, event: &Event, hands: &Hands<'_>) -> Option<Admitted> {
        let mut admitted = Admitted { held: None, decisions: Vec::new() };
        let Some(limits) = hands.rules.noise().limits(report.noise.rule) else { return Some(admitted) };
        let source = hands.rules.origin(event).source;
        let reported = Reported { rule: report.rule.as_str(), key: &report.key, source: &source };
        let at = event.received;
        let mut note = |what, text| admitted.decisions.push(Decision { at, what, by: report.rule.as_str().to_owned(), text });
        if let Some(rate) = &limits.rate {
            let change = self.rates.report(reported, rate, (report.noise.number, at))?;
            note(DecisionKind::RateReached, format!("changed by {change:.3} in {} s", rate.per_s));
        }
        if let Some(threshold) = limits.threshold.as_ref().filter(|_| hands.table.slot_of(&report.key).is_none()) {
            match self.thresholds.report(reported, threshold, at) {
                Admission::Held => return None,
                Admission::Reached { reports, since } => {
                    note(DecisionKind::ThresholdReached, format!("{} reports within {} s", threshold.count, threshold.within_s));
                    admitted.held = (reports > 1).then(|| (reports.saturating_sub(1), since));
                }
            }
        }
        Some(admitted)
    }

    /// Opens an alert or counts it again, and decides how it stands among others.
    pub(crate) fn raise(&mut self, report: &Report, event: &Event, hands: &mut Hands<'_>) -> Raised {
        self.settle(hands);
        let Some(admitted) = self.admit(report, event, hands) else {
            return Raised { verdict: Verdict::Held, slot: None, is_new: false, wrote: false };
        };
        let was_flapping = self.flaps.is_flapping(&report.key);
        let room = self.room(report, told_source(&report.evidence), hands.table);
        let raised = hands.table.raise(report, Moment::of(event), (room, hands.now));
        match raised.slot {
            Some(slot) if raised.is_new => self.new_alert(slot, (admitted, report, event), hands),
            // One that is late does not tell how it is now.
            Some(_) if raised.wrote && was_flapping => self.flaps.reported(&report.key, event.received),
            Some(_) | None => {}
        }
        raised
    }

    /// Returns which room an alert may take if it is new: the reserve is for what no storm folds.
    fn room(&self, report: &Report, source: &str, table: &Table) -> Room {
        let folds = table.is_full(Room::Shared) && self.storms.has_storm_of(&report.key.kind, source);
        if folds { Room::Shared } else { Room::Reserved }
    }

    fn new_alert(&mut self, slot: SlotId, (admitted, report, event): (Admitted, &Report, &Event), hands: &mut Hands<'_>) {
        let Report { key, rule, evidence, noise, .. } = report;
        if let Some((reports, since)) = admitted.held {
            hands.table.count_held(slot, reports, since);
        }
        for decision in admitted.decisions {
            hands.table.note(slot, decision, hands.now);
        }
        let Origin { source, address, facts } = hands.rules.origin(event);
        let subject = Subject { source: &source, address, facts: facts.as_deref(), rule: rule.as_str(), tags: &noise.tags };
        self.opened(slot, (&subject, told_source(evidence)), hands);
        self.flap_opened(slot, (key, rule.as_str()), event.received, hands);
    }

    /// Takes note of a new alert about the gateway itself: only what depends on it is folded under it.
    pub(crate) fn own_opened(&mut self, slot: SlotId, hands: &mut Hands<'_>) {
        self.settle(hands);
        if let Some(key) = hands.table.view(slot).map(|view| view.key.to_key()) {
            self.fold_children(slot, &key, hands);
        }
    }

    /// Ends an alert, unless it flaps.
    pub(crate) fn clear(&mut self, key: &AlertKey, ending: Ending<'_>, moment: Moment, hands: &mut Hands<'_>) -> Verdict {
        self.settle(hands);
        let Some(slot) = hands.table.slot_of(key) else { return hands.table.clear(key, ending, moment, hands.now) };
        if !hands.table.is_late(slot, moment) && self.flap_cleared(slot, key, moment, hands) {
            let over = Over { rule: ending.by.to_owned(), evidence: ending.evidence, at: moment.received };
            self.flaps.hold(key, over);
            // The next report is news: it tells that the clear does not hold.
            hands.table.forget_writer(slot);
            return Verdict::Held;
        }
        let verdict = hands.table.clear(key, ending, moment, hands.now);
        if verdict == Verdict::Cleared {
            self.ended(key, hands);
        }
        verdict
    }

    /// Counts a new occurrence among an alert's changes.
    fn flap_opened(&mut self, slot: SlotId, (key, rule): (&AlertKey, &str), at: Timestamp, hands: &mut Hands<'_>) {
        let Some(flap) = hands.rules.noise().flap(rule).copied() else { return };
        let Some(occurrence) = hands.table.view(slot).map(|view| view.occurrence) else { return };
        if self.flaps.opened(Change { key, occurrence, at }, &flap) {
            hands.table.set_flapping(slot, true, started(&flap, rule, at), hands.now);
        }
    }

    /// Counts a clear among an alert's changes; says whether it flaps, so that the clear waits.
    fn flap_cleared(&mut self, slot: SlotId, key: &AlertKey, moment: Moment, hands: &mut Hands<'_>) -> bool {
        if self.flaps.is_flapping(key) {
            return true;
        }
        let Some(view) = hands.table.view(slot) else { return false };
        let Some(flap) = hands.rules.noise().flap(view.rule).copied() else { return false };
        let rule = view.rule.to_owned();
        let flaps = self.flaps.cleared(Change { key, occurrence: view.occurrence, at: moment.received }, view.first_seen, &flap);
        if flaps {
            hands.table.set_flapping(slot, true, started(&flap, &rule, moment.received), hands.now);
        }
        flaps
    }

    /// Says that time has passed.
    pub(crate) fn tick(&mut self, hands: &mut Hands<'_>) {
        self.settle(hands);
        for key in hands.table.expire(hands.now) {
            self.ended(&key, hands);
        }
        self.end_flaps(hands);
        self.end_windows(hands);
        self.parents.tick(hands.now, &hands.rules.noise().dependencies);
        self.tick_storms(hands);
        self.tick_silences(hands);
    }

    fn end_flaps(&mut self, hands: &mut Hands<'_>) {
        for (key, flapping) in self.flaps.quiet(hands.now) {
            let Some(slot) = hands.table.slot_of(&key) else { continue };
            if hands.table.view(slot).is_none_or(|view| view.occurrence != flapping.occurrence || !view.flapping) {
                continue;
            }
            let text = format!("no change for {} s", flapping.quiet_s);
            let by = hands.table.view(slot).map(|view| view.rule.to_owned()).unwrap_or_default();
            hands.table.set_flapping(slot, false, Decision { at: hands.now, what: DecisionKind::FlapEnded, by, text }, hands.now);
            if let Some(over) = flapping.over {
                let Over { rule, evidence, at } = *over;
                let ending = Ending { evidence, by: &rule, kind: DecisionKind::Cleared };
                if hands.table.clear(&key, ending, Moment::arrival(at), hands.now) == Verdict::Cleared {
                    self.ended(&key, hands);
                }
            }
        }
    }

    /// Takes note that a person closed an alert: what they had not seen is open again in another place.
    pub(crate) fn closed(&mut self, key: &AlertKey, hands: &mut Hands<'_>) {
        self.settle(hands);
        match hands.table.slot_of(key) {
            Some(slot) => self.take_up(slot, hands),
            None => self.ended(key, hands),
        }
    }

    /// Returns how many keys and sources were forgotten for want of room.
    pub(crate) fn forgotten(&self) -> u64 {
        let tables = [self.thresholds.tally().forgotten(), self.rates.table().forgotten(), self.flaps.changes().forgotten()];
        tables.into_iter().fold(self.silences.forgotten(), u64::saturating_add)
    }

    /// Takes note that alerts came otherwise than by events, or that other rules are in force.
    pub(crate) const fn outdated(&mut self) {
        self.stale = true;
    }

    /// Makes anew what follows from open alerts and the document, if that is needed.
    pub(crate) fn settle(&mut self, hands: &mut Hands<'_>) {
        if std::mem::take(&mut self.stale) {
            self.rebuild(hands);
        }
    }
}

impl Hands<'_> {
    /// Folds an alert under another.
    fn fold(&mut self, slot: SlotId, parent: AlertKey, text: String) {
        let by = format!("{} {} {}", parent.resource, parent.kind, parent.qualifier);
        let decision = Decision { at: self.now, what: DecisionKind::Folded, by: bounded(by.trim_end()), text };
        self.table.fold(slot, Some(parent), decision, self.now);
    }

    /// Lets an alert stand for itself again.
    fn unfold(&mut self, slot: SlotId, parent: &AlertKey) {
        let by = format!("{} {} {}", parent.resource, parent.kind, parent.qualifier);
        let decision = Decision { at: self.now, what: DecisionKind::Unfolded, by: bounded(by.trim_end()), text: String::new() };
        self.table.fold(slot, None, decision, self.now);
    }
}

fn started(flap: &postern_protocol::revision::noise::Flap, rule: &str, at: Timestamp) -> Decision {
    let text = format!("{} changes within {} s", flap.changes, flap.within_s);
    Decision { at, what: DecisionKind::FlapStarted, by: rule.to_owned(), text }
}

/// Cuts a text to what a decision takes.
fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(postern_protocol::alert::MAX_DECISION_TEXT_BYTES)).unwrap_or(text).to_owned()
}

/// Returns the source by a name that the alert's evidence carries anyway: a host name that its rule does not release stays here.
fn told_source(evidence: &Evidence) -> &str {
    let name = match evidence.chosen_by.as_str() {
        "hostname" => &evidence.hostname,
        "push" | "tls_name" => &evidence.tls_name,
        "trap_address" => &evidence.trap_address,
        _ => &evidence.peer,
    };
    match (name.is_empty(), evidence.peer.is_empty()) {
        (false, _) => name,
        (true, false) => &evidence.peer,
        (true, true) => OWN_RESOURCE,
    }
}
