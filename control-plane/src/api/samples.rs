//! `/api/v1/samples`: what was measured.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::alerts::DEFAULT_PAGE;
use super::problem::Problem;
use super::request::Parameters;
use super::schema;
use super::schema::parameters::ListSamples;
use super::schema::problems::ReadProblems;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::store::alerts::{MAX_PAGE, Page};
use crate::store::samples::{SampleCursor, SampleFilter, SampleView};

/// Lists measurements, newest first. They are kept for 30 days.
#[utoipa::path(
    get, path = "/api/v1/samples", operation_id = "list_samples", tag = "samples", security(("oauth2" = [])),
    params(ListSamples),
    responses((status = 200, description = "One page", body = schema::samples::SamplePage), ReadProblems),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    mut parameters: Parameters,
) -> Result<Json<Page<SampleView>>, Problem> {
    api.principal.require(Permission::Read)?;
    let filter = SampleFilter {
        gateway: parameters.text("gateway")?,
        resource: parameters.text("resource")?,
        metric: parameters.text("metric")?,
        from: parameters.time("from")?,
        to: parameters.time("to")?,
    };
    let limit = parameters.number("limit", MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let cursor = match parameters.text("cursor")? {
        None => None,
        Some(text) => {
            Some(SampleCursor::parse(&text).ok_or_else(|| Problem::parameter("cursor", "cursor is not a next_cursor of this list"))?)
        }
    };
    parameters.finish()?;
    Ok(Json(app.stores.tenant(&api.principal.tenant)?.list_samples(filter, limit, cursor).await?))
}
