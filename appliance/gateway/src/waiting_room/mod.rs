//! The waiting room: SNMPv3 notifications that were refused, so that nobody must wonder why one does not show.
//!
//! One entry for each reason, source, engine and user, with a sentence that says what to do. Bounded: what is pushed out is summed
//! under `others`, and senders that were seen once go before those that come back, so that a flood of made-up names does not push
//! out the devices that really wait. Filled by the trap receiver, shown in reports, kept by the pipeline across restarts.

pub(crate) mod advice;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use postern_engine::ledger::{DropReason, OTHERS};
use postern_protocol::revision::intake::SecurityLevel;
use postern_protocol::status::intake::Waiting;
use postern_protocol::timestamp::Timestamp;

use self::advice::{Authority, Clocks, advice};

/// Most entries, those under `others` besides: one for each reason.
const MAX_ENTRIES: usize = 256;

/// Seconds after which an entry that nothing was added to is forgotten.
const KEEP_SECS: i64 = 7 * 24 * 3600;

/// Most bytes that are kept of an engine ID and of a user name (RFC 3411 §5, RFC 3414 §2.4: both have at most 32).
const MAX_NAME_BYTES: usize = 32;

/// A notification that was refused.
pub(crate) struct Refused<'a> {
    /// Why.
    pub(crate) reason: DropReason,
    /// Who sent it.
    pub(crate) source: IpAddr,
    /// Whose engine it says is authoritative.
    pub(crate) authority: Authority,
    /// msgAuthoritativeEngineID.
    pub(crate) engine_id: &'a [u8],
    /// msgUserName.
    pub(crate) user: &'a [u8],
    /// The level that it was sent at.
    pub(crate) level: SecurityLevel,
    /// Boots and times, where a window was missed.
    pub(crate) clocks: Option<Clocks>,
}

/// The room. Behind a lock, because a receiver's thread writes and reports read: short, once a refusal, never across an await.
#[derive(Clone, Default)]
pub(crate) struct WaitingRoom(Arc<Shared>);

#[derive(Default)]
struct Shared {
    room: Mutex<Room>,
    /// Whether the room has an entry: what is taken in asks this first, without the lock.
    occupied: AtomicBool,
}

#[derive(Default)]
struct Room {
    entries: Vec<Entry>,
    others: Vec<Entry>,
    changed: bool,
}

/// One entry, as commits store it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Entry {
    /// A ledger's reason.
    #[prost(string, tag = "1")]
    reason: String,
    /// Address of the sender, or `others`.
    #[prost(string, tag = "2")]
    source: String,
    #[prost(bytes = "vec", tag = "3")]
    engine_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    user: Vec<u8>,
    #[prost(string, tag = "5")]
    level: String,
    #[prost(uint64, tag = "6")]
    count: u64,
    /// Nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "7")]
    first_seen: i64,
    #[prost(sfixed64, tag = "8")]
    last_seen: i64,
    #[prost(string, tag = "9")]
    advice: String,
}

impl WaitingRoom {
    /// Notes a refusal.
    pub(crate) fn refuse(&self, refused: &Refused<'_>, now: Timestamp) {
        let mut room = self.lock();
        room.refuse(refused, now);
        self.0.occupied.store(true, Ordering::Relaxed);
    }

    /// Forgets what kept this user of this engine waiting: a notification of theirs was just taken in.
    pub(crate) fn admit(&self, source: IpAddr, engine_id: &[u8], user: &[u8]) {
        if !self.0.occupied.load(Ordering::Relaxed) {
            return;
        }
        let mut room = self.lock();
        let before = room.entries.len();
        room.entries.retain(|entry| !(entry.engine_id == engine_id && entry.user == user && entry.source == source.to_string()));
        room.changed |= room.entries.len() != before;
        self.0.occupied.store(!room.entries.is_empty(), Ordering::Relaxed);
    }

    /// Returns what a report shows, most recent first.
    pub(crate) fn report(&self, now: Timestamp) -> Vec<Waiting> {
        let mut room = self.lock();
        room.forget_old(now);
        let mut shown: Vec<Waiting> = room.all().map(Entry::show).collect();
        shown.sort_by_key(|entry| std::cmp::Reverse(entry.last_seen));
        shown
    }

    /// Returns every entry: it belongs into a checkpoint.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.lock().all().cloned().collect()
    }

    /// Returns every entry if something changed since the last call: it belongs into a commit.
    pub(crate) fn take_changed(&self) -> Option<Vec<Entry>> {
        let mut room = self.lock();
        std::mem::take(&mut room.changed).then(|| room.all().cloned().collect())
    }

    /// Replaces everything by what an earlier run committed.
    pub(crate) fn restore(&self, entries: Vec<Entry>) {
        let mut room = self.lock();
        let known = entries.into_iter().filter(|entry| DropReason::from_name(&entry.reason).is_some());
        (room.others, room.entries) = known.partition(|entry| entry.source == OTHERS);
        room.entries.truncate(MAX_ENTRIES);
        room.others.truncate(DropReason::ALL.len());
        self.0.occupied.store(!room.entries.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        // Nothing under the lock can be left half done in a way that matters: at worst a count is one too low.
        self.0.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn refuse(&mut self, refused: &Refused<'_>, now: Timestamp) {
        self.changed = true;
        let source = refused.source.to_string();
        let (engine_id, user) = (cut(refused.engine_id), cut(refused.user));
        let reason = refused.reason.name();
        let level = level(refused.level);
        let same =
            |entry: &&mut Entry| entry.reason == reason && entry.source == source && entry.engine_id == engine_id && entry.user == user;
        if let Some(entry) = self.entries.iter_mut().find(same) {
            level.clone_into(&mut entry.level);
            entry.advice = advice(refused);
            entry.add(1, now.as_nanos());
            return;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.push_out(now);
        }
        self.entries.push(Entry {
            reason: reason.to_owned(),
            source,
            engine_id: engine_id.to_vec(),
            user: user.to_vec(),
            level: level.to_owned(),
            count: 1,
            first_seen: now.as_nanos(),
            last_seen: now.as_nanos(),
            advice: advice(refused),
        });
    }

    /// Makes room: for what is too old, else from those seen once the one seen longest ago, else from all.
    fn push_out(&mut self, now: Timestamp) {
        self.forget_old(now);
        if self.entries.len() < MAX_ENTRIES {
            return;
        }
        let least = self.entries.iter().enumerate().min_by_key(|(_, entry)| (entry.count > 1, entry.last_seen)).map(|(at, _)| at);
        let Some(gone) = least.map(|at| self.entries.swap_remove(at)) else { return };
        if let Some(others) = self.others.iter_mut().find(|others| others.reason == gone.reason) {
            others.first_seen = others.first_seen.min(gone.first_seen);
            others.add(gone.count, others.last_seen.max(gone.last_seen));
            return;
        }
        let advice = "more senders than this list holds: mend those above, or deny sources by receivers.snmp_trap.allow".to_owned();
        self.others.push(Entry {
            source: OTHERS.to_owned(),
            engine_id: Vec::new(),
            user: Vec::new(),
            level: String::new(),
            advice,
            ..gone
        });
    }

    fn forget_old(&mut self, now: Timestamp) {
        let oldest = now.as_nanos().saturating_sub(Timestamp::from_secs(KEEP_SECS).as_nanos());
        let before = self.entries.len() + self.others.len();
        self.entries.retain(|entry| entry.last_seen >= oldest);
        self.others.retain(|entry| entry.last_seen >= oldest);
        self.changed |= self.entries.len() + self.others.len() != before;
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain(&self.others)
    }
}

impl Entry {
    fn add(&mut self, n: u64, at: i64) {
        self.count = self.count.saturating_add(n);
        self.last_seen = at;
    }

    fn show(&self) -> Waiting {
        Waiting {
            reason: self.reason.clone(),
            source: self.source.clone(),
            engine_id: HEXLOWER.encode(&self.engine_id),
            user: readable(&self.user),
            level: self.level.clone(),
            count: self.count,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            advice: self.advice.clone(),
        }
    }
}

/// Makes a user name readable: what is no visible character of UTF-8 is escaped.
pub(crate) fn readable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        Ok(_) | Err(_) => name.escape_ascii().to_string(),
    }
}

fn cut(name: &[u8]) -> &[u8] {
    name.get(..MAX_NAME_BYTES).unwrap_or(name)
}

const fn level(level: SecurityLevel) -> &'static str {
    match level {
        SecurityLevel::NoAuthNoPriv => "no_auth_no_priv",
        SecurityLevel::AuthNoPriv => "auth_no_priv",
        SecurityLevel::AuthPriv => "auth_priv",
    }
}

#[cfg(test)]
mod tests;
