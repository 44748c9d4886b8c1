//! Keeps the identity alive: renews certificates before they end, or after, takes in whom to trust, and hands both to whoever uses them.
//!
//! Everything new is durable before it is used or confirmed, so a crash at any point leaves an identity that works. The tunnel reconnects
//! with the new one; what is in the spool stays there. One task; it ends with its token.

pub(crate) mod incarnation;
pub(crate) mod live;
mod schedule;
pub(crate) mod trusted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use data_encoding::HEXLOWER;
use postern_protocol::message::{CertificateReply, TrustBundle, TrustStatus};
use postern_protocol::status;
use postern_protocol::status::{IdentityState, TunnelState};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::identity::renewed::{self, NewCertificates};
use postern_uplink::identity::{Identity, IdentityError};
use postern_uplink::renewal::{Asker, Renewal, RenewalError, renew_expired};
use postern_uplink::tunnel::{GreetingFacts, Outgoing};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::incarnation::{Incarnation, IncarnationError};
use self::live::Refresh;
use self::schedule::{Facts, Way};
use self::trusted::Trusted;
use crate::audit::Audit;
use crate::audit::action::Action;
use crate::listener_certificate::{ListenerCertificate, Origin};

/// How long the control plane may take to answer over the tunnel.
const ANSWER: Duration = Duration::from_secs(30);

/// Messages that wait for the task; full: the sender waits.
const QUEUE: usize = 8;

/// Something of the control plane that concerns the identity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Notice {
    /// The answer to a request for certificates.
    Certificate(CertificateReply),
    /// The disk has all that the control plane knows of its alerts.
    Healed,
    /// Whom to trust.
    Trust(TrustBundle),
}

/// Makes the queue of notices.
pub(crate) fn notices() -> (mpsc::Sender<Notice>, mpsc::Receiver<Notice>) {
    mpsc::channel(QUEUE)
}

/// Why the task cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    /// A file was written by a thread that panicked: a fault of the program.
    #[error("writing the identity panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// The task's state.
pub(crate) struct Keeper {
    /// Where what is renewed lies.
    pub(crate) dir: PathBuf,
    pub(crate) identity: watch::Sender<Arc<Identity>>,
    /// What others work by of a trust bundle.
    pub(crate) trusted: watch::Sender<Trusted>,
    /// Ports that the sandbox lets the daemon reach the control plane at.
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) certificate: watch::Sender<ListenerCertificate>,
    /// Those who use the listeners' certificate.
    pub(crate) refreshes: Vec<Refresh>,
    pub(crate) incarnation: Incarnation,
    pub(crate) link: watch::Receiver<LinkSettings>,
    pub(crate) tunnel: watch::Receiver<status::Tunnel>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) facts: watch::Sender<GreetingFacts>,
    pub(crate) audit: Audit,
    pub(crate) state: watch::Sender<IdentityState>,
}

/// What goes on with renewals.
struct Progress {
    under_way: Option<(Renewal, Instant)>,
    failures: u32,
    not_before: Option<Instant>,
    down_since: Option<Instant>,
    turn: usize,
}

impl Keeper {
    /// Works until `stop` is cancelled.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), KeeperError> {
        let mut progress = Progress { under_way: None, failures: 0, not_before: None, down_since: Some(Instant::now()), turn: 0 };
        self.report(None);
        loop {
            let wait = self.step(&mut progress).await?;
            // Every arm is cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                notice = self.notices.recv() => match notice {
                    Some(Notice::Certificate(reply)) => self.answered(&mut progress, &reply).await?,
                    Some(Notice::Healed) => self.keep_incarnation(Incarnation::healed).await,
                    Some(Notice::Trust(bundle)) => self.trust(bundle).await?,
                    None => {
                        stop.cancelled().await;
                        return Ok(());
                    }
                },
                changed = self.tunnel.changed() => {
                    if changed.is_err() {
                        stop.cancelled().await;
                        return Ok(());
                    }
                    let is_up = self.tunnel.borrow_and_update().state == TunnelState::Up;
                    if is_up {
                        self.keep_incarnation(Incarnation::heard).await;
                    }
                    progress.down_since = if is_up { None } else { progress.down_since.or_else(|| Some(Instant::now())) };
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Notes what a session meant for this start. A disk that does not take it makes the next start say more than it must.
    async fn keep_incarnation(&mut self, note: fn(&mut Incarnation, &Path) -> Result<(), IncarnationError>) {
        let (mut incarnation, dir) = (self.incarnation.clone(), self.dir.clone());
        match tokio::task::spawn_blocking(move || note(&mut incarnation, &dir).map(|()| incarnation)).await {
            Ok(Ok(incarnation)) => self.incarnation = incarnation,
            Ok(Err(error)) => tracing::warn!(error = crate::chain(&error), "that this start had a session cannot be kept"),
            Err(_stopping) => {}
        }
    }

    /// Does what is due; returns how long there is nothing more to do.
    async fn step(&mut self, progress: &mut Progress) -> Result<Duration, KeeperError> {
        if let Some((_, since)) = &progress.under_way {
            let left = ANSWER.saturating_sub(since.elapsed());
            if !left.is_zero() {
                return Ok(left);
            }
            progress.under_way = None;
            let reason =
                "the control plane did not answer over the tunnel: it may be too old to renew certificates, or overloaded".to_owned();
            self.failed(progress, reason);
        }
        if let Some(left) = progress.not_before.map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()) {
            return Ok(left);
        }
        let identity = Arc::clone(&self.identity.borrow());
        let Some((not_before, not_after, _)) = identity.validity() else { return Ok(ANSWER) };
        let facts = Facts {
            now: self.now(),
            not_before,
            not_after,
            is_of_issuing_authority: identity.is_of_issuing_authority(),
            down_for: progress.down_since.map(|since| since.elapsed()),
        };
        match schedule::decide(facts) {
            Err(wait) => return Ok(wait),
            Ok(Way::Tunnel) => match Renewal::begin(&identity) {
                Ok(renewal) if self.outgoing.try_send(Outgoing::CertificateRequest(renewal.request())).is_ok() => {
                    tracing::info!("a new certificate is asked for over the tunnel");
                    progress.under_way = Some((renewal, Instant::now()));
                    return Ok(ANSWER);
                }
                Ok(_) => self.failed(progress, "the tunnel takes no message".to_owned()),
                Err(error) => self.failed(progress, crate::chain(&error)),
            },
            Ok(Way::Direct) => {
                let renewed = self.renew_directly(&identity, progress).await;
                self.took(progress, renewed).await?;
            }
        }
        Ok(Duration::ZERO)
    }

    async fn renew_directly(&self, identity: &Identity, progress: &mut Progress) -> Result<(Identity, NewCertificates), RenewalError> {
        tracing::info!("a new certificate is asked for without the tunnel");
        let link = self.link.borrow().clone();
        let way = link.way(progress.turn);
        progress.turn = progress.turn.wrapping_add(1);
        let (current, previous) = (self.incarnation.current, self.incarnation.previous());
        let program_version = env!("CARGO_PKG_VERSION");
        renew_expired(identity, &Asker { server: &link.server, way: &way, incarnations: [current, previous], program_version }).await
    }

    /// Takes the control plane's answer over the tunnel.
    async fn answered(&mut self, progress: &mut Progress, reply: &CertificateReply) -> Result<(), KeeperError> {
        let Some((renewal, _)) = &progress.under_way else { return Ok(()) };
        let identity = Arc::clone(&self.identity.borrow());
        let finished = match renewal.finish(&identity, reply) {
            // For a request that was given up.
            Ok(None) => return Ok(()),
            Ok(Some(finished)) => Ok(finished),
            Err(error) => Err(error),
        };
        progress.under_way = None;
        self.took(progress, finished).await
    }

    /// Keeps new certificates and puts them to use, or notes why there are none.
    async fn took(
        &mut self,
        progress: &mut Progress,
        renewed: Result<(Identity, NewCertificates), RenewalError>,
    ) -> Result<(), KeeperError> {
        let (identity, certificates) = match renewed {
            Ok(renewed) => renewed,
            Err(error) => {
                self.failed(progress, crate::chain(&error));
                return Ok(());
            }
        };
        let dir = self.dir.clone();
        let kept = tokio::task::spawn_blocking(move || renewed::keep_certificates(&dir, &certificates)).await?;
        if let Err(error) = kept {
            self.failed(progress, crate::chain(&error));
            return Ok(());
        }
        (progress.failures, progress.not_before) = (0, None);
        if let Some((_, not_after, serial)) = identity.validity() {
            tracing::info!(serial, not_after = not_after.as_secs(), "the certificate is renewed");
            self.audit.note(Action::CertificateRenewed { serial, not_after: not_after.as_nanos() });
        }
        self.put_to_use(identity, None);
        Ok(())
    }

    fn failed(&self, progress: &mut Progress, reason: String) {
        progress.failures = progress.failures.saturating_add(1);
        let life = self.identity.borrow().validity().map_or(Duration::ZERO, |(begin, end, _)| end.saturating_since(begin));
        let wait = schedule::retry_in(progress.failures, life);
        progress.not_before = Some(Instant::now() + wait);
        tracing::warn!(reason, retry_in = ?wait, "the certificate cannot be renewed");
        if self.state.borrow().renewal_error.as_ref() != Some(&reason) {
            self.audit.note(Action::CertificateFailed { reason: reason.clone() });
        }
        self.report(Some(reason));
    }

    /// Takes in whom to trust, and says so once that is durable.
    async fn trust(&mut self, bundle: TrustBundle) -> Result<(), KeeperError> {
        let serial = bundle.serial;
        let identity = Arc::clone(&self.identity.borrow());
        let refused = if serial == identity.trust_serial {
            // Said in an earlier session, which broke before it was heard.
            String::new()
        } else {
            let dir = self.dir.clone();
            let kept = match identity.with_trust(&bundle) {
                Err(error) => Err(crate::chain(&error)),
                Ok(trusting) if let Err(error) = trusted::within_reach(&trusting.addresses, &self.ports) => Err(error.to_string()),
                Ok(trusting) => {
                    let written: Result<(), IdentityError> =
                        tokio::task::spawn_blocking(move || renewed::keep_trust(&dir, &bundle)).await?;
                    written.map(|()| trusting).map_err(|error| crate::chain(&error))
                }
            };
            match kept {
                Ok(trusting) => {
                    tracing::info!(serial, "other keys are trusted");
                    self.audit.note(Action::TrustTaken { serial });
                    self.facts.send_modify(|facts| facts.trust_serial = serial);
                    let renewal_error = self.state.borrow().renewal_error.clone();
                    self.put_to_use(trusting, renewal_error);
                    String::new()
                }
                Err(reason) => {
                    tracing::warn!(serial, reason, "a trust bundle is refused");
                    self.audit.note(Action::TrustRefused { serial, reason: reason.clone() });
                    reason
                }
            }
        };
        // No room: the next session's greeting says the serial.
        let _full = self.outgoing.try_send(Outgoing::TrustStatus(TrustStatus { serial, refused }));
        Ok(())
    }

    fn put_to_use(&self, identity: Identity, renewal_error: Option<String>) {
        let identity = Arc::new(identity);
        if self.certificate.borrow().origin == Origin::Enrolment {
            self.certificate.send_modify(|certificate| certificate.certified = identity.listener());
        }
        let certified = self.certificate.borrow().certified.clone();
        for refresh in &self.refreshes {
            if let Err(error) = refresh(&certified, &identity) {
                tracing::error!(error = %crate::chain(&error), "a listener goes on with the certificate that it had");
            }
        }
        // Before the session ends that still brings what the new keys signed.
        self.trusted.send_replace(Trusted::from(&*identity));
        self.identity.send_replace(identity);
        self.report(renewal_error);
    }

    fn report(&self, renewal_error: Option<String>) {
        let identity = self.identity.borrow();
        let Some((not_before, not_after, certificate)) = identity.validity() else { return };
        self.state.send_replace(IdentityState {
            certificate,
            not_before: not_before.as_nanos(),
            not_after: not_after.as_nanos(),
            renew_at: schedule::due(not_before, not_after).as_nanos(),
            trust_serial: identity.trust_serial,
            server_pins: identity.server_pins.iter().map(|pin| HEXLOWER.encode(pin)).collect(),
            renewal_error,
        });
    }

    /// Returns the present time by the control plane's clock, as far as that was measured.
    fn now(&self) -> Timestamp {
        let offset = self.tunnel.borrow().clock_offset_ms.unwrap_or(0.0);
        let here = Timestamp::from(SystemTime::now());
        // Whole milliseconds; a cast of what is out of range saturates.
        Timestamp::from_nanos(here.as_nanos().saturating_add((offset as i64).saturating_mul(1_000_000)))
    }
}
