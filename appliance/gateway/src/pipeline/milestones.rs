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
    /// The newest `Welcome::resend_nonce` that was fulfilled.
    nonce: u64,
    /// The first revision of the newest resend: only the word on that one settles anything.
    newest: Option<u64>,
    /// The resend whose records are in no commit yet.
    resend: Option<Resend>,
    /// Commits with a resend.
    waiting: VecDeque<(CommitNumber, Resend)>,
}

/// Every open alert, committed again.
#[derive(Clone, Copy)]
struct Resend {
    since_revision: u64,
    nonce: u64,
}

impl Milestones {
    /// Makes milestones that speak through `outgoing`.
    pub(crate) const fn new(outgoing: mpsc::Sender<Outgoing>) -> Self {
        Self { outgoing, nonce: 0, newest: None, resend: None, waiting: VecDeque::new() }
    }

    /// Takes note that every open alert was marked to be sent again, the first under revision `since`, because the control plane asked
    /// for it with `nonce`; 0 when it did not. Every start of the gateway does it anew until [`Milestones::heard`].
    pub(super) fn resend(&mut self, (since, nonce): (u64, u64), spool: &Spool) {
        // A later resend has all that an earlier one had.
        self.nonce = if nonce == 0 { self.nonce } else { nonce };
        self.newest = Some(since);
        self.resend = Some(Resend { since_revision: since, nonce: self.nonce });
        spool.owe_resend();
    }

    /// Takes note that the control plane knows of the resend whose first revision is `since`.
    pub(super) fn heard(&mut self, since: u64, spool: &Spool) {
        if self.newest == Some(since) {
            self.newest = None;
            spool.settle_resend();
        }
    }

    /// Takes note of a commit that has all urgent changes.
    pub(super) fn committed(&mut self, commit: CommitNumber) {
        self.waiting.extend(self.resend.take().map(|resend| (commit, resend)));
    }

    /// Tells what `durable` has made true.
    pub(super) fn reached(&mut self, durable: CommitNumber, spool: &Spool) {
        while let Some((_, Resend { since_revision, nonce })) = self.waiting.pop_front_if(|(commit, _)| *commit <= durable) {
            let epoch = spool.epoch();
            let lane = u32::from(Lane::Alerts.number());
            // All that the lane has by now: a little more than the resend does no harm.
            let head = spool.heads().into_iter().find(|head| head.lane == lane && head.epoch == epoch.0);
            let sequence = head.map_or(0, |head| head.sequence);
            let resent = Resent { epoch: epoch.0, sequence, since_revision, nonce };
            if self.outgoing.try_send(Outgoing::Resent(resent)).is_err() {
                // The queue is full only without a session; the next greeting asks again.
                tracing::debug!("no room to tell that every open alert was sent again");
            }
        }
    }
}
