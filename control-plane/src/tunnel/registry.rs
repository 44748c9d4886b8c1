//! The live sessions of gateways, and how the rest of the program reaches them.
//!
//! No message is queued here: a session is *woken* and reads from the store what its gateway has to be told (the desired
//! revision, pending closes). So nothing is lost when a session is slow, dies, or is not there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// Why a session has to end; the gateway is told in a Goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The certificate that it showed has ended.
    Expired,
    /// A second session of the same identity began; the newest wins.
    Replaced,
    /// The gateway was revoked.
    Revoked,
    /// An admin decided that another machine with its identity stays.
    SetAside,
    /// The control plane stops.
    Stopping,
}

/// What a session is told from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signal {
    /// Counted up when there may be something to tell the gateway.
    pub(crate) wake: u64,
    /// Set once when the session has to end.
    pub(crate) end: Option<EndReason>,
}

/// What a session showed when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The start of the gateway; 0 when it tells none.
    pub(crate) incarnation: u64,
    /// When its certificate ends.
    pub(crate) not_after: Option<Timestamp>,
}

/// Which start of a gateway has a session, and when it was last heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// The start.
    pub(crate) incarnation: u64,
    /// Its last heartbeat; `None` before the first.
    pub(crate) at: Option<Instant>,
}

struct Live {
    number: u64,
    tenant: TenantId,
    shown: Shown,
    heartbeat: Option<Instant>,
    signal: watch::Sender<Signal>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<GatewayId, Live>,
    last_number: u64,
}

/// The live sessions, at most one for each gateway. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    // A mutex because sessions and requests meet here; it is held for a map look-up.
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { inner: Arc::default(), changes: watch::Sender::new(0) }
    }
}

impl Registry {
    /// Makes the session of `gateway`, if there is one, look for a new revision and pending closes. Call it after the commit.
    pub fn wake(&self, gateway: &GatewayId) {
        self.signal(gateway, |signal| signal.wake = signal.wake.wrapping_add(1));
    }

    /// Ends the session of `gateway`, if there is one.
    pub fn end(&self, gateway: &GatewayId, reason: EndReason) {
        self.signal(gateway, |signal| signal.end = signal.end.or(Some(reason)));
    }

    /// Whether `gateway` has a live session.
    pub fn is_connected(&self, gateway: &GatewayId) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).sessions.contains_key(gateway)
    }

    /// Returns the gateways that have a live session.
    pub fn connected(&self) -> Vec<(TenantId, GatewayId)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.iter().map(|(gateway, live)| (live.tenant.clone(), gateway.clone())).collect()
    }

    /// Returns which start of `gateway` has a session, and when it was last heard.
    pub(crate) fn heard(&self, gateway: &GatewayId) -> Option<Heard> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.get(gateway).map(|live| Heard { incarnation: live.shown.incarnation, at: live.heartbeat })
    }

    /// Returns the gateways whose session showed a certificate that has ended.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<GatewayId> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |live: &Live| live.shown.not_after.is_some_and(|end| end < now);
        inner.sessions.iter().filter(|(_, live)| ended(live)).map(|(gateway, _)| gateway.clone()).collect()
    }

    /// Changes its value whenever a session begins or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Enters a session that has begun; an older one of the same gateway is told to end. It is taken out when the guard drops.
    pub(crate) fn enter(&self, tenant: &TenantId, gateway: &GatewayId, shown: Shown) -> (Entry, watch::Receiver<Signal>) {
        let (sender, receiver) = watch::channel(Signal::default());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last_number = inner.last_number.wrapping_add(1);
        let number = inner.last_number;
        let older = inner.sessions.insert(gateway.clone(), Live { number, tenant: tenant.clone(), shown, heartbeat: None, signal: sender });
        drop(inner);
        let replaced = older.is_some();
        if let Some(older) = older {
            older.signal.send_modify(|signal| signal.end = signal.end.or(Some(EndReason::Replaced)));
        }
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
        (Entry { place: Place { registry: self.clone(), gateway: gateway.clone(), number }, replaced }, receiver)
    }

    fn signal(&self, gateway: &GatewayId, change: impl FnOnce(&mut Signal)) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = inner.sessions.get(gateway) {
            live.signal.send_modify(change);
        }
    }
}

/// A session's place in the registry; given up when dropped.
pub(crate) struct Entry {
    place: Place,
    /// Whether it took the place of an older session.
    pub(crate) replaced: bool,
}

impl Entry {
    /// Says that a heartbeat came.
    pub(crate) fn heartbeat(&self) {
        let Place { registry, gateway, number } = &self.place;
        let mut inner = registry.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = inner.sessions.get_mut(gateway).filter(|live| live.number == *number) {
            live.heartbeat = Some(Instant::now());
        }
    }

    /// Returns what can tell later whether this session is still the newest.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }
}

/// Names a session in the registry, live or not.
#[derive(Clone)]
pub(crate) struct Place {
    registry: Registry,
    gateway: GatewayId,
    number: u64,
}

impl Place {
    /// Whether no newer session of the gateway has begun.
    pub(crate) fn is_newest(&self) -> bool {
        let inner = self.registry.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.get(&self.gateway).is_some_and(|live| live.number == self.number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Place { registry, gateway, number } = &self.place;
        let mut inner = registry.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.sessions.get(gateway).is_some_and(|live| live.number == *number) {
            inner.sessions.remove(gateway);
        }
        drop(inner);
        registry.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_session_of_an_identity_wins() {
        let registry = Registry::default();
        let (tenant, gateway) = (TenantId::new("t").unwrap(), GatewayId::new("g").unwrap());
        let (older, of_older) = registry.enter(&tenant, &gateway, Shown::default());
        let (newer, of_newer) = registry.enter(&tenant, &gateway, Shown::default());
        assert_eq!(of_older.borrow().end, Some(EndReason::Replaced));
        assert!(newer.replaced && newer.place().is_newest() && !older.place().is_newest());
        drop(older);
        registry.wake(&gateway);
        assert_eq!(*of_newer.borrow(), Signal { wake: 1, end: None });
        drop(newer);
        assert!(!registry.is_connected(&gateway));
    }

    #[tokio::test]
    async fn a_session_is_known_by_what_it_showed_and_when_it_was_heard() {
        let registry = Registry::default();
        let (tenant, gateway) = (TenantId::new("t").unwrap(), GatewayId::new("g").unwrap());
        assert!(registry.heard(&gateway).is_none());
        let shown = Shown { incarnation: 7, not_after: Some(Timestamp::from_secs(100)) };
        let (entry, _signal) = registry.enter(&tenant, &gateway, shown);
        assert!(registry.heard(&gateway).is_some_and(|heard| heard.incarnation == 7 && heard.at.is_none()));
        entry.heartbeat();
        assert!(registry.heard(&gateway).is_some_and(|heard| heard.at.is_some()));
        assert!(registry.expired(Timestamp::from_secs(100)).is_empty());
        assert_eq!(registry.expired(Timestamp::from_secs(101)), [gateway]);
    }
}
