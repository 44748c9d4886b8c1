//! Asks gateways what a document would have made of their recent events, on behalf of the console and the API. Nothing of it is put
//! into force; the answer has counts and keys, no text of any event.

use postern_protocol::id::GatewayId;
use postern_protocol::revision;
use postern_protocol::timestamp::Timestamp;

use crate::app::App;
use crate::auth::{Permission, Principal};
use crate::configuration::{self, PutError};
use crate::store::StoreError;
use crate::store::audit::By;
use crate::store::replays::NewReplay;

/// The longest time that a replay may go back: what a gateway's ring keeps unless its site says otherwise.
pub const MAX_MINUTES: u32 = 24 * 60;

/// What to try.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The candidate document.
    pub document: Vec<u8>,
    /// How far back.
    pub minutes: u32,
}

/// Checks the document and asks the gateway; returns the number under which the answer will be found.
///
/// # Errors
/// [`PutError`], as if the document were put; a gateway that is away is a conflict, and so is one that has a replay to answer.
pub async fn ask(app: &App, principal: &Principal, gateway: &GatewayId, wish: Wish) -> Result<u64, PutError> {
    principal.require(Permission::Configure)?;
    if !(1..=MAX_MINUTES).contains(&wish.minutes) {
        return Err(StoreError::Conflict(format!("a replay goes back 1 to {MAX_MINUTES} minutes")).into());
    }
    let view = app.stores.find_gateway(&principal.tenant, gateway).await?.ok_or(PutError::NotFound)?;
    if view.revoked_at.is_some() {
        return Err(StoreError::Conflict("the gateway is revoked".to_owned()).into());
    }
    if !app.gateways.is_connected(gateway) {
        let why = "the gateway is not connected: it has the events, and must be there to replay them";
        return Err(StoreError::Conflict(why.to_owned()).into());
    }
    debug_assert!(wish.document.len() <= 3 * revision::MAX_DOCUMENT_BYTES, "forms and bodies are bounded");
    configuration::check(app, &principal.tenant, gateway, &wish.document).await?.map_err(PutError::Invalid)?;
    let at = app.now();
    let since = Timestamp::from_nanos(at.as_nanos().saturating_sub(i64::from(wish.minutes).saturating_mul(60_000_000_000)));
    let new = NewReplay { gateway: gateway.clone(), document: wish.document, since, by: By::from(principal), at };
    let number = app.stores.tenant(&principal.tenant)?.ask_replay(new).await?;
    app.gateways.wake(gateway);
    tracing::info!(%gateway, replay = number, by = %principal.actor, "replay asked");
    Ok(number)
}
