//! How far a gateway got with a pushed revision, as it says itself.

use postern_protocol::id::RevisionNumber;
use postern_protocol::message::{self, ConfirmRevision, RevisionStatus, down};
use postern_protocol::revision::Problem;

use super::context::{Context, HandlerError};
use super::downward::Downward;
use crate::store::revisions::{RevisionReport, RevisionState};

const MAX_PROBLEMS: usize = 200;
const MAX_TEXT_CHARACTERS: usize = 1024;

/// Stores how far a revision got, and confirms what waits for that.
pub(super) async fn take(context: &Context, status: RevisionStatus, down: &mut Downward) -> Result<(), HandlerError> {
    let gateway = &context.peer.gateway;
    let number = RevisionNumber(status.number);
    if i64::try_from(number.0).is_err() {
        return Err(HandlerError::Invalid("a revision's number that is out of range"));
    }
    let state = match status.state() {
        message::RevisionState::Unspecified => return Err(HandlerError::Invalid("a revision's state that is none")),
        message::RevisionState::Applying => RevisionState::Applying,
        message::RevisionState::Applied => RevisionState::Applied,
        message::RevisionState::Failed => RevisionState::Failed,
        message::RevisionState::Provisional => RevisionState::Provisional,
        message::RevisionState::Reverted => RevisionState::Reverted,
    };
    let problems = status.problems.into_iter().take(MAX_PROBLEMS).map(problem).collect();
    let now = context.app.now();
    context.store.set_revision_state(gateway, RevisionReport { number, state, problems }, now).await?;
    tracing::info!(%gateway, revision = %number, state = state.name(), "revision state");
    if state == RevisionState::Provisional || state.is_undone() {
        // A newer one that was refused leaves the one before on trial.
        confirm(context, down).await?;
    }
    context.publish();
    context.app.rollouts.wake();
    Ok(())
}

/// Confirms the revision that is on trial, unless a newer one is to take its place.
pub(super) async fn confirm(context: &Context, down: &mut Downward) -> Result<(), HandlerError> {
    if let Some(number) = context.store.confirmable(&context.peer.gateway).await? {
        down.send(down::Kind::ConfirmRevision(ConfirmRevision { number: number.0 })).await?;
        tracing::info!(gateway = %context.peer.gateway, revision = %number, "revision confirmed");
    }
    Ok(())
}

fn problem(problem: message::RevisionProblem) -> Problem {
    let cut = |text: String| text.chars().take(MAX_TEXT_CHARACTERS).collect();
    Problem { path: cut(problem.path), line: problem.line, column: problem.column, reason: cut(problem.reason) }
}
