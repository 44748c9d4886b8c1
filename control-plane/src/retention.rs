//! Forgets what is kept only for a while: measurements, the ledger's minutes, unknown OIDs, answers that may be asked for again, and
//! sessions and tokens that have ended. Most stores also forget as they write; this is for what nobody writes to any more.
//!
//! Never forgets alerts, audits, revisions or a gateway's history, which have bounds of their own.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::id::TenantId;
use postern_protocol::timestamp::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::store::{StoreError, TenantStore};

const EVERY: Duration = Duration::from_secs(60 * 60);

/// Forgets at the start and every hour until `app.stop`. A store that fails is logged and tried again the next time; the others
/// get their turn.
pub async fn watch(app: Arc<App>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // What is under way at a stop is in small transactions, and may be left where it is.
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = forget(&app) => {}
        }
    }
}

/// Forgets, in every database, what is too old.
pub async fn forget(app: &App) {
    let now = app.now();
    let system = app.stores.system();
    if let Err(error) = system.forget_ended(now).await {
        tracing::error!(error = %crate::chain(&error), "ended sessions cannot be forgotten");
    }
    let tenants = match system.list_tenants().await {
        Ok(tenants) => tenants,
        Err(error) => return tracing::error!(error = %crate::chain(&error), "tenants cannot be read: nothing is forgotten"),
    };
    for tenant in tenants {
        if let Err(error) = of_tenant(app, &tenant.id, now).await {
            tracing::error!(tenant = %tenant.id, error = %crate::chain(&error), "what is too old cannot be forgotten");
        }
    }
}

async fn of_tenant(app: &App, tenant: &TenantId, now: Timestamp) -> Result<(), StoreError> {
    let store: TenantStore = app.stores.tenant(tenant)?;
    let samples = store.forget_samples(now).await?;
    store.forget_answers(now).await?;
    store.forget_unknown_oids(now).await?;
    for gateway in app.stores.system().list_gateways(Some(tenant)).await? {
        store.forget_minutes(&gateway.id, now).await?;
    }
    if samples > 0 {
        tracing::debug!(%tenant, samples, "measurements forgotten");
    }
    Ok(())
}
