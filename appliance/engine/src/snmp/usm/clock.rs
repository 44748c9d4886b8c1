//! The clocks of senders' engines and their windows (RFC 3414 §2.2.3, §2.3, §3.2 (7)).

use std::collections::BTreeMap;

use postern_protocol::timestamp::Timestamp;

use super::users::Binding;
use super::{EngineClock, EngineTime};
use crate::snmp::engine_id::EngineId;

/// The highest snmpEngineBoots and snmpEngineTime. Boots that reached it are latched: all is refused then (RFC 3414 §2.2.2).
pub(super) const HIGHEST: u32 = 2_147_483_647;

/// Seconds by which a message may lie outside of the engine's time.
pub(super) const WINDOW_SECS: u32 = 150;

/// Most engines that users without a list of engines may bring. A clock is never forgotten to make room, because its messages
/// could be replayed then; engines that a user lists are always taken.
pub(super) const MAX_OPEN_ENGINES: usize = 65_536;

/// All engines that were heard authenticated.
#[derive(Default)]
pub(super) struct Engines {
    by_id: BTreeMap<EngineId, Slot>,
    engines: Vec<Engine>,
}

/// Where an engine stands; never used for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) u32);

struct Engine {
    id: EngineId,
    clock: Option<Clock>,
    floor: u32,
}

#[derive(Clone, Copy)]
struct Clock {
    received: EngineTime,
    at: Timestamp,
}

/// What an authenticated message does to the clock of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    /// It is newer than all before.
    Forward,
    /// It is within the window.
    None,
}

/// Why an authenticated message is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooOld {
    /// It cannot be told from a replay any more.
    BelowFloor,
    /// It is outside of the window.
    Outside,
}

impl Engines {
    /// Returns where `engine` stands.
    pub(super) fn slot(&self, engine: &EngineId) -> Option<Slot> {
        self.by_id.get(engine).copied()
    }

    /// Returns our notion of an engine's time (RFC 3414 §2.3): the latest that was received, plus what passed since.
    pub(super) fn time(&self, slot: Slot, now: Timestamp) -> Option<EngineTime> {
        let clock = self.engine(slot)?.clock?;
        let passed = u32::try_from(now.saturating_since(clock.at).as_secs()).unwrap_or(HIGHEST);
        Some(EngineTime { boots: clock.received.boots, time: clock.received.time.saturating_add(passed).min(HIGHEST) })
    }

    /// Judges the clock in an authenticated message (RFC 3414 §3.2 (7) b). Changes nothing.
    ///
    /// Newer than all that was received is always inside, because the clock would be set to it first (§3.2 (7) b 1): a sender whose
    /// clock runs slow, or a leap of ours, locks nobody out.
    pub(super) fn judge(&self, slot: Option<Slot>, theirs: EngineTime, now: Timestamp) -> Result<Movement, TooOld> {
        if theirs.boots == HIGHEST {
            return Err(TooOld::Outside);
        }
        let Some((engine, slot)) = slot.and_then(|slot| Some((self.engine(slot)?, slot))) else { return Ok(Movement::Forward) };
        let (Some(clock), Some(ours)) = (engine.clock, self.time(slot, now)) else { return Ok(Movement::Forward) };
        if (theirs.boots, theirs.time) > (clock.received.boots, clock.received.time) {
            Ok(Movement::Forward)
        } else if theirs.boots < ours.boots || theirs.time.saturating_add(WINDOW_SECS) < ours.time {
            Err(TooOld::Outside)
        } else if theirs.time < engine.floor {
            Err(TooOld::BelowFloor)
        } else {
            Ok(Movement::None)
        }
    }

    /// Returns the slot of an engine that authenticated itself, a new one when it is new and there is room.
    pub(super) fn admit(&mut self, engine: EngineId, binding: Binding) -> Option<Slot> {
        if let Some(slot) = self.slot(&engine) {
            return Some(slot);
        }
        match binding {
            Binding::Open if self.by_id.len() >= MAX_OPEN_ENGINES => None,
            Binding::Bound | Binding::Open => Some(self.place(engine)),
        }
    }

    /// Sets an engine's clock to what an accepted message says.
    pub(super) fn advance(&mut self, slot: Slot, received: EngineTime, at: Timestamp) -> Option<EngineClock> {
        let engine = self.engine_mut(slot)?;
        if engine.clock.is_none_or(|clock| clock.received.boots < received.boots) {
            engine.floor = 0;
        }
        engine.clock = Some(Clock { received, at });
        Some(EngineClock { engine: engine.id, boots: received.boots, time: received.time, at, floor: engine.floor })
    }

    /// Refuses all up to `forgotten` from now on, when the engine is still in those boots.
    pub(super) fn raise_floor(&mut self, slot: Slot, forgotten: EngineTime) {
        let Some(engine) = self.engine_mut(slot) else { return };
        if engine.clock.is_some_and(|clock| clock.received.boots == forgotten.boots) {
            engine.floor = engine.floor.max(forgotten.time.saturating_add(1));
        }
    }

    /// Takes a clock that was kept, unless a newer one is there.
    pub(super) fn restore(&mut self, kept: EngineClock) {
        let slot = self.slot(&kept.engine).unwrap_or_else(|| self.place(kept.engine));
        let received = EngineTime { boots: kept.boots, time: kept.time };
        let Some(engine) = self.engine_mut(slot) else { return };
        if engine.clock.is_none_or(|clock| (clock.received.boots, clock.received.time) < (received.boots, received.time)) {
            *engine = Engine { id: kept.engine, clock: Some(Clock { received, at: kept.at }), floor: kept.floor };
        }
    }

    /// Forgets a clock. The engine gets a new slot, so that what is remembered of its messages no longer raises its floor.
    pub(super) fn reset(&mut self, engine: &EngineId) {
        self.by_id.remove(engine);
    }

    fn place(&mut self, id: EngineId) -> Slot {
        let slot = Slot(u32::try_from(self.engines.len()).unwrap_or(u32::MAX));
        self.engines.push(Engine { id, clock: None, floor: 0 });
        self.by_id.insert(id, slot);
        slot
    }

    fn engine(&self, slot: Slot) -> Option<&Engine> {
        self.engines.get(usize::try_from(slot.0).ok()?)
    }

    fn engine_mut(&mut self, slot: Slot) -> Option<&mut Engine> {
        self.engines.get_mut(usize::try_from(slot.0).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: u32) -> EngineId {
        EngineId::new(&[&[0x80, 0, 0x7e, 0xd9, 5][..], &number.to_be_bytes()].concat()).unwrap()
    }

    #[test]
    fn open_engines_are_bounded_and_listed_ones_and_known_ones_always_taken() {
        let mut engines = Engines::default();
        for number in 0..u32::try_from(MAX_OPEN_ENGINES).unwrap() {
            assert!(engines.admit(numbered(number), Binding::Open).is_some());
        }
        assert_eq!(engines.admit(numbered(u32::MAX), Binding::Open), None);
        assert_eq!(engines.admit(numbered(7), Binding::Open), engines.slot(&numbered(7)), "no clock was forgotten to make room");
        assert!(engines.admit(numbered(u32::MAX), Binding::Bound).is_some());
    }

    #[test]
    fn a_floor_holds_for_the_boots_it_was_raised_in() {
        let mut engines = Engines::default();
        let slot = engines.admit(numbered(1), Binding::Open).unwrap();
        let now = Timestamp::from_secs(1_000_000);
        engines.advance(slot, EngineTime { boots: 3, time: 500 }, now);
        engines.raise_floor(slot, EngineTime { boots: 3, time: 499 });
        assert_eq!(engines.judge(Some(slot), EngineTime { boots: 3, time: 499 }, now), Err(TooOld::BelowFloor));
        assert_eq!(engines.judge(Some(slot), EngineTime { boots: 3, time: 500 }, now), Ok(Movement::None));
        let kept = engines.advance(slot, EngineTime { boots: 3, time: 501 }, now).unwrap();
        assert_eq!(kept.floor, 500);
        let kept = engines.advance(slot, EngineTime { boots: 4, time: 1 }, now).unwrap();
        assert_eq!(kept.floor, 0);
        engines.raise_floor(slot, EngineTime { boots: 3, time: 501 });
        assert_eq!(engines.judge(Some(slot), EngineTime { boots: 4, time: 0 }, now), Ok(Movement::None));
    }

    #[test]
    fn a_clock_that_was_kept_never_sets_a_newer_one_back() {
        let mut engines = Engines::default();
        let now = Timestamp::from_secs(1_000_000);
        let kept = EngineClock { engine: numbered(1), boots: 3, time: 500, at: now, floor: 420 };
        engines.restore(kept);
        engines.restore(EngineClock { time: 400, floor: 0, ..kept });
        let slot = engines.slot(&kept.engine).unwrap();
        assert_eq!(engines.time(slot, now), Some(EngineTime { boots: 3, time: 500 }));
        assert_eq!(engines.judge(Some(slot), EngineTime { boots: 3, time: 419 }, now), Err(TooOld::BelowFloor));
    }
}
