//! Walks every route of `openapi.json` with everybody who may not use it: no token, a wrong one, a session cookie, another
//! tenant's admin, too low a role.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use postern_control::auth::Role;
use postern_control::store::audit::By;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{Answer, World, alert, clock, gateway, id, tenant};

/// An operation of the API as the description has it.
struct Operation {
    method: Method,
    path: String,
    /// Whether it needs an access token.
    guarded: bool,
}

impl Operation {
    /// The least role that may use it: said here once more, so that a handler that forgets its check is found.
    fn least_role(&self) -> Role {
        match (self.method.as_str(), self.path.as_str()) {
            (_, path) if path.starts_with("/api/v1/enrolment-tokens") => Role::Admin,
            ("GET", "/api/v1/audit" | "/api/v1/gateways/{id}/audit") | ("POST", "/api/v1/pairs") | ("DELETE", "/api/v1/pairs/{id}") => {
                Role::Admin
            }
            ("DELETE", "/api/v1/gateways/{id}/secrets/{name}") | ("PUT", _) => Role::Admin,
            ("POST", "/api/v1/gateways/{id}/revoke" | "/api/v1/gateways/{id}/waiting-room/bind" | "/api/v1/mibs")
            | ("DELETE", "/api/v1/mibs/{number}") => Role::Admin,
            ("POST", "/api/v1/gateways/{id}/configuration/import" | "/api/v1/gateways/{id}/revisions/{number}/return") => Role::Admin,
            ("POST", "/api/v1/gateways/{id}/replays") => Role::Admin,
            ("POST", path) if path.starts_with("/api/v1/rollouts") => Role::Admin,
            ("POST", path) if path.starts_with("/api/v1/alerts/") => Role::Operator,
            ("GET", _) => Role::Viewer,
            other => panic!("say who may use {other:?}"),
        }
    }

    /// The path with identifiers of things that tenant a has.
    fn filled(&self, token_id: &str) -> String {
        let id = match self.path.split('/').nth(3) {
            Some("alerts") => id("a", "r"),
            Some("enrolment-tokens") => token_id.to_owned(),
            Some("gateways") => gateway("a").to_string(),
            _ => "revision.json".to_owned(),
        };
        self.path.replace("{id}", &id).replace("{name}", &id).replace("{number}", "7")
    }

    fn names_a_thing(&self) -> bool {
        // A pair's gateways are named in the body.
        self.path.contains('{') || (self.method == Method::POST && self.path == "/api/v1/pairs")
    }

    fn body(&self) -> &'static str {
        match (self.method.as_str(), self.path.as_str()) {
            ("POST", "/api/v1/enrolment-tokens") => r#"{"gateway_name":"new"}"#,
            ("POST", "/api/v1/alerts/{id}/notes") => r#"{"text":"hello"}"#,
            ("POST", "/api/v1/pairs") => r#"{"gateways":["gateway-a","gateway-a"]}"#,
            ("PUT", "/api/v1/gateways/{id}/pace") => r#"{"bytes_per_second":2048}"#,
            ("PUT", "/api/v1/gateways/{id}/quarantine") => r#"{"keep":"current"}"#,
            ("PUT", "/api/v1/gateways/{id}/renewal") => r#"{"open_for_s":3600}"#,
            ("PUT", "/api/v1/gateways/{id}/configuration") => r#"{"format":1,"rules":[]}"#,
            ("POST", "/api/v1/gateways/{id}/configuration/import") => r#"{"format":1,"rules":[]}"#,
            ("POST", "/api/v1/gateways/{id}/replays") => r#"{"document":{"format":1,"rules":[]}}"#,
            ("POST", "/api/v1/rollouts") => r#"{"change":{"document":{"format":1,"rules":[]}}}"#,
            ("PUT", "/api/v1/gateways/{id}/tags") => r#"{"tags":["branch"]}"#,
            ("POST", "/api/v1/gateways/{id}/waiting-room/bind") => r#"{"action":"reset_engine","engine":"80001f8880e9630000d61ff449"}"#,
            ("POST", "/api/v1/mibs") => "TINY-MIB DEFINITIONS ::= BEGIN END",
            ("PUT", _) => r#"{"version":1,"sealed":"AQ==","sealed_to":"0000000000000000000000000000000000000000000000000000000000000000"}"#,
            _ => "",
        }
    }

    /// Sends the operation and reads a problem whole, but of a success only the head: a stream has no end.
    async fn send(&self, world: &World, token_id: &str, credential: Option<(header::HeaderName, String)>) -> Answer {
        let mut request = Request::builder().method(self.method.clone()).uri(self.filled(token_id));
        let archive = self.path == "/api/v1/mibs";
        request = request.header(header::CONTENT_TYPE, if archive { "text/plain" } else { "application/json" });
        if let Some((name, value)) = credential {
            request = request.header(name, value);
        }
        let response = world.router.clone().oneshot(request.body(Body::from(self.body())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let whole = parts.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "text/event-stream");
        let body = if whole { body.collect().await.unwrap().to_bytes().to_vec() } else { Vec::new() };
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

fn operations() -> Vec<Operation> {
    let description = serde_json::to_value(postern_control::api::openapi::describe()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path: path.clone(), guarded: operation["security"].is_array() });
        }
    }
    operations
}

/// Makes what the routes can name: an alert, a revision and an enrolment token of tenant a. Returns the token's short name.
async fn furnish(world: &World) -> String {
    world.report("a", 1, vec![alert("r", 1)]).await;
    let admin = world.token("a", Role::Admin).await;
    let made = world.post(&admin, "/api/v1/enrolment-tokens", &[], r#"{"gateway_name":"a's own"}"#).await;
    assert_eq!(made.status, StatusCode::CREATED);
    made.json()["id"].as_str().unwrap().to_owned()
}

fn bearer(token: &str) -> Option<(header::HeaderName, String)> {
    Some((header::AUTHORIZATION, format!("Bearer {token}")))
}

#[test]
fn only_the_token_endpoint_and_the_documents_need_no_token() {
    let open: Vec<String> = operations().into_iter().filter(|o| !o.guarded).map(|o| format!("{} {}", o.method, o.path)).collect();
    assert_eq!(open, ["GET /api/v1/openapi.json", "GET /api/v1/schemas/{name}", "POST /oauth2/token"]);
    assert_eq!(operations().len(), 59);
}

#[tokio::test]
async fn every_route_refuses_who_has_no_good_token() {
    let world = World::new().await;
    let token_id = furnish(&world).await;
    let good = world.token("a", Role::Admin).await;
    let session = super::sign_in::cookie_of_a_new_user(&world, "a", Role::Admin).await;
    for operation in operations().iter().filter(|operation| operation.guarded) {
        for credential in [
            None,
            bearer(""),
            bearer("postern_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            Some((header::AUTHORIZATION, format!("Basic {good}"))),
            Some((header::COOKIE, session.clone())),
            Some((header::COOKIE, format!("__Host-postern={good}"))),
        ] {
            let answer = operation.send(&world, &token_id, credential.clone()).await;
            let what = format!("{} {} with {credential:?}", operation.method, operation.path);
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
            assert!(answer.is_problem(), "{what}");
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{what}");
        }
    }
}

#[tokio::test]
async fn every_route_hides_one_tenant_from_the_other() {
    let world = World::new().await;
    let token_id = furnish(&world).await;
    let other = world.token("b", Role::Admin).await;
    let before = snapshot(&world).await;
    for operation in operations().iter().filter(|operation| operation.guarded) {
        let answer = operation.send(&world, &token_id, bearer(&other)).await;
        let what = format!("{} {}", operation.method, operation.path);
        if operation.names_a_thing() {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
            assert!(answer.is_problem(), "{what}");
        } else {
            assert!(answer.status.is_success(), "{what}: {}", answer.status);
        }
        let body = String::from_utf8(answer.body).unwrap();
        for theirs in [&id("a", "r"), "gateway-a", "a's own", &token_id, "Site a"] {
            assert!(!body.contains(theirs), "{what} shows {theirs}");
        }
    }
    assert_eq!(snapshot(&world).await, before, "tenant b changed something of tenant a");
}

#[tokio::test]
async fn every_route_refuses_too_low_a_role_and_takes_the_least() {
    let world = World::new().await;
    let token_id = furnish(&world).await;
    let before = snapshot(&world).await;
    let refused = [Role::Viewer, Role::Operator];
    for operation in operations().iter().filter(|operation| operation.guarded) {
        for role in refused.into_iter().filter(|role| *role < operation.least_role()) {
            let token = world.token("a", role).await;
            let answer = operation.send(&world, &token_id, bearer(&token)).await;
            let what = format!("{} {} as {role}", operation.method, operation.path);
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
            assert!(answer.is_problem(), "{what}");
        }
    }
    assert_eq!(snapshot(&world).await, before);
    // A gateway that is revoked takes nothing any more: that comes last.
    let (last, first): (Vec<_>, Vec<_>) = operations().into_iter().partition(|operation| operation.path.ends_with("/revoke"));
    for operation in first.iter().chain(&last).filter(|operation| operation.guarded) {
        // A close ends what the others act on; a configuration is there only after the PUT.
        let token = world.token("a", operation.least_role()).await;
        let answer = operation.send(&world, &token_id, bearer(&token)).await;
        let what = format!("{} {}", operation.method, operation.path);
        let later = [StatusCode::CONFLICT, StatusCode::NOT_FOUND];
        assert!(answer.status.is_success() || later.contains(&answer.status), "{what}: {}", answer.status);
    }
}

/// Everything of tenant a that the API shows to its admin.
async fn snapshot(world: &World) -> Vec<Value> {
    let admin = world.token("a", Role::Admin).await;
    let mut seen = Vec::new();
    for path in ["alerts".to_owned(), format!("alerts/{}/history", id("a", "r")), "gateways".to_owned(), "enrolment-tokens".to_owned()] {
        seen.push(world.get(&admin, &format!("/api/v1/{path}")).await.json());
    }
    let revisions = world.app.stores.tenant(&tenant("a")).unwrap().list_revisions(&gateway("a")).await.unwrap();
    seen.push(serde_json::to_value(revisions).unwrap());
    seen
}

#[tokio::test]
async fn a_token_that_is_over_or_revoked_is_refused() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    assert_eq!(world.get(&token, "/api/v1/gateways").await.status, StatusCode::OK);
    let system = world.app.stores.system();
    system.write(|tx| Ok(tx.execute_batch("UPDATE access_token SET expires_at = 1")?)).await.unwrap();
    let answer = world.get(&token, "/api/v1/gateways").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"postern\", error=\"invalid_token\"");
    let token = world.token("a", Role::Viewer).await;
    for client in system.list_clients(&tenant("a")).await.unwrap() {
        system.revoke_client(&tenant("a"), &client.id, (By::command_line(), clock::now())).await.unwrap();
    }
    assert_eq!(world.get(&token, "/api/v1/gateways").await.status, StatusCode::UNAUTHORIZED);
}
