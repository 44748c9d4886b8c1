//! A revision on trial: in force, and taken back unless the control plane confirms it in time. Pure: clocks, files, sessions and
//! rules belong to `control`, which feeds what happens and does what is answered.
//!
//! A pushed revision is judged ([`Trial::pushed`]); a good one is kept with its deadline ([`Trial::plan`]), swapped in, and then on
//! trial ([`Input::Swapped`]), unless its self-test fails ([`Input::SelfTestFailed`]). If it changes how the control plane is reached, the session is dropped and only a confirm on a new
//! one counts: it proves that the new way works. Confirming is kept on the disk before it counts ([`Input::ConfirmKept`]). What is
//! not confirmed by the deadline, or lives through [`MAX_UNCLEAN_STARTS`] starts after an unclean stop, is taken back for good: the
//! same number is never tried again.
//!
//! The deadline stands on two clocks. While the program runs, the one since boot decides, so that a jump of the wall clock does
//! neither shorten nor lengthen a trial; after a restart the earlier of both does, because the boot may be another one.

pub mod reason;
#[cfg(test)]
mod tests;

use std::time::Duration;

use postern_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use self::reason::{Check, Reason};

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
    /// A revision was kept as planned and put in force, and failed its self-test.
    SelfTestFailed {
        /// Its number.
        number: u64,
        /// What failed.
        check: Check,
    },
    /// The program stops cleanly.
    Stopping,
    /// A revision was kept as planned, is in force from now on, and stood its self-test.
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
            Input::SelfTestFailed { number, check } => {
                (self.effective, self.newest) = (number, self.newest.max(number));
                self.revert(Reason::SelfTest { check })
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
