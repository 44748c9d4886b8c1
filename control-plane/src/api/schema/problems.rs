//! What the API answers when it does not do what it was asked (RFC 9457).

use utoipa::{IntoResponses, ToSchema};

use super::gateways::DocumentProblem;

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
