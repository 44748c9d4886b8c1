//! A revision on trial: in force, and taken back unless the control plane confirms it in time. Pure: clocks, files, sessions and
//! rules belong to `control`, which feeds what happens and does what is answered.
//!
//! A pushed revision is judged ([`Trial::pushed`]); a good one is kept with its deadline ([`Trial::plan`]), swapped in, and then on
//! trial ([`Input::Swapped`]). If it changes how the control plane is reached, the session is dropped and only a confirm on a new
//! one counts: it proves that the new way works. Confirming is kept on the disk before it counts ([`Input::ConfirmKept`]). What is
//! not confirmed by the deadline, or lives through [`MAX_UNCLEAN_STARTS`] starts after an unclean stop, is taken back for good: the
//! same number is never tried again.
//!
//! The deadline stands on two clocks. While the program runs, the one since boot decides, so that a jump of the wall clock does
//! neither shorten nor lengthen a trial; after a restart the earlier of both does, because the boot may be another one.

use std::fmt;
use std::time::Duration;

use postern_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// Starts after an unclean stop that take a revision on trial back: it may be what makes the program die.
pub const MAX_UNCLEAN_STARTS: u32 = 2;

/// The last protocol version that knows no confirm: an answered heartbeat stands for it.
const WITHOUT_CONFIRM: u32 = 1;

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since boot, suspension included.
    pub since_boot: Duration,
}

/// What lies on the disk with a revision on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When it is taken back, nanoseconds since the Unix epoch.
    pub until: i64,
    /// The same, milliseconds since the boot in which it was put in force.
    pub until_since_boot_ms: u64,
    /// How long it has, seconds.
    pub within_s: u32,
    /// Starts that followed an unclean stop.
    pub unclean_starts: u32,
    /// Whether the program stopped cleanly since.
    pub stopped: bool,
}

/// What lies on the disk at a start; 0 stands for the built-in rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The newest number that was ever taken in.
    pub newest: u64,
    /// Whether that one was taken back.
    pub taken_back: bool,
    /// The one in force.
    pub effective: u64,
    /// The last one that was confirmed.
    pub confirmed: u64,
    /// Kept with the one in force, if it was on trial.
    pub kept: Option<Kept>,
}

/// Whether a revision changes how the control plane is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It does.
    Changed,
    /// It does not.
    Same,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The control plane answered a heartbeat.
    Answered,
    /// The control plane confirms a revision.
    Confirm {
        /// Its number.
        number: u64,
    },
    /// The revision lies on the disk as the confirmed one.
    ConfirmKept {
        /// Its number.
        number: u64,
    },
    /// A session began.
    SessionBegan {
        /// The version that it uses.
        protocol: u32,
    },
    /// It ended.
    SessionEnded,
    /// The program stops cleanly.
    Stopping,
    /// A revision was kept as planned, and is in force from now on.
    Swapped {
        /// Its number.
        number: u64,
        /// As planned.
        kept: Kept,
        /// Whether the control plane is reached another way.
        way: Way,
    },
    /// Time went by.
    Tick,
    /// What is in force cannot be used any more; the built-in rules are, unless it was on trial.
    Unusable,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Keep the revision in force as the confirmed one, then say [`Input::ConfirmKept`].
    Confirm {
        /// Its number.
        number: u64,
    },
    /// Keep this with the revision in force.
    Keep(Kept),
    /// Drop the session and dial by the settings of the revision in force.
    Redial,
    /// Put `to` in force and keep it so, `from` never again.
    Revert {
        /// The revision that is taken back.
        from: u64,
        /// The confirmed one; 0 for the built-in rules.
        to: u64,
        /// Why.
        reason: Reason,
    },
    /// Tell the control plane that the revision is in force and stays.
    TellApplied {
        /// Its number.
        number: u64,
    },
    /// Tell the control plane that the revision is in force and waits for its confirm.
    TellProvisional {
        /// Its number.
        number: u64,
    },
    /// Tell the control plane again that the newest revision was taken back.
    TellReverted {
        /// Its number.
        number: u64,
    },
}

/// Why a revision was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Taking it back had begun before the program ended.
    Begun,
    /// The program died again and again with it.
    Crashes {
        /// Starts after unclean stops.
        starts: u32,
    },
    /// The control plane was reached, and did not confirm it.
    NotConfirmed {
        /// How long it had, seconds.
        within_s: u32,
    },
    /// The control plane could not be reached.
    NotReached {
        /// How long it had, seconds.
        within_s: u32,
    },
    /// It cannot be used any more.
    Unusable,
    /// The program was not running, or just starting, when its time ended.
    WhileDown {
        /// How long it had, seconds.
        within_s: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun => out.write_str("it was being taken back when the gateway stopped"),
            Self::Crashes { starts } => {
                write!(out, "the gateway stopped uncleanly and was started again {starts} times while the revision was on trial")
            }
            Self::NotConfirmed { within_s } => {
                write!(out, "the control plane was reached but did not confirm the revision within {within_s} s")
            }
            Self::NotReached { within_s } => {
                write!(out, "the control plane was not reached within {within_s} s with this revision in force: check its uplink section")
            }
            Self::Unusable => out.write_str("it could not be used any more when the gateway started again"),
            Self::WhileDown { within_s } => {
                write!(out, "the revision's {within_s} s to be confirmed ended while the gateway was not running")
            }
        }
    }
}

/// What is to be done with an authentic pushed revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Compile it, and try it.
    Apply,
    /// It is in force: tell how.
    InForce(Output),
    /// A newer one was taken in before.
    Older {
        /// That one.
        newest: u64,
    },
    /// It was tried and taken back.
    TakenBack,
}

/// Which revision is in force, which one it falls back to, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    newest: u64,
    taken_back: bool,
    effective: u64,
    confirmed: u64,
    on: Option<OnTrial>,
    /// The version that the present session uses.
    session: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OnTrial {
    kept: Kept,
    /// When it is taken back, since boot.
    deadline: Duration,
    waits_for: WaitsFor,
}

/// What a revision on trial lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    Confirm,
    /// Whatever is said on the session of before proves nothing.
    NewSession,
}

impl Trial {
    /// Begins with what a start found on the disk; any session is a new one then.
    pub fn restore(facts: Facts, now: Moment) -> (Self, Vec<Output>) {
        let Facts { newest, taken_back, effective, confirmed, kept } = facts;
        let newest = newest.max(effective).max(confirmed);
        let mut trial = Self { newest, taken_back, effective, confirmed, on: None, session: None };
        let Some(mut kept) = kept else { return (trial, Vec::new()) };
        if effective == confirmed {
            // Confirming was under way: the confirmed slot is written first.
            return (trial, vec![Output::Confirm { number: effective }]);
        }
        if !kept.stopped {
            kept.unclean_starts = kept.unclean_starts.saturating_add(1);
        }
        kept.stopped = false;
        let left = kept.left(now);
        let reason = if taken_back && newest == effective {
            Some(Reason::Begun)
        } else if left.is_zero() {
            Some(Reason::WhileDown { within_s: kept.within_s })
        } else if kept.unclean_starts >= MAX_UNCLEAN_STARTS {
            Some(Reason::Crashes { starts: kept.unclean_starts })
        } else {
            None
        };
        if let Some(reason) = reason {
            let outputs = trial.revert(reason);
            return (trial, outputs);
        }
        let deadline = now.since_boot.saturating_add(left);
        trial.on = Some(OnTrial { kept, deadline, waits_for: WaitsFor::Confirm });
        (trial, vec![Output::Keep(kept)])
    }

    /// Judges an authentic pushed revision, and remembers its number when it is to be applied.
    pub const fn pushed(&mut self, number: u64) -> Verdict {
        if number < self.newest {
            return Verdict::Older { newest: self.newest };
        }
        if number == self.effective {
            return Verdict::InForce(match self.on {
                Some(_) => Output::TellProvisional { number },
                None => Output::TellApplied { number },
            });
        }
        if number == self.newest && self.taken_back {
            return Verdict::TakenBack;
        }
        self.newest = number;
        self.taken_back = false;
        Verdict::Apply
    }

    /// Returns what has to lie on the disk with a revision before it is swapped in.
    pub fn plan(within_s: u32, now: Moment) -> Kept {
        let within = Duration::from_secs(u64::from(within_s));
        Kept {
            until: now.wall.as_nanos().saturating_add(i64::try_from(within.as_nanos()).unwrap_or(i64::MAX)),
            until_since_boot_ms: millis(now.since_boot.saturating_add(within)),
            within_s,
            unclean_starts: 0,
            stopped: false,
        }
    }

    /// Takes in what happened and returns what is to be done.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Output> {
        match input {
            Input::Answered => match &self.on {
                Some(OnTrial { waits_for: WaitsFor::Confirm, .. }) if self.session.is_some_and(|protocol| protocol <= WITHOUT_CONFIRM) => {
                    vec![Output::Confirm { number: self.effective }]
                }
                Some(_) | None => Vec::new(),
            },
            Input::Confirm { number } => match &self.on {
                Some(OnTrial { waits_for: WaitsFor::Confirm, .. }) if number == self.effective => vec![Output::Confirm { number }],
                Some(_) | None => Vec::new(),
            },
            Input::ConfirmKept { number } => self.confirm_kept(number),
            Input::SessionBegan { protocol } => self.session_began(protocol),
            Input::SessionEnded => {
                self.session = None;
                Vec::new()
            }
            Input::Stopping => self.stopping(),
            Input::Swapped { number, kept, way } => self.swapped(number, kept, way),
            Input::Tick => match self.on {
                Some(on) if now.since_boot >= on.deadline => self.revert(on.missed(self.session)),
                Some(_) | None => Vec::new(),
            },
            Input::Unusable if self.on.is_some() => self.revert(Reason::Unusable),
            Input::Unusable => {
                self.effective = 0;
                Vec::new()
            }
        }
    }

    /// Returns when a [`Input::Tick`] is wanted, since boot.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.on.map(|on| on.deadline)
    }

    /// Returns the number in force; 0 for the built-in rules.
    pub const fn effective(&self) -> u64 {
        self.effective
    }

    /// Returns the number that was confirmed last; 0 for the built-in rules.
    pub const fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Returns the newest number that was ever taken in.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns the revision on trial, and what is kept of its trial.
    pub fn provisional(&self) -> Option<(u64, Kept)> {
        self.on.map(|on| (self.effective, on.kept))
    }

    fn confirm_kept(&mut self, number: u64) -> Vec<Output> {
        if number != self.effective {
            return Vec::new();
        }
        self.on = None;
        self.confirmed = number;
        vec![Output::TellApplied { number }]
    }

    fn session_began(&mut self, protocol: u32) -> Vec<Output> {
        self.session = Some(protocol);
        match &mut self.on {
            Some(on) => {
                on.waits_for = WaitsFor::Confirm;
                vec![Output::TellProvisional { number: self.effective }]
            }
            None if self.taken_back => vec![Output::TellReverted { number: self.newest }],
            None => Vec::new(),
        }
    }

    fn stopping(&mut self) -> Vec<Output> {
        let Some(on) = &mut self.on else { return Vec::new() };
        on.kept.stopped = true;
        vec![Output::Keep(on.kept)]
    }

    fn swapped(&mut self, number: u64, kept: Kept, way: Way) -> Vec<Output> {
        // What one on trial had still to prove, its successor has to prove.
        let unproven = self.on.is_some_and(|on| on.waits_for == WaitsFor::NewSession);
        let waits_for = if way == Way::Changed || unproven { WaitsFor::NewSession } else { WaitsFor::Confirm };
        let deadline = Duration::from_millis(kept.until_since_boot_ms);
        (self.effective, self.newest) = (number, self.newest.max(number));
        self.on = Some(OnTrial { kept, deadline, waits_for });
        match (way, waits_for, self.session) {
            (Way::Changed, ..) => vec![Output::TellProvisional { number }, Output::Redial],
            // Such a control plane confirms nothing, and hears this revision's outcome on the very session that brought it.
            (Way::Same, WaitsFor::Confirm, Some(protocol)) if protocol <= WITHOUT_CONFIRM => vec![Output::Confirm { number }],
            (Way::Same, ..) => vec![Output::TellProvisional { number }],
        }
    }

    fn revert(&mut self, reason: Reason) -> Vec<Output> {
        let (from, to) = (self.effective, self.confirmed);
        self.taken_back = self.taken_back || from == self.newest;
        (self.effective, self.on) = (to, None);
        vec![Output::Revert { from, to, reason }]
    }
}

impl OnTrial {
    const fn missed(&self, session: Option<u32>) -> Reason {
        let within_s = self.kept.within_s;
        match (self.waits_for, session) {
            (WaitsFor::Confirm, Some(_)) => Reason::NotConfirmed { within_s },
            (WaitsFor::Confirm, None) | (WaitsFor::NewSession, _) => Reason::NotReached { within_s },
        }
    }
}

impl Kept {
    /// Returns how long the trial still lasts by the stricter clock. The clock since boot has no say when it stands before the
    /// trial's beginning: that was another boot.
    fn left(&self, now: Moment) -> Duration {
        let within = Duration::from_secs(u64::from(self.within_s));
        let wall = Timestamp::from_nanos(self.until).saturating_since(now.wall).min(within);
        let until = Duration::from_millis(self.until_since_boot_ms);
        if now.since_boot.saturating_add(within) < until { wall } else { wall.min(until.saturating_sub(now.since_boot)) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
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
}
