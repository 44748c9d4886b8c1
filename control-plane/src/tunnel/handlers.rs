//! What a session does with each kind of message: one handler each, and what each has to tell the gateway.
//!
//! A new kind gets a file of its own and a line in [`Handlers::heard`]; what has to be told again when the store changes, one in
//! [`Handlers::woken`].

use postern_protocol::message::{HeartbeatReply, Hello, down, up};

use super::context::{Context, HandlerError};
use super::dictionary::DictionaryNews;
use super::downward::Downward;
use super::healing::{Healing, Heard};
use super::news::News;
use super::pacing::{Pacer, Pacing};
use super::replays::Replays;
use super::reports::Reports;
use super::secrets::Secrets;
use super::trust::Trust;
use super::{audit, certificates, revision_reports};

/// The handlers of a session.
pub(super) struct Handlers {
    context: Context,
    dictionary: DictionaryNews,
    healing: Healing,
    news: News,
    pacing: Pacing,
    replays: Replays,
    reports: Reports,
    secrets: Secrets,
    trust: Trust,
}

impl Handlers {
    pub(super) fn new(context: &Context, healing: Healing) -> Self {
        Self {
            context: context.clone(),
            dictionary: DictionaryNews::new(context.clone()),
            healing,
            news: News::new(context.clone()),
            pacing: Pacing::new(context.clone()),
            replays: Replays::new(context.clone()),
            reports: Reports::new(context.clone()),
            secrets: Secrets::new(context.clone()),
            trust: Trust::new(context.clone()),
        }
    }

    /// Whether the greeting asked for all open alerts.
    pub(super) const fn resend_asked(&self) -> bool {
        self.healing.resend_asked()
    }

    /// Tells the gateway what it lacks by its own greeting.
    pub(super) async fn greet(&mut self, hello: &Hello, down: &mut Downward) -> Result<(), HandlerError> {
        self.trust.greet(hello, down).await?;
        // Before the revision, which may name them.
        self.secrets.greet(hello, down).await?;
        self.news.greet(hello, down).await?;
        self.pacing.send(down).await?;
        self.replays.send(down).await?;
        self.dictionary.greet(hello).await
    }

    /// Tells the gateway what is new in the store.
    pub(super) async fn woken(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        self.trust.send(down).await?;
        self.secrets.send(down).await?;
        self.news.send(down).await?;
        self.pacing.send(down).await?;
        self.replays.send(down).await?;
        self.dictionary.look().await
    }

    /// Returns a measure for the samples lane.
    pub(super) fn pacer(&self) -> Pacer {
        self.pacing.pacer()
    }

    /// Waits until the gateway has to be told another pace. Cancel-safe.
    pub(super) async fn pace_changed(&mut self) {
        self.pacing.changed().await;
    }

    /// Tells the gateway its pace.
    pub(super) async fn pace(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        self.pacing.send(down).await
    }

    /// Whether something long is sent piece by piece.
    pub(super) fn is_under_way(&self) -> bool {
        self.healing.is_under_way() || self.dictionary.is_under_way()
    }

    /// Sends the next piece. Not cancel-safe: a piece that was begun must be sent.
    pub(super) async fn piece(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        if !self.healing.is_under_way() {
            return self.dictionary.send(down).await;
        }
        self.healing.piece(down).await?;
        if self.healing.is_under_way() { Ok(()) } else { self.news.repeat_closes(down).await }
    }

    /// Takes what the gateway said.
    pub(super) async fn heard(&mut self, kind: up::Kind, down: &mut Downward) -> Result<(), HandlerError> {
        let context = &self.context;
        match kind {
            up::Kind::Audit(entries) => audit::take(context, entries, down).await,
            up::Kind::CertificateRequest(request) => certificates::answer(context, request, down).await,
            up::Kind::Heartbeat(heartbeat) => {
                self.healing.heartbeat(down).await?;
                let reply = HeartbeatReply { nonce: heartbeat.nonce, time: context.app.now().as_nanos() };
                Ok(down.send(down::Kind::HeartbeatReply(reply)).await?)
            }
            up::Kind::Hello(_) => Err(HandlerError::Invalid("a second greeting")),
            up::Kind::Minutes(minutes) => self.reports.minutes(minutes).await,
            up::Kind::Resent(resent) => match self.healing.resent(resent).await? {
                Heard::Taken => self.news.repeat_closes(down).await,
                Heard::PassedOver => Ok(()),
            },
            up::Kind::ReplayReply(reply) => self.replays.reply(&reply).await,
            up::Kind::RevisionStatus(status) => revision_reports::take(context, status, down).await,
            up::Kind::Rules(text) => self.replays.rules(&text).await,
            up::Kind::Status(text) => self.reports.status(&text).await,
            up::Kind::TrustStatus(status) => self.trust.taken(status).await,
        }
    }
}
