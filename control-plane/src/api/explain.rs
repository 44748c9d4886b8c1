//! `/api/v1/alerts/{id}/explain`: why an alert is as it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::problem::Problem;
use super::request::PathId;
use super::schema;
use super::schema::problems::ReadProblems;
use crate::app::App;
use crate::auth::bearer::ApiPrincipal;
use crate::explain::{self, ExplainError, Explanation};

/// Tells in order why an alert exists, why it is folded, quiet or flapping, and why it ended.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/explain", operation_id = "explain_alert", tag = "alerts", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the alert")),
    responses((status = 200, description = "The steps, oldest first", body = schema::explain::Explanation), ReadProblems),
)]
pub(super) async fn read(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Explanation>, Problem> {
    let explanation = explain::explain(&app, &api.principal, &id).await?;
    explanation.map(Json).ok_or_else(|| Problem::not_found("alert"))
}

impl From<ExplainError> for Problem {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Forbidden(error) => error.into(),
            ExplainError::Store(error) => error.into(),
        }
    }
}
