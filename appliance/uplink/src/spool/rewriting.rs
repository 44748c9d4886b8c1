//! A segment's next generation, in memory: what is kept is sealed anew, and marks stand for what is not.
//!
//! Pure but for the randomness of the new key. Called by [`super::give_up`], which judges each record's class and writes the result.

use std::collections::BTreeMap;

use postern_protocol::id::Lane;

use super::SpoolError;
use super::index::sequences::Range;
use super::index::value::{Class, Reason};
use super::index::{Entry, Segment};
use super::seal::{self, Cipher, Sealer};
use super::segment::scan::Found;
use super::segment::{self, Kind, Label, Skipped};

/// What is to go, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sentence {
    pub(crate) class: Class,
    pub(crate) reason: Reason,
}

impl Sentence {
    /// Says whether records of `class` go: those that are worth less go along, but not where only a lane's share is at stake.
    fn covers(self, class: Class) -> bool {
        class == self.class || class == Class::Needless || (self.reason != Reason::Share && class < self.class)
    }

    fn reason_for(self, class: Class) -> Reason {
        match class {
            Class::Needless => Reason::Acknowledged,
            Class::Superseded => Reason::Superseded,
            Class::Ended | Class::Inventory | Class::Logs | Class::Samples => self.reason,
        }
    }
}

/// How a segment is to be rewritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// What goes.
    pub(crate) sentence: Sentence,
    /// Number of this rewriting.
    pub(crate) number: u64,
    /// A checkpoint that may still be needed lies in it or before it, so that its local state stays.
    pub(crate) is_state_needed: bool,
}

/// A segment that is being rewritten.
pub(crate) struct Rewriting<'a> {
    old: &'a Segment,
    cipher: &'a Cipher,
    plan: Plan,
    result: Rewritten,
    is_shorter: bool,
    /// Up to where each lane is accounted for, and what of it is not yet marked: first, last, reason.
    reached: BTreeMap<Lane, u64>,
    gaps: BTreeMap<Lane, (u64, u64, Reason)>,
}

/// What came of it.
pub(crate) struct Rewritten {
    pub(crate) out: Vec<u8>,
    pub(crate) made: Segment,
    pub(crate) kept: Vec<Entry>,
    pub(crate) given_up: Vec<(Entry, Reason)>,
    /// Records that cannot be read, by their sequences.
    pub(crate) damaged: Vec<(Lane, Range)>,
}

impl<'a> Rewriting<'a> {
    pub(crate) fn new(old: &'a Segment, cipher: &'a Cipher, plan: Plan) -> Self {
        let id = old.id.rewritten();
        let mut out = Vec::new();
        cipher.append_key((id, 0), &mut out);
        let mut made = Segment::new(id, None);
        made.extents.clone_from(&old.extents);
        let result = Rewritten { out, made, kept: Vec::new(), given_up: Vec::new(), damaged: Vec::new() };
        let mut this = Self { old, cipher, plan, result, is_shorter: false, reached: BTreeMap::new(), gaps: BTreeMap::new() };
        for (lane, (first, _)) in old.known() {
            this.reached.insert(lane, first.saturating_sub(1));
        }
        this
    }

    /// Returns the entry of a lane's record.
    pub(crate) fn entry(&self, found: &Found<'_>) -> Option<Entry> {
        let Kind::Record(lane) = found.header.label.kind else { return None };
        let bytes = found.header.record_bytes() as u64;
        Some(Entry::new(lane, found.header.label, (u32::try_from(found.at).unwrap_or(u32::MAX), bytes)))
    }

    /// Takes the next record of the old segment; `class` is what a lane's record can be given up as.
    pub(crate) fn take(&mut self, sealer: &mut Sealer, found: &Found<'_>, class: Option<Class>) -> Result<(), SpoolError> {
        let label = found.header.label;
        match label.kind {
            Kind::Record(_) => match self.entry(found) {
                Some(entry) => self.record(sealer, (entry, class), found),
                None => Ok(()),
            },
            Kind::Skipped(lane) => {
                let to = Skipped::decode(found.body).map_or(label.sequence, |skipped| skipped.to);
                self.reach(lane, label.sequence, to);
                self.mark(lane);
                segment::append((self.result.made.id, 0), &mut self.result.out, label, found.body);
                Ok(())
            }
            Kind::Checkpoint | Kind::Delta if self.plan.is_state_needed => {
                let Some(payload) = self.open(found) else { return Ok(()) };
                self.result.made.has_checkpoint |= label.kind == Kind::Checkpoint;
                self.seal(sealer, label, &payload)
            }
            // A later segment says where the spool stands, and which commit was the last.
            Kind::Checkpoint | Kind::Delta | Kind::End | Kind::Standing => {
                self.is_shorter = true;
                Ok(())
            }
            Kind::Key => Ok(()),
        }
    }

    fn record(&mut self, sealer: &mut Sealer, (mut entry, class): (Entry, Option<Class>), found: &Found<'_>) -> Result<(), SpoolError> {
        self.reach(entry.lane, entry.sequence, entry.sequence);
        // The engine is fed alerts after a checkpoint again, whoever has them.
        let is_state = self.plan.is_state_needed && entry.lane == Lane::Alerts && class == Some(Class::Needless);
        let class = class.filter(|class| self.plan.sentence.covers(*class) && !is_state);
        let payload = if class.is_none() { self.open(found) } else { None };
        let Some(payload) = payload else {
            let reason = class.map_or(Reason::Damaged, |class| self.plan.sentence.reason_for(class));
            self.is_shorter = true;
            self.skip(entry.lane, entry.sequence, entry.sequence, reason);
            if reason != Reason::Acknowledged {
                self.result.given_up.push((entry, reason));
            }
            return Ok(());
        };
        self.mark(entry.lane);
        let from = self.result.out.len();
        self.seal(sealer, found.header.label, &payload)?;
        entry.offset = u32::try_from(from).unwrap_or(u32::MAX);
        entry.bytes = self.result.out.len().saturating_sub(from) as u64;
        self.result.made.note(&entry);
        self.result.kept.push(entry);
        Ok(())
    }

    fn open(&self, found: &Found<'_>) -> Option<Vec<u8>> {
        seal::open(self.old.cipher.as_deref(), (self.old.id, 0), found)
    }

    fn seal(&mut self, sealer: &mut Sealer, label: Label, payload: &[u8]) -> Result<(), SpoolError> {
        sealer.append(self.cipher, (self.result.made.id, 0), &mut self.result.out, (label, payload))
    }

    /// Accounts for a lane up to `to`: what lies between what was accounted for and `from` is damaged.
    fn reach(&mut self, lane: Lane, from: u64, to: u64) {
        if let Some(before) = self.reached.insert(lane, to)
            && from > before.saturating_add(1)
        {
            self.skip(lane, before.saturating_add(1), from.saturating_sub(1), Reason::Damaged);
        }
    }

    fn skip(&mut self, lane: Lane, from: u64, to: u64, reason: Reason) {
        if reason == Reason::Damaged {
            self.result.damaged.push((lane, (from, to)));
        }
        match self.gaps.get_mut(&lane) {
            Some((_, last, known)) if *known == reason && last.saturating_add(1) == from => *last = to,
            Some(_) | None => {
                self.mark(lane);
                self.gaps.insert(lane, (from, to, reason));
            }
        }
    }

    fn mark(&mut self, lane: Lane) {
        if let Some((from, to, reason)) = self.gaps.remove(&lane) {
            let body = Skipped { to, rewriting: self.plan.number, reason: reason.number() }.encode();
            segment::append((self.result.made.id, 0), &mut self.result.out, Label::plain(Kind::Skipped(lane), from), &body);
        }
    }

    /// Returns the new segment; `None` when nothing could be given up of the old one's `bytes`.
    pub(crate) fn finish(mut self, bytes: usize) -> Option<Rewritten> {
        for (lane, (_, last)) in self.old.known() {
            // What lies behind the last one that was found is damaged, too.
            self.reach(lane, last.saturating_add(1), last);
        }
        for lane in Lane::ALL {
            self.mark(lane);
        }
        // A second copy: damage to one must not cost the segment.
        self.cipher.append_key((self.result.made.id, 0), &mut self.result.out);
        let is_less = !self.result.given_up.is_empty() || (self.is_shorter && self.result.out.len() < bytes);
        is_less.then_some(self.result)
    }
}
