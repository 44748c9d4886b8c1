//! The list, one alert, and what people do with them.

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_protocol::alert::{Alert, AlertState, Severity};

use crate::{World, alert, attribute, id};

fn row(page: &str, id: &str) -> Option<String> {
    let (_, row) = page.split_once(&format!("<tr class=\"alert\" id=\"a-{id}\""))?;
    row.split_once("</tr>").map(|(row, _)| row.to_owned())
}

#[tokio::test]
async fn the_list_shows_open_alerts_newest_first_and_filters_by_its_address() {
    let world = World::new().await;
    let cleared = Alert { state: AlertState::Cleared, cleared_at: Some(alert("c", 3).last_seen), ..alert("c", 3) };
    let critical = Alert { severity: Severity::Critical, ..alert("d", 4) };
    world.report("a", 1, vec![alert("x", 1), alert("y", 2), cleared, critical]).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let shown = async |address: &str| {
        let page = browser.get(address).await.body;
        ["x", "y", "c", "d"].into_iter().filter(|resource| row(&page, &id("a", resource)).is_some()).collect::<String>()
    };
    assert_eq!(shown("/alerts").await, "xyd");
    assert_eq!(shown("/alerts?state=cleared").await, "c");
    assert_eq!(shown("/alerts?state=all&severity=critical&severity=minor").await, "d");
    assert_eq!(shown("/alerts?q=Y+is+DOWN").await, "y");
    assert_eq!(shown("/alerts?gateway=gateway-b").await, "");
    let page = browser.get("/alerts").await.body;
    let place = |resource: &str| page.find(&format!("id=\"a-{}\"", id("a", resource))).unwrap();
    assert!(place("d") < place("y") && place("y") < place("x"));
    assert!(page.contains("id=\"count-critical\" href=\"/alerts?severity=critical\""), "{page}");
    assert!(page.contains("1 open critical alerts, 1 of them not acknowledged"));
}

#[tokio::test]
async fn more_than_a_page_is_reached_by_the_next_link() {
    let world = World::new().await;
    world.report("a", 1, (1..=120).map(|n| alert(&format!("r{n}"), n)).collect()).await;
    let browser = world.browser("a", "anna", Role::Viewer).await;
    let first = browser.get("/alerts?q=is+down").await.body;
    assert_eq!(first.matches("<tr class=\"alert\"").count(), 100);
    let next = attribute(&first, "id=\"older\" rel=\"next\"", "href").replace("&#38;", "&");
    let second = browser.get(&next).await.body;
    assert_eq!(second.matches("<tr class=\"alert\"").count(), 20);
    assert!(row(&second, &id("a", "r1")).is_some() && second.contains("data-page=\"later\""));
}

#[tokio::test]
async fn an_alert_is_acknowledged_closed_and_annotated_by_forms() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("x", 1)]).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let path = format!("/alerts/{}", id("a", "x"));
    let acknowledged = browser.post(&format!("{path}/acknowledge"), &[("next", "/alerts?state=all")]).await;
    assert_eq!((acknowledged.status, acknowledged.header("location")), (StatusCode::SEE_OTHER, "/alerts?state=all"));
    let quiet = browser.post_quietly(&format!("{path}/notes"), &[("text", "Called <the> carrier")]).await;
    assert_eq!(quiet.status, StatusCode::NO_CONTENT);
    let page = browser.get(&path).await.body;
    for text in ["Acknowledged by anna", "Called &#60;the&#62; carrier", "by gateway Site a", "version 4", "data-state=\"open\""] {
        assert!(page.contains(text), "{text} in {page}");
    }
    browser.post(&format!("{path}/unacknowledge"), &[]).await;
    browser.post(&format!("{path}/close"), &[]).await;
    let page = browser.get(&path).await.body;
    for text in ["Acknowledgement taken back", "Closed by anna", "The gateway has not confirmed the close yet", "data-state=\"closed\""] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("value=\"close\""), "a closed alert has no more buttons");
    let empty = browser.post(&format!("{path}/notes"), &[("text", "  ")]).await;
    assert_eq!(empty.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(empty.body.contains("a note has 1 to 4096 characters"));
}

#[tokio::test]
async fn several_alerts_are_acknowledged_at_once() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("x", 1), alert("y", 2), alert("z", 3)]).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let (x, y, z) = (id("a", "x"), id("a", "y"), id("a", "z"));
    let answer = browser.post("/alerts/acknowledge", &[("id", &x), ("id", &y), ("next", "/alerts")]).await;
    assert_eq!(answer.header("location"), "/alerts");
    let page = browser.get("/alerts").await.body;
    let by_anna = |id: &str| row(&page, id).unwrap().contains("Acknowledged by anna");
    assert_eq!((by_anna(&x), by_anna(&y), by_anna(&z)), (true, true, false));
    assert_eq!(browser.post("/alerts/acknowledge", &[]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let some_gone = browser.post("/alerts/close", &[("id", &z), ("id", "00")]).await;
    assert_eq!(some_gone.status, StatusCode::CONFLICT);
    assert!(some_gone.body.contains("1 alert changed meanwhile"), "{}", some_gone.body);
}

#[tokio::test]
async fn a_form_without_the_sessions_token_changes_nothing() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("x", 1)]).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let path = format!("/alerts/{}", id("a", "x"));
    for action in ["acknowledge", "unacknowledge", "close", "notes"] {
        for token in ["", "wrong"] {
            let answer = browser.post_bare(&format!("{path}/{action}"), &[("csrf", token), ("text", "x")], "text/html").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}");
        }
    }
    let page = browser.get(&path).await.body;
    assert!(page.contains("data-state=\"open\"") && !page.contains("Acknowledged by"));
}

#[tokio::test]
async fn a_viewer_sees_everything_and_may_touch_nothing() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("x", 1)]).await;
    let browser = world.browser("a", "vera", Role::Viewer).await;
    let path = format!("/alerts/{}", id("a", "x"));
    for page in ["/alerts", path.as_str()] {
        let page = browser.get(page).await.body;
        assert!(page.contains("x is down") && !page.contains("acknowledge\"") && !page.contains("/notes"), "{page}");
    }
    assert_eq!(browser.post(&format!("{path}/acknowledge"), &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.post("/alerts/close", &[("id", &id("a", "x"))]).await.status, StatusCode::FORBIDDEN);
}
