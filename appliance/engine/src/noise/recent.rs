//! A table with a bound: when it is full, what was not touched for longest is forgotten.
//!
//! Keys are digests, so that an entry has a fixed size however long the texts are that it is about. The order is that of touches alone;
//! nothing depends on the order of the hash table.

use std::collections::{BTreeMap, HashMap};

use sha2::Digest as _;

/// Stands for a list of texts: the first 16 bytes of SHA-256 over the length-prefixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Digest([u8; 16]);

impl Digest {
    /// Makes the digest of `parts`.
    pub(super) fn of(parts: &[&str]) -> Self {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().first_chunk().copied().unwrap_or_default())
    }

    /// Returns the bytes, for a checkpoint.
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes what [`Digest::bytes`] gave.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// The entries that were touched last.
#[derive(Debug)]
pub(super) struct Recent<V> {
    entries: HashMap<Digest, Entry<V>>,
    /// Keys by the number under which each was filed: not later than its last touch.
    filed: BTreeMap<u64, Digest>,
    touches: u64,
    most: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry<V> {
    touched: u64,
    value: V,
    filed: u64,
}

impl<V> Recent<V> {
    /// Makes a table of at most `most` entries.
    pub(super) fn of_at_most(most: usize) -> Self {
        Self { entries: HashMap::new(), filed: BTreeMap::new(), touches: 0, most, forgotten: 0 }
    }

    /// Returns the value of `key`, which is the newest then.
    pub(super) fn touch(&mut self, key: Digest) -> Option<&mut V> {
        let entry = self.entries.get_mut(&key)?;
        self.touches = self.touches.saturating_add(1);
        entry.touched = self.touches;
        Some(&mut entry.value)
    }

    /// Puts a value in as the newest; returns what had to go for it.
    pub(super) fn insert(&mut self, key: Digest, value: V) -> Option<V> {
        let before = self.remove(key);
        let evicted = if self.entries.len() >= self.most { self.forget_oldest() } else { None };
        self.touches = self.touches.saturating_add(1);
        let number = self.touches;
        self.entries.insert(key, Entry { touched: number, filed: number, value });
        self.filed.insert(number, key);
        before.or(evicted)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: Digest) -> Option<V> {
        let entry = self.entries.remove(&key)?;
        self.filed.remove(&entry.filed);
        Some(entry.value)
    }

    /// Takes out what was not touched for longest, and counts that.
    pub(super) fn forget_oldest(&mut self) -> Option<V> {
        loop {
            let (number, key) = self.filed.pop_first()?;
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.touched == number {
                self.forgotten = self.forgotten.saturating_add(1);
                return self.entries.remove(&key).map(|entry| entry.value);
            }
            // It was touched since it was filed: file it where it belongs.
            entry.filed = entry.touched;
            self.filed.insert(entry.touched, key);
        }
    }

    /// Returns how many entries were forgotten for want of room.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Returns the entries, the one that was not touched for longest first.
    pub(super) fn oldest_first(&self) -> Vec<(Digest, &V)> {
        let mut entries: Vec<_> = self.entries.iter().map(|(key, entry)| (entry.touched, *key, &entry.value)).collect();
        entries.sort_unstable_by_key(|(touched, _, _)| *touched);
        entries.into_iter().map(|(_, key, value)| (key, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of(&[&number.to_string()])
    }

    #[test]
    fn what_was_not_touched_for_longest_goes_first() {
        let mut table = Recent::of_at_most(3);
        for number in 0..3 {
            assert_eq!(table.insert(digest(number), number), None);
        }
        assert_eq!(table.touch(digest(0)), Some(&mut 0));
        assert_eq!(table.insert(digest(3), 3), Some(1));
        assert_eq!(table.touch(digest(1)), None);
        assert_eq!(table.insert(digest(4), 4), Some(2));
        assert_eq!(table.oldest_first().iter().map(|(_, value)| **value).collect::<Vec<_>>(), [0, 3, 4]);
        assert_eq!((table.entries.len(), table.forgotten()), (3, 2));
    }

    #[test]
    fn a_million_keys_stay_within_the_bound() {
        let mut table = Recent::of_at_most(1_000);
        for number in 0..1_000_000_u64 {
            table.insert(Digest::of(&[&number.to_string()]), number);
        }
        assert_eq!((table.entries.len(), table.filed.len(), table.forgotten()), (1_000, 1_000, 999_000));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Digest::of(&["ab", "c"]), Digest::of(&["a", "bc"]));
    }
}
