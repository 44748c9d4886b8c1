//! Replays and rules' counters, as programs meet them.

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_control::clock;
use postern_control::store::audit::By;
use postern_control::store::replays::NewReplay;
use postern_protocol::replay::{Figures, ReplayState, Replayed, RuleFigures, RuleReport};
use serde_json::{Value, json};

use super::{World, at, gateway, tenant};

const REPLAYS: &str = "/api/v1/gateways/gateway-a/replays";

#[tokio::test]
async fn a_replay_of_a_gateway_that_is_away_or_of_a_bad_document_is_refused() {
    let world = World::new().await;
    let token = world.token("a", Role::Admin).await;
    let post = async |body: Value| world.post(&token, REPLAYS, &[], &body.to_string()).await;
    let away = post(json!({"document": {"format": 1, "rules": []}, "minutes": 15})).await;
    assert_eq!(away.status, StatusCode::CONFLICT);
    assert!(away.json()["detail"].as_str().unwrap().contains("not connected"));
    assert_eq!(post(json!({"document": {}, "minutes": 0})).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(post(json!({"minutes": 5})).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_replay_is_read_with_its_answer() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let new = NewReplay { gateway: gateway("a"), document: b"{}".to_vec(), since: at(1), by: By::command_line(), at: clock::now() };
    let number = store.ask_replay(new).await.unwrap();
    let path = format!("{REPLAYS}/{number}");
    let waiting = world.get(&token, &path).await.json();
    assert_eq!((&waiting["state"], &waiting["result"]), (&json!("waiting"), &Value::Null));
    let result = Replayed {
        state: ReplayState::Done,
        reason: String::new(),
        problems: Vec::new(),
        from: 1,
        until: 2,
        events: 9,
        undecodable: 0,
        effective: Figures::default(),
        candidate: Figures { shown: 4, ..Figures::default() },
        differences: Vec::new(),
        further: 0,
    };
    store.answer_replay(&gateway("a"), (number, result), clock::now()).await.unwrap();
    let answered = world.get(&token, &path).await.json();
    assert_eq!((&answered["state"], &answered["result"]["candidate"]["shown"]), (&json!("answered"), &json!(4)));
    let other = world.token("b", Role::Viewer).await;
    assert_eq!(world.get(&other, &path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rules_are_read_with_counters_and_warnings() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let path = "/api/v1/gateways/gateway-a/rules";
    assert_eq!(world.get(&token, path).await.json()["counters"], Value::Null);
    let rules = vec![RuleFigures { id: "r".into(), matched: 5, ..RuleFigures::default() }];
    let report = RuleReport { revision: 3, since: at(1), rules };
    world.app.stores.tenant(&tenant("a")).unwrap().put_rule_report(&gateway("a"), report, clock::now()).await.unwrap();
    let answer = world.get(&token, path).await.json();
    assert_eq!((&answer["counters"]["revision"], &answer["counters"]["rules"][0]["matched"]), (&json!(3), &json!(5)));
    assert!(answer["warnings"].is_array());
}
