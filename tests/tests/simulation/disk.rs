//! A disk that keeps only what was synced: torn and reordered writes, names that vanish, no room, failed syncs, rot.
//!
//! The page cache is what programs read; the platters are what a power cut leaves. A sync moves one file's content, or the
//! directory's names, from the first to the second. Everything else survives a power cut by chance, sector by sector.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::random::Random;

const SECTOR: usize = 512;

/// A file's identity, whatever its names.
pub(crate) type Inode = u64;

/// How the disk betrays its user: only for the tests of the simulation itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// A sync does what it says.
    Honest,
    /// A sync of a file says that it is done, and does nothing.
    LiesAboutSync,
}

#[derive(Clone, Debug)]
enum Write {
    Data { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, Inode),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Debug, Default)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone, Debug)]
struct State {
    files: BTreeMap<Inode, File>,
    cached_names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    pending_names: Vec<NameChange>,
    next_inode: Inode,
    capacity: u64,
    failing_syncs: u32,
    fuse: Option<u64>,
    is_dead: bool,
    honesty: Honesty,
    random: Random,
}

/// A handle to the disk; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// What a disk held at a moment, as a machine that is started from a copy of it finds it.
#[derive(Clone, Debug)]
pub(crate) struct Image(State);

impl Disk {
    /// Makes an empty disk with room for `capacity` bytes.
    pub(crate) fn new(random: Random, capacity: u64, honesty: Honesty) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            cached_names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            next_inode: 1,
            capacity,
            failing_syncs: 0,
            fuse: None,
            is_dead: false,
            honesty,
            random,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets the machine die in the middle of the operation that comes after `operations` more.
    pub(crate) fn arm(&self, operations: u64) {
        self.state().fuse = Some(operations);
    }

    /// Says whether the machine has died: no operation works until [`Disk::reset`].
    pub(crate) fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Makes the disk answer again: another program looks at it now.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        (state.is_dead, state.fuse) = (false, None);
    }

    /// Lets the next `count` syncs fail.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Changes how many bytes the disk has.
    pub(crate) fn resize(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    /// Takes the power away: of what was not synced, chance decides what stays.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        let mut random = state.random.fork();
        state.cut_power(&mut random);
    }

    /// Copies the disk as it would be found after a power cut now.
    pub(crate) fn image(&self) -> Image {
        let mut copy = self.state().clone();
        let mut random = copy.random.fork();
        copy.cut_power(&mut random);
        Image(copy)
    }

    /// Puts an earlier image back; room and faults stay as they are now.
    pub(crate) fn restore(&self, image: &Image) {
        let mut state = self.state();
        let now = state.clone();
        *state = State { next_inode: now.next_inode, capacity: now.capacity, random: now.random, honesty: now.honesty, ..image.0.clone() };
    }

    /// Flips bits in a file that `is_prey`, as a medium does over the years. Returns its name and place.
    pub(crate) fn rot(&self, is_prey: impl Fn(&str) -> bool) -> Option<(String, usize)> {
        let mut state = self.state();
        let mut random = state.random.fork();
        let prey: Vec<_> =
            state.cached_names.iter().filter(|(name, _)| is_prey(name)).map(|(name, inode)| (name.clone(), *inode)).collect();
        let (name, inode) = prey.get(random.index(prey.len()))?.clone();
        let file = state.files.get_mut(&inode)?;
        let most = file.durable.len().min(file.cached.len());
        if most == 0 {
            return None;
        }
        let at = random.index(most);
        let flip = 1 << random.below(8);
        file.durable[at] ^= flip;
        file.cached[at] ^= flip;
        Some((name, at))
    }

    /// Lists the names, as a program sees them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().cached_names.keys().cloned().collect()
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.is_dead {
            return Err(io::Error::other("the machine is dead"));
        }
        if let Some(left) = state.fuse.as_mut() {
            if *left == 0 {
                state.is_dead = true;
                return Ok(state);
            }
            *left -= 1;
        }
        Ok(state)
    }

    /// Ends an operation that began: an error when the machine died in it.
    fn end<T>(state: &State, done: T) -> io::Result<T> {
        if state.is_dead { Err(io::Error::other("the machine died in this operation")) } else { Ok(done) }
    }

    /// Makes a file, which must not be there, with room for `preallocated` bytes that read as zeros.
    pub(crate) fn create(&self, name: &str, preallocated: u64) -> io::Result<Inode> {
        let mut state = self.begin()?;
        if state.cached_names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if preallocated > state.room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.files.insert(inode, File::default());
        state.cached_names.insert(name.to_owned(), inode);
        state.pending_names.push(NameChange::Link(name.to_owned(), inode));
        if preallocated > 0 {
            state.files.get_mut(&inode).unwrap().write(Write::Length(usize::try_from(preallocated).unwrap()));
        }
        Self::end(&state, inode)
    }

    /// Opens a file.
    pub(crate) fn open(&self, name: &str) -> io::Result<Inode> {
        self.begin()?.find(name)
    }

    /// Writes `bytes` at `offset`; a hole before them reads as zeros. A full disk takes a part of them.
    pub(crate) fn write(&self, inode: Inode, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.begin()?;
        state.holds(inode)?;
        let offset = usize::try_from(offset).unwrap();
        let have = state.files[&inode].cached.len();
        let room = usize::try_from(state.room()).unwrap();
        let fits = (have + room).saturating_sub(offset).min(bytes.len());
        // A machine that dies in the middle has written a part.
        let most = if state.is_dead { state.random.index(fits + 1) } else { fits };
        state.files.get_mut(&inode).unwrap().write(Write::Data { offset, bytes: bytes[..most].to_vec() });
        Self::end(&state, ())?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Sets a file's length: cut off, or filled with zeros when there is room.
    pub(crate) fn set_length(&self, inode: Inode, length: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        state.holds(inode)?;
        let length = usize::try_from(length).unwrap();
        let more = length.saturating_sub(state.files[&inode].cached.len()) as u64;
        if more > state.room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.files.get_mut(&inode).unwrap().write(Write::Length(length));
        Self::end(&state, ())
    }

    /// Makes a file's content durable. After a failure, what was not yet durable is lost for good unless it is written again,
    /// though it can still be read: as Linux does.
    pub(crate) fn sync_file(&self, inode: Inode) -> io::Result<()> {
        let mut state = self.begin()?;
        state.holds(inode)?;
        if state.is_dead {
            return Self::end(&state, ());
        }
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            let mut random = state.random.fork();
            let file = state.files.get_mut(&inode).unwrap();
            for write in std::mem::take(&mut file.pending) {
                if random.chance(50) {
                    apply(&mut file.durable, &write);
                }
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        let lies = state.honesty == Honesty::LiesAboutSync;
        let file = state.files.get_mut(&inode).unwrap();
        if !lies {
            for write in std::mem::take(&mut file.pending) {
                apply(&mut file.durable, &write);
            }
        }
        Ok(())
    }

    /// Makes the names durable.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.is_dead {
            return Self::end(&state, ());
        }
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        for change in std::mem::take(&mut state.pending_names) {
            rename(&mut state.durable_names, &change);
        }
        state.forget_nameless();
        Ok(())
    }

    /// Renames a file, over another one if there is one.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.begin()?;
        state.find(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        rename(&mut state.cached_names, &change);
        state.pending_names.push(change);
        Self::end(&state, ())
    }

    /// Gives a file a further name.
    pub(crate) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = state.find(from)?;
        if state.cached_names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let change = NameChange::Link(to.to_owned(), inode);
        rename(&mut state.cached_names, &change);
        state.pending_names.push(change);
        Self::end(&state, ())
    }

    /// Removes a name.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.begin()?;
        state.find(name)?;
        let change = NameChange::Remove(name.to_owned());
        rename(&mut state.cached_names, &change);
        state.pending_names.push(change);
        state.forget_nameless();
        Self::end(&state, ())
    }

    /// Reads up to `most` bytes from `offset`.
    pub(crate) fn read(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        if state.is_dead {
            return Err(io::Error::other("the machine is dead"));
        }
        let cached = &state.files[&state.find(name)?].cached;
        let from = usize::try_from(offset).unwrap().min(cached.len());
        let to = from.saturating_add(most).min(cached.len());
        Ok(cached[from..to].to_vec())
    }

    /// Returns a file's length.
    pub(crate) fn length(&self, name: &str) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[&state.find(name)?].cached.len() as u64)
    }

    /// Returns how many bytes are taken.
    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    /// Returns how many bytes may still be written.
    pub(crate) fn room(&self) -> u64 {
        self.state().room()
    }
}

impl State {
    fn find(&self, name: &str) -> io::Result<Inode> {
        self.cached_names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A file that lost its last name is not kept here for those who hold it open: nobody may write to one.
    fn holds(&self, inode: Inode) -> io::Result<()> {
        if self.files.contains_key(&inode) { Ok(()) } else { Err(io::Error::other("the file was removed while it was open")) }
    }

    /// A file counts while a program sees it: what was removed is free at once.
    fn used(&self) -> u64 {
        let seen: BTreeSet<_> = self.cached_names.values().collect();
        seen.into_iter().map(|inode| self.files[inode].cached.len() as u64).sum()
    }

    fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    fn cut_power(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            let luck = [0, 50, 100][random.index(3)];
            for write in std::mem::take(&mut file.pending) {
                match &write {
                    Write::Length(_) if random.chance(luck) => apply(&mut file.durable, &write),
                    Write::Length(_) => {}
                    Write::Data { offset, bytes } => tear(&mut file.durable, *offset, bytes, (luck, random)),
                }
            }
            file.cached.clone_from(&file.durable);
        }
        let changes = std::mem::take(&mut self.pending_names);
        let journal = random.index(changes.len() + 1);
        let in_order = random.chance(60);
        for (index, change) in changes.iter().enumerate() {
            if if in_order { index < journal } else { random.chance(50) } {
                rename(&mut self.durable_names, change);
            }
        }
        self.cached_names.clone_from(&self.durable_names);
        self.forget_nameless();
        (self.is_dead, self.fuse, self.failing_syncs) = (false, None, 0);
    }

    fn forget_nameless(&mut self) {
        let mut named: BTreeSet<Inode> = self.cached_names.values().chain(self.durable_names.values()).copied().collect();
        named.extend(self.pending_names.iter().filter_map(|change| match change {
            NameChange::Link(_, inode) => Some(*inode),
            NameChange::Remove(_) | NameChange::Rename(..) => None,
        }));
        self.files.retain(|inode, _| named.contains(inode));
    }
}

impl File {
    fn write(&mut self, write: Write) {
        apply(&mut self.cached, &write);
        self.pending.push(write);
    }
}

fn apply(content: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => content.resize(*length, 0),
        Write::Data { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
    }
}

/// Keeps a part of an unsynced write: some of its sectors, or its beginning up to any byte.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], (luck, random): (u64, &mut Random)) {
    if random.chance(30) {
        let kept = random.index(bytes.len() + 1);
        return apply(content, &Write::Data { offset, bytes: bytes[..kept].to_vec() });
    }
    let mut from = 0;
    while from < bytes.len() {
        let to = (from + SECTOR - (offset + from) % SECTOR).min(bytes.len());
        if random.chance(luck) {
            apply(content, &Write::Data { offset: offset + from, bytes: bytes[from..to].to_vec() });
        }
        from = to;
    }
}

fn rename(names: &mut BTreeMap<String, Inode>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
        NameChange::Remove(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}
