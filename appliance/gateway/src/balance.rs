//! Watches that the books balance: ends each minute of the ledger, sends it up, and raises alerts for what was lost.
//!
//! What the kernel dropped on a socket is the alert `kernel-drops`, a minute that does not add up is `ledger-gap`; each says when,
//! how many and what to do, and ends after five quiet minutes. It also raises what the spool has to say about itself. One task; it
//! ends with its token.

mod loss;
mod spool;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use postern_engine::alert::OwnReport;
use postern_engine::event::Protocol;
use postern_protocol::alert::Severity;
use postern_protocol::message::LedgerMinutes;
use postern_protocol::status::{self, TunnelState};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::spool::Spool;
use postern_uplink::tunnel::Outgoing;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::loss::{Loss, Step};
use self::spool::{SpoolFacts, SpoolWatch};
use crate::accounts::Accounts;
use crate::pipeline::Order;
use crate::receivers::kernel_drops::KernelDrops;
use crate::receivers::{ListenerFacts, ReceiveBuffer};

/// How often is looked, on the clock: a look falls on every minute's end.
const LOOK_EVERY: Duration = Duration::from_secs(10);

const KERNEL_DROPS: &str = "kernel-drops";
const LEDGER_GAP: &str = "ledger-gap";

/// What the task works with.
pub(crate) struct Balance {
    pub(crate) accounts: Accounts,
    pub(crate) kernel_drops: KernelDrops,
    pub(crate) listeners: Vec<ListenerFacts>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) tunnel: watch::Receiver<status::Tunnel>,
    pub(crate) spool: Spool,
    /// Hours of room in the spool below which that is an alert.
    pub(crate) warn_below_hours: watch::Receiver<u32>,
}

/// What was lost so far.
struct Losses {
    sockets: BTreeMap<&'static str, Loss>,
    gaps: BTreeMap<Protocol, (u64, Loss)>,
}

impl Balance {
    /// Works until `stop` is cancelled.
    ///
    /// # Errors
    /// None: a pipeline or tunnel that is gone is about to stop the daemon.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> std::io::Result<()> {
        let start = now();
        let sockets = self.buffers().map(|(name, _)| (name, Loss::new(start))).collect();
        let gaps = Protocol::ALL.into_iter().map(|protocol| (protocol, (0, Loss::new(start)))).collect();
        let mut losses = Losses { sockets, gaps };
        let open: Vec<Protocol> = self.listeners.iter().filter_map(ListenerFacts::protocol).collect();
        let mut spool = SpoolWatch::default();
        let full = self.spool.full();
        let mut was_up = false;
        let mut next = now();
        loop {
            // Every arm is cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(next.saturating_since(now())) => {
                    next = next_look(now());
                    self.look(&mut losses, &open).await;
                    let is_full = *full.borrow();
                    self.look_at_spool(&mut spool, is_full).await;
                }
                Ok(()) = self.tunnel.changed() => {
                    let is_up = self.tunnel.borrow_and_update().state == TunnelState::Up;
                    if is_up && !was_up {
                        // The control plane may have been set back, or a session lost some: a repetition replaces.
                        self.send(0..=u64::MAX);
                    }
                    was_up = is_up;
                }
            }
        }
    }

    async fn look(&self, losses: &mut Losses, open: &[Protocol]) {
        let now = now();
        self.accounts.kernel_counters(&self.kernel_drops.read());
        if let Some(closed) = self.accounts.roll(now, open) {
            self.send(closed.minute..=closed.minute);
            for (protocol, size) in closed.gaps {
                let (sum, _) = losses.gaps.entry(protocol).or_insert_with(|| (0, Loss::new(now)));
                *sum = sum.saturating_add(size);
            }
        }
        for (name, buffer) in self.buffers() {
            let lost = self.accounts.socket_drops(name).unwrap_or(0);
            let step = losses.sockets.get_mut(name).and_then(|loss| loss.note(lost, now));
            self.tell(step, KERNEL_DROPS, name, |span| kernel_drops(name, span, &buffer)).await;
        }
        for (protocol, (lost, loss)) in &mut losses.gaps {
            let step = loss.note(*lost, now);
            self.tell(step, LEDGER_GAP, protocol.name(), |span| ledger_gap(*protocol, span)).await;
        }
    }

    async fn look_at_spool(&self, watch: &mut SpoolWatch, is_full: bool) {
        let warn_below_hours = *self.warn_below_hours.borrow();
        let facts = SpoolFacts { fill: self.spool.fill(), is_full, losses: self.spool.evictions(), warn_below_hours };
        for order in watch.look(&facts) {
            // A pipeline that has ended stops the daemon.
            let _ = self.orders.send(order).await;
        }
    }

    fn buffers(&self) -> impl Iterator<Item = (&'static str, ReceiveBuffer)> + '_ {
        self.listeners.iter().filter_map(ListenerFacts::buffer)
    }

    async fn tell(&self, step: Option<Step>, kind: &'static str, qualifier: &str, report: impl FnOnce(loss::Span) -> OwnReport) {
        let order = match step {
            None => return,
            Some(Step::Over) => Order::OwnClear { kind, qualifier: qualifier.to_owned() },
            Some(Step::Report(span)) => Order::Own(report(span)),
        };
        // A pipeline that has ended stops the daemon.
        let _ = self.orders.send(order).await;
    }

    /// Sends minutes up. No room: the tunnel is stuck, and its next session gets all of them.
    fn send(&self, minutes: std::ops::RangeInclusive<u64>) {
        let minutes = self.accounts.minutes(minutes);
        if self.outgoing.try_send(Outgoing::Minutes(LedgerMinutes { minutes })).is_err() {
            tracing::debug!("no room for the ledger's minutes");
        }
    }
}

fn kernel_drops(name: &'static str, span: loss::Span, buffer: &ReceiveBuffer) -> OwnReport {
    let mut labels = span.labels();
    labels.insert("listener".to_owned(), name.to_owned());
    labels.insert("buffer_bytes".to_owned(), buffer.granted.to_string());
    labels.insert("buffer_asked_bytes".to_owned(), buffer.asked.to_string());
    let advice = if buffer.is_capped() {
        buffer.advice()
    } else {
        "raise receive_buffer_bytes of this listener and net.core.rmem_max, or find the sender in the ledger's busiest sources".to_owned()
    };
    let (size, granted) = (span.size, buffer.granted);
    let summary =
        format!("{name}: the kernel dropped {size} datagrams {}: the receive buffer of {granted} bytes was full; {advice}", span.when());
    OwnReport { kind: KERNEL_DROPS.to_owned(), qualifier: name.to_owned(), severity: Severity::Major, summary, labels }
}

fn ledger_gap(protocol: Protocol, span: loss::Span) -> OwnReport {
    let mut labels = span.labels();
    labels.insert("protocol".to_owned(), protocol.name().to_owned());
    let (name, size) = (protocol.name(), span.size);
    let summary =
        format!("{name}: the ledger does not say what became of {size} messages {}: report this as a fault of the gateway", span.when());
    OwnReport { kind: LEDGER_GAP.to_owned(), qualifier: name.to_owned(), severity: Severity::Major, summary, labels }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// Returns the next time on the clock at which to look, a moment after a minute's end, so that the minute is over for sure.
fn next_look(now: Timestamp) -> Timestamp {
    let every = i64::try_from(LOOK_EVERY.as_nanos()).unwrap_or(i64::MAX);
    let passed = now.as_nanos().rem_euclid(every);
    Timestamp::from_nanos(now.as_nanos().saturating_sub(passed)).saturating_add(LOOK_EVERY + Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_fall_on_the_clock() {
        assert_eq!(next_look(Timestamp::from_secs(59)).as_micros(), 60_001_000);
        assert_eq!(next_look(Timestamp::from_nanos(60_000_500_000)).as_micros(), 70_001_000);
    }

    #[test]
    fn a_capped_buffer_is_told_with_what_to_set() {
        let buffer = ReceiveBuffer { asked: 33_554_432, granted: 425_984 };
        let mut loss = Loss::new(Timestamp::from_secs(0));
        let Some(Step::Report(span)) = loss.note(7, Timestamp::from_secs(1_800_000_010)) else { panic!("seven are lost") };
        let report = kernel_drops("syslog_udp", span, &buffer);
        assert!(report.summary.contains("dropped 7 datagrams"), "{}", report.summary);
        assert!(report.summary.contains("net.core.rmem_max"), "{}", report.summary);
        assert_eq!(report.labels["lost"], "7");
    }
}
