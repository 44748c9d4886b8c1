//! What a status report says of the intake: who was refused and why, unknown OIDs, the path canary, agents' tunnels.
//!
//! Addresses, engine IDs, user names, OIDs and numbers; never a varbind's value, a line's text or a community.

use serde::{Deserialize, Serialize};

/// The intake's part of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// Our own SNMP engine, as informs' senders see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snmp_engine: Option<SnmpEngine>,
    /// SNMPv3 notifications that were refused, most recent first; bounded.
    #[serde(default)]
    pub waiting_room: Vec<Waiting>,
    /// Notification OIDs that neither the dictionary nor a rule names, most frequent first; bounded.
    #[serde(default)]
    pub unknown_oids: Vec<UnknownOid>,
    /// The path canary, one entry a path.
    #[serde(default)]
    pub canary: Vec<CanaryPath>,
    /// Agents that use the proxy, busiest first; bounded, the rest under `others`.
    #[serde(default)]
    pub agents: Vec<AgentAccount>,
    /// SHA-256 of the dictionary in use, hexadecimal; the built-in one when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<String>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER) to which secrets are sealed, hexadecimal: to be compared by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing_key: Option<String>,
    /// Names and versions of the secrets in the vault.
    #[serde(default)]
    pub secrets: Vec<SecretVersion>,
    /// Things that an admin should change, for example a receive buffer that the kernel capped.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Our own SNMP engine (RFC 3411 §3.1.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnmpEngine {
    /// snmpEngineID in hexadecimal.
    pub engine_id: String,
    /// snmpEngineBoots.
    pub boots: u32,
}

/// SNMPv3 notifications that were refused for one reason, from one source, engine and user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// A ledger's reason: `unknown_engine`, `unknown_user`, `wrong_digest`, `decryption_failed`, `level_too_low`,
    /// `not_in_time_window`.
    pub reason: String,
    /// Address of the sender, or `others`.
    pub source: String,
    /// msgAuthoritativeEngineID in hexadecimal.
    pub engine_id: String,
    /// msgUserName, made readable.
    pub user: String,
    /// The level that it was sent at: `no_auth_no_priv`, `auth_no_priv`, `auth_priv`.
    pub level: String,
    /// How many.
    pub count: u64,
    /// First of them, nanoseconds since the Unix epoch.
    pub first_seen: i64,
    /// Last of them.
    pub last_seen: i64,
    /// What is known besides, and what to do, in a sentence.
    pub advice: String,
}

/// A notification OID without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownOid {
    /// The notification's OID.
    pub oid: String,
    /// How many since it was first seen.
    pub count: u64,
    /// Nanoseconds since the Unix epoch.
    pub first_seen: i64,
    /// Nanoseconds since the Unix epoch.
    pub last_seen: i64,
    /// A source that sends it.
    pub source: String,
}

/// One path that the canary tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryPath {
    /// `snmp_trap`, `syslog_udp`, `syslog_tcp`, `syslog_tls`, `proxy`.
    pub path: String,
    /// How the last try ended.
    pub state: CanaryState,
    /// When it last came through, nanoseconds since the Unix epoch.
    pub last_ok: Option<i64>,
    /// The step that is broken, in a sentence; empty when none is.
    pub broken: String,
}

/// How a try of the canary ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryState {
    /// Real traffic came in the last minute: nothing to try.
    Busy,
    /// It came through.
    Ok,
    /// It did not.
    Missed,
    /// Not tried yet.
    Waiting,
}

/// What one agent moved through the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAccount {
    /// Its proxy user, or its address, or `others`.
    pub agent: String,
    /// Tunnels that are open now.
    pub open: u64,
    /// Tunnels since the start.
    pub tunnels: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Bytes from the agent.
    pub bytes_up: u64,
    /// Bytes to the agent.
    pub bytes_down: u64,
}

/// A secret in the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Why it cannot be used; empty when it can.
    #[serde(default)]
    pub problem: String,
}
