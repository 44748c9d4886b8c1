//! What the control plane may be told once a commit is durable: how new the newest alert is that the disk has, and that every open
//! alert was committed again.

use std::collections::VecDeque;

use postern_protocol::id::Lane;
use postern_protocol::message::Resent;
use postern_uplink::spool::{CommitNumber, Spool};
use postern_uplink::tunnel::{GreetingFacts, Outgoing};
use tokio::sync::{mpsc, watch};

/// What waits for commits to become durable.
pub(crate) struct Milestones {
    greeting: watch::Sender<GreetingFacts>,
    outgoing: mpsc::Sender<Outgoing>,
    /// The first revision of a resend whose records are in no commit yet.
    resend: Option<u64>,
    waiting: VecDeque<Milestone>,
}

/// What becomes true with a commit.
struct Milestone {
    commit: CommitNumber,
    alert_revision: u64,
    resent_since: Option<u64>,
}

impl Milestones {
    /// Makes milestones that fill `greeting` and speak through `outgoing`.
    pub(crate) const fn new(greeting: watch::Sender<GreetingFacts>, outgoing: mpsc::Sender<Outgoing>) -> Self {
        Self { greeting, outgoing, resend: None, waiting: VecDeque::new() }
    }

    /// Takes note that every open alert was marked to be sent again, the first under revision `since`.
    pub(super) fn resend(&mut self, since: u64) {
        self.resend = Some(since);
    }

    /// Takes note of a commit that has all urgent changes up to `alert_revision`.
    pub(super) fn committed(&mut self, commit: CommitNumber, alert_revision: u64) {
        self.waiting.push_back(Milestone { commit, alert_revision, resent_since: self.resend.take() });
    }

    /// Tells what `durable` has made true.
    pub(super) fn reached(&mut self, durable: CommitNumber, spool: &Spool) {
        while let Some(milestone) = self.waiting.pop_front_if(|milestone| milestone.commit <= durable) {
            self.greeting.send_if_modified(|facts| {
                let newer = milestone.alert_revision > facts.alert_revision;
                facts.alert_revision = facts.alert_revision.max(milestone.alert_revision);
                newer
            });
            if let Some(since_revision) = milestone.resent_since {
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
}
