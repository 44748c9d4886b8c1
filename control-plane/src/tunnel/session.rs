//! One life of a gateway's link: greeting, control stream, lanes, farewell.
//!
//! The session sends what the store says has to be sent (desired revision, pending closes): after the greeting and whenever it is
//! woken. Lanes run as tasks of their own and end after the batch in hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postern_protocol::farewell::{REVOKED, VERSION};
use postern_protocol::message::{Down, Goodbye, HeartbeatReply, Hello, OLDEST_PROTOCOL_VERSION, Up, down, up};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{Kind, Stream};
use super::dictionary::DictionaryNews;
use super::frames::{Reader, StreamError, Writer};
use super::greeting;
use super::identity::Peer;
use super::lane::{self, Lane, LaneError};
use super::news::{News, NewsError};
use super::registry::{EndReason, Entry, Signal};
use super::reports::{ReportError, Reports};
use super::secrets::Secrets;
use crate::app::App;
use crate::feed::Change;
use crate::metrics::Metrics;
use crate::store::{StoreError, TenantStore};

/// How long the gateway may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Silence on the control stream after which the gateway counts as dead: three heartbeats.
const SILENCE: Duration = Duration::from_secs(30);

/// The first heartbeat follows the greeting at once; by the second, the gateway has all the open alerts that the greeting asked for
/// in its spool.
const RESENT_BY_HEARTBEAT: u64 = 2;

/// Greatest revision number that a gateway may know: the greatest that JSON keeps (RFC 8259 §6).
const MAX_REVISION: u64 = (1 << 53) - 1;

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
    let lanes = Lanes { tasks: JoinSet::new(), stop: CancellationToken::new(), resend_asked: false };
    let mut session = Session { app, peer, reader, writer, lanes };
    let end = match session.live(streams, signal).await {
        Ok(end) | Err(end) => end,
    };
    session.end(&end, entry).await;
}

struct Session {
    app: Arc<App>,
    peer: Peer,
    reader: Reader,
    writer: Writer,
    lanes: Lanes,
}

/// The lanes' tasks.
struct Lanes {
    tasks: JoinSet<Result<(), LaneError>>,
    stop: CancellationToken,
    resend_asked: bool,
}

impl Session {
    async fn live(&mut self, mut streams: mpsc::Receiver<Stream>, mut signal: watch::Receiver<Signal>) -> Result<End, End> {
        let gateway = self.peer.gateway.clone();
        let store = self.app.stores.tenant(&self.peer.tenant)?;
        let hello = self.greeting().await?;
        self.welcome(&store, &hello).await?;
        let mut news = News::new(Arc::clone(&self.app), self.peer.clone(), store.clone());
        let mut secrets = Secrets::new(Arc::clone(&self.app), self.peer.clone(), store.clone());
        // Before the revision, which may name them.
        secrets.greet(&hello, &mut self.writer).await?;
        news.greet(&hello, &mut self.writer).await?;
        let mut dictionary = DictionaryNews::new(Arc::clone(&self.app), self.peer.clone(), store.clone());
        dictionary.greet(&hello).await?;
        let mut reports = Reports::new(Arc::clone(&self.app), self.peer.clone(), store.clone());
        let mut heartbeats = 0_u64;
        let mut deadline = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                up = self.reader.next::<Up>() => {
                    let Some(up) = up? else { return Ok(End::Closed) };
                    deadline = Instant::now() + SILENCE;
                    heartbeats = heartbeats.saturating_add(u64::from(matches!(up.kind, Some(up::Kind::Heartbeat(_)))));
                    if heartbeats == RESENT_BY_HEARTBEAT && self.lanes.resend_asked {
                        store.close_gaps(&gateway).await?;
                    }
                    self.heard(up, &mut reports).await?;
                }
                changed = signal.changed() => {
                    let told = *signal.borrow_and_update();
                    if let Some(reason) = told.end {
                        return Ok(End::Told(reason));
                    }
                    if changed.is_err() {
                        return Ok(End::Told(EndReason::Replaced));
                    }
                    secrets.send(&mut self.writer).await?;
                    news.send(&mut self.writer).await?;
                    dictionary.look().await?;
                }
                // One piece each time, and whatever else is ready has the same chance.
                () = std::future::ready(()), if dictionary.is_under_way() => dictionary.send(&mut self.writer).await?,
                stream = streams.recv() => match stream {
                    None => return Ok(End::Closed),
                    Some(Stream { kind: Kind::Control, .. }) => return Err(End::Disorder("a second control stream")),
                    Some(Stream { kind: Kind::Lane(_), reader, writer }) => self.open_lane(&store, reader, writer),
                },
                Some(ended) = self.lanes.tasks.join_next() => match ended {
                    Ok(result) => result?,
                    Err(_panicked) => return Err(End::Store(StoreError::Stopped)),
                },
                () = tokio::time::sleep_until(deadline) => return Err(End::Silent),
                () = self.app.stop.cancelled() => return Ok(End::Told(EndReason::Stopping)),
            }
        }
    }

    async fn greeting(&mut self) -> Result<Hello, End> {
        let first = tokio::select! {
            first = tokio::time::timeout(GREETING, self.reader.next::<Up>()) => first.map_err(|_| End::Silent)??,
            () = self.app.stop.cancelled() => return Err(End::Told(EndReason::Stopping)),
        };
        match first.and_then(|up| up.kind) {
            Some(up::Kind::Hello(hello)) if hello.protocol < OLDEST_PROTOCOL_VERSION => Err(End::Version),
            Some(up::Kind::Hello(hello)) if hello.effective_revision.max(hello.newest_revision) > MAX_REVISION => {
                Err(End::Disorder("a revision number that nobody gave it"))
            }
            Some(up::Kind::Hello(hello)) => Ok(hello),
            Some(_) | None => Err(End::Disorder("something before its greeting")),
        }
    }

    async fn welcome(&mut self, store: &TenantStore, hello: &Hello) -> Result<(), End> {
        let Peer { tenant, gateway } = &self.peer;
        let version = greeting::version(hello);
        store.gateway_connected(gateway, &version, self.app.now()).await?;
        self.app.feed.publish(tenant, Change::Gateway { id: gateway.clone() });
        tracing::info!(%gateway, %tenant, version, "tunnel session began");
        let committed = store.cursors(gateway).await?;
        let welcome = greeting::welcome(hello, &committed, store.has_open_gap(gateway).await?, self.app.now());
        self.lanes.resend_asked = welcome.resend_open_alerts;
        Ok(self.writer.send(&Down { kind: Some(down::Kind::Welcome(welcome)) }).await?)
    }

    async fn heard(&mut self, up: Up, reports: &mut Reports) -> Result<(), End> {
        match up.kind.ok_or(End::Disorder("an empty message"))? {
            up::Kind::Hello(_) => Err(End::Disorder("a second greeting")),
            up::Kind::Heartbeat(heartbeat) => {
                let reply = HeartbeatReply { nonce: heartbeat.nonce, time: self.app.now().as_nanos() };
                Ok(self.writer.send(&Down { kind: Some(down::Kind::HeartbeatReply(reply)) }).await?)
            }
            up::Kind::Minutes(minutes) => Ok(reports.minutes(minutes).await?),
            up::Kind::RevisionStatus(status) => Ok(reports.revision(status).await?),
            up::Kind::Status(text) => Ok(reports.status(&text).await?),
            up::Kind::Audit(_) | up::Kind::CertificateRequest(_) | up::Kind::Resent(_) | up::Kind::TrustStatus(_) => Ok(()),
        }
    }

    fn open_lane(&mut self, store: &TenantStore, reader: Reader, writer: Writer) {
        let lane = Lane {
            app: Arc::clone(&self.app),
            peer: self.peer.clone(),
            store: store.clone(),
            reader,
            writer,
            resend_asked: self.lanes.resend_asked,
            stop: self.lanes.stop.clone(),
        };
        self.lanes.tasks.spawn(lane::serve_alerts(lane));
    }

    /// Says goodbye, lets the lanes commit what they have in hand, and records the end.
    async fn end(self, end: &End, entry: Entry) {
        let Self { app, peer, reader, mut writer, mut lanes } = self;
        lanes.stop.cancel();
        if let Some(goodbye) = goodbye(end) {
            // The connection may be gone already.
            let _said = writer.send(&Down { kind: Some(down::Kind::Goodbye(goodbye)) }).await;
        }
        drop((reader, writer));
        while lanes.tasks.join_next().await.is_some() {}
        log(&app, &peer, end);
        app.metrics.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = leave(&app, &peer, &entry).await {
            tracing::error!(gateway = %peer.gateway, error = %crate::chain(&error), "the end of a session is not recorded");
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
        End::Told(EndReason::Revoked) => (format!("this gateway {REVOKED}"), false),
        End::Told(EndReason::Stopping) => ("the control plane stops".to_owned(), true),
        End::Version => (format!("this control plane {VERSION}"), false),
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
