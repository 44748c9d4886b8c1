//! Audits and pairs.

use utoipa::ToSchema;

/// What was done to the tenant, newest first.
#[derive(ToSchema)]
pub struct AuditPage {
    /// The entries.
    pub items: Vec<AuditEntry>,
    /// Where the next page begins; none on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// One thing that was done.
#[derive(ToSchema)]
pub struct AuditEntry {
    /// Its number; entries have no gaps.
    pub number: u64,
    /// When it was done.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who did it: a user, `client:ID`, `gateway:ID`, `command line` or `control plane`.
    pub who: String,
    /// The address it came from.
    #[schema(required)]
    pub from: Option<String>,
    /// What was done, for example `sign-in`.
    pub what: String,
    /// To what.
    pub about: String,
    /// More, for a person.
    pub detail: String,
    /// Why it was refused; none when it was done.
    #[schema(required)]
    pub refused: Option<String>,
    /// SHA-256 of the chain up to here, hexadecimal.
    pub digest: String,
}

/// A gateway's own audit log, newest first.
#[derive(ToSchema)]
pub struct GatewayAuditPage {
    /// The entries.
    pub items: Vec<GatewayAuditEntry>,
    /// Where the next page begins; none on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
    /// Where the log does not fit what came before, oldest first.
    pub breaks: Vec<AuditBreak>,
}

/// An entry of a gateway's audit log.
#[derive(ToSchema)]
pub struct GatewayAuditEntry {
    /// Its number in the gateway's log.
    pub number: u64,
    /// How many breaks there were before it.
    pub branch: u64,
    /// What it says, as the gateway wrote it.
    #[schema(value_type = Object)]
    pub entry: serde_json::Value,
    /// Its digest, hexadecimal.
    pub digest: String,
    /// When it came.
    #[schema(format = DateTime)]
    pub received_at: String,
}

/// Where a gateway's audit log does not fit what came before.
#[derive(ToSchema)]
pub struct AuditBreak {
    /// Number of the first entry that does not fit.
    pub number: u64,
    /// How.
    pub kind: AuditBreakKind,
    /// When it came.
    #[schema(format = DateTime)]
    pub at: String,
    /// What it means and what to do.
    pub text: String,
}

/// How an entry does not fit.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum AuditBreakKind {
    /// Its digest is not that of its text after the entry before.
    Altered,
    /// Another entry of that number came before.
    Forked,
    /// Entries before it never came.
    Missing,
}

/// Two gateways to be declared a pair.
#[derive(ToSchema)]
pub struct NewPair {
    /// Their identifiers.
    #[schema(min_items = 2, max_items = 2)]
    pub gateways: Vec<String>,
}

/// The pairs.
#[derive(ToSchema)]
pub struct PairPage {
    /// Oldest first.
    pub items: Vec<Pair>,
    /// Always none: there is one page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Two gateways that get the same reports.
#[derive(ToSchema)]
pub struct Pair {
    /// Identifier.
    pub id: String,
    /// The gateways.
    pub gateways: Vec<String>,
    /// When it was declared.
    #[schema(format = DateTime)]
    pub declared_at: String,
    /// Who declared it.
    pub declared_by: String,
}
