//! The console: what people see. Pages are rendered here and read, and act, without JavaScript; small modules of our own make
//! them live by server-sent events. It never reaches a store but through the principal's tenant.
//!
//! `frame` is around every answer: security headers, and error pages instead of bare texts. Called by the listener.

mod alerts;
mod assets;
mod audit;
mod events;
mod fault;
mod figures;
mod frame;
mod gateways;
mod mibs;
mod moment;
mod packs;
mod page;
mod pairs;
mod rollouts;
mod session;
mod url;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{get, post};
use postern_protocol::revision::MAX_DOCUMENT_BYTES;

use crate::app::App;
use crate::mibs::MAX_ARCHIVE_BYTES;

/// Most bytes of a form: a whole document in which every byte is percent-encoded, and its companions.
const MAX_FORM_BYTES: usize = 3 * MAX_DOCUMENT_BYTES + 64 * 1024;

/// Most bytes of a sign-in: anybody can send one. Name, password and the way back, every byte percent-encoded.
const MAX_SIGN_IN_BYTES: usize = 16 * 1024;

/// Returns the console's routes. Whatever no other part answers ends here as a friendly "not found".
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/alerts")))
        .route("/sign-in", get(session::sign_in_page).post(session::sign_in).layer(DefaultBodyLimit::max(MAX_SIGN_IN_BYTES)))
        .route("/sign-out", post(session::sign_out))
        .route("/change-password", get(session::change_password_page).post(session::change_password))
        .route("/session", get(session::is_signed_in))
        .route("/events", get(events::stream))
        .route("/alerts", get(alerts::list::page))
        .route("/alerts/acknowledge", post(alerts::act::acknowledge_selected))
        .route("/alerts/close", post(alerts::act::close_selected))
        .route("/alerts/{id}", get(alerts::detail::page))
        .route("/alerts/{id}/acknowledge", post(alerts::act::acknowledge))
        .route("/alerts/{id}/close", post(alerts::act::close))
        .route("/alerts/{id}/notes", post(alerts::act::note))
        .route("/alerts/{id}/unacknowledge", post(alerts::act::unacknowledge))
        .route("/gateways", get(gateways::list::page))
        .route("/gateways/enrol", get(gateways::enrol::page).post(gateways::enrol::make))
        .route("/gateways/enrol/{token}/revoke", post(gateways::enrol::revoke))
        .route("/gateways/{id}", get(gateways::detail::page))
        .route("/gateways/{id}/configuration", get(gateways::configuration::page).post(gateways::configuration::submit))
        .route("/gateways/{id}/configuration/export", get(gateways::revision::export))
        .route("/gateways/{id}/revisions/{number}", get(gateways::revision::page))
        .route("/gateways/{id}/revisions/{number}/return", post(gateways::revision::return_to))
        .route("/gateways/{id}/replays", post(gateways::replay::ask))
        .route("/gateways/{id}/replays/{number}", get(gateways::replay::page))
        .route("/gateways/{id}/rules", get(gateways::rules::page))
        .route("/gateways/{id}/windows", get(gateways::windows::page).post(gateways::windows::add))
        .route("/gateways/{id}/windows/{window}/end", post(gateways::windows::end))
        .route("/packs", get(packs::page))
        .route("/gateways/{id}/tags", post(gateways::tags::store))
        .route("/rollouts", get(rollouts::page).post(rollouts::start))
        .route("/rollouts/{id}", get(rollouts::one))
        .route("/rollouts/{id}/stop", post(rollouts::stop))
        .route("/rollouts/{id}/resume", post(rollouts::resume))
        .route("/gateways/{id}/identity", get(gateways::identity::page))
        .route("/gateways/{id}/identity/allow-renewal", post(gateways::identity::allow_renewal))
        .route("/gateways/{id}/identity/keep", post(gateways::identity::decide))
        .route("/gateways/{id}/pace", post(gateways::pace::store))
        .route("/gateways/{id}/revoke", get(gateways::end::page).post(gateways::end::revoke))
        .route("/gateways/{id}/secrets", get(gateways::secrets::page).post(gateways::secrets::store))
        .route("/gateways/{id}/secrets/{name}/delete", post(gateways::secrets::delete))
        .route("/gateways/{id}/ledger", get(gateways::minutes::page))
        .route("/gateways/{id}/waiting-room", get(gateways::waiting_room::page))
        .route("/gateways/{id}/waiting-room/bind", get(gateways::bind::page).post(gateways::bind::submit))
        .route("/audit", get(audit::page))
        .route("/gateways/{id}/audit", get(audit::of_gateway))
        .route("/pairs", get(pairs::page).post(pairs::declare))
        .route("/pairs/{id}/dissolve", post(pairs::dissolve))
        .route("/mibs", get(mibs::page).post(mibs::upload).layer(DefaultBodyLimit::max(MAX_ARCHIVE_BYTES)))
        .route("/mibs/{number}/delete", post(mibs::remove))
        .route("/unknown-oids", get(mibs::unknown::page))
        .route("/ca.pem", get(assets::authority))
        .route("/static/{bundle}/{file}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .fallback(fault::not_found)
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(middleware::from_fn(frame::around))
        .with_state(app)
}
