//! What the control plane wants: closes, resends, revisions and secrets, carried out and answered. Also notices when the spool gave
//! records up, so that open alerts are sent again.
//!
//! `trial` puts revisions in force and takes them back, `self_test` tries what must go on working with them. Ends when its token is cancelled or the tunnel has ended.

pub(crate) mod clock;
mod self_test;
#[cfg(test)]
mod tests;
pub(crate) mod trial;

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::alert::{Alert, AlertKey};
use postern_protocol::message::{Adopt, CloseAlert, DictionaryPart, Replay, RevisionProblem, RevisionState, RevisionStatus, SealedSecrets};
use postern_protocol::revision::Problem;
use postern_protocol::revision::link::Uplink;
use postern_protocol::status::{self, TunnelState};
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::spool::Spool;
use postern_uplink::tunnel::{GreetingFacts, Incoming, Outgoing};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::audit::action::Action;
use crate::audit::upload::{Letter, LetterBox};
use crate::canary::probe::Prober;
use crate::dictionary::Names;
use crate::identity::Notice;
use crate::identity::trusted::Trusted;
use crate::pipeline::Order;
use crate::replay::live;
use crate::revision::signers::Signers;
use crate::revision::{Revisions, TakenBack};
use crate::site::Site;
use crate::vault::{Changed, Vault};

/// Shortest time between two resends because of evictions: while the spool is full, each resend evicts again.
const RESEND_EVERY: Duration = Duration::from_secs(10);

/// Most problems of one revision that are told.
const MAX_PROBLEMS: usize = 100;

/// Why the task cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The built-in rules do not compile: a fault of the program.
    #[error("the built-in rules do not compile")]
    BuiltIn,
    /// The pipeline has ended.
    #[error("the pipeline has ended")]
    PipelineEnded,
    /// Compiling a revision, or opening secrets, panicked: a fault of the program.
    #[error("compiling a revision or opening secrets panicked")]
    Compile(#[from] tokio::task::JoinError),
}

/// The task's state.
pub(crate) struct Control {
    pub(crate) revisions: Revisions,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) facts: watch::Sender<GreetingFacts>,
    pub(crate) report: watch::Sender<status::Revisions>,
    pub(crate) tunnel: watch::Receiver<status::Tunnel>,
    pub(crate) spool: Spool,
    /// Who may sign sets of secrets.
    pub(crate) signers: Signers,
    /// Where else the control plane is found.
    pub(crate) trusted: watch::Receiver<Trusted>,
    /// Takes in what OIDs are called; lent away while it works.
    pub(crate) names: Option<Names>,
    pub(crate) vault: watch::Sender<Vault>,
    /// What the receivers go by.
    pub(crate) site: watch::Sender<Arc<Site>>,
    /// Where everything is written down that the control plane had done here.
    pub(crate) audit: Audit,
    /// To whoever sends the audit log.
    pub(crate) letters: LetterBox,
    /// Whoever keeps the identity.
    pub(crate) identity: mpsc::Sender<Notice>,
    /// The way out by the bootstrap file, the environment and the trust bundle.
    pub(crate) bootstrap: LinkSettings,
    /// The way out that the tunnel takes.
    pub(crate) link: watch::Sender<LinkSettings>,
    /// What the revision in force says of it.
    pub(crate) uplink: Option<Uplink>,
    /// Hours below which the spool raises an alert, by the revision in force.
    pub(crate) warn_below_hours: watch::Sender<u32>,
    /// What the start took back, until it is told.
    pub(crate) taken_back: Option<TakenBack>,
    pub(crate) session: trial::Link,
    /// What the newest session asks for: `Welcome::resend_nonce`.
    pub(crate) resend_nonce: u64,
    /// Tries the listeners.
    pub(crate) prober: Prober,
    /// Whoever tries candidates on the ring.
    pub(crate) replays: mpsc::Sender<Replay>,
}

impl Control {
    /// Works until `stop` is cancelled.
    ///
    /// # Errors
    /// [`ControlError`].
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), ControlError> {
        self.started();
        let worked = self.work(&stop).await;
        if stop.is_cancelled() {
            self.stop_cleanly();
        }
        match worked {
            // It ends at the same token, and was first.
            Err(ControlError::PipelineEnded) if stop.is_cancelled() => Ok(()),
            ended => ended,
        }
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), ControlError> {
        let mut resend = tokio::time::interval(RESEND_EVERY);
        resend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut evictions = self.spool.evictions();
        loop {
            let trial_rests = self.trial_rests();
            // Every arm is cancel-safe.
            let incoming = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                incoming = self.incoming.recv() => incoming,
                Ok(()) = self.trusted.changed() => {
                    self.bootstrap.further.clone_from(&self.trusted.borrow_and_update().addresses);
                    self.remake_link();
                    continue;
                }
                Ok(()) = self.tunnel.changed() => {
                    self.tunnel_changed().await?;
                    continue;
                }
                () = tokio::time::sleep(trial_rests.unwrap_or_default()), if trial_rests.is_some() => {
                    self.tick().await?;
                    continue;
                }
                _ = resend.tick() => {
                    let now = self.spool.evictions();
                    let up = self.tunnel.borrow().state == TunnelState::Up;
                    if up && now != evictions {
                        evictions = now;
                        tracing::warn!("the spool gave up records for want of room: open alerts are sent again");
                        self.order(Order::Resend { nonce: 0 }).await?;
                    }
                    continue;
                }
            };
            let stale = self.is_stale();
            match incoming {
                Some(Incoming::CloseAlert(close)) => {
                    let CloseAlert { resource, kind, qualifier, occurrence, count_seen } = close;
                    let key = AlertKey { resource: resource.clone(), kind: kind.clone(), qualifier: qualifier.clone() };
                    self.audit.note(Action::AlertClosed { resource, kind, qualifier, count_seen });
                    self.order(Order::Close { key, occurrence, count_seen }).await?;
                }
                Some(Incoming::DictionaryPart(part)) => self.dictionary(part).await?,
                Some(Incoming::AuditReceipt(receipt)) => self.letters.put(Letter::Receipt(receipt)),
                Some(Incoming::ConfirmRevision(number)) if !stale => self.confirmed(number).await?,
                Some(Incoming::Welcomed(welcome)) => {
                    self.letters.put(Letter::Welcomed(welcome.audit_number));
                    self.resend_nonce = welcome.resend_nonce;
                    // Without an adoption to come, it has nothing to tell this disk.
                    if welcome.resend_nonce == 0 || welcome.resend_open_alerts {
                        self.identity_notice(Notice::Healed).await;
                    }
                    if !stale {
                        self.welcomed(&welcome).await?;
                    }
                }
                Some(Incoming::Adopt(adopt)) => self.adopt(adopt).await?,
                Some(Incoming::ResendOpenAlerts { nonce }) => self.order(Order::Resend { nonce }).await?,
                Some(Incoming::ResentHeard { since_revision }) => {
                    self.identity_notice(Notice::Healed).await;
                    self.order(Order::ResentHeard { since_revision }).await?;
                }
                Some(Incoming::Revision(signed)) => self.revision(signed).await?,
                Some(Incoming::Secrets(set)) => self.secrets(set).await?,
                Some(Incoming::Certificate(reply)) => self.identity_notice(Notice::Certificate(reply)).await,
                Some(Incoming::Trust(bundle)) => self.identity_notice(Notice::Trust(bundle)).await,
                Some(Incoming::Replay(question)) => live::ask(&self.replays, &self.outgoing, question),
                Some(Incoming::ConfirmRevision(_)) => {}
                None => {
                    stop.cancelled().await;
                    return Ok(());
                }
            }
        }
    }

    /// Takes back alerts that this gateway had reported before its disk was set back.
    async fn adopt(&self, adopt: Adopt) -> Result<(), ControlError> {
        let mut alerts = Vec::with_capacity(adopt.alerts.len());
        for bytes in &adopt.alerts {
            match Alert::decode(bytes) {
                Ok(alert) => alerts.push(alert),
                Err(error) => tracing::warn!(%error, "an alert that the control plane gives back cannot be read"),
            }
        }
        tracing::warn!(alerts = alerts.len(), "this disk was set back: alerts that it forgot come back from the control plane");
        let evidence = format!("{} alerts that it had forgotten came back from the control plane", alerts.len());
        self.audit.note(Action::RollbackFound { evidence });
        self.order(Order::Adopt { alerts, complete: adopt.complete, nonce: self.resend_nonce }).await
    }

    /// Hands something to whoever keeps the identity; one who has ended is about to stop the daemon.
    async fn identity_notice(&self, notice: Notice) {
        let _ended = self.identity.send(notice).await;
    }

    async fn order(&self, order: Order) -> Result<(), ControlError> {
        self.orders.send(order).await.map_err(|_| ControlError::PipelineEnded)
    }

    /// Takes in a piece of the OID dictionary; with the last one the engine has it.
    async fn dictionary(&mut self, part: DictionaryPart) -> Result<(), ControlError> {
        let Some(mut names) = self.names.take() else { return Ok(()) };
        let problem = names.facts().borrow().problem.clone();
        // The last piece is checked, read and kept as a whole.
        let (names, dictionary) = tokio::task::spawn_blocking(move || {
            let dictionary = names.take(part);
            (names, dictionary)
        })
        .await?;
        if let Some(dictionary) = dictionary {
            let digest = names.facts().borrow().digest;
            self.audit.note(Action::DictionaryTaken { digest: names.facts().borrow().digest_text().unwrap_or_default() });
            self.facts.send_modify(|facts| facts.dictionary = digest.map(Vec::from).unwrap_or_default());
            self.order(Order::ReplaceDictionary(dictionary)).await?;
        } else if let Some(reason) = names.facts().borrow().problem.clone().filter(|found| problem.as_ref() != Some(found)) {
            self.audit.note(Action::DictionaryRefused { reason });
        }
        self.names = Some(names);
        Ok(())
    }

    /// Takes a set of secrets into the vault.
    async fn secrets(&mut self, set: SealedSecrets) -> Result<(), ControlError> {
        let (mut vault, signers, sent) = (self.vault.borrow().clone(), self.signers.clone(), set.serial);
        // Opening a thousand secrets takes a second.
        let (vault, taken) = tokio::task::spawn_blocking(move || {
            let taken = vault.take(&set, &signers);
            (vault, taken)
        })
        .await?;
        let serial = vault.serial();
        match taken {
            Ok(Changed::Yes) => {
                let secrets = vault.report().len();
                tracing::info!(serial, secrets, "the vault's secrets have changed");
                self.audit.note(Action::SecretsTaken { serial, secrets: secrets as u64 });
                self.vault.send_replace(vault);
                self.facts.send_modify(|facts| facts.secrets_serial = serial);
                return self.secrets_changed().await;
            }
            Ok(Changed::No) => {
                self.vault.send_replace(vault);
            }
            Err(error) => {
                let reason = crate::chain(&error);
                tracing::warn!(error = reason, held = serial, "a set of secrets is refused");
                self.audit.note(Action::SecretsRefused { serial: sent, reason });
            }
        }
        self.facts.send_modify(|facts| facts.secrets_serial = serial);
        Ok(())
    }

    /// Compiles the settings in force with the vault's new secrets, and tries the newest revision again if it was refused: it may
    /// have waited for a secret.
    async fn secrets_changed(&mut self) -> Result<(), ControlError> {
        let (before, vault) = (Arc::clone(&self.site.borrow()), self.vault.borrow().clone());
        let (site, problems) = tokio::task::spawn_blocking(move || {
            let settings = Arc::clone(before.settings());
            Site::compile(settings, &|name| vault.secret(name).cloned(), Some(&before))
        })
        .await?;
        trial::lacking(&problems);
        self.site.send_replace(Arc::new(site));
        self.remake_link();
        match self.revisions.refused_newest() {
            Some(signed) => self.revision(signed).await,
            None => Ok(()),
        }
    }

    /// Tells the control plane how far a revision got. When the queue is full there is no session, and the next greeting tells it.
    fn tell(&self, number: u64, state: RevisionState, problems: &[Problem]) {
        let problems = problems.iter().map(|problem| RevisionProblem {
            path: problem.path.clone(),
            line: problem.line,
            column: problem.column,
            reason: problem.reason.clone(),
        });
        let told = RevisionStatus { number, state: state.into(), problems: problems.collect() };
        if self.outgoing.try_send(Outgoing::RevisionStatus(told)).is_err() {
            tracing::debug!(revision = number, "no room to tell how far a revision got");
        }
    }
}
