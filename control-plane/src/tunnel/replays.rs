//! Tells a gateway the replays that it is asked for, takes its answers, and the counters of its rules.

use std::collections::BTreeSet;

use postern_protocol::message::{Replay, ReplayReply, down};
use postern_protocol::replay::{Figures, MAX_RESULT_BYTES, ReplayState, Replayed, RuleReport};

use super::context::{Context, HandlerError};
use super::downward::Downward;
use crate::store::replays::PendingReplay;

/// Most bytes of a report of counters.
const MAX_REPORT_BYTES: usize = 1024 * 1024;

/// Most rules of a report.
const MAX_REPORTED_RULES: usize = 1_000;

/// Most alerts that an observing rule would have raised, as a report has them.
const MAX_WOULD_BE: usize = 10;

/// The version of the protocol that brought replays.
const SINCE: u32 = 2;

/// What a session has to do with replays.
pub(super) struct Replays {
    context: Context,
    /// What this session has told.
    told: BTreeSet<u64>,
}

impl Replays {
    pub(super) fn new(context: Context) -> Self {
        Self { context, told: BTreeSet::new() }
    }

    /// Tells what is asked and was not told in this session. An earlier session's gateway may have been stopped before it answered.
    pub(super) async fn send(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let now = self.context.app.now();
        for pending in self.context.store.pending_replays(&self.context.peer.gateway, now).await? {
            if !self.told.insert(pending.number) {
                continue;
            }
            if !down.speaks(SINCE) {
                let reason = "the gateway's program is too old for replays; update it".to_owned();
                self.answered(pending.number, unavailable(reason)).await?;
                continue;
            }
            let PendingReplay { number, document, since, asked_by } = pending;
            down.send(down::Kind::Replay(Replay { number, document, from: since.as_nanos(), asked_by })).await?;
        }
        Ok(())
    }

    /// Takes an answer. One that cannot be read is an answer, too: whoever waits must hear of it.
    pub(super) async fn reply(&self, reply: &ReplayReply) -> Result<(), HandlerError> {
        if reply.result.len() > MAX_RESULT_BYTES {
            return Err(HandlerError::Invalid("the answer to a replay that is too long"));
        }
        let result = serde_json::from_slice::<Replayed>(&reply.result)
            .unwrap_or_else(|error| unavailable(format!("the gateway's answer cannot be read: {error}")));
        self.answered(reply.number, result).await
    }

    async fn answered(&self, number: u64, result: Replayed) -> Result<(), HandlerError> {
        let Context { app, peer, store, .. } = &self.context;
        if store.answer_replay(&peer.gateway, (number, result), app.now()).await? {
            self.context.publish();
        }
        Ok(())
    }

    /// Stores the counters of rules. A report that this version cannot read is passed over: the gateway may be newer.
    pub(super) async fn rules(&self, text: &[u8]) -> Result<(), HandlerError> {
        if text.len() > MAX_REPORT_BYTES {
            return Err(HandlerError::Invalid("a report of rules that is too long"));
        }
        let Context { app, peer, store, .. } = &self.context;
        match serde_json::from_slice::<RuleReport>(text) {
            Ok(mut report) => {
                report.rules.truncate(MAX_REPORTED_RULES);
                report.rules.retain(|rule| postern_protocol::id::RuleId::new(rule.id.clone()).is_ok());
                report.rules.iter_mut().for_each(|rule| rule.would.truncate(MAX_WOULD_BE));
                store.put_rule_report(&peer.gateway, report, app.now()).await?;
                self.context.publish();
            }
            Err(error) => tracing::debug!(gateway = %peer.gateway, %error, "a report of rules cannot be read"),
        }
        Ok(())
    }
}

fn unavailable(reason: String) -> Replayed {
    Replayed {
        state: ReplayState::Unavailable,
        reason,
        problems: Vec::new(),
        from: 0,
        until: 0,
        events: 0,
        undecodable: 0,
        effective: Figures::default(),
        candidate: Figures::default(),
        differences: Vec::new(),
        further: 0,
    }
}
