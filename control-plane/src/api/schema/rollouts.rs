//! Roll-outs, tags, and what changed between two revisions.

use utoipa::ToSchema;

/// What changed between two revisions.
#[derive(ToSchema)]
pub struct Difference {
    /// The earlier one; null when there is none.
    #[schema(required)]
    pub from: Option<u64>,
    /// The later one.
    pub to: u64,
    /// Changes, each with a few lines around.
    pub hunks: Vec<Hunk>,
}

/// Lines that belong together.
#[derive(ToSchema)]
pub struct Hunk {
    /// In order.
    pub lines: Vec<DifferenceLine>,
}

/// One line of a change.
#[derive(ToSchema)]
pub struct DifferenceLine {
    /// `added`, `removed` or `both`.
    pub side: String,
    /// Its number in the earlier text.
    #[schema(required)]
    pub old: Option<usize>,
    /// Its number in the later text.
    #[schema(required)]
    pub new: Option<usize>,
    /// The line.
    pub text: String,
}

/// What an import did.
#[derive(ToSchema)]
pub struct Imported {
    /// Number of the desired revision.
    pub number: u64,
    /// Whether the import made it.
    pub changed: bool,
}

/// The tags of a gateway.
#[derive(ToSchema)]
pub struct Tags {
    /// Each 1 to 40 characters of a-z, 0-9, `.`, `_`, `-` and `:`.
    pub tags: Vec<String>,
}

/// A roll-out to be begun.
#[derive(ToSchema)]
pub struct NewRollout {
    /// Which gateways; empty or left out for all.
    #[schema(required = false)]
    pub tag: String,
    /// `{"document": {…}}`: a whole document for each; or `{"rules": {"set": [rules], "remove": [ids]}}`: each rule takes the place
    /// of the one with its id, new ones come first.
    #[schema(value_type = Object)]
    pub change: serde_json::Value,
    /// How far each stage reaches: a number of gateways, a part such as `"10 %"`, or `"all"`. All at once when left out.
    #[schema(value_type = Vec<Object>, required = false)]
    pub stages: serde_json::Value,
    /// What is done about a gateway that is not connected: `wait` for it (default) or `skip` it.
    #[schema(required = false)]
    pub offline: String,
    /// What is done when a gateway refuses the change or takes it back: `stop` (default) or `go_on`.
    #[schema(required = false)]
    pub on_failure: String,
}

/// A roll-out.
#[derive(ToSchema)]
pub struct Rollout {
    /// Its identifier.
    pub id: String,
    /// Which gateways; empty for all.
    pub tag: String,
    /// What changes.
    #[schema(value_type = Object)]
    pub change: serde_json::Value,
    /// How far each stage reaches.
    #[schema(value_type = Vec<Object>)]
    pub stages: serde_json::Value,
    /// `wait` or `skip`.
    pub offline: String,
    /// `stop` or `go_on`.
    pub on_failure: String,
    /// When it was begun.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who began it.
    pub created_by: String,
    /// `running`, `stopped` or `done`.
    pub state: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub state_at: String,
    /// Why it was stopped; empty when it was not.
    pub reason: String,
}

/// A roll-out with its gateways.
#[derive(ToSchema)]
pub struct WholeRollout {
    /// The roll-out.
    #[schema(inline)]
    #[serde(flatten)]
    pub rollout: Rollout,
    /// How far it got with each gateway.
    pub gateways: Vec<RolloutGateway>,
}

/// How far a roll-out got with one gateway.
#[derive(ToSchema)]
pub struct RolloutGateway {
    /// Which.
    pub gateway: String,
    /// Its stage, from 1.
    pub stage: u32,
    /// `waiting`, `sent`, `done`, `failed` or `skipped`.
    pub state: String,
    /// The revision that it got.
    #[schema(required)]
    pub revision: Option<u64>,
    /// Why it failed or was left out.
    pub reason: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub state_at: String,
}

/// Roll-outs.
#[derive(ToSchema)]
pub struct RolloutPage {
    /// Newest first.
    pub items: Vec<Rollout>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}
