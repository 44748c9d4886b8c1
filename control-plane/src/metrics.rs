//! Every metric of the control plane, and their text form for `/metrics` (Prometheus text format 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counters and gauges; all start at zero.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Alert records committed, repeats included.
    pub alert_records: AtomicU64,
    /// Alert records that came ahead of their order, stored.
    pub alert_records_ahead: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Connections accepted on the public port.
    pub connections: AtomicU64,
    /// Connections that failed before a request: handshake, time-out, missing certificate.
    pub connections_failed: AtomicU64,
    /// Gateways enrolled.
    pub enrolments: AtomicU64,
    /// Enrolments refused.
    pub enrolments_refused: AtomicU64,
    /// Sessions ended for what the gateway sent.
    pub protocol_errors: AtomicU64,
    /// Measurements committed, repeats included.
    pub sample_records: AtomicU64,
    /// Live tunnel sessions.
    pub sessions: AtomicI64,
    /// Records that gateways gave up before they reached us.
    pub skipped_records: AtomicU64,
}

impl Metrics {
    /// Adds `n` to a counter.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Writes all metrics as text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (name, help, counter) in [
            (
                "control_alert_records_ahead_total",
                "Alert records stored ahead of their order; they come again in it.",
                &self.alert_records_ahead,
            ),
            ("control_alert_records_total", "Alert records committed, repeats included.", &self.alert_records),
            ("control_batches_total", "Batches committed.", &self.batches),
            ("control_connections_total", "Connections accepted on the public port.", &self.connections),
            ("control_connections_failed_total", "Connections that failed before a request.", &self.connections_failed),
            ("control_enrolments_total", "Gateways enrolled.", &self.enrolments),
            ("control_enrolments_refused_total", "Enrolments refused.", &self.enrolments_refused),
            ("control_protocol_errors_total", "Sessions ended for what the gateway sent.", &self.protocol_errors),
            ("control_sample_records_total", "Measurements committed, repeats included.", &self.sample_records),
            ("control_skipped_records_total", "Records that gateways gave up before they reached us.", &self.skipped_records),
        ] {
            // Writing to a String cannot fail.
            let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", counter.load(Ordering::Relaxed));
        }
        let (name, sessions) = ("control_tunnel_sessions", self.sessions.load(Ordering::Relaxed));
        let _infallible = writeln!(out, "# HELP {name} Live tunnel sessions.\n# TYPE {name} gauge\n{name} {sessions}");
        out
    }
}
