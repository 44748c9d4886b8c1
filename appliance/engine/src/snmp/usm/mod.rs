//! The User-based Security Model (RFC 3414, RFC 7860, RFC 3826) of a notification receiver.
//!
//! [`Usm::process`] takes a datagram in the order of RFC 3414 §3.2: engine, user, level, digest, time window, decryption, and then
//! looks whether the message was there before. State changes only when all of it is good: a refused message leaves no trace but
//! the usmStats counters. For traps the sender's engine is authoritative, and its clock is learnt from its first authenticated message;
//! for informs ours is.
//!
//! Pure: the time is an argument, and so is the start of the salts. Nothing here is random: [`LocalEngine::salt`] must be a fresh
//! random number at each start, and [`LocalEngine::boots`] higher than ever before, else salts (and so key streams) come again.
//! `now` should be a clock that does not step, such as the wall time at the start plus what a monotonic clock measured since.
//! One `Usm` serves all SNMP listeners of a gateway: with two, a message could be replayed to the other.

mod answer;
mod auth;
mod cache;
mod cipher;
mod clock;
mod key;
mod networks;
mod process;
mod seen;
mod users;

use std::sync::Arc;

use postern_protocol::revision::intake::SecurityLevel;
use postern_protocol::timestamp::Timestamp;

use self::answer::Stats;
use self::cache::KeyCache;
use self::clock::Engines;
use self::seen::{Entry, Informs, Seen};
use super::engine_id::EngineId;
use super::{DecodeError, Kind};
use crate::event::Notification;
use crate::ledger::DropReason;

pub use users::{Secret, UserConfig, Users};

/// Ourselves, the authoritative engine of informs.
#[derive(Clone, Copy, Debug)]
pub struct LocalEngine {
    /// Our snmpEngineID.
    pub engine: EngineId,
    /// Our snmpEngineBoots: higher than at any start before.
    pub boots: u32,
    /// When snmpEngineTime was 0.
    pub started: Timestamp,
    /// Where the counter of salts begins: random.
    pub salt: u64,
}

/// What is known of a sender's clock; kept so that replays stay refused after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineClock {
    /// The authoritative engine.
    pub engine: EngineId,
    /// Its snmpEngineBoots.
    pub boots: u32,
    /// The highest snmpEngineTime that was received authenticated, in seconds.
    pub time: u32,
    /// When that was.
    pub at: Timestamp,
    /// The lowest snmpEngineTime of these boots that is still taken: below it, messages are no longer remembered one by one.
    pub floor: u32,
}

/// One message that was taken in and must not be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenDigest {
    /// Its authoritative engine.
    pub engine: EngineId,
    /// Its msgAuthoritativeEngineBoots.
    pub boots: u32,
    /// Its msgAuthoritativeEngineTime.
    pub time: u32,
    /// When it came.
    pub at: Timestamp,
    /// The first 64 bits of its HMAC, which covers all of it under a key that only the sender has.
    pub digest: u64,
}

/// snmpEngineBoots and snmpEngineTime of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineTime {
    /// How often it started.
    pub boots: u32,
    /// Seconds since then.
    pub time: u32,
}

/// What became of a datagram that was not refused.
#[derive(Debug)]
pub enum Outcome {
    /// A trap or inform that is who it says it is, as far as its level goes.
    Notification(Box<AuthenticatedNotification>),
    /// A discovery or synchronisation (RFC 3414 §4): the Report to send back at once.
    Report(Vec<u8>),
}

/// A notification that passed the security model; at noAuthNoPriv that proves nothing.
#[derive(Debug)]
pub struct AuthenticatedNotification {
    /// Whether it wants an answer.
    pub kind: Kind,
    /// What it reports, with `engine_id`.
    pub notification: Notification,
    /// The level that it came at.
    pub level: SecurityLevel,
    /// msgUserName.
    pub user: Arc<str>,
    /// The sender's clock, when this message moved it: to be kept in the commit of the event.
    pub clock: Option<EngineClock>,
    /// What refuses it the next time, for authenticated traps: to be kept in the commit of the event.
    pub seen: Option<SeenDigest>,
    /// For an inform the complete Response at its level, made now; to be sent when the event is durable.
    pub response: Option<Vec<u8>>,
    /// For an inform its plain scopedPDU, which a retransmission has again under another msgID; else empty.
    pub scoped_pdu: Vec<u8>,
}

/// Why a datagram was refused, with what the waiting room shows.
#[derive(Debug)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// msgAuthoritativeEngineID, when it is one.
    pub engine: Option<EngineId>,
    /// msgUserName, readable; empty when not known.
    pub user: String,
    /// The level that its flags say.
    pub level: Option<SecurityLevel>,
    /// The clock of the authoritative engine as we know it, when we do.
    pub ours: Option<EngineTime>,
    /// The clock that the message says.
    pub theirs: Option<EngineTime>,
    /// The Report to send back at once, when the sender asked for one and we are authoritative.
    pub report: Option<Vec<u8>>,
}

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The digest is good, but what was decrypted is no scopedPDU: the privacy key or algorithm differs.
    #[error("it cannot be decrypted")]
    DecryptionFailed,
    /// Below the user's minimum, or one for which the user has no keys.
    #[error("its security level is not taken from this user")]
    LevelTooLow,
    /// Outside of the authoritative engine's window of 150 s, or that engine's boots are at their end.
    #[error("it is outside of the engine's time window")]
    NotInTimeWindow,
    /// It was taken in before.
    #[error("it was taken in before")]
    Replayed,
    /// It is not an SNMPv3 notification.
    #[error(transparent)]
    Undecodable(DecodeError),
    /// No user may send for this engine from this source, or no further engine can be remembered.
    #[error("no user is bound to its engine")]
    UnknownEngine,
    /// Users may send for this engine, but not one of this name.
    #[error("its user is not known")]
    UnknownUser,
    /// The HMAC does not fit: the authentication key or algorithm differs.
    #[error("its digest is wrong")]
    WrongDigest,
}

impl RefusalReason {
    /// Returns the reason under which the ledger counts it.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::DecryptionFailed => DropReason::DecryptionFailed,
            Self::LevelTooLow => DropReason::LevelTooLow,
            Self::NotInTimeWindow => DropReason::NotInTimeWindow,
            Self::Replayed => DropReason::Replayed,
            Self::Undecodable(error) => error.drop_reason(),
            Self::UnknownEngine => DropReason::UnknownEngine,
            Self::UnknownUser => DropReason::UnknownUser,
            Self::WrongDigest => DropReason::WrongDigest,
        }
    }
}

impl Refusal {
    fn of(reason: RefusalReason) -> Self {
        Self { reason, engine: None, user: String::new(), level: None, ours: None, theirs: None, report: None }
    }
}

/// The security model: users, keys, clocks and what was seen.
///
/// All of it is bounded: 16,384 localised keys, 262,144 remembered traps, 65,536 informs, and 65,536 engines besides those that users list. A
/// clock is never forgotten to make room; beyond the bound, further engines of users that take any are refused as unknown. Only messages
/// with a good digest take room.
pub struct Usm {
    local: LocalEngine,
    users: Arc<Users>,
    engines: Engines,
    keys: KeyCache,
    seen: Seen,
    informs: Informs,
    stats: Stats,
    salt: u64,
    scratch: Vec<u8>,
    freshness: Freshness,
}

/// Whether messages have to be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// They were, when they were taken in the first time.
    Known,
    /// Within the window, and not taken in before.
    Required,
}

impl Usm {
    /// Makes one that takes messages that another one took before: it asks who sent them, and neither for their time nor whether
    /// it has had them. For events that are replayed, never for a socket.
    pub fn for_replay(local: LocalEngine, users: Arc<Users>) -> Self {
        Self { freshness: Freshness::Known, ..Self::new(local, users) }
    }

    /// Makes one that knows no clock yet.
    pub fn new(local: LocalEngine, users: Arc<Users>) -> Self {
        Self {
            freshness: Freshness::Required,
            local,
            users,
            engines: Engines::default(),
            keys: KeyCache::default(),
            seen: Seen::default(),
            informs: Informs::default(),
            stats: Stats::default(),
            salt: local.salt,
            scratch: Vec::new(),
        }
    }

    /// Takes other users; clocks and what was seen stay.
    pub fn replace_users(&mut self, users: Arc<Users>) {
        self.keys.clear();
        self.users = users;
    }

    /// Takes a clock that was kept; before any of [`Usm::restore_seen`].
    pub fn restore_clock(&mut self, clock: EngineClock) {
        self.engines.restore(clock);
    }

    /// Takes a message that was kept; the oldest first, and each after the clock of its engine.
    pub fn restore_seen(&mut self, seen: SeenDigest) {
        self.make_room(seen.at);
        if let Some(slot) = self.engines.slot(&seen.engine) {
            self.seen.insert(Entry::new(seen.digest, slot, EngineTime { boots: seen.boots, time: seen.time }, seen.at));
        }
    }

    /// Forgets the clock of one engine, so that its next authenticated message sets it anew.
    ///
    /// An audited act: until that message came, any that was recorded before can be replayed, unless it is remembered yet.
    pub fn reset_engine(&mut self, engine: &EngineId) {
        self.engines.reset(engine);
    }
}

#[cfg(test)]
mod tests;
