//! The whole engine beside a model that is obviously right, and beside itself.
//!
//! `PROPTEST_CASES=100000 cargo test -p postern-engine --release --test model` tries that many sequences instead of 2,000. A sequence that
//! fails is made small, printed, and its seed is kept in `model.proptest-regressions` beside this directory: each later run begins with
//! it. `PROPTEST_RNG_SEED=N` makes a run the same again.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test through and through")]

mod document;
mod events;
mod reference;

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey, AlertState};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use self::document::VARIANTS;
use self::events::{Outcome, Step, steps, time};
use self::reference::{End, Model};

/// Sequences that are tried when `PROPTEST_CASES` does not say.
const USUAL_CASES: u32 = 2_000;

/// What is seen of an open alert: rule, severity, count, first and last report, parent, window, whether it flaps.
type Seen = (String, postern_protocol::alert::Severity, u64, (i64, i64), Option<AlertKey>, Option<(String, i64)>, bool);

/// An engine, and what others know by its records.
struct Rig {
    engine: AlertEngine,
    rules: Vec<RuleIndex>,
    variant: usize,
    now: i64,
    received: BTreeMap<AlertKey, Alert>,
    ended: Vec<End>,
    /// What became of events since these rules are in force.
    verdicts: Vec<Verdict>,
    /// Every record that was drained since they were last asked for, encoded.
    bytes: Vec<Vec<u8>>,
}

impl Rig {
    fn new(rules: &[RuleIndex]) -> Self {
        let (rules, engine) = (rules.to_vec(), AlertEngine::new(rules[0].clone()));
        let (received, ended, verdicts, bytes) = (BTreeMap::new(), vec![], vec![], vec![]);
        Self { engine, rules, variant: 0, now: 0, received, ended, verdicts, bytes }
    }

    fn step(&mut self, step: &Step) {
        let now = time(self.now);
        match step {
            Step::Event { peer, what } => {
                let verdict = self.engine.handle(&what.event(*peer, self.now), now);
                self.verdicts.push(verdict);
            }
            Step::Close { number, seen } => {
                if let Some(key) = self.chosen(*number) {
                    let occurrence = self.received[&key].occurrence;
                    self.engine.close(&key, occurrence, *seen, now);
                }
            }
            Step::Replace(variant) => {
                self.variant = *variant;
                self.engine.replace_rules(self.rules[*variant].clone());
                self.verdicts.clear();
                self.engine.tick(now);
            }
            Step::Restart(down) => {
                self.now += down;
                self.engine = AlertEngine::restore(self.rules[self.variant].clone(), &self.engine.checkpoint()).unwrap();
                self.verdicts.clear();
                self.engine.tick(time(self.now));
            }
            Step::Resend => {
                self.engine.resend_open(now);
            }
            Step::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.now += 1;
                    self.engine.tick(time(self.now));
                }
            }
        }
        self.drain();
    }

    /// The key of one of the open alerts.
    fn chosen(&self, number: usize) -> Option<AlertKey> {
        let open: Vec<_> = self.received.keys().collect();
        (!open.is_empty()).then(|| open[number % open.len()].clone())
    }

    fn drain(&mut self) {
        for alert in self.engine.drain_changes() {
            self.bytes.push(alert.encode());
            match alert.state {
                AlertState::Open => {
                    self.received.insert(alert.key.clone(), alert);
                }
                AlertState::Cleared | AlertState::Closed => {
                    self.received.remove(&alert.key);
                    let cleared_at = alert.cleared_at.map(|at| at.as_secs() - document::START);
                    self.ended.push((alert.key, alert.state, alert.count, cleared_at));
                }
            }
        }
    }

    /// What must be so whatever happened.
    fn check(&self) -> Result<(), TestCaseError> {
        let open: BTreeMap<_, _> = self.engine.open_alerts().map(|alert| (alert.key.clone(), alert)).collect();
        prop_assert_eq!(&self.received, &open, "others know all that is");
        for alert in open.values() {
            let mut above = alert;
            for _ in 0..=open.len() {
                let Some(parent) = &above.course.parent else { break };
                prop_assert!(open.contains_key(parent), "{:?} is folded under {parent:?}, which is not open", above.key);
                above = &open[parent];
            }
            prop_assert!(above.course.parent.is_none(), "{:?} is folded under itself", alert.key);
        }
        let figures = self.engine.figures();
        let count = |verdict| self.verdicts.iter().filter(|one| **one == verdict).count() as u64;
        let wanted =
            [Verdict::Raised, Verdict::Updated, Verdict::Cleared, Verdict::Suppressed, Verdict::Held, Verdict::Unmatched].map(count);
        prop_assert_eq!([figures.raised, figures.updated, figures.cleared, figures.suppressed, figures.held, figures.unmatched], wanted);
        let shown = open.values().filter(|alert| alert.course.parent.is_none() && alert.course.suppressed.is_none()).count();
        prop_assert_eq!((figures.open, figures.shown), (open.len() as u64, shown as u64));
        Ok(())
    }
}

impl Model {
    fn step(&mut self, step: &Step, chosen: Option<&AlertKey>) -> Option<Verdict> {
        match step {
            Step::Event { peer, what } => {
                return Some(match what.outcome(*peer, self.now) {
                    Outcome::Clear { key, clock } => self.clear(&key, clock),
                    Outcome::Raise(report) => self.raise(&report),
                    Outcome::Suppress => Verdict::Suppressed,
                    Outcome::Unmatched => Verdict::Unmatched,
                });
            }
            Step::Close { seen, .. } => chosen.into_iter().for_each(|key| self.close(key, *seen)),
            Step::Replace(variant) => {
                self.variant = VARIANTS[*variant];
                self.settle();
                self.tick();
            }
            Step::Restart(down) => {
                self.now += down;
                self.settle();
                self.away = true;
                self.tick();
            }
            Step::Resend => {}
            Step::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.now += 1;
                    self.tick();
                }
            }
        }
        None
    }

    fn seen(&self) -> BTreeMap<AlertKey, Seen> {
        let seen = |(key, open): (&AlertKey, &reference::Open)| {
            let suppressed = open.suppressed.map(|(id, until)| (id.to_owned(), until));
            let times = (open.first_seen, open.last_seen);
            let seen = (open.rule.to_owned(), open.severity, open.count, times, open.parent.clone(), suppressed, self.is_flapping(key));
            (key.clone(), seen)
        };
        self.open.iter().map(seen).collect()
    }
}

fn seen(alert: &Alert) -> Seen {
    let second = |time: postern_protocol::timestamp::Timestamp| time.as_secs() - document::START;
    let suppressed = alert.course.suppressed.as_ref().map(|by| (by.by.clone(), second(by.until)));
    let times = (second(alert.first_seen), second(alert.last_seen));
    let parent = alert.course.parent.clone();
    (alert.rule.as_str().to_owned(), alert.severity, alert.count, times, parent, suppressed, alert.course.flapping)
}

fn sorted(ends: Vec<End>) -> Vec<String> {
    let mut ends: Vec<_> = ends.iter().map(|end| format!("{end:?}")).collect();
    ends.sort();
    ends
}

/// Runs `test` over sequences, with an index of each document's rules.
fn try_all(name: &str, test: impl Fn(&[Step], &[RuleIndex]) -> Result<(), TestCaseError>) {
    #[expect(clippy::disallowed_methods, reason = "the test asks, not the engine")]
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL_CASES);
    let failures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model.proptest-regressions");
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct(failures)) as _);
    let config = ProptestConfig { cases, failure_persistence, max_shrink_iters: 20_000, ..ProptestConfig::default() };
    let rules: Vec<_> = VARIANTS.iter().map(document::Variant::compile).collect();
    if let Err(error) = TestRunner::new(config).run(&steps(), |steps| test(&steps, &rules)) {
        panic!("{error}");
    }
    println!("{name}: {cases} sequences");
}

#[test]
fn the_engine_does_what_the_model_does() {
    try_all("model", |steps, rules| {
        let (mut rig, mut model) = (Rig::new(rules), Model::new(VARIANTS[0]));
        for (number, step) in steps.iter().enumerate() {
            let chosen = if let Step::Close { number, .. } = step { rig.chosen(*number) } else { None };
            let verdicts = rig.verdicts.len();
            rig.step(step);
            let verdict = model.step(step, chosen.as_ref());
            prop_assert_eq!(rig.verdicts.get(verdicts).copied(), verdict, "step {}, {:?}", number, step);
            let (rig_ended, model_ended) = (sorted(std::mem::take(&mut rig.ended)), sorted(std::mem::take(&mut model.ended)));
            prop_assert_eq!(rig_ended, model_ended, "step {}, {:?}", number, step);
            let (mut engine, mut model): (BTreeMap<_, _>, _) =
                (rig.received.iter().map(|(key, alert)| (key, seen(alert))).collect(), model.seen());
            // What is alike is no news.
            engine.retain(|key, seen| model.get(*key).is_none_or(|other| other != seen) || model.remove(*key).is_none());
            prop_assert_eq!(format!("{engine:#?}"), format!("{model:#?}"), "step {}, {:?}", number, step);
            rig.check()?;
        }
        Ok(())
    });
}

#[test]
fn the_same_sequence_gives_the_same_bytes() {
    try_all("bytes", |steps, rules| {
        let (mut one, mut other) = (Rig::new(rules), Rig::new(rules));
        for step in steps {
            one.step(step);
            other.step(step);
            prop_assert_eq!(&one.bytes, &other.bytes);
            one.bytes.clear();
            other.bytes.clear();
        }
        prop_assert_eq!(one.engine.checkpoint(), other.engine.checkpoint());
        let again = AlertEngine::restore(rules[one.variant].clone(), &one.engine.checkpoint()).unwrap();
        prop_assert_eq!(again.checkpoint(), one.engine.checkpoint());
        Ok(())
    });
}
