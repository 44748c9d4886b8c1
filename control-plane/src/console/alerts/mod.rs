//! Alerts in the console: the list, one alert, what people do with them, and how both stay live.

pub(super) mod act;
mod counts;
pub(super) mod detail;
mod evidence;
pub(super) mod list;
pub(super) mod live;
mod query;
mod row;
mod timeline;
mod why;

use std::collections::HashMap;

use postern_protocol::id::GatewayId;

use super::fault::Fault;
use crate::app::App;
use crate::auth::Principal;

/// Names of a tenant's gateways, for people.
pub(super) type GatewayNames = HashMap<GatewayId, String>;

async fn gateway_names(app: &App, principal: &Principal) -> Result<GatewayNames, Fault> {
    let gateways = app.stores.system().list_gateways(Some(&principal.tenant)).await?;
    Ok(gateways.into_iter().map(|gateway| (gateway.id, gateway.name)).collect())
}
