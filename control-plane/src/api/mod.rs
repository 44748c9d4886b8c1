//! The HTTP API: `/api/v1/…` for programs with an access token, and `/oauth2/token` where they get one.
//!
//! Every handler takes the principal from the token and opens that tenant's store and no other. Every answer under `/api` that is
//! not a success is a problem (RFC 9457). `openapi` describes the same routes; a test walks them all.

mod alerts;
mod audit;
mod configuration;
mod explain;
mod gateways;
mod history;
mod identity;
mod ledger;
mod mibs;
mod oauth;
pub mod openapi;
mod pace;
mod pairs;
pub mod problem;
mod replays;
mod request;
mod rollouts;
mod samples;
pub mod schema;
mod secrets;
mod stream;
mod tokens;
mod waiting_room;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, delete, get, post, put};
use postern_protocol::revision::MAX_DOCUMENT_BYTES;

use crate::app::App;
use crate::mibs::MAX_ARCHIVE_BYTES;
use problem::Problem;

/// Most bytes of a body, but for configurations and archives.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Returns the API's routes; the console has all others.
pub fn router(app: Arc<App>) -> Router {
    let v1 = Router::new()
        .route("/alerts", get(alerts::list))
        .route("/alerts/stream", get(stream::alerts))
        .route("/alerts/{id}", get(alerts::find))
        .route("/alerts/{id}/children", get(alerts::children))
        .route("/alerts/{id}/explain", get(explain::read))
        .route("/alerts/{id}/history", get(alerts::history))
        .route("/alerts/{id}/acknowledge", post(alerts::acknowledge))
        .route("/alerts/{id}/unacknowledge", post(alerts::unacknowledge))
        .route("/alerts/{id}/close", post(alerts::close))
        .route("/alerts/{id}/notes", post(alerts::add_note))
        .route("/gateways", get(gateways::list))
        .route("/gateways/{id}", get(gateways::find))
        .route("/gateways/{id}/revisions", get(gateways::revisions))
        .route("/gateways/{id}/history", get(gateways::history))
        .route("/gateways/{id}/revoke", post(gateways::revoke))
        .route("/gateways/{id}/ledger", get(ledger::read))
        .route("/audit", get(audit::list))
        .route("/gateways/{id}/audit", get(audit::of_gateway))
        .route("/pairs", get(pairs::list).post(pairs::declare))
        .route("/pairs/{id}", delete(pairs::dissolve))
        .route("/gateways/{id}/identity", get(identity::read))
        .route("/gateways/{id}/quarantine", put(identity::decide))
        .route("/gateways/{id}/renewal", put(identity::allow_renewal))
        .route("/gateways/{id}/pace", get(pace::read).put(pace::set))
        .route("/samples", get(samples::list))
        .route("/gateways/{id}/waiting-room", get(waiting_room::list))
        .route("/gateways/{id}/waiting-room/bind", post(waiting_room::bind))
        .route("/mibs", get(mibs::list).post(mibs::upload).layer(DefaultBodyLimit::max(MAX_ARCHIVE_BYTES)))
        .route("/mibs/{number}", delete(mibs::remove))
        .route("/unknown-oids", get(mibs::unknown))
        .route(
            "/gateways/{id}/configuration",
            get(configuration::read).put(configuration::replace).layer(DefaultBodyLimit::max(MAX_DOCUMENT_BYTES)),
        )
        .route("/gateways/{id}/configuration/export", get(history::export))
        .route("/gateways/{id}/configuration/import", post(history::import).layer(DefaultBodyLimit::max(MAX_DOCUMENT_BYTES)))
        .route("/gateways/{id}/revisions/{number}/changes", get(history::changes))
        .route("/gateways/{id}/revisions/{number}/return", post(history::return_to))
        .route("/gateways/{id}/replays", post(replays::ask).layer(DefaultBodyLimit::max(MAX_DOCUMENT_BYTES)))
        .route("/gateways/{id}/replays/{number}", get(replays::find))
        .route("/gateways/{id}/rules", get(replays::rules))
        .route("/gateways/{id}/tags", get(history::tags).put(history::replace_tags))
        .route("/rollouts", get(rollouts::list).post(rollouts::start).layer(DefaultBodyLimit::max(MAX_DOCUMENT_BYTES)))
        .route("/rollouts/{id}", get(rollouts::find))
        .route("/rollouts/{id}/stop", post(rollouts::stop))
        .route("/rollouts/{id}/resume", post(rollouts::resume))
        .route("/gateways/{id}/sealing-key", get(secrets::key))
        .route("/gateways/{id}/secrets", get(secrets::list))
        .route("/gateways/{id}/secrets/{name}", put(secrets::put).delete(secrets::delete))
        .route("/enrolment-tokens", get(tokens::list).post(tokens::create))
        .route("/enrolment-tokens/{id}", delete(tokens::revoke))
        .route("/openapi.json", get(openapi::document))
        .route("/schemas/{name}", get(openapi::schema_document));
    let api = Router::new().nest("/v1", v1).fallback(no_such_route).method_not_allowed_fallback(no_such_method);
    Router::new()
        .nest("/api", api)
        .route("/api/", any(no_such_route)) // a nested router does not answer for its own root with a slash
        .route("/oauth2/token", post(oauth::token).fallback(no_such_method))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::map_response(with_headers))
        .with_state(app)
}

async fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address; /api/v1/openapi.json lists what there is")
}

async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method; the Allow header names those it takes")
}

async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    response
}
