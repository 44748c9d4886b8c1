//! One session, as a state machine: what to say, what the other side's words mean, when it counts as dead.
//!
//! Pure: no clock, socket, file or task. The shell in `control` and `lane` feeds it and does what it answers.

use std::collections::VecDeque;
use std::time::Duration;

use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{
    Ack, Down, Goodbye, Heartbeat, Hello, LanePosition, LedgerMinute, LedgerMinutes, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION,
    RevisionStatus, Up, Welcome, down, up,
};
use postern_protocol::timestamp::Timestamp;

use super::{Incoming, Outgoing};
use crate::spool::OutBatch;

/// Batches that may be unacknowledged in a lane.
pub const MAX_IN_FLIGHT: usize = 4;

/// How long the other side may take to greet, and to acknowledge a batch.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Missed heartbeats that end a session.
const MISSED_HEARTBEATS: u32 = 3;

/// Revisions whose state is remembered; the oldest is forgotten.
const MAX_REVISIONS: usize = 4;

/// How the other side broke the protocol, or fell silent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It acknowledged what was not sent to it.
    #[error("the control plane acknowledged sequence {sequence}, which was not sent to it")]
    AckUnsent {
        /// What it acknowledged.
        sequence: u64,
    },
    /// It ended the session.
    #[error("the control plane ended the session: {reason}")]
    Goodbye {
        /// Its reason.
        reason: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// It greeted twice, or said something else before it.
    #[error("the control plane did not greet first, and once")]
    Greeting,
    /// It does not acknowledge.
    #[error("the control plane acknowledges nothing")]
    NoAck,
    /// It speaks a protocol that we do not.
    #[error("the control plane wants protocol version {0}, this program speaks up to {PROTOCOL_VERSION}")]
    Protocol(u32),
    /// It knows more of our present epoch than we do: this machine was set back to an earlier state.
    #[error("the control plane knows more than this gateway: its disk was set back; going on under a new epoch")]
    RolledBack,
    /// It does not answer.
    #[error("the control plane is silent")]
    Silent,
}

impl From<Goodbye> for Fault {
    fn from(goodbye: Goodbye) -> Self {
        Self::Goodbye { reason: goodbye.reason.chars().take(500).collect(), retry: goodbye.retry }
    }
}

/// A point in time: since the session began, and by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the session began.
    pub since_start: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Acknowledge in the spool.
    Acknowledge(Lane, Epoch, Sequence),
    /// Hand to the daemon.
    Deliver(Incoming),
    /// Say that the session is up, and begin with the lanes.
    Establish,
    /// Report a measurement.
    Measured {
        /// Round-trip time.
        rtt: Duration,
        /// The control plane's clock minus ours, in nanoseconds.
        clock_offset: i64,
    },
    /// Begin a new epoch, ask for all open alerts, and connect again.
    RenewEpoch,
}

#[derive(Debug)]
struct Beat {
    nonce: u64,
    at: Now,
}

/// The control stream's side of a session.
#[derive(Debug)]
pub struct Session {
    heartbeat: Duration,
    hello: Hello,
    acknowledged: Vec<LanePosition>,
    is_established: bool,
    beats: VecDeque<Beat>,
    last_nonce: u64,
    next_beat: Duration,
    heard: Duration,
}

impl Session {
    /// Begins a session that greets with `hello`; `acknowledged` is what this side knows to be committed in the present epoch.
    pub fn new(heartbeat: Duration, hello: Hello, acknowledged: Vec<LanePosition>) -> Self {
        let zero = Duration::ZERO;
        Self { heartbeat, hello, acknowledged, is_established: false, beats: VecDeque::new(), last_nonce: 0, next_beat: zero, heard: zero }
    }

    /// Returns the first message.
    pub fn greeting(&self) -> Up {
        Up { kind: Some(up::Kind::Hello(self.hello.clone())) }
    }

    /// Returns when [`Session::tick`] is due, since the start.
    pub fn deadline(&self) -> Duration {
        if self.is_established { self.next_beat.min(self.silent_at()) } else { GREETING_TIMEOUT }
    }

    fn silent_at(&self) -> Duration {
        self.heard.saturating_add(self.heartbeat.saturating_mul(MISSED_HEARTBEATS))
    }

    /// Says that time has passed; returns a heartbeat when one is due.
    ///
    /// # Errors
    /// [`Fault::Silent`].
    pub fn tick(&mut self, now: Now) -> Result<Option<Up>, Fault> {
        if !self.is_established {
            return if now.since_start >= GREETING_TIMEOUT { Err(Fault::Silent) } else { Ok(None) };
        }
        if now.since_start >= self.silent_at() {
            return Err(Fault::Silent);
        }
        if now.since_start < self.next_beat {
            return Ok(None);
        }
        self.next_beat = now.since_start.saturating_add(self.heartbeat);
        self.last_nonce = self.last_nonce.wrapping_add(1);
        self.beats.push_back(Beat { nonce: self.last_nonce, at: now });
        while self.beats.len() > MISSED_HEARTBEATS as usize {
            self.beats.pop_front();
        }
        Ok(Some(Up { kind: Some(up::Kind::Heartbeat(Heartbeat { nonce: self.last_nonce })) }))
    }

    /// Takes a message of the control plane. One of a kind that is not known yet is skipped.
    ///
    /// # Errors
    /// [`Fault`]: the session is over.
    pub fn take(&mut self, message: Down, now: Now) -> Result<Vec<Action>, Fault> {
        self.heard = now.since_start;
        let Some(kind) = message.kind else { return Ok(Vec::new()) };
        match kind {
            down::Kind::Goodbye(goodbye) => {
                Err(Fault::Goodbye { reason: goodbye.reason.chars().take(500).collect(), retry: goodbye.retry })
            }
            down::Kind::Welcome(welcome) if !self.is_established => self.welcome(welcome),
            down::Kind::Welcome(_) => Err(Fault::Greeting),
            _ if !self.is_established => Err(Fault::Greeting),
            down::Kind::CloseAlert(close) => Ok(vec![Action::Deliver(Incoming::CloseAlert(close))]),
            down::Kind::DictionaryPart(part) => Ok(vec![Action::Deliver(Incoming::DictionaryPart(part))]),
            down::Kind::Secrets(secrets) => Ok(vec![Action::Deliver(Incoming::Secrets(secrets))]),
            down::Kind::HeartbeatReply(reply) => Ok(self.measure(reply.nonce, reply.time, now).into_iter().collect()),
            down::Kind::Revision(revision) => Ok(vec![Action::Deliver(Incoming::Revision(revision))]),
            down::Kind::Adopt(adopt) => Ok(vec![Action::Deliver(Incoming::Adopt(adopt))]),
            down::Kind::CertificateReply(reply) => Ok(vec![Action::Deliver(Incoming::Certificate(reply))]),
            down::Kind::AuditReceipt(receipt) => Ok(vec![Action::Deliver(Incoming::AuditReceipt(receipt))]),
            down::Kind::TrustBundle(bundle) => Ok(vec![Action::Deliver(Incoming::Trust(bundle))]),
            down::Kind::ConfirmRevision(confirm) => Ok(vec![Action::Deliver(Incoming::ConfirmRevision(confirm.number))]),
            down::Kind::Pace(_) => Ok(Vec::new()),
        }
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<Vec<Action>, Fault> {
        if welcome.protocol < OLDEST_PROTOCOL_VERSION || welcome.protocol > PROTOCOL_VERSION {
            return Err(Fault::Protocol(welcome.protocol));
        }
        self.is_established = true;
        let mut actions = Vec::new();
        for place in &welcome.committed {
            // A lane that this build does not know cannot have anything in its spool.
            if let Some(lane) = u8::try_from(place.lane).ok().and_then(Lane::from_number) {
                actions.push(Action::Acknowledge(lane, Epoch(place.epoch), Sequence(place.sequence)));
            }
        }
        let committed = |lane| {
            let place = welcome.committed.iter().find(|place| place.lane == lane && place.epoch == self.hello.epoch);
            place.map_or(0, |place| place.sequence)
        };
        if self.hello.heads.iter().any(|head| head.epoch == self.hello.epoch && committed(head.lane) > head.sequence) {
            actions.push(Action::RenewEpoch);
            return Ok(actions);
        }
        actions.extend([Action::Establish, Action::Deliver(Incoming::Welcomed(welcome.clone()))]);
        // What it had acknowledged it has no more: its database was set back.
        let is_behind = self.acknowledged.iter().any(|place| place.epoch == self.hello.epoch && committed(place.lane) < place.sequence);
        if welcome.resend_open_alerts || is_behind {
            actions.push(Action::Deliver(Incoming::ResendOpenAlerts));
        }
        Ok(actions)
    }

    fn measure(&mut self, nonce: u64, time: i64, now: Now) -> Option<Action> {
        let beat = self.beats.iter().find(|beat| beat.nonce == nonce)?.at;
        self.beats.retain(|beat| beat.nonce > nonce);
        let rtt = now.since_start.saturating_sub(beat.since_start);
        let clock_offset = time.saturating_sub(beat.wall.saturating_add(rtt / 2).as_nanos());
        Some(Action::Measured { rtt, clock_offset })
    }
}

/// One lane's side of a session: what is in flight, and what comes next.
#[derive(Debug, Default)]
pub struct LaneFlow {
    in_flight: VecDeque<(Epoch, u64, u64)>,
    after: Option<(Epoch, Sequence)>,
    moved: Duration,
}

impl LaneFlow {
    /// Says whether another batch may be sent.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    /// Returns the place behind which the next batch begins.
    pub fn after(&self) -> Option<(Epoch, Sequence)> {
        self.after
    }

    /// Returns when [`LaneFlow::tick`] is due, since the start; `None` while nothing is in flight.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.in_flight.is_empty()).then(|| self.moved.saturating_add(ACK_TIMEOUT))
    }

    /// Says that time has passed.
    ///
    /// # Errors
    /// [`Fault::NoAck`].
    pub fn tick(&self, now: Duration) -> Result<(), Fault> {
        if self.deadline().is_some_and(|deadline| now >= deadline) { Err(Fault::NoAck) } else { Ok(()) }
    }

    /// Says that `batch` was sent.
    pub fn sent(&mut self, batch: &OutBatch, now: Duration) {
        if self.in_flight.is_empty() {
            self.moved = now;
        }
        let last = batch.first.0.saturating_add(batch.records.len() as u64).saturating_sub(1);
        self.in_flight.push_back((batch.epoch, batch.first.0, last));
        self.after = Some((batch.epoch, Sequence(last)));
    }

    /// Takes an acknowledgement, which may stand for several batches or a part of one; one that was given before is no news.
    ///
    /// It may reach beyond what this session sent, up to the spool's `head` in that epoch: an earlier session's last batches may
    /// be committed only after this one's welcome was written.
    ///
    /// # Errors
    /// [`Fault::AckUnsent`] when it is for what was never sent.
    pub fn acknowledged(&mut self, ack: &Ack, head: Sequence, now: Duration) -> Result<(), Fault> {
        let of_epoch = || self.in_flight.iter().filter(|(epoch, ..)| epoch.0 == ack.epoch);
        let newest = of_epoch().map(|(_, _, last)| *last).max().ok_or(Fault::AckUnsent { sequence: ack.sequence })?;
        if ack.sequence > newest.max(head.0) {
            return Err(Fault::AckUnsent { sequence: ack.sequence });
        }
        let covered = |(epoch, first, _): &(Epoch, u64, u64)| epoch.0 == ack.epoch && *first <= ack.sequence;
        let Some(index) = self.in_flight.iter().rposition(covered) else { return Ok(()) };
        self.in_flight.drain(..index);
        self.moved = now;
        match self.in_flight.front_mut() {
            Some((_, _, last)) if *last <= ack.sequence => drop(self.in_flight.pop_front()),
            Some((_, first, _)) => *first = ack.sequence.saturating_add(1),
            None => {}
        }
        if let Some((epoch, sequence)) = &mut self.after
            && epoch.0 == ack.epoch
        {
            sequence.0 = sequence.0.max(ack.sequence);
        }
        Ok(())
    }
}

/// What is to be said on the control stream: the newest status, and the newest state of each revision. Nobody acknowledges
/// these, so revision states are said again in every session.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is said once, in order.
    once: VecDeque<up::Kind>,
    revisions: VecDeque<RevisionStatus>,
    said: usize,
    minutes: VecDeque<LedgerMinute>,
    status: Option<Vec<u8>>,
}

/// Minutes of the ledger that may wait; the daemon says the last day's again when a session begins.
const MAX_MINUTES: usize = 8_192;

/// Minutes of the ledger in one message.
const MINUTES_AT_ONCE: usize = 256;

impl Outbox {
    /// Says that a session begins, in which nothing was said yet.
    pub fn begin_session(&mut self) {
        self.said = 0;
    }

    /// Takes a message in, in place of the one that it outdates.
    pub fn put(&mut self, message: Outgoing) {
        match message {
            Outgoing::Minutes(LedgerMinutes { minutes }) => {
                self.minutes.extend(minutes);
                let too_many = self.minutes.len().saturating_sub(MAX_MINUTES);
                self.minutes.drain(..too_many);
            }
            Outgoing::RevisionStatus(status) => {
                let outdated = self.revisions.iter().position(|earlier| earlier.number == status.number);
                let outdated = outdated.or((self.revisions.len() >= MAX_REVISIONS).then_some(0));
                if let Some(index) = outdated {
                    self.revisions.remove(index);
                    self.said -= usize::from(index < self.said);
                }
                self.revisions.push_back(status);
            }
            Outgoing::Status(status) => self.status = Some(status),
            Outgoing::Audit(entries) => self.once.push_back(up::Kind::Audit(entries)),
            Outgoing::CertificateRequest(request) => self.once.push_back(up::Kind::CertificateRequest(request)),
            Outgoing::Resent(resent) => self.once.push_back(up::Kind::Resent(resent)),
            Outgoing::TrustStatus(status) => self.once.push_back(up::Kind::TrustStatus(status)),
        }
    }

    /// Returns the next message to send.
    pub fn take(&mut self) -> Option<Up> {
        let kind = match self.revisions.get(self.said) {
            Some(status) => {
                self.said += 1;
                up::Kind::RevisionStatus(status.clone())
            }
            None if !self.minutes.is_empty() => {
                let minutes = self.minutes.drain(..self.minutes.len().min(MINUTES_AT_ONCE)).collect();
                up::Kind::Minutes(LedgerMinutes { minutes })
            }
            None => match self.once.pop_front() {
                Some(kind) => kind,
                None => up::Kind::Status(self.status.take()?),
            },
        };
        Some(Up { kind: Some(kind) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use postern_protocol::message::{CloseAlert, HeartbeatReply};

    const BEAT: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Now {
        Now { since_start: Duration::from_secs(seconds), wall: Timestamp::from_secs(1_000_000 + i64::try_from(seconds).unwrap()) }
    }

    fn place(epoch: u64, sequence: u64) -> LanePosition {
        LanePosition { lane: 1, epoch, sequence }
    }

    fn session() -> Session {
        let hello = Hello { protocol: PROTOCOL_VERSION, epoch: 5, heads: vec![place(5, 50)], ..Hello::default() };
        Session::new(BEAT, hello, vec![place(5, 40)])
    }

    fn welcome(committed: Vec<LanePosition>) -> Down {
        Down { kind: Some(down::Kind::Welcome(Welcome { protocol: 1, committed, ..Welcome::default() })) }
    }

    fn reply(nonce: u64, time: Timestamp) -> Down {
        Down { kind: Some(down::Kind::HeartbeatReply(HeartbeatReply { nonce, time: time.as_nanos() })) }
    }

    #[test]
    fn a_welcome_acknowledges_what_is_committed_in_every_epoch() {
        let actions = session().take(welcome(vec![place(5, 45), place(2, 9), LanePosition { lane: 77, epoch: 5, sequence: 1 }]), at(0));
        let acknowledge = |epoch, sequence| Action::Acknowledge(Lane::Alerts, Epoch(epoch), Sequence(sequence));
        let actions = actions.unwrap();
        assert_eq!(actions[..3], [acknowledge(5, 45), acknowledge(2, 9), Action::Establish]);
        assert!(matches!(&actions[3..], [Action::Deliver(Incoming::Welcomed(welcome))] if welcome.committed.len() == 3));
    }

    #[test]
    fn a_control_plane_that_lost_what_it_acknowledged_gets_all_open_alerts_again() {
        for committed in [vec![place(5, 39)], vec![]] {
            let actions = session().take(welcome(committed), at(0)).unwrap();
            assert_eq!(actions.last(), Some(&Action::Deliver(Incoming::ResendOpenAlerts)));
        }
    }

    #[test]
    fn a_control_plane_that_knows_more_than_we_do_means_a_new_epoch() {
        let actions = session().take(welcome(vec![place(5, 51)]), at(0)).unwrap();
        assert_eq!(actions.last(), Some(&Action::RenewEpoch));
        let actions = session().take(welcome(vec![place(5, 50), place(4, 1000)]), at(0)).unwrap();
        assert!(actions.contains(&Action::Establish));
    }

    #[test]
    fn a_foreign_protocol_and_words_before_the_greeting_end_the_session() {
        let foreign = Welcome { protocol: PROTOCOL_VERSION + 1, ..Welcome::default() };
        assert_eq!(session().take(Down { kind: Some(down::Kind::Welcome(foreign)) }, at(0)), Err(Fault::Protocol(PROTOCOL_VERSION + 1)));
        let close = Down { kind: Some(down::Kind::CloseAlert(CloseAlert::default())) };
        assert_eq!(session().take(close, at(0)), Err(Fault::Greeting));
        assert_eq!(session().take(Down { kind: None }, at(0)), Ok(vec![]));
        assert_eq!(session().tick(at(15)), Err(Fault::Silent));
    }

    #[test]
    fn heartbeats_measure_the_round_trip_and_the_clock() {
        let mut session = session();
        session.take(welcome(vec![place(5, 40)]), at(0)).unwrap();
        assert!(session.tick(at(1)).unwrap().is_some(), "the first is sent at once");
        assert!(session.tick(at(2)).unwrap().is_none());
        let actions = session.take(reply(1, Timestamp::from_secs(1_000_009)), at(3)).unwrap();
        assert_eq!(actions, [Action::Measured { rtt: Duration::from_secs(2), clock_offset: 7_000_000_000 }]);
        assert_eq!(session.take(reply(1, Timestamp::default()), at(4)), Ok(vec![]), "an old or invented nonce measures nothing");
    }

    #[test]
    fn three_missed_heartbeats_end_the_session_and_any_word_is_a_sign_of_life() {
        let mut session = session();
        session.take(welcome(vec![place(5, 40)]), at(0)).unwrap();
        for seconds in [0, 10, 20] {
            assert_eq!(session.deadline(), Duration::from_secs(seconds));
            assert!(session.tick(at(seconds)).unwrap().is_some());
        }
        session.take(Down { kind: Some(down::Kind::CloseAlert(CloseAlert::default())) }, at(29)).unwrap();
        assert!(session.tick(at(30)).unwrap().is_some());
        assert_eq!(session.tick(at(59)), Err(Fault::Silent));
    }

    #[test]
    fn a_goodbye_says_whether_to_try_again() {
        let goodbye = Goodbye { reason: "revoked".to_owned(), retry: false };
        let fault = session().take(Down { kind: Some(down::Kind::Goodbye(goodbye)) }, at(0)).unwrap_err();
        assert_eq!(fault, Fault::Goodbye { reason: "revoked".to_owned(), retry: false });
    }

    fn batch(epoch: u64, first: u64, records: usize) -> OutBatch {
        OutBatch { epoch: Epoch(epoch), first: Sequence(first), records: vec![Bytes::new(); records] }
    }

    #[test]
    fn four_batches_are_in_flight_at_most_and_acks_may_cover_several_or_a_part() {
        let mut flow = LaneFlow::default();
        for (epoch, first) in [(9, 1), (9, 11), (3, 1), (3, 11)] {
            assert!(flow.has_room());
            flow.sent(&batch(epoch, first, 10), Duration::ZERO);
        }
        assert!(!flow.has_room());
        assert_eq!(flow.after(), Some((Epoch(3), Sequence(20))));
        let mut ack = |epoch, sequence| flow.acknowledged(&Ack { epoch, sequence }, Sequence(20), Duration::ZERO);
        assert_eq!(ack(9, 21), Err(Fault::AckUnsent { sequence: 21 }));
        assert_eq!(ack(8, 1), Err(Fault::AckUnsent { sequence: 1 }));
        assert_eq!(ack(9, 15), Ok(()));
        assert_eq!(ack(9, 12), Ok(()), "said before");
        assert_eq!(ack(3, 10), Ok(()));
        assert_eq!(ack(9, 20), Err(Fault::AckUnsent { sequence: 20 }));
        assert_eq!(ack(3, 20), Ok(()));
        assert_eq!(flow.deadline(), None);
    }

    #[test]
    fn an_acknowledgement_of_what_an_earlier_session_sent_moves_the_lane_on() {
        let mut flow = LaneFlow::default();
        flow.sent(&batch(1, 1, 10), Duration::ZERO);
        assert_eq!(flow.acknowledged(&Ack { epoch: 1, sequence: 40 }, Sequence(40), Duration::ZERO), Ok(()));
        assert_eq!((flow.deadline(), flow.after()), (None, Some((Epoch(1), Sequence(40)))));
    }

    #[test]
    fn a_lane_without_acknowledgements_times_out_counted_from_the_last_one() {
        let mut flow = LaneFlow::default();
        flow.sent(&batch(1, 1, 2), Duration::from_secs(5));
        flow.sent(&batch(1, 3, 2), Duration::from_secs(6));
        flow.acknowledged(&Ack { epoch: 1, sequence: 1 }, Sequence(4), Duration::from_secs(30)).unwrap();
        assert_eq!(flow.tick(Duration::from_secs(89)), Ok(()));
        assert_eq!(flow.tick(Duration::from_secs(90)), Err(Fault::NoAck));
    }

    #[test]
    fn the_outbox_keeps_the_newest_of_each_and_says_revision_states_in_every_session() {
        let revision = |number, state| RevisionStatus { number, state, problems: Vec::new() };
        let revised = |number, state| up::Kind::RevisionStatus(revision(number, state));
        let said = |outbox: &mut Outbox| std::iter::from_fn(|| outbox.take()).filter_map(|up| up.kind).collect::<Vec<_>>();
        let mut outbox = Outbox::default();
        outbox.put(Outgoing::Status(b"old".to_vec()));
        outbox.put(Outgoing::Status(b"new".to_vec()));
        for (number, state) in [(1, 1), (2, 1), (1, 2)] {
            outbox.put(Outgoing::RevisionStatus(revision(number, state)));
        }
        assert_eq!(said(&mut outbox), [revised(2, 1), revised(1, 2), up::Kind::Status(b"new".to_vec())]);
        outbox.put(Outgoing::RevisionStatus(revision(2, 2)));
        assert_eq!(said(&mut outbox), [revised(2, 2)]);
        outbox.begin_session();
        assert_eq!(said(&mut outbox), [revised(1, 2), revised(2, 2)]);
        for number in 3..=6 {
            outbox.put(Outgoing::RevisionStatus(revision(number, 2)));
        }
        assert_eq!(said(&mut outbox), [revised(3, 2), revised(4, 2), revised(5, 2), revised(6, 2)]);
    }
}
