//! `POST /v1/push`: credential, body, queue, and an answer when events and measurements are durable.
//!
//! Every event and measurement of a body that decodes is counted as received; a push that is refused before that counts as one.

use std::time::{Duration, SystemTime};

use postern_engine::event::{Body, Event, Protocol, PushEvent, Transport};
use postern_engine::ledger::DropReason;
use postern_engine::push::{self, PushError, Pushed};
use postern_protocol::alert::Authenticity;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::credential::{Channel, Credential, CredentialError, Proof, PushKeys};
use super::{Peer, request};
use crate::accounts::Tally;
use crate::config::PlainPush;
use crate::intake::{Intake, Push, PushAnswer};
use crate::ring::entry::{Entry, Way};

/// Most characters of an idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Longest wait for the events to become durable.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes pushes.
pub(crate) struct Pushes {
    /// Who may push.
    pub(crate) keys: PushKeys,
    /// Whether without TLS.
    pub(crate) plain: PlainPush,
    /// Where events go.
    pub(crate) intake: Intake,
}

impl Pushes {
    /// Refuses a push by its head alone, before its body is read.
    pub(crate) fn refuse_early(&self, push: &request::Push, channel: Channel) -> Option<Answer> {
        if channel == Channel::Plain && self.plain == PlainPush::Refused {
            let detail = "pushes without TLS are turned off here; use https, or have proxy.allow_plain_push set in the gateway's file";
            return Some(Answer::problem(403, detail, Some(DropReason::NotAuthentic)));
        }
        if self.keys.is_empty() {
            return Some(Answer::problem(403, "this gateway has no push keys ([[push.keys]] in its file)", Some(DropReason::NotAuthentic)));
        }
        if push.content_length > push::MAX_BODY_BYTES {
            let detail = PushError::TooLong(push.content_length).to_string();
            return Some(Answer::problem(413, &detail, Some(DropReason::TooLong)));
        }
        if push.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY) {
            let detail = format!("an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} characters");
            return Some(Answer::problem(400, &detail, Some(DropReason::Malformed)));
        }
        None
    }

    /// Takes a whole push and waits until it is durable. What is refused here is counted here.
    pub(crate) async fn take(&self, push: &request::Push, body: &[u8], peer: Peer, channel: Channel) -> Answer {
        let answer = self.accept(push, body, peer, channel).await;
        if let Some(reason) = answer.counted {
            self.intake.accounts().refused(Protocol::Push, peer.source, reason);
        }
        answer
    }

    async fn accept(&self, push: &request::Push, body: &[u8], peer: Peer, channel: Channel) -> Answer {
        let Peer { source, relay } = peer;
        let now = Timestamp::from(SystemTime::now());
        let credential = Credential { authorization: push.authorization.as_deref(), signature: push.signature.as_deref() };
        let proof = match self.keys.verify(credential, body, channel, now) {
            Ok(proof) => proof,
            Err(error) => return refuse(error),
        };
        let Pushed { events, measurements } = match push::decode(body, now) {
            Ok(pushed) => pushed,
            Err(error @ PushError::TooLong(_)) => return Answer::problem(413, &error.to_string(), Some(DropReason::TooLong)),
            Err(error @ PushError::Invalid { .. }) => return Answer::problem(400, &error.to_string(), Some(DropReason::Malformed)),
        };
        let sender = Sender { received: now, peer, channel, key: &proof.key };
        let mut tally = Tally::default();
        let events: Vec<Event> = events
            .into_iter()
            .map(|event| {
                tally.received(source);
                sender.event(event)
            })
            .collect();
        measurements.iter().for_each(|_| tally.received(source));
        self.intake.accounts().tally(Protocol::Push, &tally);
        let (answer, answered) = oneshot::channel();
        let (signature, idempotency) = self.digests(&proof, push.idempotency_key.as_deref(), body);
        let queued = self.intake.push(Push { events, measurements, peer: source, signature, idempotency, answer }, body.len());
        let outcome = tokio::time::timeout(DURABLE_TIMEOUT, async {
            queued.await.ok()?;
            let way = match channel {
                Channel::Plain => Way::PushPlain,
                Channel::Tls => Way::PushTls,
            };
            let mut raw = self.intake.ring().batch();
            raw.add(&Entry { relay, tls_name: Some(&proof.key), signature, idempotency, ..Entry::new(now, way, source, body) });
            self.intake.ring().put(&mut raw);
            answered.await.ok()
        });
        match outcome.await {
            Ok(Some(PushAnswer::Accepted(events))) => Answer::accepted(events),
            Ok(Some(PushAnswer::KeyReused)) => Answer::problem(422, "this Idempotency-Key was used for another body", None),
            Ok(Some(PushAnswer::Overloaded)) => Answer::problem(503, "too many signed pushes in the last ten minutes", None),
            Ok(Some(PushAnswer::Replayed)) => {
                Answer::problem(409, "this signature was used before; sign again with the present time, or send an Idempotency-Key", None)
            }
            Ok(None) => Answer::problem(503, "the gateway is stopping; nothing is promised: send again", None),
            Err(_) => Answer::problem(503, "the gateway cannot store anything at present; nothing is promised: send again", None),
        }
    }

    fn digests(&self, proof: &Proof, idempotency_key: Option<&str>, body: &[u8]) -> (Option<u64>, Option<(u64, u64)>) {
        let digests = self.intake.digests();
        let signature = proof.mac.map(|mac| digests.of(&[b"push signature", proof.key.as_bytes(), &mac]));
        let idempotency = idempotency_key
            .map(|key| (digests.of(&[b"idempotency key", proof.key.as_bytes(), key.as_bytes()]), digests.of(&[b"push body", body])));
        (signature, idempotency)
    }
}

/// Who pushed, when, and how.
pub(crate) struct Sender<'a> {
    /// When it came.
    pub(crate) received: Timestamp,
    /// The sender.
    pub(crate) peer: Peer,
    /// Whether over TLS.
    pub(crate) channel: Channel,
    /// The key's id.
    pub(crate) key: &'a str,
}

impl Sender<'_> {
    /// Makes the event of what was pushed.
    pub(crate) fn event(&self, event: PushEvent) -> Event {
        let (transport, authenticity) = match self.channel {
            Channel::Plain => (Transport::Tcp, Authenticity::UsmAuth),
            Channel::Tls => (Transport::Tls, Authenticity::Tls),
        };
        let Peer { source, relay } = self.peer;
        let (tls_name, body) = (Some(self.key.to_owned()), Body::Push(event));
        Event { received: self.received, peer: source, transport, authenticity, relay, tls_name, body }
    }
}

fn refuse(error: CredentialError) -> Answer {
    let (status, reason) = match error {
        CredentialError::Malformed => (400, DropReason::Malformed),
        CredentialError::BearerInClear | CredentialError::Missing => (401, DropReason::NotAuthentic),
        CredentialError::Skew | CredentialError::Wrong => (401, DropReason::BadSignature),
    };
    Answer::problem(status, &error.to_string(), Some(reason))
}
