//! Whom the gateway is to trust: the present bundle goes down to whoever has an older one, and what became of it comes back.

use postern_protocol::message::{Hello, TrustStatus};

use super::context::{Context, HandlerError};
use super::downward::Downward;

/// What a session has told its gateway of trust.
pub(super) struct Trust {
    _context: Context,
}

impl Trust {
    pub(super) const fn new(context: Context) -> Self {
        Self { _context: context }
    }

    /// Sends the bundle if the gateway's greeting says an older one.
    pub(super) async fn greet(&mut self, _hello: &Hello, _down: &mut Downward) -> Result<(), HandlerError> {
        Ok(())
    }

    /// Sends the bundle if it has changed since the last time.
    pub(super) async fn send(&mut self, _down: &mut Downward) -> Result<(), HandlerError> {
        Ok(())
    }

    /// Stores what became of a bundle.
    pub(super) async fn taken(&mut self, _status: TrustStatus) -> Result<(), HandlerError> {
        Ok(())
    }
}
