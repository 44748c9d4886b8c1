//! What a gateway has to be told: its desired revision and the closes that it has not confirmed. Always read from the store.

use std::collections::BTreeSet;

use postern_protocol::id::RevisionNumber;
use postern_protocol::message::{CloseAlert, Hello, SignedRevision, down};
use postern_protocol::revision::BUILT_IN;

use super::context::{Context, HandlerError};
use super::downward::Downward;
use super::revision_reports;
use crate::store::audit::By;
use crate::store::ingest::PendingClose;
use crate::store::revisions::{Greeted, NewRevision, Revision};

/// What a session has told its gateway.
pub(super) struct News {
    context: Context,
    /// The newest revision that it has, or was sent in this session.
    sent: RevisionNumber,
    /// Closes that were sent in this session and are not confirmed.
    told: BTreeSet<PendingClose>,
}

impl News {
    pub(super) fn new(context: Context) -> Self {
        Self { context, sent: RevisionNumber(0), told: BTreeSet::new() }
    }

    /// Sends what the gateway lacks by its own greeting.
    pub(super) async fn greet(&mut self, hello: &Hello, down: &mut Downward) -> Result<(), HandlerError> {
        let [effective, newest, provisional] =
            [hello.effective_revision, hello.newest_revision, hello.provisional_revision].map(RevisionNumber);
        let greeted = Greeted { effective, newest, provisional };
        self.context.store.greeted(&self.context.peer.gateway, greeted, self.context.app.now()).await?;
        let desired = self.desired(newest).await?;
        let number = desired.view.number;
        if provisional.0 > 0 {
            revision_reports::confirm(&self.context, down).await?;
        }
        if number == effective || (desired.view.state.is_undone() && number == newest) {
            self.sent = number;
        } else {
            self.send_revision(desired, down).await?;
        }
        self.send_closes(down).await
    }

    /// Sends what is new since the last time.
    pub(super) async fn send(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        if let Some(desired) =
            self.context.store.desired(&self.context.peer.gateway).await?.filter(|desired| desired.view.number > self.sent)
        {
            self.send_revision(desired, down).await?;
        }
        self.send_closes(down).await
    }

    /// Sends every close again that the gateway has not confirmed: what it was told of before it knew its alerts anew, it passed over.
    pub(super) async fn repeat_closes(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        self.told.clear();
        self.send_closes(down).await
    }

    /// Returns the desired revision under a number that is not below `newest`, the newest that the gateway has ever taken in.
    async fn desired(&self, newest: RevisionNumber) -> Result<Revision, HandlerError> {
        loop {
            let stored = self.context.store.desired(&self.context.peer.gateway).await?;
            let document = match stored {
                Some(desired) if desired.view.number >= newest => return Ok(desired),
                // This store was restored from an older state: the gateway would refuse an old number, so a new one is made.
                Some(desired) => desired.document,
                None => BUILT_IN.as_bytes().to_vec(),
            };
            let new = NewRevision {
                gateway: self.context.peer.gateway.clone(),
                document,
                by: By::control_plane(),
                remark: "this store lacked revisions that the gateway has seen".to_owned(),
                rollout: None,
                at_least: RevisionNumber(newest.0.saturating_add(1)),
                at: self.context.app.now(),
            };
            let number = self.context.store.put_revision(new, &self.context.app.signer).await?;
            tracing::warn!(gateway = %self.context.peer.gateway, %newest, revision = %number, "the store lacked revisions that the gateway has seen");
        }
    }

    async fn send_revision(&mut self, revision: Revision, down: &mut Downward) -> Result<(), HandlerError> {
        self.sent = revision.view.number;
        let message = SignedRevision { number: revision.view.number.0, document: revision.document, signature: revision.signature };
        down.send(down::Kind::Revision(message)).await?;
        tracing::info!(gateway = %self.context.peer.gateway, revision = %self.sent, "revision sent");
        Ok(())
    }

    async fn send_closes(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let pending: BTreeSet<_> = self.context.store.pending_closes(&self.context.peer.gateway).await?.into_iter().collect();
        for close in pending.difference(&self.told) {
            let message = CloseAlert {
                resource: close.resource.clone(),
                kind: close.kind.clone(),
                qualifier: close.qualifier.clone(),
                occurrence: close.occurrence,
                count_seen: close.count_seen,
            };
            down.send(down::Kind::CloseAlert(message)).await?;
        }
        self.told = pending;
        Ok(())
    }
}
