//! The account of everything that reached a socket: `received = accepted + in_flight + Σ dropped`, always and for every source.
//!
//! Pure: the gateway wraps it in one lock and calls it once a batch. What is in flight is never stored, only derived, so the
//! equation cannot be broken. Sources are bounded; what does not fit is summed under `others`.

mod encoding;
mod minutes;
mod sources;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use postern_protocol::message::LedgerMinute;
use postern_protocol::status::{self, CrashWindow, SourceAccount};
use postern_protocol::timestamp::Timestamp;

use self::minutes::{Ending, Minutes};
use self::sources::Sources;
use crate::event::Protocol;

pub use self::encoding::{Detail, LedgerError};
pub use self::minutes::{ClosedMinute, KEPT_MINUTES, KEPT_SOURCE_MINUTES, MINUTE_SOURCES};

/// Most sources with an account of their own, by protocol.
pub const MAX_SOURCES: usize = 4096;

/// Sources in a snapshot.
pub const TOP_SOURCES: usize = 20;

/// Crash windows that are kept.
pub const MAX_CRASH_WINDOWS: usize = 16;

/// The name under which sources without an account of their own are summed.
pub const OTHERS: &str = "others";

/// Why something that reached a socket was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// A community that its source may not use.
    BadCommunity,
    /// An HMAC or bearer token that does not fit.
    BadSignature,
    /// The connection ended in the middle of a message.
    ConnectionLost,
    /// An SNMPv3 message that cannot be decrypted (usmStatsDecryptionErrors).
    DecryptionFailed,
    /// An SNMPv3 discovery or synchronisation, answered with a Report.
    Discovery,
    /// An inform or push that was already taken in.
    Duplicate,
    /// The kernel's receive buffer was full.
    KernelBuffer,
    /// An SNMPv3 security level below what its user must have (usmStatsUnsupportedSecLevels).
    LevelTooLow,
    /// The bytes are not a message of the protocol.
    Malformed,
    /// A sender that had to prove who it is and did not.
    NotAuthentic,
    /// An SNMPv3 message outside its engine's time window (usmStatsNotInTimeWindows).
    NotInTimeWindow,
    /// The queue to the engine was full.
    QueueFull,
    /// More than the source may send.
    RateLimited,
    /// A signed push or an SNMPv3 message that was already seen.
    Replayed,
    /// The daemon was stopping.
    Shutdown,
    /// A source that the configuration does not allow.
    SourceDenied,
    /// The spool could not take it.
    SpoolFailed,
    /// Longer than the protocol's bound.
    TooLong,
    /// More varbinds or events than the bound.
    TooMany,
    /// An SNMPv3 engine that no user is bound to (usmStatsUnknownEngineIDs).
    UnknownEngine,
    /// An SNMPv3 user that nobody configured (usmStatsUnknownUserNames).
    UnknownUser,
    /// An SNMP version that is not spoken.
    UnsupportedVersion,
    /// An SNMPv3 message whose HMAC does not fit (usmStatsWrongDigests).
    WrongDigest,
    /// An SNMP message that is not a notification.
    WrongPdu,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 24] = [
        Self::BadCommunity,
        Self::BadSignature,
        Self::ConnectionLost,
        Self::DecryptionFailed,
        Self::Discovery,
        Self::Duplicate,
        Self::KernelBuffer,
        Self::LevelTooLow,
        Self::Malformed,
        Self::NotAuthentic,
        Self::NotInTimeWindow,
        Self::QueueFull,
        Self::RateLimited,
        Self::Replayed,
        Self::Shutdown,
        Self::SourceDenied,
        Self::SpoolFailed,
        Self::TooLong,
        Self::TooMany,
        Self::UnknownEngine,
        Self::UnknownUser,
        Self::UnsupportedVersion,
        Self::WrongDigest,
        Self::WrongPdu,
    ];

    /// Returns the name in reports and metrics; it is also the name on disk, so it stays.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadCommunity => "bad_community",
            Self::BadSignature => "bad_signature",
            Self::ConnectionLost => "connection_lost",
            Self::DecryptionFailed => "decryption_failed",
            Self::Discovery => "discovery",
            Self::Duplicate => "duplicate",
            Self::KernelBuffer => "kernel_buffer",
            Self::LevelTooLow => "level_too_low",
            Self::Malformed => "malformed",
            Self::NotAuthentic => "not_authentic",
            Self::NotInTimeWindow => "not_in_time_window",
            Self::QueueFull => "queue_full",
            Self::RateLimited => "rate_limited",
            Self::Replayed => "replayed",
            Self::Shutdown => "shutdown",
            Self::SourceDenied => "source_denied",
            Self::SpoolFailed => "spool_failed",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::UnknownEngine => "unknown_engine",
            Self::UnknownUser => "unknown_user",
            Self::UnsupportedVersion => "unsupported_version",
            Self::WrongDigest => "wrong_digest",
            Self::WrongPdu => "wrong_pdu",
        }
    }

    /// Returns the reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// The whole account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    protocols: BTreeMap<Protocol, ProtocolAccount>,
    crash_windows: VecDeque<CrashWindow>,
    minutes: Minutes,
}

#[derive(Clone, Debug, Default)]
struct ProtocolAccount {
    total: Account,
    sources: Sources,
    /// Messages that were settled and never received, since the minute began: a fault of the program, told as a gap.
    unmatched: u64,
    /// The total changed since it was last encoded.
    total_is_fresh: bool,
    /// A source's account changed since they were last encoded.
    sources_are_fresh: bool,
}

impl PartialEq for ProtocolAccount {
    /// Compares the accounts, not what is stored of them.
    fn eq(&self, other: &Self) -> bool {
        self.total == other.total && self.sources == other.sources
    }
}

/// One account. What was received and neither accepted nor dropped is in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    received: u64,
    accepted: u64,
    dropped: BTreeMap<DropReason, u64>,
}

/// Sources by how much came from them.
struct Ranking<'l> {
    /// The busiest, busiest first.
    top: Vec<(Protocol, IpAddr, &'l Account)>,
    /// The sum of the others.
    others: BTreeMap<Protocol, Account>,
}

/// How something left the state of being in flight.
#[derive(Clone, Copy)]
enum Fate {
    Accepted,
    Dropped(DropReason),
}

impl Ledger {
    /// Makes an empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `n` messages of `source` that were read; they are in flight from now on.
    pub fn received(&mut self, protocol: Protocol, source: IpAddr, n: u64) {
        let account = self.changing(protocol);
        account.sources_are_fresh = true;
        account.total.receive(n);
        account.sources.receive(source, n);
    }

    /// Counts `n` messages in flight as handled by the engine.
    pub fn accepted(&mut self, protocol: Protocol, source: IpAddr, n: u64) {
        self.settle(protocol, source, n, Fate::Accepted);
    }

    /// Counts `n` messages in flight as given up.
    pub fn dropped(&mut self, protocol: Protocol, source: IpAddr, reason: DropReason, n: u64) {
        self.settle(protocol, source, n, Fate::Dropped(reason));
    }

    /// Counts `n` messages that the kernel dropped: received and dropped at once; their sources are unknown.
    pub fn kernel_dropped(&mut self, protocol: Protocol, n: u64) {
        let total = &mut self.changing(protocol).total;
        total.receive(n);
        total.settle(n, Fate::Dropped(DropReason::KernelBuffer));
    }

    /// Notes a span in which an unclean stop may have lost something; the last [`MAX_CRASH_WINDOWS`] are kept.
    pub fn crash_window(&mut self, from: Timestamp, to: Timestamp) {
        if self.crash_windows.len() == MAX_CRASH_WINDOWS {
            self.crash_windows.pop_front();
        }
        self.crash_windows.push_back(CrashWindow { from: from.as_nanos(), to: to.as_nanos() });
    }

    /// Says that it is `now`. When the minute that is being counted is over it is kept and returned, and the next begins. Protocols
    /// in `open` get a row even if nothing came.
    ///
    /// To be called soon after each minute's end: a call that is late counts what came since among the minute that began it.
    pub fn roll(&mut self, now: Timestamp, open: &[Protocol]) -> Option<ClosedMinute> {
        let minute = u64::try_from(now.as_secs()).unwrap_or(0) / 60;
        if self.minutes.current() == Some(minute) {
            return None;
        }
        for protocol in open {
            self.protocols.entry(*protocol).or_default();
        }
        let endings = self.protocols.iter_mut().map(|(protocol, account)| Ending {
            protocol: *protocol,
            total: &account.total,
            sources: account.sources.end_minute(MINUTE_SOURCES),
            unmatched: std::mem::take(&mut account.unmatched),
        });
        let closed = self.minutes.end(endings);
        self.minutes.begin(minute, self.protocols.iter().map(|(protocol, account)| (*protocol, &account.total)));
        closed
    }

    /// Returns the kept rows of `minutes` (since the Unix epoch), ascending.
    pub fn minutes(&self, minutes: std::ops::RangeInclusive<u64>) -> Vec<LedgerMinute> {
        self.minutes.rows(minutes)
    }

    /// Returns how many messages are in flight over all protocols.
    pub fn in_flight(&self) -> u64 {
        self.protocols.values().fold(0, |sum, account| sum.saturating_add(account.total.in_flight()))
    }

    /// Returns the report of this moment.
    pub fn snapshot(&self) -> status::Ledger {
        let mut totals = Account::default();
        let mut in_flight = 0_u64;
        let mut by_protocol = BTreeMap::new();
        for protocol in Protocol::ALL {
            let account = self.protocols.get(&protocol).map(|account| account.total.clone()).unwrap_or_default();
            in_flight = in_flight.saturating_add(account.in_flight());
            totals.merge(&account);
            by_protocol.insert(protocol.name().to_owned(), account.report());
        }
        debug_assert_eq!(totals.in_flight(), in_flight, "received = accepted + in_flight + Σ dropped, in the sum as in its parts");
        let row = |protocol: Protocol, source: String, account: &Account| SourceAccount {
            source,
            protocol: protocol.name().to_owned(),
            account: account.report(),
        };
        let Ranking { top, others } = self.rank(TOP_SOURCES);
        let mut top_sources: Vec<_> = top.iter().map(|(protocol, source, account)| row(*protocol, source.to_string(), account)).collect();
        top_sources.extend(others.iter().map(|(protocol, account)| row(*protocol, OTHERS.to_owned(), account)));
        status::Ledger { totals: totals.report(), by_protocol, top_sources, crash_windows: self.crash_windows.iter().copied().collect() }
    }

    /// Returns the `limit` busiest sources over all protocols, busiest first, and the sum of the others by protocol.
    fn rank(&self, limit: usize) -> Ranking<'_> {
        let mut top = Vec::new();
        let mut others: BTreeMap<Protocol, Account> = BTreeMap::new();
        for (protocol, account) in &self.protocols {
            top.extend(account.sources.iter().map(|(source, account)| (*protocol, source, account)));
            others.insert(*protocol, account.sources.others().clone());
        }
        let rank = |entry: &(Protocol, IpAddr, &Account)| (std::cmp::Reverse(entry.2.received), entry.0, entry.1);
        if top.len() > limit {
            top.select_nth_unstable_by_key(limit, rank);
            for (protocol, _, account) in top.drain(limit..) {
                others.entry(protocol).or_default().merge(account);
            }
        }
        top.sort_unstable_by_key(rank);
        others.retain(|_, account| account.received > 0);
        Ranking { top, others }
    }

    fn settle(&mut self, protocol: Protocol, source: IpAddr, n: u64, fate: Fate) {
        let account = self.changing(protocol);
        account.sources_are_fresh = true;
        let settled = account.total.settle(n, fate);
        debug_assert!(settled == n, "only what was received can be settled");
        account.unmatched = account.unmatched.saturating_add(n.saturating_sub(settled));
        account.sources.settle(source, settled, fate);
    }

    fn changing(&mut self, protocol: Protocol) -> &mut ProtocolAccount {
        let account = self.protocols.entry(protocol).or_default();
        account.total_is_fresh = true;
        account
    }
}

impl Account {
    fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.settled())
    }

    fn settled(&self) -> u64 {
        self.dropped.values().fold(self.accepted, |sum, n| sum.saturating_add(*n))
    }

    fn receive(&mut self, n: u64) {
        self.received = self.received.saturating_add(n);
    }

    /// Takes `n`, or what is in flight when that is less, out of flight; returns how many that were.
    fn settle(&mut self, n: u64, fate: Fate) -> u64 {
        let n = n.min(self.in_flight());
        if n > 0 {
            match fate {
                Fate::Accepted => self.accepted = self.accepted.saturating_add(n),
                Fate::Dropped(reason) => {
                    let dropped = self.dropped.entry(reason).or_default();
                    *dropped = dropped.saturating_add(n);
                }
            }
        }
        n
    }

    fn merge(&mut self, other: &Self) {
        self.received = self.received.saturating_add(other.received);
        self.accepted = self.accepted.saturating_add(other.accepted);
        for (reason, n) in &other.dropped {
            let dropped = self.dropped.entry(*reason).or_default();
            *dropped = dropped.saturating_add(*n);
        }
    }

    /// Returns what was counted since this account was `earlier`. What was in flight and forgotten by a restart makes no minus.
    fn since(&self, earlier: &Self) -> Self {
        let mut since = Self {
            received: self.received.saturating_sub(earlier.received),
            accepted: self.accepted.saturating_sub(earlier.accepted),
            dropped: BTreeMap::new(),
        };
        for (reason, n) in &self.dropped {
            let n = n.saturating_sub(earlier.dropped.get(reason).copied().unwrap_or(0));
            if n > 0 {
                since.dropped.insert(*reason, n);
            }
        }
        since
    }

    fn dropped_by_name(&self) -> BTreeMap<String, u64> {
        self.dropped.iter().map(|(reason, n)| (reason.name().to_owned(), *n)).collect()
    }

    fn report(&self) -> status::Account {
        let report = status::Account {
            received: self.received,
            accepted: self.accepted,
            in_flight: self.in_flight(),
            dropped: self.dropped_by_name(),
        };
        debug_assert_eq!(
            report.received,
            report.dropped.values().fold(report.accepted.saturating_add(report.in_flight), |sum, n| sum.saturating_add(*n)),
            "received = accepted + in_flight + Σ dropped"
        );
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn what_was_read_is_in_flight_until_it_is_settled() {
        let mut ledger = Ledger::new();
        ledger.received(Protocol::Syslog, PEER, 5);
        ledger.accepted(Protocol::Syslog, PEER, 2);
        ledger.dropped(Protocol::Syslog, PEER, DropReason::Malformed, 1);
        let totals = ledger.snapshot().totals;
        assert_eq!((totals.received, totals.accepted, totals.in_flight), (5, 2, 2));
        assert_eq!(totals.dropped, BTreeMap::from([("malformed".to_owned(), 1)]));
    }

    #[test]
    fn kernel_drops_are_received_and_dropped_but_have_no_source() {
        let mut ledger = Ledger::new();
        ledger.kernel_dropped(Protocol::SnmpTrap, 7);
        let snapshot = ledger.snapshot();
        assert_eq!(snapshot.by_protocol["snmp_trap"].received, 7);
        assert_eq!(snapshot.by_protocol["snmp_trap"].dropped["kernel_buffer"], 7);
        assert!(snapshot.top_sources.is_empty());
    }

    #[test]
    fn the_busiest_sources_come_first() {
        let mut ledger = Ledger::new();
        for last in 0..=255 {
            ledger.received(Protocol::Push, IpAddr::from([10, 0, 0, last]), u64::from(last) + 1);
        }
        let top = ledger.snapshot().top_sources;
        assert_eq!(top.len(), TOP_SOURCES + 1);
        assert_eq!((top[0].source.as_str(), top[0].account.received), ("10.0.0.255", 256));
        assert_eq!((top[20].source.as_str(), top[20].account.received), (OTHERS, (1..=236).sum()));
    }

    #[test]
    fn only_the_last_crash_windows_are_kept() {
        let mut ledger = Ledger::new();
        for second in 0..20 {
            ledger.crash_window(Timestamp::from_secs(second), Timestamp::from_secs(second + 1));
        }
        let windows = ledger.snapshot().crash_windows;
        assert_eq!((windows.len(), windows[0].from), (MAX_CRASH_WINDOWS, 4_000_000_000));
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_name(reason.name()), Some(reason));
        }
    }
}
