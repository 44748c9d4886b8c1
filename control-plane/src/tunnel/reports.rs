//! What a gateway says of itself on the control stream: how far a revision got, and its status.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::id::RevisionNumber;
use postern_protocol::message::{self, LedgerMinutes, RevisionStatus};
use postern_protocol::revision::Problem;
use postern_protocol::status::Status;
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;

use super::identity::Peer;
use super::{bounds, minutes};
use crate::app::App;
use crate::feed::Change;
use crate::store::revisions::{RevisionReport, RevisionState};
use crate::store::{StoreError, TenantStore};

const MAX_STATUS_BYTES: usize = 512 * 1024;
const MAX_PROBLEMS: usize = 200;
const MAX_TEXT_CHARACTERS: usize = 1024;

/// Statuses that follow faster are passed over: the next one says it all again.
const STATUS_AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// Why a report ends the session.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// It is not what the protocol says.
    #[error("{0}")]
    Invalid(&'static str),
    /// The store failed.
    #[error("a report cannot be stored")]
    Store(#[from] StoreError),
}

/// Stores a session's reports.
pub(super) struct Reports {
    app: Arc<App>,
    peer: Peer,
    store: TenantStore,
    last_status: Option<Timestamp>,
    /// The unknown OIDs that were stored last: they change seldom.
    unknown_oids: Vec<UnknownOid>,
}

impl Reports {
    pub(super) fn new(app: Arc<App>, peer: Peer, store: TenantStore) -> Self {
        Self { app, peer, store, last_status: None, unknown_oids: Vec::new() }
    }

    /// Stores how far a revision got.
    pub(super) async fn revision(&mut self, status: RevisionStatus) -> Result<(), ReportError> {
        let gateway = &self.peer.gateway;
        let number = RevisionNumber(status.number);
        if i64::try_from(number.0).is_err() {
            return Err(ReportError::Invalid("a revision's number is out of range"));
        }
        let state = match status.state() {
            message::RevisionState::Unspecified => return Err(ReportError::Invalid("a revision's state is not one")),
            message::RevisionState::Applying | message::RevisionState::Provisional => RevisionState::Applying,
            message::RevisionState::Applied => RevisionState::Applied,
            message::RevisionState::Failed | message::RevisionState::Reverted => RevisionState::Failed,
        };
        let problems = status.problems.into_iter().take(MAX_PROBLEMS).map(problem).collect();
        let now = self.app.now();
        self.store.set_revision_state(gateway, RevisionReport { number, state, problems }, now).await?;
        if state == RevisionState::Applied {
            self.store.set_effective_revision(gateway, number).await?;
        }
        tracing::info!(%gateway, revision = %number, state = state.name(), "revision state");
        self.publish();
        Ok(())
    }

    /// Stores a status. One that this version cannot read is passed over: the gateway may be newer.
    pub(super) async fn status(&mut self, text: &[u8]) -> Result<(), ReportError> {
        if text.len() > MAX_STATUS_BYTES {
            return Err(ReportError::Invalid("a status is too long"));
        }
        let now = self.app.now();
        if self.last_status.is_some_and(|last| now.saturating_since(last) < STATUS_AT_MOST_EVERY) {
            return Ok(());
        }
        match serde_json::from_slice::<Status>(text) {
            Ok(mut status) => {
                self.last_status = Some(now);
                bounds::bound(&mut status.intake);
                self.store.set_status(&self.peer.gateway, &status, now).await?;
                if status.intake.unknown_oids != self.unknown_oids {
                    self.unknown_oids = status.intake.unknown_oids;
                    self.store.put_unknown_oids(&self.peer.gateway, self.unknown_oids.clone(), now).await?;
                }
                self.publish();
            }
            Err(error) => tracing::debug!(gateway = %self.peer.gateway, %error, "a status cannot be read"),
        }
        Ok(())
    }

    /// Stores minutes of the ledger.
    pub(super) async fn minutes(&mut self, message: LedgerMinutes) -> Result<(), ReportError> {
        let now = self.app.now();
        let minutes = minutes::bounded(message, now);
        if !minutes.is_empty() {
            self.store.put_minutes(&self.peer.gateway, minutes, now).await?;
            self.publish();
        }
        Ok(())
    }

    fn publish(&self) {
        self.app.feed.publish(&self.peer.tenant, Change::Gateway { id: self.peer.gateway.clone() });
    }
}

fn problem(problem: message::RevisionProblem) -> Problem {
    let cut = |text: String| text.chars().take(MAX_TEXT_CHARACTERS).collect();
    Problem { path: cut(problem.path), line: problem.line, column: problem.column, reason: cut(problem.reason) }
}
