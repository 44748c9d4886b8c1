//! Lists of alerts: order, pages and filters.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_protocol::alert::{Alert, AlertState, Course, Decision, DecisionKind, Severity, Suppression};
use postern_protocol::id::RuleId;
use serde_json::{Value, json};

use super::{World, alert, at, id};

fn resources(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| item["resource"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_alert_has_exactly_the_fields_that_were_promised() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let token = world.token("a", Role::Viewer).await;
    let list = world.get(&token, "/api/v1/alerts").await;
    assert_eq!(list.status, StatusCode::OK);
    let expected = json!({
        "id": id("a", "r"), "gateway": "gateway-a", "pair": null, "reports": [], "state": "open", "severity": "major", "resource": "r", "kind": "link-down",
        "qualifier": "", "summary": "r is down", "count": 1, "first_seen": "2027-01-15T08:00:01.000000Z",
        "last_seen": "2027-01-15T08:00:01.000000Z", "cleared_at": null, "labels": {"interface": "eth0"}, "closed_at": null,
        "parent": null, "children": 0, "flapping": false, "decisions": [], "revision": 1, "rule": "link-down", "rule_version": 4, "acknowledged": null, "assignee": null, "notes": [], "suppressed": null,
        "evidence": {"peer": "10.0.0.1", "trap_address": "", "engine_id": "", "hostname": "", "tls_name": "", "transport": "udp",
            "authenticity": "none", "chosen_by": "peer", "conflict": false, "relay": ""},
    });
    assert_eq!(list.json(), json!({"items": [expected], "next_cursor": null}));
}

#[tokio::test]
async fn pages_are_newest_first_and_alerts_that_arrive_between_them_change_nothing() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    // Several share a time, so that the order among equals matters too.
    world.report("a", 1, (0..25).map(|n| alert(&format!("r{n:02}"), n / 4)).collect()).await;
    let whole = resources(&world.get(&token, "/api/v1/alerts").await.json());
    assert_eq!(whole.len(), 25);
    assert_eq!(whole.first().map(String::as_str), Some("r24"));
    let mut seen = Vec::new();
    let mut path = "/api/v1/alerts?limit=4".to_owned();
    for page in 0.. {
        let answer = world.get(&token, &path).await.json();
        seen.extend(resources(&answer));
        world.report("a", 2 + page, vec![alert(&format!("new{page}"), 100 + i64::try_from(page).unwrap())]).await;
        let Some(cursor) = answer["next_cursor"].as_str() else { break };
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cursor}");
        path = format!("/api/v1/alerts?limit=4&cursor={cursor}");
    }
    assert_eq!(seen, whole);
}

#[tokio::test]
async fn the_default_page_has_100_alerts_and_the_greatest_1000() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    world.report("a", 1, (0..1001).map(|n| alert(&format!("r{n}"), n)).collect()).await;
    let count = async |query: &str| resources(&world.get(&token, &format!("/api/v1/alerts{query}")).await.json()).len();
    assert_eq!(count("").await, 100);
    assert_eq!(count("?limit=1000").await, 1000);
    assert_eq!(world.get(&token, "/api/v1/alerts?limit=1001").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&token, "/api/v1/alerts?limit=0").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn filters_hold_what_they_say_in_the_store_and_in_memory() {
    let world = World::new().await;
    let token = world.token("a", Role::Operator).await;
    let mut cleared = alert("cleared", 2);
    cleared.state = AlertState::Cleared;
    cleared.cleared_at = Some(at(3));
    let mut critical = alert("critical", 4);
    critical.severity = Severity::Critical;
    critical.key.kind = "power".into();
    critical.summary = "50% of ÄTHER_power".into();
    world.report("a", 1, vec![alert("open", 1), cleared, critical, alert("closed", 5)]).await;
    world.post(&token, &format!("/api/v1/alerts/{}/acknowledge", id("a", "open")), &[], "").await;
    world.post(&token, &format!("/api/v1/alerts/{}/close", id("a", "closed")), &[], "").await;
    let long = format!("q={}", "x".repeat(50_001));
    for (query, expected) in [
        (long.as_str(), vec![]),
        ("", vec!["cleared", "closed", "critical", "open"]),
        ("state=open", vec!["critical", "open"]),
        ("state=cleared,closed", vec!["cleared", "closed"]),
        ("state=cleared&state=closed", vec!["cleared", "closed"]),
        ("severity=critical", vec!["critical"]),
        ("severity=critical,major&state=open", vec!["critical", "open"]),
        ("gateway=gateway-a&kind=power", vec!["critical"]),
        ("gateway=gateway-b", vec![]),
        ("resource=open", vec!["open"]),
        ("resource=ope", vec![]),
        ("acknowledged=true", vec!["open"]),
        ("acknowledged=false&state=open", vec!["critical"]),
        ("q=CRITICAL", vec!["critical"]),
        ("q=50%25", vec!["critical"]),
        ("q=50_", vec![]),
        ("q=r_p", vec!["critical"]),
        ("q=%C3%A4ther", vec![]),
        ("q=eth0&state=open", vec!["critical", "open"]),
        ("first_seen_after=2027-01-15T08:00:02Z", vec!["closed", "critical"]),
        ("first_seen_before=2027-01-15T09:00:02%2B01:00", vec!["open"]),
    ] {
        let answer = world.get(&token, &format!("/api/v1/alerts?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query:.40}");
        let found: BTreeSet<String> = resources(&answer.json()).into_iter().collect();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn the_filter_in_memory_agrees_with_the_store() {
    use postern_control::store::alerts::AlertFilter;
    let world = World::new().await;
    let mut critical = alert("Critical", 4);
    critical.severity = Severity::Critical;
    critical.summary = "50% of ÄTHER_power".into();
    world.report("a", 1, vec![alert("open", 1), critical]).await;
    let store = world.app.stores.tenant(&super::tenant("a")).unwrap();
    let all = store.list_alerts(AlertFilter::default(), 10, None).await.unwrap().items;
    let q = |text: &str| AlertFilter { q: Some(text.into()), ..AlertFilter::default() };
    for filter in [
        q("critical"),
        q("äther"),
        q("ÄTHER"),
        q("%"),
        q("_"),
        q("\"eth0\""),
        AlertFilter { severities: vec![Severity::Critical], ..AlertFilter::default() },
        AlertFilter { acknowledged: Some(true), ..AlertFilter::default() },
        AlertFilter { first_seen_after: Some(at(1)), ..AlertFilter::default() },
        AlertFilter { first_seen_before: Some(at(4)), ..AlertFilter::default() },
        AlertFilter { resource: Some("open".into()), gateway: Some("gateway-a".into()), ..AlertFilter::default() },
    ] {
        let listed = store.list_alerts(filter.clone(), 10, None).await.unwrap().items;
        let matching: Vec<_> = all.iter().filter(|alert| filter.matches(alert)).cloned().collect();
        assert_eq!(listed, matching, "{filter:?}");
    }
}

/// Two alerts of a storm, one of them in a maintenance window, and one of its own.
pub(crate) fn storm() -> Vec<Alert> {
    let storm = Alert { summary: "Storm".into(), ..alert("storm", 1) };
    let folded = Decision { at: at(5), what: DecisionKind::Folded, by: "storm".into(), text: "2 in 60 s".into() };
    let under = Course { parent: Some(storm.key.clone()), decisions: vec![folded], ..Course::default() };
    let suppressed = Some(Suppression { by: "patch-night".into(), until: at(900) });
    let quiet = Course { suppressed, flapping: true, ..under.clone() };
    let rule = RuleId::new("if-link-down").unwrap();
    vec![storm, Alert { course: under, ..alert("x", 2) }, Alert { course: quiet, rule, ..alert("y", 3) }, alert("z", 4)]
}

#[tokio::test]
async fn what_is_folded_suppressed_or_flapping_is_found_by_its_filter() {
    let world = World::new().await;
    world.report("a", 1, storm()).await;
    let token = world.token("a", Role::Viewer).await;
    let found = async |query: &str| resources(&world.get(&token, &format!("/api/v1/alerts?{query}")).await.json()).join(" ");
    assert_eq!(found("").await, "z y x storm", "the API withholds nothing");
    assert_eq!(found("parent=none").await, "z storm");
    assert_eq!(found(&format!("parent={}", id("a", "storm"))).await, "y x");
    assert_eq!((found("suppressed=true").await, found("suppressed=false").await), ("y".into(), "z x storm".into()));
    assert_eq!(found("flapping=true").await, "y");
    let parent = world.get(&token, &format!("/api/v1/alerts/{}", id("a", "storm"))).await.json();
    assert_eq!((&parent["children"], &parent["parent"]), (&json!(2), &Value::Null));
    let child = world.get(&token, &format!("/api/v1/alerts/{}", id("a", "y"))).await.json();
    assert_eq!(child["parent"], json!(id("a", "storm")));
    assert_eq!(child["suppressed"], json!({"by": "patch-night", "until": "2027-01-15T08:15:00.000000Z"}));
    let decision = json!({"at": "2027-01-15T08:00:05.000000Z", "what": "folded", "by": "storm", "text": "2 in 60 s"});
    assert_eq!(child["decisions"], json!([decision]));
    let children = format!("/api/v1/alerts/{}/children", id("a", "storm"));
    let page = world.get(&token, &format!("{children}?limit=1")).await.json();
    assert_eq!(resources(&page), ["y"]);
    let rest = world.get(&token, &format!("{children}?cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((resources(&rest), &rest["next_cursor"]), (vec!["x".to_owned()], &Value::Null));
    assert_eq!(world.get(&token, "/api/v1/alerts/00/children").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_alert_is_explained_in_order() {
    let world = World::new().await;
    world.report("a", 1, storm()).await;
    let token = world.token("a", Role::Viewer).await;
    let answer = world.get(&token, &format!("/api/v1/alerts/{}/explain", id("a", "y"))).await.json();
    let steps: Vec<_> = answer["steps"].as_array().unwrap().iter().map(|step| step["what"].as_str().unwrap()).collect();
    assert_eq!(steps, ["raised", "folded"]);
    assert_eq!(answer["steps"][1]["alert"], json!(id("a", "storm")));
    let rule = &answer["steps"][0]["rule"];
    assert_eq!((&rule["id"], &rule["source"], &rule["revision"]), (&json!("if-link-down"), &json!("pack"), &json!(0)));
    let summary = answer["summary"].as_str().unwrap();
    for words in ["Lasts since 2027-01-15 08:00:03 UTC", "Folded under \"Storm\"", "maintenance window patch-night", "comes and goes"] {
        assert!(summary.contains(words), "{words} in {summary}");
    }
    assert_eq!(world.get(&token, "/api/v1/alerts/00/explain").await.status, StatusCode::NOT_FOUND);
}
