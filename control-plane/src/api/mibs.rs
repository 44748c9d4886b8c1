//! `/api/v1/mibs`: archives of MIB modules, what they compile to, and the OIDs that nothing names yet.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use serde::Serialize;

use super::problem::Problem;
use super::request::{Parameters, PathId};
use super::schema;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::mib::compiler::CompileError;
use crate::mib::report::{Report, Totals};
use crate::mibs::{self, MibError};
use crate::oid_names::{Explanation, Names};
use crate::rfc3339;
use crate::store::StoreError;
use crate::store::mibs::UploadView;
use crate::store::unknown_oids::UnknownOidView;
use postern_protocol::timestamp::Timestamp;

/// Most unknown OIDs of an answer.
const MAX_UNKNOWN: usize = 1000;

/// Media types of archives that are taken.
const ARCHIVES: [&str; 6] = [
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-xz",
    "application/octet-stream",
];

#[derive(Serialize)]
pub(super) struct Modules {
    archives: Vec<UploadView>,
    digest: Option<String>,
    #[serde(serialize_with = "rfc3339::serialize_option")]
    made_at: Option<Timestamp>,
    made_by: Option<String>,
    #[serde(flatten)]
    report: Report,
}

#[derive(Serialize)]
struct Compiled {
    totals: Totals,
}

/// Lists the archives, every module in them, and everything that is wrong with the modules: by module, file and line.
#[utoipa::path(
    get, path = "/api/v1/mibs", operation_id = "list_mibs", tag = "mibs", security(("oauth2" = [])),
    params(("module" = Option<String>, Query, description = "Only what concerns the module of this name")),
    responses((status = 200, description = "The modules", body = schema::mibs::Modules), ReadProblems),
)]
pub(super) async fn list(State(app): State<Arc<App>>, api: ApiPrincipal, mut parameters: Parameters) -> Result<Json<Modules>, Problem> {
    api.principal.require(Permission::Read)?;
    let module = parameters.text("module")?;
    parameters.finish()?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let archives = store.mib_uploads().await?;
    let found = store.dictionary().await?;
    let (digest, made_at, made_by) = match &found {
        Some(found) => (Some(HEXLOWER.encode(&found.digest)), Some(found.made_at), Some(found.made_by.clone())),
        None => (None, None, None),
    };
    let mut report = found.map(|found| found.report).unwrap_or_default();
    if let Some(module) = module {
        report.modules.retain(|one| one.name == module);
        report.unresolved.retain(|one| one.module == module);
        report.problems.retain(|one| one.module == module);
        report.mended.retain(|one| one.module == module);
        report.skipped.clear();
    }
    Ok(Json(Modules { archives, digest, made_at, made_by, report }))
}

/// Adds an archive of MIB modules (zip, tar, tar.gz, tar.xz, or the text of one module; at most 64 MiB). All archives are compiled
/// together, the names pushed to the tenant's gateways. Faults of modules are no errors: `GET /api/v1/mibs` lists them.
#[utoipa::path(
    post, path = "/api/v1/mibs", operation_id = "upload_mibs", tag = "mibs", security(("oauth2" = [])),
    params(("name" = Option<String>, Query, description = "Name of the file, for people")),
    request_body(content = Vec<u8>, content_type = "application/zip", description = "The archive"),
    responses((status = 201, description = "It is compiled and kept", body = schema::mibs::Compiled), ChangeProblems),
)]
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    api: ApiPrincipal,
    mut parameters: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    let name = parameters.text("name")?.unwrap_or_default();
    parameters.finish()?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !ARCHIVES.contains(&essence.as_str()) && essence != "text/plain" {
        let detail = "the body must be an archive (application/zip, application/x-tar, application/gzip, application/x-xz) or text/plain";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let turn = app.mibs.upload_turn().await?;
    let archive = body(request, &app).await?;
    let report = mibs::add(&app, &api.principal, &name, archive).await?;
    drop(turn);
    Ok((StatusCode::CREATED, Json(Compiled { totals: report.totals })).into_response())
}

/// Removes an archive; the others are compiled anew.
#[utoipa::path(
    delete, path = "/api/v1/mibs/{number}", operation_id = "delete_mibs", tag = "mibs", security(("oauth2" = [])),
    params(("number" = i64, Path, description = "Number of the archive")),
    responses((status = 204, description = "It is removed"), ChangeProblems),
)]
pub(super) async fn remove(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(number): PathId) -> Result<StatusCode, Problem> {
    api.principal.require(Permission::Configure)?;
    let number = number.parse().map_err(|_| Problem::not_found("archive"))?;
    match mibs::remove(&app, &api.principal, number).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(MibError::Store(StoreError::NotFound)) => Err(Problem::not_found("archive")),
        Err(error) => Err(error.into()),
    }
}

#[derive(Serialize)]
pub(super) struct UnknownOids {
    items: Vec<UnknownOid>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct UnknownOid {
    #[serde(flatten)]
    view: UnknownOidView,
    explanation: Explanation,
}

/// Lists the notification OIDs of the last 30 days that nothing names, most frequent first, each with what would explain it.
#[utoipa::path(
    get, path = "/api/v1/unknown-oids", operation_id = "list_unknown_oids", tag = "mibs", security(("oauth2" = [])),
    responses((status = 200, description = "The 1000 most frequent", body = schema::mibs::UnknownOids), ReadProblems),
)]
pub(super) async fn unknown(State(app): State<Arc<App>>, api: ApiPrincipal) -> Result<Json<UnknownOids>, Problem> {
    api.principal.require(Permission::Read)?;
    let store = app.stores.tenant(&api.principal.tenant)?;
    let names = Names::load(&store).await?;
    let found = store.unknown_oids(app.now(), MAX_UNKNOWN).await?;
    let items = found.into_iter().map(|view| UnknownOid { explanation: names.explain(&view.oid), view }).collect();
    Ok(Json(UnknownOids { items, next_cursor: None }))
}

async fn body(request: Request, app: &Arc<App>) -> Result<Bytes, Problem> {
    let body = Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = mibs::MAX_ARCHIVE_BYTES / 1024 / 1024;
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("an archive has at most {most} MiB: split it"))
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "the body did not arrive whole"),
    })?;
    if body.is_empty() { Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty")) } else { Ok(body) }
}

impl From<MibError> for Problem {
    fn from(error: MibError) -> Self {
        match error {
            MibError::Forbidden(error) => error.into(),
            MibError::Store(error) => error.into(),
            MibError::Room(detail) => Self::new(StatusCode::CONFLICT, detail),
            MibError::Compile(error @ CompileError::Child(_)) => Self::internal(&error),
            MibError::Compile(error @ (CompileError::Archive(_) | CompileError::Died(_) | CompileError::TimedOut(_))) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, crate::chain(&error))
            }
            error @ MibError::Table(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, crate::chain(&error)),
        }
    }
}
