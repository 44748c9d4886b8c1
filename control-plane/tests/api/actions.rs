//! Acting on alerts: what each action changes, conditional requests, and asking again.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;
use postern_control::feed::Change;
use postern_protocol::alert::AlertState;
use serde_json::Value;

use super::{World, alert, at, gateway, id, tenant, with_token};

async fn act(world: &World, token: &str, action: &str, headers: &[(&str, &str)], body: &str) -> super::Answer {
    world.post(token, &format!("/api/v1/alerts/{}/{action}", id("a", "r")), headers, body).await
}

async fn history(world: &World, token: &str) -> Vec<Value> {
    let answer = world.get(token, &format!("/api/v1/alerts/{}/history", id("a", "r"))).await;
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_acknowledgement_stays_the_first_ones_and_can_be_taken_back() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let (first, second) = (world.token("a", Role::Operator).await, world.token("a", Role::Operator).await);
    let acknowledged = act(&world, &first, "acknowledge", &[], "").await;
    assert_eq!(acknowledged.status, StatusCode::OK);
    assert_eq!(acknowledged.header("etag"), "\"2\"");
    let by = acknowledged.json()["acknowledged"]["by"].clone();
    assert!(by.as_str().unwrap().starts_with("client:client-"));
    let again = act(&world, &second, "acknowledge", &[], "{}").await;
    assert_eq!((again.json()["acknowledged"]["by"].clone(), again.json()["revision"].clone()), (by, 2.into()));
    let back = act(&world, &second, "unacknowledge", &[], "").await;
    assert!(back.json()["acknowledged"].is_null());
    let what: Vec<Value> = history(&world, &first).await.into_iter().map(|entry| entry["what"].clone()).collect();
    assert_eq!(what, ["raised", "acknowledged", "unacknowledged"]);
}

#[tokio::test]
async fn a_close_waits_for_the_gateway_and_is_published() {
    let world = World::new().await;
    let mut reported = alert("r", 1);
    reported.count = 7;
    world.report("a", 1, vec![reported]).await;
    let token = world.token("a", Role::Operator).await;
    let mut changes = world.app.feed.subscribe(&tenant("a"));
    let closed = act(&world, &token, "close", &[], "").await.json();
    assert_eq!(closed["state"], "closed");
    assert!(closed["closed_at"].is_string());
    assert_eq!(changes.try_recv(), Ok(Change::Alert { id: id("a", "r"), revision: 2 }));
    let pending = world.app.stores.tenant(&tenant("a")).unwrap().pending_closes(&gateway("a")).await.unwrap();
    assert_eq!(pending.iter().map(|close| (close.occurrence, close.count_seen)).collect::<Vec<_>>(), [(1001, 7)]);
    let again = act(&world, &token, "close", &[], "").await.json();
    assert_eq!(again, closed);
    assert!(changes.try_recv().is_err());
    assert_eq!(act(&world, &token, "acknowledge", &[], "").await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn the_close_of_a_cleared_alert_waits_for_nobody() {
    let world = World::new().await;
    let mut cleared = alert("r", 1);
    cleared.state = AlertState::Cleared;
    cleared.cleared_at = Some(at(2));
    world.report("a", 1, vec![cleared]).await;
    let token = world.token("a", Role::Operator).await;
    assert_eq!(act(&world, &token, "close", &[], "").await.json()["state"], "closed");
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    assert!(store.pending_closes(&gateway("a")).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_close_of_an_alert_of_our_own_waits_for_nobody() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    store.write(|tx| Ok(tx.execute("UPDATE alert SET rule = ?1", [postern_control::unreachable::RULE])?)).await.unwrap();
    let token = world.token("a", Role::Operator).await;
    assert_eq!(act(&world, &token, "close", &[], "").await.json()["state"], "closed");
    assert!(store.pending_closes(&gateway("a")).await.unwrap().is_empty());
}

#[tokio::test]
async fn notes_are_kept_in_order_and_bounded_in_number() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Operator).await;
    act(&world, &token, "notes", &[], r#"{"text":"first"}"#).await;
    let second = act(&world, &token, "notes", &[], r#"{"text":" <b>second</b>\n"}"#).await.json();
    let texts: Vec<&str> = second["notes"].as_array().unwrap().iter().map(|note| note["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["first", "<b>second</b>"]);
    assert_eq!(second["revision"], 3);
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO alert_history (alert, at, actor, what, text) SELECT (SELECT id FROM alert), 0, 'x', 'note', 'y' FROM n";
    store.write(move |tx| Ok(tx.execute_batch(many)?)).await.unwrap();
    assert_eq!(act(&world, &token, "notes", &[], r#"{"text":"one too many"}"#).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn if_match_refuses_what_changed_meanwhile() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Operator).await;
    for tag in ["\"9\"", "W/\"1\"", "nonsense", "1"] {
        let answer = act(&world, &token, "acknowledge", &[("if-match", tag)], "").await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{tag}");
        assert!(answer.is_problem());
    }
    assert_eq!(act(&world, &token, "acknowledge", &[("if-match", "\"7\", \"1\"")], "").await.status, StatusCode::OK);
    assert_eq!(act(&world, &token, "close", &[("if-match", "*")], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn if_none_match_spares_the_body() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Viewer).await;
    let path = format!("/api/v1/alerts/{}", id("a", "r"));
    let read = world.get(&token, &path).await;
    assert_eq!((read.status, read.header("etag")), (StatusCode::OK, "\"1\""));
    let request = with_token(Request::get(&path), &token).header("if-none-match", "\"1\"").body(Body::empty()).unwrap();
    let unchanged = world.send(request).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn the_same_key_with_the_same_request_gets_the_same_answer_and_does_nothing_twice() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Operator).await;
    let key = [("idempotency-key", "k1"), ("if-match", "\"1\"")];
    let first = act(&world, &token, "notes", &key, r#"{"text":"x"}"#).await;
    let again = act(&world, &token, "notes", &key, r#"{"text":"x"}"#).await;
    assert_eq!((first.status, again.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!((&first.body, first.header("etag")), (&again.body, again.header("etag")));
    assert_eq!(history(&world, &token).await.len(), 2);
    let other = act(&world, &token, "notes", &key, r#"{"text":"y"}"#).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(other.is_problem());
    assert_eq!(act(&world, &token, "close", &[("idempotency-key", "k1")], "").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    // Keys belong to a client: another may use the same one.
    let colleague = world.token("a", Role::Operator).await;
    assert_eq!(act(&world, &colleague, "notes", &[("idempotency-key", "k1")], r#"{"text":"y"}"#).await.status, StatusCode::OK);
    assert_eq!(act(&world, &token, "notes", &[("idempotency-key", "")], r#"{"text":"y"}"#).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_that_failed_may_be_tried_again_under_its_key() {
    let world = World::new().await;
    let token = world.token("a", Role::Operator).await;
    let key = [("idempotency-key", "k1")];
    assert_eq!(act(&world, &token, "close", &key, "").await.status, StatusCode::NOT_FOUND);
    world.report("a", 1, vec![alert("r", 1)]).await;
    assert_eq!(act(&world, &token, "close", &key, "").await.status, StatusCode::OK);
}
