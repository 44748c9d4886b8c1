//! Where open alerts lie, and how they are found by key: a place each, and a table of places by the hash of the key.
//!
//! The keys are in the slots alone. No order that depends on a hash can be seen from outside.

use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use postern_protocol::alert::AlertKey;

use super::slot::Slot;

/// An open alert's place; it stands for that alert as long as it is open, and for none after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId {
    place: u32,
    /// How often the place had been given out before.
    turn: u32,
}

#[cfg(test)]
impl SlotId {
    /// Makes one that only stands for itself, for tests of what keeps places and has no table.
    pub(crate) const fn numbered(place: u32) -> Self {
        Self { place, turn: 0 }
    }
}

/// The open alerts.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Place>,
    free: Vec<u32>,
    index: Index,
    /// Seeded anew in each process: senders choose what the keys are.
    hashes: RandomState,
}

#[derive(Debug)]
struct Place {
    turn: u32,
    slot: Option<Slot>,
}

impl Slots {
    pub(super) const fn len(&self) -> usize {
        self.index.used
    }

    /// Finds the alert of `key`.
    pub(super) fn find(&self, key: &AlertKey) -> Option<SlotId> {
        let parts = [key.resource.as_bytes(), key.kind.as_bytes(), key.qualifier.as_bytes()];
        let is = |place: u32| self.at(place).is_some_and(|(_, slot)| slot.key_bytes() == parts);
        let place = self.index.find(self.hash(parts), is)?;
        self.at(place).map(|(id, _)| id)
    }

    pub(super) fn get(&self, id: SlotId) -> Option<&Slot> {
        self.places.get(id.place as usize).filter(|place| place.turn == id.turn)?.slot.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.places.get_mut(id.place as usize).filter(|place| place.turn == id.turn)?.slot.as_mut()
    }

    /// Puts in an alert whose key has none; `None` when there are 2³² already.
    pub(super) fn insert(&mut self, slot: Slot) -> Option<SlotId> {
        let hash = self.hash(slot.key_bytes());
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = u32::try_from(self.places.len()).ok().filter(|number| *number != EMPTY)?;
                self.places.push(Place { turn: 0, slot: None });
                number
            }
        };
        let place = self.places.get_mut(number as usize)?;
        place.slot = Some(slot);
        let id = SlotId { place: number, turn: place.turn };
        self.index.insert(Cell { hash, place: number });
        Some(id)
    }

    /// Takes an alert out.
    pub(super) fn remove(&mut self, id: SlotId) -> Option<Slot> {
        let place = self.places.get_mut(id.place as usize).filter(|place| place.turn == id.turn)?;
        let slot = place.slot.take()?;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(id.place);
        self.index.remove(Cell { hash: self.hash(slot.key_bytes()), place: id.place });
        Some(slot)
    }

    /// Goes through the open alerts in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        self.places.iter().zip(0..).filter_map(|(place, number)| Some((SlotId { place: number, turn: place.turn }, place.slot.as_ref()?)))
    }

    fn at(&self, number: u32) -> Option<(SlotId, &Slot)> {
        let place = self.places.get(number as usize)?;
        Some((SlotId { place: number, turn: place.turn }, place.slot.as_ref()?))
    }

    /// Half a hash is enough to find a place; whether it is the right one, the key says.
    fn hash(&self, parts: [&[u8]; 3]) -> u32 {
        let hash = self.hashes.hash_one(parts);
        u32::try_from(hash >> 32).unwrap_or_default()
    }
}

/// Stands for no place.
const EMPTY: u32 = u32::MAX;

/// Places by hash: open addressing with linear probing, always at least a quarter free.
#[derive(Debug, Default)]
struct Index {
    /// A power of two of them, or none.
    cells: Vec<Cell>,
    used: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    hash: u32,
    place: u32,
}

impl Cell {
    const FREE: Self = Self { hash: 0, place: EMPTY };
}

impl Index {
    /// Finds the place with this hash of which `is` says that it is the one.
    fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize;
        loop {
            let cell = self.cell(at);
            if cell.place == EMPTY {
                return None;
            }
            if cell.hash == hash && is(cell.place) {
                return Some(cell.place);
            }
            at = at.wrapping_add(1);
        }
    }

    fn insert(&mut self, cell: Cell) {
        if self.used.saturating_add(1).saturating_mul(4) > self.cells.len().saturating_mul(3) {
            let more = self.cells.len().saturating_mul(2).max(8);
            let before = std::mem::replace(&mut self.cells, vec![Cell::FREE; more]);
            before.into_iter().filter(|cell| cell.place != EMPTY).for_each(|cell| self.put(cell));
        }
        self.put(cell);
        self.used = self.used.saturating_add(1);
    }

    fn remove(&mut self, cell: Cell) {
        let mut hole = cell.hash as usize;
        while self.cell(hole) != cell {
            if self.cell(hole).place == EMPTY {
                return;
            }
            hole = hole.wrapping_add(1);
        }
        // What probing had pushed further moves up, so that no search ends early at the hole.
        let mut at = hole;
        loop {
            at = at.wrapping_add(1);
            let next = self.cell(at);
            if next.place == EMPTY {
                break;
            }
            let from_home = at.wrapping_sub(next.hash as usize) & self.mask();
            if from_home >= at.wrapping_sub(hole) & self.mask() {
                self.set(hole, next);
                hole = at;
            }
        }
        self.set(hole, Cell::FREE);
        self.used = self.used.saturating_sub(1);
    }

    fn put(&mut self, cell: Cell) {
        let mut at = cell.hash as usize;
        while self.cell(at).place != EMPTY {
            at = at.wrapping_add(1);
        }
        self.set(at, cell);
    }

    const fn mask(&self) -> usize {
        self.cells.len().wrapping_sub(1)
    }

    fn cell(&self, at: usize) -> Cell {
        self.cells.get(at & self.mask()).copied().unwrap_or(Cell::FREE)
    }

    fn set(&mut self, at: usize, cell: Cell) {
        let at = at & self.mask();
        if let Some(place) = self.cells.get_mut(at) {
            *place = cell;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few hashes, so that most collide.
        #[test]
        fn every_place_is_found_until_it_is_removed(steps in prop::collection::vec((any::<bool>(), 0..40_u32), 0..200), hashes in 1..50_u32) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (insert, place) in steps {
                let hash = (place % hashes).wrapping_mul(0x1000_0003);
                if insert && model.insert(place, hash).is_none() {
                    index.insert(Cell { hash, place });
                } else if !insert {
                    model.remove(&place);
                    index.remove(Cell { hash, place });
                }
                prop_assert_eq!(index.used, model.len());
                for place in 0..40 {
                    let hash = (place % hashes).wrapping_mul(0x1000_0003);
                    prop_assert_eq!(index.find(hash, |found| found == place), model.contains_key(&place).then_some(place));
                }
            }
        }
    }
}
