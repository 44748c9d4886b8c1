//! The gateway of the simulation: the real alert table, spool, session and lanes, without their threads and tasks.
//!
//! What `pipeline`, the spool's thread, `tunnel::control` and `tunnel::lane` do between awaits is one step here; chance says which
//! comes next. The program ends when its disk fails it, as the real one does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use postern_control::store::revisions::RevisionState;
use postern_engine::alert::{AlertEngine, OwnReport};
use postern_gateway::revision::trial::Input;
use postern_protocol::alert::{Alert, AlertKey, Severity};
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{Ack, Batch, Down, Hello, PROTOCOL_VERSION, Records, Resent};
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::ahead::Overtakers;
use postern_uplink::spool::{Commit, Record};
use postern_uplink::tunnel::flow::{self, LaneFlow};
use postern_uplink::tunnel::outbox::Outbox;
use postern_uplink::tunnel::session::{Action, Now, Session};
use postern_uplink::tunnel::{Incoming, Outgoing};
use prost::Message as _;

use crate::clocks::Clocks;
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::memory::{Memory, Starts};
use crate::network::{Arrival, Network, Stream, To, decode};
use crate::random::Random;
pub(crate) use crate::recovery::Stop;
use crate::recovery::{kind_of, open_alerts, record, restore};
use crate::revision::{Document, Revisions, Wish};
use crate::spool::Spool;
use crate::world::Violation;

/// Kinds of alerts that are reported.
pub(crate) const KINDS: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];

/// Commits that wait for the spool's thread at most: more wait in the pipeline.
const QUEUE_COMMITS: usize = 8;

/// Lanes that are served.
const LANES: [Lane; 2] = [Lane::Alerts, Lane::Samples];

const HEARTBEAT: Duration = Duration::from_secs(10);

/// An open alert as both sides must see it: kind, occurrence, revision, count.
pub(crate) type Open = (String, u64, u64, u64);

/// One connected life of the tunnel.
struct Live {
    connection: u64,
    session: Session,
    began: Duration,
    established: bool,
    lanes: BTreeMap<Lane, LaneFlow>,
    overtakers: Overtakers,
}

/// All open alerts, sent again.
#[derive(Clone, Copy)]
struct Resend {
    since_revision: u64,
    nonce: u64,
}

/// The running program.
pub(crate) struct Gateway {
    pub(crate) spool: Spool,
    engine: AlertEngine,
    /// Commits that wait for the spool's thread, with their numbers.
    queue: VecDeque<(u64, Commit)>,
    /// Samples that no commit has yet.
    samples: Vec<Sample>,
    /// Commits with which all open alerts were sent again.
    milestones: VecDeque<(u64, Resend)>,
    resend: Option<Resend>,
    /// The newest wish for all open alerts that was fulfilled, the first revision of the newest resend, and what the session asks for.
    nonce: u64,
    newest_resend: Option<u64>,
    asked: u64,
    /// Whether the disk has all that the control plane knows.
    pub(crate) is_healed: bool,
    needs_checkpoint: bool,
    /// This start, and what its disk knew of starts and revisions by then.
    incarnation: (u64, Starts),
    /// What the spool had given up of alerts when they were last sent again.
    evictions: u64,
    /// After a full disk: not before then.
    retry_at: Duration,
    pub(crate) revisions: Revisions,
    live: Option<Live>,
    dial_at: Duration,
    attempts: u64,
    /// Smaller than the real bound, so that a lane has several batches.
    batch_bytes: usize,
    outbox: Outbox,
    random: Random,
}

/// What a step of the gateway works with.
pub(crate) type Surroundings<'a> = (&'a mut Network, &'a mut Ledger, &'a mut Memory);

impl Gateway {
    /// Starts the program: recovers the spool, the alerts and the revisions.
    pub(crate) fn start(
        (disk, slots): (Disk, Disk),
        (clocks, mut random): (Clocks, Random),
        (memory, ledger): (&mut Memory, &mut Ledger),
    ) -> Result<(Self, String), Stop> {
        let (revisions, wishes) = Revisions::start(slots, clocks.moment())?;
        let epoch = Epoch(random.number());
        let (spool, recovered) = Spool::open(disk, (memory.segment_bytes, memory.max_bytes), (epoch, clocks.wall))?;
        let (damaged, resend) = (recovered.damaged_records, recovered.resend_open_alerts);
        let clean = damaged == 0 && !memory.rotten;
        if damaged > 0 && !memory.rotten {
            return Err(Violation::broken(format!("{damaged} records count as damaged, and nothing was ever damaged")).into());
        }
        let (engine, commit) = restore(recovered)?;
        let open = open_alerts(&engine);
        let found = format!("finds commit {commit}, {} open alerts, {damaged} damaged, resend: {resend}", open.len());
        if clean {
            if commit < memory.durable {
                return Err(Violation::broken(format!("commit {} was durable, and the start finds {commit}", memory.durable)).into());
            }
            let expected = memory.states.get(&commit).cloned().unwrap_or_default();
            if open != expected {
                return Err(Violation::broken(format!("after commit {commit}, {expected:?} was open; the start finds {open:?}")).into());
            }
        }
        ledger.recovered(commit);
        memory.durable = commit;
        let incarnation = memory.start(engine.last_revision());
        let mut gateway = Self {
            spool,
            engine,
            queue: VecDeque::new(),
            samples: Vec::new(),
            milestones: VecDeque::new(),
            resend: None,
            nonce: 0,
            newest_resend: None,
            asked: 0,
            is_healed: false,
            needs_checkpoint: false,
            incarnation: (incarnation, memory.chain.clone()),
            evictions: 0,
            retry_at: Duration::ZERO,
            revisions,
            live: None,
            dial_at: clocks.now,
            attempts: 0,
            batch_bytes: 200 + random.index(3_000),
            outbox: Outbox::default(),
            random,
        };
        gateway.fulfil(wishes, None);
        if resend {
            gateway.resend(0, clocks);
        }
        Ok((gateway, found))
    }

    /// Says whether a session has begun.
    pub(crate) fn is_heard(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.established)
    }

    /// Returns the connection that the program holds.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.live.as_ref().map(|live| live.connection)
    }

    /// Returns the open alerts.
    pub(crate) fn open_alerts(&self) -> Vec<Open> {
        open_alerts(&self.engine)
    }

    /// Returns when something is due by the clock.
    pub(crate) fn next_due(&self, clocks: Clocks) -> Duration {
        let boot = clocks.now.saturating_sub(clocks.since_boot);
        let trial = self.revisions.trial.poll_timeout().map(|at| boot + at);
        let tunnel = match &self.live {
            None => self.dial_at,
            Some(live) => {
                let flows = live.lanes.values().filter_map(LaneFlow::deadline).map(|at| live.began + at);
                flows.chain([live.began + live.session.deadline()]).min().unwrap_or(self.dial_at)
            }
        };
        [Some(tunnel), trial, self.spool.is_full().then_some(self.retry_at)].into_iter().flatten().min().unwrap_or(tunnel)
    }

    /// Says what is still to be done before it is at rest, when the control plane wants that revision.
    pub(crate) fn unsettled(&self, (desired, state): (u64, RevisionState)) -> Option<String> {
        if self.engine.has_changes()
            || !self.samples.is_empty()
            || !self.queue.is_empty()
            || self.spool.is_full()
            || self.resend.is_some()
            || self.spool.evictions() > self.evictions
        {
            return Some("the pipeline has something to commit".to_owned());
        }
        let Some(live) = self.live.as_ref().filter(|live| live.established) else { return Some("there is no session".to_owned()) };
        if let Some(lane) = LANES.into_iter().find(|lane| self.spool.has_next(*lane, None)) {
            return Some(format!("lane {} has something that is not acknowledged: {:?}", lane.name(), live.lanes.get(&lane)));
        }
        if self.revisions.trial.provisional().is_some() {
            return Some("a revision is on trial".to_owned());
        }
        // Both sides agree on what became of the desired revision.
        let trial = &self.revisions.trial;
        let agrees = match state {
            RevisionState::Applied => trial.effective() == desired,
            RevisionState::Reverted => trial.newest() == desired && trial.effective() == trial.confirmed() && trial.effective() < desired,
            RevisionState::Applying | RevisionState::Desired | RevisionState::Failed | RevisionState::Provisional => false,
        };
        let here = (trial.effective(), trial.confirmed(), trial.newest());
        (!agrees).then(|| format!("revision {desired} counts as {state:?}, and the gateway's are {here:?}"))
    }

    /// Does one thing, if there is one, and says what.
    pub(crate) fn work(&mut self, reports: bool, clocks: Clocks, around: Surroundings<'_>) -> Result<Option<String>, Stop> {
        let (network, ledger, memory) = around;
        let weights = [if reports { 30 } else { 0 }, 25, 30, 5, 30, 10, 10];
        match self.random.weighted(&weights) {
            0 => Ok(Some(self.report(clocks, memory))),
            1 => Ok(self.commit(clocks, (ledger, memory))),
            2 => self.write(clocks, (ledger, memory)),
            3 if self.spool.is_full() => Ok(None),
            3 => self.spool.trim().map(|()| None),
            4 => self.pump(clocks, (network, ledger)),
            5 => Ok(self.say(clocks, network)),
            _ => self.tick(clocks, network),
        }
    }

    /// A device reports something.
    fn report(&mut self, clocks: Clocks, memory: &mut Memory) -> String {
        memory.events += 1;
        let kind = KINDS[self.random.index(KINDS.len())];
        if self.random.chance(30) {
            let value = f64::from(u32::try_from(memory.events).unwrap());
            let sample = Sample {
                resource: "box".to_owned(),
                metric: "load".to_owned(),
                value,
                unit: String::new(),
                // Two measurements of one series never have one time: the store would keep the first only.
                at: Timestamp::from_nanos(i64::try_from(memory.events).unwrap()),
                labels: BTreeMap::new(),
            };
            self.samples.push(sample);
            return format!("report {} measures", memory.events);
        }
        if self.random.chance(40) {
            self.engine.own_clear(kind, "", clocks.wall);
            return format!("report {} clears {kind}", memory.events);
        }
        let severity = [Severity::Major, Severity::Minor][self.random.index(2)];
        let padding = "x".repeat(self.random.index(200));
        let summary = format!("report {} {padding}", memory.events);
        let report = OwnReport { kind: kind.to_owned(), qualifier: String::new(), severity, summary, labels: BTreeMap::new() };
        self.engine.own(report, clocks.wall);
        format!("report {} raises {kind}", memory.events)
    }

    /// As `pipeline::milestones` does.
    fn resend(&mut self, nonce: u64, clocks: Clocks) {
        let since_revision = self.engine.resend_open(clocks.wall);
        self.nonce = if nonce == 0 { self.nonce } else { nonce };
        self.newest_resend = Some(since_revision);
        self.resend = Some(Resend { since_revision, nonce: self.nonce });
        self.spool.owe_resend();
    }

    /// The pipeline makes a commit of what changed.
    fn commit(&mut self, clocks: Clocks, (ledger, memory): (&mut Ledger, &mut Memory)) -> Option<String> {
        let asked = self.spool.wants_checkpoint() && self.queue.iter().all(|(_, commit)| commit.checkpoint.is_none());
        let wants_checkpoint = asked || self.needs_checkpoint;
        let has_news = self.engine.has_changes() || !self.samples.is_empty() || self.resend.is_some();
        if self.queue.len() >= QUEUE_COMMITS || !(has_news || wants_checkpoint) {
            return None;
        }
        self.needs_checkpoint = false;
        memory.commits += 1;
        let number = memory.commits;
        let mut records = Vec::new();
        for alert in self.engine.drain_changes() {
            let content = alert.encode();
            let what = format!("{} revision {} ({}) of commit {number}", alert.key.kind, alert.revision, alert.state.name());
            ledger.submit(Lane::Alerts, &content, (number, what));
            records.push(record(&alert, content));
        }
        for sample in std::mem::take(&mut self.samples) {
            let content = sample.encode();
            ledger.submit(Lane::Samples, &content, (number, format!("sample {} of commit {number}", sample.value)));
            records.push(Record::plain(Lane::Samples, Bytes::from(content)));
        }
        memory.states.insert(number, open_alerts(&self.engine));
        self.milestones.extend(self.resend.take().map(|resend| (number, resend)));
        let checkpoint = wants_checkpoint.then(|| [number.to_le_bytes().to_vec(), self.engine.checkpoint()].concat());
        let said = format!("commit {number} of {} records{}", records.len(), if wants_checkpoint { " with a checkpoint" } else { "" });
        self.queue.push_back((number, Commit { records, delta: number.to_le_bytes().to_vec(), checkpoint, at: clocks.wall }));
        Some(said)
    }

    /// The spool's thread makes a group of commits durable, or waits for room.
    fn write(&mut self, clocks: Clocks, (ledger, memory): (&mut Ledger, &mut Memory)) -> Result<Option<String>, Stop> {
        let durable = if self.spool.is_full() {
            if clocks.now < self.retry_at {
                return Ok(None);
            }
            self.spool.retry(clocks.now)?
        } else {
            if self.queue.is_empty() {
                return Ok(None);
            }
            // A commit with a checkpoint begins a group.
            let mut most = 1 + self.random.index(self.queue.len());
            if let Some(next) = self.queue.iter().skip(1).position(|(_, commit)| commit.checkpoint.is_some()) {
                most = most.min(next + 1);
            }
            self.spool.write(self.queue.drain(..most).collect(), clocks.now)?
        };
        if let Some(last) = durable {
            ledger.durable(last);
            memory.durable = last;
            self.reached(last);
        }
        if self.spool.is_full() {
            self.retry_at = clocks.now + Duration::from_secs(1);
            return Ok(Some("waits for room on the disk".to_owned()));
        }
        Ok(Some(durable.map_or("has room on the disk".to_owned(), |last| format!("durable up to commit {last}"))))
    }

    /// Tells what is true now that commit `durable` is: as `pipeline::milestones` does.
    fn reached(&mut self, durable: u64) {
        while let Some((_, Resend { since_revision, nonce })) = self.milestones.pop_front_if(|(commit, _)| *commit <= durable) {
            let epoch = self.spool.epoch();
            let sequence = self.spool.head(Lane::Alerts, epoch).0;
            self.outbox.put(Outgoing::Resent(Resent { epoch: epoch.0, sequence, since_revision, nonce }));
        }
    }

    /// A lane sends a batch, if it may and has one.
    fn pump(&mut self, clocks: Clocks, (network, ledger): (&mut Network, &mut Ledger)) -> Result<Option<String>, Stop> {
        let Some(live) = self.live.as_mut().filter(|live| live.established) else { return Ok(None) };
        let lane = LANES[self.random.index(LANES.len())];
        let protocol = live.session.protocol().unwrap_or(0);
        let flow = live.lanes.entry(lane).or_insert_with(|| LaneFlow::of(lane).speaking(protocol));
        if !flow.has_room() || !self.spool.has_next(lane, flow.after()) {
            return Ok(None);
        }
        // What is a long backlog there is a short one here.
        flow.waiting(self.spool.waiting(lane, flow.after()) * 300);
        let ahead = if flow.may_overtake() { self.spool.next_ahead(&mut live.overtakers, flow)? } else { None };
        if let Some((message, bytes)) = ahead {
            network.send(live.connection, (To::Server, Stream::Lane(lane)), &message, clocks.now);
            flow.sent_ahead(bytes, clocks.now - live.began);
            return Ok(Some("sends alerts ahead of their order".to_owned()));
        }
        let Some(mut batch) = self.spool.next_batch(lane, flow.after())? else { return Ok(None) };
        flow::fit(&mut batch, flow.batch_bytes().min(self.batch_bytes));
        ledger.read((batch.epoch, lane), batch.first.0, &batch.records)?;
        let records = Records { records: batch.records.clone() }.encode_to_vec();
        let records_zstd = zstd::bulk::compress(&records, 1)?;
        let message = Batch { epoch: batch.epoch.0, first_sequence: batch.first.0, records_zstd, ..Batch::default() };
        network.send(live.connection, (To::Server, Stream::Lane(lane)), &message, clocks.now);
        flow.sent(&batch, clocks.now - live.began);
        Ok(Some(format!("sends {} records from {} of epoch {:x}", batch.records.len(), batch.first.0, batch.epoch.0)))
    }

    /// The control stream takes the next message that waits.
    fn say(&mut self, clocks: Clocks, network: &mut Network) -> Option<String> {
        let live = self.live.as_mut().filter(|live| live.established)?;
        let message = live.session.outward(self.outbox.take()?)?;
        let what = format!("says {}", kind_of(&message));
        network.send(live.connection, (To::Server, Stream::Control), &message, clocks.now);
        Some(what)
    }

    /// What is due by the clock.
    fn tick(&mut self, clocks: Clocks, network: &mut Network) -> Result<Option<String>, Stop> {
        if self.live.as_ref().is_some_and(|live| live.established) && self.spool.evictions() > self.evictions {
            // The only word on an alert was given up: `control` has it said again.
            self.evictions = self.spool.evictions();
            self.resend(0, clocks);
            return Ok(Some("sends all open alerts again: some were given up".to_owned()));
        }
        let boot = clocks.now.saturating_sub(clocks.since_boot);
        if self.revisions.trial.poll_timeout().is_some_and(|at| boot + at <= clocks.now) {
            let wishes = self.revisions.handle(Input::Tick, clocks.moment())?;
            self.fulfil(wishes, Some((clocks, network)));
            return Ok(Some("the trial's time is over".to_owned()));
        }
        let Some(live) = &mut self.live else {
            return if clocks.now >= self.dial_at { self.dial(clocks, network).map(Some) } else { Ok(None) };
        };
        let since_start = clocks.now - live.began;
        let (connection, now) = (live.connection, Now { since_start, wall: clocks.wall });
        let fault = live.lanes.values().find_map(|flow| flow.tick(since_start).err());
        let ticked = match fault {
            Some(fault) => Err(fault),
            None if live.session.deadline() > since_start => return Ok(None),
            None => live.session.tick(now),
        };
        match ticked {
            Ok(Some(beat)) => {
                network.send(connection, (To::Server, Stream::Control), &beat, clocks.now);
                Ok(Some("heartbeat".to_owned()))
            }
            Ok(None) => Ok(None),
            Err(fault) => self.lose(&fault.to_string(), clocks, network).map(Some),
        }
    }

    fn dial(&mut self, clocks: Clocks, network: &mut Network) -> Result<String, Stop> {
        self.attempts += 1;
        let reached = if self.revisions.in_force().reaches { network.connect() } else { None };
        let Some(connection) = reached else {
            self.dial_at = clocks.now + Duration::from_millis(200) + self.random.time(Duration::from_secs(8));
            return Ok("cannot connect".to_owned());
        };
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            epoch: self.spool.epoch().0,
            heads: self.spool.heads(),
            effective_revision: self.revisions.trial.effective(),
            newest_revision: self.revisions.trial.newest(),
            provisional_revision: self.revisions.trial.provisional().map_or(0, |(number, _)| number),
            session: self.attempts,
            incarnation: self.incarnation.0,
            earlier_incarnations: self.incarnation.1.starts.clone(),
            alert_revision: self.incarnation.1.found.unwrap_or(0),
            ..Hello::default()
        };
        let session = Session::new(HEARTBEAT, hello, self.spool.acknowledged());
        network.send(connection, (To::Server, Stream::Control), &session.greeting(), clocks.now);
        self.outbox.begin_session();
        self.live = Some(Live {
            connection,
            session,
            began: clocks.now,
            established: false,
            lanes: BTreeMap::new(),
            overtakers: Overtakers::default(),
        });
        Ok(format!("connects: {connection}"))
    }

    fn lose(&mut self, why: &str, clocks: Clocks, network: &mut Network) -> Result<String, Stop> {
        let Some(live) = self.live.take() else { return Ok("has no session".to_owned()) };
        network.leave(live.connection, To::Gateway, clocks.now);
        self.dial_at = clocks.now + self.random.time(Duration::from_secs(8));
        if live.established {
            let wishes = self.revisions.handle(Input::SessionEnded, clocks.moment())?;
            self.fulfil(wishes, Some((clocks, network)));
        }
        Ok(format!("loses session {}: {why}", live.connection))
    }

    /// Takes what the network hands over.
    pub(crate) fn receive(
        &mut self,
        (stream, arrival): (Option<Stream>, Arrival),
        clocks: Clocks,
        around: Surroundings<'_>,
    ) -> Result<(), Stop> {
        let (network, ledger, _) = around;
        let (Some(stream), Arrival::Frame(frame)) = (stream, arrival) else {
            return self.lose("the connection ended", clocks, network).map(drop);
        };
        let Some(live) = &mut self.live else { return Ok(()) };
        let since_start = clocks.now - live.began;
        match stream {
            Stream::Control => {
                let message: Down = decode(&frame).map_err(Violation::Protocol)?;
                match live.session.take(message, Now { since_start, wall: clocks.wall }) {
                    Ok(actions) => actions.into_iter().try_for_each(|action| self.act(action, clocks, (&mut *network, &mut *ledger))),
                    Err(fault) => self.lose(&fault.to_string(), clocks, network).map(drop),
                }
            }
            Stream::Lane(lane) => {
                let ack: Ack = decode(&frame).map_err(Violation::Protocol)?;
                let epoch = Epoch(ack.epoch);
                let head = self.spool.head(lane, epoch);
                match live.lanes.entry(lane).or_insert_with(|| LaneFlow::of(lane)).acknowledged(&ack, head, since_start) {
                    Ok(()) if ack.ahead => Ok(()),
                    Ok(()) => {
                        ledger.acknowledged((epoch, lane), ack.sequence)?;
                        self.spool.acknowledge(lane, epoch, Sequence(ack.sequence));
                        Ok(())
                    }
                    Err(fault) => self.lose(&fault.to_string(), clocks, network).map(drop),
                }
            }
        }
    }

    fn act(&mut self, action: Action, clocks: Clocks, (network, ledger): (&mut Network, &mut Ledger)) -> Result<(), Stop> {
        match action {
            Action::Acknowledge(lane, epoch, sequence) => {
                ledger.acknowledged((epoch, lane), sequence.0)?;
                self.spool.acknowledge(lane, epoch, sequence);
            }
            Action::Deliver(message) => self.deliver(message, clocks, network)?,
            Action::Establish => {
                if let Some(live) = &mut self.live {
                    live.established = true;
                }
                let wishes = self.revisions.handle(Input::SessionBegan { protocol: PROTOCOL_VERSION }, clocks.moment())?;
                self.fulfil(wishes, Some((clocks, network)));
            }
            Action::Measured { .. } | Action::Pace(_) => {}
            Action::RenewEpoch => {
                self.spool.renew(Epoch(self.random.number()), clocks.now)?;
                self.resend(0, clocks);
                self.lose("this disk was set back", clocks, network)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, message: Incoming, clocks: Clocks, network: &mut Network) -> Result<(), Stop> {
        match message {
            Incoming::Adopt(adopt) => {
                for alert in &adopt.alerts {
                    let alert = Alert::decode(alert).map_err(|error| Violation::Protocol(error.to_string()))?;
                    self.engine.adopt(alert, clocks.wall);
                }
                self.needs_checkpoint = true;
                if adopt.complete {
                    self.resend(self.asked, clocks);
                }
            }
            Incoming::CloseAlert(close) => {
                let key = AlertKey { resource: close.resource, kind: close.kind, qualifier: close.qualifier };
                self.engine.close(&key, close.occurrence, close.count_seen, clocks.wall);
            }
            Incoming::ConfirmRevision(number) => {
                let wishes = self.revisions.handle(Input::Confirm { number }, clocks.moment())?;
                self.fulfil(wishes, Some((clocks, network)));
            }
            Incoming::ResendOpenAlerts { nonce } => self.resend(nonce, clocks),
            Incoming::ResentHeard { since_revision } => {
                self.is_healed = true;
                if self.newest_resend == Some(since_revision) {
                    self.newest_resend = None;
                    self.spool.settle_resend();
                }
            }
            Incoming::Welcomed(welcome) => {
                self.asked = welcome.resend_nonce;
                self.is_healed |= welcome.resend_nonce == 0 || welcome.resend_open_alerts;
            }
            Incoming::Revision(signed) => {
                let document: Document = serde_json::from_slice(&signed.document).map_err(std::io::Error::from)?;
                let wishes = self.revisions.pushed(signed.number, document, clocks.moment())?;
                self.fulfil(wishes, Some((clocks, network)));
            }
            _ => {}
        }
        Ok(())
    }

    fn fulfil(&mut self, wishes: Vec<Wish>, around: Option<(Clocks, &mut Network)>) {
        let mut redial = false;
        for wish in wishes {
            match wish {
                Wish::Redial => redial = true,
                Wish::Tell(status) => self.outbox.put(Outgoing::RevisionStatus(status)),
            }
        }
        if let (true, Some((clocks, network))) = (redial, around)
            && let Some(live) = self.live.take()
        {
            network.leave(live.connection, To::Gateway, clocks.now);
            self.dial_at = clocks.now;
            let none = self.revisions.trial.handle(Input::SessionEnded, clocks.moment());
            debug_assert!(none.is_empty(), "the end of a session asks for nothing");
        }
    }
}
