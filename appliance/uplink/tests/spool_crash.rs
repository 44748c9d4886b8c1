//! The core over a disk in memory that is cut off at any step, loses what was not synced, and is too small.
//!
//! Every run is made of its seed. After each cut the spool is opened again on what the disk may have kept, and must hold what it
//! called durable: every record that is neither acknowledged nor counted as given up, and the newest state of every open alert.

// A test file may stop at the first surprise.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

#[path = "spool/memory_disk.rs"]
mod memory_disk;
#[path = "spool/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::core::{Core, CoreOptions, Start};
use postern_uplink::spool::reader::Reader;
use postern_uplink::spool::{Commit, Record, SpoolError, Worth};
use zeroize::Zeroizing;

use memory_disk::{MemoryDisk, Survival};
use random::Random;

/// Groups in a life.
const STEPS: usize = 120;

const LANES: [Lane; 4] = [Lane::Alerts, Lane::Inventory, Lane::Logs, Lane::Samples];

/// What was committed, and how far it came.
#[derive(Clone, Debug)]
struct Written {
    epoch: u64,
    lane: Lane,
    sequence: u64,
    key: u64,
    worth: Worth,
    bytes: Bytes,
}

/// What the spool is to be held to.
#[derive(Default)]
struct Model {
    durable: Vec<Written>,
    /// Of a group that was cut off: a prefix of its commits may be there.
    uncertain: Vec<Vec<Written>>,
    acknowledged: BTreeMap<(Lane, u64), u64>,
}

struct Life {
    random: Random,
    epoch: u64,
    sequences: BTreeMap<Lane, u64>,
    counter: u64,
    model: Model,
}

fn key_bytes(bytes: &mut [u8]) -> Result<(), SpoolError> {
    bytes.fill(0x5a);
    Ok(())
}

fn open(disk: &MemoryDisk, epoch: u64) -> Result<(Core<MemoryDisk>, postern_uplink::spool::Recovered), SpoolError> {
    let options = CoreOptions { segment_bytes: 2048, max_bytes: 24 * 1024, machine_key: Zeroizing::new([3; 32]), random: key_bytes };
    Core::open(disk.clone(), options, Start { epoch: Epoch(epoch), now: Timestamp::from_secs(1) })
}

fn waiting(reader: &Reader<MemoryDisk>, lane: Lane) -> Vec<(u64, u64, Bytes)> {
    let (mut after, mut all): (_, Vec<(u64, u64, Bytes)>) = (None, Vec::new());
    while let Some(batch) = reader.next_batch(lane, after).unwrap() {
        for (step, record) in batch.records.iter().enumerate() {
            all.push((batch.epoch.0, batch.first.0 + step as u64, record.clone()));
        }
        after = all.last().map(|(epoch, sequence, _)| (Epoch(*epoch), Sequence(*sequence)));
    }
    all
}

impl Life {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), epoch: 100, sequences: BTreeMap::new(), counter: 0, model: Model::default() }
    }

    fn record(&mut self) -> Record {
        self.counter += 1;
        let length = self.random.below(180) as usize;
        let bytes = Bytes::from([&self.counter.to_be_bytes()[..], &vec![0x41; length]].concat());
        match self.random.below(10) {
            0..=3 => Record {
                lane: Lane::Alerts,
                bytes,
                key: 1 + self.random.below(6),
                worth: if self.random.below(3) == 0 { Worth::Ended } else { Worth::Open },
            },
            4 => Record::plain(Lane::Inventory, bytes),
            5..=6 => Record::plain(Lane::Logs, bytes),
            _ => Record::plain(Lane::Samples, bytes),
        }
    }

    fn commit(&mut self) -> (Commit, Vec<Written>) {
        let records: Vec<_> = (0..self.random.below(4)).map(|_| self.record()).collect();
        let written = records.iter().map(|record| {
            let sequence = self.sequences.entry(record.lane).or_default();
            *sequence += 1;
            let (lane, key, worth, bytes) = (record.lane, record.key, record.worth, record.bytes.clone());
            Written { epoch: self.epoch, lane, sequence: *sequence, key, worth, bytes }
        });
        let written = written.collect();
        (Commit { records, delta: vec![7; 40], ..Commit::default() }, written)
    }

    /// Lives until `steps` are done or the disk is cut off.
    fn live(&mut self, core: &mut Core<MemoryDisk>, steps: usize) -> Result<(), SpoolError> {
        let reader = core.reader();
        for _ in 0..steps {
            if self.random.below(6) == 0 {
                self.acknowledge(&reader);
                core.trim()?;
            }
            let (mut group, mut written) = (Vec::new(), Vec::new());
            for _ in 0..=self.random.below(2) {
                let (commit, made) = self.commit();
                group.push(commit);
                written.push(made);
            }
            if reader.wants_checkpoint() {
                group[0].checkpoint = Some(format!("state {}", self.counter).into_bytes());
            }
            self.model.uncertain = written.clone();
            match core.write(group, Duration::ZERO) {
                Ok(()) => {}
                Err(SpoolError::Full) => return Err(SpoolError::Full),
                Err(error) => return Err(error),
            }
            self.model.uncertain.clear();
            self.model.durable.extend(written.into_iter().flatten());
        }
        Ok(())
    }

    fn acknowledge(&mut self, reader: &Reader<MemoryDisk>) {
        let lane = LANES[self.random.below(4) as usize];
        let all = waiting(reader, lane);
        let many = self.random.below(all.len() as u64 + 1) as usize / 2;
        for (epoch, sequence, _) in all.into_iter().take(many) {
            reader.acknowledge(lane, Epoch(epoch), Sequence(sequence));
            self.model.acknowledged.insert((lane, epoch), sequence);
        }
    }

    /// Opens what the disk kept, and holds it to the model.
    fn check(&mut self, disk: &MemoryDisk, what: &str) -> Core<MemoryDisk> {
        self.epoch += 1;
        self.sequences.clear();
        let (core, recovered) = open(disk, self.epoch).unwrap_or_else(|error| panic!("{what}: {error}"));
        let reader = core.reader();
        assert_eq!(recovered.damaged_records, 0, "{what}: nothing was damaged");
        let evicted: BTreeMap<Lane, u64> = {
            let fill = reader.fill(Duration::ZERO);
            LANES.into_iter().map(|lane| (lane, fill.lanes[lane.name()].evicted)).collect()
        };
        // What the control plane has it says again.
        for ((lane, epoch), sequence) in &self.model.acknowledged {
            reader.acknowledge(*lane, Epoch(*epoch), Sequence(*sequence));
        }
        self.settle(&reader, what);
        for lane in LANES {
            let found = waiting(&reader, lane);
            let ours: Vec<_> = self.model.durable.iter().filter(|written| written.lane == lane).collect();
            let mut places = ours.iter();
            for (epoch, sequence, bytes) in &found {
                let known = places.any(|w| (w.epoch, w.sequence, &w.bytes) == (*epoch, *sequence, bytes));
                assert!(known, "{what}: {lane:?} {epoch}/{sequence} is invented, twice or out of order");
            }
            let is_acknowledged = |w: &Written| self.model.acknowledged.get(&(lane, w.epoch)).is_some_and(|to| w.sequence <= *to);
            let open = ours.iter().filter(|w| !is_acknowledged(w)).count() as u64;
            let missing = open - found.len() as u64;
            assert!(missing <= evicted[&lane], "{what}: {missing} of {lane:?} are missing, {} are counted", evicted[&lane]);
            if lane == Lane::Alerts {
                self.check_states(&found, what);
            }
        }
        core
    }

    /// Finds out which commits of the group that was cut off are there: a prefix.
    fn settle(&mut self, reader: &Reader<MemoryDisk>, what: &str) {
        let uncertain = std::mem::take(&mut self.model.uncertain);
        let found: Vec<_> = LANES.into_iter().flat_map(|lane| waiting(reader, lane).into_iter().map(move |r| (lane, r.0, r.1))).collect();
        let mut is_over = false;
        for commit in uncertain {
            let there = commit.iter().filter(|w| found.contains(&(w.lane, w.epoch, w.sequence))).count();
            assert!(there == 0 || (there == commit.len() && !is_over), "{what}: a part of a commit is there");
            is_over |= there == 0 && !commit.is_empty();
            if there > 0 {
                self.model.durable.extend(commit);
            }
        }
    }

    /// The newest state of every key that is open is there, unless the control plane has it.
    fn check_states(&self, found: &[(u64, u64, Bytes)], what: &str) {
        let mut newest: BTreeMap<u64, &Written> = BTreeMap::new();
        for written in self.model.durable.iter().filter(|written| written.lane == Lane::Alerts) {
            newest.insert(written.key, written);
        }
        for (key, written) in newest {
            let to = self.model.acknowledged.get(&(Lane::Alerts, written.epoch)).copied().unwrap_or(0);
            let is_there = found.iter().any(|(epoch, sequence, _)| (*epoch, *sequence) == (written.epoch, written.sequence));
            assert!(is_there || written.sequence <= to || written.worth == Worth::Ended, "{what}: the state of key {key} is lost");
        }
    }
}

/// How many steps on the disk a whole life of this seed takes; it must have given up something.
fn steps_of(seed: u64, capacity: u64) -> u64 {
    let disk = MemoryDisk::new(capacity);
    let (mut core, _) = open(&disk, 100).unwrap();
    match Life::new(seed).live(&mut core, STEPS) {
        Ok(()) | Err(SpoolError::Full) => {}
        Err(error) => panic!("seed {seed}: {error}"),
    }
    let fill = core.reader().fill(Duration::ZERO);
    for lane in ["logs", "samples"] {
        assert!(fill.lanes[lane].evicted > 0, "seed {seed}: nothing of {lane} was given up: {fill:?}");
    }
    disk.steps()
}

fn cut_everywhere(capacity: u64, seeds: std::ops::Range<u64>, stride: usize) {
    for seed in seeds {
        let steps = steps_of(seed, capacity);
        let first = seed % stride as u64;
        for cut in (first..steps).step_by(stride) {
            for survival in [Survival::Nothing, Survival::Everything, Survival::Some(seed ^ cut)] {
                let what = format!("seed {seed}, cut at {cut} of {steps}, {survival:?}");
                let disk = MemoryDisk::new(capacity);
                let mut life = Life::new(seed);
                disk.cut_at(cut);
                if let Ok((mut core, _)) = open(&disk, life.epoch) {
                    let _cut_or_full = life.live(&mut core, STEPS);
                }
                let disk = disk.reboot(survival);
                let mut core = life.check(&disk, &what);
                match life.live(&mut core, 10) {
                    Ok(()) | Err(SpoolError::Full) => {}
                    Err(error) => panic!("{what}: {error}"),
                }
                drop(core);
                let disk = disk.reboot(Survival::Nothing);
                life.check(&disk, &format!("{what}, and again"));
            }
        }
    }
}

#[test]
fn a_cut_at_any_step_of_a_life_within_the_quota_loses_nothing_that_was_durable() {
    cut_everywhere(1 << 20, 0..3, 29);
}

#[test]
fn a_cut_at_any_step_on_a_disk_that_is_too_small_loses_nothing_that_was_durable() {
    cut_everywhere(18 * 1024, 10..13, 29);
}

#[test]
fn a_full_disk_keeps_what_waits_and_goes_on_by_itself_once_there_is_room() {
    let disk = MemoryDisk::new(1 << 20);
    let mut life = Life::new(7);
    let (mut core, _) = open(&disk, life.epoch).unwrap();
    life.live(&mut core, 40).unwrap();
    disk.fill_up();
    let mut waits = Vec::new();
    loop {
        let (commit, written) = life.commit();
        waits.extend(written);
        match core.write(vec![commit], Duration::ZERO) {
            Ok(()) => {}
            Err(SpoolError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let durable = core.durable();
    for _ in 0..3 {
        assert!(matches!(core.retry(Duration::ZERO), Err(SpoolError::Full)));
        let (commit, written) = life.commit();
        waits.extend(written);
        assert!(matches!(core.write(vec![commit], Duration::ZERO), Err(SpoolError::Full)));
    }
    assert_eq!(core.durable(), durable, "nothing is called durable meanwhile");
    disk.set_capacity(1 << 20);
    core.retry(Duration::ZERO).unwrap();
    life.model.durable.extend(waits);
    drop(core);
    let disk = disk.reboot(Survival::Nothing);
    life.check(&disk, "after the disk had room again");
}

#[test]
fn a_stop_on_a_full_disk_is_clean_by_the_room_that_was_kept() {
    let disk = MemoryDisk::new(1 << 20);
    let mut life = Life::new(9);
    let (mut core, _) = open(&disk, life.epoch).unwrap();
    life.live(&mut core, 20).unwrap();
    disk.fill_up();
    let last = Commit { checkpoint: Some(b"the last state".to_vec()), ..Commit::default() };
    core.close(last, Duration::ZERO).unwrap();
    let disk = disk.reboot(Survival::Nothing);
    disk.set_capacity(1 << 20);
    let (_, recovered) = open(&disk, 200).unwrap();
    assert_eq!(recovered.checkpoint.as_deref(), Some(b"the last state".as_slice()));
    assert_eq!(recovered.unclean_since, None);
}

#[test]
fn a_start_on_a_full_disk_waits_for_room() {
    let disk = MemoryDisk::new(1 << 20);
    let mut life = Life::new(11);
    let (mut core, _) = open(&disk, life.epoch).unwrap();
    life.live(&mut core, 20).unwrap();
    drop(core);
    let disk = disk.reboot(Survival::Everything);
    disk.fill_up();
    let (mut core, _) = open(&disk, 200).unwrap();
    if core.retry(Duration::ZERO).is_err() {
        disk.set_capacity(1 << 20);
        core.retry(Duration::ZERO).unwrap();
    }
    life.epoch = 200;
    life.sequences.clear();
    life.live(&mut core, 5).unwrap();
    drop(core);
    life.check(&disk.reboot(Survival::Nothing), "after the start");
}
