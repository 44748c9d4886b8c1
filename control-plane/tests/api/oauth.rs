//! `POST /oauth2/token`: RFC 6749's ways in and its errors.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::{Role, clients};
use postern_control::store::audit::By;

use super::{Answer, World, clock, tenant};

async fn ask(world: &World, basic: Option<&str>, form: &str) -> Answer {
    let mut request = Request::post("/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
    if let Some(basic) = basic {
        request = request.header("authorization", format!("Basic {}", data_encoding::BASE64.encode(basic.as_bytes())));
    }
    world.send(request.body(Body::from(form.to_owned())).unwrap()).await
}

#[tokio::test]
async fn both_ways_of_authentication_give_a_token_that_works() {
    let world = World::new().await;
    let client = clients::create_client(world.app.stores.system(), &tenant("a"), Role::Viewer, clock::now()).await.unwrap();
    let posted = format!("grant_type=client_credentials&client_id={}&client_secret={}", client.id, client.secret);
    let basic = format!("{}:{}", client.id, client.secret);
    for answer in [ask(&world, None, &posted).await, ask(&world, Some(&basic), "grant_type=client_credentials").await] {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        let body = answer.json();
        assert_eq!((body["token_type"].as_str(), body["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
        assert_eq!(world.get(body["access_token"].as_str().unwrap(), "/api/v1/alerts").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let world = World::new().await;
    let client = clients::create_client(world.app.stores.system(), &tenant("a"), Role::Viewer, clock::now()).await.unwrap();
    let good = format!("client_id={}&client_secret={}", client.id, client.secret);
    let basic = format!("{}:{}", client.id, client.secret);
    for (basic, form, status, code) in [
        (None, good.clone(), 400, "invalid_request"),
        (None, format!("{good}&grant_type=password"), 400, "unsupported_grant_type"),
        (None, format!("{good}&grant_type=client_credentials&grant_type=client_credentials"), 400, "invalid_request"),
        (None, format!("{good}&grant_type=client_credentials&scope=all"), 400, "invalid_scope"),
        (None, "grant_type=client_credentials".to_owned(), 401, "invalid_client"),
        (None, format!("grant_type=client_credentials&client_id={}&client_secret=x", client.id), 401, "invalid_client"),
        (None, "grant_type=client_credentials&client_id=nobody&client_secret=x".to_owned(), 401, "invalid_client"),
        (Some(basic.as_str()), format!("{good}&grant_type=client_credentials"), 400, "invalid_request"),
        (Some("nobody:x"), "grant_type=client_credentials".to_owned(), 401, "invalid_client"),
    ] {
        let answer = ask(&world, basic, &form).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (status, Some(code)), "{form}");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401, "{form}");
        assert_eq!(answer.header("cache-control"), "no-store", "{form}");
    }
    let json = Request::post("/oauth2/token").header("content-type", "application/json").body(Body::from("{}")).unwrap();
    assert_eq!(world.send(json).await.json()["error"], "invalid_request");
}

#[tokio::test]
async fn a_revoked_client_gets_no_token() {
    let world = World::new().await;
    let system = world.app.stores.system();
    let client = clients::create_client(system, &tenant("a"), Role::Viewer, clock::now()).await.unwrap();
    assert!(system.revoke_client(&tenant("b"), &client.id, (By::command_line(), clock::now())).await.is_err(), "another tenant's client");
    system.revoke_client(&tenant("a"), &client.id, (By::command_line(), clock::now())).await.unwrap();
    let basic = format!("{}:{}", client.id, client.secret);
    let answer = ask(&world, Some(&basic), "grant_type=client_credentials").await;
    assert_eq!(answer.json()["error"], "invalid_client");
}
