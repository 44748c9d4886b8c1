//! Room when there is none: the oldest segments are rewritten without what is worth least, and marks stand in its place.
//!
//! Called by the core. A rewritten segment is written under another name, synced and renamed to the name of the next generation
//! before the old one is removed, so that a crash at any point leaves one of them whole; recovery takes the newer. A file that
//! only keeps room (the *reserve*) is given back while the disk is full, so that rewriting has room to work in.

use std::collections::BTreeSet;
use std::io;

use postern_protocol::id::Lane;

use super::SpoolError;
use super::core::Core;
use super::index::value::{Class, Reason};
use super::rewriting::{Plan, Rewriting, Rewritten, Sentence};
use super::segment::SegmentId;
use super::segment::scan::{Step, Walk};
use super::storage::{self, Storage};

/// Name of the file that keeps room, and of a rewritten segment until it is whole.
pub(crate) const RESERVE: &str = "reserve";
pub(crate) const UNFINISHED: &str = "rewriting.new";

/// Part of the quota that the reserve may take, and the part that is left when rewriting begins, one segment a group.
const RESERVE_PART: u64 = 16;
const SOFT_PART: u64 = 16;

/// Per cent of the quota that a lane may take; alerts may take all.
const SHARES: [(Lane, Class, u64); 3] =
    [(Lane::Logs, Class::Logs, 25), (Lane::Samples, Class::Samples, 50), (Lane::Inventory, Class::Inventory, 5)];

/// What came of a rewriting.
enum Outcome {
    Less,
    NoRoom,
    Nothing,
}

impl<S: Storage> Core<S> {
    /// Gives up what has to go before `coming` more bytes fit the quota. What nothing more can be given up for exceeds it.
    pub(super) fn make_room(&mut self, coming: u64) -> Result<(), SpoolError> {
        self.trim()?;
        let max = self.shared.max_bytes.saturating_sub(self.reserve_bytes());
        let used = |core: &Self| core.shared.index().bytes().saturating_add(coming);
        let mut avoid = BTreeSet::new();
        if used(self) > max - max / SOFT_PART {
            self.give_up_one(Reason::Quota, &mut avoid)?;
        }
        while used(self) > max {
            if !self.give_up_one(Reason::Quota, &mut avoid)? {
                break;
            }
        }
        Ok(())
    }

    /// Makes room on a full disk; says whether there is some now.
    pub(super) fn make_disk_room(&mut self) -> Result<bool, SpoolError> {
        let done = self.shared.index().trim();
        if !done.is_empty() {
            self.remove(&done)?;
            return Ok(true);
        }
        self.release_reserve()?;
        let (mut avoid, mut is_freed) = (BTreeSet::new(), false);
        while self.give_up_one(Reason::DiskFull, &mut avoid)? {
            is_freed = true;
            self.take_reserve()?;
            if self.has_reserve {
                break;
            }
        }
        self.take_reserve()?;
        Ok(is_freed)
    }

    /// Gives up what is beyond the lanes' shares.
    pub(super) fn keep_shares(&mut self) -> Result<(), SpoolError> {
        let mut avoid = BTreeSet::new();
        for (lane, class, per_cent) in SHARES {
            let most = self.shared.max_bytes / 100 * per_cent;
            while self.shared.index().waiting_bytes(lane) > most {
                let Some(id) = self.shared.index().victim(class, |number| avoid.contains(&number)) else { break };
                if !matches!(self.rewrite(id, Sentence { class, reason: Reason::Share })?, Outcome::Less) {
                    avoid.insert(id.number);
                }
            }
        }
        Ok(())
    }

    /// Rewrites one segment without what is worth least; says whether there was one.
    fn give_up_one(&mut self, reason: Reason, avoid: &mut BTreeSet<u32>) -> Result<bool, SpoolError> {
        for class in Class::ALL {
            loop {
                let Some(id) = self.shared.index().victim(class, |number| avoid.contains(&number)) else { break };
                match self.rewrite(id, Sentence { class, reason })? {
                    Outcome::Less => return Ok(true),
                    Outcome::NoRoom => {}
                    Outcome::Nothing => self.shared.index().exhaust(id),
                }
                avoid.insert(id.number);
            }
        }
        Ok(false)
    }

    fn rewrite(&mut self, id: SegmentId, sentence: Sentence) -> Result<Outcome, SpoolError> {
        let name = id.file_name();
        let (old, number, needed_from) = {
            let index = self.shared.index();
            let Some(old) = index.segment(id).cloned() else { return Ok(Outcome::Nothing) };
            (old, index.next_rewriting(), index.needed_from())
        };
        let bytes = storage::read(&self.shared.storage, &name, 0, u32::MAX as usize).map_err(self.shared.fault(&name))?;
        let cipher = self.sealer.fresh(id.rewritten())?;
        let is_state_needed = needed_from.is_none_or(|from| id.number >= from);
        let mut work = Rewriting::new(&old, &cipher, Plan { sentence, number, is_state_needed });
        let mut is_damaged = false;
        for step in Walk::new(id, 0, &bytes) {
            match step {
                Step::Record(found) => {
                    let class = work.entry(&found).and_then(|entry| self.shared.index().class_of(id, &entry));
                    work.take(&mut self.sealer, &found, class)?;
                }
                Step::Cut { .. } | Step::Damaged { .. } | Step::Unreadable { .. } => is_damaged = true,
            }
        }
        let Some(Rewritten { out, mut made, kept, given_up, damaged }) = work.finish(bytes.len()) else { return Ok(Outcome::Nothing) };
        if is_damaged && let Err(error) = self.shared.storage.keep_damaged(&name) {
            tracing::warn!(name, %error, "a damaged segment of the spool cannot be kept for inspection");
        }
        if !self.put(made.id, &out)? {
            return Ok(Outcome::NoRoom);
        }
        made.bytes = out.len() as u64;
        made.cipher = Some(cipher);
        let mut index = self.shared.index();
        kept.iter().for_each(|entry| index.weigh(&mut made, entry));
        index.replace(made, &given_up, &damaged);
        drop(index);
        if given_up.iter().any(|(_, reason)| *reason != Reason::Damaged) {
            let (class, reason) = (sentence.class, sentence.reason.name());
            tracing::warn!(segment = id.number, records = given_up.len(), ?class, reason, "gave up records of the spool for want of room");
        }
        self.remove(&[id])?;
        Ok(Outcome::Less)
    }

    /// Writes a rewritten segment and gives it its name; says whether there was room for it.
    fn put(&self, id: SegmentId, bytes: &[u8]) -> Result<bool, SpoolError> {
        let storage = &self.shared.storage;
        let fault = || self.shared.fault(UNFINISHED);
        let full = |cause: &io::Error| cause.kind() == io::ErrorKind::StorageFull;
        let mut file = match storage.create(UNFINISHED, 0) {
            Err(cause) if full(&cause) => return Ok(false),
            made => made.map_err(fault())?,
        };
        match storage.write_at(&mut file, 0, bytes) {
            Err(cause) if full(&cause) => {
                storage.remove(UNFINISHED).map_err(fault())?;
                return Ok(false);
            }
            written => written.map_err(fault())?,
        }
        storage.sync_data(&mut file).map_err(fault())?;
        match storage.rename(UNFINISHED, &id.file_name()) {
            Err(cause) if full(&cause) => {
                storage.remove(UNFINISHED).map_err(fault())?;
                return Ok(false);
            }
            renamed => renamed.map_err(fault())?,
        }
        storage.sync_dir().map_err(fault())?;
        Ok(true)
    }

    fn reserve_bytes(&self) -> u64 {
        self.shared.segment_bytes.min(self.shared.max_bytes / RESERVE_PART)
    }

    /// Looks whether an earlier run left the reserve, of the right size.
    pub(super) fn find_reserve(&mut self) -> Result<(), SpoolError> {
        match self.shared.storage.length(RESERVE) {
            Ok(length) if length == self.reserve_bytes() => self.has_reserve = true,
            Ok(_) => self.shared.storage.remove(RESERVE).map_err(self.shared.fault(RESERVE))?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(self.shared.fault(RESERVE)(cause)),
        }
        Ok(())
    }

    /// Takes room for the reserve, if there is any. Its name need not be durable: what a crash takes back is taken again.
    pub(super) fn take_reserve(&mut self) -> Result<(), SpoolError> {
        if self.has_reserve {
            return Ok(());
        }
        match self.shared.storage.create(RESERVE, self.reserve_bytes()) {
            Ok(_) => self.has_reserve = true,
            Err(cause) if cause.kind() == io::ErrorKind::StorageFull => {}
            Err(cause) => return Err(self.shared.fault(RESERVE)(cause)),
        }
        Ok(())
    }

    /// Gives the reserve's room back to the disk.
    pub(super) fn release_reserve(&mut self) -> Result<(), SpoolError> {
        if std::mem::take(&mut self.has_reserve) {
            self.shared.storage.remove(RESERVE).map_err(self.shared.fault(RESERVE))?;
        }
        Ok(())
    }
}
