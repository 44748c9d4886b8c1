//! Who waits for an answer, and what became of a turn's events.

use std::net::IpAddr;

use postern_engine::event::Protocol;
use postern_engine::ledger::DropReason;
use tokio::sync::oneshot;

use crate::intake::{Inform, PushAnswer};
use crate::receivers::reply as answer;

/// An answer that waits until what it promises is durable.
pub(super) enum Reply {
    Inform(Inform),
    Push(oneshot::Sender<PushAnswer>, PushAnswer),
    Rehearsed(oneshot::Sender<()>),
}

/// By which protocol, from whom, and why it was given up, if it was.
pub(super) type Fate = (Protocol, IpAddr, Option<DropReason>);

/// What became of a turn's events.
#[derive(Default)]
pub(super) struct Settled {
    /// A list, because one turn has few sources, and the last is most often the same.
    pub(super) counts: Vec<(Fate, u64)>,
    /// Refusals, to be told once they are counted: whoever reads the status after a refusal finds it there.
    pub(super) refused: Vec<Reply>,
}

impl Settled {
    pub(super) fn add(&mut self, key: Fate, n: u64) {
        match self.counts.iter_mut().rev().find(|(known, _)| *known == key) {
            Some((_, sum)) => *sum = sum.saturating_add(n),
            None => self.counts.push((key, n)),
        }
    }
}

/// Sends one answer; a sender that is gone will ask again.
pub(super) fn reply(reply: Reply) {
    match reply {
        Reply::Inform(Inform { peer, local, response, socket, .. }) => {
            if let Err(error) = answer::send(&socket, peer, local, &response) {
                tracing::debug!(error = %error, "a Response could not be sent");
            }
        }
        Reply::Push(sender, answer) => {
            let _ = sender.send(answer);
        }
        Reply::Rehearsed(sender) => {
            let _ = sender.send(());
        }
    }
}
