//! What the control plane may be told once a commit is durable: that every open alert was committed again.

use std::collections::VecDeque;

use postern_protocol::id::Lane;
use postern_protocol::message::Resent;
use postern_uplink::spool::{CommitNumber, Spool};
use postern_uplink::tunnel::Outgoing;
use tokio::sync::mpsc;

/// What waits for commits to become durable.
pub(crate) struct Milestones {
    outgoing: mpsc::Sender<Outgoing>,
    /// The first revision of a resend whose records are in no commit yet.
    resend: Option<u64>,
    /// Commits with a resend, and its first revision.
    waiting: VecDeque<(CommitNumber, u64)>,
}

impl Milestones {
    /// Makes milestones that speak through `outgoing`.
    pub(crate) const fn new(outgoing: mpsc::Sender<Outgoing>) -> Self {
        Self { outgoing, resend: None, waiting: VecDeque::new() }
    }

    /// Takes note that every open alert was marked to be sent again, the first under revision `since`.
    pub(super) fn resend(&mut self, since: u64) {
        self.resend = Some(since);
    }

    /// Takes note of a commit that has all urgent changes.
    pub(super) fn committed(&mut self, commit: CommitNumber) {
        self.waiting.extend(self.resend.take().map(|since| (commit, since)));
    }

    /// Tells what `durable` has made true.
    pub(super) fn reached(&mut self, durable: CommitNumber, spool: &Spool) {
        while let Some((_, since_revision)) = self.waiting.pop_front_if(|(commit, _)| *commit <= durable) {
            let epoch = spool.epoch();
            let lane = u32::from(Lane::Alerts.number());
            // All that the lane has by now: a little more than the resend does no harm.
            let head = spool.heads().into_iter().find(|head| head.lane == lane && head.epoch == epoch.0);
            let sequence = head.map_or(0, |head| head.sequence);
            let resent = Resent { epoch: epoch.0, sequence, since_revision };
            if self.outgoing.try_send(Outgoing::Resent(resent)).is_err() {
                // The queue is full only without a session; the next greeting asks again.
                tracing::debug!("no room to tell that every open alert was sent again");
            }
        }
    }
}
