//! The bounded queue between receivers and the pipeline: by number of batches and by bytes.
//!
//! A full queue makes UDP receivers drop and count ([`Intake::offer`]) and TCP, TLS and push receivers wait ([`Intake::submit`]).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use aws_lc_rs::hmac;
use postern_engine::event::{Event, Protocol};
use postern_engine::ledger::DropReason;
use postern_protocol::sample::Sample;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::accounts::{Accounts, Tally};
use crate::canary::{Stage, Ticket};
use crate::pipeline::usm::{Reset, UsmChange};
use crate::ring::{self, Tap};

/// Most batches that wait.
const QUEUE_BATCHES: usize = 1024;

/// Most KiB of received bytes that wait; decoded they may take ten times as much.
const QUEUE_KIB: usize = 16 * 1024;

/// The receivers' end.
#[derive(Clone)]
pub(crate) struct Intake {
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    accounts: Accounts,
    digests: Digests,
    ring: Tap,
}

/// The pipeline's end.
pub(crate) struct Outlet(mpsc::Receiver<Waiting>);

struct Waiting {
    batch: Batch,
    _room: OwnedSemaphorePermit,
}

/// What goes through the queue; counted as received and in flight already.
pub(crate) enum Batch {
    /// A message of our own, which only shows that it got here.
    Canary(Ticket),
    /// An SNMP engine may start over.
    EngineReset(Reset),
    /// Events of one listener, in order of arrival.
    Events(Vec<Arrival>),
    /// One push.
    Push(Push),
}

/// One event, and who waits for it.
pub(crate) struct Arrival {
    /// The event.
    pub(crate) event: Event,
    /// Set when it is an inform.
    pub(crate) inform: Option<Inform>,
    /// What it changed of the SNMPv3 security model: to be kept with it.
    pub(crate) usm: Option<Box<UsmChange>>,
}

impl From<Event> for Arrival {
    /// An event for which nobody waits.
    fn from(event: Event) -> Self {
        Self { event, inform: None, usm: None }
    }
}

/// An inform's Response, to be sent when the event is durable.
pub(crate) struct Inform {
    /// Tells a retransmission: same peer and same bytes, or in SNMPv3 same user and scopedPDU.
    pub(crate) digest: u64,
    /// Where to.
    pub(crate) peer: SocketAddr,
    /// From where: the address of ours that the inform was sent to.
    pub(crate) local: Option<IpAddr>,
    /// The PDU.
    pub(crate) response: Vec<u8>,
    /// The socket that the inform came by.
    pub(crate) socket: Arc<UdpSocket>,
}

/// A push that proved who it is, and who waits for it.
pub(crate) struct Push {
    /// Its events.
    pub(crate) events: Vec<Event>,
    /// Its measurements: they pass the engine by.
    pub(crate) measurements: Vec<Sample>,
    /// The sender.
    pub(crate) peer: IpAddr,
    /// Digest of its signature, which counts only once.
    pub(crate) signature: Option<u64>,
    /// Digest of its idempotency key and of its body.
    pub(crate) idempotency: Option<(u64, u64)>,
    /// Gets the answer when the events are durable.
    pub(crate) answer: oneshot::Sender<PushAnswer>,
}

impl Push {
    /// Returns how many events and measurements it has.
    pub(crate) const fn count(&self) -> usize {
        self.events.len().saturating_add(self.measurements.len())
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushAnswer {
    /// So many events and measurements are durable, now or when the same idempotency key was used first.
    Accepted(u32),
    /// The idempotency key was used for another body.
    KeyReused,
    /// Too many signatures and keys are remembered already.
    Overloaded,
    /// The signature was seen before.
    Replayed,
}

/// Keyed digests of what must be recognised again, also after a restart.
#[derive(Clone)]
pub(crate) struct Digests(hmac::Key);

impl Digests {
    /// Makes digests under a key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the first 64 bits of the HMAC-SHA256 over the length-prefixed parts.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// Why a batch did not get into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has ended")]
pub(crate) struct Closed;

/// Makes the queue.
pub(crate) fn queue(accounts: Accounts, digests: Digests, ring: Tap) -> (Intake, Outlet) {
    // Full: `offer` drops and counts, `submit` waits.
    let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
    (Intake { sender, room: Arc::new(Semaphore::new(QUEUE_KIB)), accounts, digests, ring }, Outlet(receiver))
}

impl Intake {
    /// Returns the ledger that the queue counts in.
    pub(crate) const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Returns what makes the digests of informs and pushes.
    pub(crate) const fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Returns the way into the ring, for what is in the queue.
    pub(crate) const fn ring(&self) -> &Tap {
        &self.ring
    }

    /// Counts a batch and queues its events without waiting; when there is no room they are dropped and counted. What is queued goes
    /// into the ring.
    pub(crate) fn offer(&self, protocol: Protocol, tally: &Tally, arrivals: Vec<Arrival>, (bytes, raw): (usize, &mut ring::Batch)) {
        self.accounts.tally(protocol, tally);
        if arrivals.is_empty() {
            return;
        }
        let batch = Batch::Events(arrivals);
        let (lost, reason) = match Arc::clone(&self.room).try_acquire_many_owned(kib(bytes)) {
            Err(_) => (batch, DropReason::QueueFull),
            Ok(room) => match self.sender.try_send(Waiting { batch, _room: room }) {
                Ok(()) => return self.ring.put(raw),
                Err(mpsc::error::TrySendError::Full(waiting)) => (waiting.batch, DropReason::QueueFull),
                Err(mpsc::error::TrySendError::Closed(waiting)) => (waiting.batch, DropReason::Shutdown),
            },
        };
        self.accounts.dropped(protocol, lost.sources(), reason);
        raw.clear();
    }

    /// Queues word of an engine's reset without waiting; tells whether there was room.
    pub(crate) fn reset_engine(&self, reset: Reset) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(1);
        room.is_ok_and(|room| self.sender.try_send(Waiting { batch: Batch::EngineReset(reset), _room: room }).is_ok())
    }

    /// Counts a batch and queues its events, waiting for room. What is queued goes into the ring.
    ///
    /// # Errors
    /// [`Closed`] when the pipeline has ended; the events are counted as dropped then.
    pub(crate) async fn submit(
        &self,
        protocol: Protocol,
        tally: &Tally,
        arrivals: Vec<Arrival>,
        (bytes, raw): (usize, &mut ring::Batch),
    ) -> Result<(), Closed> {
        self.accounts.tally(protocol, tally);
        if arrivals.is_empty() {
            return Ok(());
        }
        self.wait(protocol, Batch::Events(arrivals), bytes).await?;
        self.ring.put(raw);
        Ok(())
    }

    /// Queues a message of our own, which is counted nowhere, without waiting.
    pub(crate) fn probe(&self, ticket: Ticket) {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(1)
            && let Ok(place) = self.sender.try_reserve()
        {
            // Before it can be handled.
            ticket.reached(Stage::Queued);
            place.send(Waiting { batch: Batch::Canary(ticket), _room: room });
        }
    }

    /// Queues a push whose events are counted as received already, waiting for room.
    ///
    /// # Errors
    /// [`Closed`] when the pipeline has ended; the events are counted as dropped then.
    pub(crate) async fn push(&self, push: Push, bytes: usize) -> Result<(), Closed> {
        self.wait(Protocol::Push, Batch::Push(push), bytes).await
    }

    async fn wait(&self, protocol: Protocol, batch: Batch, bytes: usize) -> Result<(), Closed> {
        let mut held = Held { accounts: &self.accounts, protocol, batch: Some(batch) };
        let room = Arc::clone(&self.room).acquire_many_owned(kib(bytes)).await.map_err(|_| Closed)?;
        let place = self.sender.reserve().await.map_err(|_| Closed)?;
        if let Some(batch) = held.batch.take() {
            place.send(Waiting { batch, _room: room });
        }
        Ok(())
    }
}

impl Outlet {
    /// Waits for the next batch; `None` when every intake is gone and the queue is empty. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        self.0.recv().await.map(|waiting| waiting.batch)
    }

    /// Returns the next batch if there is one.
    pub(crate) fn try_next(&mut self) -> Option<Batch> {
        self.0.try_recv().ok().map(|waiting| waiting.batch)
    }
}

impl Batch {
    fn sources(&self) -> Vec<(IpAddr, u64)> {
        match self {
            Self::Canary(_) | Self::EngineReset(_) => Vec::new(),
            Self::Events(arrivals) => arrivals.iter().map(|arrival| (arrival.event.peer, 1)).collect(),
            Self::Push(push) => vec![(push.peer, push.count() as u64)],
        }
    }
}

/// A batch that waits for room: when its receiver stops waiting, its events are counted as dropped.
struct Held<'a> {
    accounts: &'a Accounts,
    protocol: Protocol,
    batch: Option<Batch>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(batch) = &self.batch {
            self.accounts.dropped(self.protocol, batch.sources(), DropReason::Shutdown);
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).clamp(1, QUEUE_KIB)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_engine::event::{Body, SyslogMessage, Transport};
    use postern_engine::ledger::Ledger;
    use postern_protocol::alert::Authenticity;
    use postern_protocol::timestamp::Timestamp;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn arrivals(n: usize) -> (Tally, Vec<Arrival>) {
        let mut tally = Tally::default();
        let arrivals = (0..n)
            .map(|_| {
                tally.received(PEER);
                let event = Event {
                    received: Timestamp::from_secs(0),
                    peer: PEER,
                    transport: Transport::Udp,
                    authenticity: Authenticity::None,
                    relay: None,
                    tls_name: None,
                    body: Body::Syslog(SyslogMessage::default()),
                };
                Arrival::from(event)
            })
            .collect();
        (tally, arrivals)
    }

    fn pair() -> (Intake, Outlet) {
        queue(Accounts::new(Ledger::new()), Digests::new(&[7; 32]), Tap::default())
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (intake, outlet) = pair();
        for _ in 0..=QUEUE_BATCHES {
            let (tally, arrivals) = arrivals(3);
            intake.offer(Protocol::Syslog, &tally, arrivals, (100, &mut ring::Batch::default()));
        }
        let totals = intake.accounts().snapshot().totals;
        assert_eq!(totals.dropped["queue_full"], 3);
        assert_eq!(totals.in_flight, totals.received - 3);
        drop(outlet);
    }

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        let (intake, _outlet) = pair();
        for _ in 0..3 {
            let (tally, arrivals) = arrivals(1);
            intake.offer(Protocol::Syslog, &tally, arrivals, (QUEUE_KIB * 1024 / 2, &mut ring::Batch::default()));
        }
        assert_eq!(intake.accounts().snapshot().totals.dropped["queue_full"], 1);
    }

    #[tokio::test]
    async fn events_that_no_pipeline_takes_are_counted() {
        let (intake, outlet) = pair();
        drop(outlet);
        let (tally, arrivals) = arrivals(2);
        assert_eq!(intake.submit(Protocol::Syslog, &tally, arrivals, (10, &mut ring::Batch::default())).await, Err(Closed));
        assert_eq!(intake.accounts().snapshot().totals.dropped["shutdown"], 2);
    }

    #[test]
    fn digests_keep_parts_apart() {
        let digests = Digests::new(&[1; 32]);
        assert_ne!(digests.of(&[b"ab", b"c"]), digests.of(&[b"a", b"bc"]));
        assert_ne!(digests.of(&[b"a"]), Digests::new(&[2; 32]).of(&[b"a"]));
    }
}
