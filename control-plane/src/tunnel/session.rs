//! One life of a gateway's link: greeting, control stream, lanes, farewell.
//!
//! The session sends what the store says has to be sent (desired revision, pending closes): after the greeting and whenever it is
//! woken. Lanes run as tasks of their own and end after the batch in hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postern_protocol::message::{Down, Goodbye, HeartbeatReply, Hello, Up, down, up};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{Kind, Stream};
use super::frames::{Reader, StreamError, Writer};
use super::greeting;
use super::identity::Peer;
use super::lane::{self, Lane, LaneError};
use super::news::{News, NewsError};
use super::registry::{EndReason, Entry, Signal};
use super::reports::{ReportError, Reports};
use crate::app::App;
use crate::feed::Change;
use crate::metrics::Metrics;
use crate::store::StoreError;

/// How long the gateway may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Silence on the control stream after which the gateway counts as dead: three heartbeats.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The gateway ended it.
    #[error("the gateway ended it")]
    Closed,
    /// The gateway sent what the protocol does not allow at that place.
    #[error("the gateway sent {0}")]
    Disorder(&'static str),
    /// A lane ended it.
    #[error("the alerts lane ended it")]
    Lane(#[from] LaneError),
    /// A report of the gateway is not good.
    #[error("a report of the gateway is not good")]
    Report(#[from] ReportError),
    /// Nothing came for too long.
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silent,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It had to end.
    #[error("it had to end: {0:?}")]
    Told(EndReason),
    /// The gateway speaks no version that we know.
    #[error("the gateway speaks no protocol version that we know")]
    Version,
}

/// Runs a session until it ends; `streams` are those that the gateway opens.
pub(super) async fn run(app: Arc<App>, peer: Peer, mut streams: mpsc::Receiver<Stream>) {
    let first = tokio::select! {
        first = tokio::time::timeout(GREETING, streams.recv()) => first.ok().flatten(),
        () = app.stop.cancelled() => None,
    };
    let Some(Stream { kind: Kind::Control, reader, writer }) = first else {
        tracing::info!(gateway = %peer.gateway, "tunnel connection ended without a session");
        return;
    };
    let (entry, signal) = app.gateways.enter(&peer.tenant, &peer.gateway);
    app.metrics.sessions.fetch_add(1, Ordering::Relaxed);
    if entry.replaced {
        tracing::warn!(gateway = %peer.gateway, "a second session of this gateway began: the newest wins");
    }
    let mut lanes = Lanes { tasks: JoinSet::new(), stop: CancellationToken::new(), resend_asked: false };
    let mut control = Control { reader, writer };
    let end = match live(&app, &peer, &mut control, &mut lanes, Outside { streams, signal }).await {
        Ok(end) | Err(end) => end,
    };
    lanes.stop.cancel();
    if let Some(goodbye) = goodbye(&end) {
        // The connection may be gone already.
        let _said = control.writer.send(&Down { kind: Some(down::Kind::Goodbye(goodbye)) }).await;
    }
    drop(control);
    while lanes.tasks.join_next().await.is_some() {}
    log(&app, &peer, &end);
    app.metrics.sessions.fetch_sub(1, Ordering::Relaxed);
    if let Err(error) = leave(&app, &peer, &entry).await {
        tracing::error!(gateway = %peer.gateway, error = %crate::chain(&error), "the end of a session is not recorded");
    }
}

/// The control stream.
struct Control {
    reader: Reader,
    writer: Writer,
}

/// The lanes' tasks.
struct Lanes {
    tasks: JoinSet<Result<(), LaneError>>,
    stop: CancellationToken,
    resend_asked: bool,
}

/// What reaches the session besides its control stream.
struct Outside {
    streams: mpsc::Receiver<Stream>,
    signal: watch::Receiver<Signal>,
}

async fn live(app: &Arc<App>, peer: &Peer, control: &mut Control, lanes: &mut Lanes, outside: Outside) -> Result<End, End> {
    let Outside { mut streams, mut signal } = outside;
    let store = app.stores.tenant(&peer.tenant)?;
    let hello = greeting_of(app, control).await?;
    let version = greeting::version(&hello);
    store.gateway_connected(&peer.gateway, &version, app.now()).await?;
    app.feed.publish(&peer.tenant, Change::Gateway { id: peer.gateway.clone() });
    tracing::info!(gateway = %peer.gateway, tenant = %peer.tenant, version, "tunnel session began");
    let committed = store.cursors(&peer.gateway).await?;
    let welcome = greeting::welcome(&hello, &committed, store.has_open_gap(&peer.gateway).await?, app.now());
    lanes.resend_asked = welcome.resend_open_alerts;
    control.writer.send(&Down { kind: Some(down::Kind::Welcome(welcome)) }).await?;
    let mut news = News::new(Arc::clone(app), peer.clone(), store.clone());
    news.greet(&hello, &mut control.writer).await?;
    let mut reports = Reports::new(Arc::clone(app), peer.clone(), store.clone());
    let mut gaps_closed = !lanes.resend_asked;
    let mut deadline = Instant::now() + SILENCE;
    loop {
        tokio::select! {
            up = control.reader.next::<Up>() => {
                let Some(up) = up? else { return Ok(End::Closed) };
                deadline = Instant::now() + SILENCE;
                if !gaps_closed {
                    // It lives on after a greeting that asked for all open alerts, so it has them in its spool.
                    store.close_gaps(&peer.gateway).await?;
                    gaps_closed = true;
                }
                match up.kind.ok_or(End::Disorder("an empty message"))? {
                    up::Kind::Hello(_) => return Err(End::Disorder("a second greeting")),
                    up::Kind::Heartbeat(heartbeat) => {
                        let reply = HeartbeatReply { nonce: heartbeat.nonce, time: app.now().as_nanos() };
                        control.writer.send(&Down { kind: Some(down::Kind::HeartbeatReply(reply)) }).await?;
                    }
                    up::Kind::RevisionStatus(status) => reports.revision(status).await?,
                    up::Kind::Status(text) => reports.status(&text).await?,
                }
            }
            changed = signal.changed() => {
                let told = *signal.borrow_and_update();
                if let Some(reason) = told.end {
                    return Ok(End::Told(reason));
                }
                if changed.is_err() {
                    return Ok(End::Told(EndReason::Replaced));
                }
                news.send(&mut control.writer).await?;
            }
            stream = streams.recv() => match stream {
                None => return Ok(End::Closed),
                Some(Stream { kind: Kind::Control, .. }) => return Err(End::Disorder("a second control stream")),
                Some(Stream { kind: Kind::Lane(_), reader, writer }) => {
                    let lane = Lane {
                        app: Arc::clone(app),
                        peer: peer.clone(),
                        store: store.clone(),
                        reader,
                        writer,
                        resend_asked: lanes.resend_asked,
                        stop: lanes.stop.clone(),
                    };
                    lanes.tasks.spawn(lane::serve_alerts(lane));
                }
            },
            Some(ended) = lanes.tasks.join_next() => match ended {
                Ok(result) => result?,
                Err(_panicked) => return Err(End::Store(StoreError::Stopped)),
            },
            () = tokio::time::sleep_until(deadline) => return Err(End::Silent),
            () = app.stop.cancelled() => return Ok(End::Told(EndReason::Stopping)),
        }
    }
}

impl From<NewsError> for End {
    fn from(error: NewsError) -> Self {
        match error {
            NewsError::Store(error) => Self::Store(error),
            NewsError::Stream(error) => Self::Stream(error),
        }
    }
}

async fn greeting_of(app: &App, control: &mut Control) -> Result<Hello, End> {
    let first = tokio::select! {
        first = tokio::time::timeout(GREETING, control.reader.next::<Up>()) => first.map_err(|_| End::Silent)??,
        () = app.stop.cancelled() => return Err(End::Told(EndReason::Stopping)),
    };
    match first.and_then(|up| up.kind) {
        Some(up::Kind::Hello(hello)) if hello.protocol == 0 => Err(End::Version),
        Some(up::Kind::Hello(hello)) => Ok(hello),
        Some(up::Kind::Heartbeat(_) | up::Kind::RevisionStatus(_) | up::Kind::Status(_)) | None => {
            Err(End::Disorder("something before its greeting"))
        }
    }
}

async fn leave(app: &App, peer: &Peer, entry: &Entry) -> Result<(), StoreError> {
    let place = entry.place();
    app.stores.tenant(&peer.tenant)?.gateway_disconnected(&peer.gateway, app.now(), move || place.is_newest()).await?;
    app.feed.publish(&peer.tenant, Change::Gateway { id: peer.gateway.clone() });
    Ok(())
}

/// What the gateway is told at the end; nothing when it is gone.
fn goodbye(end: &End) -> Option<Goodbye> {
    let (reason, retry) = match end {
        End::Closed | End::Silent | End::Stream(StreamError::Lost(_) | StreamError::Unread) => return None,
        End::Lane(LaneError::Stream(StreamError::Lost(_) | StreamError::Unread)) => return None,
        End::Disorder(_)
        | End::Lane(LaneError::Batch(_) | LaneError::Gap { .. } | LaneError::Stream(StreamError::Frame(_)))
        | End::Report(ReportError::Invalid(_))
        | End::Stream(StreamError::Frame(_)) => (crate::chain(end), true),
        End::Lane(LaneError::Store(_)) | End::Report(ReportError::Store(_)) | End::Store(_) => {
            ("the control plane cannot store anything now".to_owned(), true)
        }
        End::Told(EndReason::Replaced) => ("another session of this gateway began".to_owned(), true),
        End::Told(EndReason::Revoked) => ("this gateway was revoked".to_owned(), false),
        End::Told(EndReason::Stopping) => ("the control plane stops".to_owned(), true),
        End::Version => ("this control plane does not speak the gateway's protocol version".to_owned(), false),
    };
    Some(Goodbye { reason, retry })
}

fn log(app: &App, peer: &Peer, end: &End) {
    let (gateway, reason) = (&peer.gateway, crate::chain(end));
    match end {
        End::Closed | End::Silent | End::Stream(_) | End::Told(_) | End::Lane(LaneError::Gap { .. } | LaneError::Stream(_)) => {
            tracing::info!(%gateway, reason, "tunnel session ended");
        }
        End::Lane(LaneError::Store(_)) | End::Report(ReportError::Store(_)) | End::Store(_) => {
            tracing::error!(%gateway, reason, "tunnel session ended");
        }
        End::Disorder(_) | End::Lane(LaneError::Batch(_)) | End::Report(ReportError::Invalid(_)) | End::Version => {
            tracing::warn!(%gateway, reason, "tunnel session ended");
        }
    }
    let misbehaved = matches!(
        end,
        End::Disorder(_)
            | End::Lane(LaneError::Batch(_) | LaneError::Stream(StreamError::Frame(_)))
            | End::Report(ReportError::Invalid(_))
            | End::Stream(StreamError::Frame(_))
            | End::Version
    );
    if misbehaved {
        Metrics::add(&app.metrics.protocol_errors, 1);
    }
}
