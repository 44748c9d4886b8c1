//! Gateways and their configuration by the API.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;

use super::{Answer, World, with_token};

const PATH: &str = "/api/v1/gateways/gateway-a/configuration";

async fn put(world: &World, token: &str, query: &str, headers: &[(&str, &str)], document: &str) -> Answer {
    let mut request = with_token(Request::put(format!("{PATH}{query}")), token).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(document.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_document_is_stored_byte_for_byte_and_numbered() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    assert_eq!(world.get(&admin, PATH).await.status, StatusCode::NOT_FOUND);
    let document = "{ \"format\": 1,\n  \"rules\": [] }\n";
    let stored = put(&world, &admin, "", &[], document).await;
    assert_eq!((stored.status, stored.header("etag")), (StatusCode::OK, "\"1\""));
    assert_eq!(stored.json(), serde_json::json!({"number": 1, "state": "desired"}));
    put(&world, &admin, "", &[], r#"{"format":1,"rules":[] }"#).await;
    let newest = world.get(&admin, PATH).await;
    assert_eq!((newest.header("etag"), newest.header("postern-revision-state")), ("\"2\"", "desired"));
    let first = world.get(&admin, &format!("{PATH}?revision=1")).await;
    assert_eq!((first.body.as_slice(), first.header("content-type")), (document.as_bytes(), "application/json"));
    let revisions = world.get(&admin, "/api/v1/gateways/gateway-a/revisions").await.json();
    assert_eq!(revisions["items"].as_array().unwrap().len(), 2);
    assert_eq!(world.get(&admin, "/api/v1/gateways/gateway-a").await.json()["revision"]["desired"], 2);
}

#[tokio::test]
async fn a_document_with_problems_is_refused_with_their_places_unless_forced() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let document = "{\"format\": 1,\n \"rules\": [{\"id\": 7}]}";
    let refused = put(&world, &admin, "", &[], document).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.is_problem());
    let problem = &refused.json()["problems"][0];
    assert_eq!((problem["path"].as_str(), problem["line"].as_u64()), (Some("rules[0].id"), Some(2)), "{problem}");
    assert!(problem["column"].is_number() && problem["reason"].is_string());
    assert_eq!(world.get(&admin, PATH).await.status, StatusCode::NOT_FOUND);
    assert_eq!(put(&world, &admin, "?force=true", &[], document).await.status, StatusCode::OK);
    assert_eq!(world.get(&admin, PATH).await.body, document.as_bytes());
    assert_eq!(put(&world, &admin, "?force=maybe", &[], document).await.json()["parameter"], "force");
}

#[tokio::test]
async fn if_match_guards_against_two_editors() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let document = r#"{"format":1,"rules":[]}"#;
    put(&world, &admin, "", &[], document).await;
    assert_eq!(put(&world, &admin, "", &[("if-match", "\"2\"")], document).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put(&world, &admin, "", &[("if-match", "\"1\"")], document).await.status, StatusCode::OK);
}

#[tokio::test]
async fn gateways_come_in_pages() {
    let world = World::new().await;
    let insert = "INSERT INTO gateway (id, tenant, name, enrolled_at, client_spki) VALUES ('z', 'a', 'Another', 0, zeroblob(32))";
    world.app.stores.system().write(move |tx| Ok(tx.execute_batch(insert)?)).await.unwrap();
    let token = world.token("a", Role::Viewer).await;
    let first = world.get(&token, "/api/v1/gateways?limit=1").await.json();
    assert_eq!(first["items"][0]["id"], "z");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = world.get(&token, &format!("/api/v1/gateways?limit=1&cursor={cursor}")).await.json();
    assert_eq!((second["items"][0]["id"].as_str(), second["next_cursor"].is_null()), (Some("gateway-a"), true));
}
