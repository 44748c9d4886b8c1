//! Raises `gateway-unreachable` when a gateway has had no session for a while, and clears it on return.
//!
//! The watcher looks once a second and whenever a session begins or ends. It is the only writer of these alerts; a gateway's own
//! records of that key are ignored (`store::ingest`). After a start of the control plane every gateway gets the whole time again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::alert::{AlertKey, Severity};
use postern_protocol::id::{GatewayId, RuleId};
use postern_protocol::timestamp::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::rfc3339;
use crate::store::StoreError;
use crate::store::gateways::GatewayRecord;
use crate::store::own_alerts::OwnAlert;

/// The rule that these alerts name.
pub const RULE: &str = "control-plane.gateway-unreachable";

/// Kind of these alerts.
pub const KIND: &str = "gateway-unreachable";

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns the key of the alert about `gateway`.
pub fn key(gateway: &GatewayId) -> AlertKey {
    AlertKey { resource: gateway.as_str().to_owned(), kind: KIND.to_owned(), qualifier: String::new() }
}

/// Watches until `app.stop`. A store that fails is logged and tried again at the next look.
pub async fn watch(app: Arc<App>) {
    let mut watcher = Watcher { started: app.now(), gateways: BTreeMap::new() };
    let mut sessions = app.gateways.changes();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
            changed = sessions.changed() => if changed.is_err() { return },
        }
        if let Err(error) = watcher.look(&app).await {
            tracing::error!(error = %crate::chain(&error), "gateways cannot be watched");
        }
    }
}

struct Watcher {
    started: Timestamp,
    gateways: BTreeMap<GatewayId, Watched>,
}

impl Watcher {
    async fn look(&mut self, app: &App) -> Result<(), StoreError> {
        let now = app.now();
        let gateways = app.stores.system().list_gateways(None).await?;
        self.gateways.retain(|id, _| gateways.iter().any(|gateway| gateway.id == *id));
        for gateway in gateways {
            // A revoked gateway is not expected: its alert ends.
            let here = gateway.revoked_at.is_some() || app.gateways.is_connected(&gateway.id);
            let since = self.started.max(gateway.enrolled_at);
            let watched = self.gateways.entry(gateway.id.clone()).or_insert(Watched { away_since: since, told: None });
            if let Some(standing) = watched.step(here, app.config.unreachable_after, now) {
                set(app, &gateway, standing, now).await?;
                watched.told = Some(standing);
            }
        }
        Ok(())
    }
}

struct Watched {
    away_since: Timestamp,
    /// What the store was last told; nothing yet after a start.
    told: Option<Standing>,
}

impl Watched {
    /// Returns what the store has to be told now. Pure.
    fn step(&mut self, here: bool, patience: Duration, now: Timestamp) -> Option<Standing> {
        if here {
            self.away_since = now;
            return (self.told != Some(Standing::Here)).then_some(Standing::Here);
        }
        let away = now.saturating_since(self.away_since) >= patience;
        let told = matches!(self.told, Some(Standing::AwaySince(_)));
        (away && !told).then_some(Standing::AwaySince(self.away_since))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    AwaySince(Timestamp),
    Here,
}

async fn set(app: &App, gateway: &GatewayRecord, standing: Standing, now: Timestamp) -> Result<(), StoreError> {
    let store = app.stores.tenant(&gateway.tenant)?;
    let alert = |summary: String| -> Result<OwnAlert, StoreError> {
        let rule = RuleId::new(RULE).map_err(|_| StoreError::Corrupt("rule"))?;
        Ok(OwnAlert { key: key(&gateway.id), severity: Severity::Critical, summary, rule })
    };
    let change = match standing {
        Standing::Here => store.clear_own(&gateway.id, alert(String::new())?, now).await?,
        Standing::AwaySince(since) => {
            let summary = format!("Gateway {} has had no session since {}", gateway.name, rfc3339::format(since));
            store.raise_own(&gateway.id, alert(summary)?, now).await?
        }
    };
    if let Some(change) = change {
        app.feed.publish(&gateway.tenant, change);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Steps and tells, as the watcher does.
    fn step(watched: &mut Watched, here: bool, secs: i64) -> Option<Standing> {
        let standing = watched.step(here, PATIENCE, at(secs));
        watched.told = standing.or(watched.told);
        standing
    }

    #[test]
    fn a_gateway_is_unreachable_once_and_only_after_the_whole_time() {
        let mut watched = Watched { away_since: at(0), told: None };
        assert_eq!(step(&mut watched, true, 10), Some(Standing::Here));
        assert_eq!(step(&mut watched, true, 20), None);
        assert_eq!(step(&mut watched, false, 79), None);
        assert_eq!(step(&mut watched, false, 80), Some(Standing::AwaySince(at(20))));
        assert_eq!(step(&mut watched, false, 200), None);
        assert_eq!(step(&mut watched, true, 201), Some(Standing::Here));
        assert_eq!(step(&mut watched, false, 261), Some(Standing::AwaySince(at(201))));
    }

    #[test]
    fn a_short_absence_is_not_told() {
        let mut watched = Watched { away_since: at(0), told: None };
        step(&mut watched, true, 10);
        assert_eq!(step(&mut watched, false, 60), None);
        assert_eq!(step(&mut watched, true, 61), None);
        assert_eq!(step(&mut watched, false, 120), None);
    }

    #[test]
    fn a_start_gives_every_gateway_the_whole_time() {
        let mut watched = Watched { away_since: at(1_000), told: None };
        assert_eq!(step(&mut watched, false, 1_059), None);
        assert_eq!(step(&mut watched, false, 1_060), Some(Standing::AwaySince(at(1_000))));
    }
}
