//! The one task that owns alert state: events in, alert records and the ledger out in one commit, answers when that is durable.
//!
//! It goes on pulling while commits are on their way to the disk; what changed meanwhile goes into the next commit together. What
//! someone waits for is committed at once, what changes an alert's state within [`PACE`], and what only counts an open alert again
//! within [`COUNT_PACE`] or [`STORM_PACE`]: a storm costs one record a second for each alert. A kill may lose those last counts; a crash window says so.
//! It ends when every receiver has dropped its end of the queue and the queue is empty: then it closes the spool cleanly.

mod answers;
pub(crate) mod local;
pub(crate) mod milestones;
mod order;
pub(crate) mod seen;
pub(crate) mod usm;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use postern_engine::alert::AlertEngine;
use postern_engine::event::Protocol;
use postern_engine::ledger::{Detail, DropReason};
use postern_protocol::alert::{Alert, AlertKey, AlertState};
use postern_protocol::id::Lane;
use postern_protocol::sample::Sample;
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::{Commit, CommitNumber, Record, Spool, SpoolError, Worth};
use prost::Message as _;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use self::answers::{Reply, Settled, reply};
use self::local::{Memory, Writer};
use self::milestones::Milestones;
pub(crate) use self::order::{Order, Rehearsal};
use self::seen::{PushSighting, Sighting};
use crate::accounts::Accounts;
use crate::canary::Stage;
use crate::intake::{Arrival, Batch, Digests, Outlet, Push, PushAnswer};
use crate::rule_report::RuleCounter;

/// Commits that may be on their way to the disk; what changes meanwhile waits for the next.
const MAX_COMMITS_IN_FLIGHT: u64 = 2;

/// Shortest time between commits that nobody waits for: what changes meanwhile goes into one.
const PACE: Duration = Duration::from_millis(10);

/// Shortest time between commits of what was only counted: open alerts that were reported again, and the ledger.
const COUNT_PACE: Duration = Duration::from_millis(250);

/// The same while [`MANY_COUNTED`] alerts or more wait for it: in a storm most of them will have been counted again by then.
const STORM_PACE: Duration = Duration::from_secs(1);

/// So many alerts that were counted again are a storm.
const MANY_COUNTED: usize = 64;

/// Most senders that may wait for an answer before no more events are taken.
const MAX_WAITING: usize = 16_384;

/// Events after which the task looks at its other duties.
const TURN_EVENTS: usize = 512;

/// Most bytes of records in one commit. Only a resend of very many alerts has more, and is split.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// How often counters that changed without an alert are committed, and old digests forgotten.
const TICK: Duration = Duration::from_secs(1);

/// What others may know of the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PipelineFacts {
    /// Alerts that are open.
    pub(crate) open_alerts: u64,
    /// Grows at least once a second while the pipeline works.
    pub(crate) beat: u64,
}

/// Why the pipeline cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// A commit was not taken.
    #[error("a commit failed")]
    Commit(#[from] SpoolError),
    /// Its thread panicked: a fault of the program.
    #[error("the pipeline's thread panicked")]
    Panicked,
    /// It has no thread.
    #[error("the pipeline gets no thread")]
    Thread(#[source] std::io::Error),
    /// The spool's thread has ended.
    #[error("the spool has ended")]
    SpoolEnded,
}

/// What the pipeline is made of.
pub(crate) struct Parts {
    pub(crate) engine: AlertEngine,
    pub(crate) memory: Memory,
    pub(crate) digest_key: [u8; 32],
    pub(crate) accounts: Accounts,
    pub(crate) outlet: Outlet,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) facts: watch::Sender<PipelineFacts>,
    pub(crate) unknown: watch::Sender<Vec<UnknownOid>>,
    pub(crate) counter: RuleCounter,
    pub(crate) milestones: Milestones,
    pub(crate) spool: Spool,
}

/// The task's state.
pub(crate) struct Pipeline {
    engine: AlertEngine,
    memory: Memory,
    writer: Writer,
    worth: Judge,
    accounts: Accounts,
    outlet: Outlet,
    orders: Option<mpsc::Receiver<Order>>,
    facts: watch::Sender<PipelineFacts>,
    unknown: watch::Sender<Vec<UnknownOid>>,
    counter: RuleCounter,
    spool: Spool,
    /// Something besides alerts needs a commit soon: an order, a sender's state.
    dirty: bool,
    /// The ledger changed, or a second of counting is over.
    counted: bool,
    /// How much of the ledger the next commit of everything carries.
    detail: Detail,
    /// Records of lanes other than alerts that are not yet committed.
    records: Vec<Record>,
    /// The next commit needs a checkpoint, whatever the spool says.
    checkpoint: bool,
    milestones: Milestones,
    /// Senders whose events are handled and not yet committed.
    waiting: Vec<Reply>,
    /// Senders whose events are committed and not yet durable.
    committed: VecDeque<(CommitNumber, Vec<Reply>)>,
    last_commit: CommitNumber,
    last_commit_at: Instant,
    /// When a commit had everything that had changed.
    last_whole_at: Instant,
    durable: CommitNumber,
}

/// What goes into a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Everything that changed.
    All,
    /// Only what must not wait.
    Urgent,
}

/// Tells the spool what an alert's record is worth when room is short, and what it is about: by a digest that says nothing to
/// whoever reads the disk.
struct Judge(Digests);

impl Judge {
    fn judge(&self, alert: &Alert, bytes: Bytes) -> Record {
        let AlertKey { resource, kind, qualifier } = &alert.key;
        let key = self.0.of(&[b"alert", resource.as_bytes(), kind.as_bytes(), qualifier.as_bytes()]);
        let worth = match alert.state {
            AlertState::Cleared | AlertState::Closed => Worth::Ended,
            AlertState::Open => Worth::Open,
        };
        Record { lane: Lane::Alerts, bytes, key, worth }
    }
}

impl Pipeline {
    /// Puts the task together; the first thing it does is a commit with a checkpoint of what was recovered.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { engine, memory, digest_key, accounts, outlet, orders, facts, unknown, counter, milestones, spool } = parts;
        Self {
            engine,
            memory,
            writer: Writer::new(accounts.clone(), digest_key),
            worth: Judge(Digests::new(&digest_key)),
            accounts,
            outlet,
            orders: Some(orders),
            facts,
            unknown,
            counter,
            spool,
            dirty: true,
            counted: false,
            detail: Detail::Sources,
            records: Vec::new(),
            checkpoint: false,
            milestones,
            waiting: Vec::new(),
            committed: VecDeque::new(),
            last_commit: CommitNumber::default(),
            last_commit_at: Instant::now(),
            last_whole_at: Instant::now(),
            durable: CommitNumber::default(),
        }
    }

    /// Works on a thread of its own until every receiver is gone, then closes the spool. A batch then wakes one thread; on the shared
    /// runtime it wakes a worker, which wakes another to look for more work.
    ///
    /// # Errors
    /// [`PipelineError`]: nothing can be made durable any more.
    pub(crate) async fn run_on_thread(self) -> Result<(), PipelineError> {
        let runtime = Builder::new_current_thread().enable_time().build().map_err(PipelineError::Thread)?;
        let (ended, end) = oneshot::channel();
        let work = move || {
            // The other side is gone only when the daemon is.
            let _ = ended.send(runtime.block_on(self.run()));
        };
        std::thread::Builder::new().name("pipeline".to_owned()).spawn(work).map_err(PipelineError::Thread)?;
        end.await.map_err(|_| PipelineError::Panicked)?
    }

    /// Works until every receiver is gone, then closes the spool.
    async fn run(mut self) -> Result<(), PipelineError> {
        let mut durable = self.spool.durable();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.durable = *durable.borrow_and_update();
            self.milestones.reached(self.durable, &self.spool);
            self.answer();
            let may_commit = self.last_commit.0.saturating_sub(self.durable.0) < MAX_COMMITS_IN_FLIGHT;
            let due = self.due().filter(|_| may_commit);
            if let Some((_, extent)) = due.filter(|(due, _)| Instant::now() >= *due) {
                self.commit(extent).await?;
                continue;
            }
            // Every arm is cancel-safe; the queue comes last, because under load it is always ready.
            tokio::select! {
                biased;
                changed = durable.changed() => changed.map_err(|_| PipelineError::SpoolEnded)?,
                order = next_order(&mut self.orders) => self.obey(order),
                _ = tick.tick() => self.tick(),
                () = sleep_until(due.map(|(due, _)| due)) => {}
                batch = self.outlet.next(), if self.waiting.len() < MAX_WAITING => match batch {
                    Some(batch) => self.take(batch),
                    None => break,
                },
            }
        }
        self.finish().await
    }

    /// Returns when the next commit is due, and what goes into it; `None` while nothing changed.
    fn due(&self) -> Option<(Instant, Extent)> {
        let pace = if self.engine.counted_again() < MANY_COUNTED { COUNT_PACE } else { STORM_PACE };
        let (soon, later) = (self.last_commit_at + PACE, self.last_whole_at + pace);
        if !self.waiting.is_empty() {
            // Whoever waits is answered when all that their message changed is durable.
            Some((self.last_commit_at, Extent::All))
        } else if self.dirty {
            Some((soon, Extent::All))
        } else if self.engine.has_urgent() {
            Some((soon, if soon >= later { Extent::All } else { Extent::Urgent }))
        } else if self.counted || self.engine.has_changes() {
            Some((later, Extent::All))
        } else {
            None
        }
    }

    /// Handles a batch, and those behind it up to a turn's worth.
    fn take(&mut self, first: Batch) {
        let now = Timestamp::from(SystemTime::now());
        let mut settled = Settled::default();
        let mut events = 0_usize;
        let mut next = Some(first);
        while let Some(batch) = next {
            events = events.saturating_add(match batch {
                Batch::Canary(ticket) => {
                    ticket.reached(Stage::Handled);
                    0
                }
                Batch::EngineReset(reset) => {
                    self.memory.usm.reset(reset);
                    self.dirty = true;
                    0
                }
                Batch::Events(arrivals) => self.arrivals(arrivals, now, &mut settled),
                Batch::Push(push) => self.push(push, now, &mut settled),
            });
            next = if events < TURN_EVENTS { self.outlet.try_next() } else { None };
        }
        self.accounts.settle(settled.counts.into_iter().map(|((protocol, source, reason), n)| (protocol, source, reason, n)));
        settled.refused.into_iter().for_each(reply);
        let beat = self.facts.borrow().beat;
        self.publish(beat);
    }

    fn arrivals(&mut self, arrivals: Vec<Arrival>, now: Timestamp, settled: &mut Settled) -> usize {
        let count = arrivals.len();
        for Arrival { event, inform, usm } in arrivals {
            if let Some(change) = usm {
                self.memory.usm.note(&change);
            }
            let repeated = inform.as_ref().is_some_and(|inform| self.memory.seen.inform(inform.digest, now) == Sighting::Again);
            let reason = repeated.then_some(DropReason::Duplicate);
            if !repeated {
                self.engine.handle(&event, now);
            }
            settled.add((event.protocol(), event.peer, reason), 1);
            if let Some(inform) = inform {
                // A repeated inform is answered, too: the first answer may be lost. Not before the first is durable.
                self.waiting.push(Reply::Inform(inform));
            }
        }
        count
    }

    fn push(&mut self, push: Push, now: Timestamp, settled: &mut Settled) -> usize {
        let count = push.count();
        let events = u32::try_from(count).unwrap_or(u32::MAX);
        let (answer, reason) = match self.memory.seen.push(push.signature, push.idempotency, events, now) {
            PushSighting::First => (PushAnswer::Accepted(events), None),
            PushSighting::Full => (PushAnswer::Overloaded, Some(DropReason::RateLimited)),
            PushSighting::KeyReused => (PushAnswer::KeyReused, Some(DropReason::Replayed)),
            PushSighting::Repeated(accepted) => (PushAnswer::Accepted(accepted), Some(DropReason::Duplicate)),
            PushSighting::Replayed => (PushAnswer::Replayed, Some(DropReason::Replayed)),
        };
        if reason.is_none() {
            for event in &push.events {
                self.engine.handle(event, now);
            }
            let record = |sample: &Sample| Record::plain(Lane::Samples, Bytes::from(sample.encode()));
            self.records.extend(push.measurements.iter().map(record));
        }
        settled.add((Protocol::Push, push.peer, reason), count as u64);
        match answer {
            PushAnswer::Accepted(_) => {
                self.waiting.push(Reply::Push(push.answer, answer));
            }
            PushAnswer::KeyReused | PushAnswer::Overloaded | PushAnswer::Replayed => {
                settled.refused.push(Reply::Push(push.answer, answer));
            }
        }
        count
    }

    fn obey(&mut self, order: Order) {
        let now = Timestamp::from(SystemTime::now());
        match order {
            Order::Adopt { alerts, complete, nonce } => {
                alerts.into_iter().for_each(|alert| self.engine.adopt(alert, now));
                // What was taken in is in no record of the spool.
                self.checkpoint = true;
                if complete {
                    self.milestones.resend((self.engine.resend_open(now), nonce), &self.spool);
                }
            }
            Order::Close { key, occurrence, count_seen } => self.engine.close(&key, occurrence, count_seen, now),
            Order::Inventory(inventory) => self.records.push(Record::plain(Lane::Inventory, Bytes::from(inventory.encode_to_vec()))),
            Order::Own(report) => {
                self.engine.own(report, now);
            }
            Order::OwnClear { kind, qualifier } => {
                self.engine.own_clear(kind, &qualifier, now);
            }
            Order::ReplaceDictionary(dictionary) => self.engine.replace_dictionary(dictionary),
            Order::Rehearse(Rehearsal { events, decided, durable }) => {
                let deciding: usize = events.iter().map(|event| self.engine.rehearse(event)).sum();
                tracing::debug!(events = events.len(), deciding, "the rules are rehearsed");
                let _ = decided.send(());
                self.waiting.push(Reply::Rehearsed(durable));
            }
            Order::ReplaceRules(rules, done) => {
                self.engine.replace_rules(*rules);
                self.counter.begin(now);
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            Order::Resend { nonce } => self.milestones.resend((self.engine.resend_open(now), nonce), &self.spool),
            Order::ResentHeard { since_revision } => self.milestones.heard(since_revision, &self.spool),
            Order::TellRules(answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(self.engine.in_force());
                return;
            }
        }
        self.dirty = true;
        let beat = self.facts.borrow().beat;
        self.publish(beat);
    }

    fn tick(&mut self) {
        let now = Timestamp::from(SystemTime::now());
        self.memory.prune(now);
        self.engine.tick(now);
        if self.writer.has_changes() {
            (self.counted, self.detail) = (true, Detail::Sources);
        }
        let unknown = self.engine.unknown_oids();
        self.unknown.send_if_modified(|known| {
            *known != unknown && {
                *known = unknown;
                true
            }
        });
        self.counter.look(&self.engine);
        let beat = self.facts.borrow().beat.saturating_add(1);
        self.publish(beat);
    }

    fn publish(&self, beat: u64) {
        let facts = PipelineFacts { open_alerts: self.engine.open_count() as u64, beat };
        self.facts.send_if_modified(|known| std::mem::replace(known, facts) != facts);
    }

    /// Queues one commit of what changed since the last one.
    async fn commit(&mut self, extent: Extent) -> Result<(), PipelineError> {
        let mut commits = self.commits(extent);
        if (self.spool.wants_checkpoint() || self.checkpoint)
            && let Some(last) = commits.last_mut()
        {
            last.checkpoint = Some(self.writer.checkpoint(&self.engine, &self.memory));
        }
        for commit in commits {
            self.last_commit = self.spool.commit(commit).await?;
        }
        self.checkpoint = false;
        self.milestones.committed(self.last_commit);
        self.committed.push_back((self.last_commit, std::mem::take(&mut self.waiting)));
        self.last_commit_at = Instant::now();
        if extent == Extent::All {
            self.last_whole_at = self.last_commit_at;
            (self.dirty, self.counted) = (false, false);
        }
        Ok(())
    }

    /// Makes the commits for what changed: one, unless it is too much for one. The last carries the counters and what was newly
    /// seen, so that a crash between them makes a sender try again rather than believe what is not there.
    fn commits(&mut self, extent: Extent) -> Vec<Commit> {
        let at = Timestamp::from(SystemTime::now());
        let mut commits = Vec::new();
        let mut records = Vec::new();
        let mut bytes = 0_usize;
        let (changes, detail) = match extent {
            Extent::All => (self.engine.drain_changes(), std::mem::replace(&mut self.detail, Detail::Totals)),
            Extent::Urgent => (self.engine.drain_urgent(), Detail::Totals),
        };
        let alerts = changes.iter().map(|alert| self.worth.judge(alert, Bytes::from(alert.encode())));
        for record in alerts.chain(std::mem::take(&mut self.records)) {
            bytes = bytes.saturating_add(record.bytes.len());
            records.push(record);
            if bytes >= COMMIT_BYTES {
                commits.push(Commit { records: std::mem::take(&mut records), delta: Vec::new(), checkpoint: None, at });
                bytes = 0;
            }
        }
        let delta = self.writer.delta(self.memory.take_fresh(at), detail);
        commits.push(Commit { records, delta, checkpoint: None, at });
        commits
    }

    /// Answers whoever waits for a commit that is durable now.
    fn answer(&mut self) {
        while self.committed.front().is_some_and(|(number, _)| *number <= self.durable) {
            for waiting in self.committed.pop_front().map(|(_, replies)| replies).unwrap_or_default() {
                reply(waiting);
            }
        }
    }

    async fn finish(mut self) -> Result<(), PipelineError> {
        let mut commits = self.commits(Extent::All);
        let mut last = commits.pop().unwrap_or_default();
        last.checkpoint = Some(self.writer.checkpoint(&self.engine, &self.memory));
        for commit in commits {
            self.spool.commit(commit).await?;
        }
        self.spool.close(last).await?;
        let committed = self.committed.into_iter().flat_map(|(_, replies)| replies);
        committed.chain(self.waiting).for_each(reply);
        Ok(())
    }
}

async fn next_order(orders: &mut Option<mpsc::Receiver<Order>>) -> Order {
    if let Some(receiver) = orders {
        match receiver.recv().await {
            Some(order) => return order,
            None => *orders = None,
        }
    }
    std::future::pending().await
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
