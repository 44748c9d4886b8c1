//! What every part of a running control plane shares, made once by `serve` and passed as `Arc<App>`.

use postern_protocol::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::auth::password::Passwords;
use crate::ca::CertificateAuthority;
use crate::config::Config;
use crate::configuration::Checks;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::mibs::Mibs;
use crate::signer::Signer;
use crate::store::Stores;
use crate::tunnel::registry::Registry;

/// What every part of a running control plane shares.
pub struct App {
    /// Issues the certificates of gateways.
    pub ca: CertificateAuthority,
    /// Checks the documents of configurations.
    pub checks: Checks,
    /// Returns the present time; tests pass their own.
    pub clock: fn() -> Timestamp,
    /// The resolved configuration.
    pub config: Config,
    /// Tells readers what changed, after the commit.
    pub feed: Feed,
    /// The live sessions of gateways.
    pub gateways: Registry,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Compiles MIB modules.
    pub mibs: Mibs,
    /// Bounds how many passwords are hashed at once.
    pub passwords: Passwords,
    /// SHA-256 of the SPKIs that the tunnel's server may present, base64: what gateways pin.
    pub server_pins: Vec<String>,
    /// Signs revisions.
    pub signer: Signer,
    /// Cancelled when the program stops: long-lived answers end then.
    pub stop: CancellationToken,
    /// The databases.
    pub stores: Stores,
}

impl App {
    /// Returns the present time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }
}
