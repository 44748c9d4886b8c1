//! The link to the control plane: one HTTP/2 connection that this side opens, and opens again whenever it is lost.
//!
//! A session is `POST /tunnel/v1/control` and, for each lane that has something, `POST /tunnel/v1/lane/{name}` (see
//! `protocol::message`). What is durable in the spool is sent in order and stays there until it is acknowledged, so a lost
//! session costs nothing but time: the next one begins behind what the control plane says it has. Run by one task of the daemon.

mod back_off;
mod connection;
mod control;
pub mod flow;
#[cfg(test)]
mod herd;
mod lane;
mod mail;
pub mod outbox;
mod pace;
pub mod session;
pub mod tap;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_protocol::message;
use postern_protocol::status::{self, TunnelState};
use postern_protocol::timestamp::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::back_off::BackOff;
use self::back_off::{Hope, Waits};
use self::connection::Loss;
use self::control::{Ended, Ending, Surroundings};
use self::mail::Mail;
use self::session::Fault;
use self::tap::Tap;
use crate::dial::link::LinkSettings;
use crate::identity::Identity;
use crate::spool::{Spool, SpoolError};
use crate::tls::{self, TlsError};
use crate::url::UrlError;

/// What the tunnel needs to know.
pub struct TunnelOptions {
    /// How the control plane is reached; a change ends the session in good order and opens the next one by it.
    pub link: watch::Receiver<LinkSettings>,
    /// Who we are; a change does the same.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// Sees every frame that leaves.
    pub tap: Tap,
    /// Program version, for people.
    pub program_version: String,
    /// Time between heartbeats; three missed ones end the session.
    pub heartbeat: Duration,
    /// First and longest wait between attempts.
    pub back_off: BackOff,
}

/// The default time between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How the tunnel and the daemon talk to each other.
pub struct Control {
    /// From the daemon to the control plane. Drained also while there is no session: the newest of each kind waits.
    pub outgoing: mpsc::Receiver<Outgoing>,
    /// From the control plane to the daemon.
    pub incoming: mpsc::Sender<Incoming>,
    /// How the link stands.
    pub state: watch::Sender<status::Tunnel>,
    /// What is said in the greeting.
    pub facts: watch::Receiver<GreetingFacts>,
}

/// Something to tell the control plane, beside the spool's records: the newest of each kind is kept until a session can take it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// The next entries of the audit log.
    Audit(message::AuditEntries),
    /// A new client certificate is wanted.
    CertificateRequest(message::CertificateRequest),
    /// The ledger of whole minutes.
    Minutes(message::LedgerMinutes),
    /// The answer to [`Incoming::Replay`].
    ReplayReply(message::ReplayReply),
    /// Every open alert was committed again.
    Resent(message::Resent),
    /// How far a pushed revision got.
    RevisionStatus(message::RevisionStatus),
    /// A `replay::RuleReport` as JSON.
    Rules(Vec<u8>),
    /// A `status::Status` as JSON.
    Status(Vec<u8>),
    /// What became of a trust bundle.
    TrustStatus(message::TrustStatus),
}

/// Something that the control plane wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// Alerts that this gateway forgot when its disk was set back.
    Adopt(message::Adopt),
    /// The audit log is countersigned up to an entry.
    AuditReceipt(message::AuditReceipt),
    /// The answer to [`Outgoing::CertificateRequest`].
    Certificate(message::CertificateReply),
    /// A person closed an alert.
    CloseAlert(message::CloseAlert),
    /// A provisional revision may stay.
    ConfirmRevision(u64),
    /// A piece of the OID dictionary.
    DictionaryPart(message::DictionaryPart),
    /// Try a candidate revision on the events of the last hours.
    Replay(message::Replay),
    /// Commit the whole state of every open alert again.
    ResendOpenAlerts {
        /// What it fulfils: `Welcome::resend_nonce`, 0 when the control plane did not ask.
        nonce: u64,
    },
    /// The control plane has taken the word that every open alert was committed again.
    ResentHeard {
        /// The first revision of these.
        since_revision: u64,
    },
    /// A revision to verify and apply.
    Revision(message::SignedRevision),
    /// Every sealed secret.
    Secrets(message::SealedSecrets),
    /// A session began: what the control plane said in its welcome.
    Welcomed(message::Welcome),
    /// Whom to trust from now on.
    Trust(message::TrustBundle),
}

/// What this gateway has already, as its greeting says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GreetingFacts {
    /// The one in force; 0 for the built-in one.
    pub effective: u64,
    /// The newest that was ever taken in.
    pub newest: u64,
    /// SHA-256 of the pushed dictionary; empty for none.
    pub dictionary: Vec<u8>,
    /// The RSA public key (SubjectPublicKeyInfo, DER) to which secrets are sealed.
    pub sealing_key: Vec<u8>,
    /// Serial of the newest set of secrets that was taken in.
    pub secrets_serial: u64,
    /// Serial of the newest trust bundle that is kept; 0 for what enrolment gave.
    pub trust_serial: u64,
    /// Drawn by this start of the daemon.
    pub incarnation: u64,
    /// The incarnation before; 0 for none.
    pub previous_incarnation: u64,
    /// The last incarnation that had a session, and all since.
    pub earlier_incarnations: Vec<u64>,
    /// Number of the audit log's last entry.
    pub audit_number: u64,
    /// The revision in force that waits to be confirmed; 0 for none.
    pub provisional: u64,
    /// How this disk was found set back, in words; empty when not.
    pub rollback: String,
    /// The newest alert revision that is durable.
    pub alert_revision: u64,
}

/// Why the tunnel cannot go on at all; a lost link is none of these.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The spool failed.
    #[error("the tunnel cannot go on without its spool")]
    Spool(#[from] SpoolError),
    /// The identity is not usable.
    #[error("the identity is not usable for TLS")]
    Tls(#[from] TlsError),
    /// The server's address cannot stand in a certificate.
    #[error("the control plane's address is not usable")]
    Url(#[from] UrlError),
}

/// Returns the state to begin with, for [`Control::state`].
pub fn initial_state(now: Timestamp) -> status::Tunnel {
    status::Tunnel {
        state: TunnelState::Connecting,
        since: now.as_nanos(),
        rtt_ms: None,
        clock_offset_ms: None,
        last_error: None,
        address: None,
        proxy: None,
    }
}

/// Keeps the link up until `stop` is cancelled.
///
/// # Errors
/// [`TunnelError`]; never because of the network or the control plane.
pub async fn run(options: TunnelOptions, spool: Spool, mut control: Control, stop: CancellationToken) -> Result<(), TunnelError> {
    let mut waits = Waits::new(options.back_off);
    let mut mail = Mail::default();
    let mut interrupt = Interrupt { stop, link: options.link.clone(), identity: options.identity.clone() };
    let (mut attempt, mut turn) = (0_u64, 0_usize);
    let mut usable = None;
    loop {
        attempt = attempt.saturating_add(1);
        let settings = interrupt.link.borrow_and_update().clone();
        let identity = Arc::clone(&interrupt.identity.borrow_and_update());
        settings.server.server_name()?;
        let tls = match (tls::tunnel_client(&identity), &usable) {
            (Ok(tls), _) => Arc::new(tls),
            // A new identity that is no good must not end the link that could bring a better one.
            (Err(error), Some(before)) => {
                tracing::warn!(error = chain(&error), "the new identity is not usable for TLS: going on with the one before");
                Arc::clone(before)
            }
            (Err(error), None) => return Err(error.into()),
        };
        usable = Some(Arc::clone(&tls));
        report(&control.state, TunnelState::Connecting, None);
        let around = Surroundings { options: &options, settings, turn, attempt, tls, spool: &spool };
        let Ended { lived, ending } = control::run(&around, &mut control, &mut mail, &mut interrupt).await;
        let loss = match ending {
            Ending::Interrupted(Interrupted::Stop) => return Ok(()),
            Ending::Interrupted(Interrupted::Change) => {
                tracing::info!("the way to the control plane or the identity has changed: connecting anew");
                turn = 0;
                continue;
            }
            Ending::Lost(loss) => loss,
        };
        let hope = match loss {
            // A spool that was closed in good order means that the daemon is going down.
            Loss::Spool(SpoolError::Closed) => {
                interrupt.stop.cancelled().await;
                return Ok(());
            }
            Loss::Spool(error) => return Err(error.into()),
            Loss::Protocol(Fault::RolledBack) => Hope::Own,
            Loss::Protocol(Fault::Goodbye { retry: false, .. }) | Loss::Refused { status: 403, .. } => Hope::Little,
            _ => Hope::Some,
        };
        // The address that served stays the first; one that did not gives way to the next.
        turn = if lived.is_zero() { turn.wrapping_add(1) } else { turn };
        let delay = waits.next(lived, hope, random());
        let error = chain(&loss);
        tracing::warn!(%error, retry_in = ?delay, "tunnel lost");
        report(&control.state, TunnelState::Waiting, Some(error));
        tokio::select! {
            biased;
            interrupted = interrupt.wait() => match interrupted {
                Interrupted::Stop => return Ok(()),
                Interrupted::Change => turn = 0,
            },
            () = mail.attend(&mut control, tokio::time::sleep(delay)) => {}
        }
    }
}

/// What ends a session in good order, or a wait before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    /// Other settings or another identity.
    Change,
    /// The daemon goes down.
    Stop,
}

/// Waits for what ends a session from this side.
struct Interrupt {
    stop: CancellationToken,
    link: watch::Receiver<LinkSettings>,
    identity: watch::Receiver<Arc<Identity>>,
}

impl Interrupt {
    /// Returns what has happened since [`run`] last took the settings. Cancel-safe.
    async fn wait(&mut self) -> Interrupted {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Interrupted::Stop,
            Ok(()) = self.link.changed() => Interrupted::Change,
            Ok(()) = self.identity.changed() => Interrupted::Change,
        }
    }
}

/// Publishes a state; the last error stays until a session is up.
fn report(state: &watch::Sender<status::Tunnel>, now: TunnelState, error: Option<String>) {
    state.send_modify(|tunnel| {
        if tunnel.state != now {
            tunnel.state = now;
            tunnel.since = Timestamp::from(SystemTime::now()).as_nanos();
        }
        if now == TunnelState::Up {
            tunnel.last_error = None;
        } else {
            (tunnel.rtt_ms, tunnel.clock_offset_ms) = (None, None);
        }
        if error.is_some() {
            tunnel.last_error = error;
        }
    });
}

/// Draws a number for the jitter; without random numbers the longest wait is as good as any.
fn random() -> u32 {
    let mut bytes = [0xff; 4];
    let _unlucky = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// Writes an error with all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // A transparent wrapper, or a library that repeats its cause, says nothing new.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
