//! Texts of which a message must contain one before a rule's regular expression can match: all of them are looked for in one pass,
//! so that a line costs what it matches and not how many rules there are.
//!
//! The pass asks a bitmap about four bytes of the message at every second place; where it says yes, the texts known by them are held
//! against that place. So each text is known by two groups of four bytes, one place apart, of which the pass sees one. A text of less
//! than five bytes has not two: it is known by three of its bytes, too, with any byte before or after them. Letters count as the same in either case: what is found may be a
//! little too much, never too little.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use foldhash::fast::FixedState;

/// Bits of the number that stands for four bytes: which bucket.
const BUCKET_BITS: u32 = 14;

/// Which bit of the map: that of few texts stays in the fastest cache, and that of many is no guess either.
const MAP_BITS: RangeInclusive<u32> = 13..=18;

/// Bits of the map for each that is set.
const SPARSE: usize = 32;

/// What letters of either case have in common, in each of four bytes.
const SAME_CASE: u32 = 0x2020_2020;

/// Stands for any byte, alone and in a gram.
const ANY: u8 = 0;
const ANY_GRAM: u32 = gram([0, 0, 0, ANY]) & 0xff;

/// Rules by the texts that they need.
#[derive(Clone, Debug, Default)]
pub(super) struct Literals {
    /// Lower-case texts and their rules.
    texts: Vec<(Box<[u8]>, u32)>,
    map: Map,
    four: Grams,
    /// By three bytes and any before them.
    after_any: Grams,
    /// By three bytes and any after them.
    before_any: Grams,
}

/// Where texts are to be looked for, by some of their bytes.
#[derive(Clone, Debug, Default)]
struct Grams {
    /// Where the entries of each bucket are.
    buckets: Vec<Range<u32>>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    gram: u32,
    text: u32,
    /// Bytes of the text up to the end of the gram, what follows the text included.
    end: u32,
}

impl Literals {
    /// Adds a rule that needs one of `texts`.
    pub(super) fn add(&mut self, rule: u32, texts: &[Vec<u8>]) {
        let mut lower: Vec<_> = texts.iter().map(|text| text.to_ascii_lowercase().into_boxed_slice()).collect();
        lower.sort_unstable();
        lower.dedup();
        self.texts.extend(lower.into_iter().map(|text| (text, rule)));
    }

    /// Makes the tables of what was added.
    pub(super) fn finish(mut self) -> Self {
        let mut crowds: HashMap<u32, usize, FixedState> = HashMap::default();
        for (text, _) in &self.texts {
            for (_, gram) in grams(text) {
                let crowd = crowds.entry(gram).or_default();
                *crowd = crowd.saturating_add(1);
            }
        }
        let (mut four, mut after_any, mut before_any) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (text, _)) in self.texts.iter().enumerate() {
            let entry = |(end, gram): (usize, u32)| Entry { gram, text: index(number), end: index(end) };
            let common = |gram: u32| (crowds.get(&gram).copied(), Reverse(rarity(gram)));
            let pairs = grams(text).zip(grams(text).skip(1));
            match (pairs.min_by_key(|((_, one), (_, other))| common(*one).max(common(*other))), &**text) {
                (Some((one, other)), _) => four.extend([entry(one), entry(other)]),
                (None, [a, b, c, _]) => {
                    four.extend(grams(text).map(entry));
                    after_any.push(entry((3, gram([ANY, *a, *b, *c]))));
                }
                (None, [a, b, c]) => {
                    after_any.push(entry((3, gram([ANY, *a, *b, *c]))));
                    before_any.push(entry((4, gram([*a, *b, *c, ANY]))));
                }
                (None, _) => {}
            }
        }
        let with_any = |entries: &[Entry], shift: u32| {
            let grams: Vec<_> = entries.iter().map(|entry| entry.gram & !(0xff << shift)).collect();
            grams.into_iter().flat_map(move |gram| (0..=0xff_u32).map(move |any| gram | any << shift | SAME_CASE))
        };
        let all = four.iter().map(|entry| entry.gram).chain(with_any(&after_any, 24)).chain(with_any(&before_any, 0));
        self.map = Map::new(all.collect());
        self.four = Grams::new(four);
        self.after_any = Grams::new(after_any);
        self.before_any = Grams::new(before_any);
        self
    }

    /// Adds the rules of which `message` contains a needed text to `found`, in any order, some perhaps twice.
    pub(super) fn find(&self, message: &str, found: &mut Vec<u32>) {
        let message = message.as_bytes();
        let (pairs, last) = message.as_chunks::<2>();
        let mut seen = 0_u32;
        for (number, pair) in pairs.iter().enumerate() {
            seen = seen << 16 | u32::from(u16::from_be_bytes(*pair));
            if self.map.may_have(seen | SAME_CASE) {
                self.look(seen | SAME_CASE, &Seen { message, end: number.saturating_mul(2).saturating_add(2) }, found);
            }
        }
        if let [last] = last {
            let seen = seen << 16 | u32::from(*last) << 8 | SAME_CASE;
            if self.map.may_have(seen) {
                self.look(seen, &Seen { message, end: message.len().saturating_add(1) }, found);
            }
        }
    }

    fn look(&self, seen: u32, place: &Seen<'_>, found: &mut Vec<u32>) {
        self.hold(&self.four, seen, place, found);
        self.hold(&self.after_any, seen & !(0xff << 24) | ANY_GRAM << 24, place, found);
        self.hold(&self.before_any, seen & !0xff | ANY_GRAM, place, found);
    }

    /// Holds the texts that are known by `gram` against the place where it was seen.
    fn hold(&self, grams: &Grams, gram: u32, seen: &Seen<'_>, found: &mut Vec<u32>) {
        for entry in grams.entries_of(gram).iter().filter(|entry| entry.gram == gram) {
            let Some((text, rule)) = self.texts.get(entry.text as usize) else { continue };
            let begin = seen.end.checked_sub(entry.end as usize);
            let there = begin.and_then(|begin| seen.message.get(begin..begin.saturating_add(text.len())));
            if there.is_some_and(|there| there.eq_ignore_ascii_case(text)) {
                found.push(*rule);
            }
        }
    }
}

/// Where a gram of a message ends.
struct Seen<'m> {
    message: &'m [u8],
    end: usize,
}

impl Grams {
    fn new(mut entries: Vec<Entry>) -> Self {
        if entries.is_empty() {
            return Self::default();
        }
        entries.sort_by_key(|entry| (bucket(entry.gram), entry.gram, entry.text));
        let mut buckets = vec![0..0; 1 << BUCKET_BITS];
        for (at, entry) in entries.iter().enumerate() {
            if let Some(range) = buckets.get_mut(bucket(entry.gram)) {
                let start = if range.start == range.end { index(at) } else { range.start };
                *range = start..index(at).saturating_add(1);
            }
        }
        Self { buckets, entries }
    }

    fn entries_of(&self, gram: u32) -> &[Entry] {
        let range = self.buckets.get(bucket(gram)).cloned().unwrap_or_default();
        self.entries.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

/// Which grams there are, and a few that there are not.
#[derive(Clone, Debug, Default)]
struct Map {
    words: Vec<u64>,
    /// What is left of a spread gram's bits when they are shifted by this says which bit is its.
    shift: u32,
}

impl Map {
    fn new(mut grams: Vec<u32>) -> Self {
        grams.sort_unstable();
        grams.dedup();
        if grams.is_empty() {
            return Self::default();
        }
        let wanted = grams.len().saturating_mul(SPARSE).next_power_of_two().ilog2();
        let bits = wanted.clamp(*MAP_BITS.start(), *MAP_BITS.end());
        let mut map = Self { words: vec![0; 1 << (bits - u64::BITS.ilog2())], shift: u32::BITS - bits };
        for gram in grams {
            let (word, bit) = map.place(gram);
            if let Some(word) = map.words.get_mut(word) {
                *word |= bit;
            }
        }
        map
    }

    fn may_have(&self, gram: u32) -> bool {
        let (word, bit) = self.place(gram);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    const fn place(&self, gram: u32) -> (usize, u64) {
        let bit = spread(gram) >> self.shift;
        ((bit >> 6) as usize, 1 << (bit & 63))
    }
}

/// The grams of a text, each with the bytes up to its end.
fn grams(text: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    text.array_windows().zip(4..).map(|(window, end)| (end, gram(*window)))
}

/// Returns the number that stands for four bytes.
const fn gram(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) | SAME_CASE
}

/// How seldom a gram is in ordinary lines, for the choice among a text's.
fn rarity(gram: u32) -> u32 {
    gram.to_be_bytes()
        .into_iter()
        .map(|byte| match byte {
            b' ' | b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 0,
            b'l' | b'd' | b'c' | b'u' | b'm' | b'p' | b'f' | b'g' | b'h' | b'y' | b'b' | b':' => 1,
            _ => 2,
        })
        .sum()
}

/// Spreads grams evenly (Fibonacci hashing).
const fn spread(gram: u32) -> u32 {
    gram.wrapping_mul(0x9e37_79b1)
}

const fn bucket(gram: u32) -> usize {
    (spread(gram) >> (u32::BITS - BUCKET_BITS)) as usize
}

/// A document's bounds keep every number far below what 32 bits hold.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(rules: &[(u32, &[&str])], message: &str) -> Vec<u32> {
        let mut literals = Literals::default();
        for (rule, texts) in rules {
            literals.add(*rule, &texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        }
        let mut found = Vec::new();
        literals.finish().find(message, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn rules_are_found_by_any_of_their_texts() {
        let rules: &[(u32, &[&str])] = &[(7, &["panic"]), (3, &["kernel panic", "kernel oops"]), (5, &["fan", "psu"]), (6, &["   x"])];
        assert_eq!(found(rules, "kernel panic, and a panic again"), [3, 7]);
        assert_eq!(found(rules, "KERNEL OOPS: PSU"), [3, 5]);
        assert_eq!(found(rules, "fan"), [5]);
        assert_eq!(found(rules, "x"), [0_u32; 0]);
        assert!(found(rules, "all is well").is_empty() && found(&[], "panic").is_empty());
    }

    proptest! {
        #[test]
        fn a_text_that_is_there_is_found(texts in prop::collection::vec("[a-cA-C ]{3,7}", 1..30), message in "[a-cA-C ]{0,40}") {
            let one: Vec<[&str; 1]> = texts.iter().map(|text| [text.as_str()]).collect();
            let rules: Vec<(u32, &[&str])> = (0..).zip(&one).map(|(number, text)| (number, text.as_slice())).collect();
            let lower = message.to_ascii_lowercase();
            let there = rules.iter().filter(|(_, text)| lower.contains(&text[0].to_ascii_lowercase())).map(|(number, _)| *number);
            prop_assert_eq!(found(&rules, &message), there.collect::<Vec<_>>());
        }
    }
}
