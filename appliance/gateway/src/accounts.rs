//! The ledger behind one lock, with the counters of the kernel's drops that belong to it.
//!
//! A lock, not a task: receivers are threads that must never wait for a task's turn, and a batch touches the ledger for less
//! than a microsecond. It is never held across an await. Receivers, proxy and pipeline count; status and commits read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_engine::event::Protocol;
use postern_engine::ledger::{ClosedMinute, Detail, DropReason, Ledger};
use postern_protocol::message::LedgerMinute;
use postern_protocol::status;
use postern_protocol::timestamp::Timestamp;

/// The shared account of the daemon.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<Mutex<Inner>>);

struct Inner {
    ledger: Ledger,
    sockets: BTreeMap<&'static str, SocketDrops>,
}

/// What the kernel has dropped on one UDP socket, as far as it is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketDrops {
    /// Inode of the socket: a socket that systemd keeps open goes on counting over a restart.
    pub(crate) inode: u64,
    /// The kernel's counter when it was last taken in; it wraps.
    pub(crate) counted: u32,
    /// Drops since the start of the daemon.
    pub(crate) total: u64,
    protocol: Protocol,
}

/// How many messages of one source came in one batch, and what became of those that do not go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    sources: Vec<(IpAddr, u64)>,
    dropped: Vec<(IpAddr, DropReason, u64)>,
}

impl Tally {
    /// Counts one message of `source`.
    pub(crate) fn received(&mut self, source: IpAddr) {
        match self.sources.iter_mut().find(|(known, _)| *known == source) {
            Some((_, n)) => *n = n.saturating_add(1),
            None => self.sources.push((source, 1)),
        }
    }

    /// Counts one message of `source` as given up; it must be counted as received, too.
    pub(crate) fn dropped(&mut self, source: IpAddr, reason: DropReason) {
        match self.dropped.iter_mut().find(|(known, why, _)| *known == source && *why == reason) {
            Some((_, _, n)) => *n = n.saturating_add(1),
            None => self.dropped.push((source, reason, 1)),
        }
    }
}

/// Sockets with their inodes and what of the kernel's counters is in the ledger.
pub(crate) type Counted = Vec<(&'static str, u64, u32)>;

impl Inner {
    fn counted(&self) -> Counted {
        self.sockets.iter().map(|(name, socket)| (*name, socket.inode, socket.counted)).collect()
    }
}

impl Accounts {
    /// Takes over the ledger of earlier starts.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(Inner { ledger, sockets: BTreeMap::new() })))
    }

    /// Counts a batch as received, and what it gave up as dropped.
    pub(crate) fn tally(&self, protocol: Protocol, tally: &Tally) {
        let mut inner = self.lock();
        for (source, n) in &tally.sources {
            inner.ledger.received(protocol, *source, *n);
        }
        for (source, reason, n) in &tally.dropped {
            inner.ledger.dropped(protocol, *source, *reason, *n);
        }
    }

    /// Counts one message as received and given up.
    pub(crate) fn refused(&self, protocol: Protocol, source: IpAddr, reason: DropReason) {
        let mut inner = self.lock();
        inner.ledger.received(protocol, source, 1);
        inner.ledger.dropped(protocol, source, reason, 1);
    }

    /// Counts messages in flight as given up, all for one reason.
    pub(crate) fn dropped(&self, protocol: Protocol, sources: impl IntoIterator<Item = (IpAddr, u64)>, reason: DropReason) {
        let mut inner = self.lock();
        for (source, n) in sources {
            inner.ledger.dropped(protocol, source, reason, n);
        }
    }

    /// Counts messages in flight as handled by the engine or given up; an unknown fate is `None`.
    pub(crate) fn settle(&self, settled: impl IntoIterator<Item = (Protocol, IpAddr, Option<DropReason>, u64)>) {
        let mut inner = self.lock();
        for (protocol, source, dropped, n) in settled {
            match dropped {
                None => inner.ledger.accepted(protocol, source, n),
                Some(reason) => inner.ledger.dropped(protocol, source, reason, n),
            }
        }
    }

    /// Begins to count the drops of a socket: from `earlier` on when that is the same socket, else from 0.
    pub(crate) fn open_socket(&self, name: &'static str, protocol: Protocol, inode: u64, earlier: Option<(u64, u32)>) {
        let counted = earlier.filter(|(known, _)| *known == inode).map_or(0, |(_, counted)| counted);
        self.lock().sockets.insert(name, SocketDrops { inode, counted, total: 0, protocol });
    }

    /// Takes in the kernel's counter of a socket; an older reading changes nothing.
    pub(crate) fn kernel_counter(&self, name: &str, counter: u32) {
        let mut inner = self.lock();
        let Inner { ledger, sockets } = &mut *inner;
        if let Some(socket) = sockets.get_mut(name) {
            let more = counter.wrapping_sub(socket.counted);
            // Two readers race: a difference beyond half the range is an older reading, not four billion drops.
            if more > 0 && more <= u32::MAX / 2 {
                socket.counted = counter;
                socket.total = socket.total.saturating_add(u64::from(more));
                ledger.kernel_dropped(socket.protocol, u64::from(more));
            }
        }
    }

    /// Takes in the kernel's counters by inode, as `/proc/self/net/udp` lists them.
    pub(crate) fn kernel_counters(&self, counters: &BTreeMap<u64, u32>) {
        let found: Vec<(&'static str, u32)> =
            self.lock().sockets.iter().filter_map(|(name, socket)| Some((*name, *counters.get(&socket.inode)?))).collect();
        for (name, counter) in found {
            self.kernel_counter(name, counter);
        }
    }

    /// Returns the drops of a socket since the start.
    pub(crate) fn socket_drops(&self, name: &str) -> Option<u64> {
        self.lock().sockets.get(name).map(|socket| socket.total)
    }

    /// Returns the report of this moment.
    pub(crate) fn snapshot(&self) -> status::Ledger {
        self.lock().ledger.snapshot()
    }

    /// Says that it is `now`; returns the minute that ended, if one did. Protocols in `open` get a row even if nothing came.
    pub(crate) fn roll(&self, now: Timestamp, open: &[Protocol]) -> Option<ClosedMinute> {
        self.lock().ledger.roll(now, open)
    }

    /// Returns the kept rows of `minutes` since the Unix epoch.
    pub(crate) fn minutes(&self, minutes: RangeInclusive<u64>) -> Vec<LedgerMinute> {
        self.lock().ledger.minutes(minutes)
    }

    /// Returns the whole ledger as a checkpoint stores it, and what of the kernel's counters is in it.
    pub(crate) fn encode(&self) -> (Vec<u8>, Counted) {
        let inner = self.lock();
        (inner.ledger.encode(), inner.counted())
    }

    /// Returns whether [`Accounts::encode_changes`] has something to tell.
    pub(crate) fn has_changes(&self) -> bool {
        self.lock().ledger.has_changes()
    }

    /// Returns what of the ledger changed since the last call, as a delta stores it, and what of the kernel's counters is in it.
    pub(crate) fn encode_changes(&self, detail: Detail) -> (Vec<u8>, Counted) {
        let mut inner = self.lock();
        (inner.ledger.encode_changes(detail), inner.counted())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is a single call that leaves the ledger whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn accounts(earlier: Option<(u64, u32)>) -> Accounts {
        let accounts = Accounts::new(Ledger::new());
        accounts.open_socket("snmp_trap", Protocol::SnmpTrap, 42, earlier);
        accounts
    }

    #[test]
    fn kernel_drops_count_once_however_often_they_are_read() {
        let accounts = accounts(None);
        accounts.kernel_counter("snmp_trap", 5);
        accounts.kernel_counters(&BTreeMap::from([(42, 7), (43, 99)]));
        accounts.kernel_counter("snmp_trap", 6);
        assert_eq!(accounts.snapshot().totals.dropped["kernel_buffer"], 7);
        assert_eq!(accounts.socket_drops("snmp_trap"), Some(7));
    }

    #[test]
    fn a_socket_that_outlived_the_daemon_goes_on_from_where_it_was() {
        let same = accounts(Some((42, u32::MAX)));
        same.kernel_counter("snmp_trap", 1);
        assert_eq!(same.snapshot().totals.received, 2);
        let other = accounts(Some((41, 100)));
        other.kernel_counter("snmp_trap", 3);
        assert_eq!(other.snapshot().totals.received, 3);
    }

    #[test]
    fn a_tally_keeps_the_equation() {
        let accounts = accounts(None);
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.received(PEER);
        }
        tally.dropped(PEER, DropReason::Malformed);
        accounts.tally(Protocol::Syslog, &tally);
        accounts.settle([(Protocol::Syslog, PEER, None, 1)]);
        let totals = accounts.snapshot().totals;
        assert_eq!((totals.received, totals.accepted, totals.in_flight, totals.dropped["malformed"]), (3, 1, 1, 1));
    }
}
