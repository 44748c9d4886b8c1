//! The alert engine beside a model that is obviously right: random raises, clears, closes, drains, checkpoints and crashes.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use postern_engine::alert::{AlertEngine, TABLE_FULL_KIND, Verdict};
use postern_engine::event::{Body, Event, PushEvent, Transport};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState, Authenticity, Severity};
use postern_protocol::revision;
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

const RULES: &str = r#"{"format": 1, "noise": {"flap": "off"}, "rules": [
  {"id": "raise", "match": {"push": {"state": "raise"}},
   "release": {"resource": {"max_bytes": 64}, "severity": {"max_bytes": 64}},
   "then": {"raise": {"resource": "{resource}", "kind": "k", "summary": "s",
     "severity": {"by": "severity", "map": {"major": "major"}, "default": "minor"}}}},
  {"id": "clear", "match": {"push": {"state": "clear"}}, "release": {"resource": {"max_bytes": 64}},
   "then": {"clear": {"resource": "{resource}", "kind": "k"}}}]}"#;

/// Alerts for which there is room; one key more than that can be raised.
const ROOM: usize = 4;
const KEYS: usize = ROOM + 2;
const FULL: &str = "gateway";

#[derive(Clone, Debug)]
enum Step {
    Raise {
        key: usize,
        grave: bool,
    },
    Clear {
        key: usize,
    },
    Close {
        key: usize,
        seen: u64,
        stale: bool,
    },
    Resend,
    /// The pipeline's commit: what is drained is durable, the checkpoint too when there is one.
    Commit {
        checkpoint: bool,
    },
    /// The pipeline's commit of what must not wait.
    CommitUrgent,
    /// The engine is made again from the last checkpoint and the records committed since.
    Crash,
    Time {
        micros: i64,
    },
}

/// One open alert of the model.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    count: u64,
    severity: Severity,
    first_seen: i64,
    last_seen: i64,
}

/// The model: open alerts by resource, and how the earlier ones ended, with their counts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    open: BTreeMap<String, Open>,
    ended: Vec<(String, AlertState, u64)>,
}

impl Model {
    fn others(&self) -> usize {
        self.open.keys().filter(|key| *key != FULL).count()
    }

    fn raise(&mut self, key: &str, severity: Severity, at: i64) -> Verdict {
        if !self.open.contains_key(key) && self.others() == ROOM && key != FULL {
            self.raise(FULL, Severity::Critical, at);
            return Verdict::TableFull;
        }
        let known = self.open.contains_key(key);
        let open = self.open.entry(key.to_owned()).or_insert(Open { count: 0, severity, first_seen: at, last_seen: at });
        *open = Open { count: open.count + 1, severity, last_seen: open.last_seen.max(at), ..*open };
        if known { Verdict::Updated } else { Verdict::Raised }
    }

    fn clear(&mut self, key: &str) -> Verdict {
        let Some(open) = self.open.remove(key) else { return Verdict::ClearedNothing };
        self.ended.push((key.to_owned(), AlertState::Cleared, open.count));
        self.end_full();
        Verdict::Cleared
    }

    fn close(&mut self, key: &str, seen: u64) {
        let Some(open) = self.open.remove(key) else { return };
        let seen = seen.max(1).min(open.count);
        self.ended.push((key.to_owned(), AlertState::Closed, seen));
        if open.count > seen {
            self.open.insert(key.to_owned(), Open { count: open.count - seen, first_seen: open.last_seen, ..open });
        }
        self.end_full();
    }

    fn end_full(&mut self) {
        if self.open.contains_key(FULL) && self.others() < ROOM {
            self.clear(FULL);
        }
    }
}

/// The engine and everything around it that remembers.
struct Rig {
    engine: AlertEngine,
    model: Model,
    committed: Model,
    checkpoint: Vec<u8>,
    later: Vec<Alert>,
    /// What the control plane would have: the newest record of each occurrence.
    received: BTreeMap<(String, u64), Alert>,
    /// Revisions of all records, and the newest of them at the last crash.
    revisions: BTreeSet<u64>,
    floor: u64,
    now: i64,
}

impl Rig {
    fn new() -> Self {
        let engine = AlertEngine::new(rules()).bounded_to(ROOM);
        let checkpoint = engine.checkpoint();
        let (model, committed) = (Model::default(), Model::default());
        Self {
            engine,
            model,
            committed,
            checkpoint,
            later: vec![],
            received: BTreeMap::new(),
            revisions: BTreeSet::new(),
            floor: 0,
            now: 1_000_000,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let now = Timestamp::from_nanos(self.now);
        match step {
            Step::Raise { key, grave } => {
                let severity = if *grave { Severity::Major } else { Severity::Minor };
                let verdict = self.engine.handle(&push(*key, PushState::Raise, severity, now), now);
                prop_assert_eq!(verdict, self.model.raise(&resource(*key), severity, self.now));
            }
            Step::Clear { key } => {
                let verdict = self.engine.handle(&push(*key, PushState::Clear, Severity::Minor, now), now);
                prop_assert_eq!(verdict, self.model.clear(&resource(*key)));
            }
            Step::Close { key, seen, stale } => {
                let open = self.engine.open_alerts().find(|alert| alert.key.resource == resource(*key));
                if let Some(alert) = open {
                    self.engine.close(&alert.key, alert.occurrence - u64::from(*stale), *seen, now);
                    if !stale {
                        self.model.close(&alert.key.resource, *seen);
                    }
                }
            }
            Step::Resend => {
                let before = self.engine.last_revision();
                prop_assert!(self.engine.resend_open(now) > before, "what was known before is older");
            }
            Step::Commit { checkpoint } => self.commit(*checkpoint)?,
            Step::CommitUrgent => self.commit_urgent()?,
            Step::Crash => {
                self.floor = self.revisions.last().copied().unwrap_or(0);
                self.engine = AlertEngine::restore(rules(), &self.checkpoint).unwrap().bounded_to(ROOM);
                self.later.iter().for_each(|alert| self.engine.apply(alert.clone()));
                self.model = self.committed.clone();
            }
            Step::Time { micros } => self.now += micros * 1_000,
        }
        self.check()
    }

    fn receive(&mut self, alert: Alert) -> Result<(), TestCaseError> {
        prop_assert!(alert.revision > self.floor, "revisions grow over a crash");
        prop_assert!(self.revisions.insert(alert.revision), "no two records have the same");
        prop_assert_eq!(Alert::decode(&alert.encode()), Ok(alert.clone()));
        self.received.insert((alert.key.resource.clone(), alert.occurrence), alert.clone());
        self.later.push(alert);
        Ok(())
    }

    fn commit_urgent(&mut self) -> Result<(), TestCaseError> {
        for alert in self.engine.drain_urgent() {
            self.receive(alert)?;
        }
        prop_assert!(!self.engine.has_urgent());
        self.committed = received(&self.received);
        prop_assert_eq!(&self.committed.ended, &self.model.ended);
        let grave =
            |model: &Model| -> Vec<_> { model.open.iter().map(|(key, open)| (key.clone(), open.severity, open.first_seen)).collect() };
        prop_assert_eq!(grave(&self.committed), grave(&self.model), "only counts and what came with them may be older");
        Ok(())
    }

    fn commit(&mut self, checkpoint: bool) -> Result<(), TestCaseError> {
        for alert in self.engine.drain_changes() {
            self.receive(alert)?;
        }
        if checkpoint {
            self.checkpoint = self.engine.checkpoint();
            self.later.clear();
        }
        self.committed = self.model.clone();
        prop_assert_eq!(&received(&self.received), &self.model, "what was sent is what is");
        prop_assert_eq!(self.engine.drain_changes(), vec![]);
        Ok(())
    }

    /// Holds that the engine's open alerts are the model's, and that a restart at this moment would change nothing.
    fn check(&self) -> Result<(), TestCaseError> {
        let open: BTreeMap<_, _> = self.engine.open_alerts().map(|alert| (alert.key.resource.clone(), open(&alert))).collect();
        prop_assert_eq!(&open, &self.model.open);
        prop_assert_eq!(self.engine.open_count(), open.len());
        let again = AlertEngine::restore(rules(), &self.engine.checkpoint()).unwrap();
        prop_assert_eq!(again.checkpoint(), self.engine.checkpoint());
        Ok(())
    }
}

fn rules() -> RuleIndex {
    RuleIndex::compile(&revision::parse(RULES.as_bytes()).unwrap()).unwrap()
}

fn resource(key: usize) -> String {
    format!("r{key}")
}

fn push(key: usize, state: PushState, severity: Severity, now: Timestamp) -> Event {
    let fields = BTreeMap::new();
    let (kind, qualifier, summary) = ("k".to_owned(), String::new(), "text".to_owned());
    Event {
        received: now,
        peer: [192, 0, 2, 1].into(),
        transport: Transport::Tls,
        authenticity: Authenticity::Tls,
        relay: None,
        tls_name: Some("demo".to_owned()),
        body: Body::Push(PushEvent { state, resource: resource(key), kind, qualifier, severity, summary, fields }),
    }
}

fn open(alert: &Alert) -> Open {
    let (first_seen, last_seen) = (alert.first_seen.as_nanos(), alert.last_seen.as_nanos());
    Open { count: alert.count, severity: alert.severity, first_seen, last_seen }
}

/// Returns what the records that were sent say.
fn received(records: &BTreeMap<(String, u64), Alert>) -> Model {
    let mut records: Vec<_> = records.values().collect();
    records.sort_by_key(|alert| alert.revision);
    let mut model = Model::default();
    for alert in records {
        let key = alert.key.resource.clone();
        assert_eq!(alert.key.kind == TABLE_FULL_KIND, key == FULL);
        match alert.state {
            AlertState::Open => assert!(model.open.insert(key, open(alert)).is_none(), "one occurrence of a key is open"),
            AlertState::Cleared | AlertState::Closed => model.ended.push((key, alert.state, alert.count)),
        }
    }
    model
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS;
    let step = prop_oneof![
        12 => (key.clone(), any::<bool>()).prop_map(|(key, grave)| Step::Raise { key, grave }),
        5 => key.clone().prop_map(|key| Step::Clear { key }),
        4 => (key, 0..5_u64, prop::bool::weighted(0.2)).prop_map(|(key, seen, stale)| Step::Close { key, seen, stale }),
        1 => Just(Step::Resend),
        4 => prop::bool::weighted(0.3).prop_map(|checkpoint| Step::Commit { checkpoint }),
        3 => Just(Step::CommitUrgent),
        2 => Just(Step::Crash),
        3 => (-50..100_i64).prop_map(|micros| Step::Time { micros }),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn the_engine_is_the_model(steps in steps()) {
        let mut rig = Rig::new();
        for step in &steps {
            rig.step(step)?;
        }
        rig.step(&Step::Commit { checkpoint: false })?;
        rig.step(&Step::Crash)?;
    }
}
