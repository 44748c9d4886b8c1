//! Ends the sessions of gateways that were revoked or set aside, also by a command line beside the running server, and of those whose
//! certificate has ended: TLS looked at it only at the beginning.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::store::StoreError;
use crate::store::incarnations::Standing;
use crate::tunnel::registry::EndReason;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks until `app.stop`. A store that fails is logged and asked again at the next look.
pub async fn watch(app: Arc<App>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = look(&app).await {
            tracing::error!(error = %crate::chain(&error), "revocations cannot be read");
        }
    }
}

async fn look(app: &App) -> Result<(), StoreError> {
    for (_, gateway) in app.gateways.connected() {
        let record = app.stores.system().find_gateway(&gateway).await?;
        if record.is_none_or(|record| record.revoked_at.is_some()) {
            app.gateways.end(&gateway, EndReason::Revoked);
        }
        let Some(heard) = app.gateways.heard(&gateway) else { continue };
        if app.stores.system().standing(&gateway, heard.incarnation).await? == Some(Standing::Refused) {
            app.gateways.end(&gateway, EndReason::SetAside);
        }
    }
    for gateway in app.gateways.expired(app.now()) {
        app.gateways.end(&gateway, EndReason::Expired);
    }
    Ok(())
}
