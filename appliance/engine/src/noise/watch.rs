//! Alerts about silence: opened when a source is missed, ended by its next report.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::alert::{AlertKey, Decision, DecisionKind};

use super::family::text_of;
use super::scope::Subject;
use super::silence::{Heard, Silent, Source, bounded};
use super::{Hands, Noise};
use crate::alert::{Ending, Moment, Verdict, own_evidence};
use crate::event::Event;
use crate::rule::{NoiseFacts, Origin, Report, sender};

/// Kind of the alert about a source that is silent.
pub(super) const SILENT_KIND: &str = "silent";

impl Noise {
    /// Notes who sent an event. Cheap for a source that is known and not silent.
    pub(crate) fn heard(&mut self, event: &Event, hands: &mut Hands<'_>) {
        if !hands.rules.noise().watches() {
            return;
        }
        self.settle(hands);
        self.silences.advance(hands.now);
        let rules = hands.rules;
        let watch = || rules.noise().watch(&subject(&rules.origin(event)));
        match self.silences.heard(sender(event), hands.now, watch) {
            Heard::Known => {}
            Heard::Again => self.end_silence(&rules.origin(event).source, hands),
            Heard::New => {
                let origin = rules.origin(event);
                self.end_silence(&origin.source, hands);
                self.silences.came(&origin.source);
                if let Some(name) = origin.facts.as_ref().and_then(|facts| facts.name.as_deref())
                    && self.silences.came(name)
                {
                    self.end_silence(name, hands);
                }
            }
        }
    }

    fn end_silence(&mut self, source: &str, hands: &mut Hands<'_>) {
        let key = key(source);
        let Some(slot) = hands.table.slot_of(&key) else { return };
        let by = hands.table.view(slot).map(|view| view.rule.to_owned()).unwrap_or_default();
        let ending = Ending { evidence: own_evidence(), by: &by, kind: DecisionKind::Cleared };
        if hands.table.clear(&key, ending, Moment::arrival(hands.now), hands.now) == Verdict::Cleared {
            self.ended(&key, hands);
        }
    }

    /// Opens the alerts about sources that are missed from now on.
    pub(super) fn tick_silences(&mut self, hands: &mut Hands<'_>) {
        self.silences.advance(hands.now);
        if !hands.rules.noise().watches() {
            return;
        }
        for silent in self.silences.tick(hands.now, &hands.rules.noise().patience) {
            self.miss(&silent, hands);
        }
    }

    fn miss(&mut self, silent: &Silent, hands: &mut Hands<'_>) {
        let Some(silence) = hands.rules.noise().silences.get(silent.watch) else { return };
        let elapsed = words(hands.now.saturating_since(silent.since));
        let (usual, since, name) = (words(silent.usual), text_of(silent.since), &silent.name);
        let summary = match silent.ever_heard {
            true => format!("{name} has been silent for {elapsed}; it is usually heard every {usual}"),
            false => format!("{name} was not heard in {elapsed}; it should be every {usual}"),
        };
        let labels =
            BTreeMap::from([("since".to_owned(), since.clone()), ("usually_every_s".to_owned(), silent.usual.as_secs().to_string())]);
        let facts = silent.address.and_then(|address| hands.rules.facts_of(address)).cloned();
        let origin = Origin { source: name.clone(), address: silent.address, facts };
        let id = silence.id.clone();
        let report = Report {
            key: key(name),
            severity: silence.severity,
            summary,
            labels,
            rule: id.clone(),
            rule_version: 1,
            clear_after_s: None,
            evidence: own_evidence(),
            noise: NoiseFacts::default(),
        };
        let room = self.room(&report, name, hands.table);
        let raised = hands.table.raise(&report, Moment::arrival(hands.now), (room, hands.now));
        let Some(slot) = raised.slot.filter(|_| raised.is_new) else { return };
        let text = format!("not heard since {since}, usually every {usual}");
        let by = id.as_str().to_owned();
        hands.table.note(slot, Decision { at: hands.now, what: DecisionKind::Silent, by, text }, hands.now);
        let subject = Subject { rule: id.as_str(), ..subject(&origin) };
        self.opened(slot, (&subject, name), hands);
    }

    /// Finds out anew which silence watches each source; alerts of sources that none watches any more end.
    pub(super) fn rewatch(&mut self, hands: &mut Hands<'_>) {
        let rules = hands.rules;
        let watch = |source: &Source| {
            let facts = rules.facts_of(source.address).cloned();
            rules.noise().watch(&subject(&Origin { source: source.name.text(), address: Some(source.address), facts }))
        };
        self.silences.watch_anew(watch);
        self.silences.expect(&rules.noise().listed(), hands.now);
        let is_orphan = |slot: &crate::alert::SlotId| {
            let Some(view) = hands.table.view(*slot) else { return false };
            let is_own = view.key.kind == SILENT_KIND && view.key.qualifier.is_empty();
            is_own && !rules.noise().silences.iter().any(|silence| silence.id.as_str() == view.rule) && !rules.has_rule(view.rule)
        };
        let orphans: Vec<_> = hands.table.slots().filter(is_orphan).collect();
        for slot in orphans {
            let Some(resource) = hands.table.view(slot).map(|view| view.key.resource.to_owned()) else { continue };
            self.end_silence(&resource, hands);
        }
    }
}

fn key(source: &str) -> AlertKey {
    AlertKey { resource: bounded(source).to_owned(), kind: SILENT_KIND.to_owned(), qualifier: String::new() }
}

fn subject(origin: &Origin) -> Subject<'_> {
    Subject { source: &origin.source, address: origin.address, facts: origin.facts.as_deref(), rule: "", tags: &[] }
}

/// Writes a span of time for a person: the two largest units.
fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (600, "10 min"), (21_720, "6 h 2 min"), (86_460, "1 d"), (183_600, "2 d 3 h")] {
            assert_eq!(words(Duration::from_secs(seconds)), text);
        }
    }
}
