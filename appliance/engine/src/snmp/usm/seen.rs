//! What was taken in within the time window: RFC 3414 lets a copy of a message through for 150 s, this does not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use postern_protocol::timestamp::Timestamp;

use super::EngineTime;
use super::clock::Slot;

/// Most messages that are remembered.
pub(super) const MAX_SEEN: usize = 262_144;

/// Seconds for which a message is remembered: until its engine's window has passed it by.
const KEEP_SECS: u32 = 151;

/// Most informs that are remembered.
const MAX_INFORMS: usize = 65_536;

/// Seconds for which an inform is remembered: its clock may be ahead of ours by as much as it may be behind.
const KEEP_INFORM_SECS: u32 = 301;

/// The messages that were taken in, in the order in which they came.
#[derive(Default)]
pub(super) struct Seen {
    digests: HashSet<u64, BuildHasherDefault<AsItIs>>,
    order: VecDeque<Entry>,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) digest: u64,
    pub(super) slot: Slot,
    pub(super) time: EngineTime,
    at_secs: u32,
}

impl Entry {
    pub(super) fn new(digest: u64, slot: Slot, time: EngineTime, at: Timestamp) -> Self {
        Self { digest, slot, time, at_secs: secs(at) }
    }
}

impl Seen {
    /// Says whether a message is remembered.
    pub(super) fn contains(&self, digest: u64) -> bool {
        self.digests.contains(&digest)
    }

    /// Remembers a message.
    pub(super) fn insert(&mut self, entry: Entry) {
        if self.digests.insert(entry.digest) {
            self.order.push_back(entry);
        }
    }

    /// Forgets the oldest message that is old enough, or that there is no room for: to be called until it returns `None`, and each time
    /// the floor of that engine be raised.
    pub(super) fn forget(&mut self, now: Timestamp) -> Option<Entry> {
        let oldest = self.order.front()?;
        if self.order.len() < MAX_SEEN && secs(now) < oldest.at_secs.saturating_add(KEEP_SECS) {
            return None;
        }
        let oldest = self.order.pop_front()?;
        self.digests.remove(&oldest.digest);
        Some(oldest)
    }
}

/// The informs that were answered, and to where.
///
/// A sender that had no answer may send the same bytes again, so a copy is refused only when it comes from somewhere else. They need
/// not outlive us: our boots differ then.
#[derive(Default)]
pub(super) struct Informs {
    origins: HashMap<u64, IpAddr, BuildHasherDefault<AsItIs>>,
    order: VecDeque<Answered>,
    floor: u32,
}

struct Answered {
    digest: u64,
    time: u32,
    at_secs: u32,
}

impl Informs {
    /// Says whether an inform of that snmpEngineTime, which is ours, would still be remembered.
    pub(super) const fn reaches(&self, time: u32) -> bool {
        time >= self.floor
    }

    /// Says whether the inform was answered to another address.
    pub(super) fn is_of_another(&self, digest: u64, source: IpAddr) -> bool {
        self.origins.get(&digest).is_some_and(|origin| *origin != source)
    }

    /// Remembers an inform of `time` that is answered to `source`.
    pub(super) fn insert(&mut self, inform: (u64, u32), source: IpAddr, now: Timestamp) {
        while let Some(oldest) = self.order.front() {
            if self.order.len() < MAX_INFORMS && secs(now) < oldest.at_secs.saturating_add(KEEP_INFORM_SECS) {
                break;
            }
            self.floor = self.floor.max(oldest.time.saturating_add(1));
            self.origins.remove(&oldest.digest);
            self.order.pop_front();
        }
        let (digest, time) = inform;
        if self.origins.insert(digest, source).is_none() {
            self.order.push_back(Answered { digest, time, at_secs: secs(now) });
        }
    }
}

fn secs(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

/// Takes a digest for its own hash: it is one, under a key that those who would choose collisions do not have.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 << 8) | u64::from(*byte));
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: u64, at: i64) -> Entry {
        Entry::new(digest, Slot(1), EngineTime { boots: 1, time: 1 }, Timestamp::from_secs(at))
    }

    #[test]
    fn a_message_is_remembered_until_its_window_is_over() {
        let mut seen = Seen::default();
        seen.insert(entry(7, 1000));
        assert_eq!(seen.forget(Timestamp::from_secs(1150)), None);
        assert!(seen.contains(7) && !seen.contains(8));
        assert_eq!(seen.forget(Timestamp::from_secs(1151)), Some(entry(7, 1000)));
        assert!(!seen.contains(7));
    }

    #[test]
    fn a_flood_forgets_the_oldest_and_says_which() {
        let mut seen = Seen::default();
        let now = Timestamp::from_secs(1000);
        for digest in 0..u64::try_from(MAX_SEEN).unwrap() {
            assert_eq!(seen.forget(now), None);
            seen.insert(entry(digest.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1000));
        }
        assert_eq!(seen.forget(now), Some(entry(0, 1000)));
        assert_eq!(seen.forget(now), None);
    }
}
