//! The control plane of the simulation: the real greeting, ingest, cursors and closes on an in-memory database with the real schema.
//!
//! What `tunnel::session` and `tunnel::lane` do between awaits is one step here, and between any two steps the program may die.
//! SQLite's own atomicity is trusted: what was committed is there after a restart, what was not is not.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_control::store::alert_actions::{self, AlertAction, AlertRequest};
use postern_control::store::ingest::{self, PendingClose};
use postern_control::store::{self, StoreError, cursors};
use postern_control::tunnel::{batch, greeting};
use postern_protocol::id::{Epoch, GatewayId, Lane};
use postern_protocol::message::{Ack, Batch, CloseAlert, Down, Goodbye, HeartbeatReply, Hello, Up, down, up};
use postern_protocol::timestamp::Timestamp;
use rusqlite::Connection;

use crate::ledger::Ledger;
use crate::network::{Arrival, Network, Stream, To, decode};
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
    heartbeats: u64,
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
        let mut new = Self { db: Connection::open_in_memory().unwrap(), gateway, order, sessions: Vec::new(), is_up: true };
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
    pub(crate) fn receive(&mut self, (connection, stream): (u64, Stream), arrival: Arrival, around: &mut Around<'_>) -> Result<(), Violation> {
        let Arrival::Frame(frame) = arrival else {
            self.sessions.retain(|session| session.connection != connection);
            return Ok(());
        };
        let index = self.find(connection).unwrap_or_else(|| {
            self.sessions.push(Session {
                connection,
                greeted: false,
                first: true,
                resend_asked: false,
                heartbeats: 0,
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
                let session = &mut self.sessions[index];
                session.heartbeats += 1;
                if session.heartbeats == 2 && session.resend_asked {
                    let tx = self.db.transaction()?;
                    cursors::mark_resent(&tx, &self.gateway)?;
                    tx.commit()?;
                }
                let reply = HeartbeatReply { nonce: beat.nonce, time: around.wall.as_nanos() };
                say(around, connection, down::Kind::HeartbeatReply(reply));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn greet(&mut self, index: usize, hello: &Hello, around: &mut Around<'_>) -> Result<(), Violation> {
        for (other, session) in self.sessions.iter_mut().enumerate() {
            session.is_replaced |= other != index;
        }
        let committed = cursors::of_gateway(&self.db, &self.gateway)?;
        let welcome = greeting::welcome(hello, &committed, cursors::open_gap(&self.db, &self.gateway)?, around.wall);
        let session = &mut self.sessions[index];
        (session.greeted, session.resend_asked) = (true, welcome.resend_open_alerts);
        say(around, session.connection, down::Kind::Welcome(welcome));
        self.tell(index, around)
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

    fn batch(&mut self, index: usize, (lane, wire): (Lane, &Batch), around: &mut Around<'_>) -> Result<(), Violation> {
        let connection = self.sessions[index].connection;
        let epoch = Epoch(wire.epoch);
        let mut decoded = batch::decode_alerts(wire).map_err(|error| Violation::Protocol(error.to_string()))?;
        let whole = decoded.alerts.len() as u64;
        if self.order == Order::LosesTheLast && decoded.alerts.len() > 1 {
            decoded.alerts.pop();
        }
        let ack = |sequence| Ack { epoch: wire.epoch, sequence };
        let before = cursors::of_gateway(&self.db, &self.gateway)?;
        let before = before.iter().find(|cursor| cursor.lane == lane && cursor.epoch == epoch).map_or(0, |cursor| cursor.sequence.0);
        if self.order == Order::AckFirst {
            let sequence = (wire.first_sequence + whole - 1).max(before);
            around.network.send(connection, (To::Gateway, Stream::Lane(lane)), &ack(sequence), around.now);
        }
        let tx = self.db.transaction()?;
        let applied = ingest::apply(&tx, &self.gateway, &decoded, around.wall)?;
        if around.death == Death::BeforeCommit {
            drop(tx);
            return self.die(around);
        }
        tx.commit()?;
        around.ledger.stored((epoch, lane), (decoded.first_sequence.0, before), &decoded.alerts)?;
        around.ledger.committed((epoch, lane), applied.committed.0, applied.skipped)?;
        self.check_rows(&decoded.alerts, around.ledger)?;
        if around.death == Death::AfterCommit {
            return self.die(around);
        }
        let acknowledged = match self.order {
            Order::CommitFirst => applied.committed.0,
            Order::LosesTheLast => applied.committed.0.max(wire.first_sequence + whole - 1),
            Order::AckFirst => 0,
        };
        if acknowledged > 0 {
            around.network.send(connection, (To::Gateway, Stream::Lane(lane)), &ack(acknowledged), around.now);
        }
        if applied.close_pending {
            // It wakes the newest session.
            let newest = self.sessions.iter().rposition(|session| session.greeted && !session.is_replaced);
            newest.map_or(Ok(()), |newest| self.tell(newest, around))?;
        }
        let session = &mut self.sessions[index];
        if applied.skipped > 0 && session.first && !session.resend_asked {
            self.end(index, Some("records are missing"), around);
            return Ok(());
        }
        session.first = false;
        Ok(())
    }

    /// Order per alert: what is stored is never older than what was stored, and never older than what was just applied.
    fn check_rows(&self, alerts: &[postern_protocol::alert::Alert], ledger: &mut Ledger) -> Result<(), Violation> {
        let kinds: BTreeSet<_> = alerts.iter().map(|alert| alert.key.kind.as_str()).collect();
        for kind in kinds {
            let newest = alerts.iter().filter(|alert| alert.key.kind == kind).map(|alert| (alert.occurrence, alert.revision)).max().unwrap();
            let row = self.rows()?.into_iter().find(|row| row.kind == kind);
            ledger.row(kind, newest, row.as_ref())?;
        }
        Ok(())
    }

    fn die(&mut self, around: &mut Around<'_>) -> Result<(), Violation> {
        self.stop(around.network, around.now);
        Ok(())
    }

    fn end(&mut self, index: usize, reason: Option<&str>, around: &mut Around<'_>) {
        let session = self.sessions.remove(index);
        if let Some(reason) = reason {
            say(around, session.connection, down::Kind::Goodbye(Goodbye { reason: reason.to_owned(), retry: true }));
        }
        around.network.leave(session.connection, To::Server, around.now);
    }

    /// Ends one session that has to end: another one began, or nothing was heard.
    pub(crate) fn tick(&mut self, around: &mut Around<'_>) -> bool {
        let silent = |session: &Session| around.now.saturating_sub(session.heard) >= SILENCE;
        if let Some(index) = self.sessions.iter().position(silent) {
            self.end(index, None, around);
            return true;
        }
        if let Some(index) = self.sessions.iter().position(|session| session.is_replaced) {
            self.end(index, Some("another session of this gateway began"), around);
            return true;
        }
        false
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
        let newest = self.sessions.iter().rposition(|session| session.greeted && !session.is_replaced);
        newest.map_or(Ok(()), |newest| self.tell(newest, around))
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

    /// Returns, for each epoch and lane, the cursor and the records that were written down as missing.
    pub(crate) fn accounts(&self) -> Result<Vec<(Epoch, Lane, u64, u64)>, Violation> {
        let mut statement = self.db.prepare_cached("SELECT ifnull(sum(records), 0) FROM lane_gap WHERE lane = ?1 AND epoch = ?2")?;
        let mut accounts = Vec::new();
        for cursor in cursors::of_gateway(&self.db, &self.gateway)? {
            let gaps: i64 = statement
                .query_row(rusqlite::params![cursor.lane.number(), cursor.epoch.0.to_be_bytes()], |row| row.get(0))?;
            accounts.push((cursor.epoch, cursor.lane, cursor.sequence.0, u64::try_from(gaps).unwrap_or(0)));
        }
        Ok(accounts)
    }

    /// Returns raises that the history tells more than once: a record that was stored twice.
    pub(crate) fn raised_twice(&self) -> Result<i64, Violation> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM alert_history WHERE what = 'raised' GROUP BY alert, at HAVING count(*) > 1)";
        Ok(self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }
}

fn say(around: &mut Around<'_>, connection: u64, kind: down::Kind) {
    around.network.send(connection, (To::Gateway, Stream::Control), &Down { kind: Some(kind) }, around.now);
}
