//! What a batch brings, as far as the control plane's store tells the lanes apart.

use std::collections::BTreeMap;

use postern_control::store::{StoreError, ingest, samples};
use postern_control::tunnel::batch;
use postern_protocol::alert::Alert;
use postern_protocol::id::{GatewayId, Lane, Sequence};
use postern_protocol::message::Batch;
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;

use crate::control_plane::ControlPlane;
use crate::ledger::Ledger;
use crate::world::Violation;

/// What a batch brings.
pub(crate) enum Content {
    Alerts(ingest::AlertBatch),
    Samples(samples::SampleBatch),
}

impl Content {
    pub(crate) fn decode(lane: Lane, wire: &Batch) -> Result<Self, Violation> {
        let refuse = |error: batch::BatchError| Violation::Protocol(error.to_string());
        match lane {
            Lane::Alerts => batch::decode_alerts(wire).map(Self::Alerts).map_err(refuse),
            Lane::Samples => batch::decode_samples(wire).map(Self::Samples).map_err(refuse),
            Lane::Inventory | Lane::Logs => Err(Violation::broken("a lane that nobody serves")),
        }
    }

    pub(crate) fn encoded(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Alerts(batch) => batch.alerts.iter().map(Alert::encode).collect(),
            Self::Samples(batch) => batch.samples.iter().map(Sample::encode).collect(),
        }
    }

    pub(crate) fn lose_the_last(&mut self) {
        match self {
            Self::Alerts(batch) if batch.alerts.len() > 1 => drop(batch.alerts.pop()),
            Self::Samples(batch) if batch.samples.len() > 1 => drop(batch.samples.pop()),
            Self::Alerts(_) | Self::Samples(_) => {}
        }
    }

    pub(crate) fn apply(
        &self,
        tx: &rusqlite::Transaction<'_>,
        gateway: &GatewayId,
        now: Timestamp,
    ) -> Result<(Sequence, u64, bool), StoreError> {
        match self {
            Self::Alerts(batch) => {
                let applied = ingest::apply(tx, gateway, batch, now)?;
                Ok((applied.committed, applied.skipped, applied.close_pending))
            }
            Self::Samples(batch) => {
                let advanced = samples::apply(tx, gateway, batch, now)?;
                Ok((advanced.committed, advanced.skipped, false))
            }
        }
    }

    /// Order per alert: what is stored is never older than what was stored, and never older than what was just applied.
    pub(crate) fn check(&self, control: &ControlPlane, ledger: &mut Ledger) -> Result<(), Violation> {
        let Self::Alerts(batch) = self else { return Ok(()) };
        let mut newest = BTreeMap::new();
        for alert in &batch.alerts {
            let known = newest.entry(alert.key.kind.as_str()).or_insert((0, 0));
            *known = (*known).max((alert.occurrence, alert.revision));
        }
        let rows = control.rows()?;
        newest.into_iter().try_for_each(|(kind, newest)| ledger.row(kind, newest, rows.iter().find(|row| row.kind == kind)))
    }
}
