//! Declares and dissolves pairs, on behalf of the console and the API: checks that they may, does it in the tenant's store, and
//! tells every reader which alerts changed.

use postern_protocol::id::GatewayId;

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::feed::Change;
use crate::store::StoreError;
use crate::store::audit::By;
use crate::store::pairs::{PairRequest, PairView};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The tenant has no such gateway, or it is revoked.
    #[error("there is no gateway {0:?} that could be one of a pair")]
    NoGateway(String),
    /// The store refused; see [`StoreError::NotFound`] and [`StoreError::Conflict`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Declares two gateways of the principal's tenant a pair.
///
/// # Errors
/// [`PairError`] says why not.
pub async fn declare(app: &App, principal: &Principal, gateways: [&str; 2]) -> Result<PairView, PairError> {
    principal.require(Permission::Configure)?;
    let [first, second] = gateways;
    let gateways = [find(app, principal, first).await?, find(app, principal, second).await?];
    let request = PairRequest { gateways: gateways.clone(), by: By::from(principal), at: app.now() };
    let (pair, changes) = app.stores.tenant(&principal.tenant)?.declare_pair(request).await?;
    publish(app, principal, (&gateways, changes));
    tracing::info!(pair = pair.id, by = %principal.actor, "two gateways are a pair");
    Ok(pair)
}

/// Dissolves a pair of the principal's tenant.
///
/// # Errors
/// [`PairError`] says why not.
pub async fn dissolve(app: &App, principal: &Principal, id: &str) -> Result<(), PairError> {
    principal.require(Permission::Configure)?;
    let changes = app.stores.tenant(&principal.tenant)?.dissolve_pair(id, By::from(principal), app.now()).await?;
    publish(app, principal, (&[], changes));
    tracing::info!(pair = id, by = %principal.actor, "a pair is dissolved");
    Ok(())
}

async fn find(app: &App, principal: &Principal, text: &str) -> Result<GatewayId, PairError> {
    let missing = || PairError::NoGateway(text.chars().take(80).collect());
    let id = GatewayId::new(text).map_err(|_| missing())?;
    let found = app.stores.system().find_gateway(&id).await?;
    found.filter(|found| found.tenant == principal.tenant && found.revoked_at.is_none()).map(|_| id).ok_or_else(missing)
}

fn publish(app: &App, principal: &Principal, (gateways, changes): (&[GatewayId], Vec<Change>)) {
    let gateways = gateways.iter().map(|id| Change::Gateway { id: id.clone() });
    changes.into_iter().chain(gateways).for_each(|change| app.feed.publish(&principal.tenant, change));
}
