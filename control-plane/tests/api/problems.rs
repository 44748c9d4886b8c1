//! Requests that are wrong: every answer is a problem that says what to change.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;

use super::{World, alert, id, with_token};

#[tokio::test]
async fn a_wrong_query_names_the_parameter() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    for (query, parameter) in [
        ("state=opened", "state"),
        ("state=", "state"),
        ("severity=bad", "severity"),
        ("limit=many", "limit"),
        ("limit=10&limit=20", "limit"),
        ("cursor=x", "cursor"),
        ("acknowledged=yes", "acknowledged"),
        ("first_seen_after=today", "first_seen_after"),
        ("first_seen_before=2027-01-15T09:00:02+01:00", "first_seen_before"),
        ("stat=open", "stat"),
    ] {
        let answer = world.get(&token, &format!("/api/v1/alerts?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.is_problem(), "{query}");
        assert_eq!(answer.json()["parameter"], parameter, "{query}");
    }
    let gateways = world.get(&token, "/api/v1/gateways?cursor=Z2F0ZXdheS1i").await;
    assert_eq!(gateways.json()["parameter"], "cursor", "a gateway of another tenant is no place in the list");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let world = World::new().await;
    for path in ["/api", "/api/", "/api/v1", "/api/v2/alerts", "/api/v1/alert", "/api/v1/alerts/x/y", "/api/v1/schemas/x.json"] {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.is_problem(), "{path}");
    }
    let answer = world.send(Request::delete("/api/v1/alerts").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.is_problem());
    assert_eq!(answer.header("allow"), "GET,HEAD");
    let answer = world.send(Request::get("/oauth2/token").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn wrong_bodies_are_refused_with_their_own_status() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Admin).await;
    let notes = format!("/api/v1/alerts/{}/notes", id("a", "r"));
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(70 * 1024));
    for (body, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("{", StatusCode::BAD_REQUEST),
        (r#"{"text":"x","more":1}"#, StatusCode::BAD_REQUEST),
        (r#"{"text":" "}"#, StatusCode::BAD_REQUEST),
        (r#"{"text":7}"#, StatusCode::BAD_REQUEST),
        (long.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = world.post(&token, &notes, &[], body).await;
        assert_eq!(answer.status, status, "{}", &body[..body.len().min(40)]);
        assert!(answer.is_problem());
    }
    let text = with_token(Request::post(&notes), &token).header("content-type", "text/plain").body(Body::from("x")).unwrap();
    assert_eq!(world.send(text).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let close = format!("/api/v1/alerts/{}/close", id("a", "r"));
    assert_eq!(world.post(&token, &close, &[], r#"{"note":"x"}"#).await.status, StatusCode::BAD_REQUEST);
    let document = with_token(Request::put("/api/v1/gateways/gateway-a/configuration"), &token)
        .header("content-type", "application/json")
        .body(Body::from(vec![b' '; 3 * 1024 * 1024]))
        .unwrap();
    let answer = world.send(document).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.is_problem());
}

#[tokio::test]
async fn an_internal_error_shows_an_id_and_nothing_else() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Viewer).await;
    let store = world.app.stores.tenant(&super::tenant("a")).unwrap();
    store.write(|tx| Ok(tx.execute_batch("UPDATE alert SET labels = 'not JSON'")?)).await.unwrap();
    let answer = world.get(&token, "/api/v1/alerts").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.is_problem());
    assert_eq!(answer.json()["id"].as_str().unwrap().len(), 16);
    assert!(!String::from_utf8(answer.body).unwrap().contains("labels"));
}

#[tokio::test]
async fn the_console_beside_it_does_not_answer_for_the_api() {
    let world = World::new().await;
    let both = world.router.clone().merge(postern_control::console::router(std::sync::Arc::clone(&world.app)));
    for (path, problem) in [("/api", true), ("/api/v1/nothing", true), ("/apiary", false), ("/nothing", false)] {
        let response = tower::ServiceExt::oneshot(both.clone(), Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()["content-type"] == "application/problem+json", problem, "{path}");
    }
}
