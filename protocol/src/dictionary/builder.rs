//! Writes a table.
//!
//! A table is: `PMIB`, the format (1 byte, 1), the modules' names, the syntaxes, the number of entries, the entries by ascending OID.
//! All numbers are [`varint`](super::varint)s. An entry shares the beginning of its OID and of its name with the one before; each
//! [`BLOCK_ENTRIES`]-th shares nothing, so that a search can begin there.

use std::collections::{BTreeMap, HashMap};

use super::MAX_TABLE_BYTES;
use super::entry::{Class, Kind, MAX_LABELS, MAX_NAME_BYTES, MAX_OBJECTS};
use super::varint::{is_plain, put, put_text, zigzag};
use crate::oid::Oid;

/// What a table begins with.
pub(super) const MAGIC: &[u8; 5] = b"PMIB\x01";

/// Entries between two that share nothing.
pub(super) const BLOCK_ENTRIES: usize = 32;

/// Set in an entry's first number when it is of the same module as the one before.
pub(super) const SAME_MODULE: u64 = 8;

/// Set in an entry's first number when it has a syntax.
pub(super) const HAS_SYNTAX: u64 = 16;

/// One OID and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The OID.
    pub oid: Oid,
    /// Its descriptor.
    pub name: String,
    /// The module that defines it.
    pub module: String,
    /// What it is.
    pub kind: Kind,
    /// The syntax, of an object.
    pub syntax: Option<SyntaxDefinition>,
    /// The objects, of a notification; those that the table lacks are left out.
    pub objects: Vec<Oid>,
}

/// The syntax of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SyntaxDefinition {
    /// How to read the value.
    pub class: Class,
    /// DISPLAY-HINT; empty when there is none.
    pub hint: String,
    /// Labels of numbers or bits.
    pub labels: BTreeMap<i32, String>,
}

/// Why something cannot be in a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The table has more than [`MAX_TABLE_BYTES`].
    #[error("the table has {0} bytes, and {MAX_TABLE_BYTES} are possible")]
    Large(usize),
    /// A name, label or hint is empty, too long or not printable ASCII.
    #[error("{0:?} is no name of 1 to {MAX_NAME_BYTES} printable ASCII characters")]
    Name(String),
    /// More than [`MAX_LABELS`] labels or [`MAX_OBJECTS`] objects.
    #[error("{0:?} has too many labels or objects")]
    TooMany(String),
}

/// Collects definitions for a table.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    definitions: BTreeMap<Oid, Definition>,
}

impl Builder {
    /// Adds a definition; the later one of an OID counts.
    ///
    /// # Errors
    /// [`BuildError`] when no table can hold it.
    pub fn add(&mut self, definition: Definition) -> Result<(), BuildError> {
        let labels = definition.syntax.iter().flat_map(|syntax| syntax.labels.values());
        for name in labels.chain([&definition.name, &definition.module]) {
            if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !is_plain(name) {
                return Err(BuildError::Name(name.clone()));
            }
        }
        if let Some(syntax) = &definition.syntax {
            if syntax.hint.len() > MAX_NAME_BYTES || !is_plain(&syntax.hint) {
                return Err(BuildError::Name(syntax.hint.clone()));
            }
            if syntax.labels.len() > MAX_LABELS {
                return Err(BuildError::TooMany(definition.name));
            }
        }
        if definition.objects.len() > MAX_OBJECTS {
            return Err(BuildError::TooMany(definition.name));
        }
        self.definitions.insert(definition.oid.clone(), definition);
        Ok(())
    }

    /// Returns the number of OIDs.
    pub fn len(&self) -> usize {
        self.definitions.len()
    }

    /// Returns whether there is no OID.
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// Encodes the table.
    ///
    /// # Errors
    /// [`BuildError::Large`].
    pub fn encode(&self) -> Result<Vec<u8>, BuildError> {
        let modules = Numbers::of(self.definitions.values().map(|definition| definition.module.as_str()));
        let syntaxes = Numbers::of(self.definitions.values().filter_map(|definition| definition.syntax.as_ref()));
        let places: HashMap<&Oid, u64> = self.definitions.keys().zip(0..).collect();
        let mut out = MAGIC.to_vec();
        put(&mut out, modules.list.len() as u64);
        for module in &modules.list {
            put_text(&mut out, module);
        }
        put(&mut out, syntaxes.list.len() as u64);
        for syntax in &syntaxes.list {
            put_syntax(&mut out, syntax);
        }
        put(&mut out, self.definitions.len() as u64);
        let mut before: Option<&Definition> = None;
        for (at, definition) in self.definitions.values().enumerate() {
            if at % BLOCK_ENTRIES == 0 {
                before = None;
            }
            put_name(&mut out, before, definition);
            let same_module = before.is_some_and(|before| before.module == definition.module);
            let flags = if same_module { SAME_MODULE } else { 0 } | if definition.syntax.is_some() { HAS_SYNTAX } else { 0 };
            put(&mut out, definition.kind as u64 | flags);
            if !same_module {
                put(&mut out, modules.number(&definition.module.as_str()));
            }
            if let Some(syntax) = &definition.syntax {
                put(&mut out, syntaxes.number(&syntax));
            }
            if definition.kind == Kind::Notification {
                let objects: Vec<u64> = definition.objects.iter().filter_map(|object| places.get(object).copied()).collect();
                let mut list = Vec::new();
                objects.iter().for_each(|place| put(&mut list, *place));
                put(&mut out, list.len() as u64);
                out.extend_from_slice(&list);
            }
            before = Some(definition);
        }
        if out.len() > MAX_TABLE_BYTES { Err(BuildError::Large(out.len())) } else { Ok(out) }
    }
}

fn put_syntax(out: &mut Vec<u8>, syntax: &SyntaxDefinition) {
    out.push(syntax.class as u8);
    put_text(out, &syntax.hint);
    let mut list = Vec::new();
    let mut before = 0_i64;
    for (number, label) in &syntax.labels {
        put(&mut list, zigzag(i64::from(*number).wrapping_sub(before)));
        put_text(&mut list, label);
        before = i64::from(*number);
    }
    put(out, list.len() as u64);
    out.extend_from_slice(&list);
}

fn put_name(out: &mut Vec<u8>, before: Option<&Definition>, definition: &Definition) {
    let numbers = definition.oid.numbers();
    let shared = before.map_or(0, |before| shared(before.oid.numbers(), numbers));
    put(out, shared as u64);
    put(out, numbers.len().saturating_sub(shared) as u64);
    numbers.iter().skip(shared).for_each(|number| put(out, u64::from(*number)));
    let shared = before.map_or(0, |before| self::shared(before.name.as_bytes(), definition.name.as_bytes()));
    put(out, shared as u64);
    put_text(out, definition.name.get(shared..).unwrap_or_default());
}

/// Returns how many items `a` and `b` begin with alike.
pub(super) fn shared<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Different things, numbered as they first came.
struct Numbers<T> {
    list: Vec<T>,
    numbers: HashMap<T, u64>,
}

impl<T: Copy + Eq + std::hash::Hash> Numbers<T> {
    fn of(things: impl Iterator<Item = T>) -> Self {
        let mut all = Self { list: Vec::new(), numbers: HashMap::new() };
        for thing in things {
            all.numbers.entry(thing).or_insert_with(|| {
                all.list.push(thing);
                all.list.len().saturating_sub(1) as u64
            });
        }
        all
    }

    fn number(&self, thing: &T) -> u64 {
        self.numbers.get(thing).copied().unwrap_or_default()
    }
}
