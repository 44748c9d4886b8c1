//! What every part of a running control plane shares, made once by `serve` and passed as `Arc<App>`.

use postern_protocol::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::auth::password::Passwords;
use crate::config::Config;
use crate::configuration::Checks;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::mibs::Mibs;
use crate::rollouts::Rollouts;
use crate::signer::Signer;
use crate::store::Stores;
use crate::trust::Authorities;
use crate::tunnel::incarnations::Doubts;
use crate::tunnel::registry::Registry;

/// What every part of a running control plane shares.
pub struct App {
    /// Checks the documents of configurations.
    pub checks: Checks,
    /// Returns the present time; tests pass their own.
    pub clock: fn() -> Timestamp,
    /// The resolved configuration.
    pub config: Config,
    /// Greetings that do not fit what is known of their gateway.
    pub doubts: Doubts,
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
    /// Has roll-outs go on.
    pub rollouts: Rollouts,
    /// Signs revisions.
    pub signer: Signer,
    /// Cancelled when the program stops: long-lived answers end then.
    pub stop: CancellationToken,
    /// The databases.
    pub stores: Stores,
    /// Certificate authorities and pins.
    pub trust: Authorities,
}

impl App {
    /// Returns the present time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }
}
