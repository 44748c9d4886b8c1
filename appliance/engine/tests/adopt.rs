//! What becomes of an alert that a gateway had reported before its disk was set back: one meeting of the two sides at a time.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, OwnReport};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState, Severity};
use postern_protocol::timestamp::Timestamp;

const KIND: &str = "k";

fn second(second: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

fn raise(engine: &mut AlertEngine, at: i64) {
    let kind = KIND.to_owned();
    let report =
        OwnReport { kind, qualifier: String::new(), severity: Severity::Major, summary: format!("at {at}"), labels: BTreeMap::new() };
    engine.own(report, second(at));
}

/// The only record of the only change.
#[track_caller]
fn change(engine: &mut AlertEngine) -> Alert {
    let mut changes = engine.drain_changes();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    changes.pop().unwrap()
}

/// The only open alert.
#[track_caller]
fn open(engine: &AlertEngine) -> Alert {
    let mut open: Vec<_> = engine.open_alerts().collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    open.pop().unwrap()
}

/// Two lives of one disk that kept an alert of second 0: the first goes on, and is forgotten when the disk is set back to the second.
fn lives() -> (AlertEngine, AlertEngine) {
    let rules = || RuleIndex::built_in().unwrap();
    let mut forgotten = AlertEngine::new(rules());
    raise(&mut forgotten, 0);
    change(&mut forgotten);
    let kept = AlertEngine::restore(rules(), &forgotten.checkpoint()).unwrap();
    (forgotten, kept)
}

/// Adopts twice, as after a session that was cut off; returns what is to be sent.
fn adopt(engine: &mut AlertEngine, theirs: &Alert) -> Vec<Alert> {
    engine.drain_changes();
    engine.adopt(theirs.clone(), second(100));
    let changes = engine.drain_changes();
    let before: Vec<_> = engine.open_alerts().collect();
    engine.adopt(theirs.clone(), second(101));
    assert_eq!(engine.drain_changes(), [], "it changes something the second time");
    assert_eq!(engine.open_alerts().collect::<Vec<_>>(), before);
    changes
}

#[test]
fn what_the_disk_forgot_is_taken_as_it_was_reported() {
    let (mut forgotten, mut kept) = lives();
    raise(&mut forgotten, 10);
    let theirs = change(&mut forgotten);
    assert_eq!(adopt(&mut kept, &theirs), []);
    assert_eq!(open(&kept), theirs);
    // Nothing at all was kept: the same.
    let mut empty = AlertEngine::new(RuleIndex::built_in().unwrap());
    assert_eq!(adopt(&mut empty, &theirs), []);
    assert_eq!(open(&empty), theirs);
    assert!(empty.last_revision() >= theirs.revision, "a revision is given out twice");
}

#[test]
fn an_end_that_the_disk_forgot_ends_what_it_had_kept() {
    let (mut forgotten, mut kept) = lives();
    forgotten.own_clear(KIND, "", second(10));
    let theirs = change(&mut forgotten);
    // That it is sent again meanwhile makes it no newer.
    kept.resend_open(second(50));
    assert_eq!(adopt(&mut kept, &theirs), []);
    assert_eq!(kept.open_count(), 0);
}

#[test]
fn an_occurrence_that_the_disk_forgot_and_that_lasts_is_gone_on_with() {
    let (mut forgotten, mut kept) = lives();
    forgotten.own_clear(KIND, "", second(10));
    raise(&mut forgotten, 11);
    raise(&mut forgotten, 12);
    let theirs = forgotten.drain_changes().pop().unwrap();
    assert_eq!((theirs.state, theirs.count), (AlertState::Open, 2));
    raise(&mut kept, 20);
    let ours = change(&mut kept);
    assert!(ours.revision > theirs.revision && ours.occurrence < theirs.occurrence, "this is what others pass over");
    let sent = adopt(&mut kept, &theirs);
    assert_eq!(sent, [open(&kept)]);
    let merged = open(&kept);
    assert!(merged.revision > ours.revision);
    assert_eq!((merged.occurrence, merged.count, merged.summary.as_str()), (theirs.occurrence, 3, "at 20"));
}

#[test]
fn a_report_after_an_end_that_the_disk_forgot_is_a_new_occurrence() {
    for second_life in [false, true] {
        let (mut forgotten, mut kept) = lives();
        if second_life {
            forgotten.own_clear(KIND, "", second(10));
            raise(&mut forgotten, 11);
        }
        forgotten.own_clear(KIND, "", second(12));
        let theirs = forgotten.drain_changes().pop().unwrap();
        assert_eq!(theirs.state, AlertState::Cleared);
        raise(&mut kept, 20);
        let sent = adopt(&mut kept, &theirs);
        assert_eq!(sent, [open(&kept)]);
        let ours = open(&kept);
        assert!(ours.occurrence > theirs.occurrence && ours.occurrence == ours.revision && ours.first_seen == ours.last_seen);
        assert_eq!((ours.state, ours.count), (AlertState::Open, 1));
    }
}

#[test]
fn an_occurrence_that_began_by_a_clock_that_is_behind_is_kept() {
    let (mut forgotten, mut kept) = lives();
    forgotten.own_clear(KIND, "", second(90));
    let theirs = change(&mut forgotten);
    kept.own_clear(KIND, "", second(19));
    raise(&mut kept, 20);
    let ours = open(&kept);
    assert!(ours.occurrence > theirs.occurrence && ours.revision < theirs.revision);
    let sent = adopt(&mut kept, &theirs);
    assert_eq!(sent, [open(&kept)]);
    assert!(open(&kept).revision > theirs.revision && open(&kept).occurrence == ours.occurrence);
}

#[test]
fn an_end_after_that_stays_an_end_over_a_restart_too() {
    let (mut forgotten, mut kept) = lives();
    raise(&mut forgotten, 10);
    let theirs = change(&mut forgotten);
    let rules = || RuleIndex::built_in().unwrap();
    let mut replayed = AlertEngine::restore(rules(), &kept.checkpoint()).unwrap();
    kept.own_clear(KIND, "", second(20));
    let ended = change(&mut kept);
    assert_eq!(ended.state, AlertState::Cleared);
    let restored = AlertEngine::restore(rules(), &kept.checkpoint()).unwrap();
    replayed.apply(ended);
    for mut engine in [kept, restored, replayed] {
        assert_eq!(adopt(&mut engine, &theirs), []);
        assert_eq!(engine.open_count(), 0);
    }
}

#[test]
fn nobody_closes_a_report_that_they_have_not_seen() {
    let (mut forgotten, mut kept) = lives();
    (10..15).for_each(|at| raise(&mut forgotten, at));
    let theirs = change(&mut forgotten);
    raise(&mut kept, 20);
    adopt(&mut kept, &theirs);
    kept.close(&theirs.key, theirs.occurrence, theirs.count, second(110));
    assert_eq!(kept.open_count(), 1, "the report of second 20 is gone");
}
