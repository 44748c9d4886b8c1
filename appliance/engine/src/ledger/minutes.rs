//! The ledger minute by minute: the last day by protocol and reason, with the busiest sources of the last hour.
//!
//! Nothing is counted here: a minute is the difference of the totals at its two ends, so counting costs nothing and a minute
//! cannot say anything else than the totals. Bounded: [`KEPT_MINUTES`] rows a protocol, [`MINUTE_SOURCES`] sources in each of the
//! last [`KEPT_SOURCE_MINUTES`]. A source that lost its account to busier ones within the minute counts among the others.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use postern_protocol::message::{LedgerMinute, SourceMinute};

use super::{Account, DropReason};
use crate::event::Protocol;

/// Minutes that are kept.
pub const KEPT_MINUTES: u64 = 1_440;

/// Minutes that keep their sources.
pub const KEPT_SOURCE_MINUTES: u64 = 60;

/// Sources that a minute keeps, by protocol.
pub const MINUTE_SOURCES: usize = 8;

/// A minute that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedMinute {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// Messages of which the balance does not say what became, by protocol; empty when it adds up.
    pub gaps: Vec<(Protocol, u64)>,
}

/// The minutes, and where the one began that is being counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Minutes {
    /// Ascending by minute.
    rows: VecDeque<Row>,
    /// The minute that is being counted.
    current: Option<u64>,
    /// The totals when it began.
    base: BTreeMap<Protocol, Account>,
    /// What was found hanging at the end of the last minute: told once.
    hanging: BTreeMap<Protocol, u64>,
    /// Since then the daemon was started: what was in flight before is nowhere, and a crash window says so.
    is_interrupted: bool,
    /// Rows at the end that no commit has yet.
    unstored: usize,
    /// No commit has where the present minute began.
    is_fresh: bool,
}

/// One minute of one protocol.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    minute: u64,
    protocol: Protocol,
    account: Account,
    in_flight: u64,
    sources: Vec<(IpAddr, Account)>,
}

/// What one protocol has at the end of a minute.
pub(super) struct Ending<'l> {
    pub(super) protocol: Protocol,
    pub(super) total: &'l Account,
    /// The busiest sources of the minute, busiest first.
    pub(super) sources: Vec<(IpAddr, Account)>,
    /// Messages that were settled in the minute and never received.
    pub(super) unmatched: u64,
}

impl Minutes {
    /// Returns the minute that is being counted.
    pub(super) const fn current(&self) -> Option<u64> {
        self.current
    }

    /// Begins a minute at these totals.
    pub(super) fn begin<'l>(&mut self, minute: u64, totals: impl Iterator<Item = (Protocol, &'l Account)>) {
        self.current = Some(minute);
        self.base = totals.map(|(protocol, total)| (protocol, total.clone())).collect();
        self.is_interrupted = false;
        self.is_fresh = true;
    }

    /// Ends the minute that is being counted; returns it.
    pub(super) fn end<'l>(&mut self, endings: impl Iterator<Item = Ending<'l>>) -> Option<ClosedMinute> {
        let minute = self.current?;
        let mut gaps = Vec::new();
        for Ending { protocol, total, sources, unmatched } in endings {
            let none = Account::default();
            let base = self.base.get(&protocol).unwrap_or(&none);
            let (before, after) = (base.in_flight(), total.in_flight());
            let account = total.since(base);
            // Messages that stay in flight while nothing moves for a minute are lost: nothing takes that long.
            let is_still = account.received == 0 && account.settled() == 0;
            let hanging = if is_still { after } else { 0 };
            let known = self.hanging.insert(protocol, hanging).unwrap_or(0);
            let gap = unmatched.saturating_add(gap(&account, before, after)).saturating_add(hanging.saturating_sub(known));
            let gap = if self.is_interrupted { 0 } else { gap };
            if gap > 0 {
                gaps.push((protocol, gap));
            }
            self.push(Row { minute, protocol, account, in_flight: after, sources });
        }
        self.forget();
        Some(ClosedMinute { minute, gaps })
    }

    /// Lets go of what is older than the newest row allows.
    fn forget(&mut self) {
        let newest = self.rows.back().map_or(0, |row| row.minute);
        let oldest = newest.saturating_sub(KEPT_MINUTES.saturating_sub(1));
        while self.rows.front().is_some_and(|row| row.minute < oldest) {
            self.rows.pop_front();
        }
        self.unstored = self.unstored.min(self.rows.len());
        let nameless = newest.saturating_sub(KEPT_SOURCE_MINUTES.saturating_sub(1));
        for row in self.rows.iter_mut().take_while(|row| row.minute < nameless) {
            row.sources = Vec::new();
        }
    }

    /// Puts a row in. A clock that was set back brings a minute again: then both are one.
    fn push(&mut self, row: Row) {
        let at = match self.place(&row) {
            Ok(at) => {
                if let Some(known) = self.rows.get_mut(at) {
                    known.account.merge(&row.account);
                    known.in_flight = row.in_flight;
                }
                at
            }
            Err(at) => {
                self.unstored = self.unstored.saturating_add(1);
                self.rows.insert(at, row);
                at
            }
        };
        self.unstored = self.unstored.max(self.rows.len().saturating_sub(at));
    }

    /// Returns where the row of that minute and protocol is, or would be.
    fn place(&self, row: &Row) -> Result<usize, usize> {
        let at = self.rows.partition_point(|known| (known.minute, known.protocol) < (row.minute, row.protocol));
        match self.rows.get(at) {
            Some(known) if known.minute == row.minute && known.protocol == row.protocol => Ok(at),
            Some(_) | None => Err(at),
        }
    }

    /// Returns the rows of `minutes`, ascending, as they are sent and stored.
    pub(super) fn rows(&self, minutes: std::ops::RangeInclusive<u64>) -> Vec<LedgerMinute> {
        self.rows.iter().filter(|row| minutes.contains(&row.minute)).map(Row::encode).collect()
    }

    /// Returns the rows that no commit has yet; they and the minute's beginning are taken for stored from now on.
    pub(super) fn take_unstored(&mut self) -> Vec<LedgerMinute> {
        self.is_fresh = false;
        let first = self.rows.len().saturating_sub(std::mem::take(&mut self.unstored));
        self.rows.iter().skip(first).map(Row::encode).collect()
    }

    /// Returns whether no commit has the newest rows, or where the present minute began.
    pub(super) const fn has_unstored(&self) -> bool {
        self.unstored > 0 || self.is_fresh
    }

    /// Returns where the minute began that is being counted.
    pub(super) const fn base(&self) -> &BTreeMap<Protocol, Account> {
        &self.base
    }

    /// Takes in what an earlier run stored, by a minute at a time.
    pub(super) fn restore(&mut self, rows: Vec<Row>, begun: Option<(u64, BTreeMap<Protocol, Account>)>) {
        for row in rows {
            match self.place(&row) {
                Ok(at) => self.rows.iter_mut().skip(at).take(1).for_each(|known| known.clone_from(&row)),
                Err(at) => self.rows.insert(at, row),
            }
        }
        self.unstored = 0;
        self.is_fresh = false;
        if let Some((minute, base)) = begun {
            (self.current, self.base) = (Some(minute), base);
        }
        self.is_interrupted = true;
        self.forget();
    }
}

impl Row {
    fn encode(&self) -> LedgerMinute {
        LedgerMinute {
            minute: self.minute,
            protocol: self.protocol.name().to_owned(),
            received: self.account.received,
            accepted: self.account.accepted,
            in_flight: self.in_flight,
            dropped: self.account.dropped_by_name(),
            sources: self.sources.iter().map(|(source, account)| source_minute(*source, account)).collect(),
        }
    }

    /// Reads a row back; `None` when a name in it is none of ours.
    pub(super) fn decode(wire: LedgerMinute) -> Option<Self> {
        let account = Account { received: wire.received, accepted: wire.accepted, dropped: reasons(wire.dropped)? };
        let source = |source: SourceMinute| {
            let account = Account { received: source.received, accepted: source.accepted, dropped: reasons(source.dropped)? };
            Some((source.source.parse().ok()?, account))
        };
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == wire.protocol)?;
        let sources = wire.sources.into_iter().take(MINUTE_SOURCES).map(source).collect::<Option<_>>()?;
        Some(Self { minute: wire.minute, protocol, account, in_flight: wire.in_flight, sources })
    }
}

fn source_minute(source: IpAddr, account: &Account) -> SourceMinute {
    SourceMinute { source: source.to_string(), received: account.received, accepted: account.accepted, dropped: account.dropped_by_name() }
}

fn reasons(dropped: BTreeMap<String, u64>) -> Option<BTreeMap<DropReason, u64>> {
    dropped.into_iter().map(|(name, n)| Some((DropReason::from_name(&name)?, n))).collect()
}

/// Returns by how much a minute does not add up: `before + received = accepted + Σ dropped + after`.
fn gap(account: &Account, before: u64, after: u64) -> u64 {
    let came = before.saturating_add(account.received);
    let went = account.settled().saturating_add(after);
    came.abs_diff(went)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(received: u64, accepted: u64) -> Account {
        Account { received, accepted, dropped: BTreeMap::new() }
    }

    #[test]
    fn a_minute_adds_up_with_what_was_in_flight_at_its_ends() {
        assert_eq!(gap(&account(10, 12), 3, 1), 0);
        assert_eq!(gap(&account(10, 12), 3, 0), 1, "one is nowhere");
    }

    #[test]
    fn messages_that_hang_for_a_minute_are_told_once() {
        let mut minutes = Minutes::default();
        let total = account(10, 6);
        minutes.begin(1, [(Protocol::Push, &account(0, 0))].into_iter());
        let end = |minutes: &mut Minutes| {
            let closed = minutes.end([Ending { protocol: Protocol::Push, total: &total, sources: vec![], unmatched: 0 }].into_iter());
            minutes.begin(minutes.current().unwrap() + 1, [(Protocol::Push, &total)].into_iter());
            closed.unwrap().gaps
        };
        assert_eq!(end(&mut minutes), [], "they may come yet");
        assert_eq!(end(&mut minutes), [(Protocol::Push, 4)]);
        assert_eq!(end(&mut minutes), []);
    }
}
