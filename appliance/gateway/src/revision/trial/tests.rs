//! A trial's course: confirmed, missed, cut off, restarted, crashed, failed in its self-test.

use super::reason::{Check, Reason};
use super::*;

const START: Moment = Moment { wall: Timestamp::from_secs(1_000_000), since_boot: Duration::from_secs(500) };

fn after(seconds: u64) -> Moment {
    later(START, seconds)
}

fn later(moment: Moment, seconds: u64) -> Moment {
    let wall = Timestamp::from_secs(moment.wall.as_secs().saturating_add(i64::try_from(seconds).unwrap()));
    Moment { wall, since_boot: moment.since_boot + Duration::from_secs(seconds) }
}

/// A gateway with revision 4 confirmed and a session.
fn calm() -> Trial {
    let facts = Facts { newest: 4, effective: 4, confirmed: 4, ..Facts::default() };
    let (mut trial, outputs) = Trial::restore(facts, START);
    assert_eq!(outputs, []);
    assert_eq!(trial.handle(Input::SessionBegan { protocol: 2 }, START), []);
    trial
}

fn swap(trial: &mut Trial, number: u64, way: Way) -> Vec<Output> {
    assert_eq!(trial.pushed(number), Verdict::Apply);
    trial.handle(Input::Swapped { number, kept: Trial::plan(10, START), way }, START)
}

/// What a start finds while revision 5 is on trial.
fn on_trial(unclean_starts: u32, stopped: bool) -> Facts {
    let kept = Kept { unclean_starts, stopped, ..Trial::plan(10, START) };
    Facts { newest: 5, taken_back: false, effective: 5, confirmed: 4, kept: Some(kept) }
}

#[test]
fn a_confirm_ends_the_trial_once_it_is_kept() {
    let mut trial = calm();
    assert_eq!(swap(&mut trial, 5, Way::Same), [Output::TellProvisional { number: 5 }]);
    assert_eq!(trial.handle(Input::Confirm { number: 4 }, after(1)), []);
    assert_eq!(trial.handle(Input::Confirm { number: 5 }, after(1)), [Output::Confirm { number: 5 }]);
    assert_eq!((trial.confirmed(), trial.provisional().map(|(number, _)| number)), (4, Some(5)), "not before it is on the disk");
    assert_eq!(trial.handle(Input::ConfirmKept { number: 5 }, after(1)), [Output::TellApplied { number: 5 }]);
    assert_eq!((trial.confirmed(), trial.effective(), trial.provisional(), trial.poll_timeout()), (5, 5, None, None));
    assert_eq!(trial.handle(Input::Tick, after(100)), []);
}

#[test]
fn without_a_confirm_the_confirmed_one_comes_back_and_the_number_is_not_tried_again() {
    let mut trial = calm();
    swap(&mut trial, 5, Way::Same);
    assert_eq!(trial.handle(Input::Tick, after(9)), []);
    let revert = Output::Revert { from: 5, to: 4, reason: Reason::NotConfirmed { within_s: 10 } };
    assert_eq!(trial.handle(Input::Tick, after(10)), [revert]);
    assert_eq!((trial.effective(), trial.newest()), (4, 5));
    assert_eq!(trial.handle(Input::Confirm { number: 5 }, after(11)), [], "too late");
    assert_eq!(trial.pushed(5), Verdict::TakenBack);
    assert_eq!(trial.handle(Input::SessionBegan { protocol: 2 }, after(12)), [Output::TellReverted { number: 5 }]);
    assert_eq!(trial.pushed(4), Verdict::Older { newest: 5 });
    assert_eq!(trial.pushed(6), Verdict::Apply);
}

#[test]
fn another_way_out_is_proven_only_by_a_new_session() {
    let mut trial = calm();
    assert_eq!(swap(&mut trial, 5, Way::Changed), [Output::TellProvisional { number: 5 }, Output::Redial]);
    assert_eq!(trial.handle(Input::Confirm { number: 5 }, after(1)), [], "said on the session of before");
    assert_eq!(trial.handle(Input::SessionEnded, after(1)), []);
    let mut cut_off = trial.clone();
    assert_eq!(trial.handle(Input::SessionBegan { protocol: 2 }, after(2)), [Output::TellProvisional { number: 5 }]);
    assert_eq!(trial.handle(Input::Confirm { number: 5 }, after(2)), [Output::Confirm { number: 5 }]);
    let revert = Output::Revert { from: 5, to: 4, reason: Reason::NotReached { within_s: 10 } };
    assert_eq!(cut_off.handle(Input::Tick, after(10)), [revert]);
}

#[test]
fn what_one_on_trial_had_to_prove_its_successor_has_to_prove() {
    let mut trial = calm();
    swap(&mut trial, 5, Way::Changed);
    assert_eq!(swap(&mut trial, 6, Way::Same), [Output::TellProvisional { number: 6 }]);
    assert_eq!(trial.handle(Input::Confirm { number: 6 }, after(1)), []);
    assert_eq!(trial.handle(Input::Tick, after(10)), [Output::Revert { from: 6, to: 4, reason: Reason::NotReached { within_s: 10 } }]);
}

#[test]
fn a_control_plane_of_version_1_confirms_by_being_there() {
    let mut trial = calm();
    trial.handle(Input::SessionBegan { protocol: 1 }, START);
    assert_eq!(swap(&mut trial, 5, Way::Same), [Output::Confirm { number: 5 }]);
    trial.handle(Input::ConfirmKept { number: 5 }, START);
    swap(&mut trial, 6, Way::Changed);
    assert_eq!(trial.handle(Input::Answered, after(1)), [], "the session of before");
    trial.handle(Input::SessionBegan { protocol: 1 }, after(2));
    assert_eq!(trial.handle(Input::Answered, after(3)), [Output::Confirm { number: 6 }]);
    let mut newer = calm();
    swap(&mut newer, 5, Way::Same);
    assert_eq!(newer.handle(Input::Answered, after(1)), [], "version 2 says it in words");
}

#[test]
fn a_restart_goes_on_with_the_trial_for_the_time_that_is_left() {
    let (mut trial, outputs) = Trial::restore(on_trial(0, false), after(4));
    assert!(matches!(outputs[..], [Output::Keep(Kept { unclean_starts: 1, .. })]));
    assert_eq!(trial.poll_timeout(), Some(after(10).since_boot));
    assert_eq!(trial.handle(Input::Tick, after(9)), []);
    assert!(matches!(trial.handle(Input::Tick, after(10))[..], [Output::Revert { from: 5, to: 4, .. }]));
}

#[test]
fn a_deadline_that_passed_while_the_program_was_down_counts() {
    let (trial, outputs) = Trial::restore(on_trial(0, true), after(10));
    assert_eq!(outputs, [Output::Revert { from: 5, to: 4, reason: Reason::WhileDown { within_s: 10 } }]);
    assert_eq!((trial.effective(), trial.newest()), (4, 5));
    // Another boot: the machine was off for longer than the trial, whatever its clock since boot says.
    let other_boot = Moment { since_boot: Duration::from_secs(20), ..after(60) };
    assert!(matches!(Trial::restore(on_trial(0, true), other_boot).1[..], [Output::Revert { .. }]));
    let early = Moment { since_boot: Duration::from_secs(20), ..after(4) };
    assert_eq!(Trial::restore(on_trial(0, true), early).0.poll_timeout(), Some(Duration::from_secs(26)));
}

#[test]
fn a_wall_clock_set_back_lengthens_no_trial() {
    let back = Moment { wall: Timestamp::from_secs(10), ..after(4) };
    assert_eq!(Trial::restore(on_trial(0, true), back).0.poll_timeout(), Some(after(10).since_boot));
    let another_boot = Moment { wall: Timestamp::from_secs(10), since_boot: Duration::from_secs(3) };
    assert_eq!(Trial::restore(on_trial(0, true), another_boot).0.poll_timeout(), Some(Duration::from_secs(13)));
    let mut running = calm();
    swap(&mut running, 5, Way::Same);
    let ahead = Moment { wall: Timestamp::from_secs(2_000_000), ..after(4) };
    assert_eq!(running.handle(Input::Tick, ahead), [], "while it runs, a jump of the wall clock does nothing");
}

#[test]
fn what_makes_the_program_die_is_taken_back_at_the_second_start() {
    let (_, outputs) = Trial::restore(on_trial(1, false), after(2));
    assert_eq!(outputs, [Output::Revert { from: 5, to: 4, reason: Reason::Crashes { starts: 2 } }]);
    assert!(matches!(Trial::restore(on_trial(1, true), after(2)).1[..], [Output::Keep(_)]), "clean stops do not count");
    let mut trial = calm();
    swap(&mut trial, 5, Way::Same);
    assert!(matches!(trial.handle(Input::Stopping, after(1))[..], [Output::Keep(Kept { stopped: true, .. })]));
}

#[test]
fn a_crash_while_confirming_or_taking_back_is_finished_at_the_start() {
    let confirming = Facts { confirmed: 5, ..on_trial(0, false) };
    let (mut trial, outputs) = Trial::restore(confirming, after(60));
    assert_eq!(outputs, [Output::Confirm { number: 5 }]);
    assert_eq!(trial.handle(Input::ConfirmKept { number: 5 }, after(60)), [Output::TellApplied { number: 5 }]);
    let taking_back = Facts { taken_back: true, ..on_trial(0, true) };
    assert_eq!(Trial::restore(taking_back, after(1)).1, [Output::Revert { from: 5, to: 4, reason: Reason::Begun }]);
}

#[test]
fn what_cannot_be_used_any_more_gives_way_to_the_confirmed_one_or_to_the_built_in_rules() {
    let (mut trial, _) = Trial::restore(on_trial(0, true), after(1));
    assert_eq!(trial.handle(Input::Unusable, after(1)), [Output::Revert { from: 5, to: 4, reason: Reason::Unusable }]);
    assert_eq!(trial.handle(Input::Unusable, after(1)), []);
    assert_eq!((trial.effective(), trial.newest()), (0, 5));
}

#[test]
fn a_push_of_what_is_in_force_is_answered_with_how_it_stands() {
    let mut trial = calm();
    assert_eq!(trial.pushed(4), Verdict::InForce(Output::TellApplied { number: 4 }));
    swap(&mut trial, 5, Way::Same);
    assert_eq!(trial.pushed(5), Verdict::InForce(Output::TellProvisional { number: 5 }));
}

#[test]
fn a_failed_self_test_takes_the_revision_back_before_anybody_hears_of_it() {
    let mut trial = calm();
    let mut after_another = calm();
    swap(&mut after_another, 5, Way::Changed);
    assert_eq!((trial.pushed(6), after_another.pushed(6)), (Verdict::Apply, Verdict::Apply));
    for trial in [&mut trial, &mut after_another] {
        let reason = Reason::SelfTest { check: Check::Spool };
        let outputs = trial.handle(Input::SelfTestFailed { number: 6, check: Check::Spool }, after(1));
        assert_eq!(outputs, [Output::Revert { from: 6, to: 4, reason }]);
        assert_eq!((trial.effective(), trial.provisional(), trial.poll_timeout()), (4, None, None));
        assert_eq!((trial.pushed(6), trial.pushed(7)), (Verdict::TakenBack, Verdict::Apply));
    }
}
