//! Makes both sides' alerts agree again after one of them was set back: what the gateway's disk forgot goes down to it, then it sends
//! all its open alerts anew, and what is left open here is over.

use std::collections::VecDeque;

use postern_protocol::message::{Adopt, Hello, Resent, down};

use super::context::{Context, HandlerError};
use super::downward::Downward;
use super::greeting;
use crate::store::healing::Judgement;

/// The first heartbeat follows the greeting at once; by the second, a gateway of version 1 has all the open alerts that the greeting
/// asked for in its spool.
const RESENT_BY_HEARTBEAT: u64 = 2;

/// Version since which a gateway says itself when it has resent.
const SAYS_RESENT: u32 = 2;

/// Most bytes of alerts in one piece of an adoption.
const PIECE_BYTES: usize = 256 * 1024;

/// What became of a word that every open alert was committed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is from before what this session asked for.
    PassedOver,
    /// It is noted.
    Taken,
}

/// How far a session's healing is.
pub(super) struct Healing {
    context: Context,
    resend_asked: bool,
    heartbeats: u64,
    /// What the gateway has to adopt and was not sent yet; `None` when nothing is.
    adoption: Option<VecDeque<Vec<u8>>>,
    /// Names what is asked for: a resend from before says too little. 0 when nothing is.
    nonce: u64,
}

impl Healing {
    /// Begins with what the greeting showed.
    pub(super) fn new(context: Context, hello: &Hello, judgement: &Judgement) -> Self {
        let adoption: VecDeque<_> = judgement.adopt.iter().map(postern_protocol::alert::Alert::encode).collect();
        let adoption = (!adoption.is_empty()).then_some(adoption);
        let resend_asked = judgement.resend || adoption.is_some();
        Self { context, resend_asked, heartbeats: 0, adoption, nonce: greeting::resend_nonce(hello, judgement) }
    }

    /// Whether all open alerts come again in this session: a gap is then expected.
    pub(super) const fn resend_asked(&self) -> bool {
        self.resend_asked
    }

    /// Whether a piece of an adoption waits to be sent.
    pub(super) const fn is_under_way(&self) -> bool {
        self.adoption.is_some()
    }

    /// Sends the next piece of an adoption. Not cancel-safe: a piece that was begun must be sent.
    pub(super) async fn piece(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let Some(adoption) = &mut self.adoption else { return Ok(()) };
        let (alerts, complete) = next_piece(adoption);
        let count = alerts.len();
        down.send(down::Kind::Adopt(Adopt { alerts, complete })).await?;
        tracing::info!(gateway = %self.context.peer.gateway, alerts = count, complete, "alerts that the gateway forgot went to it");
        if complete {
            self.adoption = None;
        }
        Ok(())
    }

    /// Counts proofs of life: a gateway of version 1 does not say when it has resent.
    pub(super) async fn heartbeat(&mut self, down: &Downward) -> Result<(), HandlerError> {
        self.heartbeats = self.heartbeats.saturating_add(1);
        if self.heartbeats == RESENT_BY_HEARTBEAT && self.resend_asked && !down.speaks(SAYS_RESENT) {
            self.context.store.close_gaps(&self.context.peer.gateway).await?;
        }
        Ok(())
    }

    /// Takes note that every open alert was committed again.
    pub(super) async fn resent(&mut self, resent: Resent) -> Result<Heard, HandlerError> {
        let Context { app, peer, store, .. } = &self.context;
        if self.adoption.is_some() || (self.nonce != 0 && resent.nonce != self.nonce) {
            tracing::debug!(gateway = %peer.gateway, "a resend from before the greeting is passed over");
            return Ok(Heard::PassedOver);
        }
        if [resent.sequence, resent.since_revision].into_iter().any(|number| i64::try_from(number).is_err()) {
            return Err(HandlerError::Invalid("a resend whose numbers are out of range"));
        }
        let changes = store.resent(&peer.gateway, resent, app.now()).await?;
        for change in changes {
            app.feed.publish(&peer.tenant, change);
        }
        Ok(Heard::Taken)
    }
}

/// Takes the next piece, and says whether it is the last one.
fn next_piece(adoption: &mut VecDeque<Vec<u8>>) -> (Vec<Vec<u8>>, bool) {
    let mut bytes = 0_usize;
    let mut piece = Vec::new();
    while let Some(alert) = adoption.pop_front() {
        bytes = bytes.saturating_add(alert.len());
        if bytes > PIECE_BYTES && !piece.is_empty() {
            adoption.push_front(alert);
            break;
        }
        piece.push(alert);
    }
    (piece, adoption.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_whole_and_in_order() {
        let mut adoption: VecDeque<_> = (0..100_u8).map(|n| vec![n; 10_000]).collect();
        let mut seen = Vec::new();
        loop {
            let (piece, last) = next_piece(&mut adoption);
            assert!(!piece.is_empty() && piece.iter().map(Vec::len).sum::<usize>() <= PIECE_BYTES);
            seen.extend(piece.iter().map(|alert| alert[0]));
            if last {
                break;
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
