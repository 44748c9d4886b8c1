//! What a gateway has to be told: its desired revision and the closes that it has not confirmed. Always read from the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use postern_protocol::id::RevisionNumber;
use postern_protocol::message::{CloseAlert, Down, Hello, SignedRevision, down};
use postern_protocol::revision::BUILT_IN;

use super::frames::{StreamError, Writer};
use super::identity::Peer;
use crate::app::App;
use crate::store::ingest::PendingClose;
use crate::store::revisions::{NewRevision, Revision, RevisionReport, RevisionState};
use crate::store::{StoreError, TenantStore};

/// Why the gateway cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NewsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// What a session has told its gateway.
pub(super) struct News {
    app: Arc<App>,
    peer: Peer,
    store: TenantStore,
    /// The newest revision that it has, or was sent in this session.
    sent: RevisionNumber,
    /// Closes that were sent in this session and are not confirmed.
    told: BTreeSet<PendingClose>,
}

impl News {
    pub(super) fn new(app: Arc<App>, peer: Peer, store: TenantStore) -> Self {
        Self { app, peer, store, sent: RevisionNumber(0), told: BTreeSet::new() }
    }

    /// Sends what the gateway lacks by its own greeting.
    pub(super) async fn greet(&mut self, hello: &Hello, writer: &mut Writer) -> Result<(), NewsError> {
        let effective = RevisionNumber(hello.effective_revision);
        self.store.set_effective_revision(&self.peer.gateway, effective).await?;
        let desired = self.desired(RevisionNumber(hello.newest_revision)).await?;
        let number = desired.view.number;
        if number == effective {
            if desired.view.state != RevisionState::Applied {
                // Its report was lost with the session before.
                let report = RevisionReport { number, state: RevisionState::Applied, problems: Vec::new() };
                self.store.set_revision_state(&self.peer.gateway, report, self.app.now()).await?;
            }
            self.sent = number;
        } else if desired.view.state == RevisionState::Failed && number.0 == hello.newest_revision {
            self.sent = number;
        } else {
            self.send_revision(desired, writer).await?;
        }
        self.send_closes(writer).await
    }

    /// Sends what is new since the last time.
    pub(super) async fn send(&mut self, writer: &mut Writer) -> Result<(), NewsError> {
        if let Some(desired) = self.store.desired(&self.peer.gateway).await?.filter(|desired| desired.view.number > self.sent) {
            self.send_revision(desired, writer).await?;
        }
        self.send_closes(writer).await
    }

    /// Returns the desired revision under a number that is not below `newest`, the newest that the gateway has ever taken in.
    async fn desired(&self, newest: RevisionNumber) -> Result<Revision, NewsError> {
        loop {
            let stored = self.store.desired(&self.peer.gateway).await?;
            let document = match stored {
                Some(desired) if desired.view.number >= newest => return Ok(desired),
                // This store was restored from an older state: the gateway would refuse an old number, so a new one is made.
                Some(desired) => desired.document,
                None => BUILT_IN.as_bytes().to_vec(),
            };
            let new = NewRevision {
                gateway: self.peer.gateway.clone(),
                document,
                by: "control-plane".to_owned(),
                at_least: RevisionNumber(newest.0.saturating_add(1)),
                at: self.app.now(),
            };
            let number = self.store.put_revision(new, &self.app.signer).await?;
            tracing::warn!(gateway = %self.peer.gateway, %newest, revision = %number, "the store lacked revisions that the gateway has seen");
        }
    }

    async fn send_revision(&mut self, revision: Revision, writer: &mut Writer) -> Result<(), NewsError> {
        self.sent = revision.view.number;
        let message = SignedRevision { number: revision.view.number.0, document: revision.document, signature: revision.signature };
        writer.send(&Down { kind: Some(down::Kind::Revision(message)) }).await?;
        tracing::info!(gateway = %self.peer.gateway, revision = %self.sent, "revision sent");
        Ok(())
    }

    async fn send_closes(&mut self, writer: &mut Writer) -> Result<(), NewsError> {
        let pending: BTreeSet<_> = self.store.pending_closes(&self.peer.gateway).await?.into_iter().collect();
        for close in pending.difference(&self.told) {
            let message = CloseAlert {
                resource: close.resource.clone(),
                kind: close.kind.clone(),
                qualifier: close.qualifier.clone(),
                occurrence: close.occurrence,
                count_seen: close.count_seen,
            };
            writer.send(&Down { kind: Some(down::Kind::CloseAlert(message)) }).await?;
        }
        self.told = pending;
        Ok(())
    }
}
