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
    assert_eq!(stored.json(), serde_json::json!({"number": 1, "state": "desired", "warnings": []}));
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

async fn post(world: &World, token: &str, path: &str, body: &str) -> Answer {
    world.post(token, path, &[], body).await
}

#[tokio::test]
async fn an_earlier_document_returns_under_a_new_number_and_the_history_says_so() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    put(&world, &admin, "", &[], r#"{"format":1,"rules":[]}"#).await;
    put(&world, &admin, "", &[], r#"{"format":1,"rules":[],"confirm_within_s":10}"#).await;
    let returned = post(&world, &admin, "/api/v1/gateways/gateway-a/revisions/1/return", "").await;
    assert_eq!(returned.json(), serde_json::json!({"number": 3, "state": "desired", "warnings": []}));
    assert_eq!(world.get(&admin, PATH).await.body, br#"{"format":1,"rules":[]}"#);
    let newest = world.get(&admin, "/api/v1/gateways/gateway-a/revisions").await.json()["items"][0].clone();
    assert_eq!(newest["remark"], "return to revision 1");
    let changes = world.get(&admin, "/api/v1/gateways/gateway-a/revisions/2/changes").await.json();
    let added: Vec<&str> = changes["hunks"][0]["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["side"] == "added")
        .filter_map(|l| l["text"].as_str())
        .collect();
    assert_eq!((changes["from"].as_u64(), added), (Some(1), vec!["  \"confirm_within_s\": 10,"]), "{changes}");
    let same = world.get(&admin, "/api/v1/gateways/gateway-a/revisions/3/changes?against=1").await.json();
    assert_eq!(same["hunks"], serde_json::json!([]));
    assert_eq!(post(&world, &admin, "/api/v1/gateways/gateway-a/revisions/9/return", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_exported_file_changes_nothing_when_it_is_imported() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    put(&world, &admin, "", &[], "{ \"rules\": [],\n\"format\": 1 }").await;
    let file = world.get(&admin, &format!("{PATH}/export")).await;
    assert_eq!(file.body, b"{\n  \"format\": 1,\n  \"rules\": []\n}\n");
    let text = String::from_utf8(file.body).unwrap();
    let import = format!("{PATH}/import");
    assert_eq!(post(&world, &admin, &import, &text).await.json(), serde_json::json!({"number": 1, "changed": false}));
    let other = r#"{"format":1,"rules":[],"confirm_within_s":20}"#;
    assert_eq!(post(&world, &admin, &import, other).await.json(), serde_json::json!({"number": 2, "changed": true}));
    assert_eq!(post(&world, &admin, &import, "{\"format\":9}").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_roll_out_begins_for_the_gateways_of_a_tag_and_hides_from_the_other_tenant() {
    let world = World::new().await;
    let (admin, other) = (world.token("a", Role::Admin).await, world.token("b", Role::Admin).await);
    let wish = r#"{"tag":"branch","change":{"document":{"format":1,"rules":[]}},"stages":[1,"10 %","all"]}"#;
    let nobody = post(&world, &admin, "/api/v1/rollouts", wish).await;
    assert_eq!(nobody.status, StatusCode::UNPROCESSABLE_ENTITY);
    let tags = with_token(Request::put("/api/v1/gateways/gateway-a/tags"), &admin).header("content-type", "application/json");
    let tagged = world.send(tags.body(Body::from(r#"{"tags":["branch"]}"#)).unwrap()).await;
    assert_eq!(tagged.json(), serde_json::json!({"tags": ["branch"]}));
    let begun = post(&world, &admin, "/api/v1/rollouts", wish).await;
    assert_eq!(begun.status, StatusCode::CREATED);
    let begun = begun.json();
    assert_eq!((&begun["state"], &begun["gateways"][0]["state"]), (&"running".into(), &"waiting".into()), "{begun}");
    let path = format!("/api/v1/rollouts/{}", begun["id"].as_str().unwrap());
    assert_eq!(post(&world, &admin, "/api/v1/rollouts", wish).await.status, StatusCode::CONFLICT, "one at a time");
    assert_eq!(world.get(&other, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(post(&world, &other, &format!("{path}/stop"), "").await.status, StatusCode::NOT_FOUND);
    let stopped = post(&world, &admin, &format!("{path}/stop"), "").await.json();
    assert!(stopped["reason"].as_str().unwrap().starts_with("stopped by "), "{stopped}");
    assert_eq!(post(&world, &admin, &format!("{path}/resume"), "").await.json()["state"], "running");
    let odd = r#"{"change":{"document":{"format":1,"rules":[]}},"stages":[0]}"#;
    assert_eq!(post(&world, &admin, "/api/v1/rollouts", odd).await.status, StatusCode::BAD_REQUEST);
}
