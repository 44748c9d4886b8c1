//! What goes wrong, and how often. Each run draws its own mixture: with every fault always possible, the rare meetings of two or
//! three of them would hardly ever be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::id::Lane;

use crate::control_plane::Death;
use crate::disk::Image;
use crate::memory::Starts;
use crate::random::Random;
use crate::revision::Document;
use crate::world::{ROOMY, Violation, World};

/// Everything that can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The tenant's database is copied.
    BackUp,
    /// The gateway's wall clock jumps.
    ClockJump,
    /// A person closes an alert.
    Close,
    /// The control plane's wall clock jumps.
    ControlClockJump,
    /// The control plane is restarted.
    ControlRestart,
    /// Every connection is cut.
    Cut,
    /// Syncs fail.
    FailSync,
    /// The disk is full, or has room again.
    Full,
    /// The program dies in the middle of an operation of its disk.
    Fuse,
    /// The program is killed.
    Kill,
    /// The network is down, or up again.
    Outage,
    /// The machine loses its power.
    PowerCut,
    /// A revision is pushed.
    Push,
    /// The database is an older copy.
    Restore,
    /// The disk is an older copy.
    RestoreSnapshot,
    /// The medium loses bits.
    Rot,
    /// Frames travel long, or fast again.
    Slow,
    /// The disk is copied.
    Snapshot,
}

const ALL: [Fault; 18] = [
    Fault::BackUp,
    Fault::ClockJump,
    Fault::Close,
    Fault::ControlClockJump,
    Fault::ControlRestart,
    Fault::Cut,
    Fault::FailSync,
    Fault::Full,
    Fault::Fuse,
    Fault::Kill,
    Fault::Outage,
    Fault::PowerCut,
    Fault::Push,
    Fault::Restore,
    Fault::RestoreSnapshot,
    Fault::Rot,
    Fault::Slow,
    Fault::Snapshot,
];

/// The gateway's disk as it was.
#[derive(Debug)]
struct Snapshot {
    disk: Image,
    slots: Image,
    durable: u64,
    chain: Starts,
    evicted: BTreeMap<Lane, u64>,
}

/// A run's mixture, and what it needs to remember.
#[derive(Debug)]
pub(crate) struct Faults {
    /// How many steps in a hundred are faults.
    pub(crate) percent: u64,
    weights: Vec<u64>,
    /// Whether a program that dies in the middle of an operation takes the machine with it.
    pub(crate) machine_dies_with_it: bool,
    deaths: u64,
    snapshot: Option<Snapshot>,
    backup: Option<(Vec<u8>, crate::ledger::Stored)>,
}

impl Faults {
    /// Draws a mixture. `SIM_WITHOUT` names faults that are left out, as in `SIM_WITHOUT=Rot,Slow`: to find out what a failure needs.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let left_out = std::env::var("SIM_WITHOUT").unwrap_or_default();
        let is_wanted = |fault: &Fault| left_out.split(',').all(|name| name != format!("{fault:?}"));
        let weight = |fault: &Fault| [0, 0, 1, 4, 10][random.index(5)] * u64::from(is_wanted(fault));
        let weights = ALL.iter().map(weight).collect();
        Self {
            percent: 2 + random.below(14),
            weights,
            machine_dies_with_it: random.chance(50),
            deaths: [0, 0, 2, 10][random.index(4)],
            snapshot: None,
            backup: None,
        }
    }

    /// Lets nothing go wrong any more.
    pub(crate) fn cease(&mut self) {
        (self.percent, self.deaths) = (0, 0);
    }

    /// Draws where the control plane dies in its next step.
    pub(crate) fn death(&self, random: &mut Random) -> Death {
        if !random.chance(self.deaths) {
            Death::No
        } else if random.chance(50) {
            Death::AfterCommit
        } else {
            Death::BeforeCommit
        }
    }
}

impl World {
    /// Lets something go wrong.
    pub(crate) fn fault(&mut self) -> Result<(), Violation> {
        if self.faults.weights.iter().all(|weight| *weight == 0) {
            return Ok(());
        }
        let fault = ALL[self.random.weighted(&self.faults.weights)];
        self.tally.faults += 1;
        self.note(format!("fault: {fault:?}"));
        match fault {
            Fault::BackUp => {
                self.faults.backup = Some((self.control.backup(), self.ledger.backup()));
            }
            Fault::ClockJump => self.gateway_skew = self.jump(),
            Fault::Close => {
                let kind = crate::gateway::KINDS[self.random.index(crate::gateway::KINDS.len())];
                if self.control.is_up {
                    self.with_control(Death::No, |control, around| control.close(kind, around))?;
                }
            }
            Fault::ControlClockJump => self.control_skew = self.jump(),
            Fault::ControlRestart => self.stop_control(),
            Fault::Cut => self.network.cut(self.now),
            Fault::FailSync => self.disk.fail_syncs(1 + u32::try_from(self.random.below(2)).unwrap()),
            Fault::Full => {
                let room = self.disk.room();
                let is_full = self.random.chance(60);
                let left = self.random.below(4_000);
                self.disk.resize(if is_full { self.disk.used() + left.min(room) } else { ROOMY });
            }
            Fault::Fuse => {
                let operations = self.random.below(12);
                if self.random.chance(80) { self.disk.arm(operations) } else { self.slots.arm(operations) }
            }
            Fault::Kill => self.gateway_ends("it is killed"),
            Fault::Outage => {
                self.network.is_down = !self.network.is_down;
                if self.network.is_down {
                    self.network.cut(self.now);
                }
            }
            Fault::PowerCut => self.power_cut(),
            Fault::Push => {
                let way = u32::try_from(self.random.below(4)).unwrap();
                let document = Document {
                    way,
                    // The last way leads nowhere.
                    reaches: way < 3,
                    within_s: 5 + u32::try_from(self.random.below(60)).unwrap(),
                };
                self.with_control(Death::No, |control, around| control.push(document, around))?;
            }
            Fault::Restore => self.restore_database(),
            Fault::RestoreSnapshot => self.restore_snapshot(),
            Fault::Rot => self.rot(),
            Fault::Slow => {
                self.network.slowness = Duration::from_millis([20, 2_000, 20_000][self.random.index(3)]);
            }
            Fault::Snapshot => {
                let evicted = self.gateway.as_ref().map_or_else(|| self.memory.evicted.clone(), |gateway| gateway.spool.evicted_by_lane());
                let (durable, chain) = (self.memory.durable, self.memory.chain.clone());
                self.faults.snapshot = Some(Snapshot { disk: self.disk.image(), slots: self.slots.image(), durable, chain, evicted });
            }
        }
        Ok(())
    }

    /// Draws a clock's distance from the true time: up to a day, or a little.
    fn jump(&mut self) -> i64 {
        let most: i64 = [2_000_000_000, 86_400_000_000_000, 0][self.random.index(3)];
        let distance = i64::try_from(self.random.below(u64::try_from(most).unwrap() + 1)).unwrap();
        if self.random.chance(50) { distance } else { -distance }
    }

    fn stop_control(&mut self) {
        self.control.stop(&mut self.network, self.now);
        self.control_restart_at = self.now + self.random.time(Duration::from_secs(30));
    }

    fn restore_database(&mut self) {
        let Some((database, stored)) = self.faults.backup.take() else { return };
        self.stop_control();
        self.control.restore(&database);
        self.ledger.restore(&stored);
        self.note("the database is an older copy");
    }

    fn restore_snapshot(&mut self) {
        let Some(Snapshot { disk, slots, durable, chain, evicted }) = self.faults.snapshot.take() else { return };
        self.gateway_ends("its disk is replaced");
        // What the disk that is given up had evicted stays given up, whether or not a program ran on it at the end.
        for (lane, records) in std::mem::replace(&mut self.memory.evicted, evicted.clone()) {
            let before = evicted.get(&lane).copied().unwrap_or(0);
            *self.memory.evicted_before.entry(lane).or_default() += records.saturating_sub(before);
        }
        self.disk.restore(&disk);
        self.slots.restore(&slots);
        self.booted = self.now;
        self.ledger.set_back(|commit| commit <= durable);
        (self.memory.durable, self.memory.chain) = (durable, chain);
        self.note(format!("the disk is as it was after commit {durable}"));
    }

    /// A middle segment loses bits: not the newest, in which nobody can tell rot from a crash, nor the one that is the newest again
    /// when a crash takes that one away before it holds anything.
    fn rot(&mut self) {
        let mut segments: Vec<_> = self.disk.names().into_iter().filter(|name| crate::spool::is_segment(name)).collect();
        segments.pop();
        let Some(last) = segments.pop() else { return };
        if let Some((name, at)) = self.disk.rot(|name| crate::spool::is_segment(name) && *name < *last) {
            self.memory.rotten = true;
            self.note(format!("a bit of {name} flips at {at}"));
        }
    }
}
