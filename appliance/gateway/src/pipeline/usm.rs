//! What the gateway must know of SNMPv3 senders after a restart, so that recorded messages stay refused: the clocks of their engines,
//! the messages of each engine's last 150 s, and which audited resets were carried out.
//!
//! A second memory beside `engine::snmp::usm::Usm`, which lives on the receive thread: this one follows the events through the queue,
//! so that a commit never knows of a message whose event it does not have. Pure. Bounded: beyond [`MAX_SEEN`] the oldest digest goes
//! and the floor of its engine rises, below which nothing is taken after a restart.

use std::collections::{BTreeMap, HashMap, VecDeque};

use postern_engine::snmp::engine_id::EngineId;
use postern_engine::snmp::usm::{EngineClock, SeenDigest};
use postern_protocol::timestamp::Timestamp;

/// Most digests, as many as the security model remembers.
const MAX_SEEN: usize = 262_144;

/// Seconds for which a digest is kept: the window of RFC 3414 §3.2 (7).
const KEEP_SECS: i64 = 150;

/// What one notification changed of the security model's state.
#[derive(Debug)]
pub(crate) struct UsmChange {
    /// The sender's clock, when it moved.
    pub(crate) clock: Option<EngineClock>,
    /// What refuses the message the next time.
    pub(crate) seen: Option<SeenDigest>,
}

/// An audited reset of one engine (`snmp.engine_resets`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    /// Which engine.
    pub(crate) engine: EngineId,
    /// Grows with each reset of it.
    pub(crate) serial: u32,
}

/// What the receiver begins with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Clocks, as they were last known.
    pub(crate) clocks: Vec<EngineClock>,
    /// Messages that must not come again, oldest first.
    pub(crate) seen: Vec<SeenDigest>,
    /// Resets that were carried out.
    pub(crate) resets: BTreeMap<EngineId, u32>,
}

/// The memory.
#[derive(Default)]
pub(crate) struct UsmMemory {
    engines: Vec<Known>,
    index: HashMap<EngineId, u32>,
    /// Oldest first.
    seen: VecDeque<Seen>,
    /// How many of the last of `seen` no commit has yet.
    fresh_seen: usize,
    resets: BTreeMap<EngineId, u32>,
    fresh_resets: Vec<Reset>,
}

/// One engine.
struct Known {
    engine: EngineId,
    clock: Option<EngineClock>,
    /// No commit has this clock yet.
    fresh: bool,
    /// Of which boots no digest below which time is kept any more.
    floor: (u32, u32),
}

/// One message; small, because there are many.
#[derive(Clone, Copy)]
struct Seen {
    engine: u32,
    boots: u32,
    time: u32,
    /// Seconds since the Unix epoch.
    at: u32,
    digest: u64,
}

impl UsmMemory {
    /// Notes what an event of the queue changed.
    pub(crate) fn note(&mut self, change: &UsmChange) {
        if let Some(clock) = change.clock {
            let at = self.engine(clock.engine);
            if let Some(known) = self.known(at) {
                (known.clock, known.fresh) = (Some(clock), true);
            }
        }
        if let Some(seen) = change.seen {
            self.push(seen);
            self.fresh_seen = self.fresh_seen.saturating_add(1);
        }
    }

    /// Notes that an engine was reset.
    pub(crate) fn reset(&mut self, reset: Reset) {
        self.forget(reset);
        self.fresh_resets.push(reset);
    }

    /// Forgets digests that are older than the window; the engines' floors rise accordingly.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        let oldest = now.as_secs().saturating_sub(KEEP_SECS);
        while self.seen.front().is_some_and(|seen| i64::from(seen.at) < oldest) {
            self.forget_oldest();
        }
    }

    /// Returns what was noted since the last call: it belongs into the next commit.
    pub(crate) fn take_fresh(&mut self) -> StoredUsm {
        let fresh = |known: &mut Known| if std::mem::take(&mut known.fresh) { known.store() } else { None };
        let clocks = self.engines.iter_mut().filter_map(fresh).collect();
        let resets = std::mem::take(&mut self.fresh_resets).into_iter().map(StoredReset::from).collect();
        let skipped = self.seen.len().saturating_sub(std::mem::take(&mut self.fresh_seen));
        StoredUsm { clocks, seen: self.groups(skipped), resets }
    }

    /// Returns everything: it belongs into a checkpoint.
    pub(crate) fn all(&self) -> StoredUsm {
        let resets = self.resets.iter().map(|(engine, serial)| StoredReset::from(Reset { engine: *engine, serial: *serial }));
        StoredUsm { clocks: self.engines.iter().filter_map(Known::store).collect(), seen: self.groups(0), resets: resets.collect() }
    }

    /// Takes in what an earlier run committed; what is not readable is passed over.
    pub(crate) fn restore(&mut self, stored: StoredUsm) {
        for reset in stored.resets {
            let Ok(engine) = EngineId::new(&reset.engine) else { continue };
            self.forget(Reset { engine, serial: reset.serial });
        }
        for clock in stored.clocks {
            let Ok(engine) = EngineId::new(&clock.engine) else { continue };
            let at = self.engine(engine);
            if let Some(known) = self.known(at) {
                let (boots, time, floor) = (clock.boots, clock.time, clock.floor);
                known.clock = Some(EngineClock { engine, boots, time, at: Timestamp::from_secs(clock.at), floor });
                known.floor = (clock.boots, clock.pruned);
            }
        }
        for group in stored.seen {
            let Ok(engine) = EngineId::new(&group.engine) else { continue };
            let (boots, time, at) = (group.boots, group.time, Timestamp::from_secs(group.at));
            group.digests.into_iter().for_each(|digest| self.push(SeenDigest { engine, boots, time, at, digest }));
        }
    }

    /// Returns what the receiver begins with at `now`.
    ///
    /// The clocks stand where they stood, as if no time had passed: this machine's clock may have been set meanwhile, and a sender
    /// is never refused for that. Replays are refused all the same, by the digests and by the floor below them.
    pub(crate) fn restored(&self, now: Timestamp) -> Restored {
        let clock = |known: &Known| {
            let clock = known.clock?;
            let pruned = if known.floor.0 == clock.boots { known.floor.1 } else { 0 };
            Some(EngineClock { at: now, floor: clock.floor.max(pruned), ..clock })
        };
        let seen = |seen: &Seen| {
            let engine = self.engines.get(usize::try_from(seen.engine).ok()?)?.engine;
            Some(SeenDigest { engine, boots: seen.boots, time: seen.time, at: now, digest: seen.digest })
        };
        Restored {
            clocks: self.engines.iter().filter_map(clock).collect(),
            seen: self.seen.iter().filter_map(seen).collect(),
            resets: self.resets.clone(),
        }
    }

    fn forget(&mut self, reset: Reset) {
        self.resets.insert(reset.engine, reset.serial);
        let at = self.engine(reset.engine);
        if let Some(known) = self.known(at) {
            (known.clock, known.fresh, known.floor) = (None, false, (0, 0));
        }
    }

    fn push(&mut self, seen: SeenDigest) {
        let SeenDigest { engine, boots, time, at, digest } = seen;
        let engine = self.engine(engine);
        self.seen.push_back(Seen { engine, boots, time, at: u32::try_from(at.as_secs()).unwrap_or(u32::MAX), digest });
        while self.seen.len() > MAX_SEEN {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(Seen { engine, boots, time, .. }) = self.seen.pop_front() else { return };
        self.fresh_seen = self.fresh_seen.min(self.seen.len());
        if let Some(known) = self.known(engine) {
            known.floor = known.floor.max((boots, time.saturating_add(1)));
        }
    }

    fn engine(&mut self, engine: EngineId) -> u32 {
        let next = u32::try_from(self.engines.len()).unwrap_or(u32::MAX);
        let at = *self.index.entry(engine).or_insert(next);
        if at == next {
            self.engines.push(Known { engine, clock: None, fresh: false, floor: (0, 0) });
        }
        at
    }

    fn known(&mut self, at: u32) -> Option<&mut Known> {
        self.engines.get_mut(usize::try_from(at).ok()?)
    }

    /// Those of `seen` behind the first `skipped`, messages of one second together.
    fn groups(&self, skipped: usize) -> Vec<SeenGroup> {
        let mut groups: Vec<SeenGroup> = Vec::new();
        let mut last = None;
        for seen in self.seen.iter().skip(skipped) {
            let of = (seen.engine, seen.boots, seen.time);
            match groups.last_mut().filter(|_| last == Some(of)) {
                Some(group) => group.digests.push(seen.digest),
                None => {
                    let engine = usize::try_from(seen.engine).ok().and_then(|at| self.engines.get(at));
                    let engine = engine.map(|known| known.engine.as_bytes().to_vec()).unwrap_or_default();
                    groups.push(SeenGroup {
                        engine,
                        boots: seen.boots,
                        time: seen.time,
                        at: i64::from(seen.at),
                        digests: vec![seen.digest],
                    });
                }
            }
            last = Some(of);
        }
        groups
    }
}

impl Known {
    fn store(&self) -> Option<StoredClock> {
        let clock = self.clock?;
        let pruned = if self.floor.0 == clock.boots { self.floor.1 } else { 0 };
        let (boots, time, floor) = (clock.boots, clock.time, clock.floor);
        Some(StoredClock { engine: self.engine.as_bytes().to_vec(), boots, time, at: clock.at.as_secs(), floor, pruned })
    }
}

impl From<Reset> for StoredReset {
    fn from(reset: Reset) -> Self {
        Self { engine: reset.engine.as_bytes().to_vec(), serial: reset.serial }
    }
}

/// The memory, or what is new of it, as commits store it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StoredUsm {
    #[prost(message, repeated, tag = "1")]
    clocks: Vec<StoredClock>,
    #[prost(message, repeated, tag = "2")]
    seen: Vec<SeenGroup>,
    #[prost(message, repeated, tag = "3")]
    resets: Vec<StoredReset>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredClock {
    #[prost(bytes = "vec", tag = "1")]
    engine: Vec<u8>,
    #[prost(uint32, tag = "2")]
    boots: u32,
    #[prost(uint32, tag = "3")]
    time: u32,
    /// Seconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    at: i64,
    #[prost(uint32, tag = "5")]
    floor: u32,
    /// The floor of what was forgotten here.
    #[prost(uint32, tag = "6")]
    pruned: u32,
}

/// Messages of one engine and one second of it.
#[derive(Clone, PartialEq, prost::Message)]
struct SeenGroup {
    #[prost(bytes = "vec", tag = "1")]
    engine: Vec<u8>,
    #[prost(uint32, tag = "2")]
    boots: u32,
    #[prost(uint32, tag = "3")]
    time: u32,
    /// Seconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    at: i64,
    #[prost(fixed64, repeated, tag = "5")]
    digests: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredReset {
    #[prost(bytes = "vec", tag = "1")]
    engine: Vec<u8>,
    #[prost(uint32, tag = "2")]
    serial: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(n: u8) -> EngineId {
        EngineId::new(&[0x80, 0, 0, 9, n]).unwrap()
    }

    fn change(n: u8, time: u32) -> UsmChange {
        let (engine, boots, at) = (engine(n), 3, Timestamp::from_secs(i64::from(time)));
        let clock = Some(EngineClock { engine, boots, time, at, floor: 0 });
        UsmChange { clock, seen: Some(SeenDigest { engine, boots, time, at, digest: u64::from(time) }) }
    }

    fn again(stored: impl IntoIterator<Item = StoredUsm>) -> Restored {
        let mut memory = UsmMemory::default();
        stored.into_iter().for_each(|stored| memory.restore(stored));
        memory.restored(Timestamp::from_secs(9_999))
    }

    #[test]
    fn what_commits_have_is_there_after_a_restart() {
        let mut memory = UsmMemory::default();
        memory.note(&change(1, 10));
        memory.note(&change(2, 10));
        let checkpoint = memory.all();
        memory.take_fresh();
        memory.note(&change(1, 11));
        memory.note(&change(1, 11));
        let delta = memory.take_fresh();
        assert_eq!((delta.clocks.len(), delta.seen.len()), (1, 1), "what is new, two messages of one second together");
        assert_eq!(memory.take_fresh(), StoredUsm::default());
        let restored = again([checkpoint, delta]);
        assert_eq!(restored, memory.restored(Timestamp::from_secs(9_999)));
        assert_eq!(restored.seen.iter().map(|seen| seen.digest).collect::<Vec<_>>(), [10, 10, 11, 11]);
        assert!(restored.clocks.iter().all(|clock| clock.at == Timestamp::from_secs(9_999)), "no time has passed for them");
    }

    #[test]
    fn what_is_forgotten_raises_the_floor_of_its_engine() {
        let mut memory = UsmMemory::default();
        memory.note(&change(1, 10));
        memory.note(&change(2, 100));
        memory.note(&change(1, 200));
        memory.prune(Timestamp::from_secs(200));
        let restored = again([memory.all()]);
        let floors: Vec<(EngineId, u32)> = restored.clocks.iter().map(|clock| (clock.engine, clock.floor)).collect();
        assert_eq!((floors, restored.seen.len()), (vec![(engine(1), 11), (engine(2), 0)], 2));
    }

    #[test]
    fn digests_are_bounded() {
        let mut memory = UsmMemory::default();
        for time in 0..u32::try_from(MAX_SEEN).unwrap() + 10 {
            memory.note(&change(1, time));
        }
        let restored = again([memory.take_fresh()]);
        assert_eq!((restored.seen.len(), restored.clocks.first().unwrap().floor), (MAX_SEEN, 10));
    }

    #[test]
    fn a_reset_forgets_a_clock_and_is_remembered() {
        let mut memory = UsmMemory::default();
        memory.note(&change(1, 10));
        let before = memory.take_fresh();
        memory.reset(Reset { engine: engine(1), serial: 4 });
        let restored = again([before, memory.take_fresh()]);
        assert_eq!((restored.clocks.len(), restored.resets), (0, BTreeMap::from([(engine(1), 4)])));
        assert_eq!(again([memory.all()]).resets.len(), 1);
    }
}
