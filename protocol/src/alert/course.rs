//! What was decided about an alert besides raise and clear: under which other alert it is folded, whether a maintenance window keeps
//! it quiet, whether it flaps; and the decisions themselves, in words for whoever asks why.
//!
//! Nothing is withheld: a folded or suppressed alert is reported like any other, and says so.

use serde::{Deserialize, Serialize};

use super::AlertKey;
use crate::timestamp::Timestamp;

/// Most decisions that an alert carries; of more, the first and the newest stay.
pub const MAX_DECISIONS: usize = 12;

/// Most bytes of `by` and of `text` of a decision.
pub const MAX_DECISION_TEXT_BYTES: usize = 256;

/// How an alert stands among others, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The alert of the same gateway under which it is folded: the storm that it belongs to, or the fault that explains it.
    pub parent: Option<AlertKey>,
    /// Set while a maintenance window keeps it quiet.
    pub suppressed: Option<Suppression>,
    /// Whether it comes and goes so often that its clears do not count for now.
    pub flapping: bool,
    /// What was decided about this occurrence, oldest first.
    pub decisions: Vec<Decision>,
}

/// Why an alert is quiet, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The maintenance window's id.
    pub by: String,
    /// When the window ends: if the alert is still open then, it is raised then.
    pub until: Timestamp,
}

/// One decision about an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: DecisionKind,
    /// Who or what decided: a rule's id, a window's, a dependency's, or the key of another alert (`resource kind qualifier`).
    pub by: String,
    /// The figures behind it, for a person; made of numbers, times and identifiers only.
    pub text: String,
}

/// What can be decided about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// A rule's event opened it.
    Raised,
    /// A threshold was reached: earlier reports were held back until then.
    ThresholdReached,
    /// A number changed faster or slower than the rule allows.
    RateReached,
    /// A source was silent for longer than its rhythm or its heartbeat allows.
    Silent,
    /// Its severity changed.
    SeverityChanged,
    /// It began to flap: clears do not count until it is quiet.
    FlapStarted,
    /// It flaps no more.
    FlapEnded,
    /// A maintenance window keeps it quiet.
    Suppressed,
    /// The window is over, and it still lasts.
    Unsuppressed,
    /// It was folded under another alert.
    Folded,
    /// It stands for itself again.
    Unfolded,
    /// A rule's event ended it.
    Cleared,
    /// Nothing was heard of it for the time that its rule sets.
    TimedOut,
    /// A person closed it.
    Closed,
    /// A clear came that is older than the last report, and was passed over.
    LateClear,
    /// A report came that is older than the end of the occurrence before, and was passed over.
    LateReport,
}

impl DecisionKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Raised,
        Self::ThresholdReached,
        Self::RateReached,
        Self::Silent,
        Self::SeverityChanged,
        Self::FlapStarted,
        Self::FlapEnded,
        Self::Suppressed,
        Self::Unsuppressed,
        Self::Folded,
        Self::Unfolded,
        Self::Cleared,
        Self::TimedOut,
        Self::Closed,
        Self::LateClear,
        Self::LateReport,
    ];

    /// Returns the number that stands for it in records.
    pub const fn number(self) -> u8 {
        match self {
            Self::Raised => 1,
            Self::ThresholdReached => 2,
            Self::RateReached => 3,
            Self::Silent => 4,
            Self::SeverityChanged => 5,
            Self::FlapStarted => 6,
            Self::FlapEnded => 7,
            Self::Suppressed => 8,
            Self::Unsuppressed => 9,
            Self::Folded => 10,
            Self::Unfolded => 11,
            Self::Cleared => 12,
            Self::TimedOut => 13,
            Self::Closed => 14,
            Self::LateClear => 15,
            Self::LateReport => 16,
        }
    }

    /// Returns the kind that `number` stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl Course {
    /// Returns whether nothing was decided.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a decision; of too many, the second oldest goes, so that the reason for the alert stays.
    pub fn note(&mut self, decision: Decision) {
        if self.decisions.len() >= MAX_DECISIONS {
            self.decisions.remove(1);
        }
        self.decisions.push(decision);
    }
}

/// As records have it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireCourse {
    #[prost(message, optional, tag = "1")]
    parent: Option<WireKey>,
    #[prost(message, optional, tag = "2")]
    suppressed: Option<WireSuppression>,
    #[prost(bool, tag = "3")]
    flapping: bool,
    #[prost(message, repeated, tag = "4")]
    decisions: Vec<WireDecision>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireKey {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    qualifier: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSuppression {
    #[prost(string, tag = "1")]
    by: String,
    #[prost(sfixed64, tag = "2")]
    until: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDecision {
    #[prost(sfixed64, tag = "1")]
    at: i64,
    #[prost(uint32, tag = "2")]
    what: u32,
    #[prost(string, tag = "3")]
    by: String,
    #[prost(string, tag = "4")]
    text: String,
}

impl WireCourse {
    /// Returns what a record carries of `course`; nothing when nothing was decided.
    pub(super) fn of(course: &Course) -> Option<Self> {
        if course.is_plain() {
            return None;
        }
        let key = |key: &AlertKey| WireKey { resource: key.resource.clone(), kind: key.kind.clone(), qualifier: key.qualifier.clone() };
        let decision = |decision: &Decision| WireDecision {
            at: decision.at.as_nanos(),
            what: u32::from(decision.what.number()),
            by: decision.by.clone(),
            text: decision.text.clone(),
        };
        Some(Self {
            parent: course.parent.as_ref().map(key),
            suppressed: course.suppressed.as_ref().map(|by| WireSuppression { by: by.by.clone(), until: by.until.as_nanos() }),
            flapping: course.flapping,
            decisions: course.decisions.iter().map(decision).collect(),
        })
    }

    /// Returns what it stands for; a kind of decision from a later version is left out. `None` for a parent without a name.
    pub(super) fn course(self) -> Option<Course> {
        let parent = self.parent.map(|WireKey { resource, kind, qualifier }| AlertKey { resource, kind, qualifier });
        if parent.as_ref().is_some_and(|parent| parent.resource.is_empty() || parent.kind.is_empty()) {
            return None;
        }
        let decision = |decision: WireDecision| {
            let what = u8::try_from(decision.what).ok().and_then(DecisionKind::from_number)?;
            Some(Decision { at: Timestamp::from_nanos(decision.at), what, by: decision.by, text: decision.text })
        };
        Some(Course {
            parent,
            suppressed: self.suppressed.map(|by| Suppression { by: by.by, until: Timestamp::from_nanos(by.until) }),
            flapping: self.flapping,
            decisions: self.decisions.into_iter().filter_map(decision).take(MAX_DECISIONS).collect(),
        })
    }
}
