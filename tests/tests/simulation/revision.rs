//! The gateway's revisions in the simulation: the real trial, its three slots on the simulated disk, and the shell between them.
//!
//! A revision here is only how it reaches the control plane, and whether that way works. Each write of a slot is made as the real
//! one is (a new file, synced, renamed, the directory synced), so that a crash may fall between any two of these.

use std::io;
use std::time::Duration;

use postern_gateway::revision::trial::{Facts, Input, Kept, Moment, Output, Trial, Verdict, Way};
use postern_protocol::message::{RevisionState, RevisionStatus};
use serde::{Deserialize, Serialize};

use crate::disk::Disk;

/// What a revision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Which way it takes to the control plane.
    pub(crate) way: u32,
    /// Whether that way leads there.
    pub(crate) reaches: bool,
    /// How long its trial lasts, seconds.
    pub(crate) within_s: u32,
}

/// The built-in rules: they reach the control plane.
pub(crate) const BUILT_IN: Document = Document { way: 0, reaches: true, within_s: 60 };

/// How late chance may let the trial's tick come.
const LATE: Duration = Duration::from_secs(5);

/// A slot's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    number: u64,
    document: Option<Document>,
    taken_back: bool,
    kept: Option<Kept>,
}

/// What the shell of the tunnel has to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// Drop the session and dial by the settings in force.
    Redial,
    /// Say how far a revision got.
    Tell(RevisionStatus),
}

/// The revisions of a running gateway.
pub(crate) struct Revisions {
    disk: Disk,
    pub(crate) trial: Trial,
    effective: Slot,
    confirmed: Slot,
    newest: Slot,
    /// Since when the one in force is on trial, and how long it may be: true time in which the program runs.
    on_trial: Option<(u64, Duration)>,
}

impl Revisions {
    /// Reads the slots and goes on with a trial that was under way.
    pub(crate) fn start(disk: Disk, now: Moment) -> io::Result<(Self, Vec<Wish>)> {
        let (effective, confirmed, newest) = (read(&disk, "effective"), read(&disk, "confirmed"), read(&disk, "newest"));
        let facts = Facts {
            newest: newest.number,
            taken_back: newest.taken_back,
            effective: effective.number,
            confirmed: confirmed.number,
            kept: effective.kept,
        };
        let (trial, outputs) = Trial::restore(facts, now);
        let mut revisions = Self { disk, trial, effective, confirmed, newest, on_trial: None };
        let wishes = revisions.act(outputs, now)?;
        Ok((revisions, wishes))
    }

    /// Returns what the revision in force says.
    pub(crate) fn in_force(&self) -> Document {
        self.effective.document.unwrap_or(BUILT_IN)
    }

    /// Takes a pushed revision.
    pub(crate) fn pushed(&mut self, number: u64, document: Document, now: Moment) -> io::Result<Vec<Wish>> {
        match self.trial.pushed(number) {
            Verdict::Older { .. } => Ok(Vec::new()),
            Verdict::TakenBack => Ok(vec![tell(number, RevisionState::Reverted)]),
            Verdict::InForce(output) => self.act(vec![output], now),
            Verdict::Apply => {
                self.newest = Slot { number, document: Some(document), ..Slot::default() };
                self.write("newest", self.newest)?;
                let kept = Trial::plan(document.within_s, now);
                let way = if document.way == self.in_force().way { Way::Same } else { Way::Changed };
                let effective = Slot { number, document: Some(document), taken_back: false, kept: Some(kept) };
                self.write("effective", effective)?;
                self.effective = effective;
                let outputs = self.trial.handle(Input::Swapped { number, kept, way }, now);
                self.act(outputs, now)
            }
        }
    }

    /// Tells the trial what happened.
    pub(crate) fn handle(&mut self, input: Input, now: Moment) -> io::Result<Vec<Wish>> {
        let outputs = self.trial.handle(input, now);
        self.act(outputs, now)
    }

    fn act(&mut self, outputs: Vec<Output>, now: Moment) -> io::Result<Vec<Wish>> {
        let mut wishes = Vec::new();
        let mut outputs: std::collections::VecDeque<_> = outputs.into();
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Confirm { number } => {
                    let slot = Slot { kept: None, ..self.effective };
                    self.write("confirmed", slot)?;
                    self.confirmed = slot;
                    self.write("effective", slot)?;
                    self.effective = slot;
                    outputs.extend(self.trial.handle(Input::ConfirmKept { number }, now));
                }
                Output::Keep(kept) => {
                    self.effective.kept = Some(kept);
                    self.write("effective", self.effective)?;
                }
                Output::Redial => wishes.push(Wish::Redial),
                Output::Revert { from, to: _, .. } => {
                    if self.newest.number == from {
                        self.newest.taken_back = true;
                        self.write("newest", self.newest)?;
                    }
                    let before = self.in_force();
                    self.write("effective", self.confirmed)?;
                    self.effective = self.confirmed;
                    wishes.push(tell(from, RevisionState::Reverted));
                    if self.in_force().way != before.way {
                        wishes.push(Wish::Redial);
                    }
                }
                Output::TellApplied { number } => wishes.push(tell(number, RevisionState::Applied)),
                Output::TellProvisional { number } => wishes.push(tell(number, RevisionState::Provisional)),
                Output::TellReverted { number } => wishes.push(tell(number, RevisionState::Reverted)),
            }
        }
        Ok(wishes)
    }

    fn write(&self, name: &str, slot: Slot) -> io::Result<()> {
        let new = format!("{name}.new");
        if self.disk.names().contains(&new) {
            self.disk.remove(&new)?;
        }
        let file = self.disk.create(&new, 0)?;
        self.disk.write(file, 0, &serde_json::to_vec(&slot).unwrap())?;
        self.disk.sync_file(file)?;
        self.disk.rename(&new, name)?;
        self.disk.sync_names()
    }

    /// Checks what must hold at every moment; `ran` is how long programs ran in all.
    pub(crate) fn check(&mut self, ran: Duration) -> Result<(), String> {
        let (effective, confirmed) = (self.trial.effective(), self.trial.confirmed());
        if effective != self.effective.number {
            return Err(format!("revision {effective} counts as in force, {} is", self.effective.number));
        }
        if !self.confirmed.document.unwrap_or(BUILT_IN).reaches {
            return Err(format!("revision {confirmed} was confirmed and does not reach the control plane"));
        }
        let Some((number, kept)) = self.trial.provisional() else {
            self.on_trial = None;
            if effective != confirmed {
                return Err(format!("revision {effective} is in force for good, and {confirmed} is the last that was confirmed"));
            }
            return Ok(());
        };
        let since = match self.on_trial {
            Some((known, since)) if known == number => since,
            _ => ran,
        };
        self.on_trial = Some((number, since));
        let lasts = ran.saturating_sub(since);
        // A tick may come late: other steps may come before it.
        if lasts > Duration::from_secs(u64::from(kept.within_s)) + LATE {
            return Err(format!("revision {number} is on trial for {lasts:?}, and has {} s", kept.within_s));
        }
        Ok(())
    }
}

fn tell(number: u64, state: RevisionState) -> Wish {
    Wish::Tell(RevisionStatus { number, state: state.into(), problems: Vec::new() })
}

fn read(disk: &Disk, name: &str) -> Slot {
    let bytes = disk.read(name, 0, usize::MAX).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
