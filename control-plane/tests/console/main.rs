//! The console as a browser meets it: requests against the real router over databases in a temporary folder.

// The lints' own exception for tests does not reach helpers beside them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod alerts;
mod gateways;
mod hygiene;
mod intake;
mod live;
mod rules;
mod secrets;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod tenants;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use postern_control::app::App;
use postern_control::auth::{Role, users};
use postern_control::store::ingest::AlertBatch;
use postern_control::{clock, console};
use postern_protocol::alert::Alert;
use postern_protocol::id::{Epoch, Sequence};
use postern_protocol::timestamp::Timestamp;
use tower::ServiceExt as _;

use self::support::{alert_at, gateway, id, tenant};

const PASSWORD: &str = "four good words here";

/// A control plane with the tenants `a` and `b`, each with one gateway (`gateway-a`, `gateway-b`).
struct World {
    app: Arc<App>,
    router: Router,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A person who is signed in.
struct Browser<'a> {
    world: &'a World,
    cookie: String,
    csrf: String,
}

/// An open alert on `resource` with that revision.
fn alert(resource: &str, revision: u64) -> Alert {
    alert_at(resource, revision, Timestamp::from_secs(1_800_000_000 + i64::try_from(revision).unwrap()))
}

/// The value of the first `name="value"` after `mark` in a page.
fn attribute(page: &str, mark: &str, name: &str) -> String {
    let after = page.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {page}")).1;
    after.split_once(&format!("{name}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned()
}

impl World {
    async fn new() -> Self {
        let (app, folder) = support::control_plane().await;
        Self { router: console::router(Arc::clone(&app)), app, _folder: folder }
    }

    async fn open(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body).unwrap() }
    }

    /// Asks for a page without being signed in.
    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).header("accept", "text/html").body(Body::empty()).unwrap()).await
    }

    /// Sends the sign-in form.
    async fn sign_in(&self, user: &str, password: &str, next: &str) -> Answer {
        let password = password.replace(' ', "+");
        let form = format!("user={user}&password={password}&next={next}");
        let request = Request::post("/sign-in").header("accept", "text/html").header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    /// Makes a user and returns the first password.
    async fn user(&self, of: &str, name: &str, role: Role) -> String {
        users::create_user(self.app.stores.system(), name, &tenant(of), role, clock::now()).await.unwrap()
    }

    /// Makes a user who has signed in and chosen a password.
    async fn browser(&self, of: &str, name: &str, role: Role) -> Browser<'_> {
        let first = self.user(of, name, role).await;
        let browser = self.signed_in(&self.sign_in(name, &first, "").await).await;
        let changed = browser.post("/change-password", &[("current", &first), ("new", PASSWORD), ("repeat", PASSWORD)]).await;
        assert_eq!((changed.status, changed.header("location")), (StatusCode::SEE_OTHER, "/alerts"), "{}", changed.body);
        self.signed_in(&changed).await
    }

    async fn signed_in(&self, answer: &Answer) -> Browser<'_> {
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        assert!(cookie.starts_with("__Host-postern="), "{cookie}");
        let mut browser = Browser { world: self, cookie, csrf: String::new() };
        browser.csrf = attribute(&browser.get("/change-password").await.body, "name=\"csrf\"", "value");
        browser
    }

    /// Lets the tenant's gateway report alerts, each call under an epoch of its own.
    async fn report(&self, of: &str, epoch: u64, alerts: Vec<Alert>) {
        let batch = AlertBatch { epoch: Epoch(epoch), first_sequence: Sequence(1), alerts };
        let store = self.app.stores.tenant(&tenant(of)).unwrap();
        for change in store.apply_alerts(&gateway(of), batch, clock::now()).await.unwrap().changes {
            self.app.feed.publish(&tenant(of), change);
        }
    }
}

impl Browser<'_> {
    fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header("cookie", &self.cookie)
    }

    async fn get(&self, path: &str) -> Answer {
        self.world.send(self.request("GET", path).header("accept", "text/html").body(Body::empty()).unwrap()).await
    }

    /// Sends a form as a page does.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> = [("csrf", self.csrf.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.post_bare(path, &fields, "text/html").await
    }

    /// Sends a form as a script does.
    async fn post_quietly(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> = [("csrf", self.csrf.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.post_bare(path, &fields, "text/plain").await
    }

    async fn post_bare(&self, path: &str, fields: &[(&str, &str)], accept: &str) -> Answer {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = self.request("POST", path).header("accept", accept).header("content-type", "application/x-www-form-urlencoded");
        self.world.send(request.body(Body::from(pairs.join("&"))).unwrap()).await
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
