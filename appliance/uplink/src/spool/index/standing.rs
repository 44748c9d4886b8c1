//! The standing: what of the index is not to be found in the segments' records, as bytes.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::id::{Epoch, Lane, Sequence};

use super::super::segment::{Skipped, Version};
use super::Index;
use super::value::Reason;

const EVICTED_BYTES: usize = 10;
const EVICTED_BYTES_1: usize = 9;
const ACKNOWLEDGED_BYTES: usize = 17;

/// Set in the number of a lane that stands for its head: a program that knows of no heads finds no such lane. Alone, it stands for an
/// epoch whose account has no gap.
const HEAD: u8 = 0x80;

/// Set in the number of a lane where a range begins that goes, or is gone, without a mark; and where it ends.
const GONE_FROM: u8 = 0x40;
const GONE_TO: u8 = 0x20;

/// A mark in a rewritten segment: what stands for records that are not in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Their lane and epoch.
    pub(crate) place: (Lane, Epoch),
    /// Sequence of the first.
    pub(crate) from: u64,
    /// What it says.
    pub(crate) skipped: Skipped,
}

/// What a standing says of records that may go.
pub(crate) struct Stand {
    /// It counts the rewritings up to this one, and so many losses of alerts.
    rewritings: u64,
    losses: u64,
    /// It says what goes with these segments.
    listed: BTreeSet<u32>,
    acknowledged: BTreeMap<(Lane, Epoch), u64>,
}

impl Index {
    /// Encodes what is acknowledged and what was evicted: the body of a `Standing` record.
    pub(crate) fn standing(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.evictions.max(u64::from(self.is_owed)).to_le_bytes());
        out.extend_from_slice(&self.rewritings.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.evicted.len()).unwrap_or(0).to_le_bytes());
        for ((lane, reason), records) in &self.evicted {
            out.extend_from_slice(&[lane.number(), reason.number()]);
            out.extend_from_slice(&records.to_le_bytes());
        }
        let acknowledged = self.acknowledged.iter().map(|(place, sequence)| (0, place, sequence));
        let waiting = |place: &(Lane, Epoch), head: u64| self.acknowledged.get(place).is_none_or(|acknowledged| *acknowledged < head);
        let heads = self.heads.iter().filter(|((lane, epoch), head)| waiting(&(*lane, *epoch), **head) && self.is_accounted(*epoch));
        let heads = heads.map(|(place, head)| (HEAD, place, head));
        for epoch in self.accounted.iter().chain([&self.present]) {
            out.push(HEAD);
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
        }
        for (flag, (lane, epoch), sequence) in acknowledged.chain(heads) {
            out.push(lane.number() | flag);
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        let leaving = |segment| self.leaving(segment).map(|(lane, range)| ((lane, segment.id.epoch), range, segment.id.number));
        let gone = self.gone.iter().filter(|(place, (_, last))| waiting(place, *last)).map(|(place, range)| (place, range, 0));
        for ((lane, epoch), (first, last), number) in gone.chain(self.segments.values().flat_map(leaving)) {
            out.push(lane.number() | GONE_FROM);
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
            out.push(lane.number() | GONE_TO);
            out.extend_from_slice(&u64::from(number).to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        out
    }

    /// Says that every open alert is to be committed again: each start is told so until [`Index::settle_resend`].
    pub(crate) fn owe_resend(&mut self) {
        self.changed |= !std::mem::replace(&mut self.is_owed, true);
    }

    /// Says that the control plane has taken the word that every open alert was committed again.
    pub(crate) fn settle_resend(&mut self) {
        self.changed |= std::mem::take(&mut self.is_owed);
    }

    /// Returns what must be in a durable standing before the records that it is about go.
    pub(crate) fn stand(&self) -> Stand {
        let listed = self.segments.values().filter(|segment| self.leaving(segment).next().is_some());
        let listed = listed.map(|segment| segment.id.number).collect();
        Stand { rewritings: self.rewritings, losses: self.evictions, listed, acknowledged: self.acknowledged.clone() }
    }

    /// Says that a standing of then is durable.
    pub(crate) fn standing_written(&mut self, stand: Stand) {
        (self.recorded, self.told, self.settled) = (stand.rewritings, stand.losses, stand.acknowledged);
        self.listed = stand.listed;
    }

    /// Takes over the newest `Standing` record of an earlier run, and the marks of rewritings that came after it; says whether that
    /// run gave up the only word on an alert.
    ///
    /// Call it after every segment was noted. What it does not understand it leaves out: at worst records are sent again.
    pub(crate) fn restore_standing(&mut self, (version, body): (Version, &[u8]), marks: &[Mark]) -> bool {
        let evictions = self.restore(version, body).unwrap_or(0);
        let known = self.rewritings;
        let mut lost = evictions > 0;
        for Mark { place, from, skipped } in marks.iter().filter(|mark| mark.skipped.rewriting > known) {
            let Some(reason) = Reason::from_number(skipped.reason) else { continue };
            if reason == Reason::Damaged {
                self.note_damaged(&[(*place, (*from, skipped.to))], 0);
            }
            self.count_evicted(place.0, reason, skipped.to.saturating_sub(*from).saturating_add(1));
            self.rewritings = self.rewritings.max(skipped.rewriting);
            lost |= place.0 == Lane::Alerts && reason.loses_state();
        }
        (self.evictions, self.told) = (0, 0);
        self.settled = self.acknowledged.clone();
        self.changed = true;
        lost
    }

    fn restore(&mut self, version: Version, body: &[u8]) -> Option<u64> {
        let (evictions, rest) = body.split_first_chunk()?;
        let (rewritings, rest) = match version {
            Version::One => (0, rest),
            Version::Two => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_le_bytes(*bytes), rest))?,
        };
        (self.rewritings, self.recorded) = (rewritings, rewritings);
        let (count, rest) = rest.split_first_chunk()?;
        let size = if version == Version::One { EVICTED_BYTES_1 } else { EVICTED_BYTES };
        let evicted = rest.chunks_exact(size).take(usize::from(u16::from_le_bytes(*count)));
        let acknowledged = rest.get(evicted.len().saturating_mul(size)..).unwrap_or_default().chunks_exact(ACKNOWLEDGED_BYTES);
        for entry in evicted {
            let (Some(lane), Some(records)) = (entry.first().copied().and_then(Lane::from_number), entry.last_chunk()) else { continue };
            let reason = if version == Version::One { Some(Reason::Quota) } else { entry.get(1).copied().and_then(Reason::from_number) };
            self.evicted.insert((lane, reason.unwrap_or(Reason::Quota)), u64::from_le_bytes(*records));
        }
        let places: Vec<_> = acknowledged.filter_map(place).collect();
        // The heads first: an acknowledgement is believed up to there.
        for (lane, epoch, sequence) in places.iter().filter(|(lane, epoch, _)| lane & HEAD != 0 && self.is_here(*epoch)).collect::<Vec<_>>()
        {
            match Lane::from_number(lane & !HEAD) {
                Some(lane) => self.note_head(lane, *epoch, *sequence),
                None => drop(self.accounted.insert(*epoch)),
            }
        }
        for pair in places.windows(2) {
            if let [(from, epoch, first), (to, number, last)] = pair
                && from & GONE_FROM != 0
                && to & GONE_TO != 0
                && from & !GONE_FROM == to & !GONE_TO
                && let Some(lane) = Lane::from_number(to & !GONE_TO)
                && !u32::try_from(number.0).is_ok_and(|number| self.segments.contains_key(&number))
            {
                self.gone.note((lane, *epoch), (*first, *last));
            }
        }
        for (lane, epoch, sequence) in places {
            match Lane::from_number(lane) {
                Some(lane) if self.is_here(epoch) => drop(self.acknowledge(lane, epoch, Sequence(sequence))),
                Some(lane) => drop(self.acknowledged.insert((lane, epoch), sequence)),
                None => {}
            }
        }
        Some(u64::from_le_bytes(*evictions))
    }

    fn is_here(&self, epoch: Epoch) -> bool {
        self.segments.values().any(|segment| segment.id.epoch == epoch)
    }
}

/// Decodes the number of a lane, an epoch and a sequence.
fn place(entry: &[u8]) -> Option<(u8, Epoch, u64)> {
    let (lane, place) = entry.split_first()?;
    let (epoch, sequence) = place.split_first_chunk()?;
    Some((*lane, Epoch(u64::from_le_bytes(*epoch)), u64::from_le_bytes(*sequence.first_chunk()?)))
}
