//! Reads a table: checked once as a whole, then asked in its encoded bytes, so that it takes hardly more memory than it has bytes.

use bytes::Bytes;

use super::MAX_TABLE_BYTES;
use super::builder::{BLOCK_ENTRIES, Definition, HAS_SYNTAX, MAGIC, SAME_MODULE, SyntaxDefinition, shared};
use super::entry::{Class, Entry, Kind, MAX_LABELS, MAX_NAME_BYTES, MAX_OBJECTS, Syntax};
use super::varint::{Reader, unzigzag};
use crate::oid::{MAX_SUB_IDENTIFIERS, Oid};

/// Why bytes are no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It contradicts itself, or is cut.
    #[error("the dictionary is damaged at byte {0}")]
    Damaged(usize),
    /// It does not begin as one of this format does.
    #[error("this is no dictionary of a format that this version reads")]
    Format,
    /// More than [`MAX_TABLE_BYTES`].
    #[error("a dictionary has at most {MAX_TABLE_BYTES} bytes")]
    Large,
}

/// One table.
#[derive(Clone)]
pub struct Table {
    bytes: Bytes,
    /// Where each module's name begins.
    modules: Vec<u32>,
    /// Where each syntax begins.
    syntaxes: Vec<u32>,
    /// Where each block of entries begins.
    blocks: Vec<u32>,
    len: usize,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("bytes", &self.bytes.len()).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Table {
    /// Checks `bytes` as a whole.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn parse(bytes: Bytes) -> Result<Self, TableError> {
        if bytes.len() > MAX_TABLE_BYTES {
            return Err(TableError::Large);
        }
        let mut reader = Reader::new(bytes.strip_prefix(MAGIC.as_slice()).ok_or(TableError::Format)?);
        let mut table = Self { bytes: bytes.clone(), modules: Vec::new(), syntaxes: Vec::new(), blocks: Vec::new(), len: 0 };
        match table.index(&mut reader) {
            Some(()) if reader.remaining() == 0 => Ok(table),
            _ => Err(TableError::Damaged(bytes.len().saturating_sub(reader.remaining()))),
        }
    }

    /// Returns a table that names nothing.
    pub const fn empty() -> Self {
        Self { bytes: Bytes::from_static(b"PMIB\x01\0\0\0"), modules: Vec::new(), syntaxes: Vec::new(), blocks: Vec::new(), len: 0 }
    }

    /// Returns the bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the number of OIDs.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no OID has a name.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the entry of the longest prefix of `oid`, `oid` itself included, that the table has.
    pub fn longest_prefix(&self, oid: &[u32]) -> Option<Entry<'_>> {
        let mut wanted = oid;
        loop {
            // The greatest entry that is not behind `wanted`: itself, or else every prefix is one of what both begin with.
            let found = self.floor(wanted)?;
            let common = shared(&found.oid, wanted);
            wanted = wanted.get(..common)?;
            if common == found.oid.len() {
                return self.entry(&found);
            }
            if wanted.is_empty() {
                return None;
            }
        }
    }

    /// Returns the notification of exactly this OID.
    pub fn notification(&self, oid: &[u32]) -> Option<Entry<'_>> {
        let found = self.floor(oid)?;
        (found.head.kind == Kind::Notification && found.oid == oid).then(|| self.entry(&found))?
    }

    /// Returns the OIDs of the objects of `entry`, which is this table's, in the notification's order.
    pub fn objects(&self, entry: &Entry<'_>) -> Vec<Oid> {
        entry.objects().filter_map(|place| self.at(place)).filter_map(|cursor| Oid::new(&cursor.oid).ok()).collect()
    }

    /// Returns everything, by ascending OID.
    pub fn definitions(&self) -> impl Iterator<Item = Definition> + '_ {
        (0..self.blocks.len()).flat_map(|block| self.block(block).map(|cursor| self.definition(&cursor)).collect::<Vec<_>>()).flatten()
    }

    fn definition(&self, cursor: &Cursor<'_>) -> Option<Definition> {
        let entry = self.entry(cursor)?;
        let syntax = entry.syntax.map(|syntax| SyntaxDefinition {
            class: syntax.class,
            hint: syntax.hint.to_owned(),
            labels: syntax.labels().map(|(number, label)| (number, label.to_owned())).collect(),
        });
        let objects = self.objects(&entry);
        let oid = Oid::new(&cursor.oid).ok()?;
        Some(Definition { oid, name: entry.name, module: entry.module.to_owned(), kind: entry.kind, syntax, objects })
    }

    /// Finds where everything begins, and checks all of it.
    fn index(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let total = self.bytes.len();
        let here = |reader: &Reader<'_>| u32::try_from(total.saturating_sub(reader.remaining())).ok();
        // A count may be a lie: nothing is reserved for it, and each item takes a byte at least.
        for _ in 0..reader.size()? {
            self.modules.push(here(reader)?);
            reader.text(MAX_NAME_BYTES).filter(|name| !name.is_empty())?;
        }
        for _ in 0..reader.size()? {
            self.syntaxes.push(here(reader)?);
            check_labels(syntax(reader)?)?;
        }
        self.len = reader.size()?;
        let mut cursor = Cursor::new(reader.rest());
        let mut before: Vec<u32> = Vec::new();
        for at in 0..self.len {
            if at % BLOCK_ENTRIES == 0 {
                self.blocks.push(here(&cursor.reader)?);
                cursor.restart();
            }
            let read = cursor.read().filter(|()| self.fits(&cursor.head) && cursor.oid > before && Oid::new(&cursor.oid).is_ok());
            *reader = cursor.reader;
            read?;
            before.clone_from(&cursor.oid);
        }
        Some(())
    }

    fn fits(&self, head: &Head<'_>) -> bool {
        let mut objects = Reader::new(head.objects);
        let mut count = 0_usize;
        while objects.remaining() > 0 {
            count = count.saturating_add(1);
            if objects.size().is_none_or(|place| place >= self.len) || count > MAX_OBJECTS {
                return false;
            }
        }
        head.module < self.modules.len() && head.syntax.is_none_or(|syntax| syntax < self.syntaxes.len())
    }

    /// Reads a block's entries one after the other.
    fn block(&self, block: usize) -> impl Iterator<Item = Cursor<'_>> {
        let count = self.entries_of(block);
        let mut cursor = self.begin(block);
        (0..count).map_while(move |_| cursor.read().map(|()| cursor.clone()))
    }

    fn entries_of(&self, block: usize) -> usize {
        self.len.saturating_sub(block.saturating_mul(BLOCK_ENTRIES)).min(BLOCK_ENTRIES)
    }

    fn begin(&self, block: usize) -> Cursor<'_> {
        Cursor::new(self.blocks.get(block).and_then(|from| self.bytes.get(*from as usize..)).unwrap_or_default())
    }

    /// Returns the entry at `place`, counted from 0.
    fn at(&self, place: usize) -> Option<Cursor<'_>> {
        let mut cursor = self.begin(place / BLOCK_ENTRIES);
        for _ in 0..=place % BLOCK_ENTRIES {
            cursor.read()?;
        }
        Some(cursor)
    }

    /// Returns the greatest entry that is not greater than `oid`.
    fn floor(&self, oid: &[u32]) -> Option<Cursor<'_>> {
        let behind = self.blocks.partition_point(|from| {
            let mut first = Cursor::new(self.bytes.get(*from as usize..).unwrap_or_default());
            first.read().is_some_and(|()| first.oid.as_slice() <= oid)
        });
        let block = behind.checked_sub(1)?;
        let mut cursor = self.begin(block);
        let mut not_greater = 0_usize;
        while not_greater < self.entries_of(block) && cursor.read().is_some_and(|()| cursor.oid.as_slice() <= oid) {
            not_greater = not_greater.saturating_add(1);
        }
        self.at(block.saturating_mul(BLOCK_ENTRIES).saturating_add(not_greater.checked_sub(1)?))
    }

    fn entry<'t>(&'t self, cursor: &Cursor<'t>) -> Option<Entry<'t>> {
        let from = |places: &[u32], number: usize| Some(Reader::new(self.bytes.get(*places.get(number)? as usize..)?));
        Some(Entry {
            oid_len: cursor.oid.len(),
            name: String::from_utf8(cursor.name.clone()).ok()?,
            module: from(&self.modules, cursor.head.module)?.text(MAX_NAME_BYTES)?,
            kind: cursor.head.kind,
            syntax: cursor.head.syntax.and_then(|number| syntax(&mut from(&self.syntaxes, number)?)),
            objects: cursor.head.objects,
        })
    }
}

/// Reads entries of a block, each with the help of the one before.
#[derive(Clone, Debug)]
struct Cursor<'t> {
    reader: Reader<'t>,
    oid: Vec<u32>,
    name: Vec<u8>,
    head: Head<'t>,
}

/// An entry without its names.
#[derive(Clone, Copy, Debug)]
struct Head<'t> {
    kind: Kind,
    module: usize,
    syntax: Option<usize>,
    objects: &'t [u8],
}

impl<'t> Cursor<'t> {
    const fn new(bytes: &'t [u8]) -> Self {
        let head = Head { kind: Kind::Node, module: usize::MAX, syntax: None, objects: &[] };
        Self { reader: Reader::new(bytes), oid: Vec::new(), name: Vec::new(), head }
    }

    /// Forgets the entry before.
    fn restart(&mut self) {
        *self = Self::new(self.reader.rest());
    }

    fn read(&mut self) -> Option<()> {
        let reader = &mut self.reader;
        let shared = reader.size().filter(|shared| *shared <= self.oid.len())?;
        let more = reader.size().filter(|more| *more <= MAX_SUB_IDENTIFIERS.saturating_sub(shared))?;
        self.oid.truncate(shared);
        for _ in 0..more {
            self.oid.push(reader.small()?);
        }
        let shared = reader.size().filter(|shared| *shared <= self.name.len())?;
        self.name.truncate(shared);
        self.name.extend_from_slice(reader.text(MAX_NAME_BYTES.saturating_sub(shared))?.as_bytes());
        if self.name.is_empty() {
            return None;
        }
        let head = reader.number()?;
        self.head.kind = Kind::of(head & !(SAME_MODULE | HAS_SYNTAX))?;
        if head & SAME_MODULE == 0 {
            self.head.module = reader.size()?;
        }
        self.head.syntax = if head & HAS_SYNTAX == 0 { None } else { Some(reader.size()?) };
        self.head.objects = match self.head.kind {
            Kind::Notification => {
                let length = reader.size()?;
                reader.bytes(length)?
            }
            Kind::Column | Kind::Node | Kind::Row | Kind::Scalar | Kind::Table => &[],
        };
        Some(())
    }
}

fn syntax<'t>(reader: &mut Reader<'t>) -> Option<Syntax<'t>> {
    let class = Class::of(reader.byte()?)?;
    let hint = reader.text(MAX_NAME_BYTES)?;
    let length = reader.size()?;
    Some(Syntax { class, hint, labels: reader.bytes(length)? })
}

/// Holds that labels are of ascending numbers and plain.
fn check_labels(syntax: Syntax<'_>) -> Option<()> {
    let mut reader = Reader::new(syntax.labels);
    let (mut number, mut count) = (0_i64, 0_usize);
    while reader.remaining() > 0 {
        let step = unzigzag(reader.number()?);
        if count > 0 && step <= 0 || count >= MAX_LABELS {
            return None;
        }
        number = number.checked_add(step).filter(|number| i32::try_from(*number).is_ok())?;
        count = count.saturating_add(1);
        reader.text(MAX_NAME_BYTES).filter(|label| !label.is_empty())?;
    }
    Some(())
}
