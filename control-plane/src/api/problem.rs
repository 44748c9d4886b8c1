//! What the API answers when it does not do what it was asked: problem details (RFC 9457).
//!
//! Says whose fault it is and, for the client's, what to change. A fault of ours goes to the log with an id; the client sees the id.

use std::error::Error;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::revision::Problem as Fault;
use serde::Serialize;

use crate::alert_actions::ActError;
use crate::auth::Forbidden;
use crate::store::StoreError;

/// An answer of problem details.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    body: Box<Body>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug, Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<Fault>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl Problem {
    /// Makes a problem that its status describes (`type` is `about:blank`, RFC 9457 §4.2.1).
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let body =
            Body { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), parameter: None, problems: None, id: None };
        Self { status, body: Box::new(body), headers: Vec::new() }
    }

    /// Makes the problem of a parameter, header or body field that is wrong.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, detail);
        problem.body.parameter = Some(name.to_owned());
        problem
    }

    /// Makes the problem of a configuration that was refused.
    pub fn configuration(faults: Vec<Fault>) -> Self {
        let detail = format!("the document has {} problem(s); nothing was stored", faults.len());
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.body.kind = "urn:postern:problem:invalid-configuration";
        problem.body.title = "Invalid configuration";
        problem.body.problems = Some(faults);
        problem
    }

    /// Logs a fault of ours and makes the problem that names the log's entry.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; the log has it under this id");
        problem.body.id = Some(log_internal(error));
        problem
    }

    /// Makes the problem of a thing that is not there, or not the principal's to see.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(reason) => Self::new(StatusCode::CONFLICT, reason),
            StoreError::NotFound => Self::not_found("thing"),
            StoreError::Corrupt(_)
            | StoreError::File { .. }
            | StoreError::Newer { .. }
            | StoreError::Random(_)
            | StoreError::Sqlite(_)
            | StoreError::Stopped => Self::internal(&error),
        }
    }
}

impl From<Forbidden> for Problem {
    fn from(error: Forbidden) -> Self {
        Self::new(StatusCode::FORBIDDEN, error.to_string())
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Forbidden(error) => error.into(),
            ActError::Note => Self::parameter("text", error.to_string()),
            ActError::Store(StoreError::NotFound) => Self::not_found("alert"),
            ActError::Store(error) => error.into(),
        }
    }
}

/// Logs a fault of ours with all its causes and returns the id under which the log has it.
pub fn log_internal(error: &(dyn Error + 'static)) -> String {
    let id = crate::auth::fresh_id();
    tracing::error!(id, error = crate::chain(error), "internal error");
    id
}
