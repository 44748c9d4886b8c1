//! Gateways and the revisions of their configuration.

use utoipa::ToSchema;

/// A gateway.
#[derive(ToSchema)]
pub struct Gateway {
    /// Its identifier.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// When it was enrolled.
    #[schema(format = DateTime)]
    pub enrolled_at: String,
    /// When it was revoked.
    #[schema(format = DateTime, required)]
    pub revoked_at: Option<String>,
    /// Whether it has a session now.
    pub connected: bool,
    /// When it was last heard.
    #[schema(format = DateTime, required)]
    pub last_seen: Option<String>,
    /// Its program version.
    #[schema(required)]
    pub program_version: Option<String>,
    /// What it last said of itself: the document of `postern-gateway status --json` with tunnel, spool, ledger and listeners.
    #[schema(value_type = Option<Object>, required)]
    pub status: Option<serde_json::Value>,
    /// When it said so.
    #[schema(format = DateTime, required)]
    pub status_at: Option<String>,
    /// Its configuration.
    pub revision: GatewayRevisions,
}

/// How a gateway's configuration stands.
#[derive(ToSchema)]
pub struct GatewayRevisions {
    /// The newest revision: the one that it should run.
    #[schema(required)]
    pub desired: Option<u64>,
    /// The one that it runs; null for the built-in one.
    #[schema(required)]
    pub effective: Option<u64>,
    /// The newest one, when it was refused.
    #[schema(required)]
    pub failed: Option<FailedRevision>,
    /// The newest one, when it was in force on trial and was taken back.
    #[schema(required)]
    pub reverted: Option<FailedRevision>,
    /// The one on trial: in force, and taken back unless it is confirmed.
    #[schema(required)]
    pub provisional: Option<u64>,
    /// Why the gateway does not run what it should: `refused`, `reverted`, `unknown` (nobody here made it) or `waiting`.
    #[schema(required)]
    pub drift: Option<String>,
}

/// A revision that a gateway refused or took back.
#[derive(ToSchema)]
pub struct FailedRevision {
    /// Its number.
    pub number: u64,
    /// What is wrong and where.
    pub problems: Vec<DocumentProblem>,
}

/// One fault of a configuration document.
#[derive(ToSchema)]
pub struct DocumentProblem {
    /// Place in the document, for example `rules[3].match.trap.oid`.
    pub path: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column in bytes, from 1; 0 when unknown.
    pub column: u32,
    /// What is wrong and what to do.
    pub reason: String,
}

/// One page of gateways.
#[derive(ToSchema)]
pub struct GatewayPage {
    /// The gateways.
    pub items: Vec<Gateway>,
    /// Where the next page begins; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A revision of a gateway's configuration, without its document.
#[derive(ToSchema)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// How far it got.
    pub state: RevisionState,
    /// When that was.
    #[schema(format = DateTime)]
    pub state_at: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who made it.
    pub created_by: String,
    /// Where it comes from: a roll-out, an earlier revision, a file; empty when somebody wrote it.
    pub remark: String,
    /// What the gateway found wrong, or why it took it back.
    pub problems: Vec<DocumentProblem>,
}

/// How far a revision got.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RevisionState {
    /// The gateway has not taken it in.
    Desired,
    /// Taken in, not yet in force.
    Applying,
    /// In force on trial: taken back unless it is confirmed.
    Provisional,
    /// In force, or was until a newer one.
    Applied,
    /// Refused by the gateway.
    Failed,
    /// Was in force on trial and was taken back.
    Reverted,
}

/// Revisions of a gateway's configuration.
#[derive(ToSchema)]
pub struct RevisionPage {
    /// Newest first.
    pub items: Vec<Revision>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A configuration that was stored.
#[derive(ToSchema)]
pub struct StoredRevision {
    /// Its number.
    pub number: u64,
    /// `desired`: it is on its way.
    pub state: RevisionState,
    /// What is hardly meant in the document; none of it stands in the way.
    pub warnings: Vec<DocumentProblem>,
}

/// One page of a gateway's history.
#[derive(ToSchema)]
pub struct GatewayHistoryPage {
    /// Newest first.
    pub items: Vec<GatewayHistoryEntry>,
    /// Where the next page begins; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Something that happened to a gateway.
#[derive(ToSchema)]
pub struct GatewayHistoryEntry {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub what: GatewayHappening,
    /// In words.
    pub text: String,
}

/// What can happen to a gateway.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum GatewayHappening {
    /// Alerts were cleared because the gateway does not have them open any more.
    AlertsHealed,
    /// Its audit log does not fit what was stored.
    AuditBroken,
    /// Its identity is in use twice.
    Cloned,
    /// A revision came into force, was refused or was taken back.
    Configuration,
    /// The control plane's database was restored from an older state.
    DatabaseRestored,
    /// Its disk was set back to an older state.
    DiskSetBack,
    /// Its doctor found something else than before.
    Doctor,
    /// How fast it may send was changed.
    Pace,
    /// Records of a lane never came.
    RecordsMissing,
    /// Its certificate was renewed.
    Renewed,
    /// It was revoked.
    Revoked,
    /// It runs another version of the program.
    Version,
}
