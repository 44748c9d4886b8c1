//! What a gateway tells about itself: printed by `status --json`, sent up the tunnel, shown in the console.
//!
//! It carries numbers, addresses of peers and reasons; never a byte of an event's text.

pub mod doctor;
pub mod intake;
mod life;
mod ring;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::RevisionNumber;
use crate::replay::RuleFigures;

pub use life::{AuditState, IdentityState, Provisional};
pub use ring::RingState;

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Program version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The link to the control plane.
    pub tunnel: Tunnel,
    /// The durable queue.
    pub spool: Spool,
    /// Configuration revisions.
    pub revision: Revisions,
    /// What became of every datagram, line and push.
    pub ledger: Ledger,
    /// The sockets.
    pub listeners: Vec<Listener>,
    /// Alerts that last now.
    pub open_alerts: u64,
    /// What the daemon gave up for good at its start; `None` from a version that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Who was refused and why, unknown OIDs, the path canary, agents.
    #[serde(default)]
    pub intake: intake::Intake,
    /// What the last examination of the way out found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctor: Option<doctor::Report>,
    /// The local audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditState>,
    /// Certificates and pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityState>,
    /// What is kept of what was received, for replays; `None` without a ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingState>,
    /// Counters of the rules in force, those that matched most; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleFigures>,
}

/// The link to the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tunnel {
    /// How it stands.
    pub state: TunnelState,
    /// When that began, nanoseconds since the Unix epoch.
    pub since: i64,
    /// Round-trip time of the last heartbeat in milliseconds.
    pub rtt_ms: Option<f64>,
    /// The control plane's clock minus ours in milliseconds.
    pub clock_offset_ms: Option<f64>,
    /// Why the last attempt failed, with all causes.
    pub last_error: Option<String>,
    /// The control plane's address in use, or tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The HTTP proxy in use, without credentials; `None` for a direct way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// How the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// A session is being opened.
    Connecting,
    /// A session is established.
    Up,
    /// Waiting before the next attempt.
    Waiting,
}

/// The durable queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spool {
    /// What waits in each lane.
    pub lanes: BTreeMap<String, LaneFill>,
    /// Bytes of all segments on disk.
    pub bytes_on_disk: u64,
    /// How long the free quota lasts at the present rate; `None` while nothing comes in.
    pub seconds_left: Option<u64>,
    /// Most bytes of all segments.
    #[serde(default)]
    pub quota_bytes: u64,
    /// Records that were durable once and are unreadable now.
    #[serde(default)]
    pub damaged_records: u64,
    /// Files with damaged records that are kept for a person to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_files: Vec<String>,
    /// Records given up since the spool was made, by reason: `lane_share`, `quota`, `disk_full`, `superseded`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evicted_by_reason: BTreeMap<String, u64>,
    /// Records that are sealed under another machine key: kept, and not to be sent without it.
    #[serde(default)]
    pub locked_records: u64,
}

/// What waits in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneFill {
    /// Records that the control plane has not acknowledged.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records given up for want of room since the spool was made.
    pub evicted: u64,
}

/// Configuration revisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Revisions {
    /// The newest that was pushed.
    pub desired: Option<RevisionNumber>,
    /// The one in force; `None` for the built-in one.
    pub effective: Option<RevisionNumber>,
    /// The last one that failed.
    pub failed: Option<FailedRevision>,
    /// The one in force, while it waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<Provisional>,
    /// The last one that was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<RevisionNumber>,
}

/// A revision that was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedRevision {
    /// Its number.
    pub number: RevisionNumber,
    /// What is wrong and where.
    pub problems: Vec<crate::revision::Problem>,
}

/// The account of everything that reached a socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Over all protocols.
    pub totals: Account,
    /// By protocol: `snmp_trap`, `syslog`, `push`.
    pub by_protocol: BTreeMap<String, Account>,
    /// The busiest sources; what does not fit is summed under `others`.
    pub top_sources: Vec<SourceAccount>,
    /// Spans in which an unclean stop may have lost what was read and not yet committed.
    pub crash_windows: Vec<CrashWindow>,
}

/// One side of the ledger: `received = accepted + in_flight + Σ dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Everything that reached the socket, kernel drops included.
    pub received: u64,
    /// Handled by the engine.
    pub accepted: u64,
    /// Read and not yet handled.
    pub in_flight: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// A source's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAccount {
    /// Address of the peer, or `others`.
    pub source: String,
    /// Its protocol.
    pub protocol: String,
    /// Its account; kernel drops are known by listener only.
    #[serde(flatten)]
    pub account: Account,
}

/// A span in which an unclean stop may have lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashWindow {
    /// The last commit before the stop, nanoseconds since the Unix epoch.
    pub from: i64,
    /// The next start.
    pub to: i64,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// What it is for: `snmp_trap`, `syslog`, `syslog_tls`, `proxy`.
    pub name: String,
    /// `udp`, `tcp` or `tls`.
    pub proto: String,
    /// Address and port.
    pub addr: String,
    /// Effective receive buffer in bytes, as the kernel reports it; UDP only.
    pub rcvbuf_effective: Option<u64>,
    /// The receive buffer that the configuration asks for; the kernel reports twice what it grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcvbuf_asked: Option<u64>,
    /// Datagrams that the kernel dropped because the buffer was full; UDP only.
    pub kernel_drops: Option<u64>,
    /// Open connections; TCP and TLS only.
    pub connections: Option<u64>,
}

/// What the daemon gave up for good at its start, and who sees to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Files, TCP ports, signals and abstract unix sockets, by the kernel's Landlock.
    pub landlock: Enforcement,
    /// System calls, by a seccomp filter.
    pub seccomp: Enforcement,
}

/// How far the kernel enforces what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Enforcement {
    /// All of it.
    FullyEnforced,
    /// Nothing of it.
    NotEnforced {
        /// Why.
        why: String,
    },
    /// As much as an older kernel knows.
    PartiallyEnforced {
        /// The version of the interface that the kernel has.
        abi: u32,
    },
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FullyEnforced => f.write_str("fully enforced"),
            Self::NotEnforced { why } => write!(f, "not enforced: {why}"),
            Self::PartiallyEnforced { abi } => write!(f, "partly enforced: this kernel knows it up to ABI {abi}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforcement_is_written_with_its_state() {
        let sandbox = Sandbox { landlock: Enforcement::PartiallyEnforced { abi: 2 }, seccomp: Enforcement::FullyEnforced };
        let json = serde_json::to_value(&sandbox).unwrap();
        let expected = serde_json::json!({
            "landlock": { "state": "partially_enforced", "abi": 2 },
            "seccomp": { "state": "fully_enforced" },
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Sandbox>(json).unwrap(), sandbox);
    }
}
