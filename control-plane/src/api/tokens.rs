//! `/api/v1/enrolment-tokens`: make, list and revoke the one-time tokens with which gateways enrol. Admins only.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::alerts::DEFAULT_PAGE;
use super::problem::Problem;
use super::request::{self, Change, PathId};
use super::schema;
use super::schema::parameters::IdempotencyKey;
use super::schema::problems::{ChangeProblems, ReadProblems};
use crate::app::App;
use crate::auth::Permission;
use crate::auth::bearer::ApiPrincipal;
use crate::enrolment;
use crate::rfc3339;
use crate::store::StoreError;
use crate::store::audit::By;
use crate::store::idempotency::{Answer, Known, OnceKey};
use crate::store::tokens::TokenView;

/// How long a token is good unless the client says otherwise.
const DEFAULT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that a token may be good.
const MAX_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    gateway_name: String,
    expires_in: Option<u64>,
}

#[derive(Serialize)]
struct Created {
    id: String,
    token: String,
    gateway_name: String,
    #[serde(serialize_with = "rfc3339::serialize")]
    expires_at: Timestamp,
}

/// Makes a token. Its text is shown only now; with an `Idempotency-Key`, again to the same access token.
#[utoipa::path(
    post, path = "/api/v1/enrolment-tokens", operation_id = "create_enrolment_token", tag = "enrolment", security(("oauth2" = [])),
    params(IdempotencyKey),
    request_body = schema::enrolment::NewEnrolmentToken,
    responses((status = 201, description = "The token", body = schema::enrolment::CreatedEnrolmentToken), ChangeProblems),
)]
pub(super) async fn create(State(app): State<Arc<App>>, api: ApiPrincipal, change: Change) -> Result<Response, Problem> {
    api.principal.require(Permission::Configure)?;
    let new: NewToken = change.json()?;
    let life = new.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
    if life < Duration::from_secs(60) || life > MAX_LIFE {
        return Err(Problem::parameter("expires_in", format!("expires_in is a number of seconds from 60 to {}", MAX_LIFE.as_secs())));
    }
    let name = new.gateway_name.trim();
    if name.is_empty() || name.chars().count() > 128 || name.chars().any(char::is_control) {
        return Err(Problem::parameter("gateway_name", "gateway_name has 1 to 128 printable characters"));
    }
    let Some(once) = change.once(&api.principal)? else {
        return Ok(created(make(&app, &api, name, life).await?));
    };
    let store = app.stores.tenant(&api.principal.tenant)?;
    match store.begin_once(once.clone(), app.now()).await? {
        Known::Answered(answer) => return reopened(&api, &once, &answer),
        Known::Misused => return Err(request::key_misused()),
        Known::New => {}
        Known::Unanswered => {
            let detail =
                "a request with this Idempotency-Key is under way, or failed half-way; choose a new key and revoke what is not needed";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
    }
    let made = make(&app, &api, name, life).await;
    let sealed = made.as_ref().ok().and_then(|body| api.seal().close(&once.request, body));
    store.answer_once(once, sealed.map(|body| Answer { status: StatusCode::CREATED.as_u16(), body })).await?;
    Ok(created(made?))
}

/// Lists the tokens, newest first; never their texts.
#[utoipa::path(
    get, path = "/api/v1/enrolment-tokens", operation_id = "list_enrolment_tokens", tag = "enrolment", security(("oauth2" = [])),
    responses((status = 200, description = "The newest 100 tokens", body = schema::enrolment::EnrolmentTokenPage), ReadProblems),
)]
pub(super) async fn list(State(app): State<Arc<App>>, api: ApiPrincipal) -> Result<Json<Tokens>, Problem> {
    api.principal.require(Permission::Configure)?;
    let mut items = app.stores.system().list_tokens(&api.principal.tenant, app.now()).await?;
    items.truncate(DEFAULT_PAGE);
    Ok(Json(Tokens { items, next_cursor: None }))
}

/// Enrolment tokens, newest first.
#[derive(Serialize)]
pub(super) struct Tokens {
    items: Vec<TokenView>,
    next_cursor: Option<String>,
}

/// Revokes a token that was not used. Revoking it twice changes nothing.
#[utoipa::path(
    delete, path = "/api/v1/enrolment-tokens/{id}", operation_id = "revoke_enrolment_token", tag = "enrolment", security(("oauth2" = [])),
    params(("id" = String, Path, description = "Identifier of the token")),
    responses((status = 204, description = "It is revoked"), ChangeProblems),
)]
pub(super) async fn revoke(State(app): State<Arc<App>>, api: ApiPrincipal, PathId(id): PathId) -> Result<StatusCode, Problem> {
    api.principal.require(Permission::Configure)?;
    match app.stores.system().revoke_token(&api.principal.tenant, &id, (By::from(&api.principal), app.now())).await {
        Ok(()) => {
            app.stores.deliver_notes(&api.principal.tenant).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Err(StoreError::NotFound) => Err(Problem::not_found("enrolment token")),
        Err(error) => Err(error.into()),
    }
}

async fn make(app: &App, api: &ApiPrincipal, name: &str, life: Duration) -> Result<Vec<u8>, Problem> {
    let (id, token) = enrolment::create_token(app, (&api.principal.tenant, By::from(&api.principal)), name, life).await?;
    let created = Created { id, token: token.to_string(), gateway_name: name.to_owned(), expires_at: token.expires };
    serde_json::to_vec(&created).map_err(|error| Problem::internal(&error))
}

fn created(body: Vec<u8>) -> Response {
    (StatusCode::CREATED, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn reopened(api: &ApiPrincipal, once: &OnceKey, answer: &Answer) -> Result<Response, Problem> {
    let detail = "the token was made, but its text can be shown again only to the access token that made it; revoke it and make another";
    let body = api.seal().open(&once.request, &answer.body).ok_or_else(|| Problem::new(StatusCode::CONFLICT, detail))?;
    Ok(created(body))
}
