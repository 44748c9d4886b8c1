//! Enrolment tokens by the API.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;
use postern_protocol::enrolment::Token;

use super::{World, tenant, with_token};

const PATH: &str = "/api/v1/enrolment-tokens";

#[tokio::test]
async fn a_token_is_made_listed_without_its_text_and_revoked() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let made = world.post(&admin, PATH, &[], r#"{"gateway_name":"Site 7","expires_in":3600}"#).await.json();
    let text = made["token"].as_str().unwrap();
    assert!(Token::parse(text).is_ok());
    let list = world.get(&admin, PATH).await;
    assert_eq!(list.json()["items"][0]["id"], made["id"]);
    assert_eq!(list.json()["items"][0]["state"], "usable");
    assert!(!String::from_utf8(list.body).unwrap().contains(text));
    let revoke = with_token(Request::delete(format!("{PATH}/{}", made["id"].as_str().unwrap())), &admin);
    assert_eq!(world.send(revoke.body(Body::empty()).unwrap()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get(&admin, PATH).await.json()["items"][0]["state"], "revoked");
}

#[tokio::test]
async fn wrong_wishes_name_the_field() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    for (body, field) in [
        (r#"{"gateway_name":""}"#, "gateway_name"),
        (r#"{"gateway_name":"a\u0000b"}"#, "gateway_name"),
        (r#"{"gateway_name":"x","expires_in":59}"#, "expires_in"),
        (r#"{"gateway_name":"x","expires_in":99999999}"#, "expires_in"),
    ] {
        let answer = world.post(&admin, PATH, &[], body).await;
        assert_eq!((answer.status, answer.json()["parameter"].as_str()), (StatusCode::BAD_REQUEST, Some(field)), "{body}");
    }
}

#[tokio::test]
async fn the_same_key_makes_one_token_and_the_store_never_holds_its_text() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let key = [("idempotency-key", "k")];
    let body = r#"{"gateway_name":"x"}"#;
    let first = world.post(&admin, PATH, &key, body).await;
    let again = world.post(&admin, PATH, &key, body).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.body, again.body);
    assert_eq!(world.get(&admin, PATH).await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(world.post(&admin, PATH, &key, r#"{"gateway_name":"y"}"#).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let kept: Vec<u8> = store.read(|db| Ok(db.query_row("SELECT body FROM idempotency", [], |row| row.get(0))?)).await.unwrap();
    let secret = first.json()["token"].as_str().unwrap().to_owned();
    assert!(!kept.is_empty() && !kept.windows(20).any(|window| secret.as_bytes().windows(20).any(|part| part == window)));
}
