//! When something was reported: by arrival, and by the sender's own clock where it has one.
//!
//! Networks and relays overtake one another, so a clear may arrive before the report that it followed. Two reports of one sender are
//! told apart by that sender's clock: the time stamp of a syslog line, or `sysUpTime.0` of a notification. Everything else, and what
//! two senders say, is as late as it arrives.

use std::net::IpAddr;

use postern_protocol::timestamp::Timestamp;

use crate::event::{Body, Event, Notification, SyslogMessage};

/// How far a clock may be behind the last report's before it counts as set back or started anew: ten minutes.
const MAX_LATE_NANOS: i64 = 600 * NANOS_PER_SECOND;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A hundredth of a second, the unit of `sysUpTime.0` (RFC 3418 §2).
const NANOS_PER_TICK: i64 = NANOS_PER_SECOND / 100;

/// When something was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// When it arrived here.
    pub(crate) received: Timestamp,
    /// What the sender's clock said.
    pub(super) clock: Option<Clock>,
}

/// What the clock of one sender said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Nanoseconds since the Unix epoch, or since the sender started.
    pub(super) nanos: i64,
    /// Tells senders apart; two that share it by chance are only ordered by clocks that differ.
    pub(super) sender: u32,
    pub(super) kind: ClockKind,
}

/// Which clock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockKind {
    /// The time stamp of a syslog line.
    Syslog,
    /// `sysUpTime.0`.
    Uptime,
}

impl Moment {
    /// Returns the moment of `event`.
    pub(crate) fn of(event: &Event) -> Self {
        let clock = match &event.body {
            Body::Notification(notification) => Clock::of_notification(event.peer, notification),
            Body::Push(_) => None,
            Body::Syslog(message) => Clock::of_message(event.peer, message),
        };
        Self { received: event.received, clock }
    }

    /// Returns the moment of something that only this gateway's clock knows.
    pub(crate) const fn arrival(received: Timestamp) -> Self {
        Self { received, clock: None }
    }

    /// Tells whether this was reported before what `last` stands for, although it arrived after it.
    pub(super) fn is_late(&self, last: Option<Clock>) -> bool {
        matches!((self.clock, last), (Some(this), Some(last)) if this.is_before(last))
    }
}

impl Clock {
    /// Tells whether this reading is of the same clock as `last` and somewhat before it.
    fn is_before(self, last: Self) -> bool {
        let behind = last.nanos.saturating_sub(self.nanos);
        self.kind == last.kind && self.sender == last.sender && behind > 0 && behind <= MAX_LATE_NANOS
    }

    fn of_notification(peer: IpAddr, notification: &Notification) -> Option<Self> {
        // Who cannot tell how long it runs says 0.
        (notification.uptime != 0).then(|| Self {
            nanos: i64::from(notification.uptime).saturating_mul(NANOS_PER_TICK),
            sender: match (&notification.engine_id, notification.trap_address) {
                (Some(engine_id), _) => hash(SEED, engine_id),
                (None, Some(address)) => hash_address(hash_address(SEED, peer), address),
                (None, None) => hash_address(SEED, peer),
            },
            kind: ClockKind::Uptime,
        })
    }

    fn of_message(peer: IpAddr, message: &SyslogMessage) -> Option<Self> {
        let nanos = message.timestamp?.as_nanos();
        let sender = hash(hash_address(SEED, peer), message.host.as_deref().unwrap_or_default().as_bytes());
        Some(Self { nanos, sender, kind: ClockKind::Syslog })
    }
}

impl ClockKind {
    /// Returns the number that stands for it in checkpoints.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Syslog => 1,
            Self::Uptime => 2,
        }
    }

    /// Returns the kind that `number` stands for.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Self::Syslog, Self::Uptime].into_iter().find(|kind| kind.number() == number)
    }
}

/// The hash of nothing.
const SEED: u32 = 0x811c_9dc5;

/// FNV-1a: checkpoints hold it, so it is the same in every build.
fn hash(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn hash_address(seed: u32, address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => hash(seed, &address.octets()),
        IpAddr::V6(address) => hash(seed, &address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(kind: ClockKind, sender: u32, seconds: i64) -> Option<Clock> {
        Some(Clock { nanos: seconds * NANOS_PER_SECOND, sender, kind })
    }

    fn moment(clock: Option<Clock>) -> Moment {
        Moment { received: Timestamp::from_secs(0), clock }
    }

    #[test]
    fn only_the_same_clock_of_the_same_sender_tells_what_is_late() {
        let last = clock(ClockKind::Uptime, 1, 1_000);
        for (this, late) in [
            (clock(ClockKind::Uptime, 1, 999), true),
            (clock(ClockKind::Uptime, 1, 400), true),
            (clock(ClockKind::Uptime, 1, 399), false),
            (clock(ClockKind::Uptime, 1, 1_000), false),
            (clock(ClockKind::Uptime, 1, 1_001), false),
            (clock(ClockKind::Uptime, 2, 999), false),
            (clock(ClockKind::Syslog, 1, 999), false),
            (None, false),
        ] {
            assert_eq!(moment(this).is_late(last), late, "{this:?}");
        }
        assert!(!moment(clock(ClockKind::Uptime, 1, 0)).is_late(None));
    }

    #[test]
    fn a_device_that_started_anew_is_not_late() {
        let notification = |uptime| Notification {
            trap_oid: "1.3.6.1.6.3.1.1.5.3".parse().unwrap(),
            uptime,
            trap_address: None,
            engine_id: None,
            varbinds: vec![],
        };
        let peer = [192, 0, 2, 1].into();
        let at = |uptime| Clock::of_notification(peer, &notification(uptime));
        assert!(moment(at(90_000)).is_late(at(100_000)));
        assert!(!moment(at(500)).is_late(at(100_000)));
        assert_eq!(at(0), None);
        // After 497 days it begins again (RFC 2578 §7.1.8).
        assert!(!moment(at(1)).is_late(at(u32::MAX)));
    }
}
