//! The list, one alert, and what people do with them.

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_protocol::alert::{Alert, AlertState, Course, Decision, DecisionKind, Severity, Suppression};
use postern_protocol::id::RuleId;

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

/// A storm that folds two alerts, one that is quiet, and one of its own.
pub(crate) fn storm() -> Vec<Alert> {
    let storm = Alert { summary: "Storm of link-down".into(), ..alert("storm", 1) };
    let folded = Decision { at: storm.first_seen, what: DecisionKind::Folded, by: "storm".into(), text: "2 in 60 s".into() };
    let under = Course { parent: Some(storm.key.clone()), decisions: vec![folded], ..Course::default() };
    let suppressed = Some(Suppression { by: "patch-night".into(), until: alert("x", 900).first_seen });
    let rule = || RuleId::new("if-link-down").unwrap();
    let child = |resource: &str, revision| Alert { course: under.clone(), rule: rule(), ..alert(resource, revision) };
    let quiet = Alert { course: Course { suppressed, flapping: true, ..Course::default() }, ..alert("w", 5) };
    vec![storm, child("x", 2), child("y", 3), alert("z", 4), quiet]
}

#[tokio::test]
async fn the_list_folds_and_hides_and_says_so() {
    let world = World::new().await;
    world.report("a", 1, storm()).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let shown = async |address: &str| {
        let page = browser.get(address).await.body;
        let names = ["storm", "x", "y", "z", "w"].into_iter().filter(|resource| row(&page, &id("a", resource)).is_some());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown("/alerts").await, "storm z");
    assert_eq!(shown("/alerts?quiet=shown").await, "storm z w");
    assert_eq!(shown("/alerts?q=is+down").await, "x y z w", "a search finds what is folded or quiet");
    let under = format!("/alerts?state=all&parent={}", id("a", "storm"));
    assert_eq!(shown(&under).await, "x y");
    let page = browser.get("/alerts").await.body;
    let storm = row(&page, &id("a", "storm")).unwrap();
    assert!(storm.contains("2 alerts are folded under this one"), "{storm}");
    assert!(page.contains("2 open major alerts, 2 of them not acknowledged"), "the counts are those of the list: {page}");
    assert!(page.contains("1 open alerts are kept quiet by maintenance windows: show them"), "{page}");
    assert!(browser.get(&under).await.body.contains("2 folded under <a"));
    assert_eq!(browser.get("/alerts?parent=00").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_alerts_page_says_why_and_what_it_folds() {
    let world = World::new().await;
    world.report("a", 1, storm()).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let child = browser.get(&format!("/alerts/{}", id("a", "x"))).await.body;
    let parent = format!("href=\"/alerts/{}\"", id("a", "storm"));
    for text in ["Folded under another alert", &parent, "2 in 60 s", "It matches the SNMP notification", "from the pack", "Lasts since"] {
        assert!(child.contains(text), "{text} in {child}");
    }
    let storm = browser.get(&format!("/alerts/{}", id("a", "storm"))).await.body;
    for text in ["It folds 2 other alerts", "2 folded under it", "x is down", "y is down", "Show all"] {
        assert!(storm.contains(text), "{text} in {storm}");
    }
    let quiet = browser.get(&format!("/alerts/{}", id("a", "w"))).await.body;
    assert!(quiet.contains("Maintenance until 2027-01-15 08:15:00 UTC") && quiet.contains(">Flapping<"), "{quiet}");
}
