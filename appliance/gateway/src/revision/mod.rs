//! Revisions: verified, parsed whole, checked against the veto, kept, and put in force on trial; or refused with every problem.
//!
//! The order is: signature, newest slot, parse and compile, effective slot with its trial, swap in the pipeline; then the confirmed
//! slot, or back to it. A crash between two steps is mended at the next start (see `trial`) or by the cloud, which sends a revision
//! again that is newest and not in force. `control` drives all this.

pub(crate) mod compile;
pub(crate) mod signers;
mod store;
#[cfg(test)]
mod tests;
pub mod trial;
pub(crate) mod veto;
pub(crate) mod way_out;

use std::path::Path;

use postern_protocol::id::RevisionNumber;
use postern_protocol::message::SignedRevision;
use postern_protocol::revision::Problem;
use postern_protocol::revision::document::Document;
use postern_protocol::status::{self, Provisional};

use self::compile::{Compiled, Refusal, built_in, compile, whole};
use self::signers::Signers;
use self::store::{Slot, Store, Stored};
use self::trial::reason::Reason;
use self::trial::{Facts, Input, Kept, Moment, Output, Trial, Verdict};
use self::veto::Veto;

pub use self::store::StoreError;

/// Whether stored and pushed revisions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Normal,
    /// The last confirmed one stays in force, whatever comes: for a gateway that a revision has made unusable.
    Safe,
}

/// Why there are no rules to start with.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The built-in rules do not compile: a fault of the program.
    #[error("the built-in rules are not valid: {}", .0.first().map_or("", |problem| problem.reason.as_str()))]
    BuiltIn(Vec<Problem>),
    /// The directory cannot be used.
    #[error("revisions cannot be kept")]
    Store(#[from] StoreError),
}

/// The revisions of this gateway.
pub(crate) struct Revisions {
    store: Store,
    signers: Signers,
    veto: Veto,
    mode: Mode,
    newest: Option<Stored>,
    /// `None` for the built-in rules, as with the next one.
    effective: Option<SignedRevision>,
    confirmed: Option<SignedRevision>,
    desired: Option<u64>,
    failed: Option<status::FailedRevision>,
    trial: Trial,
}

/// A revision that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenBack {
    /// It.
    pub(crate) from: u64,
    /// The one in force again; 0 for the built-in rules.
    pub(crate) to: u64,
    /// Why.
    pub(crate) reason: Reason,
}

/// With what revisions are opened.
pub(crate) struct Opening {
    /// Who may sign.
    pub(crate) signers: Signers,
    /// What the site forbids.
    pub(crate) veto: Veto,
    /// Whether they are used.
    pub(crate) mode: Mode,
    /// The present moment.
    pub(crate) now: Moment,
}

/// What to start with.
pub(crate) struct Start {
    /// What is in force.
    pub(crate) compiled: Compiled,
    /// What the start took back.
    pub(crate) taken_back: Option<TakenBack>,
}

/// What is to be done with a pushed revision.
pub(crate) enum Step {
    /// It is authentic and new: compile it with [`compile`].
    Compile,
    /// It is in force already: tell so.
    InForce(Output),
    /// It is refused.
    Refused(Refusal),
    /// It was on trial and was taken back, for these reasons: tell so.
    TakenBack(Vec<Problem>),
}

impl Revisions {
    /// Opens what is kept in `dir`, and returns what to start with: the effective revision when it is still good and its trial
    /// goes on, else the confirmed one, else the built-in rules.
    ///
    /// # Errors
    /// [`RevisionError`].
    pub(crate) fn open(dir: &Path, opening: Opening) -> Result<(Self, Start), RevisionError> {
        let Opening { signers, veto, mode, now } = opening;
        let store = Store::open(dir)?;
        let newest = store.read(Slot::Newest);
        let failed = newest.as_ref().filter(|newest| !newest.problems.is_empty());
        let failed = failed.map(|newest| failure(newest.signed.number, newest.problems.clone()));
        let (effective, confirmed) = (store.read(Slot::Effective), store.read(Slot::Confirmed));
        let kept = effective.as_ref().and_then(|effective| effective.trial).filter(|_| mode == Mode::Normal);
        // Without a trial, what is in force was confirmed: the confirmed slot is written first, and older programs had none.
        let settled = effective.as_ref().filter(|effective| effective.trial.is_none()).cloned();
        let confirmed = settled.or(confirmed).map(|stored| stored.signed);
        let effective = effective.map(|stored| stored.signed).filter(|_| mode == Mode::Normal).or_else(|| confirmed.clone());
        let number = |signed: &Option<SignedRevision>| signed.as_ref().map_or(0, |signed| signed.number);
        let facts = Facts {
            newest: newest.as_ref().map_or(0, |newest| newest.signed.number),
            taken_back: newest.as_ref().is_some_and(|newest| newest.taken_back),
            effective: number(&effective),
            confirmed: number(&confirmed),
            kept,
        };
        let (trial, outputs) = Trial::restore(facts, now);
        let desired = newest.as_ref().map(|newest| newest.signed.number);
        let mut revisions = Self { store, signers, veto, mode, newest, effective, confirmed, desired, failed, trial };
        let mut taken_back = revisions.at_start(outputs, now);
        loop {
            let Some(signed) = &revisions.effective else {
                let compiled = built_in(&revisions.veto)?;
                return Ok((revisions, Start { compiled, taken_back }));
            };
            match revisions.check(signed) {
                Ok(compiled) => return Ok((revisions, Start { compiled, taken_back })),
                Err(refusal) => {
                    let (number, problems) = (signed.number, refusal.problems().to_vec());
                    let reason = problems.first().map_or("", |problem| problem.reason.as_str());
                    tracing::error!(revision = number, reason, "the stored revision is not usable: what was in force before it is again");
                    let outputs = revisions.trial.handle(Input::Unusable, now);
                    match revisions.at_start(outputs, now) {
                        Some(another) => taken_back = Some(another),
                        None => revisions.effective = None,
                    }
                    revisions.failed = Some(failure(number, problems));
                }
            }
        }
    }

    /// Does what a start wants done; what cannot be kept is told, and done again at the next start.
    fn at_start(&mut self, outputs: Vec<Output>, now: Moment) -> Option<TakenBack> {
        let mut taken_back = None;
        for output in outputs {
            let kept = match output {
                Output::Confirm { number } => {
                    let kept = self.keep_confirmed();
                    if kept.is_ok() {
                        // What it tells, the greeting tells too.
                        let _told = self.trial.handle(Input::ConfirmKept { number }, now);
                    }
                    kept
                }
                Output::Keep(kept) => self.keep_trial(kept),
                Output::Revert { from, to, reason } => {
                    taken_back = Some(TakenBack { from, to, reason });
                    self.take_back(from, reason)
                }
                Output::Redial | Output::TellApplied { .. } | Output::TellProvisional { .. } | Output::TellReverted { .. } => Ok(()),
            };
            if let Err(error) = kept {
                tracing::error!(error = %crate::chain(&error), "how a revision's trial stands cannot be kept");
            }
        }
        taken_back
    }

    /// Looks at a pushed revision; keeps its number when it is authentic and new, so that numbers are never rewound.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be kept.
    pub(crate) fn begin(&mut self, signed: &SignedRevision) -> Result<Step, StoreError> {
        let refuse = |reason: String| Ok(Step::Refused(Refusal::whole(reason)));
        if !self.signers.verify(signed) {
            return refuse("the signature does not fit this gateway, number and document".to_owned());
        }
        if self.mode == Mode::Safe && signed.number > self.trial.newest() {
            self.desired = Some(signed.number);
            return refuse("the gateway runs in safe mode with its last confirmed revision; start it without --safe".to_owned());
        }
        match self.trial.pushed(signed.number) {
            Verdict::Apply if self.mode == Mode::Safe => {
                refuse("the gateway runs in safe mode with its last confirmed revision; start it without --safe".to_owned())
            }
            Verdict::Apply => {
                self.desired = Some(signed.number);
                let stored = Stored::new(signed.clone());
                self.store.write(Slot::Newest, &stored)?;
                self.newest = Some(stored);
                Ok(Step::Compile)
            }
            Verdict::InForce(how) => {
                self.desired = Some(signed.number);
                Ok(Step::InForce(how))
            }
            Verdict::Older { newest } => refuse(format!("revision {newest} was taken in already; an older one is not applied")),
            Verdict::TakenBack => {
                let problems = self.newest.as_ref().map(|newest| newest.problems.clone()).unwrap_or_default();
                Ok(Step::TakenBack(problems))
            }
        }
    }

    /// Keeps a revision as the one in force, on trial; returns the trial to be told with [`Input::Swapped`].
    ///
    /// # Errors
    /// [`StoreError`]; the one before stays in force.
    pub(crate) fn put_in_force(&mut self, signed: SignedRevision, within_s: u32, now: Moment) -> Result<Kept, StoreError> {
        let kept = Trial::plan(within_s, now);
        self.store.write(Slot::Effective, &Stored { trial: Some(kept), ..Stored::new(signed.clone()) })?;
        self.effective = Some(signed);
        self.failed = None;
        Ok(kept)
    }

    /// Tells the trial what happened; returns what is to be done.
    pub(crate) fn handle(&mut self, input: Input, now: Moment) -> Vec<Output> {
        self.trial.handle(input, now)
    }

    /// Returns the trial.
    pub(crate) const fn trial(&self) -> &Trial {
        &self.trial
    }

    /// Keeps the revision in force as the confirmed one.
    ///
    /// # Errors
    /// [`StoreError`]; it stays on trial.
    pub(crate) fn keep_confirmed(&mut self) -> Result<(), StoreError> {
        let Some(signed) = self.effective.clone() else { return Ok(()) };
        let stored = Stored::new(signed.clone());
        self.store.write(Slot::Confirmed, &stored)?;
        self.confirmed = Some(signed);
        if let Err(error) = self.store.write(Slot::Effective, &stored) {
            // The confirmed slot is what counts: the next start finishes this.
            tracing::warn!(error = %crate::chain(&error), "the end of a trial cannot be kept with the revision in force");
        }
        Ok(())
    }

    /// Keeps how the trial of the revision in force stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn keep_trial(&mut self, kept: Kept) -> Result<(), StoreError> {
        let Some(signed) = self.effective.clone() else { return Ok(()) };
        self.store.write(Slot::Effective, &Stored { trial: Some(kept), ..Stored::new(signed) })
    }

    /// Makes the confirmed revision the one in force, for good: `from` is never tried again.
    ///
    /// # Errors
    /// [`StoreError`]; the confirmed one is in force all the same, and the next start takes `from` back again.
    pub(crate) fn take_back(&mut self, from: u64, reason: Reason) -> Result<(), StoreError> {
        let problems = whole(reason.to_string());
        self.failed = Some(failure(from, problems.clone()));
        self.effective.clone_from(&self.confirmed);
        let mut kept = Ok(());
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.signed.number == from) {
            (newest.problems, newest.taken_back) = (problems, true);
            kept = self.store.write(Slot::Newest, newest);
        }
        match &self.effective {
            Some(signed) => kept.and(self.store.write(Slot::Effective, &Stored::new(signed.clone()))),
            None => kept.and(self.store.clear(Slot::Effective)),
        }
    }

    /// Returns the newest revision when it was refused: it may be good once a secret that it names is there.
    pub(crate) fn refused_newest(&self) -> Option<SignedRevision> {
        let refused = |newest: &&Stored| !newest.problems.is_empty() && !newest.taken_back && self.mode == Mode::Normal;
        self.newest.as_ref().filter(refused).map(|newest| newest.signed.clone())
    }

    /// Notes that a revision was refused; keeps that when it is the newest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn refused(&mut self, number: u64, problems: Vec<Problem>) -> Result<(), StoreError> {
        self.failed = Some(failure(number, problems.clone()));
        match &mut self.newest {
            Some(newest) if newest.signed.number == number && self.mode == Mode::Normal => {
                newest.problems = problems;
                self.store.write(Slot::Newest, newest)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns why the newest revision was refused or taken back.
    pub(crate) fn problems_of_newest(&self) -> &[Problem] {
        self.newest.as_ref().map_or(&[], |newest| &newest.problems)
    }

    /// Returns the report of this moment.
    pub(crate) fn report(&self) -> status::Revisions {
        let number = |number: u64| (number > 0).then_some(RevisionNumber(number));
        status::Revisions {
            desired: self.desired.map(RevisionNumber),
            effective: number(self.trial.effective()),
            failed: self.failed.clone(),
            provisional: self.trial.provisional().map(|(number, kept)| Provisional { number: RevisionNumber(number), until: kept.until }),
            confirmed: number(self.trial.confirmed()),
        }
    }

    /// Returns the number in force (0 for the built-in rules) and the newest that was taken in.
    pub(crate) const fn numbers(&self) -> (u64, u64) {
        (self.trial.effective(), self.trial.newest())
    }

    /// Returns what compiles revisions elsewhere.
    pub(crate) fn veto(&self) -> Veto {
        self.veto.clone()
    }

    /// Returns what puts the revision in force into force again: it, or `None` for the built-in rules.
    pub(crate) fn effective(&self) -> Option<&SignedRevision> {
        self.effective.as_ref()
    }

    /// Leaves what is in force for the built-in rules: it cannot be used any more.
    pub(crate) fn fall_to_built_in(&mut self, problems: Vec<Problem>, now: Moment) {
        self.failed = Some(failure(self.trial.effective(), problems));
        let _nothing_on_trial = self.trial.handle(Input::Unusable, now);
        self.effective = None;
    }

    fn check(&self, signed: &SignedRevision) -> Result<Compiled, Refusal> {
        if !self.signers.verify(signed) {
            return Err(Refusal::whole("the stored signature does not fit"));
        }
        compile(&self.veto, signed)
    }
}

const fn failure(number: u64, problems: Vec<Problem>) -> status::FailedRevision {
    status::FailedRevision { number: RevisionNumber(number), problems }
}

/// Reads the stored revision in force, for who looks on: nothing is checked and nothing changed.
pub(crate) fn document_in_force(dir: &Path) -> Option<Document> {
    if !dir.is_dir() {
        return None;
    }
    let stored = Store::open(dir).ok()?.read(Slot::Effective)?;
    serde_json::from_slice(&stored.signed.document).ok()
}
