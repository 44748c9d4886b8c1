//! Query parameters and headers.

use utoipa::IntoParams;

/// Which alerts to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListAlerts {
    /// Any of these states, with commas between them; all when left out.
    #[param(example = "open")]
    pub state: Option<String>,
    /// Any of these severities, with commas between them.
    #[param(example = "critical,major")]
    pub severity: Option<String>,
    /// Of this gateway.
    pub gateway: Option<String>,
    /// With exactly this resource.
    pub resource: Option<String>,
    /// Of exactly this kind.
    pub kind: Option<String>,
    /// With this text in resource, kind, qualifier, summary or labels; ASCII letters match in either case.
    pub q: Option<String>,
    /// Acknowledged, or not.
    pub acknowledged: Option<bool>,
    /// First seen after this time.
    #[param(format = DateTime)]
    pub first_seen_after: Option<String>,
    /// First seen before this time.
    #[param(format = DateTime)]
    pub first_seen_before: Option<String>,
    /// Folded under the alert of this identifier; `none` for those that stand for themselves.
    #[param(example = "none")]
    pub parent: Option<String>,
    /// Kept quiet by a maintenance window, or not.
    pub suppressed: Option<bool>,
    /// Flapping, or not.
    pub flapping: Option<bool>,
    /// Most alerts on the page; 100 when left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Most items on the page; 100 when left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Where a stream resumes.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct LastEventId {
    /// Id of the last event that was seen.
    #[param(rename = "Last-Event-ID")]
    pub last_event_id: Option<String>,
}

/// What the client has already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfNoneMatch {
    /// ETag of what the client has already.
    #[param(rename = "If-None-Match")]
    pub if_none_match: Option<String>,
}

/// What the client expects to change.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatch {
    /// ETag of what the client means to change.
    #[param(rename = "If-Match")]
    pub if_match: Option<String>,
}

/// How the client may ask again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// Chosen by the client: the same key with the same request gets the same answer for a day and does nothing twice.
    #[param(rename = "Idempotency-Key")]
    pub idempotency_key: Option<String>,
}

/// Which minutes of a ledger.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LedgerSpan {
    /// The first minute; an hour before `to` when left out.
    #[param(format = DateTime)]
    pub from: Option<String>,
    /// The first minute that is not wanted; the next one when left out. At most a day after `from`.
    #[param(format = DateTime)]
    pub to: Option<String>,
}

/// Which measurements to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListSamples {
    /// Of this gateway.
    pub gateway: Option<String>,
    /// Of exactly this resource.
    pub resource: Option<String>,
    /// Of exactly this metric.
    #[param(example = "cpu.load")]
    pub metric: Option<String>,
    /// Measured at this time or later.
    #[param(format = DateTime)]
    pub from: Option<String>,
    /// Measured before this time.
    #[param(format = DateTime)]
    pub to: Option<String>,
    /// Most measurements on the page; 100 when left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
