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
mod lists;
mod oauth;
mod openapi;
mod problems;
mod routes;
mod sign_in;
mod stream;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use postern_control::app::App;
use postern_control::auth::{Role, clients};
use postern_control::ca::CertificateAuthority;
use postern_control::config::Config;
use postern_control::metrics::Metrics;
use postern_control::signer::Signer;
use postern_control::store::Stores;
use postern_control::{api, clock};
use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{AlertId, Epoch, GatewayId, RuleId, Sequence, TenantId};
use postern_protocol::timestamp::Timestamp;
use serde_json::Value;
use tower::ServiceExt as _;

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

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn gateway(tenant: &str) -> GatewayId {
    GatewayId::new(format!("gateway-{tenant}")).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

/// An open alert on `resource`, first seen `second` seconds after the tests' zero.
fn alert(resource: &str, second: i64) -> Alert {
    let revision = u64::try_from(second).unwrap() + 1_000;
    Alert {
        key: AlertKey { resource: resource.into(), kind: "link-down".into(), qualifier: String::new() },
        occurrence: revision,
        revision,
        state: AlertState::Open,
        severity: Severity::Major,
        summary: format!("{resource} is down"),
        count: 1,
        first_seen: at(second),
        last_seen: at(second),
        cleared_at: None,
        labels: [("interface".to_owned(), "eth0".to_owned())].into(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        evidence: Evidence { peer: "10.0.0.1".into(), transport: "udp".into(), chosen_by: "peer".into(), ..Evidence::default() },
    }
}

fn id(tenant: &str, resource: &str) -> String {
    let key = AlertKey { resource: resource.into(), kind: "link-down".into(), qualifier: String::new() };
    AlertId::derive(&gateway(tenant), &key).to_string()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let keys = path.join("keys");
        std::fs::create_dir(&keys).unwrap();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: path.to_owned(),
            names: vec!["localhost".parse().unwrap()],
            unreachable_after: Duration::from_secs(60),
        };
        let app = App {
            ca: CertificateAuthority::create(&keys, clock::now()).unwrap(),
            clock: clock::now,
            config,
            feed: Default::default(),
            gateways: Default::default(),
            metrics: Metrics::default(),
            passwords: Default::default(),
            server_pins: Vec::new(),
            signer: Signer::create(&keys.join("revision.key")).unwrap(),
            stop: Default::default(),
            stores: Stores::open(path).unwrap(),
        };
        let app = Arc::new(app);
        let world = Self { router: api::router(Arc::clone(&app)), app, _folder: folder };
        for name in ["a", "b"] {
            world.app.stores.create_tenant(&tenant(name), name, clock::now()).await.unwrap();
            let id = gateway(name);
            let insert = format!(
                "INSERT INTO gateway (id, tenant, name, enrolled_at, client_spki) VALUES ('{id}', '{name}', 'Site {name}', 0, x'{}')",
                "00".repeat(32)
            );
            world.app.stores.system().write(move |tx| Ok(tx.execute_batch(&insert)?)).await.unwrap();
        }
        world
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
