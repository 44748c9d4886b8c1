//! Storms: many new alerts of one kind in little time, from one source or from all together.
//!
//! Only counts, and says which alerts belong together; `noise` folds them. Alerts of another kind are never touched, so a rare fault
//! in the midst of a storm stays visible.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::alert::Severity;
use postern_protocol::revision::noise::Storm as Limits;
use postern_protocol::timestamp::Timestamp;

use crate::alert::SlotId;

/// Most new alerts that are remembered: more than any limit.
const MAX_RECENT: usize = 131_072;

/// Most storms at once; the last of them are for storms of all sources. What finds no room is no storm.
const MAX_STORMS: usize = 1_024;
const MAX_SOURCE_STORMS: usize = 768;

/// Most sources that a storm counts one by one.
const MAX_SOURCES: usize = 8_192;

/// New alerts by kind and source, and the storms that they are.
#[derive(Debug, Default)]
pub(super) struct Storms {
    recent: VecDeque<Opening>,
    kinds: BTreeMap<Arc<str>, Kind>,
    storms: BTreeMap<StormId, Storm>,
}

/// Which storm: of a kind, from one source or from all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StormId {
    pub(super) kind: Arc<str>,
    pub(super) source: Option<Arc<str>>,
}

/// A new alert.
#[derive(Clone, Copy, Debug)]
pub(super) struct New<'a> {
    /// Where it is, unless it has ended.
    pub(super) slot: Option<SlotId>,
    pub(super) occurrence: u64,
    pub(super) kind: &'a str,
    pub(super) source: &'a str,
    pub(super) severity: Severity,
    pub(super) at: Timestamp,
}

/// A new alert that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) at: Timestamp,
    slot: Option<SlotId>,
    pub(super) occurrence: u64,
    pub(super) kind: Arc<str>,
    pub(super) source: Arc<str>,
    pub(super) severity: Severity,
}

/// New alerts of one kind.
#[derive(Debug, Default)]
struct Kind {
    recent: usize,
    /// Those of each source, oldest first; none is empty.
    sources: BTreeMap<Arc<str>, VecDeque<Member>>,
}

/// A new alert as its kind and source remember it.
#[derive(Clone, Copy, Debug)]
struct Member {
    at: Timestamp,
    slot: Option<SlotId>,
    severity: Severity,
}

/// A storm that lasts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storm {
    pub(super) since: Timestamp,
    /// Alerts that belong to it.
    pub(super) alerts: u64,
    /// The gravest of them.
    pub(super) severity: Severity,
    /// Alerts by source.
    pub(super) sources: BTreeMap<Arc<str>, u64>,
    /// Since when it is below half of its limit.
    pub(super) quiet_since: Option<Timestamp>,
    pub(super) told: Told,
}

/// A storm's figures as they were last told, or looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: Timestamp,
    pub(super) alerts: u64,
    /// How many of the alerts were open.
    pub(super) open: u64,
}

/// What a new alert brought about.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Effect {
    /// Storms that began, with the alerts before this one that belong to each.
    pub(super) began: Vec<(StormId, Vec<SlotId>)>,
    /// The storm that the alert belongs to.
    pub(super) parent: Option<StormId>,
}

impl Storms {
    /// Counts a new alert.
    pub(super) fn opened(&mut self, new: New<'_>, limits: &Limits) -> Effect {
        self.expire(new.at, limits);
        let (kind, source) = (self.interned(new.kind), self.interned_source(new.kind, new.source));
        self.remember(Opening {
            at: new.at,
            slot: new.slot,
            occurrence: new.occurrence,
            kind: Arc::clone(&kind),
            source: Arc::clone(&source),
            severity: new.severity,
        });
        let own = StormId { kind: Arc::clone(&kind), source: Some(source) };
        let all = StormId { kind, source: None };
        let mut effect = Effect::default();
        for (id, limit) in [(&all, limits.per_gateway), (&own, limits.per_source)] {
            if let Some(storm) = self.storms.get_mut(id) {
                storm.count(new.severity, own.source.as_ref());
            } else if self.recent_of(id) >= limit as usize && self.has_room(id) {
                effect.began.push(self.begin(id, new));
            }
        }
        effect.parent = [own, all].into_iter().find(|id| self.storms.contains_key(id));
        effect
    }

    /// Says that time has passed; returns the storms that are quiet and may end, those of single sources first: what they leave may
    /// belong to the one above. Without limits all may, and those above first: there is nothing to belong to.
    pub(super) fn tick(&mut self, now: Timestamp, limits: Option<&Limits>) -> Vec<StormId> {
        let Some(limits) = limits else {
            (self.recent, self.kinds) = Default::default();
            return self.storms.keys().cloned().collect();
        };
        self.expire(now, limits);
        let quiet = Duration::from_secs(limits.quiet_s.into());
        let mut over = Vec::new();
        let recent: Vec<_> = self.storms.keys().map(|id| self.recent_of(id)).collect();
        for ((id, storm), recent) in self.storms.iter_mut().zip(recent) {
            if recent >= id.half(limits) {
                storm.quiet_since = None;
                continue;
            }
            // A time that lies ahead was before the clock was set back.
            let since = storm.quiet_since.filter(|since| *since <= now).unwrap_or(now);
            storm.quiet_since = Some(since);
            if now.saturating_since(since) >= quiet {
                over.push(id.clone());
            }
        }
        over.sort_by_key(|id| id.source.is_none());
        over
    }

    /// Ends a storm.
    pub(super) fn end(&mut self, id: &StormId) -> Option<Storm> {
        self.storms.remove(id)
    }

    /// Says whether a new alert of this kind and source would belong to a storm.
    pub(super) fn has_storm_of(&self, kind: &str, source: &str) -> bool {
        !self.storms.is_empty()
            && [Some(source), None].into_iter().any(|source| {
                let id = StormId { kind: Arc::from(kind), source: source.map(Arc::from) };
                self.storms.contains_key(&id)
            })
    }

    /// Returns the storms of single sources of this kind.
    pub(super) fn of_sources(&self, kind: &str) -> Vec<StormId> {
        self.storms.keys().filter(|id| *id.kind == *kind && id.source.is_some()).cloned().collect()
    }

    /// Returns the storms that were last told or looked at no later than `before`, and notes that they are looked at `now`.
    pub(super) fn due(&mut self, before: Timestamp, now: Timestamp) -> Vec<StormId> {
        let due = self.storms.iter_mut().filter(|(_, storm)| storm.told.at <= before || storm.told.at > now);
        due.map(|(id, storm)| {
            storm.told.at = now;
            id.clone()
        })
        .collect()
    }

    /// Notes that a storm's figures are told, with so many of its alerts open; returns the storm.
    pub(super) fn tell(&mut self, id: &StormId, (open, now): (u64, Timestamp)) -> Option<&Storm> {
        let storm = self.storms.get_mut(id)?;
        storm.told = Told { at: now, alerts: storm.alerts, open };
        Some(storm)
    }

    /// Returns a storm that lasts.
    pub(super) fn get(&self, id: &StormId) -> Option<&Storm> {
        self.storms.get(id)
    }

    /// Returns the storms that last.
    pub(super) fn storms(&self) -> impl Iterator<Item = (&StormId, &Storm)> {
        self.storms.iter()
    }

    /// Returns the new alerts that are remembered, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Opening> {
        self.recent.iter()
    }

    /// Puts back a storm that a checkpoint holds, or that an alert speaks of.
    pub(super) fn put_back(&mut self, id: StormId, storm: Storm) {
        self.storms.entry(id).or_insert(storm);
    }

    /// Puts back a new alert that a checkpoint holds; they come in their order.
    pub(super) fn put_back_opening(&mut self, new: New<'_>) {
        let (kind, source) = (self.interned(new.kind), self.interned_source(new.kind, new.source));
        self.remember(Opening { at: new.at, slot: new.slot, occurrence: new.occurrence, kind, source, severity: new.severity });
    }

    fn interned(&self, kind: &str) -> Arc<str> {
        self.kinds.get_key_value(kind).map_or_else(|| Arc::from(kind), |(kind, _)| Arc::clone(kind))
    }

    fn interned_source(&self, kind: &str, source: &str) -> Arc<str> {
        let known = self.kinds.get(kind).and_then(|kind| kind.sources.get_key_value(source));
        known.map_or_else(|| Arc::from(source), |(source, _)| Arc::clone(source))
    }

    fn remember(&mut self, opening: Opening) {
        if self.recent.len() >= MAX_RECENT {
            self.forget_oldest();
        }
        let kind = self.kinds.entry(Arc::clone(&opening.kind)).or_default();
        kind.recent = kind.recent.saturating_add(1);
        kind.sources.entry(Arc::clone(&opening.source)).or_default().push_back(Member {
            at: opening.at,
            slot: opening.slot,
            severity: opening.severity,
        });
        self.recent.push_back(opening);
    }

    fn expire(&mut self, now: Timestamp, limits: &Limits) {
        let within = Duration::from_secs(limits.within_s.into());
        let is_over = |opening: &Opening| now.saturating_since(opening.at) > within || opening.at.saturating_since(now) > within;
        while self.recent.front().is_some_and(is_over) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(opening) = self.recent.pop_front() else { return };
        let Some(kind) = self.kinds.get_mut(&opening.kind) else { return };
        kind.recent = kind.recent.saturating_sub(1);
        if let Some(slots) = kind.sources.get_mut(&opening.source) {
            slots.pop_front();
            if slots.is_empty() {
                kind.sources.remove(&opening.source);
            }
        }
        if kind.sources.is_empty() {
            self.kinds.remove(&opening.kind);
        }
    }

    /// Returns how many new alerts of a storm, or of what may become one, are remembered.
    fn recent_of(&self, id: &StormId) -> usize {
        let Some(kind) = self.kinds.get(&id.kind) else { return 0 };
        match &id.source {
            Some(source) => kind.sources.get(source).map_or(0, VecDeque::len),
            None => kind.recent,
        }
    }

    fn has_room(&self, id: &StormId) -> bool {
        self.storms.len() < if id.source.is_some() { MAX_SOURCE_STORMS } else { MAX_STORMS }
    }

    /// Begins a storm with all that is remembered, `new` included.
    fn begin(&mut self, id: &StormId, new: New<'_>) -> (StormId, Vec<SlotId>) {
        let told = Told { at: new.at, alerts: 0, open: 0 };
        let mut storm = Storm { since: new.at, alerts: 0, severity: new.severity, sources: BTreeMap::new(), quiet_since: None, told };
        let mut members = Vec::new();
        let sources = self.kinds.get(&id.kind).map(|kind| &kind.sources);
        let own = id.source.as_ref().and_then(|source| sources?.get_key_value(source));
        let all = sources.filter(|_| id.source.is_none()).into_iter().flatten();
        for (source, slots) in own.into_iter().chain(all) {
            storm.alerts = storm.alerts.saturating_add(slots.len() as u64);
            storm.severity = slots.iter().map(|member| member.severity).fold(storm.severity, Severity::max);
            storm.since = storm.since.min(slots.front().map_or(new.at, |member| member.at));
            if storm.sources.len() < MAX_SOURCES {
                storm.sources.insert(Arc::clone(source), slots.len() as u64);
            }
            let own = StormId { kind: Arc::clone(&id.kind), source: Some(Arc::clone(source)) };
            if id.source.is_some() || !self.storms.contains_key(&own) {
                members.extend(slots.iter().filter_map(|member| member.slot).filter(|slot| Some(*slot) != new.slot));
            }
        }
        self.storms.insert(id.clone(), storm);
        (id.clone(), members)
    }
}

impl StormId {
    /// Returns half of this storm's limit, rounded up: so many new alerts, or open ones, keep it up.
    pub(super) const fn half(&self, limits: &Limits) -> usize {
        let limit = if self.source.is_some() { limits.per_source } else { limits.per_gateway };
        limit.div_ceil(2) as usize
    }
}

impl Storm {
    fn count(&mut self, severity: Severity, source: Option<&Arc<str>>) {
        self.alerts = self.alerts.saturating_add(1);
        self.severity = self.severity.max(severity);
        let Some(source) = source else { return };
        if let Some(count) = self.sources.get_mut(source) {
            *count = count.saturating_add(1);
        } else if self.sources.len() < MAX_SOURCES {
            self.sources.insert(Arc::clone(source), 1);
        }
    }

    /// Returns the sources with most alerts, at most `most`; of equals, the first by name.
    pub(super) fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let mut sources: Vec<_> = self.sources.iter().map(|(source, count)| (&**source, *count)).collect();
        sources.sort_by(|(_, one), (_, other)| other.cmp(one));
        sources.truncate(most);
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { per_source: 3, per_gateway: 5, within_s: 60, quiet_s: 300 };

    fn second(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn new<'a>(slot: u32, kind: &'a str, (source, at): (&'a str, i64)) -> New<'a> {
        New { slot: Some(SlotId::numbered(slot)), occurrence: slot.into(), kind, source, severity: Severity::Minor, at: second(at) }
    }

    fn id(kind: &str, source: Option<&str>) -> StormId {
        StormId { kind: kind.into(), source: source.map(Into::into) }
    }

    fn slots(numbers: &[u32]) -> Vec<SlotId> {
        numbers.iter().copied().map(SlotId::numbered).collect()
    }

    #[test]
    fn a_source_s_storm_takes_in_what_came_before_and_what_comes_after() {
        let mut storms = Storms::default();
        assert_eq!(storms.opened(new(1, "k", ("a", 0)), &LIMITS), Effect::default());
        assert_eq!(storms.opened(new(2, "k", ("b", 0)), &LIMITS), Effect::default());
        assert_eq!(storms.opened(new(3, "k", ("a", 30)), &LIMITS), Effect::default());
        let own = id("k", Some("a"));
        let effect = storms.opened(new(4, "k", ("a", 60)), &LIMITS);
        assert_eq!(effect, Effect { began: vec![(own.clone(), slots(&[1, 3]))], parent: Some(own.clone()) });
        assert_eq!(storms.get(&own).map(|storm| (storm.alerts, storm.since)), Some((3, second(0))));
        assert_eq!(storms.opened(new(5, "other", ("a", 61)), &LIMITS), Effect::default(), "another kind stays visible");
        assert_eq!(storms.opened(new(6, "k", ("a", 62)), &LIMITS).parent, Some(own.clone()));
        assert_eq!(storms.get(&own).map(|storm| storm.alerts), Some(4));
    }

    #[test]
    fn what_is_too_long_ago_does_not_count() {
        let mut storms = Storms::default();
        for (slot, at) in [(1, 0), (2, 1), (3, 62), (4, 63)] {
            assert_eq!(storms.opened(new(slot, "k", ("a", at)), &LIMITS), Effect::default());
        }
        assert_eq!(storms.opened(new(5, "k", ("a", 64)), &LIMITS).began, [(id("k", Some("a")), slots(&[3, 4]))]);
    }

    #[test]
    fn all_sources_together_are_a_storm_above_those_of_single_ones() {
        let mut storms = Storms::default();
        for (slot, source) in [(1, "a"), (2, "a"), (3, "a"), (4, "b")] {
            storms.opened(new(slot, "k", (source, 0)), &LIMITS);
        }
        let effect = storms.opened(new(5, "k", ("c", 1)), &LIMITS);
        assert_eq!(effect.began, [(id("k", None), slots(&[4]))], "those of a stay under their source's storm");
        assert_eq!(effect.parent, Some(id("k", None)));
        assert_eq!(storms.of_sources("k"), [id("k", Some("a"))]);
        assert_eq!(storms.get(&id("k", None)).map(|storm| storm.top(2)), Some(vec![("a", 3), ("b", 1)]));
    }

    #[test]
    fn it_may_end_after_quiet_below_half_of_its_limit() {
        let mut storms = Storms::default();
        for slot in 1..=3 {
            storms.opened(new(slot, "k", ("a", 0)), &LIMITS);
        }
        assert_eq!(storms.tick(second(60), Some(&LIMITS)), []);
        assert_eq!(storms.tick(second(61), Some(&LIMITS)), []);
        // Two in a minute are more than half of three: not quiet.
        storms.opened(new(4, "k", ("a", 200)), &LIMITS);
        storms.opened(new(5, "k", ("a", 201)), &LIMITS);
        assert_eq!(storms.tick(second(202), Some(&LIMITS)), []);
        assert_eq!(storms.tick(second(262), Some(&LIMITS)), []);
        assert_eq!(storms.tick(second(561), Some(&LIMITS)), []);
        let own = id("k", Some("a"));
        assert_eq!(storms.tick(second(562), Some(&LIMITS)), std::slice::from_ref(&own));
        assert_eq!(storms.tick(second(563), Some(&LIMITS)), std::slice::from_ref(&own), "it may end, as long as nobody ends it");
        assert_eq!(storms.end(&own).map(|storm| storm.alerts), Some(5));
        assert_eq!((storms.kinds.len(), storms.recent.len(), storms.storms.len()), (0, 0, 0));
    }

    #[test]
    fn a_source_s_storm_may_end_before_the_one_above() {
        let mut storms = Storms::default();
        for slot in 1..=5 {
            storms.opened(new(slot, "k", ("a", 0)), &LIMITS);
        }
        storms.tick(second(61), Some(&LIMITS));
        for slot in 6..=9 {
            storms.opened(new(slot, "k", (["b", "c"][slot as usize % 2], 330)), &LIMITS);
        }
        assert_eq!(storms.tick(second(361), Some(&LIMITS)), [id("k", Some("a"))]);
        assert!(storms.get(&id("k", None)).is_some());
    }

    #[test]
    fn without_limits_all_may_end_at_once() {
        let mut storms = Storms::default();
        for slot in 1..=5 {
            storms.opened(new(slot, "k", ("a", 0)), &LIMITS);
        }
        assert_eq!(storms.tick(second(1), None), [id("k", None), id("k", Some("a"))]);
        assert_eq!(storms.recent.len(), 0);
    }

    #[test]
    fn they_are_looked_at_again_after_a_while_only() {
        let mut storms = Storms::default();
        for slot in 1..=3 {
            storms.opened(new(slot, "k", ("a", 0)), &LIMITS);
        }
        let own = id("k", Some("a"));
        assert!(storms.tell(&own, (3, second(2))).is_some());
        assert_eq!(storms.due(second(1), second(11)), []);
        assert_eq!(storms.due(second(2), second(12)), std::slice::from_ref(&own));
        assert_eq!(storms.due(second(3), second(13)), []);
        assert_eq!(storms.due(second(12), second(22)), std::slice::from_ref(&own));
        assert_eq!(storms.due(second(-9), second(1)), std::slice::from_ref(&own), "the clock was set back");
        assert_eq!(storms.get(&own).map(|storm| storm.told), Some(Told { at: second(1), alerts: 3, open: 3 }));
    }

    #[test]
    fn a_million_alerts_of_a_million_kinds_and_sources_stay_within_the_bounds() {
        let mut storms = Storms::default();
        for number in 0..1_000_000_u32 {
            let text = (number / 4).to_string();
            storms.opened(new(number, &text, (&text, 0)), &LIMITS);
        }
        assert_eq!((storms.recent.len(), storms.storms.len()), (MAX_RECENT, MAX_SOURCE_STORMS));
        assert!(storms.kinds.len() <= MAX_RECENT);
        storms.tick(second(100), Some(&LIMITS));
        assert_eq!((storms.recent.len(), storms.kinds.len()), (0, 0));
    }
}
