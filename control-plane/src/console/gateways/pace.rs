//! How fast a gateway may send what is not an alert: a number in a form.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use postern_protocol::id::GatewayId;
use serde::Deserialize;

use super::find;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsoleForm;
use crate::console::fault::Fault;
use crate::feed::Change;
use crate::store::audit::By;
use crate::store::{StoreError, TenantStore};

/// What the form sends.
#[derive(Deserialize)]
pub(in crate::console) struct PaceForm {
    /// A whole number of KiB a second; nothing, or 0, for no limit.
    kib_per_second: String,
}

/// Returns what the form shows: KiB a second, at least 1 for any limit; nothing for none.
pub(super) async fn shown(store: &TenantStore, gateway: &GatewayId) -> Result<String, StoreError> {
    let pace = store.pace(gateway).await?;
    Ok(if pace == 0 { String::new() } else { pace.div_ceil(1024).to_string() })
}

/// Bounds the gateway, or lets it go.
pub(in crate::console) async fn store(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<PaceForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let limit = bytes_per_second(&form.kib_per_second)?;
    let store = app.stores.tenant(&person.principal.tenant)?;
    store.set_pace(&gateway.id, limit, By::from(&person.principal), app.now()).await?;
    app.gateways.wake(&gateway.id);
    app.feed.publish(&person.principal.tenant, Change::Gateway { id: gateway.id.clone() });
    Ok(Redirect::to(&format!("/gateways/{}", gateway.id)).into_response())
}

fn bytes_per_second(text: &str) -> Result<u64, Fault> {
    let text = text.trim();
    let number = if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().and_then(|number| number.checked_mul(1024)) };
    let said = || "the pace is a whole number of KiB a second; leave it empty for no limit".to_owned();
    number.ok_or_else(|| Fault::Refused(StatusCode::UNPROCESSABLE_ENTITY, said()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_no_limit_and_words_are_refused() {
        assert_eq!([" ", "0", " 256 "].map(|text| bytes_per_second(text).unwrap()), [0, 0, 262_144]);
        for bad in ["-1", "1.5", "fast", "99999999999999999999", "18446744073709551615"] {
            assert!(bytes_per_second(bad).is_err(), "{bad}");
        }
    }
}
