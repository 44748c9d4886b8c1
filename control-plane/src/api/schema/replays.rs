//! Replays and rules' counters.

use utoipa::ToSchema;

use super::alerts::{AlertState, Severity};
use super::gateways::DocumentProblem;

/// A document to be tried.
#[derive(ToSchema)]
pub struct NewReplay {
    /// See `/api/v1/schemas/revision.json`.
    pub document: std::collections::BTreeMap<String, String>,
    /// How far back; 60 when left out.
    #[schema(minimum = 1, maximum = 1440)]
    pub minutes: Option<u32>,
}

/// A replay and its answer.
#[derive(ToSchema)]
pub struct Replay {
    /// Its number.
    pub id: u64,
    /// Whether there is an answer.
    pub state: ReplayStanding,
    /// From when on.
    #[schema(format = DateTime)]
    pub since: String,
    /// When it was asked.
    #[schema(format = DateTime)]
    pub asked_at: String,
    /// Who asked.
    pub asked_by: String,
    /// When the answer came.
    #[schema(format = DateTime, required)]
    pub answered_at: Option<String>,
    /// The answer.
    #[schema(required)]
    pub result: Option<Replayed>,
}

/// Whether a replay has its answer.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ReplayStanding {
    /// It has.
    Answered,
    /// No answer came in time.
    Unanswered,
    /// The gateway is at it.
    Waiting,
}

/// What a gateway answered.
#[derive(ToSchema)]
pub struct Replayed {
    /// How it went.
    pub state: ReplayState,
    /// Why not, for a person.
    pub reason: Option<String>,
    /// Faults of the candidate.
    pub problems: Option<Vec<DocumentProblem>>,
    /// When the first event came that was replayed, nanoseconds since the Unix epoch.
    pub from: i64,
    /// When the last one came.
    pub until: i64,
    /// Events that were replayed.
    pub events: u64,
    /// Events within the time that could not be decoded again.
    pub undecodable: u64,
    /// What the revision in force makes of them.
    pub effective: Figures,
    /// What the candidate makes of them.
    pub candidate: Figures,
    /// Alerts that differ, at most 500.
    pub differences: Vec<AlertDifference>,
    /// Differences that are not listed.
    pub further: u64,
}

/// How a replay went.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ReplayState {
    /// It went through.
    Done,
    /// The candidate is no good document, or the site's veto is against it.
    Refused,
    /// The gateway keeps no events, or could not read them.
    Unavailable,
}

/// What one revision makes of the events.
#[derive(ToSchema)]
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
#[derive(ToSchema)]
pub struct RuleFigures {
    /// The rule.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Whether it only observes.
    pub observes: Option<bool>,
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
    /// Alerts that it would have open, when it only observes: at most 10, the newest.
    pub would: Option<Vec<WouldBe>>,
}

/// An alert that a rule would have raised if it did not only observe.
#[derive(ToSchema)]
pub struct WouldBe {
    /// What is affected.
    pub resource: String,
    /// What is wrong with it.
    pub kind: String,
    /// Tells apart alerts of one kind on one resource.
    pub qualifier: String,
    /// How grave it would be.
    pub severity: Severity,
    /// Reports.
    pub count: u64,
    /// The last one, nanoseconds since the Unix epoch.
    pub last_seen: i64,
}

/// An alert about which the two revisions differ.
#[derive(ToSchema)]
pub struct AlertDifference {
    /// What is affected.
    pub resource: String,
    /// What is wrong with it.
    pub kind: String,
    /// Tells apart alerts of one kind on one resource.
    pub qualifier: String,
    /// What the revision in force makes of it; null for nothing.
    #[schema(required)]
    pub effective: Option<Seen>,
    /// What the candidate makes of it.
    #[schema(required)]
    pub candidate: Option<Seen>,
}

/// What one revision makes of an alert.
#[derive(ToSchema)]
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
    /// Whether a person would have seen it.
    pub shown: bool,
}

/// What a gateway's rules do.
#[derive(ToSchema)]
pub struct Rules {
    /// Their counters, as the gateway last reported them; null before its first report.
    #[schema(required)]
    pub counters: Option<RuleCounters>,
    /// What is hardly meant in the document that it runs.
    pub warnings: Vec<DocumentProblem>,
}

/// The counters of a gateway's rules.
#[derive(ToSchema)]
pub struct RuleCounters {
    /// The revision that the rules are of; 0 for the built-in one.
    pub revision: u64,
    /// Since when they count.
    #[schema(format = DateTime)]
    pub since: String,
    /// When the gateway said so last.
    #[schema(format = DateTime)]
    pub at: String,
    /// By rule.
    pub rules: Vec<RuleFigures>,
}
