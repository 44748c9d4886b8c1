//! The API and the sign-in as clients meet them: requests against the real routers over databases in a temporary folder.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking; clippy's own exception covers the test functions, not what they call"
)]

mod actions;
mod configuration;
mod gateways;
mod intake;
mod lists;
mod mibs;
mod oauth;
mod openapi;
mod problems;
mod replays;
mod routes;
mod secrets;
mod sign_in;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use postern_control::app::App;
use postern_control::auth::{Role, clients};
use postern_control::{api, clock};
use postern_protocol::alert::Alert;
use postern_protocol::id::{Epoch, Sequence};
use postern_protocol::timestamp::Timestamp;
use serde_json::Value;
use tower::ServiceExt as _;

use self::support::{alert_at, gateway, id, tenant};

/// A control plane with the tenants `a` and `b`, each with a gateway (`gateway-a`, `gateway-b`) and a client for every role.
struct World {
    app: Arc<App>,
    router: Router,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn is_problem(&self) -> bool {
        self.header("content-type") == "application/problem+json" && self.json()["status"] == self.status.as_u16()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

/// An open alert on `resource`, first seen `second` seconds after the tests' zero.
fn alert(resource: &str, second: i64) -> Alert {
    alert_at(resource, u64::try_from(second).unwrap() + 1_000, at(second))
}

impl World {
    async fn new() -> Self {
        let (app, folder) = support::control_plane().await;
        Self { router: api::router(Arc::clone(&app)), app, _folder: folder }
    }

    /// Sends a request to the API.
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(with_token(Request::get(path), token).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, token: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = with_token(Request::post(path), token).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Returns an access token of a new client.
    async fn token(&self, name: &str, role: Role) -> String {
        let client = clients::create_client(self.app.stores.system(), &tenant(name), role, clock::now()).await.unwrap();
        clients::issue_token(&self.app, &client.id, &client.secret).await.unwrap()
    }

    /// Lets the tenant's gateway report alerts, each call under an epoch of its own.
    async fn report(&self, name: &str, epoch: u64, alerts: Vec<Alert>) {
        let batch = postern_control::store::ingest::AlertBatch { epoch: Epoch(epoch), first_sequence: Sequence(1), alerts };
        let store = self.app.stores.tenant(&tenant(name)).unwrap();
        let applied = store.apply_alerts(&gateway(name), batch, clock::now()).await.unwrap();
        for change in applied.changes {
            self.app.feed.publish(&tenant(name), change);
        }
    }
}

fn with_token(request: axum::http::request::Builder, token: &str) -> axum::http::request::Builder {
    request.header("authorization", format!("Bearer {token}"))
}
