//! `POST /oauth2/token`: an access token for a client's secret (OAuth2 client credentials, RFC 6749 §4.4). Errors are those of
//! RFC 6749 §5.2, not problem details, because OAuth2 libraries read them.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use data_encoding::BASE64;
use serde::Serialize;

use super::problem;
use super::schema;
use crate::app::App;
use crate::auth::clients::{self, ClientError, TOKEN_LIFE};

/// What went wrong, in RFC 6749's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    InvalidClient(&'static str),
    InvalidRequest(&'static str),
    InvalidScope(&'static str),
    ServerError,
    UnsupportedGrantType(&'static str),
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
}

#[derive(Serialize)]
struct TokenBody {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
}

/// Gives an access token that is good for an hour. Credentials by HTTP Basic authentication or as `client_id` and `client_secret`.
#[utoipa::path(
    post, path = "/oauth2/token", operation_id = "issue_access_token", tag = "oauth2",
    request_body(content = schema::oauth::TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "An access token", body = schema::oauth::Token),
        (status = 400, description = "The request is wrong", body = schema::oauth::TokenError),
        (status = 401, description = "Unknown client or wrong secret", body = schema::oauth::TokenError),
    ),
)]
pub(super) async fn token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let answer = match form {
        Ok(Form(fields)) => answer(&app, &headers, &fields).await,
        Err(_) => Err(Refusal::InvalidRequest("the body must be application/x-www-form-urlencoded")),
    };
    let mut response = match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    // RFC 6749 §5.1: both headers.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

async fn answer(app: &App, headers: &HeaderMap, fields: &[(String, String)]) -> Result<TokenBody, Refusal> {
    match field(fields, "grant_type")? {
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal::UnsupportedGrantType("only client_credentials")),
        None => return Err(Refusal::InvalidRequest("grant_type is missing")),
    }
    if field(fields, "scope")?.is_some() {
        return Err(Refusal::InvalidScope("there are no scopes; a client's role says what it may do"));
    }
    let (id, secret) = credentials(headers, fields)?;
    match clients::issue_token(app, &id, &secret).await {
        Ok(access_token) => Ok(TokenBody { access_token, token_type: "Bearer", expires_in: TOKEN_LIFE.as_secs() }),
        Err(ClientError::Credentials | ClientError::Store(crate::store::StoreError::NotFound)) => {
            Err(Refusal::InvalidClient("unknown client or wrong secret"))
        }
        Err(error @ (ClientError::Random(_) | ClientError::Store(_))) => {
            problem::log_internal(&error);
            Err(Refusal::ServerError)
        }
    }
}

/// The value of a field; none if it is empty (RFC 6749 §3.2: treated as if left out).
fn field<'a>(fields: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let value = values.next().filter(|value| !value.is_empty());
    if values.next().is_some() {
        return Err(Refusal::InvalidRequest("a parameter is given more than once")); // §3.2
    }
    Ok(value)
}

fn credentials(headers: &HeaderMap, fields: &[(String, String)]) -> Result<(String, String), Refusal> {
    let (id, secret) = (field(fields, "client_id")?, field(fields, "client_secret")?);
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        let both = id.zip(secret).map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        return both.ok_or(Refusal::InvalidClient("client credentials are missing"));
    };
    if secret.is_some() {
        return Err(Refusal::InvalidRequest("use one way of authentication only")); // §2.3
    }
    let basic = header.to_str().ok().and_then(read_basic).ok_or(Refusal::InvalidClient("Basic authentication is malformed"))?;
    if id.is_some_and(|id| id != basic.0) {
        return Err(Refusal::InvalidRequest("two client identifiers"));
    }
    Ok(basic)
}

/// Reads Basic credentials, whose two halves are form-encoded first (RFC 6749 §2.3.1). What our own ids and secrets consist of
/// is left as it is by that, so a client that does not encode is understood too.
fn read_basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(encoded.trim().as_bytes()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, error_description) = match self {
            Self::InvalidClient(why) => (StatusCode::UNAUTHORIZED, "invalid_client", why),
            Self::InvalidRequest(why) => (StatusCode::BAD_REQUEST, "invalid_request", why),
            Self::InvalidScope(why) => (StatusCode::BAD_REQUEST, "invalid_scope", why),
            Self::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "an internal error"),
            Self::UnsupportedGrantType(why) => (StatusCode::BAD_REQUEST, "unsupported_grant_type", why),
        };
        let mut response = (status, Json(ErrorBody { error, error_description })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"postern\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn with_basic(text: &str) -> HeaderMap {
        let value = format!("Basic {}", BASE64.encode(text.as_bytes()));
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(value).unwrap())])
    }

    #[test]
    fn credentials_come_one_way_only() {
        let posted = fields(&[("client_id", "c"), ("client_secret", "s")]);
        let wanted = ("c".to_owned(), "s".to_owned());
        assert_eq!(credentials(&HeaderMap::new(), &posted), Ok(wanted.clone()));
        assert_eq!(credentials(&with_basic("c:s"), &[]), Ok(wanted.clone()));
        assert_eq!(credentials(&with_basic("c:s"), &fields(&[("client_id", "c")])), Ok(wanted));
        assert!(matches!(credentials(&with_basic("c:s"), &posted), Err(Refusal::InvalidRequest(_))));
        assert!(matches!(credentials(&with_basic("c:s"), &fields(&[("client_id", "d")])), Err(Refusal::InvalidRequest(_))));
        assert!(matches!(credentials(&with_basic("no colon"), &[]), Err(Refusal::InvalidClient(_))));
        assert!(matches!(credentials(&HeaderMap::new(), &[]), Err(Refusal::InvalidClient(_))));
    }

    #[test]
    fn a_parameter_may_not_be_repeated_and_an_empty_one_is_left_out() {
        assert_eq!(field(&fields(&[("scope", "")]), "scope"), Ok(None));
        assert!(field(&fields(&[("scope", "a"), ("scope", "a")]), "scope").is_err());
    }
}
