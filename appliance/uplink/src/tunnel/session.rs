//! One session, as a state machine: what to say, what the other side's words mean, when it counts as dead.
//!
//! Pure: no clock, socket, file or task. The shell in `control` and `lane` feeds it and does what it answers. What a control plane
//! of the version before would not understand is not said to it.

use std::collections::VecDeque;
use std::time::Duration;

use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{
    Down, Goodbye, Heartbeat, Hello, LanePosition, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, Pace, RevisionState, RevisionStatus, Up,
    Welcome, down, up,
};
use postern_protocol::timestamp::Timestamp;

use super::Incoming;

/// How long the other side may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);

/// Measurements whose median is reported: a late answer alone moves nothing.
const MEASUREMENTS: usize = 5;

/// Missed heartbeats that end a session.
const MISSED_HEARTBEATS: u32 = 3;

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
    /// Report what the last heartbeats measured, in the median.
    Measured {
        /// Round-trip time.
        rtt: Duration,
        /// The control plane's clock minus ours, in nanoseconds.
        clock_offset: i64,
    },
    /// Send so fast from now on.
    Pace(Pace),
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
    /// The version of this session, once the other side has greeted.
    protocol: Option<u32>,
    /// A revision that waits for its confirmation by a control plane that knows of none, and the last heartbeat before it.
    provisional: Option<(u64, u64)>,
    /// What this session asks for: `Welcome::resend_nonce`.
    resend_nonce: u64,
    /// A resend that was told of, by its first revision, and the last heartbeat before that.
    resent: Option<(u64, u64)>,
    beats: VecDeque<Beat>,
    measured: VecDeque<(Duration, i64)>,
    last_nonce: u64,
    next_beat: Duration,
    heard: Duration,
}

impl Session {
    /// Begins a session that greets with `hello`; `acknowledged` is what this side knows to be committed, in whichever epoch.
    pub fn new(heartbeat: Duration, hello: Hello, acknowledged: Vec<LanePosition>) -> Self {
        let zero = Duration::ZERO;
        let provisional = (hello.provisional_revision > 0).then_some((hello.provisional_revision, 0));
        Self {
            heartbeat,
            hello,
            acknowledged,
            protocol: None,
            provisional,
            resend_nonce: 0,
            resent: None,
            beats: VecDeque::new(),
            measured: VecDeque::new(),
            last_nonce: 0,
            next_beat: zero,
            heard: zero,
        }
    }

    /// Returns the version of the protocol that the session speaks, once the other side has greeted.
    pub fn protocol(&self) -> Option<u32> {
        self.protocol
    }

    /// Returns what of a message the other side understands.
    ///
    /// Version 1 knows nothing of confirmations, certificates, trust and audits on this stream, and would end the session.
    pub fn outward(&mut self, message: Up) -> Option<Up> {
        // One from before what this session asks for is passed over.
        if let Some(up::Kind::Resent(resent)) = &message.kind
            && (self.resend_nonce == 0 || resent.nonce == self.resend_nonce)
        {
            self.resent = Some((resent.since_revision, self.last_nonce));
        }
        if self.protocol.is_none_or(|protocol| protocol >= 2) {
            return Some(message);
        }
        let kind = match message.kind? {
            up::Kind::RevisionStatus(status) => up::Kind::RevisionStatus(self.in_version_1(status)),
            kind @ (up::Kind::Heartbeat(_) | up::Kind::Hello(_) | up::Kind::Minutes(_) | up::Kind::Status(_)) => kind,
            up::Kind::Audit(_)
            | up::Kind::CertificateRequest(_)
            | up::Kind::ReplayReply(_)
            | up::Kind::Resent(_)
            | up::Kind::Rules(_)
            | up::Kind::TrustStatus(_) => return None,
        };
        Some(Up { kind: Some(kind) })
    }

    fn in_version_1(&mut self, mut status: RevisionStatus) -> RevisionStatus {
        match status.state() {
            RevisionState::Provisional => {
                self.provisional = Some((status.number, self.last_nonce));
                status.set_state(RevisionState::Applied);
            }
            RevisionState::Reverted => status.set_state(RevisionState::Failed),
            RevisionState::Applied | RevisionState::Applying | RevisionState::Failed | RevisionState::Unspecified => {}
        }
        status
    }

    /// Returns the first message.
    pub fn greeting(&self) -> Up {
        Up { kind: Some(up::Kind::Hello(self.hello.clone())) }
    }

    /// Returns when [`Session::tick`] is due, since the start.
    pub fn deadline(&self) -> Duration {
        if self.protocol.is_some() { self.next_beat.min(self.silent_at()) } else { GREETING_TIMEOUT }
    }

    fn silent_at(&self) -> Duration {
        self.heard.saturating_add(self.heartbeat.saturating_mul(MISSED_HEARTBEATS))
    }

    /// Says that time has passed; returns a heartbeat when one is due.
    ///
    /// # Errors
    /// [`Fault::Silent`].
    pub fn tick(&mut self, now: Now) -> Result<Option<Up>, Fault> {
        if self.protocol.is_none() {
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
            down::Kind::Welcome(welcome) if self.protocol.is_none() => self.welcome(welcome),
            down::Kind::Welcome(_) => Err(Fault::Greeting),
            _ if self.protocol.is_none() => Err(Fault::Greeting),
            down::Kind::CloseAlert(close) => Ok(vec![Action::Deliver(Incoming::CloseAlert(close))]),
            down::Kind::DictionaryPart(part) => Ok(vec![Action::Deliver(Incoming::DictionaryPart(part))]),
            down::Kind::Secrets(secrets) => Ok(vec![Action::Deliver(Incoming::Secrets(secrets))]),
            down::Kind::HeartbeatReply(reply) => Ok(self.answered(reply.nonce, reply.time, now)),
            down::Kind::Revision(revision) => Ok(vec![Action::Deliver(Incoming::Revision(revision))]),
            down::Kind::Adopt(adopt) => Ok(vec![Action::Deliver(Incoming::Adopt(adopt))]),
            down::Kind::CertificateReply(reply) => Ok(vec![Action::Deliver(Incoming::Certificate(reply))]),
            down::Kind::AuditReceipt(receipt) => Ok(vec![Action::Deliver(Incoming::AuditReceipt(receipt))]),
            down::Kind::TrustBundle(bundle) => Ok(vec![Action::Deliver(Incoming::Trust(bundle))]),
            down::Kind::ConfirmRevision(confirm) => Ok(vec![Action::Deliver(Incoming::ConfirmRevision(confirm.number))]),
            down::Kind::Pace(pace) => Ok(vec![Action::Pace(pace)]),
            down::Kind::Replay(replay) => Ok(vec![Action::Deliver(Incoming::Replay(replay))]),
        }
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<Vec<Action>, Fault> {
        if welcome.protocol < OLDEST_PROTOCOL_VERSION || welcome.protocol > PROTOCOL_VERSION {
            return Err(Fault::Protocol(welcome.protocol));
        }
        self.protocol = Some(welcome.protocol);
        self.resend_nonce = welcome.resend_nonce;
        let mut actions = Vec::new();
        for place in &welcome.committed {
            // A lane that this build does not know cannot have anything in its spool.
            if let Some(lane) = u8::try_from(place.lane).ok().and_then(Lane::from_number) {
                actions.push(Action::Acknowledge(lane, Epoch(place.epoch), Sequence(place.sequence)));
            }
        }
        let committed = |place: &LanePosition| {
            let known = welcome.committed.iter().find(|known| known.lane == place.lane && known.epoch == place.epoch);
            known.map_or(0, |known| known.sequence)
        };
        if self.hello.heads.iter().any(|head| head.epoch == self.hello.epoch && committed(head) > head.sequence) {
            actions.push(Action::RenewEpoch);
            return Ok(actions);
        }
        actions.extend([Action::Establish, Action::Deliver(Incoming::Welcomed(welcome.clone()))]);
        // What it had acknowledged it has no more: its database was set back. An earlier start may have been told so.
        let is_behind = self.acknowledged.iter().any(|place| committed(place) < place.sequence);
        if welcome.resend_open_alerts || is_behind {
            actions.push(Action::Deliver(Incoming::ResendOpenAlerts { nonce: welcome.resend_nonce }));
        }
        Ok(actions)
    }

    fn answered(&mut self, nonce: u64, time: i64, now: Now) -> Vec<Action> {
        let Some(beat) = self.beats.iter().find(|beat| beat.nonce == nonce).map(|beat| beat.at) else { return Vec::new() };
        self.beats.retain(|beat| beat.nonce > nonce);
        let rtt = now.since_start.saturating_sub(beat.since_start);
        let clock_offset = time.saturating_sub(beat.wall.saturating_add(rtt / 2).as_nanos());
        self.measured.push_back((rtt, clock_offset));
        if self.measured.len() > MEASUREMENTS {
            self.measured.pop_front();
        }
        let rtt = median(self.measured.iter().map(|(rtt, _)| *rtt)).unwrap_or(rtt);
        let clock_offset = median(self.measured.iter().map(|(_, offset)| *offset)).unwrap_or(clock_offset);
        let mut actions = vec![Action::Measured { rtt, clock_offset }];
        // The other side answers in order, so it has taken what was said before it was asked.
        if let Some((since_revision, _)) = self.resent.take_if(|(_, asked_before)| nonce > *asked_before) {
            actions.push(Action::Deliver(Incoming::ResentHeard { since_revision }));
        }
        // Version 1 confirms nothing: that it answers what was asked after the change must do.
        if self.protocol == Some(1)
            && let Some((number, _)) = self.provisional.take_if(|(_, asked_before)| nonce > *asked_before)
        {
            actions.push(Action::Deliver(Incoming::ConfirmRevision(number)));
        }
        actions
    }
}

fn median<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    values.into_iter().nth(middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::message::{AuditEntries, CertificateRequest, CloseAlert, HeartbeatReply, Resent, TrustStatus};

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
            assert_eq!(actions.last(), Some(&Action::Deliver(Incoming::ResendOpenAlerts { nonce: 0 })));
        }
    }

    #[test]
    fn it_is_noticed_after_a_restart_as_well_that_the_control_plane_lost_what_it_acknowledged() {
        let hello = Hello { protocol: PROTOCOL_VERSION, epoch: 6, ..Hello::default() };
        let greet = |committed| Session::new(BEAT, hello.clone(), vec![place(5, 40)]).take(welcome(committed), at(0)).unwrap();
        assert_eq!(greet(vec![place(5, 39)]).last(), Some(&Action::Deliver(Incoming::ResendOpenAlerts { nonce: 0 })));
        assert!(!greet(vec![place(5, 40)]).contains(&Action::Deliver(Incoming::ResendOpenAlerts { nonce: 0 })));
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

    fn welcomed(protocol: u32, provisional_revision: u64) -> Session {
        let hello = Hello { protocol: PROTOCOL_VERSION, epoch: 5, provisional_revision, ..Hello::default() };
        let mut session = Session::new(BEAT, hello, Vec::new());
        let welcome = Welcome { protocol, ..Welcome::default() };
        session.take(Down { kind: Some(down::Kind::Welcome(welcome)) }, at(0)).unwrap();
        session
    }

    fn said(session: &mut Session, kind: up::Kind) -> Option<up::Kind> {
        session.outward(Up { kind: Some(kind) }).and_then(|up| up.kind)
    }

    fn status(state: RevisionState) -> up::Kind {
        up::Kind::RevisionStatus(RevisionStatus { number: 9, state: state.into(), problems: Vec::new() })
    }

    #[test]
    fn a_control_plane_of_version_1_is_told_only_what_it_knows() {
        let news = [
            up::Kind::Audit(AuditEntries::default()),
            up::Kind::CertificateRequest(CertificateRequest::default()),
            up::Kind::Resent(Resent::default()),
            up::Kind::TrustStatus(TrustStatus::default()),
        ];
        let (mut old, mut new) = (welcomed(1, 0), welcomed(2, 0));
        for kind in news {
            assert_eq!((said(&mut old, kind.clone()), said(&mut new, kind.clone())), (None, Some(kind)));
        }
        assert_eq!(said(&mut old, up::Kind::Status(vec![1])), Some(up::Kind::Status(vec![1])));
        assert_eq!(said(&mut old, status(RevisionState::Provisional)), Some(status(RevisionState::Applied)));
        assert_eq!(said(&mut old, status(RevisionState::Reverted)), Some(status(RevisionState::Failed)));
        assert_eq!(said(&mut new, status(RevisionState::Reverted)), Some(status(RevisionState::Reverted)));
    }

    #[test]
    fn a_resend_counts_as_heard_once_what_was_asked_after_it_is_answered() {
        let heard = |since_revision| Action::Deliver(Incoming::ResentHeard { since_revision });
        let resent = |since_revision, nonce| up::Kind::Resent(Resent { since_revision, nonce, ..Resent::default() });
        let mut session = welcomed(2, 0);
        session.tick(at(0)).unwrap();
        said(&mut session, resent(7, 3));
        assert!(!session.take(reply(1, Timestamp::default()), at(1)).unwrap().contains(&heard(7)), "asked before it was said");
        session.tick(at(10)).unwrap();
        assert!(session.take(reply(2, Timestamp::default()), at(11)).unwrap().contains(&heard(7)));
        // A session that asks passes over what fulfils an earlier wish, or none.
        let mut session = super::Session::new(BEAT, Hello { protocol: PROTOCOL_VERSION, ..Hello::default() }, Vec::new());
        let welcome = Welcome { protocol: 2, resend_nonce: 4, ..Welcome::default() };
        session.take(Down { kind: Some(down::Kind::Welcome(welcome)) }, at(0)).unwrap();
        for (number, nonce, counts) in [(1, 3, false), (2, 0, false), (3, 4, true)] {
            said(&mut session, resent(7, nonce));
            session.tick(at(number * 10)).unwrap();
            let actions = session.take(reply(number, Timestamp::default()), at(number * 10)).unwrap();
            assert_eq!(actions.contains(&heard(7)), counts, "{nonce}");
        }
    }

    #[test]
    fn a_control_plane_of_version_1_confirms_a_revision_by_its_next_answer() {
        let confirm = Action::Deliver(Incoming::ConfirmRevision(9));
        let mut session = welcomed(1, 9);
        session.tick(at(0)).unwrap();
        assert!(session.take(reply(1, Timestamp::default()), at(1)).unwrap().contains(&confirm), "in force before the session began");
        session.tick(at(10)).unwrap();
        said(&mut session, status(RevisionState::Provisional));
        assert!(!session.take(reply(2, Timestamp::default()), at(11)).unwrap().contains(&confirm), "asked before the change");
        session.tick(at(20)).unwrap();
        assert!(session.take(reply(3, Timestamp::default()), at(21)).unwrap().contains(&confirm));
        session.tick(at(30)).unwrap();
        assert!(!session.take(reply(4, Timestamp::default()), at(31)).unwrap().contains(&confirm), "once is enough");
        let mut session = welcomed(2, 9);
        session.tick(at(0)).unwrap();
        assert!(!session.take(reply(1, Timestamp::default()), at(1)).unwrap().contains(&confirm), "version 2 says so itself");
    }

    #[test]
    fn one_late_answer_moves_neither_the_round_trip_time_nor_the_clocks() {
        let mut session = welcomed(2, 0);
        let mut reported = Vec::new();
        for (nonce, late) in [(1, 1), (2, 1), (3, 9), (4, 1), (5, 1), (6, 1)] {
            let sent = nonce * 10;
            session.tick(at(sent)).unwrap();
            let theirs = Timestamp::from_secs(1_000_007 + i64::try_from(sent).unwrap());
            reported.extend(session.take(reply(nonce, theirs), at(sent + late)).unwrap());
        }
        let usual = Action::Measured { rtt: Duration::from_secs(1), clock_offset: 6_500_000_000 };
        assert_eq!(reported, vec![usual; 6]);
    }
}
