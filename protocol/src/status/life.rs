//! What a status report says of revisions on trial, the audit log and the identity.

use serde::{Deserialize, Serialize};

use crate::id::RevisionNumber;

/// A revision that is in force and is taken back unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisional {
    /// Its number.
    pub number: RevisionNumber,
    /// When it is taken back, nanoseconds since the Unix epoch.
    pub until: i64,
}

/// How the local audit log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    /// Number of the last entry.
    pub number: u64,
    /// Its digest, hexadecimal.
    pub digest: String,
    /// Number of the last entry that the control plane countersigned.
    pub countersigned: u64,
    /// What is wrong with the log, in words; `None` when it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// How the gateway's identity stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityState {
    /// Serial number of the client certificate, hexadecimal.
    pub certificate: String,
    /// When it begins to be valid, nanoseconds since the Unix epoch.
    pub not_before: i64,
    /// When it ends.
    pub not_after: i64,
    /// When it is renewed: at two thirds of its life.
    pub renew_at: i64,
    /// Serial of the trust bundle in use; 0 for what enrolment gave.
    pub trust_serial: u64,
    /// SHA-256 of the SPKIs that the tunnel's server may present, hexadecimal.
    pub server_pins: Vec<String>,
    /// Why the last renewal failed; `None` when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_error: Option<String>,
}
