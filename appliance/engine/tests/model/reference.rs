//! What the engine should do, in the plainest way: whole lists, gone through anew each time.
//!
//! Times are seconds. What is right here is right by reading `protocol/RULES.md`; nothing of the engine is called.

use std::collections::BTreeMap;

use postern_engine::alert::{OWN_RESOURCE, Verdict};
use postern_protocol::alert::{AlertKey, AlertState, Severity};

use crate::document::{BEFORE_S, CLEAR_AFTER_S, FLAP_S, RATE, STORM_S, THRESHOLD, Variant};

/// Kinds of alerts that mean that a device is gone.
const GONE: [&str; 2] = ["node-down", "link-down"];

/// What a rule makes of an event.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) rule: &'static str,
    pub(crate) key: AlertKey,
    pub(crate) severity: Severity,
    pub(crate) peer: &'static str,
    /// What the sender's clock says.
    pub(crate) clock: Option<i64>,
    pub(crate) number: f64,
}

/// An open alert.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Which occurrence.
    id: usize,
    pub(crate) rule: &'static str,
    peer: &'static str,
    pub(crate) severity: Severity,
    pub(crate) count: u64,
    pub(crate) first_seen: i64,
    pub(crate) last_seen: i64,
    pub(crate) parent: Option<AlertKey>,
    pub(crate) suppressed: Option<(&'static str, i64)>,
    clock: Option<i64>,
    /// When it ends by itself.
    due: Option<i64>,
    /// Since when it waits for its parent's alert.
    waits: Option<i64>,
}

/// An alert that flaps: since when nothing changed, and when the clear came that is held back.
#[derive(Clone, Debug)]
struct Flapping {
    last_change: i64,
    over: Option<i64>,
}

/// A new alert that storms count.
#[derive(Clone, Debug)]
struct Opening {
    at: i64,
    id: usize,
    kind: String,
    peer: &'static str,
    severity: Severity,
}

#[derive(Clone, Debug)]
struct Storm {
    alerts: usize,
    severity: Severity,
    quiet_since: Option<i64>,
    /// When its figures were told or looked at, with how many alerts, of which so many were open.
    told: (i64, usize, usize),
}

/// An end: which alert, how, with how many reports, and when it was cleared.
pub(crate) type End = (AlertKey, AlertState, u64, Option<i64>);

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) variant: Variant,
    pub(crate) now: i64,
    pub(crate) open: BTreeMap<AlertKey, Open>,
    /// Ends since they were last asked for.
    pub(crate) ended: Vec<End>,
    /// What the sender's clock said at the last end of each.
    end_clocks: BTreeMap<AlertKey, Option<i64>>,
    /// Reports that thresholds held back: rule, key or peer, time.
    held: Vec<(&'static str, String, i64)>,
    numbers: BTreeMap<AlertKey, (f64, i64)>,
    changes: BTreeMap<AlertKey, Vec<i64>>,
    flapping: BTreeMap<AlertKey, Flapping>,
    openings: Vec<Opening>,
    storms: BTreeMap<AlertKey, Storm>,
    occurrences: usize,
    /// Whether the gateway was away since the last tick.
    pub(crate) away: bool,
}

impl Model {
    pub(crate) fn new(variant: Variant) -> Self {
        Self {
            variant,
            now: 0,
            open: BTreeMap::new(),
            ended: vec![],
            end_clocks: BTreeMap::new(),
            held: vec![],
            numbers: BTreeMap::new(),
            changes: BTreeMap::new(),
            flapping: BTreeMap::new(),
            openings: vec![],
            storms: BTreeMap::new(),
            occurrences: 0,
            away: false,
        }
    }

    pub(crate) fn is_flapping(&self, key: &AlertKey) -> bool {
        self.flapping.contains_key(key)
    }

    // Raise and clear.

    pub(crate) fn raise(&mut self, report: &Report) -> Verdict {
        let now = self.now;
        if report.rule == "push.load" {
            let Some((number, at)) = self.numbers.get(&report.key).copied() else {
                self.numbers.insert(report.key.clone(), (report.number, now));
                return Verdict::Held;
            };
            if at == now {
                return Verdict::Held;
            }
            self.numbers.insert(report.key.clone(), (report.number, now));
            if (report.number - number) / (now - at) as f64 * RATE.1 <= RATE.0 {
                return Verdict::Held;
            }
        }
        let mut before = (0, now);
        if matches!(report.rule, "trap.auth" | "log.login") && !self.open.contains_key(&report.key) {
            let per_key = report.rule == "trap.auth";
            let counted = if per_key { report.key.resource.clone() } else { report.peer.to_owned() };
            self.held.push((report.rule, counted.clone(), now));
            let is_counted = |(rule, of, at): &&(&str, String, i64)| *rule == report.rule && *of == counted && now - at <= THRESHOLD.1;
            let times: Vec<_> = self.held.iter().filter(is_counted).map(|(_, _, at)| *at).collect();
            if times.len() < THRESHOLD.0 {
                return Verdict::Held;
            }
            if per_key {
                before = (times.len() as u64 - 1, times[0]);
                self.held.retain(|(rule, of, _)| *rule != report.rule || *of != counted);
            }
        }
        let ended_later = is_late(report.clock, self.end_clocks.get(&report.key).copied().flatten());
        if let Some(open) = self.open.get_mut(&report.key) {
            let late = is_late(report.clock, open.clock);
            if late && ended_later {
                return Verdict::Late;
            }
            open.count += 1;
            open.last_seen = now;
            open.due = open.due.map(|_| now + CLEAR_AFTER_S);
            if !late {
                (open.severity, open.clock) = (report.severity, report.clock);
                if let Some(flapping) = self.flapping.get_mut(&report.key).filter(|flapping| flapping.over.is_some()) {
                    *flapping = Flapping { last_change: now, over: None };
                }
            }
            return Verdict::Updated;
        }
        if ended_later {
            return Verdict::Late;
        }
        self.insert(report);
        if let Some(open) = self.open.get_mut(&report.key) {
            (open.count, open.first_seen) = (1 + before.0, before.1);
        }
        self.opened(&report.key);
        if self.flaps(report.rule).is_some() && self.changes.contains_key(&report.key) {
            self.changed(&report.key, report.rule);
        }
        Verdict::Raised
    }

    pub(crate) fn clear(&mut self, key: &AlertKey, clock: Option<i64>) -> Verdict {
        let Some(open) = self.open.get(key) else { return Verdict::ClearedNothing };
        let (rule, first_seen, last_clock) = (open.rule, open.first_seen, open.clock);
        if is_late(clock, last_clock) {
            return Verdict::Late;
        }
        if !self.is_flapping(key) && self.flaps(rule).is_some() {
            self.changes.entry(key.clone()).or_insert_with(|| vec![first_seen]);
            self.changed(key, rule);
        }
        if let Some(flapping) = self.flapping.get_mut(key) {
            let last_change = if flapping.over.is_none() { self.now } else { flapping.last_change };
            *flapping = Flapping { last_change, over: Some(self.now) };
            return Verdict::Held;
        }
        self.end(key, AlertState::Cleared, Some(self.now), clock.or(last_clock));
        self.gone(key);
        Verdict::Cleared
    }

    /// A person closes an alert of which they saw so many reports.
    pub(crate) fn close(&mut self, key: &AlertKey, seen: u64) {
        let Some(open) = self.open.get(key).cloned() else { return };
        let seen = seen.clamp(1, open.count);
        self.end(key, AlertState::Closed, None, None);
        self.ended.last_mut().unwrap().2 = seen;
        if open.count == seen {
            return self.gone(key);
        }
        self.occurrences += 1;
        let again = Open { id: self.occurrences, count: open.count - seen, first_seen: open.last_seen, waits: None, ..open };
        self.open.insert(key.clone(), again);
    }

    fn insert(&mut self, report: &Report) {
        self.occurrences += 1;
        let Report { rule, key, severity, peer, clock, .. } = report.clone();
        let due = (rule == "push.temp").then_some(self.now + CLEAR_AFTER_S);
        let (id, first_seen, last_seen) = (self.occurrences, self.now, self.now);
        let open =
            Open { id, rule, peer, severity, count: 1, first_seen, last_seen, parent: None, suppressed: None, clock, due, waits: None };
        self.open.insert(key, open);
    }

    fn end(&mut self, key: &AlertKey, state: AlertState, at: Option<i64>, clock: Option<i64>) {
        let open = self.open.remove(key).unwrap();
        self.end_clocks.insert(key.clone(), clock);
        self.ended.push((key.clone(), state, open.count, at.map(|at| at.max(open.last_seen))));
    }

    /// What follows from an end.
    fn gone(&mut self, key: &AlertKey) {
        self.flapping.remove(key);
        let heir = self.gone_parent(&self.of_parent(key), key);
        self.release(key, heir.as_ref());
    }

    // Time.

    pub(crate) fn tick(&mut self) {
        let now = self.now;
        if std::mem::take(&mut self.away) {
            self.open.values_mut().for_each(|open| open.due = open.due.map(|_| now + CLEAR_AFTER_S));
        }
        let due: Vec<_> = self.open.iter().filter(|(_, open)| open.due.is_some_and(|due| due <= now)).map(|(key, _)| key.clone()).collect();
        due.iter().for_each(|key| self.end(key, AlertState::Cleared, Some(now), None));
        due.iter().for_each(|key| self.gone(key));
        for (key, flapping) in self.flapping.clone() {
            if now - flapping.last_change >= FLAP_S.1 {
                self.flapping.remove(&key);
                if let Some(over) = flapping.over {
                    let clock = self.open.get(&key).and_then(|open| open.clock);
                    self.end(&key, AlertState::Cleared, Some(over), clock);
                    self.gone(&key);
                }
            }
        }
        for open in self.open.values_mut() {
            let window = self.variant.windows.iter().find(|window| open.suppressed.is_some_and(|(id, _)| id == window.id));
            open.suppressed = window.filter(|window| (window.from..window.until).contains(&now)).map(|window| (window.id, window.until));
        }
        self.tick_storms();
    }

    /// Other rules, or a start: what follows from the document is made anew.
    pub(crate) fn settle(&mut self) {
        self.open.values_mut().for_each(|open| open.waits = None);
        for (key, open) in self.open.clone() {
            let Some(parent) = open.parent else { continue };
            let lasts = self.storms.contains_key(&parent) || !self.of_parent(&parent).is_empty();
            if !lasts || !self.open.contains_key(&parent) {
                self.open.get_mut(&key).unwrap().parent = None;
            }
        }
    }

    // Flaps.

    fn flaps(&self, _rule: &str) -> Option<usize> {
        self.variant.flap
    }

    fn changed(&mut self, key: &AlertKey, rule: &str) {
        let (now, most) = (self.now, self.flaps(rule).unwrap());
        let changes = self.changes.get_mut(key).unwrap();
        changes.push(now);
        changes.retain(|at| now - at <= FLAP_S.0);
        if changes.len() >= most {
            self.changes.remove(key);
            self.flapping.insert(key.clone(), Flapping { last_change: now, over: None });
        }
    }

    // Windows, dependencies and storms: what becomes of a new alert.

    fn opened(&mut self, key: &AlertKey) {
        let open = &self.open[key];
        let (now, rule, peer) = (self.now, open.rule, open.peer);
        let holds =
            self.variant.windows.iter().filter(|window| rule.starts_with(window.rules) && (window.from..window.until).contains(&now));
        let suppressed = holds.map(|window| (window.until, window.id)).max_by_key(|(until, _)| *until).map(|(until, id)| (id, until));
        let of_child: Vec<_> = (0..self.variant.dependencies.len()).filter(|d| self.variant.dependencies[*d].child == peer).collect();
        let parent = self.gone_parent(&of_child, key);
        let waits = (parent.is_none() && !of_child.is_empty()).then_some(now);
        let open = self.open.get_mut(key).unwrap();
        (open.suppressed, open.waits, open.parent) = (suppressed, waits, parent.clone());
        self.fold_children(key);
        if suppressed.is_none() && parent.is_none() {
            self.count_in_storms(key);
        }
    }

    /// Returns the numbers of the dependencies whose parent is gone while this alert lasts.
    fn of_parent(&self, key: &AlertKey) -> Vec<usize> {
        let device = key.resource.split('/').next().unwrap();
        let is = |d: &usize| self.variant.dependencies[*d].parent == device && GONE.contains(&key.kind.as_str());
        (0..self.variant.dependencies.len()).filter(is).collect()
    }

    /// Returns the first open alert, other than `key`, that says that the parent of the first such dependency is gone.
    fn gone_parent(&self, dependencies: &[usize], key: &AlertKey) -> Option<AlertKey> {
        dependencies.iter().find_map(|d| self.open.keys().find(|parent| *parent != key && self.of_parent(parent).contains(d)).cloned())
    }

    fn fold_children(&mut self, key: &AlertKey) {
        let children: Vec<_> = self.of_parent(key).into_iter().map(|d| self.variant.dependencies[d].child).collect();
        for (child, open) in self.open.clone() {
            let is_recent = open.waits.is_some_and(|since| self.now - since <= BEFORE_S);
            let is_free = open.parent.as_ref().is_none_or(|parent| parent.kind == "storm");
            if is_recent && is_free && children.contains(&open.peer) && !self.is_under(key, &child) {
                self.open.get_mut(&child).unwrap().parent = Some(key.clone());
            }
        }
    }

    /// Says whether `key` is `above`, or folded under it however far.
    fn is_under(&self, key: &AlertKey, above: &AlertKey) -> bool {
        key == above || self.open.get(key).and_then(|open| open.parent.as_ref()).is_some_and(|parent| self.is_under(parent, above))
    }

    /// Unfolds the children of an alert, or folds them under another; never under one that is folded under themselves.
    fn release(&mut self, parent: &AlertKey, heir: Option<&AlertKey>) {
        for (child, open) in self.open.clone() {
            if open.parent.as_ref() == Some(parent) {
                let heir = heir.filter(|heir| !self.is_under(heir, &child));
                self.open.get_mut(&child).unwrap().parent = heir.cloned();
            }
        }
    }

    fn count_in_storms(&mut self, key: &AlertKey) {
        let Some((own, all)) = self.variant.storm else { return };
        let (now, open) = (self.now, self.open[key].clone());
        self.openings.retain(|opening| now - opening.at <= STORM_S.0);
        self.openings.push(Opening { at: now, id: open.id, kind: key.kind.clone(), peer: open.peer, severity: open.severity });
        let (above, below) = (storm(OWN_RESOURCE, &key.kind), storm(open.peer, &key.kind));
        let mut told = vec![];
        for (id, limit) in [(&above, all), (&below, own)] {
            let members = self.recent(id);
            let severity = members.iter().map(|opening| opening.severity).max().unwrap();
            if let Some(storm) = self.storms.get_mut(id) {
                (storm.alerts, storm.severity) = (storm.alerts + 1, storm.severity.max(open.severity));
            } else if members.len() >= limit {
                let alerts = members.len();
                self.storms.insert(id.clone(), Storm { alerts, severity, quiet_since: None, told: (now, alerts, 0) });
                self.tell(id);
                self.take_in(id, &members);
                told.push(id);
            }
        }
        if let Some(parent) = [&below, &above].into_iter().find(|id| self.storms.contains_key(*id)) {
            if !self.open.contains_key(parent) {
                self.tell(parent);
                told.push(parent);
            }
            self.open.get_mut(key).unwrap().parent = Some(parent.clone());
        }
        for id in told {
            self.storms.get_mut(id).unwrap().told.2 = self.open_of(id);
        }
    }

    /// Returns how many alerts are folded under this one.
    fn children(&self, id: &AlertKey) -> usize {
        self.open.values().filter(|open| open.parent.as_ref() == Some(id)).count()
    }

    /// Returns how many alerts are folded under a storm, those under storms of its sources included.
    fn open_of(&self, id: &AlertKey) -> usize {
        let children = self.open.iter().filter(|(_, open)| open.parent.as_ref() == Some(id));
        children.map(|(key, open)| if open.rule == "postern" { self.children(key) } else { 1 }).sum()
    }

    /// Folds what belongs to a storm that begins: alerts that stand for themselves or belong to the storm above it.
    fn take_in(&mut self, id: &AlertKey, members: &[Opening]) {
        let above = storm(OWN_RESOURCE, &id.qualifier);
        for opening in members {
            let has_own = *id == above && self.storms.contains_key(&storm(opening.peer, &id.qualifier));
            let Some(open) = self.open.values_mut().find(|open| open.id == opening.id) else { continue };
            let is_free = open.parent.is_none() && open.suppressed.is_none();
            if !has_own && (is_free || (*id != above && open.parent.as_ref() == Some(&above))) {
                open.parent = Some(id.clone());
            }
        }
        if *id == above {
            for (key, open) in &mut self.open {
                if self.storms.contains_key(key) && key != id && key.qualifier == id.qualifier {
                    open.parent = Some(id.clone());
                }
            }
        }
    }

    fn recent(&self, id: &AlertKey) -> Vec<Opening> {
        let belongs = |opening: &&Opening| opening.kind == id.qualifier && (id.resource == OWN_RESOURCE || id.resource == opening.peer);
        self.openings.iter().filter(belongs).cloned().collect()
    }

    /// Opens a storm's alert, under that of all sources if there is one, or gives it the figures of now.
    fn tell(&mut self, id: &AlertKey) {
        let (severity, alerts, open) = (self.storms[id].severity, self.storms[id].alerts, self.open_of(id));
        self.storms.get_mut(id).unwrap().told = (self.now, alerts, open);
        if let Some(open) = self.open.get_mut(id) {
            (open.count, open.last_seen, open.severity) = (open.count + 1, self.now, severity);
            return;
        }
        self.insert(&Report { rule: "postern", key: id.clone(), severity, peer: "", clock: None, number: 0.0 });
        let above = storm(OWN_RESOURCE, &id.qualifier);
        let is_child = above != *id && self.storms.contains_key(&above) && self.open.contains_key(&above);
        self.open.get_mut(id).unwrap().parent = is_child.then_some(above);
    }

    fn tick_storms(&mut self) {
        let now = self.now;
        self.openings.retain(|opening| now - opening.at <= STORM_S.0 && self.variant.storm.is_some());
        let mut over = vec![];
        for id in self.storms.keys().cloned().collect::<Vec<_>>() {
            let recent = self.recent(&id).len();
            let limit = self.variant.storm.map(|(own, all)| if id.resource == OWN_RESOURCE { all } else { own });
            let storm = self.storms.get_mut(&id).unwrap();
            match limit {
                None => over.push(id),
                Some(limit) if recent * 2 >= limit => storm.quiet_since = None,
                Some(_) => {
                    let since = *storm.quiet_since.get_or_insert(now);
                    over.extend((now - since >= STORM_S.1).then_some(id));
                }
            }
        }
        // Those of sources first: what they leave may keep up the one above. Without limits there is none above.
        if self.variant.storm.is_some() {
            over.sort_by_key(|id| id.resource == OWN_RESOURCE);
        } else {
            over.sort_by_key(|id| id.resource != OWN_RESOURCE);
        }
        for id in &over {
            let limit = self.variant.storm.map(|(own, all)| if id.resource == OWN_RESOURCE { all } else { own });
            if limit.is_some_and(|limit| self.children(id) * 2 >= limit) {
                continue;
            }
            if self.open.contains_key(id) {
                self.tell(id);
                self.end(id, AlertState::Cleared, Some(now), None);
            }
            self.storms.remove(id);
            let above = storm(OWN_RESOURCE, &id.qualifier);
            let lasts = self.storms.contains_key(&above) && self.open.contains_key(&above);
            self.release(id, Some(&above).filter(|_| lasts));
        }
        // Those of all sources first: what a person closed comes back under them.
        let mut lasting: Vec<_> = self.storms.keys().cloned().collect();
        lasting.sort_by_key(|id| id.resource != OWN_RESOURCE);
        for id in lasting {
            let Storm { alerts, told, .. } = self.storms[&id];
            if told.0 > now - 10 {
                continue;
            }
            self.storms.get_mut(&id).unwrap().told.0 = now;
            if told.1 < alerts || (told.2 != self.open_of(&id) && self.open.contains_key(&id)) {
                self.tell(&id);
            }
        }
    }
}

fn storm(resource: &str, kind: &str) -> AlertKey {
    AlertKey { resource: resource.to_owned(), kind: "storm".to_owned(), qualifier: kind.to_owned() }
}

fn is_late(this: Option<i64>, last: Option<i64>) -> bool {
    this.zip(last).is_some_and(|(this, last)| this < last)
}
