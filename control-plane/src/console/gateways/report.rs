//! What a gateway said of itself, as people read it. Pure.

use std::time::Duration;

use postern_protocol::status::{Enforcement, Listener, Sandbox, Status, TunnelState};
use postern_protocol::timestamp::Timestamp;

use super::ledger::{self, Line, Reason, Source};
use super::life;
use crate::console::figures;
use crate::console::moment::{self, Moment};

/// A clock that is off by more than this deserves a word.
const CLOCK_TOLERANCE_MS: f64 = 2_000.0;

/// One lane of the spool.
pub(super) struct LaneLine {
    pub(super) name: String,
    pub(super) records: String,
    pub(super) bytes: String,
    pub(super) evicted: String,
    pub(super) evicted_some: bool,
}

/// One socket.
pub(super) struct ListenerLine {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) buffer: String,
    /// What the configuration asks for, when the kernel granted less.
    pub(super) buffer_asked: Option<String>,
    pub(super) drops: String,
    pub(super) drops_some: bool,
    pub(super) connections: String,
}

/// What the daemon gave up for good.
pub(super) struct SandboxLine {
    pub(super) files: String,
    pub(super) calls: String,
    pub(super) open: bool,
}

/// A span in which something may be lost.
pub(super) struct Window {
    pub(super) from: Moment,
    pub(super) to: Moment,
    pub(super) length: String,
}

/// The whole report.
pub(super) struct Report {
    pub(super) address: Option<String>,
    pub(super) clock: String,
    pub(super) crash_windows: Vec<Window>,
    pub(super) lanes: Vec<LaneLine>,
    pub(super) last_error: Option<String>,
    pub(super) ledger: Vec<Line>,
    pub(super) listeners: Vec<ListenerLine>,
    pub(super) proxy: Option<String>,
    pub(super) reasons: Vec<Reason>,
    pub(super) rtt: String,
    pub(super) sandbox: Option<SandboxLine>,
    pub(super) sources: Vec<Source>,
    pub(super) spool_damaged: String,
    pub(super) spool_damaged_files: Vec<String>,
    pub(super) spool_left: Option<String>,
    pub(super) spool_on_disk: String,
    pub(super) spool_quota: Option<String>,
    pub(super) tunnel_since: Moment,
    pub(super) tunnel_state: &'static str,
    pub(super) uptime: String,
}

impl Report {
    /// Puts a report into words.
    pub(super) fn new(status: &Status, now: Timestamp) -> Self {
        let lanes = status.spool.lanes.iter().map(|(name, fill)| LaneLine {
            name: name.clone(),
            records: figures::count(fill.records),
            bytes: figures::bytes(fill.bytes),
            evicted: figures::count(fill.evicted),
            evicted_some: fill.evicted > 0,
        });
        let windows = status.ledger.crash_windows.iter().rev().map(|window| Window {
            from: Moment::from_nanos(window.from, now),
            to: Moment::from_nanos(window.to, now),
            length: moment::lasted(Timestamp::from_nanos(window.from), Timestamp::from_nanos(window.to)),
        });
        Self {
            address: status.tunnel.address.clone(),
            clock: status.tunnel.clock_offset_ms.map_or_else(|| "not compared yet".to_owned(), clock),
            crash_windows: windows.collect(),
            lanes: lanes.collect(),
            last_error: status.tunnel.last_error.clone(),
            ledger: ledger::lines(&status.ledger),
            listeners: status.listeners.iter().map(listener).collect(),
            proxy: status.tunnel.proxy.clone(),
            reasons: ledger::reasons(&status.ledger),
            rtt: status.tunnel.rtt_ms.map_or_else(|| "not measured yet".to_owned(), figures::millis),
            sandbox: status.sandbox.as_ref().map(sandbox),
            sources: ledger::sources(&status.ledger.top_sources),
            spool_damaged: figures::count(status.spool.damaged_records),
            spool_damaged_files: status.spool.damaged_files.clone(),
            spool_left: status.spool.seconds_left.map(time_left),
            spool_on_disk: figures::bytes(status.spool.bytes_on_disk),
            spool_quota: life::quota(status),
            tunnel_since: Moment::from_nanos(status.tunnel.since, now),
            tunnel_state: match status.tunnel.state {
                TunnelState::Connecting => "connecting",
                TunnelState::Up => "up",
                TunnelState::Waiting => "waiting to try again",
            },
            uptime: figures::duration(Duration::from_secs(status.uptime_s)),
        }
    }
}

/// `offset` is our clock minus the gateway's.
fn clock(offset: f64) -> String {
    let by = figures::millis(offset.abs());
    match offset {
        ms if ms > CLOCK_TOLERANCE_MS => format!("{by} behind ours: check its time service"),
        ms if ms < -CLOCK_TOLERANCE_MS => format!("{by} ahead of ours: check its time service"),
        _ => format!("right within {by}"),
    }
}

fn sandbox(sandbox: &Sandbox) -> SandboxLine {
    let open = |by: &Enforcement| match by {
        Enforcement::NotEnforced { .. } => true,
        Enforcement::FullyEnforced | Enforcement::PartiallyEnforced { .. } => false,
    };
    SandboxLine {
        files: sandbox.landlock.to_string(),
        calls: sandbox.seccomp.to_string(),
        open: open(&sandbox.landlock) || open(&sandbox.seccomp),
    }
}

fn listener(one: &Listener) -> ListenerLine {
    let known = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), figures::count);
    ListenerLine {
        name: one.name.clone(),
        address: format!("{}/{}", one.addr, one.proto),
        buffer: one.rcvbuf_effective.map_or_else(|| "–".to_owned(), figures::bytes),
        // The kernel reports twice what it grants (socket(7)).
        buffer_asked: one
            .rcvbuf_asked
            .filter(|asked| one.rcvbuf_effective.is_some_and(|has| has < asked.saturating_mul(2)))
            .map(figures::bytes),
        drops: known(one.kernel_drops),
        drops_some: one.kernel_drops.is_some_and(|drops| drops > 0),
        connections: known(one.connections),
    }
}

/// Beyond a year, the number would say more than the rate of the last day is good for.
fn time_left(seconds: u64) -> String {
    if seconds > 365 * 86_400 { "more than a year".to_owned() } else { figures::duration(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_said_so() {
        assert_eq!(clock(3.21), "right within 3.2 ms");
        assert_eq!(clock(5_000.0), "5000 ms behind ours: check its time service");
        assert_eq!(clock(-5_000.0), "5000 ms ahead of ours: check its time service");
    }
}
