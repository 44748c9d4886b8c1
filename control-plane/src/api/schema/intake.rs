//! The ledger's minutes and the waiting room.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// The ledger of some minutes.
#[derive(ToSchema)]
pub struct LedgerAnswer {
    /// The first minute.
    #[schema(format = DateTime)]
    pub from: String,
    /// The first minute that is not in it.
    #[schema(format = DateTime)]
    pub to: String,
    /// By ascending minute and protocol.
    pub items: Vec<LedgerLine>,
    /// Minutes of which nothing is known although the gateway was up.
    pub missing: Vec<MissingMinutes>,
    /// Over all of them.
    pub totals: LedgerSums,
    /// The busiest sources, as far as the gateway named them; kept for 7 days.
    pub sources: Vec<LedgerSource>,
}

/// One minute of one protocol.
#[derive(ToSchema)]
pub struct LedgerLine {
    /// When it began.
    #[schema(format = DateTime)]
    pub minute: String,
    /// `snmp_trap`, `syslog` or `push`.
    pub protocol: String,
    /// Everything that reached the sockets.
    pub received: u64,
    /// Handled by the engine.
    pub accepted: u64,
    /// What was in flight at its end.
    pub in_flight: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// By how much more was in flight at its end than at its beginning.
    pub in_flight_change: i64,
    /// What nobody can account for; 0 when it balances.
    pub gap: i64,
}

/// Sums of several minutes.
#[derive(ToSchema)]
pub struct LedgerSums {
    /// Everything that reached the sockets.
    pub received: u64,
    /// Handled by the engine.
    pub accepted: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// By how much more is in flight at the end than at the beginning.
    pub in_flight_change: i64,
    /// What nobody can account for; 0 when it balances.
    pub gap: i64,
}

/// Minutes of which nothing is known.
#[derive(ToSchema)]
pub struct MissingMinutes {
    /// The first one.
    #[schema(format = DateTime)]
    pub from: String,
    /// The first one that is known again.
    #[schema(format = DateTime)]
    pub to: String,
}

/// One source in the span.
#[derive(ToSchema)]
pub struct LedgerSource {
    /// Address of the peer.
    pub source: String,
    /// Its protocol.
    pub protocol: String,
    /// Received from it.
    pub received: u64,
    /// Handled by the engine.
    pub accepted: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// SNMPv3 notifications that were refused.
#[derive(ToSchema)]
pub struct WaitingRoom {
    /// Most recent first.
    pub items: Vec<Waiting>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Notifications that were refused for one reason, from one source, engine and user.
#[derive(ToSchema)]
pub struct Waiting {
    /// `unknown_engine`, `unknown_user`, `wrong_digest`, `decryption_failed`, `level_too_low` or `not_in_time_window`.
    pub reason: String,
    /// Address of the sender, or `others`.
    pub source: String,
    /// msgAuthoritativeEngineID in hexadecimal.
    pub engine_id: String,
    /// msgUserName.
    pub user: String,
    /// The level that they were sent at: `no_auth_no_priv`, `auth_no_priv` or `auth_priv`.
    pub level: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// The last of them.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// What is known besides, and what to do.
    pub advice: String,
}

/// What lets somebody in.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub struct Binding {
    /// `bind_user` with `user`, or `reset_engine` with `engine`.
    pub action: BindingAction,
    /// The user, as in `snmp.users` of a document (see /api/v1/schemas/revision.json). An entry of the same name and keys gets its
    /// engines and sources; without `auth` the one entry of that name does.
    #[schema(value_type = Option<Object>)]
    pub user: Option<serde_json::Value>,
    /// Weak algorithms that are allowed from now on: `md5`, `des`, `3des`.
    pub allow_weak: Option<Vec<String>>,
    /// The engine that may start again from lower boots, in hexadecimal.
    pub engine: Option<String>,
}

/// What to do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum BindingAction {
    /// Add or extend a user.
    BindUser,
    /// Let an engine start over.
    ResetEngine,
}
