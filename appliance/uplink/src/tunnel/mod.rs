//! The link to the control plane: one HTTP/2 connection that this side opens, and opens again whenever it is lost.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::message;
use postern_protocol::status;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use crate::spool::{Spool, SpoolError};
use crate::tls::TlsError;
use crate::url::{ProxyUrl, ServerUrl, UrlError};

/// What the tunnel needs to know.
pub struct TunnelOptions {
    /// The control plane.
    pub server: ServerUrl,
    /// Who we are.
    pub identity: Arc<Identity>,
    /// The site's HTTP proxy.
    pub proxy: Option<ProxyUrl>,
    /// Program version, for people.
    pub program_version: String,
    /// Time between heartbeats; three missed ones end the session.
    pub heartbeat: Duration,
    /// First and longest wait between attempts.
    pub back_off: BackOff,
}

/// How long the tunnel waits between attempts: doubled each time, drawn between zero and that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// Before the second attempt, at most.
    pub first: Duration,
    /// Between attempts, at most.
    pub longest: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(30) }
    }
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
    /// What is said about revisions in the greeting.
    pub revisions: watch::Receiver<RevisionFacts>,
}

/// Something to tell the control plane, beside the spool's records. Lost when no session comes up: it is said again by the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// How far a pushed revision got.
    RevisionStatus(message::RevisionStatus),
    /// A `status::Status` as JSON.
    Status(Vec<u8>),
}

/// Something that the control plane wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A person closed an alert.
    CloseAlert(message::CloseAlert),
    /// Commit the whole state of every open alert again.
    ResendOpenAlerts,
    /// A revision to verify and apply.
    Revision(message::SignedRevision),
}

/// The revisions of this gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionFacts {
    /// The one in force; 0 for the built-in one.
    pub effective: u64,
    /// The newest that was ever taken in.
    pub newest: u64,
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

/// Keeps the link up until `stop` is cancelled.
///
/// # Errors
/// [`TunnelError`]; never because of the network or the control plane.
pub async fn run(_options: TunnelOptions, _spool: Spool, _control: Control, stop: CancellationToken) -> Result<(), TunnelError> {
    stop.cancelled().await;
    Ok(())
}
