//! Whom the gateway is to trust: the present bundle goes down to whoever has an older one, and what became of it comes back.

use postern_protocol::message::{Hello, TrustStatus, down};

use super::context::{Context, HandlerError};
use super::downward::Downward;

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

/// What a session has told its gateway of trust.
pub(super) struct Trust {
    context: Context,
    /// Serial of the bundle that the gateway has, or was sent in this session.
    sent: u64,
}

impl Trust {
    pub(super) const fn new(context: Context) -> Self {
        Self { context, sent: 0 }
    }

    /// Sends the bundle if the gateway's greeting says an older one.
    pub(super) async fn greet(&mut self, hello: &Hello, down: &mut Downward) -> Result<(), HandlerError> {
        if !down.speaks(2) {
            return Ok(());
        }
        let (app, gateway) = (&self.context.app, &self.context.peer.gateway);
        if hello.trust_serial > app.trust.current().ring().serial {
            // Our keys were restored from an older state: what we have now must count as newer.
            tracing::warn!(%gateway, serial = hello.trust_serial, "a gateway trusts a newer state than ours: the keys folder was set back");
            if let Err(error) = app.trust.raise(hello.trust_serial) {
                tracing::error!(error = %crate::chain(&error), "the key ring cannot be changed");
            }
        }
        self.sent = hello.trust_serial;
        if app.stores.system().confirmed_trust(gateway).await?.confirmed != hello.trust_serial && hello.trust_serial > 0 {
            app.stores.system().trust_confirmed(gateway, hello.trust_serial, None, app.now()).await?;
        }
        self.send(down).await
    }

    /// Sends the bundle if it has changed since the last time.
    pub(super) async fn send(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let app = &self.context.app;
        let Some(bundle) = app.trust.current().bundle(&self.context.peer.gateway, &app.signer) else { return Ok(()) };
        if bundle.serial <= self.sent {
            return Ok(());
        }
        self.sent = bundle.serial;
        tracing::info!(gateway = %self.context.peer.gateway, serial = bundle.serial, "trust bundle sent");
        Ok(down.send(down::Kind::TrustBundle(bundle)).await?)
    }

    /// Stores what became of a bundle.
    pub(super) async fn taken(&mut self, status: TrustStatus) -> Result<(), HandlerError> {
        let Context { app, peer, .. } = &self.context;
        if status.serial > app.trust.current().ring().serial {
            return Err(HandlerError::Invalid("the state of a trust bundle that nobody gave it"));
        }
        let refused = (!status.refused.is_empty()).then(|| status.refused.chars().take(MAX_REASON).collect::<String>());
        match &refused {
            None => tracing::info!(gateway = %peer.gateway, serial = status.serial, "trust bundle confirmed"),
            Some(reason) => tracing::warn!(gateway = %peer.gateway, serial = status.serial, reason, "trust bundle refused"),
        }
        app.stores.system().trust_confirmed(&peer.gateway, status.serial, refused, app.now()).await?;
        self.context.publish();
        Ok(())
    }
}
