//! A configuration's history and its files: what a revision changed, the way back to it, export and import, and a gateway's tags.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::id::RevisionNumber;
use serde::{Deserialize, Serialize};

use super::configuration::stored;
use super::gateways::gateway;
use super::problem::Problem;
use super::request::{Change, Parameters, PathId, PathRevision};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::canonical;
use crate::configuration::{self, Imported};
use crate::feed;
use crate::line_diff::{self, Hunk};
use crate::store::audit::By;

/// What changed between two revisions.
#[derive(Serialize)]
pub(super) struct Difference {
    from: Option<RevisionNumber>,
    to: RevisionNumber,
    hunks: Vec<Hunk>,
}

/// Compares a revision with the one before it, or with the one that `against` names, line by line in their canonical form.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/revisions/{number}/changes", operation_id = "read_revision_changes", tag = "gateways",
    security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("number" = u64, Path, description = "Number of the revision"),
        ("against" = Option<u64>, Query, description = "Number of the revision to compare with; the one before when left out"),
    ),
    responses((status = 200, description = "What changed", body = schema::rollouts::Difference), ReadProblems),
)]
pub(super) async fn changes(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathRevision(id, number): PathRevision,
    mut parameters: Parameters,
) -> Result<Json<Difference>, Problem> {
    api.principal.require(Permission::Read)?;
    let against = parameters.number("against", usize::MAX)?.map(|number| RevisionNumber(number as u64));
    parameters.finish()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let missing = || Problem::not_found("revision");
    let revision = store.find_revision(&gateway.id, number).await?.ok_or_else(missing)?;
    let listed = store.list_revisions(&gateway.id).await?;
    let from = against.or_else(|| listed.iter().map(|view| view.number).find(|earlier| *earlier < number));
    let text = |document: &[u8]| canonical::canonical(document).unwrap_or_else(|_| String::from_utf8_lossy(document).into_owned());
    let old = match from {
        Some(from) => text(&store.find_revision(&gateway.id, from).await?.ok_or_else(missing)?.document),
        None => String::new(),
    };
    Ok(Json(Difference { from, to: number, hunks: line_diff::diff(&old, &text(&revision.document)) }))
}

/// Makes the document of an earlier revision the desired one again, under a new number.
#[utoipa::path(
    post, path = "/api/v1/gateways/{id}/revisions/{number}/return", operation_id = "return_to_revision", tag = "gateways",
    security(("oauth2" = [])),
    params(
        ("id" = String, Path, description = "Identifier of the gateway"),
        ("number" = u64, Path, description = "Number of the revision"),
    ),
    responses((status = 200, description = "It is stored", body = schema::gateways::StoredRevision), ChangeProblems),
)]
pub(super) async fn return_to(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathRevision(id, number): PathRevision,
    change: Change,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    change.require_no_body()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let number = configuration::return_to(&app, &api.principal, &gateway.id, number).await?;
    stored(&app, &api.principal, &gateway.id, number).await
}

/// Gives the newest document in its canonical form: keys in order, two spaces a level. The same configuration is always the same
/// file, so that a version control shows what really changed.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/configuration/export", operation_id = "export_configuration", tag = "gateways",
    security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses(
        (status = 200, description = "The document as a file", content_type = "application/json", body = Object),
        ReadProblems,
    ),
)]
pub(super) async fn export(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Response, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let desired = app.stores.tenant(&api.principal.tenant)?.desired(&gateway.id).await?.ok_or_else(|| Problem::not_found("revision"))?;
    let text = canonical::canonical(&desired.document)
        .map_err(|_| Problem::new(StatusCode::CONFLICT, "the newest document is not JSON: it was forced past the check"))?;
    let name = format!("attachment; filename=\"{}.json\"", gateway.id);
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CONTENT_DISPOSITION, name)], text).into_response())
}

/// What an import did.
#[derive(Serialize)]
struct ImportAnswer {
    number: RevisionNumber,
    changed: bool,
}

/// Takes a file in: makes it the desired configuration, unless that says the same already.
#[utoipa::path(
    post, path = "/api/v1/gateways/{id}/configuration/import", operation_id = "import_configuration", tag = "gateways",
    security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    request_body(content = Object, content_type = "application/json", description = "See /api/v1/schemas/revision.json"),
    responses((status = 200, description = "The desired revision", body = schema::rollouts::Imported), ChangeProblems),
)]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    change.require_json()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let answer = match configuration::import(&app, &api.principal, &gateway.id, &change.body).await? {
        Imported::Same(number) => ImportAnswer { number, changed: false },
        Imported::Stored(number) => ImportAnswer { number, changed: true },
    };
    Ok(Json(answer).into_response())
}

/// The tags of a gateway.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tags {
    tags: BTreeSet<String>,
}

/// Reads the tags of a gateway.
#[utoipa::path(
    get, path = "/api/v1/gateways/{id}/tags", operation_id = "read_tags", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    responses((status = 200, description = "Its tags", body = schema::rollouts::Tags), ReadProblems),
)]
pub(super) async fn tags(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<Json<Tags>, Problem> {
    api.principal.require(Permission::Read)?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let tags = app.stores.tenant(&api.principal.tenant)?.tags().await?.remove(gateway.id.as_str()).unwrap_or_default();
    Ok(Json(Tags { tags: tags.into_iter().collect() }))
}

/// Replaces the tags of a gateway: at most 20, each 1 to 40 characters of a-z, 0-9, `.`, `_`, `-` and `:`.
#[utoipa::path(
    put, path = "/api/v1/gateways/{id}/tags", operation_id = "replace_tags", tag = "gateways", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the gateway")),
    request_body(content = schema::rollouts::Tags, content_type = "application/json"),
    responses((status = 200, description = "Its tags", body = schema::rollouts::Tags), ChangeProblems),
)]
pub(super) async fn replace_tags(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    PathId(id): PathId,
    change: Change,
) -> Result<Json<Tags>, Problem> {
    api.principal.require(Permission::Configure)?;
    let Tags { tags } = change.json()?;
    let gateway = gateway(&app, &api.principal, &id).await?;
    let who = (By::from(&api.principal), app.now());
    app.stores.tenant(&api.principal.tenant)?.set_tags(&gateway.id, tags.clone(), who).await?;
    app.feed.publish(&api.principal.tenant, feed::Change::Gateway { id: gateway.id });
    Ok(Json(Tags { tags }))
}
