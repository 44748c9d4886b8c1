//! `/api/v1/alerts/stream`: every change of an alert as a server-sent event (HTML Living Standard §9.2).
//!
//! An event's id is the alert's revision and its data the alert as it is now. The store, not the feed, is what is read: the feed
//! only says that there is something to read, so a slow reader skips intermediate states and misses none that lasts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Interval, MissedTickBehavior};

use super::problem::{self, Problem};
use super::schema::parameters::LastEventId;
use super::schema::problems::ReadProblems;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::feed;
use crate::store::TenantStore;
use crate::store::alerts::AlertView;

/// How often a comment goes out when nothing else does, and how soon a revoked token ends a stream without changes.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many alerts are read from the store at once.
const READ_AT_ONCE: usize = 200;

/// Streams the changes of alerts. Begins with an event `ready` whose id is the present revision; then an event `alert` for each
/// change. With `Last-Event-ID` it begins after that revision instead, and sends `reset` if the store does not reach that far
/// (it was restored from a backup): then list the alerts anew.
#[utoipa::path(
    get, path = "/api/v1/alerts/stream", operation_id = "stream_alerts", tag = "alerts", security(("oauth2" = [])),
    params(LastEventId),
    responses(
        (status = 200, description = "Server-sent events; data is an alert", content_type = "text/event-stream", body = String),
        ReadProblems,
    ),
)]
pub(super) async fn alerts(State(app): State<Arc<App>>, api: ApiPrincipal, headers: HeaderMap) -> Result<Response, Problem> {
    api.principal.require(Permission::Read)?;
    let last = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            Some(revision(value).ok_or_else(|| Problem::parameter("Last-Event-ID", "Last-Event-ID is the id of an event of this stream"))?)
        }
    };
    let store = app.stores.tenant(&api.principal.tenant)?;
    let changes = app.feed.subscribe(&api.principal.tenant); // before the first read, so that nothing falls between
    let newest = store.newest_change().await?;
    let first = match last {
        None => Event::default().event("ready").id(newest.to_string()).data("{}"),
        Some(last) if last > newest => Event::default().event("reset").id(newest.to_string()).data("{}"),
        Some(_) => Event::default().comment("resumed"),
    };
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let sent = last.filter(|last| *last <= newest).unwrap_or(newest);
    let reader = Reader { app, api, store, changes, heartbeat, first: Some(first), behind: true, sent, waiting: VecDeque::new() };
    let events = stream::unfold(reader, |mut reader| async move { reader.next().await.map(|event| (Ok::<_, Infallible>(event), reader)) });
    // Proxies that buffer would hold events back.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((unbuffered, Sse::new(events)).into_response())
}

fn revision(value: &HeaderValue) -> Option<i64> {
    value.to_str().ok()?.parse().ok().filter(|revision| *revision >= 0)
}

struct Reader {
    app: Arc<App>,
    api: ApiPrincipal,
    store: TenantStore,
    changes: Receiver<feed::Change>,
    heartbeat: Interval,
    first: Option<Event>,
    /// Whether the store may have more than `waiting`.
    behind: bool,
    /// The last revision that was taken from the store.
    sent: i64,
    waiting: VecDeque<AlertView>,
}

impl Reader {
    /// Returns the next event. Ends when the program stops, the access token ends or is revoked, or the store fails.
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if self.is_over(self.app.now()) {
                return None;
            }
            if let Some(alert) = self.waiting.pop_front() {
                return Event::default().event("alert").id(alert.revision.to_string()).json_data(&alert).ok();
            }
            if self.behind {
                self.read().await?;
                continue;
            }
            // Every arm is cancel-safe: a token, a tick and a broadcast are waited for, nothing is taken half.
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                _ = self.heartbeat.tick() => return self.api.is_good(&self.app).await.then(|| Event::default().comment("")),
                change = self.changes.recv() => match change {
                    Ok(feed::Change::Alert { revision, .. }) => self.behind = revision > self.sent,
                    Ok(feed::Change::Gateway { .. }) => {}
                    Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.app.stop.is_cancelled() || now >= self.api.expires_at
    }

    async fn read(&mut self) -> Option<()> {
        if !self.api.is_good(&self.app).await {
            return None;
        }
        match self.store.alerts_changed_since(self.sent, READ_AT_ONCE).await {
            Ok(alerts) => {
                self.behind = alerts.len() == READ_AT_ONCE;
                self.sent = alerts.last().map_or(self.sent, |alert| alert.revision);
                self.waiting.extend(alerts);
                Some(())
            }
            Err(error) => {
                problem::log_internal(&error);
                None
            }
        }
    }
}
