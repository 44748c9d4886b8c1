//! One run: the virtual clock, both programs, the network and the disks between them, and what happens next.
//!
//! A run has two parts. First chance rules: programs work, people close alerts, and faults come. Then the faults cease, nothing
//! new is reported, and within a bounded virtual time everything must be in order again.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use postern_control::store::StoreError;
use postern_protocol::id::{GatewayId, Lane};
use postern_protocol::timestamp::Timestamp;

use crate::clocks::Clocks;
use crate::control_plane::{Around, ControlPlane, Death, Order};
use crate::disk::{Disk, Honesty};
use crate::faults::Faults;
use crate::gateway::{Gateway, Stop};
use crate::ledger::Ledger;
use crate::network::{Network, To};
use crate::random::Random;

/// Where the wall clocks stand when a run begins.
const BEGINNING: i64 = 1_800_000_000;

/// Steps that are kept to be printed.
const KEPT_STEPS: usize = 60;

/// Bytes of the gateway's disk, when it is not full.
pub(crate) const ROOMY: u64 = 64 * 1024 * 1024;

/// How long the second part may take: virtual time, and steps.
const HEAL_TIME: Duration = Duration::from_secs(400);
const HEAL_STEPS: usize = 30_000;

/// What must never be.
#[derive(Debug)]
pub(crate) enum Violation {
    /// An invariant does not hold.
    Broken(String),
    /// A side does not understand the other.
    Protocol(String),
    /// The store failed.
    Store(StoreError),
    /// The faults ceased, and it does not come to rest.
    Stuck(String),
}

impl Violation {
    /// Makes a violation of an invariant.
    pub(crate) fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) => write!(out, "an invariant does not hold: {what}"),
            Self::Protocol(what) => write!(out, "a side does not understand the other: {what}"),
            Self::Store(error) => write!(out, "the store failed: {error:?}"),
            Self::Stuck(what) => write!(out, "the faults ceased, and it does not come to rest: {what}"),
        }
    }
}

impl From<StoreError> for Violation {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Violation {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) seed: u64,
    pub(crate) honesty: Honesty,
    pub(crate) order: Order,
    /// Whether every step is kept, not only the last.
    pub(crate) keep_all: bool,
    /// A new tenant's database.
    pub(crate) tenant: &'a [u8],
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) virtual_time: Duration,
    pub(crate) durable: u64,
    pub(crate) stored: u64,
    pub(crate) faults: u64,
    pub(crate) starts: u64,
}

impl Tally {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.virtual_time += other.virtual_time;
        self.durable += other.durable;
        self.stored += other.stored;
        self.faults += other.faults;
        self.starts += other.starts;
    }
}

/// The steps of a run, as a person reads them.
#[derive(Debug)]
pub(crate) struct Trace {
    steps: VecDeque<String>,
    kept: usize,
    count: u64,
    digest: u64,
}

impl Trace {
    /// Notes a step.
    pub(crate) fn note(&mut self, now: Duration, step: &str) {
        self.count += 1;
        for byte in step.bytes().chain(now.as_nanos().to_le_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.steps.len() == self.kept {
            self.steps.pop_front();
        }
        self.steps.push_back(format!("{:>6} {:>12.3} s  {step}", self.count, now.as_secs_f64()));
    }

    /// Adds what somebody who replays a run wants to see between its steps.
    fn aside(&mut self, text: String) {
        self.steps.push_back(text);
    }

    /// Says whether every step is kept.
    fn is_replay(&self) -> bool {
        self.kept == usize::MAX
    }

    /// Returns the last steps.
    pub(crate) fn last(&mut self) -> Vec<String> {
        std::mem::take(&mut self.steps).into()
    }

    /// Returns a digest of all steps.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}

/// A run.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    pub(crate) control: ControlPlane,
    pub(crate) ledger: Ledger,
    pub(crate) disk: Disk,
    pub(crate) slots: Disk,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) faults: Faults,
    /// How far each wall clock is from the true time, nanoseconds.
    pub(crate) gateway_skew: i64,
    pub(crate) control_skew: i64,
    /// When the machine was booted.
    pub(crate) booted: Duration,
    /// How long the gateway's program ran in all, up to `ran_at`.
    ran: Duration,
    ran_at: Duration,
    /// Not before then is a program that ended started again.
    pub(crate) restart_at: Duration,
    pub(crate) control_restart_at: Duration,
    pub(crate) memory: crate::memory::Memory,
    pub(crate) tally: Tally,
    /// Both sides' alerts as a replay showed them last.
    shown: String,
}

impl World {
    /// Prepares a run.
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let mut random = Random::new(setup.seed);
        let gateway = GatewayId::new("gw").unwrap();
        let disk = Disk::new(random.fork(), ROOMY, setup.honesty);
        let slots = Disk::new(random.fork(), ROOMY, Honesty::Honest);
        let network = Network::new(random.fork());
        let faults = Faults::draw(&mut random);
        Self {
            now: Duration::ZERO,
            trace: Trace { steps: VecDeque::new(), kept: if setup.keep_all { usize::MAX } else { KEPT_STEPS }, count: 0, digest: 0 },
            network,
            control: ControlPlane::new(setup.tenant, gateway, setup.order),
            ledger: Ledger::default(),
            disk,
            slots,
            gateway: None,
            faults,
            gateway_skew: 0,
            control_skew: 0,
            booted: Duration::ZERO,
            ran: Duration::ZERO,
            ran_at: Duration::ZERO,
            restart_at: Duration::ZERO,
            control_restart_at: Duration::ZERO,
            memory: crate::memory::Memory::draw(&mut random),
            tally: Tally::default(),
            shown: String::new(),
            random,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<Tally, Violation> {
        let steps = 150 + self.random.below(350);
        for _ in 0..steps {
            if self.random.chance(self.faults.percent) {
                self.fault()?;
            } else {
                self.work(true)?;
            }
            self.check()?;
        }
        self.heal()?;
        let (stored, durable) = self.ledger.counts();
        self.tally = Tally { virtual_time: self.now, stored: stored as u64, durable: durable as u64, ..self.tally };
        Ok(self.tally)
    }

    /// Notes a step.
    pub(crate) fn note(&mut self, step: impl AsRef<str>) {
        self.tally.steps += 1;
        self.trace.note(self.now, step.as_ref());
    }

    /// Returns what the gateway's clocks show.
    pub(crate) fn clocks(&self) -> Clocks {
        Clocks { now: self.now, wall: wall(self.now, self.gateway_skew), since_boot: self.now.saturating_sub(self.booted) }
    }

    /// Lets the control plane do something.
    pub(crate) fn with_control<T>(&mut self, death: Death, step: impl FnOnce(&mut ControlPlane, &mut Around<'_>) -> T) -> T {
        let wall = wall(self.now, self.control_skew);
        let mut around = Around { network: &mut self.network, ledger: &mut self.ledger, now: self.now, wall, death };
        step(&mut self.control, &mut around)
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.gateway.is_some() {
            self.ran += self.now - self.ran_at;
        }
        self.ran_at = self.now;
    }

    /// Ends the gateway's program, whatever it was doing.
    pub(crate) fn gateway_ends(&mut self, why: &str) {
        self.pass(Duration::ZERO);
        let Some(gateway) = self.gateway.take() else { return };
        self.note(format!("gateway: ends: {why}"));
        if let Some(connection) = gateway.connection() {
            self.network.leave(connection, To::Gateway, self.now);
        }
        self.memory.damaged += gateway.spool.damaged();
        self.memory.evicted = gateway.spool.evicted_by_lane();
        drop(gateway);
        self.disk.reset();
        self.slots.reset();
        self.restart_at = self.now + Duration::from_secs(1);
    }

    /// Takes what a step of the gateway came to.
    pub(crate) fn settle(&mut self, outcome: Result<(), Stop>) -> Result<(), Violation> {
        match outcome {
            Ok(()) => Ok(()),
            Err(Stop::Broken(violation)) => Err(violation),
            Err(Stop::Process(why)) => {
                let crashed = self.disk.is_dead() || self.slots.is_dead();
                self.gateway_ends(&why);
                if crashed && self.faults.machine_dies_with_it {
                    self.power_cut();
                }
                Ok(())
            }
        }
    }

    /// Takes the power from the gateway's machine.
    pub(crate) fn power_cut(&mut self) {
        self.gateway_ends("the power is cut");
        self.disk.cut_power();
        self.slots.cut_power();
        self.booted = self.now;
    }

    /// Does one thing that a program or a person does by itself.
    fn work(&mut self, reports: bool) -> Result<(), Violation> {
        if self.gateway.is_none() {
            if self.now >= self.restart_at {
                return self.start_gateway();
            }
        } else if self.random.chance(if reports { 75 } else { 60 }) && self.gateway_works(reports)? {
            return Ok(());
        }
        if !self.control.is_up && self.now >= self.control_restart_at {
            self.control.is_up = true;
            self.note("control plane: starts");
            return Ok(());
        }
        if self.control_works()? {
            return Ok(());
        }
        self.wait();
        Ok(())
    }

    fn start_gateway(&mut self) -> Result<(), Violation> {
        let (clocks, random) = (self.clocks(), self.random.fork());
        self.pass(Duration::ZERO);
        let disks = (self.disk.clone(), self.slots.clone());
        let started = Gateway::start(disks, (clocks, random), (&mut self.memory, &mut self.ledger));
        self.tally.starts += 1;
        match started {
            Ok((gateway, what)) => {
                self.note(format!("gateway: starts, {what}"));
                self.gateway = Some(gateway);
                Ok(())
            }
            Err(Stop::Broken(violation)) => Err(violation),
            Err(Stop::Process(why)) => {
                self.note(format!("gateway: cannot start: {why}"));
                let crashed = self.disk.is_dead() || self.slots.is_dead();
                self.disk.reset();
                self.slots.reset();
                self.restart_at = self.now + Duration::from_secs(1);
                if crashed && self.faults.machine_dies_with_it {
                    self.power_cut();
                }
                Ok(())
            }
        }
    }

    /// Lets the gateway do one thing; says whether there was one.
    fn gateway_works(&mut self, reports: bool) -> Result<bool, Violation> {
        let clocks = self.clocks();
        let mut ready = self.network.ready(To::Gateway, self.now);
        let Some(gateway) = &mut self.gateway else { return Ok(false) };
        // What is for a connection that the program has left is for nobody.
        ready.retain(|(connection, _)| gateway.connection() == Some(*connection));
        let arrival = (!ready.is_empty() && self.random.chance(40)).then(|| ready[self.random.index(ready.len())]);
        let (done, outcome) = if let Some((connection, stream)) = arrival {
            let arrival = self.network.take(To::Gateway, connection, stream);
            let outcome = gateway.receive((stream, arrival), clocks, (&mut self.network, &mut self.ledger, &mut self.memory));
            (format!("gateway: hears on {connection}: {}", stream.map_or("the end".to_owned(), |stream| format!("{stream:?}"))), outcome)
        } else {
            let around = (&mut self.network, &mut self.ledger, &mut self.memory);
            match gateway.work(reports, clocks, around) {
                Ok(Some(what)) => (format!("gateway: {what}"), Ok(())),
                Ok(None) => return Ok(false),
                Err(stop) => ("gateway: a step".to_owned(), Err(stop)),
            }
        };
        self.note(done);
        self.settle(outcome)?;
        Ok(true)
    }

    /// Lets the control plane, or a person, do one thing; says whether there was one.
    fn control_works(&mut self) -> Result<bool, Violation> {
        if !self.control.is_up {
            return Ok(false);
        }
        if self.with_control(Death::No, |control, around| control.tick(around))? {
            self.note("control plane: ends a session");
            return Ok(true);
        }
        let ready = self.network.ready(To::Server, self.now);
        if ready.is_empty() {
            return Ok(false);
        }
        let (connection, stream) = ready[self.random.index(ready.len())];
        let arrival = self.network.take(To::Server, connection, stream);
        let death = self.faults.death(&mut self.random);
        self.note(format!("control plane: hears on {connection}: {stream:?} {death:?}"));
        self.with_control(death, |control, around| control.receive((connection, stream), arrival, around))?;
        if !self.control.is_up {
            self.control_restart_at = self.now + Duration::from_secs(1);
        }
        Ok(true)
    }

    /// Lets time pass: until something is due, or a little beyond. What is due and was not done yet is done soon.
    fn wait(&mut self) {
        let dues = [self.network.next_due(), self.gateway.as_ref().map(|gateway| gateway.next_due(self.clocks()))];
        let time = match dues.into_iter().flatten().min() {
            Some(due) if due <= self.now => self.random.time(Duration::from_millis(50)),
            Some(due) => (due - self.now).min(Duration::from_secs(20)) + self.random.time(Duration::from_millis(500)),
            None => self.random.time(Duration::from_secs(5)),
        };
        self.pass(time + Duration::from_micros(1));
    }

    /// Shows both sides' alerts to somebody who replays the run, when they have changed.
    fn show_alerts(&mut self) -> Result<(), Violation> {
        if !self.trace.is_replay() {
            return Ok(());
        }
        let here = self.gateway.as_ref().map(Gateway::open_alerts).unwrap_or_default();
        let shown = format!("{:>22}gateway {here:?}\n{:>22}control plane {}", "", "", self.control.summary()?);
        if shown != self.shown {
            self.trace.aside(shown.clone());
            self.shown = shown;
        }
        Ok(())
    }

    /// Checks what must hold after every step.
    fn check(&mut self) -> Result<(), Violation> {
        self.show_alerts()?;
        let ran = self.ran;
        if let Some(gateway) = &mut self.gateway {
            if gateway.is_heard() {
                self.memory.heard();
            }
            if std::mem::take(&mut gateway.is_healed) {
                self.memory.healed();
            }
            gateway.revisions.check(ran).map_err(Violation::Broken)?;
        }
        Ok(())
    }

    /// The second part: the faults cease, and all has to be well in the end.
    fn heal(&mut self) -> Result<(), Violation> {
        self.note("the faults cease");
        self.faults.cease();
        self.disk.reset();
        self.slots.reset();
        self.disk.fail_syncs(0);
        self.slots.fail_syncs(0);
        self.disk.resize(ROOMY);
        self.network.is_down = false;
        self.network.slowness = Duration::from_millis(20);
        let deadline = self.now + HEAL_TIME;
        let mut unsettled = String::new();
        for step in 0..HEAL_STEPS {
            if self.now > deadline {
                break;
            }
            self.work(false)?;
            self.check()?;
            if step % 20 == 0 {
                match self.unsettled()? {
                    None => return self.final_account(),
                    Some(what) => unsettled = what,
                }
            }
        }
        Err(Violation::Stuck(unsettled))
    }

    /// Says what is still to be done; `None` when both sides are at rest and agree.
    fn unsettled(&mut self) -> Result<Option<String>, Violation> {
        let rows = self.control.rows()?;
        let Some(gateway) = &self.gateway else { return Ok(Some("the gateway does not run".to_owned())) };
        if let Some(what) = gateway.unsettled(self.control.desired()?) {
            return Ok(Some(what));
        }
        if let Some(row) = rows.iter().find(|row| row.close_pending) {
            return Ok(Some(format!("the close of {} is not confirmed", row.kind)));
        }
        let here = gateway.open_alerts();
        let there: Vec<_> =
            rows.into_iter().filter(|row| row.state == "open").map(|row| (row.kind, row.occurrence, row.revision, row.count)).collect();
        Ok((here != there).then(|| format!("open alerts differ: the gateway has {here:?}, the control plane {there:?}")))
    }

    fn final_account(&mut self) -> Result<(), Violation> {
        for (epoch, lane, cursor, gaps) in self.control.accounts()? {
            self.ledger.account((epoch, lane), cursor, gaps)?;
        }
        let Some(gateway) = &self.gateway else { return Ok(()) };
        let excused = self.memory.given_up(gateway);
        for lane in [Lane::Alerts, Lane::Samples] {
            let missing = self.ledger.missing(lane);
            let most = excused(lane);
            if missing.len() as u64 > most {
                let what =
                    format!("{} records of lane {} are not stored, {most} are accounted for: {missing:?}", missing.len(), lane.name());
                return Err(Violation::broken(what));
            }
        }
        Ok(())
    }
}

fn wall(now: Duration, skew: i64) -> Timestamp {
    let nanos = i64::try_from(now.as_nanos()).unwrap();
    Timestamp::from_nanos(BEGINNING * 1_000_000_000 + nanos + skew)
}
