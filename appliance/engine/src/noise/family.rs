//! Which open alerts are folded under which: by dependencies and storms. What an alert's own record says is what holds; this finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postern_protocol::alert::{AlertKey, DecisionKind};
use postern_protocol::id::RuleId;
use postern_protocol::timestamp::Timestamp;

use super::scope::Subject;
use super::storm::{Effect, New, Storm, StormId};
use super::{Hands, Noise};
use crate::alert::{Ending, Moment, OWN_RESOURCE, SlotId, Table, own_evidence};
use crate::rule::{NoiseFacts, Report};

/// Kind of the alert that says that there is a storm; its qualifier is the kind of the alerts that are folded under it.
pub(super) const STORM_KIND: &str = "storm";

/// Seconds between two tellings of a storm's figures.
const TELL_EVERY_S: i64 = 10;

/// Sources that a storm's alert names, and bytes of a name there.
const TOP_SOURCES: usize = 5;
const TOP_NAME_BYTES: usize = 64;

/// Ancestors that are looked at before an alert is folded: none may be folded under itself.
const MAX_DEPTH: usize = 16;

/// Children by parent. Those that ended, or are folded under another by now, may still be listed.
#[derive(Debug, Default)]
pub(super) struct Family(BTreeMap<AlertKey, Places>);

/// Places of alerts, of which some may have ended; they are thrown out when there are many.
#[derive(Debug, Default)]
pub(super) struct Places {
    slots: BTreeSet<SlotId>,
    open: usize,
}

impl Places {
    /// Adds an alert.
    pub(super) fn insert(&mut self, slot: SlotId, table: &Table) {
        if self.slots.len() > self.open.saturating_mul(2).saturating_add(1_024) {
            self.slots.retain(|slot| table.view(*slot).is_some());
            self.open = self.slots.len();
        }
        self.slots.insert(slot);
    }

    /// Takes an alert out.
    pub(super) fn remove(&mut self, slot: SlotId) {
        self.slots.remove(&slot);
    }

    /// Returns the places.
    pub(super) fn all(&self) -> Vec<SlotId> {
        self.slots.iter().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Family {
    pub(super) fn insert(&mut self, parent: &AlertKey, (child, table): (SlotId, &Table)) {
        match self.0.get_mut(parent) {
            Some(places) => places.insert(child, table),
            None => self.0.entry(parent.clone()).or_default().insert(child, table),
        }
    }

    fn take(&mut self, parent: &AlertKey) -> Vec<SlotId> {
        if self.0.is_empty() { Vec::new() } else { self.0.remove(parent).map(|places| places.all()).unwrap_or_default() }
    }

    /// Returns how many alerts are folded under `parent`, at most `most`. What is not any more is taken off the list on the way.
    fn count(&mut self, parent: &AlertKey, (most, table): (usize, &Table)) -> usize {
        let Some(places) = self.0.get_mut(parent) else { return 0 };
        let (mut open, mut gone) = (0_usize, Vec::new());
        for slot in &places.slots {
            if open >= most {
                break;
            }
            match table.is_under(*slot, parent) {
                true => open = open.saturating_add(1),
                false => gone.push(*slot),
            }
        }
        gone.into_iter().for_each(|slot| places.remove(slot));
        open
    }

    /// Returns how many alerts are folded under a storm's, those under storms of its sources included.
    fn open_of(&mut self, storm: &AlertKey, table: &Table) -> u64 {
        let Some(places) = self.0.get(storm) else { return 0 };
        let (mut open, mut below) = (0_u64, Vec::new());
        for slot in &places.slots {
            let Some(view) = table.view(*slot).filter(|view| view.parent.is_some_and(|parent| parent == *storm)) else { continue };
            if view.rule == RuleId::own().as_str() {
                below.push(view.key.to_key());
            } else {
                open = open.saturating_add(1);
            }
        }
        below.iter().map(|key| self.count(key, (usize::MAX, table)) as u64).fold(open, u64::saturating_add)
    }

    /// Returns the parents.
    pub(super) fn parents(&self) -> Vec<AlertKey> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Noise {
    /// Decides about a new alert: whether a window keeps it quiet, under what it is folded, and what is folded under it.
    pub(super) fn opened(&mut self, slot: SlotId, (subject, source): (&Subject<'_>, &str), hands: &mut Hands<'_>) {
        let Some((key, severity, occurrence)) = hands.table.view(slot).map(|view| (view.key.to_key(), view.severity, view.occurrence))
        else {
            return;
        };
        let is_quiet = self.keep_quiet(slot, subject, hands);
        let is_child = self.fold_under_parent(slot, (&key, subject), hands);
        self.fold_children(slot, &key, hands);
        let Some(limits) = hands.rules.noise().storm.as_ref().filter(|_| !is_quiet && !is_child) else { return };
        let new = New { slot: Some(slot), occurrence, kind: &key.kind, source, severity, at: hands.now };
        let effect = self.storms.opened(new, limits);
        self.carry_out(slot, effect, hands);
    }

    /// Folds a new alert under that of its parent, if there is one.
    fn fold_under_parent(&mut self, slot: SlotId, (key, subject): (&AlertKey, &Subject<'_>), hands: &mut Hands<'_>) -> bool {
        let dependencies = &hands.rules.noise().dependencies;
        if dependencies.is_empty() {
            return false;
        }
        let numbers = dependencies.of_child(subject);
        if numbers.is_empty() {
            return false;
        }
        if let Some((number, parent)) = self.parents.gone(&numbers, key).map(|(number, parent)| (number, parent.clone()))
            && self.adopt_child(slot, (number, &parent), hands)
        {
            return true;
        }
        self.parents.wait(&numbers, slot, hands.now);
        false
    }

    /// Folds what depends on a new alert's device under it, if the alert means that the device is gone.
    pub(super) fn fold_children(&mut self, slot: SlotId, key: &AlertKey, hands: &mut Hands<'_>) {
        let dependencies = &hands.rules.noise().dependencies;
        if dependencies.is_empty() {
            return;
        }
        let numbers = dependencies.of_parent(key);
        if numbers.is_empty() {
            return;
        }
        for (number, child) in self.parents.open((&numbers, dependencies), key, hands.now) {
            // Another dependency's parent keeps what it has; a storm does not.
            let is_free = |parent: Option<crate::alert::KeyRef<'_>>| parent.is_none_or(|parent| parent.kind == STORM_KIND);
            if child != slot && hands.table.view(child).is_some_and(|view| is_free(view.parent)) {
                self.adopt_child(child, (number, key), hands);
            }
        }
    }

    /// Folds an alert under a dependency's parent, unless that is folded under the alert itself.
    fn adopt_child(&mut self, child: SlotId, (number, parent): (usize, &AlertKey), hands: &mut Hands<'_>) -> bool {
        let Some(key) = hands.table.view(child).map(|view| view.key.to_key()) else { return false };
        if hands.is_under(parent, &key) {
            return false;
        }
        let id = hands.rules.noise().dependencies.get(number).map(|dependency| dependency.id.clone()).unwrap_or_default();
        hands.fold(child, parent.clone(), format!("dependency {id}"));
        self.family.insert(parent, (child, hands.table));
        true
    }

    /// Carries out what a new alert brought about among storms.
    fn carry_out(&mut self, slot: SlotId, effect: Effect, hands: &mut Hands<'_>) {
        for (id, members) in effect.began {
            let (key, above) = (id.key(), StormId { kind: Arc::clone(&id.kind), source: None }.key());
            let joins = |member: &SlotId| {
                hands.table.view(*member).is_some_and(|view| match view.parent {
                    None => view.suppressed.is_none(),
                    Some(parent) => id.source.is_some() && parent == above,
                })
            };
            let members: Vec<_> = members.into_iter().filter(joins).collect();
            let below = if id.source.is_some() { Vec::new() } else { self.storms.of_sources(&id.kind) };
            let of_below = below.iter().map(|id| self.family.open_of(&id.key(), hands.table)).fold(0, u64::saturating_add);
            // The new one is among them, here or below.
            self.tell(&id, of_below.saturating_add(members.len() as u64).saturating_add(1), hands);
            for member in members {
                hands.fold(member, key.clone(), String::new());
                self.family.insert(&key, (member, hands.table));
            }
            below.iter().chain([&id]).for_each(|id| self.join(id, hands));
        }
        if let Some(parent) = effect.parent {
            let key = parent.key();
            if hands.table.slot_of(&key).is_none() {
                // A person closed it while it lasted.
                self.tell(&parent, 1, hands);
            }
            hands.fold(slot, key.clone(), String::new());
            self.family.insert(&key, (slot, hands.table));
        }
    }

    /// Folds the alert of a source's storm under that of all sources, if there is one that no person closed.
    fn join(&mut self, id: &StormId, hands: &mut Hands<'_>) {
        let Some(above) = self.shown_above(id, hands) else { return };
        let Some(slot) = hands.table.slot_of(&id.key()) else { return };
        if hands.table.view(slot).is_some_and(|view| view.parent.is_none_or(|parent| parent != above)) {
            hands.fold(slot, above.clone(), String::new());
            self.family.insert(&above, (slot, hands.table));
        }
    }

    /// Opens a storm's alert, or gives it the figures of now.
    fn tell(&mut self, id: &StormId, open: u64, hands: &mut Hands<'_>) {
        let Some(storm) = self.storms.tell(id, (open, hands.now)) else { return };
        if hands.table.raise_own(&storm.report(id), Moment::arrival(hands.now), hands.now).is_new {
            self.join(id, hands);
        }
    }

    /// Returns the alert of the storm of all sources that is above a source's, if both last.
    fn shown_above(&self, id: &StormId, hands: &Hands<'_>) -> Option<AlertKey> {
        let above = StormId { kind: Arc::clone(&id.kind), source: None };
        let lasts = id.source.is_some() && self.storms.get(&above).is_some();
        Some(above.key()).filter(|above| lasts && hands.table.slot_of(above).is_some())
    }

    /// Ends the storms that are quiet and of which little is open, and tells the news of the others.
    pub(super) fn tick_storms(&mut self, hands: &mut Hands<'_>) {
        let limits = hands.rules.noise().storm.as_ref();
        for id in self.storms.tick(hands.now, limits) {
            let key = id.key();
            let enough = limits.map_or(usize::MAX, |limits| id.half(limits));
            if limits.is_some() && self.family.count(&key, (enough, hands.table)) >= enough {
                continue;
            }
            let open = self.family.open_of(&key, hands.table);
            self.storms.tell(&id, (open, hands.now));
            let Some(storm) = self.storms.end(&id) else { continue };
            if hands.table.slot_of(&key).is_some() {
                // Of a storm that only its record knew, the figures there are better.
                if storm.alerts > 0 {
                    hands.table.raise_own(&storm.report(&id), Moment::arrival(hands.now), hands.now);
                }
                let ending = Ending { evidence: own_evidence(), by: STORM_KIND, kind: DecisionKind::Cleared };
                hands.table.clear(&key, ending, Moment::arrival(hands.now), hands.now);
            }
            let heir = self.shown_above(&id, hands);
            self.release(&key, heir.as_ref(), hands);
        }
        let before = Timestamp::from_nanos(hands.now.as_nanos().saturating_sub(Timestamp::from_secs(TELL_EVERY_S).as_nanos()));
        for id in self.storms.due(before, hands.now) {
            let Some((told, alerts)) = self.storms.get(&id).map(|storm| (storm.told, storm.alerts)).filter(|(_, alerts)| *alerts > 0)
            else {
                continue;
            };
            let open = self.family.open_of(&id.key(), hands.table);
            // One that a person closed comes back with new alerts only.
            if told.alerts < alerts || (told.open != open && hands.table.slot_of(&id.key()).is_some()) {
                self.tell(&id, open, hands);
            }
        }
    }

    /// Takes note that an alert ended: what was folded under it stands for itself again, unless the same is true of another alert.
    pub(crate) fn ended(&mut self, key: &AlertKey, hands: &mut Hands<'_>) {
        self.flaps.forget(key);
        let dependencies = &hands.rules.noise().dependencies;
        let numbers = if dependencies.is_empty() { Vec::new() } else { dependencies.of_parent(key) };
        if !numbers.is_empty() {
            self.parents.end(key);
        }
        let heir = self.parents.gone(&numbers, key).map(|(_, parent)| parent.clone());
        self.release(key, heir.as_ref(), hands);
    }

    /// Unfolds the children of an alert, or folds them under its heir; one that the heir is folded under is unfolded.
    pub(super) fn release(&mut self, parent: &AlertKey, heir: Option<&AlertKey>, hands: &mut Hands<'_>) {
        for child in self.family.take(parent) {
            let Some(view) = hands.table.view(child).filter(|view| view.parent.is_some_and(|folded| folded == *parent)) else { continue };
            let key = view.key.to_key();
            match heir.filter(|heir| !hands.is_under(heir, &key)) {
                Some(heir) => {
                    hands.fold(child, heir.clone(), String::new());
                    self.family.insert(heir, (child, hands.table));
                }
                None => hands.unfold(child, parent),
            }
        }
    }
}

impl Hands<'_> {
    /// Says whether the alert of `key` is that of `above`, or folded under it however far. More than 16 times counts as if it were.
    fn is_under(&self, key: &AlertKey, above: &AlertKey) -> bool {
        let mut next = Some(key.clone());
        for _ in 0..MAX_DEPTH {
            let Some(key) = next else { return false };
            if key == *above {
                return true;
            }
            next = self.table.slot_of(&key).and_then(|slot| Some(self.table.view(slot)?.parent?.to_key()));
        }
        next.is_some()
    }
}

impl StormId {
    /// Returns the key of the storm's alert.
    pub(super) fn key(&self) -> AlertKey {
        let resource = self.source.as_deref().unwrap_or(OWN_RESOURCE).to_owned();
        AlertKey { resource, kind: STORM_KIND.to_owned(), qualifier: self.kind.to_string() }
    }

    /// Returns the storm that an alert of this key is about.
    pub(super) fn of(key: &AlertKey) -> Option<Self> {
        let source = (key.resource != OWN_RESOURCE).then(|| Arc::from(key.resource.as_str()));
        (key.kind == STORM_KIND).then(|| Self { kind: Arc::from(key.qualifier.as_str()), source })
    }
}

impl Storm {
    /// Returns the storm's alert with the figures that are told.
    fn report(&self, id: &StormId) -> Report {
        let since = text_of(self.since);
        let (kind, open) = (&id.kind, self.told.open);
        let summary = match &id.source {
            Some(source) => format!("Storm of {kind}: {} alerts from {source} since {since}, {open} open", self.alerts),
            None => format!("Storm of {kind}: {} alerts from {} sources since {since}, {open} open", self.alerts, self.sources.len()),
        };
        let name = |name: &str| name.get(..name.floor_char_boundary(TOP_NAME_BYTES)).unwrap_or(name).to_owned();
        let top: Vec<_> = self.top(TOP_SOURCES).into_iter().map(|(source, count)| format!("{} ({count})", name(source))).collect();
        let labels = [
            ("alerts", self.alerts.to_string()),
            ("open", open.to_string()),
            ("since", since),
            ("sources", self.sources.len().to_string()),
            ("top_sources", top.join(", ")),
        ];
        Report {
            key: id.key(),
            severity: self.severity,
            summary,
            labels: labels.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
            rule: RuleId::own(),
            rule_version: 0,
            clear_after_s: None,
            evidence: own_evidence(),
            noise: NoiseFacts::default(),
        }
    }
}

/// Writes a time for a person: RFC 3339 in UTC, to the second.
pub(super) fn text_of(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_secs()).map_or_else(|_| time.as_secs().to_string(), |time| time.to_string())
}
