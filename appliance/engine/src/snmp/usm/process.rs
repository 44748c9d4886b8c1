//! One SNMPv3 message, step by step in the order of RFC 3414 §3.2. Nothing is changed before the last step but the counters.

use std::net::IpAddr;
use std::sync::Arc;

use postern_protocol::revision::intake::SecurityLevel;
use postern_protocol::timestamp::Timestamp;

use super::answer::{self, From, Keys, Stat};
use super::auth::MAX_TAG_BYTES;
use super::cache::LocalKeys;
use super::cipher::Cipher;
use super::clock::{HIGHEST, Movement, Slot, TooOld, WINDOW_SECS};
use super::seen::Entry;
use super::users::{Authority, Found, Unknown, User};
use super::{AuthenticatedNotification, EngineClock, EngineTime, Freshness, LocalEngine, Outcome, Refusal, RefusalReason, SeenDigest, Usm};
use crate::ber::Fault;
use crate::event::Notification;
use crate::snmp::engine_id::EngineId;
use crate::snmp::v3::{Envelope, Reportable, ScopedPdu};
use crate::snmp::{DecodeError, Kind, pdu};

/// Where our own keys stand in the cache: no engine of a sender has it.
const OURS: Slot = Slot(u32::MAX);

/// Why a message goes no further.
enum Stop {
    /// Nobody is to be told.
    Silent(RefusalReason),
    /// The sender is told by a Report without authentication, when it wants one.
    Told(RefusalReason, Stat),
    /// The sender is told by this Report.
    Answered(RefusalReason, Vec<u8>),
    /// It was a question about our engine, and this is the answer.
    Discovery(Vec<u8>),
}

/// What the security model found out about a message.
struct Passed<'m> {
    scoped: ScopedPdu<'m>,
    request_id: i32,
    kind: Kind,
    notification: Notification,
    varbinds: &'m [u8],
}

impl LocalEngine {
    /// Returns our clock.
    pub(super) fn time(&self, now: Timestamp) -> EngineTime {
        let time = u32::try_from(now.saturating_since(self.started).as_secs()).unwrap_or(HIGHEST);
        EngineTime { boots: self.boots.min(HIGHEST), time: time.min(HIGHEST) }
    }
}

impl Usm {
    /// Takes one SNMPv3 datagram from `source`.
    ///
    /// # Errors
    /// [`Refusal`]; nothing but the usmStats counters has changed then.
    pub fn process(&mut self, datagram: &[u8], source: IpAddr, now: Timestamp) -> Result<Outcome, Box<Refusal>> {
        let envelope = Envelope::parse(datagram).map_err(|error| Box::new(Refusal::of(RefusalReason::Undecodable(error))))?;
        let stop = match self.take(&envelope, source.to_canonical(), now) {
            Ok(notification) => return Ok(Outcome::Notification(Box::new(notification))),
            Err(stop) => stop,
        };
        let (reason, report) = match stop {
            Stop::Discovery(report) => return Ok(Outcome::Report(report)),
            Stop::Answered(reason, report) => (reason, Some(report)),
            Stop::Silent(reason) => (reason, None),
            Stop::Told(reason, stat) => (reason, self.report(&envelope, stat, now)),
        };
        let engine = EngineId::new(envelope.engine).ok();
        let ours = match engine {
            Some(engine) if engine == self.local.engine => Some(self.local.time(now)),
            Some(engine) => self.engines.slot(&engine).and_then(|slot| self.engines.time(slot, now)),
            None => None,
        };
        Err(Box::new(Refusal {
            engine,
            user: String::from_utf8_lossy(envelope.user).into_owned(),
            level: Some(envelope.level),
            ours,
            theirs: Some(envelope.time),
            report,
            ..Refusal::of(reason)
        }))
    }

    /// Counts, and makes the Report without authentication when the sender wants one.
    fn report(&mut self, envelope: &Envelope<'_>, stat: Stat, now: Timestamp) -> Option<Vec<u8>> {
        let counted = (stat, self.stats.count(stat));
        let from = From { engine: &self.local.engine, time: self.local.time(now) };
        match envelope.reportable {
            Reportable::Yes => answer::report(&from, envelope, counted, None),
            Reportable::No => None,
        }
    }

    fn take(&mut self, envelope: &Envelope<'_>, source: IpAddr, now: Timestamp) -> Result<AuthenticatedNotification, Stop> {
        let users = Arc::clone(&self.users);
        let authority = self.authority(envelope, now)?;
        let found = users.find(envelope.user, authority, source).map_err(|unknown| self.unknown(envelope, (unknown, authority), now))?;
        level(found.user, envelope.level).map_err(|()| told(authority, RefusalReason::LevelTooLow, Stat::UnsupportedSecLevels))?;
        match envelope.level {
            SecurityLevel::NoAuthNoPriv => self.take_plain(envelope, (authority, &found), now),
            SecurityLevel::AuthNoPriv | SecurityLevel::AuthPriv => self.take_authenticated(envelope, (authority, &found, source), now),
        }
    }

    /// §3.2 (3): an engine ID of no legal length asks for ours.
    fn authority(&mut self, envelope: &Envelope<'_>, now: Timestamp) -> Result<Authority, Stop> {
        match EngineId::new(envelope.engine) {
            Ok(engine) if engine == self.local.engine => Ok(Authority::Local),
            Ok(engine) => Ok(Authority::Remote(engine)),
            Err(_) => Err(match self.report(envelope, Stat::UnknownEngineIds, now) {
                Some(report) => Stop::Discovery(report),
                None => Stop::Silent(RefusalReason::UnknownEngine),
            }),
        }
    }

    /// §3.2 (3) and (4). A question without a user name is how some senders learn our clock.
    fn unknown(&mut self, envelope: &Envelope<'_>, what: (Unknown, Authority), now: Timestamp) -> Stop {
        match what {
            (Unknown::Engine, _) => Stop::Told(RefusalReason::UnknownEngine, Stat::UnknownEngineIds),
            (Unknown::Name, Authority::Remote(_)) => Stop::Silent(RefusalReason::UnknownUser),
            (Unknown::Name, Authority::Local) if envelope.user.is_empty() => match self.report(envelope, Stat::UnknownUserNames, now) {
                Some(report) => Stop::Discovery(report),
                None => Stop::Silent(RefusalReason::UnknownUser),
            },
            (Unknown::Name, Authority::Local) => Stop::Told(RefusalReason::UnknownUser, Stat::UnknownUserNames),
        }
    }

    fn take_plain(
        &mut self,
        envelope: &Envelope<'_>,
        sender: (Authority, &Found<'_>),
        now: Timestamp,
    ) -> Result<AuthenticatedNotification, Stop> {
        let (authority, found) = sender;
        let passed = pdu_of(envelope.data, authority).map_err(|error| undecodable(authority, error))?;
        let from = From { engine: &self.local.engine, time: self.local.time(now) };
        let response = passed.response(&from, envelope, None);
        Ok(passed.accepted(envelope, found.user, response))
    }

    fn take_authenticated(
        &mut self,
        envelope: &Envelope<'_>,
        sender: (Authority, &Found<'_>, IpAddr),
        now: Timestamp,
    ) -> Result<AuthenticatedNotification, Stop> {
        let (authority, found, source) = sender;
        let from = From { engine: &self.local.engine, time: self.local.time(now) };
        let (engine, slot) = match authority {
            Authority::Local => (self.local.engine, Some(OURS)),
            Authority::Remote(engine) => (engine, self.engines.slot(&engine)),
        };
        // (6): the digest, with keys that are kept only when it is good.
        let mut fresh = None;
        let keys = match slot.and_then(|slot| self.keys.find((slot, found.index))) {
            Some(kept) => kept,
            None => {
                let keys = LocalKeys::new(found.user, &engine).ok_or(Stop::Silent(RefusalReason::LevelTooLow))?;
                fresh.insert(Box::new(keys)).as_mut()
            }
        };
        if !digest_fits(envelope, keys) {
            return Err(told(authority, RefusalReason::WrongDigest, Stat::WrongDigests));
        }
        // (7): the window, and what RFC 3414 leaves out: whether it was there before.
        let movement = match authority {
            Authority::Local | Authority::Remote(_) if self.freshness == Freshness::Known => Movement::None,
            Authority::Local if ours_is_near(from.time, envelope.time) && self.informs.reaches(envelope.time.time) => Movement::None,
            Authority::Local => {
                let counted = (Stat::NotInTimeWindows, self.stats.count(Stat::NotInTimeWindows));
                let keys = Keys { auth: &keys.auth, privacy: None };
                return Err(untimely(envelope, answer::report(&from, envelope, counted, Some(&keys))));
            }
            Authority::Remote(_) => self.engines.judge(slot, envelope.time, now).map_err(|old| match old {
                TooOld::BelowFloor => Stop::Silent(RefusalReason::Replayed),
                TooOld::Outside => Stop::Silent(RefusalReason::NotInTimeWindow),
            })?,
        };
        let digest = envelope.tag.first_chunk::<8>().map(|first| u64::from_be_bytes(*first)).unwrap_or_default();
        let is_replayed = match authority {
            Authority::Local | Authority::Remote(_) if self.freshness == Freshness::Known => false,
            Authority::Local => self.informs.is_of_another(digest, source),
            Authority::Remote(_) => self.seen.contains(digest),
        };
        if is_replayed {
            return Err(Stop::Silent(RefusalReason::Replayed));
        }
        // (8): the decryption.
        let garbled = || told(authority, RefusalReason::DecryptionFailed, Stat::DecryptionErrors);
        let plain = match envelope.level {
            SecurityLevel::AuthPriv => {
                decrypt(envelope, (found.user, &engine), keys, &mut self.scratch).ok_or_else(garbled)?;
                self.scratch.as_slice()
            }
            SecurityLevel::AuthNoPriv | SecurityLevel::NoAuthNoPriv => envelope.data,
        };
        let passed = pdu_of(plain, authority).map_err(|error| match (envelope.level, error) {
            (SecurityLevel::AuthPriv, DecodeError::Malformed { .. }) => garbled(),
            _ => undecodable(authority, error),
        })?;
        // Nothing can be wrong any more, and only now state changes.
        let response = match passed.kind {
            Kind::Trap => None,
            Kind::Inform => {
                self.salt = self.salt.wrapping_add(1);
                passed.response(&from, envelope, Some((found.user, &engine, keys, self.salt)))
            }
        };
        let mut accepted = passed.accepted(envelope, found.user, response);
        let slot = match authority {
            Authority::Local if self.freshness == Freshness::Known => OURS,
            Authority::Remote(_) if self.freshness == Freshness::Known => {
                self.engines.admit(engine, found.binding).ok_or(Stop::Silent(RefusalReason::UnknownEngine))?
            }
            Authority::Local => {
                self.informs.insert((digest, envelope.time.time), source, now);
                OURS
            }
            Authority::Remote(_) => {
                let slot = self.engines.admit(engine, found.binding).ok_or(Stop::Silent(RefusalReason::UnknownEngine))?;
                let (clock, seen) = self.remember((slot, engine), (envelope.time, digest), movement, now);
                accepted.clock = clock;
                accepted.seen = Some(seen);
                slot
            }
        };
        if let Some(keys) = fresh {
            self.keys.insert((slot, found.index), keys);
        }
        Ok(accepted)
    }

    fn remember(
        &mut self,
        engine: (Slot, EngineId),
        message: (EngineTime, u64),
        movement: Movement,
        now: Timestamp,
    ) -> (Option<EngineClock>, SeenDigest) {
        let ((slot, engine), (time, digest)) = (engine, message);
        self.make_room(now);
        self.seen.insert(Entry::new(digest, slot, time, now));
        let clock = match movement {
            Movement::Forward => self.engines.advance(slot, time, now),
            Movement::None => None,
        };
        (clock, SeenDigest { engine, boots: time.boots, time: time.time, at: now, digest })
    }

    /// Forgets messages that are old enough, or too many; their engines take nothing that old any more.
    pub(super) fn make_room(&mut self, now: Timestamp) {
        while let Some(forgotten) = self.seen.forget(now) {
            self.engines.raise_floor(forgotten.slot, forgotten.time);
        }
    }
}

/// §3.2 (5), and the minimum that the user was given.
fn level(user: &User, level: SecurityLevel) -> Result<(), ()> {
    let highest = match (&user.auth, &user.privacy) {
        (None, _) => SecurityLevel::NoAuthNoPriv,
        (Some(_), None) => SecurityLevel::AuthNoPriv,
        (Some(_), Some(_)) => SecurityLevel::AuthPriv,
    };
    if (user.minimum..=highest).contains(&level) { Ok(()) } else { Err(()) }
}

/// §3.2 (7) a: we are authoritative, so boots must be ours, and the time near ours on either side.
fn ours_is_near(ours: EngineTime, theirs: EngineTime) -> bool {
    ours.boots != HIGHEST && ours.boots == theirs.boots && ours.time.abs_diff(theirs.time) <= WINDOW_SECS
}

/// An authenticated message with a clock that is not ours. Zeros are how a sender asks for it (RFC 3414 §4).
fn untimely(envelope: &Envelope<'_>, report: Option<Vec<u8>>) -> Stop {
    let asks = envelope.time == EngineTime { boots: 0, time: 0 };
    match (envelope.reportable, report) {
        (Reportable::Yes, Some(report)) if asks => Stop::Discovery(report),
        (Reportable::Yes, Some(report)) => Stop::Answered(RefusalReason::NotInTimeWindow, report),
        (Reportable::Yes, None) | (Reportable::No, _) => Stop::Silent(RefusalReason::NotInTimeWindow),
    }
}

/// Only the authoritative engine reports.
fn told(authority: Authority, reason: RefusalReason, stat: Stat) -> Stop {
    match authority {
        Authority::Local => Stop::Told(reason, stat),
        Authority::Remote(_) => Stop::Silent(reason),
    }
}

/// An inform that says the engine of its sender: the Report tells it ours.
fn undecodable(authority: Authority, error: DecodeError) -> Stop {
    match (authority, error) {
        (Authority::Remote(_), DecodeError::WrongPdu(pdu::INFORM)) => Stop::Told(RefusalReason::Undecodable(error), Stat::UnknownEngineIds),
        _ => Stop::Silent(RefusalReason::Undecodable(error)),
    }
}

/// RFC 3414 §6.3.2: the HMAC over the message with zeros in place of the tag.
fn digest_fits(envelope: &Envelope<'_>, keys: &LocalKeys) -> bool {
    let (before, after) = envelope.around_tag();
    match [0; MAX_TAG_BYTES].get(..envelope.tag.len()) {
        Some(zeros) => keys.auth.verify(&[before, zeros, after], envelope.tag),
        None => false,
    }
}

/// Decrypts into `plain`; `None` when lengths do not fit or there is no key.
fn decrypt(envelope: &Envelope<'_>, owner: (&User, &EngineId), keys: &mut LocalKeys, plain: &mut Vec<u8>) -> Option<()> {
    let algorithm = owner.0.privacy.as_ref()?.algorithm;
    let key = keys.privacy(owner.0, owner.1)?;
    plain.clear();
    plain.extend_from_slice(envelope.data);
    Cipher { algorithm, key, clock: envelope.time, salt: envelope.salt.try_into().ok()? }.decrypt(plain).ok()
}

/// Reads the notification. Of traps the sender is authoritative, of informs we are (RFC 3414 §1.5.1 (1)).
fn pdu_of(plain: &[u8], authority: Authority) -> Result<Passed<'_>, DecodeError> {
    let scoped = ScopedPdu::parse(plain)?;
    let kind = match (scoped.pdu.tag, authority) {
        (pdu::TRAP_V2, Authority::Remote(_)) => Kind::Trap,
        (pdu::INFORM, Authority::Local) => Kind::Inform,
        (pdu::FIRST..=pdu::LAST, _) => return Err(DecodeError::WrongPdu(scoped.pdu.tag)),
        (tag, _) => return Err(scoped.pdu.error(Fault::UnknownTag(tag)).into()),
    };
    let (request_id, notification, varbinds) = pdu::notification_v2(scoped.pdu.reader())?;
    Ok(Passed { scoped, request_id, kind, notification, varbinds })
}

impl Passed<'_> {
    fn response(&self, from: &From<'_>, envelope: &Envelope<'_>, keys: Option<(&User, &EngineId, &mut LocalKeys, u64)>) -> Option<Vec<u8>> {
        let request = (envelope, &self.scoped);
        let inform = (self.request_id, self.varbinds);
        match (self.kind, keys) {
            (Kind::Trap, _) => None,
            (Kind::Inform, None) => answer::response(from, request, inform, None),
            (Kind::Inform, Some((user, engine, keys, salt))) => {
                let (auth, key) = keys.both(user, engine, envelope.level)?;
                let privacy = user.privacy.as_ref().zip(key).map(|(privacy, key)| (privacy.algorithm, key, salt));
                answer::response(from, request, inform, Some(&Keys { auth, privacy }))
            }
        }
    }

    fn accepted(self, envelope: &Envelope<'_>, user: &User, response: Option<Vec<u8>>) -> AuthenticatedNotification {
        let scoped_pdu = match self.kind {
            Kind::Inform => self.scoped.whole.to_vec(),
            Kind::Trap => Vec::new(),
        };
        let notification = Notification { engine_id: Some(envelope.engine.to_vec()), ..self.notification };
        AuthenticatedNotification {
            kind: self.kind,
            notification,
            level: envelope.level,
            user: Arc::clone(&user.name),
            clock: None,
            seen: None,
            response,
            scoped_pdu,
        }
    }
}
