//! `openapi.json` (OpenAPI 3.1), generated from the handlers' own annotations, and the JSON Schemas of the documents that people
//! write. Public: a client must be able to read them before it has a token.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ClientCredentials, Flow, OAuth2, Scopes, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use super::problem::Problem;
use super::request::PathId;
use super::{
    alerts, audit, configuration, explain, gateways, history, identity, ledger, mibs, oauth, pace, pairs, replays, rollouts, samples,
    schema, secrets, stream, tokens, waiting_room,
};

/// Shape of a configuration document.
const REVISION_SCHEMA: &str = include_str!("../../../protocol/schema/revision.schema.json");

/// Shape of a push.
const PUSH_SCHEMA: &str = include_str!("../../../appliance/engine/schema/push.schema.json");

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Postern",
        description = "Alerts and gateways of one tenant. Errors are problem details (RFC 9457); times are RFC 3339, UTC; lists are \
                       pages with `items` and `next_cursor`; a client skips fields that it does not know.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        alerts::list,
        alerts::find,
        alerts::children,
        explain::read,
        alerts::history,
        alerts::acknowledge,
        alerts::unacknowledge,
        alerts::close,
        alerts::add_note,
        stream::alerts,
        gateways::list,
        gateways::find,
        gateways::revisions,
        gateways::history,
        gateways::revoke,
        identity::read,
        identity::decide,
        identity::allow_renewal,
        ledger::read,
        audit::list,
        audit::of_gateway,
        pairs::list,
        pairs::declare,
        pairs::dissolve,
        pace::read,
        pace::set,
        samples::list,
        waiting_room::list,
        waiting_room::bind,
        mibs::list,
        mibs::upload,
        mibs::remove,
        mibs::unknown,
        configuration::read,
        configuration::replace,
        history::export,
        history::import,
        history::changes,
        history::return_to,
        history::tags,
        history::replace_tags,
        replays::ask,
        replays::find,
        replays::rules,
        rollouts::list,
        rollouts::start,
        rollouts::find,
        rollouts::stop,
        rollouts::resume,
        secrets::key,
        secrets::list,
        secrets::put,
        secrets::delete,
        tokens::create,
        tokens::list,
        tokens::revoke,
        oauth::token,
        document,
        schema_document
    ),
    components(schemas(schema::alerts::Alert, schema::problems::Problem)),
    tags(
        (name = "alerts", description = "What is wrong, and what was done about it"),
        (name = "audit", description = "What was done, by whom, from where, and what came of it"),
        (name = "enrolment", description = "How new gateways become known"),
        (name = "gateways", description = "Who reports, and with which configuration"),
        (name = "mibs", description = "MIB modules: what OIDs are called"),
        (name = "oauth2", description = "Access tokens"),
        (name = "samples", description = "What was measured"),
        (name = "secrets", description = "What devices ask for, sealed so that only one gateway can open it"),
        (name = "documents", description = "Descriptions of the API and of documents"),
    ),
    modifiers(&Security),
)]
struct Description;

struct Security;

impl Modify for Security {
    fn modify(&self, description: &mut OpenApi) {
        let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth2/token", Scopes::new()));
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("oauth2", SecurityScheme::OAuth2(OAuth2::new([flow])));
    }
}

/// Returns the description of the API.
pub fn describe() -> OpenApi {
    Description::openapi()
}

/// Describes the API.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "read_openapi", tag = "documents",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)),
)]
pub(super) async fn document() -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))], Json(describe())).into_response()
}

/// Describes a document that people write: `revision.json` or `push.json` (JSON Schema).
#[utoipa::path(
    get, path = "/api/v1/schemas/{name}", operation_id = "read_schema", tag = "documents",
    params(("name" = String, Path, description = "`revision.json` or `push.json`")),
    responses(
        (status = 200, description = "JSON Schema", content_type = "application/schema+json", body = Object),
        (status = 404, description = "There is no such schema", content_type = "application/problem+json",
            body = schema::problems::Problem),
    ),
)]
pub(super) async fn schema_document(PathId(name): PathId) -> Result<Response, Problem> {
    let text = match name.as_str() {
        "push.json" => PUSH_SCHEMA,
        "revision.json" => REVISION_SCHEMA,
        _ => return Err(Problem::not_found("schema")),
    };
    let kind = HeaderValue::from_static("application/schema+json");
    let cache = HeaderValue::from_static("no-cache");
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], text).into_response())
}
