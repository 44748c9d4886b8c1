//! What a gateway says of itself on the control stream: its status, and the minutes of its ledger.

use std::time::Duration;

use postern_protocol::message::LedgerMinutes;
use postern_protocol::status::Status;
use postern_protocol::status::doctor::{Grade, Report};
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;

use super::context::{Context, HandlerError};
use super::{bounds, minutes};
use crate::store::gateway_events::{GatewayEvent, Happening};

const MAX_STATUS_BYTES: usize = 512 * 1024;

/// Statuses that follow faster are passed over: the next one says it all again.
const STATUS_AT_MOST_EVERY: Duration = Duration::from_millis(1_500);

/// Stores a session's reports.
pub(super) struct Reports {
    context: Context,
    last_status: Option<Timestamp>,
    /// When the doctor's report was made that was looked at last, and what was not good in it.
    examined: Option<i64>,
    faults: Vec<String>,
    /// The unknown OIDs that were stored last: they change seldom.
    unknown_oids: Vec<UnknownOid>,
}

impl Reports {
    pub(super) fn new(context: Context) -> Self {
        Self { context, last_status: None, examined: None, faults: Vec::new(), unknown_oids: Vec::new() }
    }

    /// Stores a status. One that this version cannot read is passed over: the gateway may be newer.
    pub(super) async fn status(&mut self, text: &[u8]) -> Result<(), HandlerError> {
        if text.len() > MAX_STATUS_BYTES {
            return Err(HandlerError::Invalid("a status that is too long"));
        }
        let now = self.context.app.now();
        if self.last_status.is_some_and(|last| now.saturating_since(last) < STATUS_AT_MOST_EVERY) {
            return Ok(());
        }
        match serde_json::from_slice::<Status>(text) {
            Ok(mut status) => {
                self.last_status = Some(now);
                bounds::bound_status(&mut status);
                self.note_findings(&status, now).await?;
                self.context.store.set_status(&self.context.peer.gateway, &status, now).await?;
                if status.intake.unknown_oids != self.unknown_oids {
                    self.unknown_oids = status.intake.unknown_oids;
                    self.context.store.put_unknown_oids(&self.context.peer.gateway, self.unknown_oids.clone(), now).await?;
                }
                self.context.publish();
            }
            Err(error) => tracing::debug!(gateway = %self.context.peer.gateway, %error, "a status cannot be read"),
        }
        Ok(())
    }

    /// Writes into the gateway's history what its doctor found, when that is something else than before.
    async fn note_findings(&mut self, status: &Status, now: Timestamp) -> Result<(), HandlerError> {
        let Some(report) = status.doctor.as_ref().filter(|report| Some(report.at) != self.examined) else { return Ok(()) };
        let Context { peer, store, .. } = &self.context;
        if self.examined.is_none() {
            // The session is new; the history may have it from the one before.
            let before = store.last_examination(&peer.gateway).await?;
            (self.examined, self.faults) = before.map_or((None, Vec::new()), |before| (Some(before.at), faults(&before)));
        }
        let found = faults(report);
        if self.examined != Some(report.at) && found != self.faults {
            let text = if found.is_empty() { "the doctor finds nothing wrong any more".to_owned() } else { found.join("; ") };
            store.note_gateway_event(&peer.gateway, GatewayEvent { at: now, what: Happening::Doctor, text }).await?;
        }
        (self.examined, self.faults) = (Some(report.at), found);
        Ok(())
    }

    /// Stores minutes of the ledger.
    pub(super) async fn minutes(&mut self, message: LedgerMinutes) -> Result<(), HandlerError> {
        let now = self.context.app.now();
        let minutes = minutes::bounded(message, now);
        if !minutes.is_empty() {
            self.context.store.put_minutes(&self.context.peer.gateway, minutes, now).await?;
            self.context.publish();
        }
        Ok(())
    }
}

/// Returns what is not good, a sentence each.
fn faults(report: &Report) -> Vec<String> {
    let bad = report.findings.iter().filter(|finding| finding.grade != Grade::Good);
    bad.map(|finding| format!("{}: {}", finding.id, finding.what)).collect()
}
