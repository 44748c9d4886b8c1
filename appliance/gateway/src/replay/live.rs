//! A candidate that the control plane asks about, tried on the ring.
//!
//! One at a time, on a thread of its own that gives way: it rests as long as a quarter of what it worked. The answer is bounded and says
//! nothing of an event's text. Decoded by the settings in force: a candidate's users, communities and time zones are not tried.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use postern_engine::rule::RuleIndex;
use postern_engine::snmp::engine_id::EngineId;
use postern_protocol::dictionary::Dictionary;
use postern_protocol::message;
use postern_protocol::replay::{Figures, MAX_DIFFERENCES, ReplayState, Replayed};
use postern_protocol::revision::{self, Problem};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::tunnel::Outgoing;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::compare::encode;
use super::decode::Decoder;
use super::{Run, Side, Sides, compare};
use crate::audit::Audit;
use crate::audit::action::Action;
use crate::pipeline::Order;
use crate::revision::veto::Veto;
use crate::ring::Reader;
use crate::ring::reader::Found;
use crate::site::Site;

/// Questions that wait; further ones are answered that there is no room.
pub(crate) const QUEUE: usize = 4;

/// Most problems of a candidate that are told.
const MAX_PROBLEMS: usize = 100;

/// Entries after which the thread looks whether to rest or to stop.
const TURN: u32 = 256;

/// What replays are made with.
#[derive(Clone)]
pub(crate) struct Stage {
    /// Without one there are no replays.
    pub(crate) ring: Option<Reader>,
    /// Our SNMP engine.
    pub(crate) own: Option<EngineId>,
    /// What the receivers go by.
    pub(crate) site: watch::Receiver<Arc<Site>>,
    /// Whoever has the rules in force.
    pub(crate) orders: mpsc::Sender<Order>,
    /// Where it is written down.
    pub(crate) audit: Audit,
}

/// The rules in force, and the names that alerts are written with.
pub(crate) type InForce = (RuleIndex, Arc<Dictionary>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    /// An answer cannot be written: a fault of the program.
    #[error("an answer cannot be written")]
    Encode(#[from] serde_json::Error),
    /// The pipeline has ended.
    #[error("the pipeline has ended")]
    PipelineEnded,
    /// The thread panicked: a fault of the program.
    #[error("the replay's thread panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Stage {
    /// Returns the rules in force.
    ///
    /// # Errors
    /// [`LiveError::PipelineEnded`].
    pub(crate) async fn in_force(&self) -> Result<InForce, LiveError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::TellRules(answer)).await.map_err(|_| LiveError::PipelineEnded)?;
        answered.await.map_err(|_| LiveError::PipelineEnded)
    }

    /// Makes a decoder that goes by the settings in force.
    pub(crate) fn decoder(&self) -> Decoder {
        Decoder::new(Arc::clone(&self.site.borrow()), self.own)
    }
}

/// The task that answers.
pub(crate) struct Replayer {
    pub(crate) stage: Stage,
    /// What the site forbids.
    pub(crate) veto: Veto,
    pub(crate) questions: mpsc::Receiver<message::Replay>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
}

impl Replayer {
    /// Answers until `stop` is cancelled or nobody can ask any more.
    ///
    /// # Errors
    /// [`LiveError`].
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), LiveError> {
        loop {
            // Cancel-safe: a question that is not taken stays in the queue.
            let question = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                question = self.questions.recv() => question,
            };
            let Some(question) = question else { return Ok(()) };
            let number = question.number;
            let result = match self.answer(question, &stop).await {
                // It ends at the same token, and was first.
                Err(LiveError::PipelineEnded) if stop.is_cancelled() => return Ok(()),
                answered => encode(answered?)?,
            };
            send(&self.outgoing, number, result);
        }
    }

    async fn answer(&self, question: message::Replay, stop: &CancellationToken) -> Result<Replayed, LiveError> {
        let message::Replay { document, from, asked_by, .. } = question;
        let sha256 = HEXLOWER.encode(digest::digest(&digest::SHA256, &document).as_ref());
        self.stage.audit.note(Action::ReplayAsked { asked_by, from, document: sha256 });
        let Some(ring) = self.stage.ring.clone() else {
            return Ok(without(ReplayState::Unavailable, "this site keeps no events for replays ([ring] bytes = 0 in the gateway's file)"));
        };
        let veto = self.veto.clone();
        let candidate = match tokio::task::spawn_blocking(move || candidate(&veto, &document)).await? {
            Ok(candidate) => candidate,
            Err((reason, mut problems)) => {
                problems.truncate(MAX_PROBLEMS);
                return Ok(Replayed { problems, ..without(ReplayState::Refused, reason) });
            }
        };
        let (effective, names) = self.stage.in_force().await?;
        ring.flush().await;
        let until = Timestamp::from(SystemTime::now());
        let (side, decoder) = (|rules| Side::new(rules, Arc::clone(&names)), self.stage.decoder());
        let run = Run::new(Sides { effective: Some(side(effective)), candidate: side(candidate) });
        let (span, stop) = ((Timestamp::from_nanos(from), until), stop.clone());
        tokio::task::spawn_blocking(move || replay(&ring, span, (run, decoder), &stop)).await.map_err(LiveError::from)
    }
}

/// Hands a question on, or answers that there is no room for it.
pub(crate) fn ask(questions: &mpsc::Sender<message::Replay>, outgoing: &mpsc::Sender<Outgoing>, question: message::Replay) {
    let number = question.number;
    if questions.try_send(question).is_ok() {
        return;
    }
    let busy = without(ReplayState::Unavailable, "other replays are waiting: ask again in a minute");
    match encode(busy) {
        Ok(result) => send(outgoing, number, result),
        Err(error) => tracing::warn!(error = %error, "a refusal of a replay cannot be written"),
    }
}

fn send(outgoing: &mpsc::Sender<Outgoing>, number: u64, result: Vec<u8>) {
    if outgoing.try_send(Outgoing::ReplayReply(message::ReplayReply { number, result })).is_err() {
        // The queue is full only without a session; whoever asked asks again.
        tracing::debug!(number, "no room for the answer to a replay");
    }
}

fn candidate(veto: &Veto, document: &[u8]) -> Result<RuleIndex, (&'static str, Vec<Problem>)> {
    const FAULTY: &str = "the candidate has problems";
    let document = revision::parse(document).map_err(|problems| (FAULTY, problems))?;
    let forbidden = veto.problems(&document);
    if !forbidden.is_empty() {
        return Err(("this site forbids what the candidate says", forbidden));
    }
    RuleIndex::compile(&document).map_err(|problems| (FAULTY, problems))
}

fn replay(ring: &Reader, span: (Timestamp, Timestamp), work: (Run, Decoder), stop: &CancellationToken) -> Replayed {
    let ((mut run, mut decoder), mut pace) = (work, Pace::default());
    let found = ring.read(span, |entry| {
        match decoder.decode(entry) {
            Ok(events) => run.take(&events),
            Err(_) => run.undecodable(),
        }
        pace.keep(stop)
    });
    match found {
        Ok(Found { damaged }) => {
            if !run.is_empty() {
                run.pass(span.1);
            }
            let mut replayed = compare(&run.end(), MAX_DIFFERENCES);
            if damaged > 0 {
                replayed.reason = format!("{damaged} blocks of the ring are damaged and were passed over");
            }
            replayed
        }
        Err(error) => without(ReplayState::Unavailable, &crate::chain(&error)),
    }
}

/// Gives way to everyone else.
struct Pace {
    entries: u32,
    since: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { entries: 0, since: Instant::now() }
    }
}

impl Pace {
    fn keep(&mut self, stop: &CancellationToken) -> ControlFlow<()> {
        self.entries = self.entries.wrapping_add(1);
        if !self.entries.is_multiple_of(TURN) {
            return ControlFlow::Continue(());
        }
        if stop.is_cancelled() {
            return ControlFlow::Break(());
        }
        // Not to wait for anything: this thread is the only one that has time.
        std::thread::sleep((self.since.elapsed() / 4).min(Duration::from_millis(50)));
        self.since = Instant::now();
        ControlFlow::Continue(())
    }
}

fn without(state: ReplayState, reason: &str) -> Replayed {
    Replayed {
        state,
        reason: reason.to_owned(),
        problems: Vec::new(),
        from: 0,
        until: 0,
        events: 0,
        undecodable: 0,
        effective: Figures::default(),
        candidate: Figures::default(),
        differences: Vec::new(),
        further: 0,
    }
}

#[cfg(test)]
mod tests;
