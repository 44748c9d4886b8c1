//! Who gets in, and who does not.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;

use crate::{PASSWORD, World};

#[tokio::test]
async fn the_first_password_must_be_changed_before_anything_else() {
    let world = World::new().await;
    let first = world.user("a", "anna", Role::Operator).await;
    let answer = world.sign_in("anna", &first, "").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/change-password"));
    for attribute in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(answer.header("set-cookie").contains(attribute), "{attribute}");
    }
    let browser = world.signed_in(&answer).await;
    assert_eq!(browser.get("/alerts").await.header("location"), "/change-password");
    let short = browser.post("/change-password", &[("current", &first), ("new", "short"), ("repeat", "short")]).await;
    assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(short.body.contains("A password has at least 12 characters."), "{}", short.body);
    let changed = browser.post("/change-password", &[("current", &first), ("new", PASSWORD), ("repeat", PASSWORD)]).await;
    assert_eq!(changed.header("location"), "/alerts");
    assert_eq!(world.signed_in(&changed).await.get("/alerts").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_five_lock_the_account() {
    let world = World::new().await;
    world.user("a", "anna", Role::Operator).await;
    for _ in 0..5 {
        let answer = world.sign_in("anna", "wrong", "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.body.contains("The user name or the password is wrong."));
    }
    let answer = world.sign_in("anna", "wrong", "").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.body.contains("The account is locked until"));
}

#[tokio::test]
async fn who_is_not_signed_in_is_led_to_the_sign_in_and_back() {
    let world = World::new().await;
    assert_eq!(world.get("/alerts?state=all&q=x").await.header("location"), "/sign-in?next=%2Falerts%3Fstate%3Dall%26q%3Dx");
    let first = world.user("a", "anna", Role::Viewer).await;
    let changed = world.signed_in(&world.sign_in("anna", &first, "").await).await;
    changed.post("/change-password", &[("current", &first), ("new", PASSWORD), ("repeat", PASSWORD)]).await;
    let back = world.sign_in("anna", PASSWORD, "%2Falerts%3Fstate%3Dall").await;
    assert_eq!(back.header("location"), "/alerts?state=all");
    let elsewhere = world.sign_in("anna", PASSWORD, "%2F%2Fevil.example%2F").await;
    assert_eq!(elsewhere.header("location"), "/alerts");
}

#[tokio::test]
async fn a_script_without_a_session_gets_no_page() {
    let world = World::new().await;
    for path in ["/events?view=alerts", "/session", "/alerts"] {
        let request = Request::get(path).header("accept", "text/event-stream").body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_link_from_a_chat_takes_one_step_within_our_site_before_it_asks_for_a_password() {
    let world = World::new().await;
    let request = Request::get("/sign-in?next=%2Falerts%2F00ff").header("sec-fetch-site", "cross-site");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert!(answer.body.contains("http-equiv=\"refresh\" content=\"0;url=/sign-in?next=%2Falerts%2F00ff\""), "{}", answer.body);
    let browser = world.browser("a", "anna", Role::Viewer).await;
    assert_eq!(browser.get("/sign-in?next=%2Falerts%2F00ff").await.header("location"), "/alerts/00ff");
}

#[tokio::test]
async fn a_sign_in_form_of_another_site_is_refused() {
    let world = World::new().await;
    let request = Request::post("/sign-in")
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("user=anna&password=x"));
    assert_eq!(world.send(request.unwrap()).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn after_the_sign_out_the_cookie_is_worth_nothing() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Viewer).await;
    let out = browser.post("/sign-out", &[]).await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert!(browser.get("/alerts").await.header("location").starts_with("/sign-in"));
}

#[tokio::test]
async fn nobody_can_make_us_take_in_megabytes_without_a_session() {
    let world = World::new().await;
    let answer = world.sign_in("anna", &"x".repeat(100_000), "").await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}
