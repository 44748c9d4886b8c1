//! One life of a gateway's link: greeting, control stream, lanes, farewell.
//!
//! The session sends what the store says has to be sent (`handlers`): after the greeting and whenever it is woken. Lanes run as tasks
//! of their own and end after the batch in hand.

use std::sync::atomic::Ordering;
use std::time::Duration;

use postern_protocol::message::{Hello, OLDEST_PROTOCOL_VERSION, Up, down, up};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{Kind, Stream};
use super::context::Context;
use super::downward::Downward;
use super::farewell::{self, End};
use super::frames::Reader;
use super::handlers::Handlers;
use super::healing::Healing;
use super::lane::{self, LaneError, LaneTask};
use super::registry::{EndReason, Entry, Shown, Signal};
use super::{audit, greeting, incarnations};
use crate::store::StoreError;

/// How long the gateway may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Silence on the control stream after which the gateway counts as dead: three heartbeats.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// Greatest revision number that a gateway may know: the greatest that JSON keeps (RFC 8259 §6).
const MAX_REVISION: u64 = (1 << 53) - 1;

/// Runs a session until it ends; `streams` are those that the gateway opens.
pub(super) async fn run(context: Context, mut streams: mpsc::Receiver<Stream>) {
    let app = &context.app;
    let first = tokio::select! {
        first = tokio::time::timeout(GREETING, streams.recv()) => first.ok().flatten(),
        () = app.stop.cancelled() => None,
    };
    let Some(Stream { kind: Kind::Control, reader, writer }) = first else {
        tracing::info!(gateway = %context.peer.gateway, "tunnel connection ended without a session");
        return;
    };
    app.metrics.sessions.fetch_add(1, Ordering::Relaxed);
    let lanes = Lanes { tasks: JoinSet::new(), stop: CancellationToken::new() };
    let mut session = Session { context, reader, down: Downward::new(writer), lanes, entry: None };
    let end = match session.live(streams).await {
        Ok(end) | Err(end) => end,
    };
    session.end(&end).await;
}

struct Session {
    context: Context,
    reader: Reader,
    down: Downward,
    lanes: Lanes,
    /// Its place among the live sessions, once its greeting was found good.
    entry: Option<Entry>,
}

/// The lanes' tasks.
struct Lanes {
    tasks: JoinSet<Result<(), LaneError>>,
    stop: CancellationToken,
}

impl Session {
    async fn live(&mut self, mut streams: mpsc::Receiver<Stream>) -> Result<End, End> {
        let hello = self.greeting().await?;
        self.down.agree_on(greeting::agreed(&hello));
        incarnations::arrive(&self.context, &hello).await?;
        let mut signal = self.enter(&hello);
        let healing = self.welcome(&hello).await?;
        let mut handlers = Handlers::new(&self.context, healing);
        handlers.greet(&hello, &mut self.down).await?;
        let mut deadline = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                up = self.reader.next::<Up>() => {
                    let Some(up) = up? else { return Ok(End::Closed) };
                    deadline = Instant::now() + SILENCE;
                    let kind = up.kind.ok_or(End::Disorder("an empty message"))?;
                    if let (up::Kind::Heartbeat(_), Some(entry)) = (&kind, &self.entry) {
                        entry.heartbeat();
                    }
                    handlers.heard(kind, &mut self.down).await?;
                }
                changed = signal.changed() => {
                    let told = *signal.borrow_and_update();
                    if let Some(reason) = told.end {
                        return Ok(End::Told(reason));
                    }
                    if changed.is_err() {
                        return Ok(End::Told(EndReason::Replaced));
                    }
                    handlers.woken(&mut self.down).await?;
                }
                // One piece each time, and whatever else is ready has the same chance.
                () = std::future::ready(()), if handlers.is_under_way() => handlers.piece(&mut self.down).await?,
                () = handlers.pace_changed() => handlers.pace(&mut self.down).await?,
                stream = streams.recv() => match stream {
                    None => return Ok(End::Closed),
                    Some(Stream { kind: Kind::Control, .. }) => return Err(End::Disorder("a second control stream")),
                    Some(Stream { kind: Kind::Lane(lane), reader, writer }) => {
                        let resend_asked = handlers.resend_asked();
                        let (pacer, stop) = (handlers.pacer(), self.lanes.stop.clone());
                        let task = LaneTask { context: self.context.clone(), lane, reader, writer, resend_asked, pacer, stop };
                        self.lanes.tasks.spawn(lane::serve(task));
                    }
                },
                Some(ended) = self.lanes.tasks.join_next() => match ended {
                    Ok(result) => result?,
                    Err(_panicked) => return Err(End::Store(StoreError::Stopped)),
                },
                () = tokio::time::sleep_until(deadline) => return Err(End::Silent),
                () = self.context.app.stop.cancelled() => return Ok(End::Told(EndReason::Stopping)),
            }
        }
    }

    async fn greeting(&mut self) -> Result<Hello, End> {
        let first = tokio::select! {
            first = tokio::time::timeout(GREETING, self.reader.next::<Up>()) => first.map_err(|_| End::Silent)??,
            () = self.context.app.stop.cancelled() => return Err(End::Told(EndReason::Stopping)),
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

    /// Takes its place among the live sessions; an older one of the same gateway is told to end.
    fn enter(&mut self, hello: &Hello) -> watch::Receiver<Signal> {
        let peer = &self.context.peer;
        let shown = Shown { incarnation: hello.incarnation, not_after: Some(peer.certificate.not_after) };
        let (entry, signal) = self.context.app.gateways.enter(&peer.tenant, &peer.gateway, shown);
        if entry.replaced {
            tracing::warn!(gateway = %peer.gateway, "a second session of this gateway began: the newest wins");
        }
        self.entry = Some(entry);
        signal
    }

    async fn welcome(&mut self, hello: &Hello) -> Result<Healing, End> {
        let Context { app, peer, from, store } = &self.context;
        let (tenant, gateway) = (&peer.tenant, &peer.gateway);
        let version = greeting::version(hello);
        store.gateway_connected(gateway, &version, app.now()).await?;
        self.context.publish();
        tracing::info!(%gateway, %tenant, version, "tunnel session began");
        let committed = store.cursors(gateway).await?;
        let judgement = store.judge(gateway, hello, app.now()).await?;
        let mut welcome = greeting::welcome(hello, &committed, judgement.resend, app.now());
        // A gateway that has to adopt sends its open alerts again by itself, and not before.
        welcome.resend_open_alerts &= judgement.adopt.is_empty();
        welcome.resend_nonce = greeting::resend_nonce(hello, &judgement);
        welcome.audit_number = audit::last_number(&self.context).await?;
        welcome.peer = from.to_string();
        let healing = Healing::new(self.context.clone(), hello, &judgement);
        self.down.send(down::Kind::Welcome(welcome)).await?;
        Ok(healing)
    }

    /// Says goodbye, lets the lanes commit what they have in hand, and records the end.
    async fn end(self, end: &End) {
        let Self { context, reader, mut down, mut lanes, entry } = self;
        lanes.stop.cancel();
        if let Some(goodbye) = farewell::goodbye(end) {
            // The connection may be gone already.
            let _said = down.send(down::Kind::Goodbye(goodbye)).await;
        }
        drop((reader, down));
        while lanes.tasks.join_next().await.is_some() {}
        farewell::log(&context, end);
        context.app.metrics.sessions.fetch_sub(1, Ordering::Relaxed);
        let Some(entry) = entry else { return };
        if let Err(error) = leave(&context, &entry).await {
            tracing::error!(gateway = %context.peer.gateway, error = %crate::chain(&error), "the end of a session is not recorded");
        }
    }
}

async fn leave(context: &Context, entry: &Entry) -> Result<(), StoreError> {
    let place = entry.place();
    let now = context.app.now();
    context.store.gateway_disconnected(&context.peer.gateway, now, move || place.is_newest()).await?;
    context.publish();
    Ok(())
}
