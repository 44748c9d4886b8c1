//! The standing: what of the index is not to be found in the segments' records, as bytes.

use std::collections::BTreeMap;

use postern_protocol::id::{Epoch, Lane, Sequence};

use super::super::segment::{Skipped, Version};
use super::Index;
use super::value::Reason;

const EVICTED_BYTES: usize = 10;
const EVICTED_BYTES_1: usize = 9;
const ACKNOWLEDGED_BYTES: usize = 17;

/// What a standing says of records that may go.
pub(crate) struct Stand {
    /// It counts the rewritings up to this one.
    rewritings: u64,
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
        for ((lane, epoch), sequence) in &self.acknowledged {
            out.push(lane.number());
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
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
        Stand { rewritings: self.rewritings, acknowledged: self.acknowledged.clone() }
    }

    /// Says that a standing of then is durable.
    pub(crate) fn standing_written(&mut self, stand: Stand) {
        (self.recorded, self.settled) = (stand.rewritings, stand.acknowledged);
    }

    /// Takes over the newest `Standing` record of an earlier run, and the marks of rewritings that came after it; says whether that
    /// run gave up the only word on an alert.
    ///
    /// Call it after every segment was noted. What it does not understand it leaves out: at worst records are sent again.
    pub(crate) fn restore_standing(&mut self, (version, body): (Version, &[u8]), marks: &[(Lane, u64, Skipped)]) -> bool {
        let evictions = self.restore(version, body).unwrap_or(0);
        let known = self.rewritings;
        let mut lost = evictions > 0;
        for (lane, from, skipped) in marks.iter().filter(|(_, _, skipped)| skipped.rewriting > known) {
            let Some(reason) = Reason::from_number(skipped.reason) else { continue };
            self.count_evicted(*lane, reason, skipped.to.saturating_sub(*from).saturating_add(1));
            self.rewritings = self.rewritings.max(skipped.rewriting);
            lost |= *lane == Lane::Alerts && reason.loses_state();
        }
        self.evictions = 0;
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
        for entry in acknowledged {
            if let Some((lane, place)) = entry.split_first()
                && let (Some(lane), Some((epoch, sequence))) = (Lane::from_number(*lane), place.split_first_chunk())
                && let Some(sequence) = sequence.first_chunk()
            {
                let (epoch, sequence) = (Epoch(u64::from_le_bytes(*epoch)), u64::from_le_bytes(*sequence));
                if self.segments.values().all(|segment| segment.id.epoch != epoch) {
                    self.acknowledged.insert((lane, epoch), sequence);
                } else {
                    self.acknowledge(lane, epoch, Sequence(sequence));
                }
            }
        }
        Some(u64::from_le_bytes(*evictions))
    }
}
