//! The page on which secrets are sealed: what it shows, what it takes, and who may. Sealing itself is the browser's: `e2e/vault`.

use axum::http::StatusCode;
use data_encoding::{BASE64, HEXLOWER};
use postern_control::auth::Role;
use postern_control::{clock, sealing};
use postern_protocol::secret;

use crate::{World, attribute, gateway, tenant};

const PAGE: &str = "/gateways/gateway-a/secrets";

/// Gives gateway a a key, and returns it.
async fn greet(world: &World) -> Vec<u8> {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
    let public = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap().public_key();
    let spki: PublicKeyX509Der<'_> = public.as_der().unwrap();
    let spki = spki.as_ref().to_vec();
    world.app.stores.tenant(&tenant("a")).unwrap().note_sealing_key(&gateway("a"), spki.clone(), clock::now()).await.unwrap();
    spki
}

#[tokio::test]
async fn what_the_browser_sealed_is_stored_listed_and_deleted() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    assert!(browser.get(PAGE).await.body.contains("has not told its key yet"));
    let spki = greet(&world).await;
    let page = browser.get(PAGE).await.body;
    assert_eq!(attribute(&page, "id=\"secrets\"", "data-spki").replace("&#43;", "+").replace("&#61;", "="), BASE64.encode(&spki));
    let field = page.split("<input").find(|tag| tag.contains("type=\"password\"")).unwrap().split('>').next().unwrap();
    assert!(!field.contains("name="), "no browser may send it: {field}");

    let sealed_to = HEXLOWER.encode(&sealing::fingerprint(&spki));
    let context = secret::context(&tenant("a"), &gateway("a"), "core.auth", 1);
    let sealed = BASE64.encode(&sealing::seal(&spki, &context, b"maplesyrup").unwrap());
    let fields = [("name", "core.auth"), ("version", "1"), ("sealed", &*sealed), ("sealed_to", &*sealed_to)];
    assert_eq!(browser.post_quietly(PAGE, &fields).await.status, StatusCode::NO_CONTENT);
    let page = browser.get(PAGE).await.body;
    let row = page.split("<tr ").nth(1).unwrap();
    for part in ["data-name=\"core.auth\"", "data-version=\"1\"", "data-state=\"waits\"", "anna"] {
        assert!(row.contains(part), "{part}: {row}");
    }
    let again = [("name", "core.auth"), ("version", "7"), ("sealed", &*sealed), ("sealed_to", &*sealed_to)];
    assert_eq!(browser.post_quietly(PAGE, &again).await.status, StatusCode::CONFLICT);
    assert_eq!(browser.post_quietly(&format!("{PAGE}/core.auth/delete"), &[]).await.status, StatusCode::NO_CONTENT);
    assert!(browser.get(PAGE).await.body.contains("None is sealed yet"));
}

#[tokio::test]
async fn a_form_without_scripts_stores_nothing() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    greet(&world).await;
    let fields = [("name", "core.auth"), ("version", ""), ("sealed", ""), ("sealed_to", "")];
    assert_eq!(browser.post(PAGE, &fields).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(browser.get(PAGE).await.body.contains("None is sealed yet"));
}

#[tokio::test]
async fn others_read_and_other_tenants_see_nothing() {
    let world = World::new().await;
    greet(&world).await;
    let viewer = world.browser("a", "vera", Role::Viewer).await;
    let page = viewer.get(PAGE).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.body.contains("id=\"seal\""));
    let fields = [("name", "x"), ("version", "1"), ("sealed", "AQ=="), ("sealed_to", "00")];
    assert_eq!(viewer.post_quietly(PAGE, &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(viewer.post_quietly(&format!("{PAGE}/x/delete"), &[]).await.status, StatusCode::FORBIDDEN);
    let other = world.browser("b", "bob", Role::Admin).await;
    assert_eq!(other.get(PAGE).await.status, StatusCode::NOT_FOUND);
    assert_eq!(other.post_quietly(PAGE, &fields).await.status, StatusCode::NOT_FOUND);
    assert_eq!(other.post_quietly(&format!("{PAGE}/x/delete"), &[]).await.status, StatusCode::NOT_FOUND);
}
