//! The accounts of single sources, bounded by [`MAX_SOURCES`]: forged addresses cost the attacker's accounts, not memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::{Account, Fate, MAX_SOURCES};

/// How many accounts are looked at when room is needed: a busy source survives almost always, and the cost is constant.
const SAMPLE: usize = 8;

/// Accounts by source.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    slots: Vec<Slot>,
    index: HashMap<IpAddr, usize>,
    others: Account,
    hand: usize,
}

/// A source with an account of its own.
#[derive(Clone, Debug)]
struct Slot {
    source: IpAddr,
    account: Account,
    /// The account when the minute began.
    at_minute: Account,
}

impl Sources {
    pub(super) fn receive(&mut self, source: IpAddr, n: u64) {
        self.slot(source).receive(n);
    }

    /// Takes `n` out of flight: from the source's own account first, the rest from the others', where it was counted while the
    /// source had no account.
    pub(super) fn settle(&mut self, source: IpAddr, n: u64, fate: Fate) {
        let own = self.index.get(&source).and_then(|slot| self.slots.get_mut(*slot));
        let settled = own.map_or(0, |slot| slot.account.settle(n, fate));
        self.others.settle(n.saturating_sub(settled), fate);
    }

    /// Returns the sources that have an account of their own.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, &Account)> {
        self.slots.iter().map(|slot| (slot.source, &slot.account))
    }

    /// Returns the sum of the sources that have none.
    pub(super) const fn others(&self) -> &Account {
        &self.others
    }

    /// Ends a minute: returns what its `limit` busiest sources did in it, busiest first.
    pub(super) fn end_minute(&mut self, limit: usize) -> Vec<(IpAddr, Account)> {
        let moved = self.slots.iter().filter(|slot| slot.account != slot.at_minute);
        let mut busiest: Vec<_> = moved.map(|slot| (slot.source, slot.account.since(&slot.at_minute))).collect();
        let rank = |(source, account): &(IpAddr, Account)| (Reverse(account.received), *source);
        if busiest.len() > limit {
            busiest.select_nth_unstable_by_key(limit, rank);
            busiest.truncate(limit);
        }
        busiest.sort_unstable_by_key(rank);
        for slot in self.slots.iter_mut().filter(|slot| slot.account != slot.at_minute) {
            slot.at_minute.clone_from(&slot.account);
        }
        busiest
    }

    /// Forgets every account and begins with these, as when a ledger is read back.
    pub(super) fn replace(&mut self, accounts: impl Iterator<Item = (IpAddr, Account)>) {
        *self = Self::default();
        accounts.for_each(|(source, account)| self.slot(source).merge(&account));
        // What they did in the minute of the restart is not known any more.
        self.slots.iter_mut().for_each(|slot| slot.at_minute.clone_from(&slot.account));
    }

    /// Sets the sum of the sources that have no account, as when a ledger is read back.
    pub(super) fn set_others(&mut self, others: Account) {
        self.others = others;
    }

    fn slot(&mut self, source: IpAddr) -> &mut Account {
        let slot = match self.index.get(&source) {
            Some(slot) => Some(*slot),
            None => self.free_slot(source),
        };
        match slot.and_then(|slot| self.slots.get_mut(slot)) {
            Some(slot) => &mut slot.account,
            None => &mut self.others,
        }
    }

    /// Gives `source` a slot: a new one, or that of the least busy of a few that have nothing in flight.
    fn free_slot(&mut self, source: IpAddr) -> Option<usize> {
        if self.slots.len() < MAX_SOURCES {
            self.index.insert(source, self.slots.len());
            self.slots.push(Slot::new(source));
            return Some(self.slots.len().saturating_sub(1));
        }
        let sample = (0..SAMPLE).map(|step| (self.hand.wrapping_add(step)) % MAX_SOURCES);
        let idle = sample.filter_map(|slot| self.slots.get(slot).map(|known| (slot, &known.account)));
        let victim = idle.filter(|(_, account)| account.in_flight() == 0).min_by_key(|(_, account)| account.received).map(|(slot, _)| slot);
        self.hand = (self.hand.wrapping_add(SAMPLE)) % MAX_SOURCES;
        let slot = victim?;
        let evicted = std::mem::replace(self.slots.get_mut(slot)?, Slot::new(source));
        self.others.merge(&evicted.account);
        self.index.remove(&evicted.source);
        self.index.insert(source, slot);
        Some(slot)
    }
}

impl Slot {
    fn new(source: IpAddr) -> Self {
        Self { source, account: Account::default(), at_minute: Account::default() }
    }
}

impl PartialEq for Sources {
    /// Compares the accounts, not where they lie.
    fn eq(&self, other: &Self) -> bool {
        let own = |source: &IpAddr| self.index.get(source).and_then(|slot| self.slots.get(*slot)).map(|slot| &slot.account);
        self.others == other.others
            && self.slots.len() == other.slots.len()
            && other.slots.iter().all(|slot| own(&slot.source) == Some(&slot.account))
    }
}

#[cfg(test)]
mod tests {
    use super::super::DropReason;
    use super::*;

    fn address(n: usize) -> IpAddr {
        IpAddr::from([10, (n >> 16) as u8, (n >> 8) as u8, n as u8])
    }

    fn sum(sources: &Sources) -> Account {
        let mut sum = sources.others().clone();
        sources.iter().for_each(|(_, account)| sum.merge(account));
        sum
    }

    #[test]
    fn a_flood_of_sources_stays_bounded_and_loses_no_count() {
        let mut sources = Sources::default();
        sources.receive(address(1), 1_000_000);
        for n in 0..3 * MAX_SOURCES {
            sources.receive(address(n), 1);
            sources.settle(address(n), 1, Fate::Accepted);
        }
        sources.settle(address(1), 1_000_000, Fate::Dropped(DropReason::RateLimited));
        assert_eq!(sources.slots.len(), MAX_SOURCES);
        assert_eq!(sum(&sources).received, 1_000_000 + 3 * MAX_SOURCES as u64);
        assert_eq!(sum(&sources).in_flight(), 0);
        assert!(sources.index.contains_key(&address(1)), "the busiest source keeps its account");
    }

    #[test]
    fn a_source_that_had_no_account_is_settled_among_the_others() {
        let mut sources = Sources::default();
        for n in 0..MAX_SOURCES {
            sources.receive(address(n), 1);
        }
        sources.receive(address(MAX_SOURCES), 2);
        for n in 0..MAX_SOURCES {
            sources.settle(address(n), 1, Fate::Accepted);
        }
        sources.receive(address(MAX_SOURCES), 1);
        sources.settle(address(MAX_SOURCES), 3, Fate::Accepted);
        assert_eq!(sum(&sources).in_flight(), 0);
    }
}
