//! How fast a gateway may send what is not an alert: as fast as the store takes it, and never faster than an administrator allows.
//!
//! The samples lane measures how long its small commits take, waiting for their turn included; when that is long, other gateways
//! of the tenant wait, too, and this one is slowed down. Alerts are never slowed down.

use std::time::Duration;

use postern_protocol::message::{Pace, down};
use tokio::sync::watch;
use tokio::time::Instant;

use super::context::{Context, HandlerError};
use super::downward::Downward;

/// Bytes a second that a gateway gets when it is slowed down for the first time, the least that it ever gets, and the rate beyond
/// which it is let go.
const FIRST: u64 = 1024 * 1024;
const LEAST: u64 = 16 * 1024;
const FREE: u64 = 8 * 1024 * 1024;

/// Shortest time between two slow-downs, and between two speed-ups.
const SLOWER_EVERY: Duration = Duration::from_secs(1);
const FASTER_EVERY: Duration = Duration::from_secs(5);

/// All lanes but the alerts lane.
const BULK: u32 = 0;

/// Finds the rate at which the store keeps up. Halves it while commits take long, doubles it while they take a quarter of that.
pub(super) struct Pacer {
    /// A commit that takes longer is slow; zero turns this off.
    slow_after: Duration,
    /// Bytes a second; 0 for no limit.
    rate: u64,
    changed: Option<Instant>,
    found: watch::Sender<u64>,
}

impl Pacer {
    /// Makes a pacer that tells `found` what it finds.
    pub(super) fn new(slow_after: Duration, found: watch::Sender<u64>) -> Self {
        let rate = *found.borrow();
        Self { slow_after, rate, changed: None, found }
    }

    /// Takes note that a commit took so long and was done at `now`.
    pub(super) fn committed(&mut self, took: Duration, now: Instant) {
        let since = self.changed.map_or(Duration::MAX, |changed| now.saturating_duration_since(changed));
        let rate = if self.slow_after.is_zero() {
            0
        } else if took > self.slow_after && since >= SLOWER_EVERY {
            if self.rate == 0 { FIRST } else { (self.rate / 2).max(LEAST) }
        } else if took < self.slow_after / 4 && self.rate > 0 && since >= FASTER_EVERY {
            let faster = self.rate.saturating_mul(2);
            if faster > FREE { 0 } else { faster }
        } else {
            self.rate
        };
        if rate != self.rate {
            (self.rate, self.changed) = (rate, Some(now));
            self.found.send_replace(rate);
        }
    }
}

/// Tells a session's gateway its pace.
pub(super) struct Pacing {
    context: Context,
    found: watch::Receiver<u64>,
    found_by: watch::Sender<u64>,
    /// What an administrator allows; 0 for no limit.
    allowed: u64,
    told: u64,
}

impl Pacing {
    pub(super) fn new(context: Context) -> Self {
        let (found_by, found) = watch::channel(0);
        Self { context, found, found_by, allowed: 0, told: 0 }
    }

    /// Returns a measure for the samples lane.
    pub(super) fn pacer(&self) -> Pacer {
        Pacer::new(self.context.app.config.bulk_slow_after, self.found_by.clone())
    }

    /// Waits until the store keeps up at another rate than before. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.found.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Tells the gateway its pace, if that is another one than it was told.
    pub(super) async fn send(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let gateway = &self.context.peer.gateway;
        self.allowed = self.context.store.pace(gateway).await?;
        let pace = lower(self.allowed, *self.found.borrow_and_update());
        if pace != self.told {
            self.told = pace;
            tracing::info!(%gateway, bytes_per_second = pace, allowed = self.allowed, "the gateway is told another pace");
            down.send(down::Kind::Pace(Pace { lane: BULK, bytes_per_second: pace })).await?;
        }
        Ok(())
    }
}

/// Returns the lower of two limits, of which 0 is none.
fn lower(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(250);

    #[test]
    fn slow_commits_halve_the_rate_and_quick_ones_give_it_back() {
        let (found, rate) = watch::channel(0);
        let mut pacer = Pacer::new(SLOW, found);
        let start = Instant::now();
        let mut at = |secs: u64, took: u64| {
            pacer.committed(Duration::from_millis(took), start + Duration::from_secs(secs));
            *rate.borrow()
        };
        assert_eq!(at(0, 249), 0);
        assert_eq!([at(1, 300), at(1, 300), at(2, 300)], [FIRST, FIRST, FIRST / 2]);
        assert_eq!((3..20).map(|n| at(n, 300)).last(), Some(LEAST));
        assert_eq!([at(21, 100), at(22, 10), at(25, 10), at(27, 10)], [LEAST, 2 * LEAST, 2 * LEAST, 4 * LEAST]);
        assert_eq!((0..20).map(|n| at(30 + 5 * n, 10)).last(), Some(0));
    }

    #[test]
    fn without_a_threshold_nobody_is_slowed_down() {
        let (found, rate) = watch::channel(0);
        Pacer::new(Duration::ZERO, found).committed(Duration::from_secs(60), Instant::now());
        assert_eq!(*rate.borrow(), 0);
    }

    #[test]
    fn the_lower_limit_counts() {
        assert_eq!([lower(0, 0), lower(5, 0), lower(0, 6), lower(5, 6)], [0, 5, 6, 5]);
    }
}
