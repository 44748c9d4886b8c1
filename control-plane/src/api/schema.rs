//! The shapes of the API's requests and answers, as `openapi.json` describes them. Never built: tests hold them against what the
//! handlers write. Kept apart so that the stores know nothing of OpenAPI.

use std::collections::BTreeMap;

use utoipa::{IntoParams, IntoResponses, ToSchema};

/// An alert.
#[derive(ToSchema)]
pub struct Alert {
    /// Stable for gateway, resource, kind and qualifier.
    pub id: String,
    /// The gateway that reported it.
    pub gateway: String,
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
    /// The alert that it follows from.
    #[schema(required)]
    pub parent: Option<String>,
    /// Grows with every change; also the ETag and the event id.
    pub revision: i64,
    /// Who reported it last, and how that was decided.
    pub evidence: Evidence,
    /// The rule that raised it.
    pub rule: String,
    /// Who took note of it.
    #[schema(required)]
    pub acknowledged: Option<Acknowledged>,
    /// Who works on it.
    #[schema(required)]
    pub assignee: Option<String>,
    /// What people wrote about it, oldest first.
    pub notes: Vec<Note>,
    /// Who silenced it.
    #[schema(required)]
    pub suppressed: Option<Suppressed>,
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
    /// Which of these named the source.
    pub chosen_by: String,
    /// Whether two of them disagree.
    pub conflict: bool,
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

/// Who silenced an alert.
#[derive(ToSchema)]
pub struct Suppressed {
    /// A user, or `client:ID`.
    pub by: String,
    /// Until when.
    #[schema(format = DateTime)]
    pub until: String,
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
    /// `raised`, `severity`, `cleared`, `acknowledged`, `unacknowledged`, `closed` or `note`.
    pub what: String,
    /// The note, or old and new value.
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
}

/// A revision that a gateway refused.
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
    /// What the gateway found wrong.
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
    /// In force, or was until a newer one.
    Applied,
    /// Refused by the gateway.
    Failed,
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
}

/// An enrolment token to be made.
#[derive(ToSchema)]
pub struct NewEnrolmentToken {
    /// The name that the gateway will have.
    #[schema(min_length = 1, max_length = 128)]
    pub gateway_name: String,
    /// How long the token is good, in seconds; a day when left out.
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub expires_in: Option<u64>,
}

/// An enrolment token that was made.
#[derive(ToSchema)]
pub struct CreatedEnrolmentToken {
    /// Its short name.
    pub id: String,
    /// Its text, which is shown only now.
    pub token: String,
    /// The name that the gateway will have.
    pub gateway_name: String,
    /// When it ends.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// An enrolment token, as lists show it.
#[derive(ToSchema)]
pub struct EnrolmentToken {
    /// Its short name.
    pub id: String,
    /// The name that the gateway will have.
    pub gateway_name: String,
    /// Whether it can still be used.
    pub state: EnrolmentTokenState,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it ends.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// When it was used.
    #[schema(format = DateTime, required)]
    pub used_at: Option<String>,
    /// The gateway that it made.
    #[schema(required)]
    pub used_by: Option<String>,
}

/// Whether an enrolment token can still be used.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum EnrolmentTokenState {
    /// Its time is over.
    Expired,
    /// An admin revoked it.
    Revoked,
    /// It can be used.
    Usable,
    /// It made a gateway.
    Used,
}

/// Enrolment tokens.
#[derive(ToSchema)]
pub struct EnrolmentTokenPage {
    /// Newest first.
    pub items: Vec<EnrolmentToken>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Problem details (RFC 9457).
#[derive(ToSchema)]
pub struct Problem {
    /// `about:blank` unless the kind of problem has a name of its own.
    #[schema(rename = "type")]
    pub kind: String,
    /// The kind of problem for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
    /// The parameter, header or field that is wrong.
    pub parameter: Option<String>,
    /// The faults of a configuration document.
    pub problems: Option<Vec<DocumentProblem>>,
    /// Under which id the log has an internal error.
    pub id: Option<String>,
}

/// Request of an access token.
#[derive(ToSchema)]
pub struct TokenRequest {
    /// `client_credentials`.
    pub grant_type: String,
    /// The client identifier, unless HTTP Basic authentication says it.
    pub client_id: Option<String>,
    /// The client secret, unless HTTP Basic authentication says it.
    #[schema(format = Password)]
    pub client_secret: Option<String>,
}

/// An access token.
#[derive(ToSchema)]
pub struct Token {
    /// Its text.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// How long it is good, in seconds.
    pub expires_in: u64,
}

/// Why there is no access token (RFC 6749 §5.2).
#[derive(ToSchema)]
pub struct TokenError {
    /// The code of the error.
    pub error: String,
    /// What it means, for people.
    pub error_description: String,
}

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

/// What can go wrong when something is read.
#[derive(IntoResponses)]
pub enum ReadProblems {
    /// A parameter is wrong.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// The access token is missing, unknown, over or revoked.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorised(Problem),
    /// The role does not allow it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such thing in this tenant.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// An internal error; the log has it under the id.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
}

/// What can go wrong when something is changed.
#[derive(IntoResponses)]
pub enum ChangeProblems {
    /// A parameter or the body is wrong.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// The access token is missing, unknown, over or revoked.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorised(Problem),
    /// The role does not allow it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such thing in this tenant.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The present state does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// It has another revision than If-Match names.
    #[response(status = 412, content_type = "application/problem+json")]
    Changed(Problem),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLong(Problem),
    /// The body is of another media type.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// The document has problems, or the Idempotency-Key was used for another request.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(Problem),
    /// An internal error; the log has it under the id.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
}
