//! The report of the daemon: put together here, sent up the tunnel, and given to `status` over a unix socket.
//!
//! The socket takes no command: whoever connects (mode 0600, the daemon's own user) gets one JSON document and the end of the stream.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_protocol::status::intake::Intake;
use postern_protocol::status::{self, Sandbox, Status};
use postern_uplink::spool::Spool;
use postern_uplink::tunnel::Outgoing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::pipeline::PipelineFacts;
use crate::receivers::ListenerFacts;
use crate::receivers::kernel_drops::KernelDrops;

/// How often a report goes up the tunnel.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// Time for one answer on the socket.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Those who know something of themselves and fill it into a report, each its own fields.
#[derive(Clone, Default)]
pub(crate) struct Contributions(Vec<Fill>);

/// Fills in what one owner knows.
type Fill = Arc<dyn Fn(&mut Status) + Send + Sync>;

impl Contributions {
    /// Adds one who fills something in; it must not block.
    pub(crate) fn add(&mut self, fill: impl Fn(&mut Status) + Send + Sync + 'static) {
        self.0.push(Arc::new(fill));
    }

    fn fill(&self, status: &mut Status) {
        self.0.iter().for_each(|fill| fill(status));
    }
}

/// Everything that a report is made of.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) started: Instant,
    pub(crate) tunnel: watch::Receiver<status::Tunnel>,
    pub(crate) spool: Spool,
    pub(crate) revisions: watch::Receiver<status::Revisions>,
    pub(crate) accounts: Accounts,
    pub(crate) listeners: Vec<ListenerFacts>,
    pub(crate) pipeline: watch::Receiver<PipelineFacts>,
    pub(crate) kernel_drops: KernelDrops,
    pub(crate) sandbox: Sandbox,
    pub(crate) contributions: Contributions,
}

impl Reporter {
    /// Returns the report of this moment, with the kernel's drops up to date.
    pub(crate) fn report(&self) -> Status {
        self.accounts.kernel_counters(&self.kernel_drops.read());
        let mut status = Status {
            intake: Intake::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            tunnel: self.tunnel.borrow().clone(),
            spool: self.spool.fill(),
            revision: self.revisions.borrow().clone(),
            ledger: self.accounts.snapshot(),
            listeners: self.listeners.iter().map(|listener| listener.report(&self.accounts)).collect(),
            open_alerts: self.pipeline.borrow().open_alerts,
            sandbox: Some(self.sandbox.clone()),
            doctor: None,
            ring: None,
            rules: Vec::new(),
            audit: None,
            identity: None,
        };
        self.contributions.fill(&mut status);
        status
    }

    /// Sends a report up the tunnel every two seconds and whenever a revision changed. Ends when `stop` is cancelled.
    ///
    /// # Errors
    /// When a report cannot be encoded: a fault of the program.
    pub(crate) async fn send(mut self, outgoing: mpsc::Sender<Outgoing>, stop: CancellationToken) -> io::Result<()> {
        let mut tick = tokio::time::interval(REPORT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut revisions = self.revisions.clone();
        loop {
            // Every arm is cancel-safe. When the revisions' owner is gone the daemon is stopping.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {}
                Ok(()) = revisions.changed() => self.revisions.mark_unchanged(),
            }
            let report = serde_json::to_vec(&self.report())?;
            // Full: an older report is still waiting, and the next one says more.
            let _ = outgoing.try_send(Outgoing::Status(report));
        }
    }

    /// Answers on the socket until `stop` is cancelled.
    ///
    /// # Errors
    /// When the socket cannot accept any more.
    pub(crate) async fn serve(self, socket: StatusSocket, stop: CancellationToken) -> io::Result<()> {
        loop {
            // Cancel-safe: a connection that is not accepted waits in the backlog.
            let (mut stream, _) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = socket.listener.accept() => accepted?,
            };
            let report = serde_json::to_vec(&self.report())?;
            let answer = async {
                stream.write_all(&report).await?;
                stream.shutdown().await
            };
            if !matches!(tokio::time::timeout(ANSWER_TIMEOUT, answer).await, Ok(Ok(()))) {
                tracing::debug!("a status client went away");
            }
        }
    }
}

/// The socket; its file goes with it.
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Binds the socket in place of a stale one. The spool's lock says that no other daemon uses this directory.
    ///
    /// # Errors
    /// When the path cannot be used.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl StatusSocket {
    /// Waits for somebody. Cancel-safe: a connection that is not accepted waits in the backlog.
    ///
    /// # Errors
    /// When the socket cannot accept any more.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // A file that is left behind is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The daemon does not answer.
    #[error("the daemon does not answer on {}: is it running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It answered something else.
    #[error("the daemon's answer is not a report")]
    Answer(#[from] serde_json::Error),
}

/// Asks the running daemon; returns the report and its JSON.
///
/// # Errors
/// [`AskError`].
pub async fn ask(path: &Path) -> Result<(Status, String), AskError> {
    let connect = |cause| AskError::Connect { path: path.to_owned(), cause };
    let mut stream = UnixStream::connect(path).await.map_err(connect)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(connect)?;
    Ok((serde_json::from_str(&text)?, text))
}
