//! What must be recognised when it comes again, also after a restart: informs, push signatures, idempotency keys.
//!
//! Pure: times are passed in. Every table is bounded. A full table of informs or keys forgets its oldest entry; one of
//! signatures refuses, because forgetting would let a replay through.

use std::collections::{HashMap, VecDeque};

use postern_protocol::timestamp::Timestamp;

/// Most informs that are remembered.
const MAX_INFORMS: usize = 65_536;

/// Most idempotency keys that are remembered.
const MAX_KEYS: usize = 65_536;

/// Most push signatures that are remembered.
const MAX_SIGNATURES: usize = 262_144;

/// Seconds for which an inform is remembered: longer than any sender's retries, and than an SNMPv3 inform whose clock is 150 s ahead
/// of ours is within its window (RFC 3414 §3.2 (7)).
const INFORM_SECS: i64 = 301;

/// Seconds for which an idempotency key is remembered.
const KEY_SECS: i64 = 3600;

/// Seconds for which a signature is remembered: as long as its time stamp can be valid, which may lie ahead of our clock.
const SIGNATURE_SECS: i64 = 2 * 300 + 1;

/// One remembered thing, as commits store it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Entry {
    /// 1 inform, 2 idempotency key, 3 push signature.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// Its digest.
    #[prost(fixed64, tag = "2")]
    digest: u64,
    /// When it came, seconds since the Unix epoch.
    #[prost(sfixed64, tag = "3")]
    at: i64,
    /// Digest of the body; idempotency keys only.
    #[prost(fixed64, tag = "4")]
    body: u64,
    /// Events that were accepted; idempotency keys only.
    #[prost(uint32, tag = "5")]
    accepted: u32,
}

const INFORM: u32 = 1;
const KEY: u32 = 2;
const SIGNATURE: u32 = 3;

/// Whether something came for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// It came before.
    Again,
    /// It is new, and is remembered now.
    First,
}

/// What a push is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushSighting {
    /// New, and remembered now.
    First,
    /// No room to remember its signature.
    Full,
    /// Its key was used with another body.
    KeyReused,
    /// Its key was used with this body, when so many events were accepted.
    Repeated(u32),
    /// Its signature was seen, without a key that says it may come again.
    Replayed,
}

/// Everything that is remembered.
pub(crate) struct Seen {
    informs: Table,
    keys: Table,
    signatures: Table,
    fresh: Vec<Entry>,
}

impl Default for Seen {
    fn default() -> Self {
        Self::new()
    }
}

struct Table {
    limit: usize,
    keep_secs: i64,
    entries: HashMap<u64, Entry>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Remembers nothing yet.
    pub(crate) fn new() -> Self {
        let table = |limit, keep_secs| Table { limit, keep_secs, entries: HashMap::new(), order: VecDeque::new() };
        Self {
            informs: table(MAX_INFORMS, INFORM_SECS),
            keys: table(MAX_KEYS, KEY_SECS),
            signatures: table(MAX_SIGNATURES, SIGNATURE_SECS),
            fresh: Vec::new(),
        }
    }

    /// Takes in what an earlier run committed; entries of an unknown kind are passed over.
    pub(crate) fn restore(&mut self, entry: Entry) {
        match entry.kind {
            INFORM => self.informs.insert(entry),
            KEY => self.keys.insert(entry),
            SIGNATURE => self.signatures.insert(entry),
            _ => {}
        }
    }

    /// Notes an inform.
    pub(crate) fn inform(&mut self, digest: u64, now: Timestamp) -> Sighting {
        if self.informs.entries.contains_key(&digest) {
            return Sighting::Again;
        }
        let entry = Entry { kind: INFORM, digest, at: now.as_secs(), body: 0, accepted: 0 };
        self.informs.insert(entry);
        self.fresh.push(entry);
        Sighting::First
    }

    /// Notes a push of `events` events by the digests of its signature, and of its idempotency key and body.
    pub(crate) fn push(&mut self, signature: Option<u64>, idempotency: Option<(u64, u64)>, events: u32, now: Timestamp) -> PushSighting {
        if let Some(known) = idempotency.and_then(|(key, _)| self.keys.entries.get(&key)) {
            let same = idempotency.is_some_and(|(_, body)| body == known.body);
            return if same { PushSighting::Repeated(known.accepted) } else { PushSighting::KeyReused };
        }
        if let Some(digest) = signature {
            if self.signatures.entries.contains_key(&digest) {
                return PushSighting::Replayed;
            }
            self.signatures.prune(now);
            if self.signatures.entries.len() >= self.signatures.limit {
                return PushSighting::Full;
            }
            let entry = Entry { kind: SIGNATURE, digest, at: now.as_secs(), body: 0, accepted: 0 };
            self.signatures.insert(entry);
            self.fresh.push(entry);
        }
        if let Some((digest, body)) = idempotency {
            let entry = Entry { kind: KEY, digest, at: now.as_secs(), body, accepted: events };
            self.keys.insert(entry);
            self.fresh.push(entry);
        }
        PushSighting::First
    }

    /// Forgets what is too old to come again.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        for table in [&mut self.informs, &mut self.keys, &mut self.signatures] {
            table.prune(now);
        }
    }

    /// Returns what was noted since the last call: it belongs into the next commit.
    pub(crate) fn take_fresh(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.fresh)
    }

    /// Returns everything, oldest first by kind: it belongs into a checkpoint.
    pub(crate) fn all(&self) -> Vec<Entry> {
        let tables = [&self.informs, &self.signatures, &self.keys];
        tables.into_iter().flat_map(|table| table.order.iter().filter_map(|digest| table.entries.get(digest).copied())).collect()
    }
}

impl Table {
    fn insert(&mut self, entry: Entry) {
        if self.entries.insert(entry.digest, entry).is_none() {
            self.order.push_back(entry.digest);
        }
        while self.entries.len() > self.limit {
            self.forget_oldest();
        }
    }

    fn prune(&mut self, now: Timestamp) {
        let keep_secs = self.keep_secs;
        let old = |entry: &Entry| now.as_secs().saturating_sub(entry.at) > keep_secs;
        while self.order.front().and_then(|digest| self.entries.get(digest)).is_some_and(old) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(digest) = self.order.pop_front() {
            self.entries.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn an_inform_is_new_once_within_its_time() {
        let mut seen = Seen::new();
        assert_eq!(seen.inform(1, at(0)), Sighting::First);
        assert_eq!(seen.inform(1, at(100)), Sighting::Again);
        assert_eq!(seen.inform(2, at(100)), Sighting::First);
        seen.prune(at(302));
        assert_eq!(seen.inform(1, at(302)), Sighting::First);
        assert_eq!(seen.inform(2, at(302)), Sighting::Again);
    }

    #[test]
    fn what_was_committed_is_recognised_after_a_restart() {
        let mut before = Seen::new();
        before.inform(1, at(0));
        before.push(Some(2), Some((3, 4)), 5, at(0));
        let fresh = before.take_fresh();
        assert_eq!(fresh, before.all());
        assert!(before.take_fresh().is_empty());
        let mut after = Seen::new();
        fresh.into_iter().for_each(|entry| after.restore(entry));
        assert_eq!(after.inform(1, at(1)), Sighting::Again);
        assert_eq!(after.push(Some(2), Some((3, 4)), 5, at(1)), PushSighting::Repeated(5));
        assert!(after.take_fresh().is_empty());
    }

    #[test]
    fn a_signature_counts_once_unless_its_key_says_so() {
        let mut seen = Seen::new();
        assert_eq!(seen.push(Some(1), None, 1, at(0)), PushSighting::First);
        assert_eq!(seen.push(Some(1), None, 1, at(600)), PushSighting::Replayed);
        assert_eq!(seen.push(Some(1), Some((9, 9)), 1, at(600)), PushSighting::Replayed);
        assert_eq!(seen.push(Some(2), Some((7, 7)), 3, at(0)), PushSighting::First);
        assert_eq!(seen.push(Some(3), Some((7, 7)), 3, at(0)), PushSighting::Repeated(3));
        assert_eq!(seen.push(Some(4), Some((7, 8)), 3, at(0)), PushSighting::KeyReused);
        assert_eq!(seen.push(None, None, 1, at(0)), PushSighting::First);
    }

    #[test]
    fn a_full_table_of_signatures_refuses_and_one_of_informs_forgets() {
        let mut seen = Seen::new();
        seen.informs.limit = 2;
        seen.signatures.limit = 2;
        for digest in 1..=2 {
            seen.inform(digest, at(0));
            seen.push(Some(digest), None, 1, at(0));
        }
        assert_eq!(seen.push(Some(3), None, 1, at(1)), PushSighting::Full);
        assert_eq!(seen.push(Some(3), None, 1, at(602)), PushSighting::First);
        seen.inform(3, at(0));
        assert_eq!(seen.inform(1, at(0)), Sighting::First);
        assert_eq!(seen.inform(3, at(0)), Sighting::Again);
    }
}
