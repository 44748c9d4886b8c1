//! What `postern-gateway doctor` found: one finding a line, each with what, evidence and advice.

use serde::{Deserialize, Serialize};

/// One examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When, nanoseconds since the Unix epoch.
    pub at: i64,
    /// What was found, gravest first.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Names the kind of finding for programs, for example `tls-intercepted`.
    pub id: String,
    /// How grave it is.
    pub grade: Grade,
    /// What it is, in one sentence.
    pub what: String,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Does not work.
    Fault,
    /// Works, and should be looked at.
    Warning,
    /// Works.
    Good,
}
