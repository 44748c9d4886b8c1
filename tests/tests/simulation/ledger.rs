//! What the simulation knows and the programs do not: every record that was ever handed to the spool, and what became of it.
//!
//! The invariants on single records are checked here, at the moment at which something is stored or acknowledged: nothing is
//! stored that was not committed, nothing twice, nothing out of order, nothing acknowledged that is not stored.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::id::{Epoch, Lane};

use crate::control_plane::Row;
use crate::world::Violation;

/// How far a record got on the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The spool said that it is durable: it must arrive.
    Durable,
    /// A crash took it before it was durable.
    Lost,
    /// Handed to the spool: it may be there after a crash, or not.
    Queued,
    /// It was durable, and an older disk or database was put back: whoever did that gave it up.
    SetBack,
}

#[derive(Clone, Debug)]
struct Record {
    lane: Lane,
    commit: u64,
    standing: Standing,
    what: String,
}

/// What belongs to the database, and is set back with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    records: BTreeSet<usize>,
    /// Stored records, and the last one, of each epoch and lane.
    places: BTreeMap<(Epoch, Lane), (u64, usize)>,
    rows: BTreeMap<String, (u64, u64)>,
}

/// Every record, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: Vec<Record>,
    by_content: BTreeMap<Vec<u8>, usize>,
    /// What was seen at a place, on its way or stored: it never changes.
    places: BTreeMap<(Epoch, Lane, u64), usize>,
    /// The farthest that was ever committed.
    committed: BTreeMap<(Epoch, Lane), u64>,
    stored: Stored,
}

impl Ledger {
    /// Notes a record that is handed to the spool with commit number `commit`.
    pub(crate) fn submit(&mut self, lane: Lane, content: &[u8], (commit, what): (u64, String)) {
        let record = Record { lane, commit, standing: Standing::Queued, what };
        self.by_content.insert(content.to_vec(), self.records.len());
        self.records.push(record);
    }

    /// Notes that the spool said: durable up to `commit`.
    pub(crate) fn durable(&mut self, commit: u64) {
        for record in self.records.iter_mut().rev().take_while(|record| record.commit + 1_000 > commit) {
            if record.commit <= commit && record.standing == Standing::Queued {
                record.standing = Standing::Durable;
            }
        }
    }

    /// Notes that a start found everything up to `commit`, and nothing later.
    pub(crate) fn recovered(&mut self, commit: u64) {
        for record in self.records.iter_mut().filter(|record| record.standing == Standing::Queued) {
            record.standing = if record.commit <= commit { Standing::Durable } else { Standing::Lost };
        }
    }

    /// Notes that all records are given up that `keeps` does not name: by commit number.
    pub(crate) fn set_back(&mut self, keeps: impl Fn(u64) -> bool) {
        for record in self.records.iter_mut().filter(|record| record.standing == Standing::Durable && !keeps(record.commit)) {
            record.standing = Standing::SetBack;
        }
    }

    /// Copies what belongs to the database.
    pub(crate) fn backup(&self) -> Stored {
        self.stored.clone()
    }

    /// Notes that the database is an older one: what came later may be trimmed on the gateway.
    pub(crate) fn restore(&mut self, stored: &Stored) {
        let lost: Vec<_> = self.stored.records.difference(&stored.records).copied().collect();
        for record in lost {
            self.records[record].standing = Standing::SetBack;
        }
        self.stored = stored.clone();
    }

    fn identify(&mut self, (epoch, lane, sequence): (Epoch, Lane, u64), content: &[u8]) -> Result<usize, Violation> {
        let place = || format!("record {sequence} of lane {} in epoch {:x}", lane.name(), epoch.0);
        let Some(record) = self.by_content.get(content).copied() else {
            return Err(Violation::broken(format!("{} was never committed", place())));
        };
        let known = *self.places.entry((epoch, lane, sequence)).or_insert(record);
        if known != record {
            let (now, before) = (&self.records[record].what, &self.records[known].what);
            return Err(Violation::broken(format!("{} is {now}, and was {before} before", place())));
        }
        if self.records[record].standing == Standing::Lost {
            return Err(Violation::broken(format!("{} is {}, which a start did not find", place(), self.records[record].what)));
        }
        if self.records[record].lane != lane {
            return Err(Violation::broken(format!("{} belongs to another lane", place())));
        }
        Ok(record)
    }

    /// Notes what the tunnel reads for sending.
    pub(crate) fn read(&mut self, (epoch, lane): (Epoch, Lane), first: u64, contents: &[bytes::Bytes]) -> Result<(), Violation> {
        for (sequence, content) in (first..).zip(contents) {
            self.identify((epoch, lane, sequence), content)?;
        }
        Ok(())
    }

    /// Notes the records of a batch that was committed; those up to `before` were there already.
    pub(crate) fn stored(
        &mut self,
        (epoch, lane): (Epoch, Lane),
        (first, before): (u64, u64),
        contents: &[Vec<u8>],
    ) -> Result<(), Violation> {
        for (sequence, content) in (first..).zip(contents) {
            let record = self.identify((epoch, lane, sequence), content)?;
            if sequence <= before {
                continue;
            }
            if !self.stored.records.insert(record) {
                return Err(Violation::broken(format!("{} is stored twice", self.records[record].what)));
            }
            let (count, last) = self.stored.places.entry((epoch, lane)).or_insert((0, 0));
            if *count > 0 && *last >= record {
                let (now, then) = (&self.records[record].what, &self.records[*last].what);
                return Err(Violation::broken(format!("{now} is stored after {then}, which is newer")));
            }
            (*count, *last) = (*count + 1, record);
        }
        Ok(())
    }

    /// Notes how far a lane of an epoch is committed.
    pub(crate) fn committed(&mut self, place: (Epoch, Lane), sequence: u64) {
        let known = self.committed.entry(place).or_default();
        *known = (*known).max(sequence);
    }

    /// Checks an acknowledgement at the gateway: *acknowledged ⊆ stored*.
    pub(crate) fn acknowledged(&self, (epoch, lane): (Epoch, Lane), sequence: u64) -> Result<(), Violation> {
        let committed = self.committed.get(&(epoch, lane)).copied().unwrap_or(0);
        if sequence > committed {
            let what =
                format!("lane {} of epoch {:x} is acknowledged up to {sequence} and committed up to {committed}", lane.name(), epoch.0);
            return Err(Violation::broken(what));
        }
        Ok(())
    }

    /// Checks that an alert's row is not older than it was, nor than a record that was just stored.
    pub(crate) fn row(&mut self, kind: &str, newest: (u64, u64), row: Option<&Row>) -> Result<(), Violation> {
        let Some(row) = row else { return Err(Violation::broken(format!("alert {kind} is not stored"))) };
        let known = self.stored.rows.entry(kind.to_owned()).or_default();
        let now = (row.occurrence, row.revision);
        if now < *known || row.revision < newest.1 && row.occurrence <= newest.0 {
            return Err(Violation::broken(format!("alert {kind} is stored at {now:?}, was at {known:?} and {newest:?} came")));
        }
        *known = now;
        Ok(())
    }

    /// Checks the control plane's own account of a lane of an epoch: what it stored and what it missed is all up to its cursor.
    pub(crate) fn account(&self, place: (Epoch, Lane), cursor: u64, gaps: u64) -> Result<(), Violation> {
        let stored = self.stored.places.get(&place).map_or(0, |(count, _)| *count);
        if stored + gaps != cursor {
            let what =
                format!("lane {} of epoch {:x}: {stored} stored and {gaps} missed, and the cursor is {cursor}", place.1.name(), place.0.0);
            return Err(Violation::broken(what));
        }
        Ok(())
    }

    /// Returns the records of a lane that were durable, were not given up by whoever set something back, and are not stored.
    pub(crate) fn missing(&self, lane: Lane) -> Vec<&str> {
        let due = |record: &Record| record.lane == lane && record.standing == Standing::Durable;
        let records = self.records.iter().enumerate().filter(|(index, record)| due(record) && !self.stored.records.contains(index));
        records.map(|(_, record)| record.what.as_str()).collect()
    }

    /// Returns how many records are stored, and how many were ever durable.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (
            self.stored.records.len(),
            self.records.iter().filter(|record| matches!(record.standing, Standing::Durable | Standing::SetBack)).count(),
        )
    }
}
