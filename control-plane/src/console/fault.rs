//! Why a page is not shown. A fault is a status and a short text; `frame` makes a page of it for browsers.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::alert_actions::ActError;
use crate::api::problem;
use crate::auth::Forbidden;
use crate::explain::ExplainError;
use crate::store::StoreError;

/// Why a page is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The role does not allow it.
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    /// Something failed that is not the person's fault; the log has the details under this id.
    #[error("internal error {0}")]
    Internal(String),
    /// There is no such thing, for this tenant.
    #[error("there is nothing here")]
    NotFound,
    /// What was asked for cannot be done; the text says why.
    #[error("{1}")]
    Refused(StatusCode, String),
}

impl Fault {
    /// Writes the cause to the log and keeps only an id.
    pub(super) fn internal(cause: &(impl std::error::Error + 'static)) -> Self {
        Self::Internal(problem::log_internal(cause).to_string())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Refused(status, _) => *status,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(why) => Self::Refused(StatusCode::CONFLICT, why),
            StoreError::NotFound => Self::NotFound,
            error @ (StoreError::Corrupt(_)
            | StoreError::File { .. }
            | StoreError::Newer { .. }
            | StoreError::Random(_)
            | StoreError::Sqlite(_)
            | StoreError::Stopped) => Self::internal(&error),
        }
    }
}

impl From<ExplainError> for Fault {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Forbidden(forbidden) => forbidden.into(),
            ExplainError::Store(error) => error.into(),
        }
    }
}

impl From<ActError> for Fault {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Forbidden(forbidden) => forbidden.into(),
            ActError::Note => Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            ActError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}

/// Answers whatever has no page.
pub(super) async fn not_found() -> Fault {
    Fault::NotFound
}
