//! Alerts about the gateway itself: no event is behind them, so no rule made them.
//!
//! The gateway reports them through its pipeline, so that they are counted, spooled and cleared like any other.

use std::collections::BTreeMap;

use postern_protocol::alert::{AlertKey, Evidence, Severity};
use postern_protocol::id::RuleId;

use crate::rule::{NoiseFacts, Report};

/// Resource of every alert about the gateway itself.
pub const OWN_RESOURCE: &str = "gateway";

/// One report about the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnReport {
    /// What is wrong, for example `kernel-drops`.
    pub kind: String,
    /// Tells apart alerts of one kind, for example a listener's name; empty for none.
    pub qualifier: String,
    /// How grave it is.
    pub severity: Severity,
    /// What a person reads first: what happened and what to do.
    pub summary: String,
    /// Facts by name.
    pub labels: BTreeMap<String, String>,
}

/// Returns the key of an alert about the gateway itself.
pub(super) fn key(kind: &str, qualifier: &str) -> AlertKey {
    AlertKey { resource: OWN_RESOURCE.to_owned(), kind: kind.to_owned(), qualifier: qualifier.to_owned() }
}

/// Returns the evidence of an alert about the gateway itself.
pub(crate) fn evidence() -> Evidence {
    Evidence { chosen_by: OWN_RESOURCE.to_owned(), ..Evidence::default() }
}

impl OwnReport {
    /// Makes the report that the table takes.
    pub(super) fn report(self) -> Report {
        let Self { kind, qualifier, severity, summary, labels } = self;
        Report {
            key: key(&kind, &qualifier),
            severity,
            summary,
            labels,
            rule: RuleId::own(),
            rule_version: 0,
            clear_after_s: None,
            evidence: evidence(),
            noise: NoiseFacts::default(),
        }
    }
}
