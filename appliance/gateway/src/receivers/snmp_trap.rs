//! From a datagram to a trap or inform with its Response. A Response waits for the pipeline, until its event is durable; a Report
//! (discovery, or why a message was refused) leaves at once, because it answers for nothing that must be kept.
//!
//! Runs on the receive thread, which owns the security model: keys are hashed elsewhere and handed over with the [`Site`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_engine::event::{Body, Event, Notification, Transport};
use postern_engine::ledger::DropReason;
use postern_engine::snmp;
use postern_engine::snmp::engine_id::EngineId;
use postern_engine::snmp::usm::{AuthenticatedNotification, LocalEngine, Outcome, Refusal, Usm};
use postern_protocol::alert::Authenticity;
use postern_protocol::revision::intake::SecurityLevel;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::watch;

use super::limit::RateLimit;
use super::reply;
use super::udp::Datagram;
use crate::audit::Audit;
use crate::audit::action::Action;
use crate::intake::{Arrival, Digests, Inform, Intake};
use crate::pipeline::usm::{Restored, UsmChange};
use crate::site::Site;
use crate::snmp_engine::OwnEngine;
use crate::waiting_room::advice::{Authority, Clocks};
use crate::waiting_room::{Refused, WaitingRoom};

/// Version number of SNMPv3 in a message (RFC 3412 §6).
const SNMP_V3: i64 = 3;

/// Reports a second for one address, and for all: a sender needs two at its start. A Report is up to twice as long as the shortest
/// message that asks for one, so what a forged source address can have reflected is bounded.
const REPORTS_PER_SOURCE: u32 = 10;
const REPORTS: u32 = 500;

/// What the trap receiver is made of.
pub(crate) struct Parts {
    /// The socket that answers leave by.
    pub(crate) socket: Arc<UdpSocket>,
    /// Where events, and word of resets, go.
    pub(crate) intake: Intake,
    /// Users, communities, relays.
    pub(crate) site: watch::Receiver<Arc<Site>>,
    /// Who was refused.
    pub(crate) room: WaitingRoom,
    /// What the security model begins with.
    pub(crate) start: UsmStart,
}

/// What the security model begins with.
pub(crate) struct UsmStart {
    /// Our own engine.
    pub(crate) own: OwnEngine,
    /// What was known of other engines.
    pub(crate) restored: Restored,
    /// When snmpEngineTime was 0, and the same moment by the monotonic clock.
    pub(crate) started: (Timestamp, Instant),
    /// Where resets of engines are written down.
    pub(crate) audit: Audit,
}

/// The decoder of the trap socket.
pub(crate) struct TrapDecoder {
    socket: Arc<UdpSocket>,
    intake: Intake,
    view: watch::Receiver<Arc<Site>>,
    site: Arc<Site>,
    usm: Usm,
    own: EngineId,
    resets: BTreeMap<EngineId, u32>,
    room: WaitingRoom,
    started: (Timestamp, Instant),
    audit: Audit,
    per_source: Option<RateLimit>,
    in_all: Option<RateLimit>,
}

impl TrapDecoder {
    /// Puts the decoder together; engines are known as they were.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { socket, intake, mut site, room, start: UsmStart { own, restored, started, audit } } = parts;
        let current = Arc::clone(&site.borrow_and_update());
        let local = LocalEngine { engine: own.id, boots: own.boots, salt: own.salt, started: started.0 };
        let mut usm = Usm::new(local, Arc::clone(current.users()));
        restored.clocks.into_iter().for_each(|clock| usm.restore_clock(clock));
        restored.seen.into_iter().for_each(|seen| usm.restore_seen(seen));
        let (per_source, in_all) = (RateLimit::new(REPORTS_PER_SOURCE), RateLimit::new(REPORTS));
        let mut decoder = Self {
            socket,
            intake,
            view: site,
            site: current,
            usm,
            own: own.id,
            resets: restored.resets,
            room,
            started,
            audit,
            per_source,
            in_all,
        };
        decoder.reset_engines();
        decoder
    }

    /// Decodes one datagram, and answers it if that is due at once.
    ///
    /// # Errors
    /// Why it is no event.
    pub(crate) fn decode(&mut self, datagram: &Datagram<'_>) -> Result<Arrival, DropReason> {
        if self.view.has_changed().unwrap_or(false) {
            let next = Arc::clone(&self.view.borrow_and_update());
            if !Arc::ptr_eq(self.site.users(), next.users()) {
                self.usm.replace_users(Arc::clone(next.users()));
            }
            self.site = next;
            self.reset_engines();
        }
        match snmp::version(datagram.bytes) {
            Ok(SNMP_V3) => self.version_3(datagram),
            Ok(_) => self.with_community(datagram),
            Err(error) => Err(error.drop_reason()),
        }
    }

    /// Carries out the audited resets that were not yet. Told through the events' own queue, so that a commit never has a reset
    /// without what came before it; without room there, at the next change.
    fn reset_engines(&mut self) {
        for reset in self.site.resets() {
            if self.resets.get(&reset.engine).is_some_and(|done| *done >= reset.serial) {
                continue;
            }
            if self.intake.reset_engine(*reset) {
                self.usm.reset_engine(&reset.engine);
                self.resets.insert(reset.engine, reset.serial);
                tracing::info!(engine = %reset.engine, serial = reset.serial, "an SNMP engine may start over");
                let reason = format!("reset {} of the configuration", reset.serial);
                self.audit.note(Action::EngineReset { engine: reset.engine.to_string(), reason });
            } else {
                self.view.mark_changed();
            }
        }
    }

    fn with_community(&self, datagram: &Datagram<'_>) -> Result<Arrival, DropReason> {
        let message = snmp::decode(datagram.bytes).map_err(snmp::DecodeError::drop_reason)?;
        if !datagram.is_canary && !self.site.takes_community(datagram.source, &message.community) {
            return Err(DropReason::BadCommunity);
        }
        let inform = message
            .response()
            .map(|response| self.inform(datagram, inform_digest(self.intake.digests(), datagram.peer, datagram.bytes), response));
        let event = self.event(datagram, Authenticity::Community, message.notification);
        Ok(Arrival { event, inform, usm: None })
    }

    fn version_3(&mut self, datagram: &Datagram<'_>) -> Result<Arrival, DropReason> {
        match self.usm.process(datagram.bytes, datagram.source, self.now()) {
            Ok(Outcome::Notification(notification)) => Ok(self.notification(datagram, *notification)),
            Ok(Outcome::Report(report)) => {
                self.report(datagram, &report);
                Err(DropReason::Discovery)
            }
            Err(refusal) => Err(self.refuse(datagram, &refusal)),
        }
    }

    fn notification(&self, datagram: &Datagram<'_>, notification: AuthenticatedNotification) -> Arrival {
        let AuthenticatedNotification { notification, level, user, clock, seen, response, scoped_pdu, .. } = notification;
        // A trap's engine is its sender's, an inform's is ours: what the waiting room has of those who were refused.
        let engine = if response.is_some() { Some(self.own.as_bytes()) } else { notification.engine_id.as_deref() };
        self.room.admit(datagram.source, engine.unwrap_or_default(), user.as_bytes());
        let inform = response.map(|response| {
            self.inform(datagram, inform_3_digest(self.intake.digests(), datagram.peer.ip(), (&user, &scoped_pdu)), response)
        });
        let authenticity = authenticity(level);
        let changed = clock.is_some() || seen.is_some();
        let usm = changed.then(|| Box::new(UsmChange { clock, seen }));
        Arrival { event: self.event(datagram, authenticity, notification), inform, usm }
    }

    fn event(&self, datagram: &Datagram<'_>, authenticity: Authenticity, notification: Notification) -> Event {
        event(&self.site, (datagram.source, datagram.received), authenticity, notification)
    }

    fn inform(&self, datagram: &Datagram<'_>, digest: u64, response: Vec<u8>) -> Inform {
        Inform { digest, peer: datagram.peer, local: datagram.local, response, socket: Arc::clone(&self.socket) }
    }

    fn refuse(&mut self, datagram: &Datagram<'_>, refusal: &Refusal) -> DropReason {
        let reason = refusal.reason.drop_reason();
        if waits(reason) {
            let refused = Refused {
                reason,
                source: datagram.source,
                authority: if refusal.engine == Some(self.own) { Authority::Ours } else { Authority::Senders },
                engine_id: refusal.engine.as_ref().map(EngineId::as_bytes).unwrap_or_default(),
                user: refusal.user.as_bytes(),
                level: refusal.level.unwrap_or(SecurityLevel::NoAuthNoPriv),
                clocks: refusal.ours.zip(refusal.theirs).map(|(ours, theirs)| Clocks {
                    sent_boots: theirs.boots,
                    sent_time: theirs.time,
                    known_boots: ours.boots,
                    known_time: ours.time,
                }),
            };
            self.room.refuse(&refused, datagram.received);
        }
        if let Some(report) = &refusal.report {
            self.report(datagram, report);
        }
        reason
    }

    fn report(&mut self, datagram: &Datagram<'_>, report: &[u8]) {
        let now = self.started.1.elapsed();
        let admits =
            |limit: &mut Option<RateLimit>, source: IpAddr, now: Duration| limit.as_mut().is_none_or(|limit| limit.admit(source, now));
        // One bucket for all: under whatever address.
        if !admits(&mut self.per_source, datagram.source, now) || !admits(&mut self.in_all, IpAddr::from([0, 0, 0, 0]), now) {
            return;
        }
        if let Err(error) = reply::send(&self.socket, datagram.peer, datagram.local, report) {
            tracing::debug!(error = %error, "a Report could not be sent");
        }
    }

    /// A clock that no step of the wall clock moves.
    fn now(&self) -> Timestamp {
        self.started.0.saturating_add(self.started.1.elapsed())
    }
}

/// Makes the event of a notification that `source` sent.
pub(crate) fn event(site: &Site, (source, received): (IpAddr, Timestamp), authenticity: Authenticity, notification: Notification) -> Event {
    let relay = site.trusts_relay(source).then_some(source);
    Event { received, peer: source, transport: Transport::Udp, authenticity, relay, tls_name: None, body: Body::Notification(notification) }
}

/// Returns how far a level proves who a sender is.
pub(crate) const fn authenticity(level: SecurityLevel) -> Authenticity {
    match level {
        SecurityLevel::NoAuthNoPriv => Authenticity::None,
        SecurityLevel::AuthNoPriv => Authenticity::UsmAuth,
        SecurityLevel::AuthPriv => Authenticity::UsmPriv,
    }
}

/// Returns what an inform is recognised by: a retransmission comes from the same address and port with the same bytes.
pub(crate) fn inform_digest(digests: &Digests, peer: SocketAddr, bytes: &[u8]) -> u64 {
    digests.of(&[b"inform", peer.to_string().as_bytes(), bytes])
}

/// The same for SNMPv3. A retransmission has another msgID and time, and with privacy another salt; the request-id is in the scopedPDU.
/// Without the port: the security model refuses copies from other addresses, those from other ports are known by this.
pub(crate) fn inform_3_digest(digests: &Digests, peer: IpAddr, (user, scoped_pdu): (&str, &[u8])) -> u64 {
    digests.of(&[b"inform-3", peer.to_string().as_bytes(), user.as_bytes(), scoped_pdu])
}

/// Tells whether somebody may wonder why a notification does not show: not for copies, and not for what is no notification.
const fn waits(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::DecryptionFailed
            | DropReason::LevelTooLow
            | DropReason::NotInTimeWindow
            | DropReason::UnknownEngine
            | DropReason::UnknownUser
            | DropReason::WrongDigest
    )
}
