//! A disk in memory that keeps apart what was synced and what was not, can be cut off at any step, and has an end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use postern_uplink::spool::storage::Storage;

use crate::random::Random;

const SECTOR: usize = 512;

/// What of the unsynced survives a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survival {
    /// All of it, as when only the process dies.
    Everything,
    /// Nothing.
    Nothing,
    /// Some sectors and some of the names, drawn by a seed.
    Some(u64),
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    present: Vec<u8>,
}

#[derive(Clone)]
enum NameChange {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

#[derive(Clone, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
    next_inode: u64,
    steps: u64,
    cut_at: Option<u64>,
    is_cut: bool,
    capacity: u64,
}

/// The disk; clones share it.
#[derive(Clone)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
    }
}

fn sectors(bytes: usize) -> u64 {
    bytes.div_ceil(SECTOR) as u64 * SECTOR as u64
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| sectors(self.inodes[inode].present.len())).sum()
    }

    /// Takes one step; says whether the power goes off in it.
    fn step(&mut self) -> io::Result<bool> {
        if self.is_cut {
            return Err(io::Error::other("the power is off"));
        }
        self.steps += 1;
        self.is_cut = self.cut_at.is_some_and(|at| self.steps > at);
        Ok(self.is_cut)
    }

    fn step_whole(&mut self) -> io::Result<()> {
        if self.step()? { Err(io::Error::other("the power goes off")) } else { Ok(()) }
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }
}

impl MemoryDisk {
    /// Makes an empty disk of so many bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(State { capacity, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Returns how many steps were taken.
    pub(crate) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Cuts the power at a step.
    pub(crate) fn cut_at(&self, step: u64) {
        self.state().cut_at = Some(step);
    }

    /// Makes the disk bigger or smaller; what is on it stays.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Takes away all free room.
    pub(crate) fn fill_up(&self) {
        let mut state = self.state();
        state.capacity = state.used();
    }

    /// Returns the disk as it is after the power came back.
    pub(crate) fn reboot(&self, survival: Survival) -> Self {
        let mut state = self.state().clone();
        let mut random = Random::new(if let Survival::Some(seed) = survival { seed } else { 0 });
        let changes = match survival {
            Survival::Everything => state.pending.len(),
            Survival::Nothing => 0,
            Survival::Some(_) => random.below(state.pending.len() as u64 + 1) as usize,
        };
        let mut names = state.durable_names.clone();
        state.pending.iter().take(changes).for_each(|change| apply(&mut names, change));
        for inode in state.inodes.values_mut() {
            match survival {
                Survival::Everything => inode.durable.clone_from(&inode.present),
                Survival::Nothing => {}
                Survival::Some(_) => {
                    let length = match random.below(3) {
                        0 => inode.durable.len(),
                        1 => inode.present.len(),
                        _ => random.below(inode.present.len().max(inode.durable.len()) as u64 + 1) as usize,
                    };
                    // Below both lengths nothing was unsynced but what was written over.
                    let length = length.max(inode.durable.len().min(inode.present.len()));
                    inode.durable.resize(length, 0);
                    for (at, sector) in inode.present.chunks(SECTOR).enumerate() {
                        if random.below(2) == 0 {
                            let from = at * SECTOR;
                            let to = (from + sector.len()).min(length);
                            if from < to {
                                inode.durable[from..to].copy_from_slice(&sector[..to - from]);
                            }
                        }
                    }
                }
            }
            inode.present.clone_from(&inode.durable);
        }
        let mut fresh =
            State { inodes: state.inodes, names: names.clone(), durable_names: names, capacity: state.capacity, ..State::default() };
        fresh.next_inode = state.next_inode;
        Self(Arc::new(Mutex::new(fresh)))
    }
}

impl Storage for MemoryDisk {
    type File = u64;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, preallocated: u64) -> io::Result<u64> {
        let mut state = self.state();
        state.step_whole()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.used() + sectors(preallocated as usize) > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.next_inode += 1;
        let inode = state.next_inode;
        state.inodes.insert(inode, Inode { durable: Vec::new(), present: vec![0; preallocated as usize] });
        state.change(NameChange::Link(name.to_owned(), inode));
        Ok(inode)
    }

    fn open(&self, name: &str) -> io::Result<u64> {
        self.state().names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write_at(&self, file: &mut u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let is_last = state.step()?;
        let free = state.capacity.saturating_sub(state.used());
        let inode = state.inodes.get_mut(file).unwrap();
        let end = offset as usize + bytes.len();
        let more = sectors(end.max(inode.present.len())) - sectors(inode.present.len());
        let is_full = more > free;
        // A half of it is written before the power goes off or the disk is found full.
        let most =
            if is_full { (inode.present.len() + free as usize).saturating_sub(offset as usize).min(bytes.len()) } else { bytes.len() };
        let written = if is_last { most / 2 } else { most };
        let end = offset as usize + written;
        if inode.present.len() < end {
            inode.present.resize(end, 0);
        }
        inode.present[offset as usize..end].copy_from_slice(&bytes[..written]);
        match (is_last, is_full) {
            (true, _) => Err(io::Error::other("the power goes off")),
            (false, true) => Err(io::ErrorKind::StorageFull.into()),
            (false, false) => Ok(()),
        }
    }

    fn sync_data(&self, file: &mut u64) -> io::Result<()> {
        let mut state = self.state();
        state.step_whole()?;
        let inode = state.inodes.get_mut(file).unwrap();
        inode.durable.clone_from(&inode.present);
        Ok(())
    }

    fn truncate(&self, file: &mut u64, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step_whole()?;
        state.inodes.get_mut(file).unwrap().present.resize(bytes as usize, 0);
        Ok(())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let state = self.state();
        let inode = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.inodes[inode].present.len() as u64)
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        let inode = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = state.inodes[inode].present.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step_whole()?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step_whole()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step_whole()?;
        state.durable_names = state.names.clone();
        state.pending.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn keep_damaged(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn damaged(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn place_of(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}
