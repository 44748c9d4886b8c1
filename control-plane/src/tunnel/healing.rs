//! Makes both sides' alerts agree again after one of them was set back: the gateway sends all its open alerts anew.

use postern_protocol::message::Resent;

use super::context::{Context, HandlerError};
use super::downward::Downward;

/// The first heartbeat follows the greeting at once; by the second, a gateway of version 1 has all the open alerts that the greeting
/// asked for in its spool.
const RESENT_BY_HEARTBEAT: u64 = 2;

/// How far a session's healing is.
pub(super) struct Healing {
    context: Context,
    resend_asked: bool,
    heartbeats: u64,
}

impl Healing {
    pub(super) const fn new(context: Context, resend_asked: bool) -> Self {
        Self { context, resend_asked, heartbeats: 0 }
    }

    /// Whether the greeting asked for all open alerts: a gap is then expected.
    pub(super) const fn resend_asked(&self) -> bool {
        self.resend_asked
    }

    /// Whether a piece of an adoption waits to be sent.
    pub(super) const fn is_under_way(&self) -> bool {
        false
    }

    /// Sends the next piece.
    pub(super) async fn piece(&mut self, _down: &mut Downward) -> Result<(), HandlerError> {
        Ok(())
    }

    /// Counts proofs of life.
    pub(super) async fn heartbeat(&mut self) -> Result<(), HandlerError> {
        self.heartbeats = self.heartbeats.saturating_add(1);
        if self.heartbeats == RESENT_BY_HEARTBEAT && self.resend_asked {
            self.context.store.close_gaps(&self.context.peer.gateway).await?;
        }
        Ok(())
    }

    /// Takes note that every open alert was committed again.
    pub(super) async fn resent(&mut self, _resent: Resent) -> Result<(), HandlerError> {
        Ok(())
    }
}
