//! Secrets over the API: only what is sealed comes in, only names and states go out.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use data_encoding::{BASE64, HEXLOWER};
use postern_control::auth::Role;
use postern_control::{clock, sealing};
use postern_protocol::secret;
use serde_json::{Value, json};

use super::{Answer, World, gateway, tenant, with_token};

const SECRETS: &str = "/api/v1/gateways/gateway-a/secrets";

/// Gives the tenant's gateway a key, and returns it.
async fn greet(world: &World, name: &str) -> Vec<u8> {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
    let public = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap().public_key();
    let spki: PublicKeyX509Der<'_> = public.as_der().unwrap();
    let spki = spki.as_ref().to_vec();
    let store = world.app.stores.tenant(&tenant(name)).unwrap();
    store.note_sealing_key(&gateway(name), spki.clone(), clock::now()).await.unwrap();
    spki
}

fn body(spki: &[u8], name: &str, version: u32) -> String {
    let context = secret::context(&tenant("a"), &gateway("a"), name, version);
    let sealed = BASE64.encode(&sealing::seal(spki, &context, b"maplesyrup").unwrap());
    json!({ "version": version, "sealed": sealed, "sealed_to": HEXLOWER.encode(&sealing::fingerprint(spki)) }).to_string()
}

async fn put(world: &World, token: &str, name: &str, body: &str) -> Answer {
    put_once(world, token, name, body, None).await
}

async fn put_once(world: &World, token: &str, name: &str, body: &str, key: Option<&str>) -> Answer {
    let mut request = with_token(Request::put(format!("{SECRETS}/{name}")), token).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Gives gateway a a key and one secret.
pub(crate) async fn sealed(world: &World, token: &str) -> Answer {
    let spki = greet(world, "a").await;
    put(world, token, "x", &body(&spki, "x", 1)).await
}

async fn delete(world: &World, token: &str, name: &str) -> Answer {
    world.send(with_token(Request::delete(format!("{SECRETS}/{name}")), token).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_sealed_secret_is_stored_listed_replaced_and_deleted_and_its_content_never_shown() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let key = world.get(&admin, "/api/v1/gateways/gateway-a/sealing-key").await;
    assert_eq!(key.status, StatusCode::NOT_FOUND, "no key yet");
    let spki = greet(&world, "a").await;
    let key = world.get(&admin, "/api/v1/gateways/gateway-a/sealing-key").await.json();
    assert_eq!(key["spki"], BASE64.encode(&spki));
    assert_eq!((&key["tenant"], &key["gateway"], &key["previous_sha256"]), (&json!("a"), &json!("gateway-a"), &Value::Null));

    let sealed = body(&spki, "core.auth", 1);
    let stored = put(&world, &admin, "core.auth", &sealed).await;
    assert_eq!(stored.status, StatusCode::OK);
    assert_eq!((&stored.json()["version"], &stored.json()["sealed_to"]), (&json!(1), &key["sha256"]));
    assert_eq!(put(&world, &admin, "core.auth", &sealed).await.json(), stored.json(), "the same again changes nothing");
    let listed = world.get(&admin, SECRETS).await.json();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["state"]), (1, &json!("waiting")));
    assert!(listed["items"][0].get("sealed").is_none());

    let again = put(&world, &admin, "core.auth", &body(&spki, "core.auth", 3)).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.json()["detail"].as_str().unwrap().contains("next version of this secret is 2"));
    assert_eq!(put(&world, &admin, "core.auth", &body(&spki, "core.auth", 2)).await.status, StatusCode::OK);
    assert_eq!(delete(&world, &admin, "core.auth").await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete(&world, &admin, "core.auth").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get(&admin, SECRETS).await.json()["items"], json!([]));
    assert_eq!(put(&world, &admin, "core.auth", &body(&spki, "core.auth", 1)).await.status, StatusCode::CONFLICT, "versions go on");
}

#[tokio::test]
async fn nothing_that_is_not_sealed_is_taken() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let spki = greet(&world, "a").await;
    let sealed_to = HEXLOWER.encode(&sealing::fingerprint(&spki));
    let raw = |bytes: &[u8]| json!({ "version": 1, "sealed": BASE64.encode(bytes), "sealed_to": sealed_to }).to_string();
    let context = secret::context(&tenant("a"), &gateway("a"), "x", 1);
    let good = sealing::seal(&spki, &context, b"p").unwrap();
    let empty = &good[..good.len() - 1];
    let mut other_format = good.clone();
    other_format[0] = 2;
    for (bytes, status) in [
        (&b"maplesyrup"[..], StatusCode::UNPROCESSABLE_ENTITY),
        (&[1; 300], StatusCode::UNPROCESSABLE_ENTITY),
        (empty, StatusCode::UNPROCESSABLE_ENTITY),
        (&other_format, StatusCode::UNPROCESSABLE_ENTITY),
        (&[1; 2049], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = put(&world, &admin, "x", &raw(bytes)).await;
        assert_eq!(answer.status, status, "{} bytes", bytes.len());
        assert!(answer.is_problem());
    }
    for (text, status) in [
        (r#"{"version":1,"value":"maplesyrup"}"#, StatusCode::BAD_REQUEST),
        (r#"{"version":1,"sealed":"maplesyrup","sealed_to":"00"}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("maplesyrup", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(put(&world, &admin, "x", text).await.status, status, "{text}");
    }
    assert_eq!(put(&world, &admin, "Not-A-Name", &raw(&good)).await.status, StatusCode::BAD_REQUEST);
    let long = "A".repeat(65 * 1024);
    assert_eq!(put(&world, &admin, "x", &long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.get(&admin, SECRETS).await.json()["items"], json!([]));
    assert_eq!(put(&world, &admin, "x", &raw(&good)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_changed_key_refuses_what_was_sealed_to_the_old_one_and_marks_what_is_stored() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let old = greet(&world, "a").await;
    assert_eq!(put(&world, &admin, "x", &body(&old, "x", 1)).await.status, StatusCode::OK);
    let new = greet(&world, "a").await;
    assert_ne!(old, new);
    let key = world.get(&admin, "/api/v1/gateways/gateway-a/sealing-key").await.json();
    assert_eq!(key["previous_sha256"], HEXLOWER.encode(&sealing::fingerprint(&old)));
    assert_eq!(world.get(&admin, SECRETS).await.json()["items"][0]["state"], "seal_again");
    assert_eq!(put(&world, &admin, "x", &body(&old, "x", 2)).await.status, StatusCode::CONFLICT);
    assert_eq!(put(&world, &admin, "x", &body(&new, "x", 2)).await.status, StatusCode::OK);
    assert_eq!(world.get(&admin, SECRETS).await.json()["items"][0]["state"], "waiting");
}

#[tokio::test]
async fn a_lost_answer_comes_again_under_its_key_and_the_key_serves_one_request() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let spki = greet(&world, "a").await;
    let first = put_once(&world, &admin, "x", &body(&spki, "x", 1), Some("k")).await;
    assert_eq!(first.status, StatusCode::OK);
    // Another seal of the same secret is another request.
    assert_eq!(put_once(&world, &admin, "x", &body(&spki, "x", 1), Some("k")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let other = body(&spki, "y", 1);
    let (once, again) = (put_once(&world, &admin, "y", &other, Some("l")).await, put_once(&world, &admin, "y", &other, Some("l")).await);
    assert_eq!((again.status, again.json()), (once.status, once.json()));
}
