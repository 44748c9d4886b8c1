//! The part of a document that says how a gateway reaches the control plane and when its queue is to be worried about.
//!
//! Only shapes; `check::link` holds what they may mean. A faulty one cuts the gateway off, and so is taken back (commit-confirm).

use serde::{Deserialize, Serialize};

/// How the control plane is reached. What the server must prove (name, authority, pins) never depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Addresses of the control plane (`host:port`), tried in order, in place of the one in the bootstrap file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The way there; the bootstrap file's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<UplinkProxy>,
}

/// An HTTP proxy on the way out, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UplinkProxy {
    /// No proxy, whatever the bootstrap file and the environment say.
    Direct {},
    /// This one.
    Http {
        /// `host:port`.
        address: String,
        /// Name to sign in with; none when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Name of the secret that holds the password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
}

/// When the durable queue is to raise an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SpoolSettings {
    /// Raise `spool-time-left` when the queue would be full in fewer hours at the present rate: 1 to 720 (default 24).
    pub warn_below_hours: u32,
}

/// Hours below which the queue raises an alert when no document says.
pub const DEFAULT_WARN_BELOW_HOURS: u32 = 24;
