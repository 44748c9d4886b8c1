//! The ledger on disk (protobuf): what every commit carries so that a restart goes on counting.
//!
//! Kept small: totals by protocol, the busiest sources, the crash windows. The other sources are summed under `others`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postern_protocol::status::CrashWindow;
use prost::Message as _;

use super::{Account, DropReason, Ledger, MAX_CRASH_WINDOWS, OTHERS};
use crate::event::Protocol;

/// Sources that keep their own account over a restart.
const STORED_SOURCES: usize = 64;

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

#[derive(Clone, PartialEq, prost::Message)]
struct WireLedger {
    #[prost(message, repeated, tag = "1")]
    protocols: Vec<WireAccount>,
    #[prost(message, repeated, tag = "2")]
    sources: Vec<WireAccount>,
    #[prost(message, repeated, tag = "3")]
    crash_windows: Vec<WireWindow>,
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
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireWindow {
    #[prost(sfixed64, tag = "1")]
    from: i64,
    #[prost(sfixed64, tag = "2")]
    to: i64,
}

impl Ledger {
    /// Encodes the ledger. What is in flight is left out: after a restart it is nowhere, and a crash window says so.
    pub fn encode(&self) -> Vec<u8> {
        let wire = |protocol: Protocol, source: String, account: &Account| WireAccount {
            protocol: protocol.name().to_owned(),
            source,
            accepted: account.accepted,
            dropped: account.dropped.iter().map(|(reason, n)| (reason.name().to_owned(), *n)).collect(),
        };
        let sources = self
            .rank(STORED_SOURCES)
            .top
            .into_iter()
            .map(|(protocol, source, account)| wire(protocol, source.to_string(), account))
            .collect();
        let totals = self.protocols.iter().map(|(protocol, account)| wire(*protocol, OTHERS.to_owned(), &account.total));
        let windows = self.crash_windows.iter().map(|window| WireWindow { from: window.from, to: window.to });
        WireLedger { protocols: totals.collect(), sources, crash_windows: windows.collect() }.encode_to_vec()
    }

    /// Reads a ledger back; nothing is in flight then.
    ///
    /// # Errors
    /// [`LedgerError`] when the bytes are not what [`Ledger::encode`] makes.
    pub fn restore(bytes: &[u8]) -> Result<Self, LedgerError> {
        let wire = WireLedger::decode(bytes)?;
        let mut ledger = Self::new();
        let mut known: BTreeMap<Protocol, Account> = BTreeMap::new();
        for source in &wire.sources {
            let (protocol, account) = source.account()?;
            let address: IpAddr = source.source.parse().map_err(|_| LedgerError::Field("source"))?;
            ledger.protocols.entry(protocol).or_default().sources.restore(address, &account);
            known.entry(protocol).or_default().merge(&account);
        }
        for total in &wire.protocols {
            let (protocol, account) = total.account()?;
            let entry = ledger.protocols.entry(protocol).or_default();
            // Kernel drops have no source; what no stored source accounts for came from the others.
            let rest = account.without(known.get(&protocol), DropReason::KernelBuffer);
            entry.sources.restore_others(&rest);
            entry.total = account;
        }
        if known.keys().any(|protocol| !wire.protocols.iter().any(|total| total.protocol == protocol.name())) {
            return Err(LedgerError::Field("total"));
        }
        if wire.crash_windows.len() > MAX_CRASH_WINDOWS {
            return Err(LedgerError::Field("number of crash windows"));
        }
        ledger.crash_windows = wire.crash_windows.iter().map(|window| CrashWindow { from: window.from, to: window.to }).collect();
        Ok(ledger)
    }
}

impl WireAccount {
    fn account(&self) -> Result<(Protocol, Account), LedgerError> {
        let protocol = Protocol::ALL.into_iter().find(|p| p.name() == self.protocol).ok_or(LedgerError::Field("protocol"))?;
        let mut account = Account { accepted: self.accepted, ..Account::default() };
        for (name, n) in &self.dropped {
            account.dropped.insert(DropReason::from_name(name).ok_or(LedgerError::Field("reason"))?, *n);
        }
        account.received = account.settled();
        Ok((protocol, account))
    }
}

impl Account {
    /// Returns what is left of this account without `part` and without the drops for `reason`.
    fn without(&self, part: Option<&Self>, reason: DropReason) -> Self {
        let empty = Self::default();
        let part = part.unwrap_or(&empty);
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
