//! The live link: what changes reaches an open page at once, for the reader's filter and no other.

use axum::body::Body;
use http_body_util::BodyExt as _;
use postern_control::auth::Role;
use postern_control::feed::Change;
use postern_protocol::alert::{Alert, AlertState};
use serde_json::Value;

use crate::{Browser, World, alert, gateway, id, tenant};

/// One event with data.
#[derive(Debug)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    async fn open(browser: &Browser<'_>, path: &str, last_event_id: Option<&str>) -> Self {
        let mut request = browser.request("GET", path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = browser.world.open(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// Waits for the next event that carries data.
    async fn next(&mut self) -> Event {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |wanted: &str| {
                    let found = event.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| *name == wanted);
                    found.map(|(_, value)| value.to_owned())
                };
                let (name, id, data) = (field("event"), field("id"), field("data"));
                self.text = rest.to_owned();
                if let Some(data) = data {
                    let data = serde_json::from_str(&data).unwrap();
                    return Event { name: name.unwrap_or_default(), id: id.unwrap_or_default(), data };
                }
            }
            let frame = self.body.frame().await.expect("the stream goes on").unwrap();
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// Waits for the next event of that name.
    async fn named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name {
                return event;
            }
        }
    }

    /// Reads to the end and returns the text of it all.
    async fn rest(mut self) -> String {
        while let Some(Ok(frame)) = self.body.frame().await {
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        self.text
    }

    async fn ends(mut self) -> bool {
        while let Some(frame) = self.body.frame().await {
            if frame.is_err() {
                break;
            }
        }
        true
    }
}

#[tokio::test]
async fn a_new_alert_reaches_the_list_and_a_cleared_one_leaves_it() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let mut stream = Stream::open(&browser, "/events?view=alerts", None).await;
    let counts = stream.next().await;
    assert_eq!((counts.name.as_str(), &counts.data["id"]), ("part", &Value::from("counts")));
    world.report("a", 1, vec![alert("x", 1)]).await;
    let row = stream.named("row").await;
    assert_eq!((&row.data["id"], row.id.as_str()), (&Value::from(id("a", "x")), "1"));
    let html = row.data["html"].as_str().unwrap();
    assert!(html.starts_with("<tr class=\"alert\"") && html.contains("x is down"), "{html}");
    let cleared = Alert { revision: 2, state: AlertState::Cleared, cleared_at: Some(alert("x", 2).last_seen), ..alert("x", 1) };
    world.report("a", 2, vec![cleared]).await;
    let gone = stream.named("remove").await;
    assert_eq!((&gone.data["id"], &gone.data["revision"]), (&Value::from(id("a", "x")), &Value::from(2)));
}

#[tokio::test]
async fn a_row_comes_as_the_page_shows_it() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let mut stream = Stream::open(&browser, "/events?view=alerts", None).await;
    world.report("a", 1, vec![alert("x", 1)]).await;
    let row = stream.named("row").await;
    let page = browser.get("/alerts").await.body;
    assert!(page.contains(row.data["html"].as_str().unwrap().trim_end()), "{page}");
}

#[tokio::test]
async fn only_what_fits_the_filter_comes_as_a_row() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let mut stream = Stream::open(&browser, "/events?view=alerts&q=Y+IS&acknowledged=no", None).await;
    world.report("a", 1, vec![alert("x", 1), alert("y", 2)]).await;
    assert_eq!(stream.named("row").await.data["id"], Value::from(id("a", "y")));
    browser.post(&format!("/alerts/{}/acknowledge", id("a", "y")), &[]).await;
    assert_eq!(stream.named("remove").await.data["id"], Value::from(id("a", "y")));
}

#[tokio::test]
async fn a_browser_that_comes_back_gets_what_it_missed() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("x", 1), alert("y", 2), alert("z", 3)]).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let mut by_header = Stream::open(&browser, "/events?view=alerts&since=0", Some("2")).await;
    assert_eq!(by_header.named("row").await.data["id"], Value::from(id("a", "z")));
    let mut by_page = Stream::open(&browser, "/events?view=alerts&since=1", None).await;
    assert_eq!(by_page.named("row").await.data["id"], Value::from(id("a", "y")));
    let mut ahead = Stream::open(&browser, "/events?view=alerts&since=99", None).await;
    assert_eq!(ahead.next().await.name, "reload", "the store was restored from a backup");
}

#[tokio::test]
async fn one_alerts_page_follows_its_alert_alone() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("x", 1), alert("y", 2)]).await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let path = format!("/events?view=alert&id={}&since=1", id("a", "x"));
    let mut stream = Stream::open(&browser, &path, None).await;
    browser.post(&format!("/alerts/{}/acknowledge", id("a", "y")), &[]).await;
    browser.post(&format!("/alerts/{}/notes", id("a", "x")), &[("text", "first words")]).await;
    let part = stream.next().await;
    assert_eq!((part.name.as_str(), &part.data["id"]), ("part", &Value::from("alert")));
    assert!(part.data["html"].as_str().unwrap().contains("first words"));
}

#[tokio::test]
async fn a_revisions_fate_reaches_the_editor() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let mut stream = Stream::open(&browser, "/events?view=configuration&id=gateway-a", None).await;
    assert!(stream.named("part").await.data["html"].as_str().unwrap().contains("data-state=\"none\""));
    let fields = [("document", postern_protocol::revision::BUILT_IN), ("base", "0"), ("do", "save")];
    browser.post("/gateways/gateway-a/configuration", &fields).await;
    loop {
        let part = stream.named("part").await;
        if part.data["id"] == "revision-panel" {
            assert!(part.data["html"].as_str().unwrap().contains("data-state=\"desired\" data-number=\"1\""));
            break;
        }
    }
}

#[tokio::test]
async fn the_gateways_rows_follow_their_gateways() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Viewer).await;
    let mut stream = Stream::open(&browser, "/events?view=gateways", None).await;
    assert_eq!(stream.named("part").await.data["id"], "gateways");
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    store.gateway_connected(&gateway("a"), "0.1.0", world.app.now()).await.unwrap();
    world.app.feed.publish(&tenant("a"), Change::Gateway { id: gateway("a") });
    let row = stream.named("part").await;
    assert_eq!(row.data["id"], "g-gateway-a");
    assert!(row.data["html"].as_str().unwrap().contains("Connected"));
}

#[tokio::test]
async fn the_live_link_ends_with_the_program() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Viewer).await;
    let stream = Stream::open(&browser, "/events?view=alerts", None).await;
    world.app.stop.cancel();
    assert!(stream.ends().await);
}

#[tokio::test]
async fn what_happens_after_the_sign_out_is_not_told_any_more() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Viewer).await;
    let mut stream = Stream::open(&browser, "/events?view=alerts", None).await;
    world.report("a", 1, vec![alert("before", 1)]).await;
    stream.named("row").await;
    browser.post("/sign-out", &[]).await;
    world.report("a", 2, vec![alert("after", 2)]).await;
    assert!(!stream.rest().await.contains("after"));
}

#[tokio::test]
async fn a_folded_alert_leaves_the_list_and_its_parent_counts_it() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Operator).await;
    let storm = crate::alerts::storm();
    world.report("a", 1, vec![storm[0].clone()]).await;
    let mut stream = Stream::open(&browser, "/events?view=alerts", None).await;
    stream.named("part").await;
    world.report("a", 2, vec![storm[1].clone(), storm[2].clone()]).await;
    let folded = stream.named("folded").await;
    assert_eq!((&folded.data["id"], &folded.data["parent"]), (&Value::from(id("a", "x")), &Value::from(id("a", "storm"))));
    let parent = stream.named("renew").await;
    assert_eq!(parent.data["id"], Value::from(id("a", "storm")));
    assert!(parent.data["html"].as_str().unwrap().contains("alerts are folded under this one"));
    browser.post(&format!("/alerts/{}/close", id("a", "storm")), &[]).await;
    assert_eq!(stream.named("reload").await.name, "reload", "what it folded stands for itself");
}
