//! The control plane of the simulation: the real greeting, ingest, cursors and closes on an in-memory database with the real schema.
//!
//! What `tunnel::session` and `tunnel::lane` do between awaits is one step here, and between any two steps the program may die.
//! SQLite's own atomicity is trusted: what was committed is there after a restart, what was not is not.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use postern_control::clones::{self, Chain, Verdict};
use postern_control::store::alert_actions::{self, AlertAction, AlertRequest};
use postern_control::store::incarnations::Known;
use postern_control::store::ingest::{self, AlertBatch, PendingClose};
use postern_control::store::revisions::{self, Greeted, RevisionReport, RevisionState};
use postern_control::store::{self, StoreError, ahead, cursors, healing};
use postern_control::tunnel::{batch, greeting};
use postern_protocol::alert::Alert;
use postern_protocol::id::{Epoch, GatewayId, Lane, RevisionNumber, Sequence};
use postern_protocol::message::{
    self, Ack, Adopt, Batch, CloseAlert, ConfirmRevision, Down, Goodbye, HeartbeatReply, Hello, Resent, RevisionStatus, SignedRevision, Up,
    down, up,
};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::content::Content;
use crate::ledger::Ledger;
use crate::network::{Arrival, Network, Stream, To, decode};
use crate::revision::{BUILT_IN, Document};
use crate::world::Violation;

/// As the real session: silence after which a gateway counts as dead.
const SILENCE: Duration = Duration::from_secs(30);

/// Where the program dies while it commits a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// It lives.
    No,
    /// After the commit, before the acknowledgement.
    AfterCommit,
    /// Before the commit.
    BeforeCommit,
}

/// How it betrays the gateway: only for the tests of the simulation itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It commits, then acknowledges.
    CommitFirst,
    /// It acknowledges, then commits.
    AckFirst,
    /// It commits and acknowledges a batch without its last record.
    LosesTheLast,
}

/// Every state of a revision.
const STATES: [RevisionState; 6] = [
    RevisionState::Applied,
    RevisionState::Applying,
    RevisionState::Desired,
    RevisionState::Failed,
    RevisionState::Provisional,
    RevisionState::Reverted,
];

/// What surrounds a step.
pub(crate) struct Around<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) ledger: &'a mut Ledger,
    /// True time since the beginning.
    pub(crate) now: Duration,
    /// The control plane's wall clock.
    pub(crate) wall: Timestamp,
    pub(crate) death: Death,
}

#[derive(Debug)]
struct Session {
    connection: u64,
    greeted: bool,
    first: bool,
    resend_asked: bool,
    /// What the gateway has to adopt and was not sent yet; `None` when nothing is.
    adoption: Option<VecDeque<Vec<u8>>>,
    /// Names what is asked for.
    nonce: u64,
    heard: Duration,
    told: BTreeSet<PendingClose>,
    is_replaced: bool,
}

/// A row of the alert table, as far as both sides must agree on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) occurrence: u64,
    pub(crate) revision: u64,
    pub(crate) count: u64,
    pub(crate) close_pending: bool,
}

/// The program and its database.
pub(crate) struct ControlPlane {
    db: Connection,
    gateway: GatewayId,
    order: Order,
    sessions: Vec<Session>,
    /// The start that has the gateway's place: in another database, which is not set back.
    current: Option<Known>,
    starts: BTreeSet<u64>,
    pub(crate) is_up: bool,
}

/// Makes the database of a new tenant, as bytes: its schema takes longer to make than a run has.
pub(crate) fn new_tenant() -> Vec<u8> {
    let mut db = Connection::open_in_memory().unwrap();
    store::prepare_tenant(&mut db).unwrap();
    db.serialize("main").unwrap().to_vec()
}

impl ControlPlane {
    /// Starts it on a copy of `database`.
    pub(crate) fn new(database: &[u8], gateway: GatewayId, order: Order) -> Self {
        let mut new = Self {
            db: Connection::open_in_memory().unwrap(),
            gateway,
            order,
            sessions: Vec::new(),
            current: None,
            starts: BTreeSet::new(),
            is_up: true,
        };
        new.restore(database);
        new
    }

    /// Copies the database, as a backup does.
    pub(crate) fn backup(&mut self) -> Vec<u8> {
        self.db.serialize("main").unwrap().to_vec()
    }

    /// Puts a copy back.
    pub(crate) fn restore(&mut self, database: &[u8]) {
        self.db.flush_prepared_statement_cache();
        self.db.deserialize_read_exact("main", database, database.len(), false).unwrap();
        self.db.set_prepared_statement_cache_capacity(64);
    }

    /// Ends the program: its connections break.
    pub(crate) fn stop(&mut self, network: &mut Network, now: Duration) {
        self.is_up = false;
        for session in std::mem::take(&mut self.sessions) {
            network.leave(session.connection, To::Server, now);
        }
    }

    fn find(&mut self, connection: u64) -> Option<usize> {
        self.sessions.iter().position(|session| session.connection == connection)
    }

    /// Takes what the network hands over.
    pub(crate) fn receive(
        &mut self,
        (connection, stream): (u64, Option<Stream>),
        arrival: Arrival,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        let (Some(stream), Arrival::Frame(frame)) = (stream, arrival) else {
            self.sessions.retain(|session| session.connection != connection);
            return Ok(());
        };
        let index = self.find(connection).unwrap_or_else(|| {
            self.sessions.push(Session {
                connection,
                greeted: false,
                first: true,
                resend_asked: false,
                adoption: None,
                nonce: 0,
                heard: around.now,
                told: BTreeSet::new(),
                is_replaced: false,
            });
            self.sessions.len() - 1
        });
        match stream {
            Stream::Control => {
                self.sessions[index].heard = around.now;
                let up: Up = decode(&frame).map_err(Violation::Protocol)?;
                self.heard(index, up, around)
            }
            Stream::Lane(lane) => {
                let batch: Batch = decode(&frame).map_err(Violation::Protocol)?;
                self.batch(index, (lane, &batch), around)
            }
        }
    }

    fn heard(&mut self, index: usize, up: Up, around: &mut Around<'_>) -> Result<(), Violation> {
        let connection = self.sessions[index].connection;
        match up.kind {
            Some(up::Kind::Hello(hello)) if !self.sessions[index].greeted => self.greet(index, &hello, around),
            Some(up::Kind::Heartbeat(beat)) => {
                let reply = HeartbeatReply { nonce: beat.nonce, time: around.wall.as_nanos() };
                say(around, connection, down::Kind::HeartbeatReply(reply));
                Ok(())
            }
            Some(up::Kind::Resent(resent)) => self.resent(index, &resent, around),
            Some(up::Kind::RevisionStatus(status)) => self.revision_status(index, &status, around),
            _ => Ok(()),
        }
    }

    fn greet(&mut self, index: usize, hello: &Hello, around: &mut Around<'_>) -> Result<(), Violation> {
        for (other, session) in self.sessions.iter_mut().enumerate() {
            session.is_replaced |= other != index;
        }
        self.arrive(hello, around)?;
        let committed = cursors::of_gateway(&self.db, &self.gateway)?;
        let judgement = healing::judge(&self.db, &self.gateway, hello, around.wall)?;
        if !judgement.findings.is_empty() {
            let tx = self.db.transaction()?;
            healing::declare(&tx, &self.gateway, &judgement)?;
            tx.commit()?;
        }
        let mut welcome = greeting::welcome(hello, &committed, judgement.resend, around.wall);
        welcome.resend_open_alerts &= judgement.adopt.is_empty();
        let session = &mut self.sessions[index];
        let adoption: VecDeque<_> = judgement.adopt.iter().map(Alert::encode).collect();
        welcome.resend_nonce = greeting::resend_nonce(hello, &judgement);
        session.nonce = welcome.resend_nonce;
        session.adoption = (!adoption.is_empty()).then_some(adoption);
        (session.greeted, session.resend_asked) = (true, judgement.resend || session.adoption.is_some());
        say(around, session.connection, down::Kind::Welcome(welcome));
        self.greet_revisions(index, hello, around)?;
        self.tell(index, around)
    }

    /// Finds the gateway's place in the chain of its starts. A doubt always turns out to be harmless: there are no copies here.
    fn arrive(&mut self, hello: &Hello, around: &mut Around<'_>) -> Result<(), Violation> {
        // It follows the latest that was ever heard.
        let previous = hello.earlier_incarnations.iter().rev().find(|start| **start != hello.incarnation && self.starts.contains(start));
        let previous = previous.copied().unwrap_or(0);
        let arrival = clones::Arrival { incarnation: hello.incarnation, previous, session: hello.session };
        let chain = Chain { current: self.current, ..Chain::default() };
        match clones::judge(arrival, chain) {
            Verdict::Fits => {}
            Verdict::Doubtful(doubt) => {
                let tx = self.db.transaction()?;
                healing::declare(&tx, &self.gateway, &healing::set_back(doubt.harmless().to_owned(), around.wall))?;
                tx.commit()?;
            }
            Verdict::KeptOut(_) | Verdict::Untold => return Err(Violation::broken("a start that is kept out")),
        }
        self.starts.insert(arrival.incarnation);
        self.current = Some(Known { incarnation: arrival.incarnation, session: arrival.session });
        Ok(())
    }

    /// Sends the next piece of what a gateway has to adopt; says whether there was one.
    fn adopt(&mut self, around: &mut Around<'_>) -> Result<bool, Violation> {
        let Some(index) = self.sessions.iter().position(|session| session.adoption.is_some()) else { return Ok(false) };
        let session = &mut self.sessions[index];
        let Some(adoption) = &mut session.adoption else { return Ok(false) };
        let alerts: Vec<_> = adoption.drain(..adoption.len().min(2)).collect();
        let complete = adoption.is_empty();
        if complete {
            session.adoption = None;
        }
        say(around, session.connection, down::Kind::Adopt(Adopt { alerts, complete }));
        if complete {
            self.tell_again(index, around)?;
        }
        Ok(true)
    }

    fn resent(&mut self, index: usize, resent: &Resent, around: &mut Around<'_>) -> Result<(), Violation> {
        let session = &self.sessions[index];
        if session.adoption.is_some() || (session.nonce != 0 && resent.nonce != session.nonce) {
            return Ok(());
        }
        let tx = self.db.transaction()?;
        healing::resent(&tx, &self.gateway, resent, around.wall)?;
        tx.commit()?;
        self.tell_again(index, around)
    }

    fn greet_revisions(&mut self, index: usize, hello: &Hello, around: &mut Around<'_>) -> Result<(), Violation> {
        let [effective, newest, provisional] =
            [hello.effective_revision, hello.newest_revision, hello.provisional_revision].map(RevisionNumber);
        let tx = self.db.transaction()?;
        revisions::greet(&tx, &self.gateway, Greeted { effective, newest, provisional }, around.wall)?;
        tx.commit()?;
        if provisional.0 > 0 {
            self.confirm(index, around)?;
        }
        let (number, document, state) = self.newest()?;
        if number < newest.0 {
            // This database was restored from an older state: a number that was given out is not given out again.
            self.insert(newest.0 + 1, document, around)?;
        } else if number == effective.0 || state.is_undone() && number == newest.0 {
            return Ok(());
        }
        self.send_revision(index, around)
    }

    fn newest(&self) -> Result<(u64, Document, RevisionState), Violation> {
        let sql = "SELECT number, document, state FROM revision ORDER BY number DESC LIMIT 1";
        let row = self
            .db
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?)));
        let Some((number, document, state)) = row.optional()? else { return Ok((0, BUILT_IN, RevisionState::Applied)) };
        let state = STATES.into_iter().find(|known| known.name() == state).ok_or(StoreError::Corrupt("revision state"))?;
        Ok((u64::try_from(number).unwrap(), serde_json::from_slice(&document).unwrap(), state))
    }

    /// Stores a revision as `put_revision` does, without its signature: gateways of the simulation verify none.
    fn insert(&self, number: u64, document: Document, around: &Around<'_>) -> Result<(), Violation> {
        let sql = "INSERT INTO revision (gateway, number, document, signature, created_at, created_by, state_at)
                   VALUES (?1, ?2, ?3, x'', ?4, 'anna', ?4)";
        let document = serde_json::to_vec(&document).unwrap();
        self.db.execute(sql, params![self.gateway.as_str(), i64::try_from(number).unwrap(), document, around.wall.as_nanos()])?;
        Ok(())
    }

    fn send_revision(&mut self, index: usize, around: &mut Around<'_>) -> Result<(), Violation> {
        let (number, document, _) = self.newest()?;
        if number > 0 {
            let document = serde_json::to_vec(&document).unwrap();
            let revision = SignedRevision { number, document, signature: Vec::new() };
            say(around, self.sessions[index].connection, down::Kind::Revision(revision));
        }
        Ok(())
    }

    fn revision_status(&mut self, index: usize, status: &RevisionStatus, around: &mut Around<'_>) -> Result<(), Violation> {
        let state = match status.state() {
            message::RevisionState::Applied => RevisionState::Applied,
            message::RevisionState::Applying => RevisionState::Applying,
            message::RevisionState::Failed => RevisionState::Failed,
            message::RevisionState::Provisional => RevisionState::Provisional,
            message::RevisionState::Reverted => RevisionState::Reverted,
            message::RevisionState::Unspecified => return Err(Violation::broken("a revision's state that is none")),
        };
        let tx = self.db.transaction()?;
        let report = RevisionReport { number: RevisionNumber(status.number), state, problems: Vec::new() };
        revisions::report(&tx, &self.gateway, &report, around.wall)?;
        tx.commit()?;
        if state == RevisionState::Provisional || state.is_undone() { self.confirm(index, around) } else { Ok(()) }
    }

    fn confirm(&mut self, index: usize, around: &mut Around<'_>) -> Result<(), Violation> {
        if let Some(number) = revisions::confirmable(&self.db, &self.gateway)? {
            say(around, self.sessions[index].connection, down::Kind::ConfirmRevision(ConfirmRevision { number: number.0 }));
        }
        Ok(())
    }

    /// An admin pushes a revision.
    pub(crate) fn push(&mut self, document: Document, around: &mut Around<'_>) -> Result<(), Violation> {
        self.insert(self.newest()?.0 + 1, document, around)?;
        self.newest_session().map_or(Ok(()), |index| self.send_revision(index, around))
    }

    /// Returns the number of the newest revision, 0 for none, and how far the gateway got with it.
    pub(crate) fn desired(&self) -> Result<(u64, RevisionState), Violation> {
        self.newest().map(|(number, _, state)| (number, state))
    }

    fn newest_session(&self) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.greeted && !session.is_replaced)
    }

    /// Sends the closes that the gateway has not confirmed and was not told in this session.
    fn tell(&mut self, index: usize, around: &mut Around<'_>) -> Result<(), Violation> {
        let pending: BTreeSet<_> = ingest::closes_pending(&self.db, &self.gateway)?.into_iter().collect();
        let session = &mut self.sessions[index];
        for close in pending.difference(&session.told) {
            let PendingClose { resource, kind, qualifier, occurrence, count_seen } = close.clone();
            let close = CloseAlert { resource, kind, qualifier, occurrence, count_seen };
            say(around, session.connection, down::Kind::CloseAlert(close));
        }
        session.told = pending;
        Ok(())
    }

    /// Sends every close that the gateway has not confirmed: it knows its alerts anew.
    fn tell_again(&mut self, index: usize, around: &mut Around<'_>) -> Result<(), Violation> {
        self.sessions[index].told.clear();
        self.tell(index, around)
    }

    fn batch(&mut self, index: usize, (lane, wire): (Lane, &Batch), around: &mut Around<'_>) -> Result<(), Violation> {
        if wire.ahead {
            return self.ahead(index, wire, around);
        }
        let connection = self.sessions[index].connection;
        let epoch = Epoch(wire.epoch);
        let mut content = Content::decode(lane, wire)?;
        let last = wire.first_sequence + content.encoded().len() as u64 - 1;
        if self.order == Order::LosesTheLast {
            content.lose_the_last();
        }
        let encoded = content.encoded();
        let ack = |sequence| Ack { epoch: wire.epoch, sequence, ..Ack::default() };
        let before = self.cursor(epoch, lane)?;
        if self.order == Order::AckFirst {
            around.network.send(connection, (To::Gateway, Stream::Lane(lane)), &ack(last.max(before)), around.now);
        }
        let tx = self.db.transaction()?;
        let (committed, skipped, close_pending) = content.apply(&tx, &self.gateway, around.wall)?;
        if around.death == Death::BeforeCommit {
            drop(tx);
            self.stop(around.network, around.now);
            return Ok(());
        }
        tx.commit()?;
        around.ledger.stored((epoch, lane), (wire.first_sequence, before), &encoded)?;
        around.ledger.committed((epoch, lane), committed.0);
        content.check(self, around.ledger)?;
        if around.death == Death::AfterCommit {
            self.stop(around.network, around.now);
            return Ok(());
        }
        let acknowledged = match self.order {
            Order::CommitFirst => Some(committed.0),
            Order::LosesTheLast => Some(committed.0.max(last)),
            Order::AckFirst => None,
        };
        if let Some(sequence) = acknowledged {
            around.network.send(connection, (To::Gateway, Stream::Lane(lane)), &ack(sequence), around.now);
        }
        if close_pending {
            // It wakes the newest session.
            self.newest_session().map_or(Ok(()), |newest| self.tell(newest, around))?;
        }
        let session = &mut self.sessions[index];
        if lane == Lane::Alerts {
            if skipped > 0 && session.first && !session.resend_asked {
                self.end(index, Some("records are missing"), around);
                return Ok(());
            }
            session.first = false;
        }
        Ok(())
    }

    /// Takes alerts ahead of their order: nothing is stored by it that the lane does not owe any more.
    fn ahead(&mut self, index: usize, wire: &Batch, around: &mut Around<'_>) -> Result<(), Violation> {
        let batch = batch::decode_ahead(wire).map_err(|error| Violation::Protocol(error.to_string()))?;
        let tx = self.db.transaction()?;
        let applied = ahead::apply(&tx, &self.gateway, &batch, around.wall)?;
        if around.death == Death::BeforeCommit {
            drop(tx);
            self.stop(around.network, around.now);
            return Ok(());
        }
        tx.commit()?;
        Content::Alerts(AlertBatch { epoch: batch.epoch, first_sequence: Sequence(0), alerts: batch.alerts }).check(self, around.ledger)?;
        if around.death == Death::AfterCommit {
            self.stop(around.network, around.now);
            return Ok(());
        }
        let ack = Ack { epoch: wire.epoch, sequence: 0, ahead: true };
        around.network.send(self.sessions[index].connection, (To::Gateway, Stream::Lane(Lane::Alerts)), &ack, around.now);
        if applied.close_pending {
            self.newest_session().map_or(Ok(()), |newest| self.tell(newest, around))?;
        }
        Ok(())
    }

    fn cursor(&self, epoch: Epoch, lane: Lane) -> Result<u64, Violation> {
        let cursors = cursors::of_gateway(&self.db, &self.gateway)?;
        Ok(cursors.iter().find(|cursor| cursor.lane == lane && cursor.epoch == epoch).map_or(0, |cursor| cursor.sequence.0))
    }

    fn end(&mut self, index: usize, reason: Option<&str>, around: &mut Around<'_>) {
        let session = self.sessions.remove(index);
        if let Some(reason) = reason {
            say(around, session.connection, down::Kind::Goodbye(Goodbye { reason: reason.to_owned(), retry: true }));
        }
        around.network.leave(session.connection, To::Server, around.now);
    }

    /// Ends one session that has to end (another one began, or nothing was heard), or sends a piece; says whether there was one.
    pub(crate) fn tick(&mut self, around: &mut Around<'_>) -> Result<bool, Violation> {
        let silent = |session: &Session| around.now.saturating_sub(session.heard) >= SILENCE;
        if let Some(index) = self.sessions.iter().position(silent) {
            self.end(index, None, around);
            return Ok(true);
        }
        if let Some(index) = self.sessions.iter().position(|session| session.is_replaced) {
            self.end(index, Some("another session of this gateway began"), around);
            return Ok(true);
        }
        self.adopt(around)
    }

    /// A person closes an open alert. The store decides whether that can be.
    pub(crate) fn close(&mut self, kind: &str, around: &mut Around<'_>) -> Result<(), Violation> {
        let sql = "SELECT id FROM alert WHERE kind = ?1 AND state = 'open'";
        let id = self.db.query_row(sql, [kind], |row| row.get::<_, String>(0));
        let Ok(id) = id else { return Ok(()) };
        let tx = self.db.transaction()?;
        let request = AlertRequest { id, action: AlertAction::Close, by: "anna".to_owned(), expected: None, once: None };
        match alert_actions::act(&tx, &request, around.wall) {
            Ok(_) => tx.commit()?,
            Err(StoreError::Conflict(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.newest_session().map_or(Ok(()), |newest| self.tell(newest, around))
    }

    /// Returns what is stored of the gateway's alerts.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, Violation> {
        let sql = "SELECT kind, state, occurrence, gateway_revision, count, close_count_seen IS NOT NULL FROM alert ORDER BY kind";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let number = |column| row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0));
            Ok(Row {
                kind: row.get(0)?,
                state: row.get(1)?,
                occurrence: number(2)?,
                revision: number(3)?,
                count: number(4)?,
                close_pending: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns what is stored of alerts, gaps and a noted resend, for somebody who replays a run.
    pub(crate) fn summary(&self) -> Result<String, Violation> {
        let rows = self.rows()?.into_iter().map(|row| {
            let pending = if row.close_pending { " (to be confirmed)" } else { "" };
            format!("{} {}{pending} {}/{} ×{}", row.kind, row.state, row.occurrence, row.revision, row.count)
        });
        let gaps = if cursors::open_gap(&self.db, &self.gateway)? { "; a gap is open" } else { "" };
        Ok(format!("{}{gaps}", rows.collect::<Vec<_>>().join(", ")))
    }

    /// Returns, for each epoch and lane, the cursor and the records that were written down as missing.
    pub(crate) fn accounts(&self) -> Result<Vec<(Epoch, Lane, u64, u64)>, Violation> {
        let mut statement = self.db.prepare_cached("SELECT ifnull(sum(records), 0) FROM lane_gap WHERE lane = ?1 AND epoch = ?2")?;
        let mut accounts = Vec::new();
        for cursor in cursors::of_gateway(&self.db, &self.gateway)? {
            let gaps: i64 = statement.query_row(rusqlite::params![cursor.lane.number(), cursor.epoch.0.to_be_bytes()], |row| row.get(0))?;
            accounts.push((cursor.epoch, cursor.lane, cursor.sequence.0, u64::try_from(gaps).unwrap_or(0)));
        }
        Ok(accounts)
    }
}

fn say(around: &mut Around<'_>, connection: u64, kind: down::Kind) {
    around.network.send(connection, (To::Gateway, Stream::Control), &Down { kind: Some(kind) }, around.now);
}
