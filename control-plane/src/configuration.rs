//! Puts a configuration: checks the document with the code that the gateway runs too, signs it, stores it as the desired revision and
//! wakes the gateway's session, which sends it at once.

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::{self, Problem};

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::feed::Change;
use crate::store::StoreError;
use crate::store::revisions::NewRevision;

/// Whether a document with problems is stored all the same; the gateway then refuses it and says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// A document with problems is refused here.
    Checked,
    /// It is sent as it is.
    Forced,
}

/// Why a configuration was not put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The document has these problems.
    #[error("the document has {} problems", .0.len())]
    Invalid(Vec<Problem>),
    /// The principal's tenant has no such gateway.
    #[error("there is no such gateway")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes `text` the desired configuration of `gateway`.
///
/// # Errors
/// [`PutError`] says why it was not put. A document above `revision::MAX_DOCUMENT_BYTES` is refused even when forced: no frame
/// could carry it.
pub async fn put(app: &App, principal: &Principal, gateway: &GatewayId, text: &[u8], force: Force) -> Result<RevisionNumber, PutError> {
    principal.require(Permission::Configure)?;
    let record = app.stores.system().find_gateway(gateway).await?.filter(|record| record.tenant == principal.tenant);
    if record.ok_or(PutError::NotFound)?.revoked_at.is_some() {
        return Err(StoreError::Conflict("the gateway is revoked".to_owned()).into());
    }
    if force == Force::Checked || text.len() > revision::MAX_DOCUMENT_BYTES {
        check(text).await?;
    }
    let new = NewRevision {
        gateway: gateway.clone(),
        document: text.to_vec(),
        by: principal.actor.to_string(),
        at_least: RevisionNumber(1),
        at: app.now(),
    };
    let number = app.stores.tenant(&principal.tenant)?.put_revision(new, &app.signer).await?;
    app.gateways.wake(gateway);
    app.feed.publish(&principal.tenant, Change::Gateway { id: gateway.clone() });
    tracing::info!(%gateway, revision = %number, by = %principal.actor, forced = force == Force::Forced, "configuration put");
    Ok(number)
}

/// Thousands of rules with regular expressions take a while: not on a worker of the runtime.
async fn check(text: &[u8]) -> Result<(), PutError> {
    let text = text.to_vec();
    let parsed = tokio::task::spawn_blocking(move || revision::parse(&text)).await.map_err(|_| StoreError::Stopped)?;
    parsed.map(|_document| ()).map_err(PutError::Invalid)
}
