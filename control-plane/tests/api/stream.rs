//! The stream of alerts: what comes, in which order, and where it resumes.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use postern_control::auth::Role;
use postern_control::store::audit::By;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{World, alert, clock, tenant, with_token};

const PATH: &str = "/api/v1/alerts/stream";

/// Fails a test that waits for what never comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Stream(Body);

struct Event {
    kind: String,
    id: String,
    data: Value,
}

impl Stream {
    async fn open(world: &World, token: &str, last: Option<&str>) -> Self {
        let mut request = with_token(Request::get(PATH), token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response.into_body())
    }

    /// Returns the next frame's text; `None` at the end.
    async fn text(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(PATIENCE, self.0.frame()).await.expect("nothing came")?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    }

    async fn event(&mut self) -> Event {
        loop {
            let text = self.text().await.expect("the stream ended");
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
            if text.starts_with(':') {
                continue;
            }
            let data = serde_json::from_str(&field("data:")).unwrap();
            return Event { kind: field("event:"), id: field("id:"), data };
        }
    }
}

#[tokio::test]
async fn changes_come_with_the_revision_as_id() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("old", 1)]).await;
    let token = world.token("a", Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, None).await;
    let ready = stream.event().await;
    assert_eq!((ready.kind.as_str(), ready.id.as_str()), ("ready", "1"));
    world.report("b", 1, vec![alert("of another tenant", 1)]).await;
    world.report("a", 2, vec![alert("new", 2)]).await;
    let event = stream.event().await;
    assert_eq!((event.kind.as_str(), event.id.as_str(), event.data["resource"].as_str()), ("alert", "2", Some("new")));
    assert_eq!(event.data["revision"], 2);
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_id_and_misses_nothing() {
    let world = World::new().await;
    world.report("a", 1, (0..500).map(|n| alert(&format!("r{n}"), n)).collect()).await;
    let token = world.token("a", Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, Some("7")).await;
    for expected in 8..=500 {
        assert_eq!(stream.event().await.id, expected.to_string());
    }
}

#[tokio::test]
async fn an_id_that_the_store_has_not_reached_resets_the_client() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, Some("99")).await;
    let reset = stream.event().await;
    assert_eq!((reset.kind.as_str(), reset.id.as_str()), ("reset", "0"));
    world.report("a", 1, vec![alert("r", 1)]).await;
    assert_eq!(stream.event().await.id, "1");
    let wrong = with_token(Request::get(PATH), &token).header("last-event-id", "x").body(Body::empty()).unwrap();
    assert_eq!(world.send(wrong).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_reader_that_falls_behind_the_feed_still_sees_the_last_state() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, None).await;
    stream.event().await;
    for epoch in 0..3 {
        let changed = (0..600).map(|n| {
            let mut alert = alert(&format!("r{n}"), 1);
            alert.revision += epoch;
            alert.count = epoch + 1;
            alert
        });
        world.report("a", epoch + 1, changed.collect()).await;
    }
    let mut last = std::collections::BTreeMap::new();
    while last.len() < 600 || last.values().any(|count| *count < 3) {
        let event = stream.event().await;
        last.insert(event.data["resource"].as_str().unwrap().to_owned(), event.data["count"].as_u64().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_has_heartbeats_and_ends_with_its_token() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, None).await;
    stream.event().await;
    assert!(stream.text().await.unwrap().starts_with(':'));
    let system = world.app.stores.system();
    for client in system.list_clients(&tenant("a")).await.unwrap() {
        system.revoke_client(&tenant("a"), &client.id, (By::command_line(), clock::now())).await.unwrap();
    }
    assert_eq!(stream.text().await, None);
}

#[tokio::test]
async fn a_stream_ends_when_the_program_stops() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let mut stream = Stream::open(&world, &token, None).await;
    stream.event().await;
    world.app.stop.cancel();
    assert_eq!(stream.text().await, None);
}
