//! Every rule of every pack fires on its test event, and on nothing else there; and seldom enough on real log files.
//!
//! `protocol/packs/tests/PACK.json` has the test events, `logs.json` how often each rule fires on which log file. `COVERAGE.md` lists
//! what the packs know: `UPDATE_GOLDEN=1 cargo test -p postern-engine --test packs` writes it.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the engine knows no files and no global state; its tests do")]

mod coverage;
mod logs;
mod sample;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use postern_engine::alert::AlertEngine;
use postern_engine::event::Event;
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState};
use postern_protocol::dictionary::{Dictionary, built_in};
use postern_protocol::revision::document::{Action, Document, Rule};
use postern_protocol::revision::{self, pack};
use postern_protocol::timestamp::Timestamp;

use self::sample::Sample;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Where the packs lie.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/packs")
}

fn document() -> Document {
    revision::parse(revision::BUILT_IN.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let rules = pack::rules(&document()).unwrap_or_else(|problems| panic!("{problems:#?}"));
        rules.into_iter().map(|meant| meant.rule).collect()
    });
    &RULES
}

/// The built-in rules, compiled once: in a test build that takes a while.
fn index() -> RuleIndex {
    static INDEX: LazyLock<RuleIndex> = LazyLock::new(|| RuleIndex::built_in().unwrap_or_else(|problems| panic!("{problems:#?}")));
    INDEX.clone()
}

/// The test events of a pack.
fn samples(pack: &str) -> Vec<Sample> {
    let text = std::fs::read_to_string(folder().join(format!("tests/{pack}.json"))).unwrap_or_else(|error| panic!("{pack}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{pack}: {error}"))
}

/// An engine under the built-in document, and its time.
struct Rig {
    engine: AlertEngine,
    now: Timestamp,
}

impl Rig {
    fn new() -> Self {
        let mut engine = AlertEngine::new(index());
        engine.replace_dictionary(Arc::new(Dictionary::new(vec![Arc::new(built_in::table())])));
        Self { engine, now: NOW }
    }

    /// Handles the event of a sample so often as it says, a second apart; returns the alerts that changed.
    fn handle(&mut self, sample: &Sample) -> Vec<Alert> {
        for _ in 0..sample.times.max(1) {
            self.now = Timestamp::from_secs(self.now.as_secs() + 1);
            let event: Event = sample.event(self.now);
            self.engine.handle(&event, self.now);
        }
        self.engine.drain_changes()
    }
}

#[test]
fn every_pack_of_the_folder_is_in_the_program_and_in_the_built_in_document() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    let known: BTreeSet<String> = pack::known().map(|(id, _)| id.to_owned()).collect();
    assert_eq!(files, known);
    let used: BTreeSet<String> = document().packs.into_iter().map(|pack| pack.id).collect();
    assert_eq!(used, known);
}

#[test]
fn every_rule_has_a_test_event_and_says_what_it_is_for() {
    let tested: BTreeSet<String> = pack::known().flat_map(|(id, _)| samples(id)).map(|sample| sample.rule).collect();
    let missing: Vec<_> = rules().iter().map(|rule| rule.id.as_str().to_owned()).filter(|id| !tested.contains(id)).collect();
    assert!(missing.is_empty(), "rules without a test event: {missing:#?}");
    for rule in rules() {
        assert!(rule.description.len() >= 12, "{} says not what it is for", rule.id);
    }
}

#[test]
fn each_rule_fires_on_its_event_and_on_nothing_else() {
    let mut faults = Vec::new();
    for (pack, _) in pack::known() {
        for (number, sample) in samples(pack).into_iter().enumerate() {
            if let Err(fault) = try_sample(&sample) {
                faults.push(format!("{pack} #{number} {}: {fault}", sample.rule));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn try_sample(sample: &Sample) -> Result<(), String> {
    let mut rig = Rig::new();
    if let Some(before) = &sample.after {
        let raised = rig.handle(before);
        if raised.iter().all(|alert| alert.state != AlertState::Open) {
            return Err("the event before it raises nothing".to_owned());
        }
    }
    let changes = rig.handle(sample);
    let rule = rules().iter().find(|rule| rule.id.as_str() == sample.rule).ok_or("there is no such rule")?;
    let (wanted, state) = match (&sample.raises, &sample.clears) {
        (Some(wanted), None) => (wanted, AlertState::Open),
        (None, Some(wanted)) => (wanted, AlertState::Cleared),
        (None, None) if matches!(rule.then, Action::Suppress {}) => {
            return if changes.is_empty() { Ok(()) } else { Err(format!("it suppresses, and yet {changes:#?}")) };
        }
        _ => return Err("a test event either raises or clears".to_owned()),
    };
    // A rule that says `continue` leaves the event to others, too.
    let own = |alert: &&Alert| !rule.continues || alert.key.kind == wanted.kind;
    let changed: Vec<_> = changes.iter().filter(own).collect();
    let [alert] = changed.as_slice() else { return Err(format!("one alert was to change, not {changes:#?}")) };
    if alert.state != state {
        return Err(format!("it is {} and not {}", alert.state.name(), state.name()));
    }
    let key = [&alert.key.resource, &alert.key.kind, &alert.key.qualifier];
    if key != [&wanted.resource, &wanted.kind, &wanted.qualifier] {
        return Err(format!("its key is {key:?}"));
    }
    if state == AlertState::Cleared {
        return Ok(());
    }
    if alert.rule.as_str() != sample.rule {
        return Err(format!("{} raised it", alert.rule));
    }
    match &wanted.severity {
        Some(severity) if *severity != alert.severity => Err(format!("its severity is {}", alert.severity)),
        None => Err("say which severity it has".to_owned()),
        Some(_) if alert.summary.contains(" - ") || alert.summary.ends_with('-') => Err(format!("something is missing: {}", alert.summary)),
        Some(_) => Ok(()),
    }
}
