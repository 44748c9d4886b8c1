//! Puts a configuration: checks the document with the code that the gateway runs too, signs it, stores it as the desired revision and
//! wakes the gateway's session, which sends it at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use postern_protocol::id::{GatewayId, RevisionNumber, TenantId};
use postern_protocol::revision::{self, Problem};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::canonical;

use crate::feed::Change;
use crate::named_secrets::{self, Named};
use crate::store::StoreError;
use crate::store::audit::By;
use crate::store::revisions::NewRevision;

/// Whether a document with problems is stored all the same; the gateway then refuses it and says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// A document with problems is refused here.
    Checked,
    /// It is sent as it is.
    Forced,
}

/// How many documents are checked at once, of all tenants. A thousand regular expressions take a core for seconds; the threads that
/// they would hold are those of the stores, too. The others wait their turn.
const AT_ONCE: usize = 1;

/// Checks documents in turns.
pub struct Checks {
    turns: Arc<Semaphore>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Checks {
    /// Checks a document; the inner error lists its problems. Whether its secrets are there is not for it to say.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the program stops.
    pub async fn check(&self, text: Vec<u8>) -> Result<Result<(), Vec<Problem>>, StoreError> {
        Ok(self.named_secrets(text).await?.map(drop))
    }

    async fn named_secrets(&self, text: Vec<u8>) -> Result<Result<Vec<Named>, Vec<Problem>>, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        // The turn goes with the work, which runs on when nobody waits for it any more.
        let work = move || {
            let checked = revision::parse(&text).map(|document| named_secrets::named(&document));
            drop(turn);
            checked
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)
    }
}

/// Checks a document for a gateway, its secrets included; the inner error lists its problems.
///
/// # Errors
/// [`StoreError`] from the database.
pub async fn check(app: &App, tenant: &TenantId, gateway: &GatewayId, text: &[u8]) -> Result<Result<(), Vec<Problem>>, StoreError> {
    let named = match app.checks.named_secrets(text.to_vec()).await? {
        Ok(named) => named,
        Err(problems) => return Ok(Err(problems)),
    };
    if named.is_empty() {
        return Ok(Ok(()));
    }
    let versions = app.stores.tenant(tenant)?.secret_versions(gateway).await?;
    let known: BTreeSet<String> = versions.into_iter().map(|(name, _)| name).collect();
    let problems = named_secrets::problems(&named, &known, text);
    Ok(if problems.is_empty() { Ok(()) } else { Err(problems) })
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
    store(app, Put::of(principal, gateway, text, force)).await
}

/// A configuration to be put, by somebody who may.
pub(crate) struct Put {
    pub(crate) tenant: TenantId,
    pub(crate) gateway: GatewayId,
    pub(crate) text: Vec<u8>,
    pub(crate) force: Force,
    pub(crate) by: By,
    /// Where it comes from; empty when somebody wrote it.
    pub(crate) remark: String,
    pub(crate) rollout: Option<String>,
}

impl Put {
    fn of(principal: &Principal, gateway: &GatewayId, text: &[u8], force: Force) -> Self {
        Self {
            tenant: principal.tenant.clone(),
            gateway: gateway.clone(),
            text: text.to_vec(),
            force,
            by: By::from(principal),
            remark: String::new(),
            rollout: None,
        }
    }
}

/// Checks, signs, stores and pushes.
///
/// # Errors
/// As [`put`].
pub(crate) async fn store(app: &App, put: Put) -> Result<RevisionNumber, PutError> {
    let Put { tenant, gateway, text, force, by, remark, rollout } = put;
    let record = app.stores.system().find_gateway(&gateway).await?.filter(|record| record.tenant == tenant);
    if record.ok_or(PutError::NotFound)?.revoked_at.is_some() {
        return Err(StoreError::Conflict("the gateway is revoked".to_owned()).into());
    }
    if force == Force::Checked || text.len() > revision::MAX_DOCUMENT_BYTES {
        check(app, &tenant, &gateway, &text).await?.map_err(PutError::Invalid)?;
    }
    let who = by.who.clone();
    let new = NewRevision { gateway: gateway.clone(), document: text, by, remark, rollout, at_least: RevisionNumber(1), at: app.now() };
    let number = app.stores.tenant(&tenant)?.put_revision(new, &app.signer).await?;
    app.gateways.wake(&gateway);
    app.feed.publish(&tenant, Change::Gateway { id: gateway.clone() });
    tracing::info!(%gateway, revision = %number, by = who, forced = force == Force::Forced, "configuration put");
    Ok(number)
}

/// Makes the document of an earlier revision the desired one again, under a new number.
///
/// # Errors
/// As [`put`]; the document may have problems by now, if a secret that it names is gone.
pub async fn return_to(app: &App, principal: &Principal, gateway: &GatewayId, number: RevisionNumber) -> Result<RevisionNumber, PutError> {
    principal.require(Permission::Configure)?;
    let earlier = app.stores.tenant(&principal.tenant)?.find_revision(gateway, number).await?.ok_or(PutError::NotFound)?;
    let put = Put::of(principal, gateway, &earlier.document, Force::Checked);
    store(app, Put { remark: format!("return to revision {number}"), ..put }).await
}

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// The file says what the desired revision says.
    Same(RevisionNumber),
    /// It is the desired revision now.
    Stored(RevisionNumber),
}

/// Takes a file in: makes it the desired configuration unless it says the same.
///
/// # Errors
/// As [`put`].
pub async fn import(app: &App, principal: &Principal, gateway: &GatewayId, text: &[u8]) -> Result<Imported, PutError> {
    principal.require(Permission::Configure)?;
    let desired = app.stores.tenant(&principal.tenant)?.desired(gateway).await?;
    if let Some(desired) = desired.filter(|desired| canonical::same(&desired.document, text)) {
        return Ok(Imported::Same(desired.view.number));
    }
    let put = Put::of(principal, gateway, text, Force::Checked);
    Ok(Imported::Stored(store(app, Put { remark: "from a file".to_owned(), ..put }).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn documents_are_checked_one_after_the_other() {
        let checks = Checks::default();
        let turn = Arc::clone(&checks.turns).acquire_owned().await.unwrap();
        let mut waits = Box::pin(checks.check(revision::BUILT_IN.into()));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waits).await.is_err());
        drop(turn);
        assert_eq!(waits.await.unwrap(), Ok(()));
    }
}
