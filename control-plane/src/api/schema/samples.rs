//! Measurements, and how fast they may come.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// One page of measurements.
#[derive(ToSchema)]
pub struct SamplePage {
    /// Newest first.
    pub items: Vec<Sample>,
    /// Where the next page begins; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A measurement.
#[derive(ToSchema)]
pub struct Sample {
    /// The gateway that sent it.
    pub gateway: String,
    /// The thing that was measured.
    pub resource: String,
    /// What was measured.
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Its unit; empty for a bare number.
    pub unit: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Further facts by name.
    pub labels: BTreeMap<String, String>,
}

/// How fast a gateway may send what is not an alert.
#[derive(ToSchema)]
pub struct Pace {
    /// Bytes a second, at least 1024; 0 for no limit. Alerts are never slowed down.
    #[schema(minimum = 0)]
    pub bytes_per_second: u64,
}
