//! What the gateway keeps for itself in the spool: the delta of every commit, the checkpoint, and how both become state again.
//!
//! A delta carries what changed: the ledger's totals (once a second its sources, once a minute the minute), the kernel's counters,
//! what was newly seen. A checkpoint has the engine's state and everything that is remembered. Neither is ever sent.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_engine::alert::{AlertEngine, CheckpointError};
use postern_engine::ledger::{Detail, Ledger, LedgerError};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertError};
use postern_protocol::id::Lane;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::{Recovered, Replayed};
use prost::Message as _;

use super::seen::{Entry, Seen};
use super::usm::{StoredUsm, UsmMemory};
use crate::accounts::{Accounts, Counted};
use crate::waiting_room::{self, WaitingRoom};

/// Shortest time between two commits that carry the waiting room: its counts change with every refused datagram, and after a kill
/// those of the last seconds may be missing. Nothing else depends on them.
const ROOM_EVERY: Duration = Duration::from_secs(10);

/// Why the state of earlier starts cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    /// A record of the spool is not an alert.
    #[error("an alert in the spool cannot be read")]
    Alert(#[from] AlertError),
    /// The engine's state is not readable.
    #[error("the engine's checkpoint cannot be read")]
    Engine(#[from] CheckpointError),
    /// The local state is not readable.
    #[error("the gateway's state in the spool cannot be read")]
    Local(#[from] prost::DecodeError),
    /// The ledger is not readable.
    #[error("the ledger in the spool cannot be read")]
    Ledger(#[from] LedgerError),
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

/// The state with which a start begins.
pub(crate) struct State {
    /// Open alerts under the rules in force.
    pub(crate) engine: AlertEngine,
    /// What is recognised when it comes again, and who was refused.
    pub(crate) memory: Memory,
    /// The account so far.
    pub(crate) ledger: Ledger,
    /// Key of the digests in `seen`.
    pub(crate) digest_key: [u8; 32],
    /// Inode and counted drops of each UDP socket.
    pub(crate) sockets: BTreeMap<String, (u64, u32)>,
}

/// Makes the state of what the spool recovered.
///
/// # Errors
/// [`RecoveryError`]: the spool is whole, but of another make.
pub(crate) fn recover(recovered: Recovered, rules: RuleIndex) -> Result<State, RecoveryError> {
    let checkpoint = Checkpoint::decode(recovered.checkpoint.unwrap_or_default().as_slice())?;
    let engine = if checkpoint.engine.is_empty() { AlertEngine::new(rules) } else { AlertEngine::restore(rules, &checkpoint.engine)? };
    let mut state = State { engine, memory: Memory::default(), ledger: Ledger::new(), digest_key: [0; 32], sockets: BTreeMap::new() };
    let mut key = None;
    if let Some(local) = checkpoint.local {
        state.take(local, &mut key)?;
    }
    for replayed in recovered.later {
        match replayed {
            Replayed::Delta(bytes) => state.take(Local::decode(bytes.as_slice())?, &mut key)?,
            Replayed::Record { lane: Lane::Alerts, bytes } => state.engine.apply(Alert::decode(&bytes)?),
            Replayed::Record { lane: Lane::Inventory | Lane::Logs | Lane::Samples, .. } => {}
        }
    }
    state.ledger.settle_others();
    state.digest_key = match key {
        Some(key) => key,
        None => {
            let mut key = [0; 32];
            aws_lc_rs::rand::fill(&mut key).map_err(|_| RecoveryError::Random)?;
            key
        }
    };
    Ok(state)
}

impl State {
    fn take(&mut self, local: Local, key: &mut Option<[u8; 32]>) -> Result<(), RecoveryError> {
        self.ledger.apply(&local.ledger)?;
        if let Ok(stored) = <[u8; 32]>::try_from(local.digest_key) {
            *key = Some(stored);
        }
        self.sockets.extend(local.sockets.into_iter().map(|socket| (socket.name, (socket.inode, socket.counted))));
        local.seen.into_iter().for_each(|entry| self.memory.seen.restore(entry));
        local.usm.into_iter().for_each(|stored| self.memory.usm.restore(stored));
        local.room.into_iter().for_each(|stored| self.memory.room.restore(stored.entries));
        Ok(())
    }
}

/// What is remembered besides alerts and the ledger.
#[derive(Default)]
pub(crate) struct Memory {
    /// Informs and pushes that are recognised.
    pub(crate) seen: Seen,
    /// SNMPv3 engines' clocks and messages.
    pub(crate) usm: UsmMemory,
    /// SNMPv3 senders that were refused.
    pub(crate) room: WaitingRoom,
    room_at: Timestamp,
}

/// What is new of it, for a delta.
#[derive(Default)]
pub(crate) struct Fresh {
    seen: Vec<Entry>,
    usm: StoredUsm,
    room: Option<Vec<waiting_room::Entry>>,
}

impl Memory {
    /// Forgets what is too old to matter.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        self.seen.prune(now);
        self.usm.prune(now);
    }

    /// Returns what was noted since the last call: it belongs into the next commit.
    pub(crate) fn take_fresh(&mut self, now: Timestamp) -> Fresh {
        let due = now.saturating_since(self.room_at) >= ROOM_EVERY;
        let room = if due { self.room.take_changed() } else { None };
        if room.is_some() {
            self.room_at = now;
        }
        Fresh { seen: self.seen.take_fresh(), usm: self.usm.take_fresh(), room }
    }

    fn all(&self) -> Fresh {
        Fresh { seen: self.seen.all(), usm: self.usm.all(), room: Some(self.room.all()) }
    }
}

/// Makes deltas and checkpoints.
pub(crate) struct Writer {
    accounts: Accounts,
    digest_key: [u8; 32],
    /// What of the kernel's counters is stored.
    counted: Counted,
}

impl Writer {
    /// Makes a writer that stores what `accounts` holds.
    pub(crate) const fn new(accounts: Accounts, digest_key: [u8; 32]) -> Self {
        Self { accounts, digest_key, counted: Vec::new() }
    }

    /// Returns whether something was counted that no delta has.
    pub(crate) fn has_changes(&self) -> bool {
        self.accounts.has_changes()
    }

    /// Encodes a delta: what changed since the last one, with what was newly seen.
    pub(crate) fn delta(&mut self, fresh: Fresh, detail: Detail) -> Vec<u8> {
        let (ledger, counted) = self.accounts.encode_changes(detail);
        let changed = if counted == self.counted { Vec::new() } else { counted.clone() };
        self.counted = counted;
        local((ledger, changed), fresh).encode_to_vec()
    }

    /// Encodes the whole state.
    pub(crate) fn checkpoint(&self, engine: &AlertEngine, memory: &Memory) -> Vec<u8> {
        let local = Local { digest_key: self.digest_key.to_vec(), ..local(self.accounts.encode(), memory.all()) };
        Checkpoint { engine: engine.checkpoint(), local: Some(local) }.encode_to_vec()
    }
}

fn local((ledger, counted): (Vec<u8>, Counted), fresh: Fresh) -> Local {
    let Fresh { seen, usm, room } = fresh;
    let sockets = counted.into_iter().map(|(name, inode, counted)| StoredSocket { name: name.to_owned(), inode, counted });
    let room = room.map(|entries| StoredRoom { entries });
    Local { ledger, seen, digest_key: Vec::new(), sockets: sockets.collect(), usm: Some(usm), room }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Checkpoint {
    #[prost(bytes = "vec", tag = "1")]
    engine: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    local: Option<Local>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Local {
    #[prost(bytes = "vec", tag = "1")]
    ledger: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    seen: Vec<Entry>,
    #[prost(bytes = "vec", tag = "3")]
    digest_key: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    sockets: Vec<StoredSocket>,
    #[prost(message, optional, tag = "5")]
    usm: Option<StoredUsm>,
    #[prost(message, optional, tag = "6")]
    room: Option<StoredRoom>,
}

/// The whole waiting room.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredRoom {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<waiting_room::Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredSocket {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(fixed64, tag = "2")]
    inode: u64,
    #[prost(uint32, tag = "3")]
    counted: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::seen::Sighting;
    use postern_engine::event::Protocol;
    use postern_protocol::timestamp::Timestamp;

    const PEER: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn rules() -> RuleIndex {
        RuleIndex::built_in().unwrap()
    }

    #[test]
    fn a_first_start_begins_empty_with_a_key_of_its_own() {
        let first = recover(Recovered::default(), rules()).unwrap();
        let second = recover(Recovered::default(), rules()).unwrap();
        assert_ne!(first.digest_key, second.digest_key);
        assert_eq!(first.engine.open_count(), 0);
    }

    #[test]
    fn deltas_after_the_checkpoint_add_up() {
        let accounts = Accounts::new(Ledger::new());
        accounts.open_socket("snmp_trap", Protocol::SnmpTrap, 7, None);
        let mut writer = Writer::new(accounts.clone(), [9; 32]);
        let mut memory = Memory::default();
        memory.seen.inform(1, Timestamp::from_secs(0));
        memory.take_fresh(Timestamp::from_secs(0));
        let checkpoint = writer.checkpoint(&AlertEngine::new(rules()), &memory);
        let mut tally = crate::accounts::Tally::default();
        tally.received(PEER);
        tally.received(PEER);
        accounts.tally(Protocol::SnmpTrap, &tally);
        accounts.settle([(Protocol::SnmpTrap, PEER, None, 1)]);
        accounts.kernel_counter("snmp_trap", 3);
        memory.seen.inform(2, Timestamp::from_secs(0));
        let delta = writer.delta(memory.take_fresh(Timestamp::from_secs(0)), Detail::Totals);
        let recovered = Recovered { checkpoint: Some(checkpoint), later: vec![Replayed::Delta(delta)], ..Recovered::default() };
        let mut state = recover(recovered, rules()).unwrap();
        assert_eq!(state.digest_key, [9; 32]);
        assert_eq!(state.sockets["snmp_trap"], (7, 3));
        for digest in 1..=2 {
            assert_eq!(state.memory.seen.inform(digest, Timestamp::from_secs(1)), Sighting::Again);
        }
        let totals = state.ledger.snapshot().totals;
        assert_eq!((totals.received, totals.accepted, totals.in_flight, totals.dropped["kernel_buffer"]), (4, 1, 0, 3));
    }
}
