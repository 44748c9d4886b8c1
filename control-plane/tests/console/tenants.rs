//! No route shows or changes anything of another tenant.

use axum::body::Body;
use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_protocol::id::RevisionNumber;

use crate::{World, alert, gateway, id, tenant};

#[tokio::test]
async fn another_tenants_pages_are_not_there() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("secret-of-a", 1)]).await;
    let browser = world.browser("b", "boris", Role::Admin).await;
    let alert = format!("/alerts/{}", id("a", "secret-of-a"));
    for path in [alert.as_str(), "/gateways/gateway-a", "/gateways/gateway-a/configuration", "/gateways/gateway-a/configuration?revision=1"]
    {
        assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/alerts?state=all", "/alerts?gateway=gateway-a", "/gateways", "/gateways/enrol"] {
        let page = browser.get(path).await.body;
        assert!(!page.contains("secret-of-a") && !page.contains("Site a"), "{path}: {page}");
    }
}

#[tokio::test]
async fn another_tenants_things_cannot_be_changed() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("secret-of-a", 1)]).await;
    let anna = world.browser("a", "anna", Role::Admin).await;
    anna.post("/gateways/enrol", &[("name", "next"), ("hours", "24")]).await;
    let tokens = world.app.stores.system().list_tokens(&tenant("a"), world.app.now()).await.unwrap();
    let boris = world.browser("b", "boris", Role::Admin).await;
    let alert = id("a", "secret-of-a");
    for action in ["acknowledge", "unacknowledge", "close", "notes"] {
        let answer = boris.post(&format!("/alerts/{alert}/{action}"), &[("text", "x")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{action}");
    }
    assert_eq!(boris.post("/alerts/close", &[("id", &alert)]).await.status, StatusCode::CONFLICT);
    let fields = [("document", "{}"), ("base", "0"), ("do", "save"), ("force", "yes")];
    assert_eq!(boris.post("/gateways/gateway-a/configuration", &fields).await.status, StatusCode::NOT_FOUND);
    assert_eq!(boris.post(&format!("/gateways/enrol/{}/revoke", tokens[0].id), &[]).await.status, StatusCode::NOT_FOUND);
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    assert_eq!(store.newest_revision(&gateway("a")).await.unwrap(), RevisionNumber(0));
    let seen = store.find_alert(&alert).await.unwrap().unwrap();
    assert!(seen.acknowledged.is_none() && seen.closed_at.is_none() && seen.notes.is_empty());
}

#[tokio::test]
async fn the_live_link_of_another_tenants_gateway_ends_at_once() {
    let world = World::new().await;
    let browser = world.browser("b", "boris", Role::Admin).await;
    for view in ["gateway", "configuration"] {
        let path = format!("/events?view={view}&id=gateway-a");
        let answer = world.send(browser.request("GET", &path).body(Body::empty()).unwrap()).await;
        assert!(!answer.body.contains("data:"), "{}", answer.body);
    }
}
