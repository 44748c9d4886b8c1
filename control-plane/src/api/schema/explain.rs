//! Why an alert is as it is.

use utoipa::ToSchema;

/// Why an alert is as it is.
#[derive(ToSchema)]
pub struct Explanation {
    /// The alert.
    pub alert: String,
    /// How it stands, in one or two sentences.
    pub summary: String,
    /// What led there, oldest first: of this occurrence only.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(ToSchema)]
pub struct Step {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub what: StepKind,
    /// Who or what took it: a rule, a maintenance window, a dependency, the key of another alert, a person, `gateway:ID`.
    pub by: String,
    /// The figures behind it, for a person.
    pub text: String,
    /// The rule that took it.
    #[schema(required)]
    pub rule: Option<RuleText>,
    /// The other alert that it is about.
    #[schema(required)]
    pub alert: Option<String>,
}

/// What a step is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum StepKind {
    /// A person took note.
    Acknowledged,
    /// A rule's event ended it.
    Cleared,
    /// A person closed it.
    Closed,
    /// It flaps no more.
    FlapEnded,
    /// It began to flap.
    FlapStarted,
    /// It was folded under another alert.
    Folded,
    /// A clear came that is older than the last report.
    LateClear,
    /// A report came that is older than the end of the occurrence before.
    LateReport,
    /// Somebody wrote something down.
    Noted,
    /// It was merged with the same alert of the other gateway of a pair.
    Paired,
    /// A rule matched an event, and the alert was raised.
    Raised,
    /// A number changed faster or slower than the rule allows.
    RateReached,
    /// It was reported again.
    Reported,
    /// Its severity changed.
    SeverityChanged,
    /// A source was silent for too long.
    Silent,
    /// A maintenance window keeps it quiet.
    Suppressed,
    /// Enough reports came in time.
    ThresholdReached,
    /// Nothing was heard of it for the time that its rule sets.
    TimedOut,
    /// A person took the acknowledgement back.
    Unacknowledged,
    /// It stands for itself again.
    Unfolded,
    /// Its pair was dissolved.
    Unpaired,
    /// The window is over, and it still lasts.
    Unsuppressed,
}

/// A rule, for people.
#[derive(ToSchema)]
pub struct RuleText {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// What it is for, in its author's words.
    pub description: String,
    /// Which events it is for, in words.
    pub matches: String,
    /// Where it is written.
    pub source: RuleOrigin,
    /// Name and version of its pack.
    #[schema(required)]
    pub pack: Option<String>,
    /// The revision that has it; 0 is the built-in one, null when no revision does.
    #[schema(required)]
    pub revision: Option<u64>,
}

/// Where a rule is written.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RuleOrigin {
    /// The control plane itself watches for it.
    ControlPlane,
    /// The gateway's document.
    Document,
    /// The gateway's program watches itself or its sources.
    Gateway,
    /// A rule pack.
    Pack,
    /// No revision here has it.
    Unknown,
}
