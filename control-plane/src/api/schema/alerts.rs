//! Alerts, their history, and what is written about them.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// An alert.
#[derive(ToSchema)]
pub struct Alert {
    /// Stable for gateway, resource, kind and qualifier.
    pub id: String,
    /// The gateway that reported it; of a pair, the one whose report counts.
    pub gateway: String,
    /// The pair whose gateways' reports are merged here.
    #[schema(required)]
    pub pair: Option<String>,
    /// What each gateway of the pair says; empty without a pair.
    pub reports: Vec<Report>,
    /// Whether it lasts.
    pub state: AlertState,
    /// How grave it is (RFC 8632).
    pub severity: Severity,
    /// What is affected.
    pub resource: String,
    /// What is wrong with it.
    pub kind: String,
    /// Tells apart alerts of one kind on one resource; often empty.
    pub qualifier: String,
    /// What a person reads first.
    pub summary: String,
    /// Reports in this occurrence.
    pub count: u64,
    /// When this occurrence was first reported.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When it was last reported.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// When its end was reported.
    #[schema(format = DateTime, required)]
    pub cleared_at: Option<String>,
    /// Released facts by name.
    pub labels: BTreeMap<String, String>,
    /// When a person closed it.
    #[schema(format = DateTime, required)]
    pub closed_at: Option<String>,
    /// The alert that folds it: the storm that it belongs to, or the fault that explains it. An open alert has none that is not open;
    /// when that one ends, this one stands for itself, without a change of its own.
    #[schema(required)]
    pub parent: Option<String>,
    /// Alerts that this one folds; see `/api/v1/alerts/{id}/children`.
    pub children: u64,
    /// Grows with every change; also the ETag and the event id.
    pub revision: i64,
    /// Who reported it last, and how that was decided.
    pub evidence: Evidence,
    /// The rule that raised it.
    pub rule: String,
    /// That rule's version.
    pub rule_version: u32,
    /// Who took note of it.
    #[schema(required)]
    pub acknowledged: Option<Acknowledged>,
    /// Who works on it.
    #[schema(required)]
    pub assignee: Option<String>,
    /// What people wrote about it, oldest first.
    pub notes: Vec<Note>,
    /// What keeps it quiet.
    #[schema(required)]
    pub suppressed: Option<Suppressed>,
    /// Whether it comes and goes so often that its clears do not count for now.
    pub flapping: bool,
    /// What its gateway decided about this occurrence, oldest first; at most 12, the first and the newest.
    pub decisions: Vec<Decision>,
}

/// What one gateway of a pair says of an alert.
#[derive(ToSchema)]
pub struct Report {
    /// The gateway.
    pub gateway: String,
    /// Whether it lasts there.
    pub state: AlertState,
    /// How grave it is there.
    pub severity: Severity,
    /// Its reports in this occurrence.
    pub count: u64,
    /// When this occurrence was first reported there.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When it was last reported there.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// When its end was reported there.
    #[schema(format = DateTime, required)]
    pub cleared_at: Option<String>,
    /// Who reported it last there, and how that was decided.
    pub evidence: Evidence,
}

/// Whether an alert's condition lasts.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum AlertState {
    /// It lasts.
    Open,
    /// Its end was reported.
    Cleared,
    /// A person closed it.
    Closed,
}

/// How grave an alert is (RFC 8632).
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Severity {
    /// Service is lost.
    Critical,
    /// Service is affected.
    Major,
    /// Service is not affected.
    Minor,
    /// A potential fault.
    Warning,
    /// Unknown.
    Indeterminate,
}

/// Who reported an alert last. Empty texts stand for what was not there or not released.
#[derive(ToSchema)]
pub struct Evidence {
    /// Address of the sender as the socket saw it.
    pub peer: String,
    /// Address inside the trap.
    pub trap_address: String,
    /// Authoritative engine ID in hexadecimal.
    pub engine_id: String,
    /// Host name of the syslog header.
    pub hostname: String,
    /// Subject of the TLS client certificate.
    pub tls_name: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// How far the sender proved who it is.
    pub authenticity: Authenticity,
    /// Which of these named the source: `hostname`, `peer`, `push`, `tls_name` or `trap_address`; `gateway` or `control-plane` when they
    /// noticed it themselves.
    pub chosen_by: String,
    /// Whether two of them disagree.
    pub conflict: bool,
    /// Address of a relay that the site trusts to name the sender.
    pub relay: String,
}

/// How far a sender proved who it is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Authenticity {
    /// Not at all.
    None,
    /// A community string.
    Community,
    /// SNMPv3 with authentication, or a signed push.
    UsmAuth,
    /// SNMPv3 with authentication and privacy.
    UsmPriv,
    /// TLS.
    Tls,
}

/// Who took note of an alert.
#[derive(ToSchema)]
pub struct Acknowledged {
    /// A user, or `client:ID`.
    pub by: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
}

/// What a person wrote about an alert.
#[derive(ToSchema)]
pub struct Note {
    /// A user, or `client:ID`.
    pub by: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub text: String,
}

/// What keeps an alert quiet.
#[derive(ToSchema)]
pub struct Suppressed {
    /// A maintenance window.
    pub by: String,
    /// Until when: if it is still open then, it is raised.
    #[schema(format = DateTime)]
    pub until: String,
}

/// What a gateway decided about an alert.
#[derive(ToSchema)]
pub struct Decision {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub what: DecisionKind,
    /// A rule, a window, a dependency, or the key of another alert.
    pub by: String,
    /// The figures behind it.
    pub text: String,
}

/// What can be decided about an alert.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
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
    /// It began to flap.
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

/// One page of alerts.
#[derive(ToSchema)]
pub struct AlertPage {
    /// The alerts.
    pub items: Vec<Alert>,
    /// Where the next page begins; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// What happened to an alert.
#[derive(ToSchema)]
pub struct History {
    /// Oldest first.
    pub items: Vec<HistoryEntry>,
    /// Earlier occurrences, newest first.
    pub occurrences: Vec<Occurrence>,
}

/// One thing that happened to an alert.
#[derive(ToSchema)]
pub struct HistoryEntry {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// A user, `client:ID`, or `gateway:ID`.
    pub actor: String,
    /// `raised`, `severity`, `cleared`, `acknowledged`, `unacknowledged`, `closed`, `note`, `paired`, `unpaired`, or what a gateway
    /// decided: `threshold_reached`, `rate_reached`, `silent`, `flap_started`, `flap_ended`, `suppressed`, `unsuppressed`, `folded`,
    /// `unfolded`, `late_clear`, `late_report`.
    pub what: String,
    /// The note, old and new value, or the figures behind a decision.
    pub text: String,
}

/// An earlier occurrence of an alert, as it was when the next one began.
#[derive(ToSchema)]
pub struct Occurrence {
    /// Whether it had ended, and how.
    pub state: AlertState,
    /// How grave it was last.
    pub severity: Severity,
    /// Its text.
    pub summary: String,
    /// Its reports.
    pub count: u64,
    /// When it was first reported.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When it was last reported.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// When its end was reported.
    #[schema(format = DateTime, required)]
    pub cleared_at: Option<String>,
    /// When a person closed it.
    #[schema(format = DateTime, required)]
    pub closed_at: Option<String>,
    /// Who took note of it.
    #[schema(required)]
    pub acknowledged: Option<Acknowledged>,
}

/// A note to be added.
#[derive(ToSchema)]
pub struct NewNote {
    /// Its text.
    #[schema(min_length = 1, max_length = 4096)]
    pub text: String,
}
