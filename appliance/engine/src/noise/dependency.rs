//! Dependencies: while an alert of the parent says that it is gone, alerts of what depends on it are folded under that alert.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use postern_protocol::alert::AlertKey;
use postern_protocol::revision::noise::Dependency as Wanted;
use postern_protocol::revision::pattern::NetworkError;
use postern_protocol::timestamp::Timestamp;

use super::scope::{Scope, Subject};
use crate::alert::SlotId;

/// Most alerts that are remembered until their parent's may come.
const MAX_WAITING: usize = 65_536;

/// A document's dependencies, compiled: found by parent, and by the names of sources that are listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependencies {
    all: Vec<Dependency>,
    by_parent: BTreeMap<String, Vec<usize>>,
    by_source: BTreeMap<String, Vec<usize>>,
    /// Those that list no sources.
    others: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) id: String,
    kinds: BTreeSet<String>,
    children: Scope,
    before: Duration,
}

/// Alerts that say that a parent is gone, and alerts whose parent's may still come.
#[derive(Debug, Default)]
pub(super) struct Parents {
    gone: BTreeMap<usize, BTreeSet<AlertKey>>,
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at: Timestamp,
    dependency: usize,
    slot: SlotId,
}

impl Dependencies {
    /// Compiles what a document says.
    ///
    /// # Errors
    /// The number of the dependency and of the network that is none.
    pub(super) fn compile(wanted: &[Wanted]) -> Result<Self, (usize, usize, NetworkError)> {
        let mut compiled = Self::default();
        for (number, wanted) in wanted.iter().enumerate() {
            let children = Scope::compile(&wanted.children).map_err(|(index, error)| (number, index, error))?;
            for source in children.sources() {
                compiled.by_source.entry(source.clone()).or_default().push(number);
            }
            if children.sources().is_empty() {
                compiled.others.push(number);
            }
            compiled.by_parent.entry(wanted.parent.clone()).or_default().push(number);
            let usual = || Wanted::KINDS.iter().map(|kind| (*kind).to_owned()).collect();
            compiled.all.push(Dependency {
                id: wanted.id.as_str().to_owned(),
                kinds: if wanted.kinds.is_empty() { usual() } else { wanted.kinds.iter().cloned().collect() },
                children,
                before: Duration::from_secs(wanted.before_s.into()),
            });
        }
        Ok(compiled)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Dependency> {
        self.all.get(number)
    }

    /// Returns the dependencies whose children include `subject`, in the order of the document.
    pub(super) fn of_child(&self, subject: &Subject<'_>) -> Vec<usize> {
        let name = subject.facts.and_then(|facts| facts.name.as_deref()).filter(|name| *name != subject.source);
        let listed = [Some(subject.source), name].into_iter().flatten().filter_map(|source| self.by_source.get(source)).flatten();
        let is_child = |number: &&usize| self.get(**number).is_some_and(|dependency| dependency.children.holds(subject));
        let mut numbers: Vec<_> = listed.chain(&self.others).filter(is_child).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Returns the dependencies whose parent is gone when the alert of `key` lasts.
    pub(super) fn of_parent(&self, key: &AlertKey) -> Vec<usize> {
        let device = key.resource.split_once('/').map(|(device, _)| device);
        let names = [Some(key.resource.as_str()), device].into_iter().flatten();
        let numbers = names.filter_map(|name| self.by_parent.get(name)).flatten();
        numbers.filter(|number| self.get(**number).is_some_and(|dependency| dependency.kinds.contains(&key.kind))).copied().collect()
    }
}

impl Parents {
    /// Returns the alert that says that the parent of one of `dependencies` is gone, unless that is `child` itself.
    pub(super) fn gone(&self, dependencies: &[usize], child: &AlertKey) -> Option<(usize, &AlertKey)> {
        let first = |number: &usize| Some((*number, self.gone.get(number)?.iter().find(|key| *key != child)?));
        dependencies.iter().find_map(first)
    }

    /// Remembers a child whose parent's alert may still come.
    pub(super) fn wait(&mut self, dependencies: &[usize], slot: SlotId, at: Timestamp) {
        for dependency in dependencies.iter().copied() {
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back(Waiting { at, dependency, slot });
        }
    }

    /// Notes that an alert says that a parent is gone; returns the children that are remembered of those dependencies, with theirs.
    pub(super) fn open(&mut self, (numbers, all): (&[usize], &Dependencies), key: &AlertKey, now: Timestamp) -> Vec<(usize, SlotId)> {
        for number in numbers {
            self.gone.entry(*number).or_default().insert(key.clone());
        }
        let recent = |waiting: &&Waiting| {
            let before = all.get(waiting.dependency).map(|dependency| dependency.before);
            numbers.contains(&waiting.dependency) && before.is_some_and(|before| now.saturating_since(waiting.at) <= before)
        };
        self.waiting.iter().filter(recent).map(|waiting| (waiting.dependency, waiting.slot)).collect()
    }

    /// Notes that an alert ended; says whether it meant that a parent was gone.
    pub(super) fn end(&mut self, key: &AlertKey) -> bool {
        let mut was = false;
        self.gone.retain(|_, keys| {
            was |= keys.remove(key);
            !keys.is_empty()
        });
        was
    }

    /// Says whether an alert means that a parent is gone.
    pub(super) fn is_parent(&self, key: &AlertKey) -> bool {
        self.gone.values().any(|keys| keys.contains(key))
    }

    /// Forgets the children whose parent's alert would come too late.
    pub(super) fn tick(&mut self, now: Timestamp, all: &Dependencies) {
        let longest = all.all.iter().map(|dependency| dependency.before).max().unwrap_or_default();
        let is_over = |waiting: &Waiting| now.saturating_since(waiting.at) > longest || waiting.at.saturating_since(now) > longest;
        while self.waiting.front().is_some_and(is_over) {
            self.waiting.pop_front();
        }
    }

    /// Forgets all: other dependencies are in force.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled() -> Dependencies {
        let json = r#"[
            {"id": "rack", "parent": "sw-1", "children": {"sources": ["a", "b"]}, "before_s": 30},
            {"id": "site", "parent": "wan", "kinds": ["bgp-down"], "children": {"groups": ["branch"]}, "before_s": 60},
            {"id": "all", "parent": "wan/0", "children": {"networks": ["10.0.0.0/8"]}, "before_s": 0}]"#;
        Dependencies::compile(&serde_json::from_str::<Vec<Wanted>>(json).unwrap()).unwrap()
    }

    fn key(resource: &str, kind: &str) -> AlertKey {
        AlertKey { resource: resource.to_owned(), kind: kind.to_owned(), qualifier: String::new() }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn a_child_is_found_by_name_group_or_network() {
        let facts = serde_json::from_str(r#"{"networks": [], "name": "b", "group": "branch"}"#).unwrap();
        let subject = |source, address: [u8; 4], facts| Subject { source, address: Some(address.into()), facts, rule: "r", tags: &[] };
        let all = compiled();
        assert_eq!(all.of_child(&subject("a", [192, 0, 2, 1], None)), [0]);
        assert_eq!(all.of_child(&subject("10.0.0.1", [10, 0, 0, 1], Some(&facts))), [0, 1, 2]);
        assert!(all.of_child(&subject("c", [192, 0, 2, 1], None)).is_empty());
    }

    #[test]
    fn a_parent_is_found_by_resource_or_device_and_kind() {
        let all = compiled();
        assert_eq!(all.of_parent(&key("sw-1", "silent")), [0]);
        assert_eq!(all.of_parent(&key("sw-1/if/3", "link-down")), [0]);
        assert!(all.of_parent(&key("sw-1", "fan")).is_empty());
        assert!(all.of_parent(&key("sw-12", "silent")).is_empty());
        assert_eq!(all.of_parent(&key("wan/0", "link-down")), [2]);
        assert_eq!(all.of_parent(&key("wan/0", "bgp-down")), [1]);
    }

    #[test]
    fn children_that_came_a_little_before_are_remembered() {
        let (all, mut parents) = (compiled(), Parents::default());
        let slot = SlotId::numbered;
        parents.wait(&[0], slot(1), second(0));
        parents.wait(&[0, 1], slot(2), second(10));
        parents.wait(&[1], slot(3), second(20));
        assert_eq!(parents.open((&[0], &all), &key("sw-1", "silent"), second(31)), [(0, slot(2))]);
        assert_eq!(parents.gone(&[1, 0], &key("a", "x")), Some((0, &key("sw-1", "silent"))));
        assert_eq!(parents.gone(&[0], &key("sw-1", "silent")), None, "not its own child");
        assert!(parents.end(&key("sw-1", "silent")) && !parents.is_parent(&key("sw-1", "silent")));
        assert!(!parents.end(&key("sw-1", "silent")));
        parents.tick(second(81), &all);
        assert_eq!(parents.waiting.len(), 0);
    }

    #[test]
    fn a_million_children_stay_within_the_bound() {
        let mut parents = Parents::default();
        for number in 0..1_000_000 {
            parents.wait(&[0], SlotId::numbered(number), second(0));
        }
        assert_eq!(parents.waiting.len(), MAX_WAITING);
    }
}
