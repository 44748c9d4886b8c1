//! The ledger on disk (protobuf): a checkpoint has all of it, a delta what changed since the last one.
//!
//! Kept small: totals by protocol, the busiest sources, the crash windows, the minutes. The other sources are summed under `others`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postern_protocol::message::LedgerMinute;
use postern_protocol::status::CrashWindow;
use prost::Message as _;

use super::minutes::Row;
use super::{Account, DropReason, KEPT_MINUTES, Ledger, MAX_CRASH_WINDOWS, OTHERS};
use crate::event::Protocol;

/// Sources that keep their own account over a restart.
const STORED_SOURCES: usize = 64;

/// How much of what changed [`Ledger::encode_changes`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The totals and the busiest sources: a few KiB.
    Sources,
    /// The totals only: some ten bytes for each protocol that changed.
    Totals,
}

/// Why bytes are not a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The encoding is broken.
    #[error("the ledger is not well formed")]
    Encoding(#[from] prost::DecodeError),
    /// A field has a value outside its range.
    #[error("the ledger has an invalid {0}")]
    Field(&'static str),
}

/// Everything is optional in a delta: what is absent did not change.
#[derive(Clone, PartialEq, prost::Message)]
struct WireLedger {
    #[prost(message, repeated, tag = "1")]
    protocols: Vec<WireAccount>,
    #[prost(message, repeated, tag = "2")]
    sources: Vec<WireAccount>,
    #[prost(message, repeated, tag = "3")]
    crash_windows: Vec<WireWindow>,
    #[prost(message, repeated, tag = "4")]
    minutes: Vec<LedgerMinute>,
    #[prost(message, optional, tag = "5")]
    begun: Option<WireBegun>,
}

/// The minute that was being counted, and the totals when it began.
#[derive(Clone, PartialEq, prost::Message)]
struct WireBegun {
    #[prost(uint64, tag = "1")]
    minute: u64,
    #[prost(message, repeated, tag = "2")]
    base: Vec<WireAccount>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAccount {
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(uint64, tag = "3")]
    accepted: u64,
    #[prost(btree_map = "string, uint64", tag = "4")]
    dropped: BTreeMap<String, u64>,
    /// Only where a minute begins: it is nowhere after a restart.
    #[prost(uint64, tag = "5")]
    in_flight: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireWindow {
    #[prost(sfixed64, tag = "1")]
    from: i64,
    #[prost(sfixed64, tag = "2")]
    to: i64,
}

impl Ledger {
    /// Encodes the whole ledger. What is in flight is left out: after a restart it is nowhere, and a crash window says so.
    pub fn encode(&self) -> Vec<u8> {
        let windows = self.crash_windows.iter().map(|window| WireWindow { from: window.from, to: window.to });
        WireLedger {
            protocols: self.protocols.iter().map(|(protocol, account)| total(*protocol, &account.total)).collect(),
            sources: self.stored_sources(),
            crash_windows: windows.collect(),
            minutes: self.minutes.rows(0..=u64::MAX),
            begun: self.begun(),
        }
        .encode_to_vec()
    }

    /// Returns whether [`Ledger::encode_changes`] has something to tell.
    pub fn has_changes(&self) -> bool {
        self.minutes.has_unstored() || self.protocols.values().any(|account| account.total_is_fresh || account.sources_are_fresh)
    }

    /// Encodes what changed since the last call, for [`Ledger::apply`]; empty when nothing did.
    pub fn encode_changes(&mut self, detail: Detail) -> Vec<u8> {
        let mut wire = WireLedger::default();
        for (protocol, account) in &mut self.protocols {
            if std::mem::take(&mut account.total_is_fresh) {
                wire.protocols.push(total(*protocol, &account.total));
            }
        }
        if detail == Detail::Sources && self.protocols.values().any(|account| account.sources_are_fresh) {
            wire.sources = self.stored_sources();
            self.protocols.values_mut().for_each(|account| account.sources_are_fresh = false);
        }
        if self.minutes.has_unstored() {
            wire.minutes = self.minutes.take_unstored();
            wire.begun = self.begun();
        }
        wire.encode_to_vec()
    }

    /// Reads a ledger back; nothing is in flight then.
    ///
    /// # Errors
    /// [`LedgerError`] when the bytes are not what [`Ledger::encode`] makes.
    pub fn restore(bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut ledger = Self::new();
        ledger.apply(bytes)?;
        ledger.settle_others();
        Ok(ledger)
    }

    /// Takes in what [`Ledger::encode`] or [`Ledger::encode_changes`] wrote, in the order of writing. [`Ledger::settle_others`] comes
    /// after the last.
    ///
    /// # Errors
    /// [`LedgerError`] when the bytes are anything else.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        let wire = WireLedger::decode(bytes)?;
        for total in &wire.protocols {
            let (protocol, account) = total.account()?;
            self.protocols.entry(protocol).or_default().total = account;
        }
        if !wire.sources.is_empty() {
            let mut sources: BTreeMap<Protocol, Vec<(IpAddr, Account)>> = BTreeMap::new();
            for source in &wire.sources {
                let (protocol, account) = source.account()?;
                let address = source.source.parse().map_err(|_| LedgerError::Field("source"))?;
                sources.entry(protocol).or_default().push((address, account));
            }
            for (protocol, account) in &mut self.protocols {
                account.sources.replace(sources.remove(protocol).unwrap_or_default().into_iter());
            }
            if !sources.is_empty() {
                return Err(LedgerError::Field("total"));
            }
        }
        if wire.crash_windows.len() > MAX_CRASH_WINDOWS {
            return Err(LedgerError::Field("number of crash windows"));
        }
        if !wire.crash_windows.is_empty() {
            self.crash_windows = wire.crash_windows.iter().map(|window| CrashWindow { from: window.from, to: window.to }).collect();
        }
        if wire.minutes.len() as u64 > KEPT_MINUTES.saturating_mul(Protocol::ALL.len() as u64) {
            return Err(LedgerError::Field("number of minutes"));
        }
        let rows = wire.minutes.into_iter().map(|row| Row::decode(row).ok_or(LedgerError::Field("minute"))).collect::<Result<_, _>>()?;
        let begun = wire.begun.map(WireBegun::begun).transpose()?;
        self.minutes.restore(rows, begun);
        Ok(())
    }

    /// Makes the sum of the sources without an account what is left of the totals.
    pub fn settle_others(&mut self) {
        for account in self.protocols.values_mut() {
            let mut known = Account::default();
            account.sources.iter().for_each(|(_, source)| known.merge(source));
            // Kernel drops have no source; what no stored source accounts for came from the others.
            account.sources.set_others(account.total.without(&known, DropReason::KernelBuffer));
        }
    }

    fn stored_sources(&self) -> Vec<WireAccount> {
        let busiest = self.rank(STORED_SOURCES).top.into_iter();
        busiest.map(|(protocol, source, account)| WireAccount { source: source.to_string(), ..total(protocol, account) }).collect()
    }

    fn begun(&self) -> Option<WireBegun> {
        let base = self.minutes.base().iter();
        let base = base.map(|(protocol, account)| WireAccount { in_flight: account.in_flight(), ..total(*protocol, account) });
        self.minutes.current().map(|minute| WireBegun { minute, base: base.collect() })
    }
}

fn total(protocol: Protocol, account: &Account) -> WireAccount {
    let (protocol, source) = (protocol.name().to_owned(), OTHERS.to_owned());
    WireAccount { protocol, source, accepted: account.accepted, dropped: account.dropped_by_name(), in_flight: 0 }
}

impl WireBegun {
    fn begun(self) -> Result<(u64, BTreeMap<Protocol, Account>), LedgerError> {
        Ok((self.minute, self.base.iter().map(WireAccount::account).collect::<Result<_, _>>()?))
    }
}

impl WireAccount {
    fn account(&self) -> Result<(Protocol, Account), LedgerError> {
        let protocol = Protocol::ALL.into_iter().find(|p| p.name() == self.protocol).ok_or(LedgerError::Field("protocol"))?;
        let mut account = Account { accepted: self.accepted, ..Account::default() };
        for (name, n) in &self.dropped {
            account.dropped.insert(DropReason::from_name(name).ok_or(LedgerError::Field("reason"))?, *n);
        }
        account.received = account.settled().saturating_add(self.in_flight);
        Ok((protocol, account))
    }
}

impl Account {
    /// Returns what is left of this account without `part` and without the drops for `reason`.
    fn without(&self, part: &Self, reason: DropReason) -> Self {
        let mut rest = Self { accepted: self.accepted.saturating_sub(part.accepted), ..Self::default() };
        for (dropped, n) in &self.dropped {
            let n = n.saturating_sub(part.dropped.get(dropped).copied().unwrap_or(0));
            if n > 0 && *dropped != reason {
                rest.dropped.insert(*dropped, n);
            }
        }
        rest.received = rest.settled();
        rest
    }
}
