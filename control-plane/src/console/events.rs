//! `/events`: the live link of a page, as server-sent events. A page says in `view` what it shows; each view has a reader that turns
//! changes into rendered rows and parts. Ends when the program stops, the session is over, or the store fails; the page comes back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use postern_protocol::id::GatewayId;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::alerts::live::{AlertReader, ListReader};
use super::fault::Fault;
use super::gateways::live::{ConfigurationReader, GatewayPart, GatewayReader, GatewaysReader};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::feed::Change;

/// How often a silent stream says that it lives, and whether its session still does; one that has something to say asks each time.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The least time between two readings: a storm of changes becomes a few batches a second, and the first comes at once.
const PACE: Duration = Duration::from_millis(150);

/// How long a browser waits before it comes back.
const RETRY: Duration = Duration::from_millis(500);

/// What one reading gave.
#[derive(Default)]
pub(super) struct Batch {
    /// In order.
    pub(super) events: Vec<Event>,
    /// Whether the store has more.
    pub(super) more: bool,
}

impl Batch {
    /// One event and no more.
    pub(super) fn only(event: Event) -> Self {
        Self { events: vec![event], more: false }
    }
}

/// A part of a page that replaces the element of the same id.
#[derive(Serialize)]
pub(super) struct Part<'a> {
    /// Identifier of the element.
    pub(super) id: &'a str,
    /// The element as it is now.
    pub(super) html: &'a str,
}

impl Part<'_> {
    /// Makes the event.
    pub(super) fn event(&self) -> Result<Event, Fault> {
        let event = Event::default().event("part").json_data(self);
        event.map_err(|error| Fault::internal(&std::io::Error::other(error)))
    }
}

enum View {
    Alert(AlertReader),
    Alerts(Box<ListReader>),
    Configuration(ConfigurationReader),
    Gateway(GatewayReader),
    Gateways(GatewaysReader),
}

/// Opens the live link of a page.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let of = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    // A browser that comes back says how far it got; the page's own address says how far the page got.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or_else(|| of("since"));
    let since = last.and_then(|id| id.parse::<i64>().ok()).filter(|id| *id >= 0);
    let gateway = || of("id").and_then(|id| GatewayId::new(id).ok()).ok_or(Fault::NotFound);
    let changes = app.feed.subscribe(&person.principal.tenant); // before the first reading, so that nothing falls between
    let view = match of("view") {
        Some("alert") => View::Alert(AlertReader::begin(of("id").unwrap_or_default().to_owned(), since)),
        Some("alerts") => View::Alerts(Box::new(ListReader::begin(&app, &person, &pairs, since).await?)),
        Some("configuration") => View::Configuration(ConfigurationReader::begin(gateway()?)),
        Some("gateway") => View::Gateway(GatewayReader::begin(gateway()?, GatewayPart::Gateway)),
        Some("gateways") => View::Gateways(GatewaysReader::begin()),
        Some("waiting-room") => View::Gateway(GatewayReader::begin(gateway()?, GatewayPart::WaitingRoom)),
        Some("secrets") => View::Gateway(GatewayReader::begin(gateway()?, GatewayPart::Secrets)),
        _ => return Err(Fault::Refused(StatusCode::BAD_REQUEST, "there is no such view".to_owned())),
    };
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let mut waiting = VecDeque::new();
    waiting.push_back(Event::default().retry(RETRY).comment("live"));
    let reader = Reader { app, person, changes, heartbeat, view, behind: true, next_read: Instant::now(), waiting };
    let events = stream::unfold(reader, |mut reader| async move { reader.next().await.map(|event| (Ok::<_, Infallible>(event), reader)) });
    // Proxies that buffer would hold events back.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((unbuffered, Sse::new(events)).into_response())
}

struct Reader {
    app: Arc<App>,
    person: ConsolePrincipal,
    changes: Receiver<Change>,
    heartbeat: Interval,
    view: View,
    /// Whether the store may have something for this reader.
    behind: bool,
    next_read: Instant,
    waiting: VecDeque<Event>,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.app.stop.is_cancelled() {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            // Every arm is cancel-safe: a token, a tick, a point in time and a broadcast are waited for, nothing is taken half.
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                _ = self.heartbeat.tick() => {
                    return self.person.is_good(&self.app).await.then(|| Event::default().comment("live"));
                }
                () = tokio::time::sleep_until(self.next_read), if self.behind => self.read().await?,
                change = self.changes.recv() => match change {
                    Ok(change) => self.behind |= self.concerns(&change),
                    Err(RecvError::Lagged(_)) => self.lagged(),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn concerns(&mut self, change: &Change) -> bool {
        match &mut self.view {
            View::Alert(reader) => reader.concerns(change),
            View::Alerts(reader) => reader.concerns(change),
            View::Configuration(reader) => reader.concerns(change),
            View::Gateway(reader) => reader.concerns(change),
            View::Gateways(reader) => reader.concerns(change),
        }
    }

    fn lagged(&mut self) {
        self.behind = true;
        if let View::Gateways(reader) = &mut self.view {
            reader.lagged();
        }
    }

    async fn read(&mut self) -> Option<()> {
        let (app, person) = (&self.app, &self.person);
        if !person.is_good(app).await {
            return None;
        }
        let batch = match &mut self.view {
            View::Alert(reader) => reader.read(app, person).await,
            View::Alerts(reader) => reader.read(app, person).await,
            View::Configuration(reader) => reader.read(app, person).await,
            View::Gateway(reader) => reader.read(app, person).await,
            View::Gateways(reader) => reader.read(app, person).await,
        };
        let batch = batch.ok()?; // a fault of ours is in the log already
        self.behind = batch.more;
        self.next_read = Instant::now() + if batch.more { Duration::ZERO } else { PACE };
        self.waiting.extend(batch.events);
        Some(())
    }
}
