//! What a command line beside the server puts into the stores for a connected gateway: its session is woken, and sends it. And what a
//! process that ended too early left for the audit.
//!
//! One look at the newest revision and the serial of the secrets of each gateway that is connected. The others hear of everything
//! when they connect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::id::{GatewayId, RevisionNumber, TenantId};
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::feed::Change;
use crate::store::StoreError;

/// How often the stores are asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a gateway should have: the newest revision, and the serial of its secrets.
type Standing = (Option<RevisionNumber>, u64);

/// Wakes sessions until `app.stop`. A store that fails is logged and asked again at the next look.
pub async fn watch(app: Arc<App>) {
    let mut seen = HashMap::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = note(&app).await {
            tracing::error!(error = %crate::chain(&error), "what waits for the audit cannot be written there");
        }
        if let Err(error) = look(&app, &mut seen).await {
            tracing::error!(error = %crate::chain(&error), "what gateways should have cannot be read");
        }
    }
}

async fn note(app: &App) -> Result<(), StoreError> {
    app.stores.deliver_all_notes().await?;
    app.stores.system().note_unknown_sign_ins(app.now()).await
}

async fn look(app: &App, seen: &mut HashMap<GatewayId, Standing>) -> Result<(), StoreError> {
    let mut by_tenant: HashMap<TenantId, Vec<GatewayId>> = HashMap::new();
    for (tenant, gateway) in app.gateways.connected() {
        by_tenant.entry(tenant).or_default().push(gateway);
    }
    seen.retain(|gateway, _| by_tenant.values().flatten().any(|live| live == gateway));
    for (tenant, gateways) in by_tenant {
        for (gateway, standing) in app.stores.tenant(&tenant)?.standings(gateways).await? {
            // Also at the first look: the change may lie between the gateway's greeting and now. A session sends only what is new.
            if seen.insert(gateway.clone(), standing) != Some(standing) {
                tell(app, &tenant, &gateway);
            }
        }
    }
    Ok(())
}

/// Wakes the session of a gateway for which there is something new, and says so to whoever looks on.
pub(crate) fn tell(app: &App, tenant: &TenantId, gateway: &GatewayId) {
    app.gateways.wake(gateway);
    app.feed.publish(tenant, Change::Gateway { id: gateway.clone() });
}
