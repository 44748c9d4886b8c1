//! Wires a running control plane: keys, stores, sockets, tasks; and stops it in order.
//!
//! Tasks: the public port, the admin address, the watchers and the renewal of our own certificates. Each ends when `stop` is
//! cancelled; one that ends before stops the others, and the program with an error.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::timestamp::Timestamp;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::auth::password::Passwords;
use crate::config::Config;
use crate::configuration::Checks;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::mibs::Mibs;
use crate::rollouts::{self, Rollouts};
use crate::signer::{Signer, SignerError};
use crate::store::{StoreError, Stores};
use crate::tls::{ServerConfigs, TlsError};
use crate::trust::{self, Authorities};
use crate::tunnel::incarnations::Doubts;
use crate::tunnel::registry::Registry;
use crate::{admin, beside, listener, retention, revocation, unreachable};

/// How long everything may take to end; the public port has its own, shorter limit.
const DRAIN: Duration = Duration::from_secs(9);

/// Why the control plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A task ended while the program should run.
    #[error("the task {0:?} ended")]
    Ended(&'static str),
    /// The program does not know where it is, so that it cannot start itself to compile MIB modules.
    #[error("cannot find the program's own file")]
    Program(#[source] std::io::Error),
    /// The revision key cannot be loaded.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The addresses that are bound: they differ from the configuration where that says port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Console, API, enrolment and tunnel.
    pub listen: SocketAddr,
    /// `/healthz`, `/readyz` and `/metrics`.
    pub admin: SocketAddr,
}

/// A control plane whose sockets are bound.
pub struct Server {
    app: Arc<App>,
    public: TcpListener,
    admin: TcpListener,
    configs: ServerConfigs,
    addresses: Addresses,
}

/// Loads keys and stores: all of a start that opens no socket.
///
/// # Errors
/// [`ServeError`] says what is missing or damaged.
pub fn load(config: Config, clock: fn() -> Timestamp, stop: CancellationToken) -> Result<(App, ServerConfigs), ServeError> {
    let keys = config.keys();
    let trust = Authorities::load(&keys)?;
    let configs = ServerConfigs::load(&keys, &trust.current(), &config.names, clock())?;
    let app = App {
        signer: Signer::load(&keys.join("revision.key"))?,
        stores: Stores::open(&config.data_dir)?,
        trust,
        checks: Checks::default(),
        clock,
        config,
        doubts: Doubts::default(),
        feed: Feed::default(),
        gateways: Registry::default(),
        metrics: Metrics::default(),
        mibs: Mibs::new(std::env::current_exe().map_err(ServeError::Program)?),
        passwords: Passwords::new(),
        rollouts: Rollouts::default(),
        stop,
    };
    Ok((app, configs))
}

impl Server {
    /// Loads everything and binds the sockets.
    ///
    /// # Errors
    /// [`ServeError`] says what is missing, damaged or in use.
    pub async fn bind(config: Config, clock: fn() -> Timestamp, stop: CancellationToken) -> Result<Self, ServeError> {
        let (app, configs) = load(config, clock, stop)?;
        for tenant in app.stores.system().list_tenants().await? {
            app.stores.tenant(&tenant.id)?.all_gateways_disconnected().await?;
        }
        let public = bind(app.config.listen).await?;
        let admin = bind(app.config.admin_listen).await?;
        let local = |socket: &TcpListener, address| socket.local_addr().map_err(|source| ServeError::Bind { address, source });
        let addresses = Addresses { listen: local(&public, app.config.listen)?, admin: local(&admin, app.config.admin_listen)? };
        Ok(Self { app: Arc::new(app), public, admin, configs, addresses })
    }

    /// Returns the addresses that are bound.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Returns what the parts of this control plane share.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until the token that was given to [`Server::bind`] is cancelled.
    ///
    /// # Errors
    /// [`ServeError::Ended`] when a task ends by itself.
    pub async fn run(self) -> Result<(), ServeError> {
        let Self { app, public, admin, configs, addresses } = self;
        let stop = app.stop.clone();
        let (renewed, configs) = watch::channel(configs);
        let mut tasks = JoinSet::new();
        spawn(&mut tasks, "listener", listener::serve(Arc::clone(&app), public, configs));
        spawn(&mut tasks, "admin", serve_admin(Arc::clone(&app), admin));
        spawn(&mut tasks, "unreachable", unreachable::watch(Arc::clone(&app)));
        spawn(&mut tasks, "retention", retention::watch(Arc::clone(&app)));
        spawn(&mut tasks, "revocation", revocation::watch(Arc::clone(&app)));
        spawn(&mut tasks, "beside", beside::watch(Arc::clone(&app)));
        spawn(&mut tasks, "roll-outs", rollouts::watch(Arc::clone(&app)));
        spawn(&mut tasks, "trust", trust::watch(Arc::clone(&app), renewed));
        tracing::info!(listen = %addresses.listen, admin = %addresses.admin, "control plane started");
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            // A quick task may have ended because of the stop before this looks.
            ended = tasks.join_next() => (!stop.is_cancelled()).then(|| ended.and_then(Result::ok).unwrap_or("unknown")),
        };
        stop.cancel();
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("tasks cut at the end");
            tasks.shutdown().await;
        }
        tracing::info!("control plane stopped");
        ended.map_or(Ok(()), |name| Err(ServeError::Ended(name)))
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

fn spawn(tasks: &mut JoinSet<&'static str>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

async fn serve_admin(app: Arc<App>, listener: TcpListener) {
    let stop = app.stop.clone();
    let served = axum::serve(listener, admin::router(app)).with_graceful_shutdown(stop.cancelled_owned()).into_future().await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin address failed");
    }
}
