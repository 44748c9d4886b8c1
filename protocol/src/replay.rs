//! What a candidate revision would have made of the events of the last hours: asked by the control plane, answered by a gateway from its own ring.
//!
//! The answer has alerts' keys, severities and counts, and rules' counters: no summary, no label, nothing of a raw event.

use serde::{Deserialize, Serialize};

use crate::alert::{AlertState, Severity};
use crate::revision::Problem;
use crate::timestamp::Timestamp;

/// Most differences that an answer lists; of more, it says how many.
pub const MAX_DIFFERENCES: usize = 500;

/// Most bytes of an encoded answer.
pub const MAX_RESULT_BYTES: usize = 256 * 1024;

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// How it went.
    pub state: ReplayState,
    /// Why not, for a person; empty when it went well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Faults of the candidate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// When the first event came that was replayed, nanoseconds since the Unix epoch; the ring may not reach back as far as asked.
    pub from: i64,
    /// When the last one came.
    pub until: i64,
    /// Events that were replayed.
    pub events: u64,
    /// Events within the time that could not be decoded again.
    #[serde(default)]
    pub undecodable: u64,
    /// What the revision in force makes of them.
    pub effective: Figures,
    /// What the candidate makes of them.
    pub candidate: Figures,
    /// Alerts that differ, at most [`MAX_DIFFERENCES`].
    pub differences: Vec<Difference>,
    /// Differences that are not listed.
    #[serde(default)]
    pub further: u64,
}

/// How a replay went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It went through.
    Done,
    /// The candidate is no good document, or the site's veto is against it.
    Refused,
    /// The gateway has no ring, or could not read it.
    Unavailable,
}

/// What one revision makes of the events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Alerts that were raised, a new occurrence counted as one more.
    pub raised: u64,
    /// Reports of alerts that were open already.
    pub updated: u64,
    /// Alerts that ended.
    pub cleared: u64,
    /// Events that a rule said to suppress.
    pub suppressed: u64,
    /// Reports that a threshold or rate held back.
    pub held: u64,
    /// Events that no rule matched.
    pub unmatched: u64,
    /// Alerts that nothing folds or keeps quiet: what a person would have seen.
    pub shown: u64,
    /// Alerts that are open at the end.
    pub open: u64,
    /// By rule, those that matched.
    pub rules: Vec<RuleFigures>,
}

/// What became of the events that one rule matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFigures {
    /// The rule.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Whether it only observes: what it would raise is not raised.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observes: bool,
    /// Events that were held against it.
    pub examined: u64,
    /// Events that it matched.
    pub matched: u64,
    /// Alerts that it raised, or would have raised.
    pub raised: u64,
    /// Reports that it added to open alerts.
    pub updated: u64,
    /// Alerts that it ended.
    pub cleared: u64,
    /// Events that it suppressed.
    pub suppressed: u64,
    /// Reports that its threshold or rate held back.
    pub held: u64,
    /// Bytes of text that its regular expressions were held against.
    pub scanned_bytes: u64,
    /// Alerts that it would have open, when it only observes: resource, kind and qualifier; at most 10, the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would: Vec<WouldBe>,
}

/// An alert that a rule would have raised if it did not only observe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldBe {
    /// Part of the key.
    pub resource: String,
    /// Part of the key.
    pub kind: String,
    /// Part of the key.
    pub qualifier: String,
    /// How grave it would be.
    pub severity: Severity,
    /// Reports.
    pub count: u64,
    /// The last one, nanoseconds since the Unix epoch.
    pub last_seen: i64,
}

/// An alert about which the two revisions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Part of the key.
    pub resource: String,
    /// Part of the key.
    pub kind: String,
    /// Part of the key.
    pub qualifier: String,
    /// What the revision in force makes of it; `None` for nothing.
    pub effective: Option<Seen>,
    /// What the candidate makes of it.
    pub candidate: Option<Seen>,
}

/// What one revision makes of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether it is open at the end.
    pub state: AlertState,
    /// How grave it is at the end.
    pub severity: Severity,
    /// Reports, of all occurrences.
    pub count: u64,
    /// Times that it was raised.
    pub raised: u64,
    /// The rule that raised it last.
    pub rule: String,
    /// Whether a person would have seen it: neither folded nor suppressed.
    pub shown: bool,
}

/// The counters of a gateway's rules, sent now and then while they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// The revision that the rules are of; 0 for the built-in one. Counters start at 0 with each.
    pub revision: u64,
    /// Since when they count.
    pub since: Timestamp,
    /// Those that changed since the last report; at most 1,000, the costliest.
    pub rules: Vec<RuleFigures>,
}
