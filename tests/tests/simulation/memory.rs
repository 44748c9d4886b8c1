//! What the simulation remembers of a gateway over all its lives.

use std::collections::BTreeMap;

use postern_protocol::id::Lane;

use crate::gateway::{Gateway, Open};
use crate::random::Random;

/// What the simulation remembers of the gateway, whatever becomes of its program and its disk.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) segment_bytes: u64,
    pub(crate) max_bytes: u64,
    /// Number of the last commit that was made.
    pub(crate) commits: u64,
    /// Reports so far.
    pub(crate) events: u64,
    /// The last commit that the spool said is durable, on the disk as it is now.
    pub(crate) durable: u64,
    /// The open alerts after each commit.
    pub(crate) states: BTreeMap<u64, Vec<Open>>,
    /// Whether the medium was ever damaged.
    pub(crate) rotten: bool,
    /// Records that were found damaged, by starts that are over.
    pub(crate) damaged: u64,
    /// Records that were evicted, by disks that are no more.
    pub(crate) evicted_before: BTreeMap<Lane, u64>,
    /// Records that were evicted on the disk as it is now, as far as the program that ended last knew.
    pub(crate) evicted: BTreeMap<Lane, u64>,
    /// What the disk knows of its starts, and how many there were.
    pub(crate) chain: Starts,
    pub(crate) starts: u64,
}

/// The starts that a disk knows of, as the gateway keeps them: the last one with a session and all since, and the oldest revision that
/// those found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    pub(crate) starts: Vec<u64>,
    pub(crate) found: Option<u64>,
}

impl Memory {
    /// Draws the spool's sizes.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let segment_bytes = 1_500 + random.below(6_000);
        let max_bytes = segment_bytes * (6 + random.below(60));
        Self {
            segment_bytes,
            max_bytes,
            commits: 0,
            events: 0,
            durable: 0,
            states: BTreeMap::new(),
            rotten: false,
            damaged: 0,
            evicted_before: BTreeMap::new(),
            evicted: BTreeMap::new(),
            chain: Starts::default(),
            starts: 0,
        }
    }

    /// Notes a start on the disk, and says which it is.
    pub(crate) fn start(&mut self, found: u64) -> u64 {
        self.starts += 1;
        self.chain.starts.push(self.starts);
        self.chain.found = Some(self.chain.found.map_or(found, |oldest| oldest.min(found)));
        self.starts
    }

    /// Notes on the disk that the last start has a session.
    pub(crate) fn heard(&mut self) {
        self.chain.starts = self.chain.starts.last().copied().into_iter().collect();
    }

    /// Notes on the disk that it has all that the control plane knows.
    pub(crate) fn healed(&mut self) {
        self.chain.found = None;
    }

    /// Returns how many records of a lane may be missing, because the spool counted them as evicted or damaged.
    pub(crate) fn given_up(&self, gateway: &Gateway) -> impl Fn(Lane) -> u64 {
        let damaged = self.damaged + gateway.spool.damaged();
        move |lane| self.evicted_before.get(&lane).copied().unwrap_or(0) + gateway.spool.evicted(lane) + damaged
    }
}
