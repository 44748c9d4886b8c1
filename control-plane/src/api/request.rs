//! What the API reads from a request, with problem details for everything that is wrong: query parameters, ids in the path,
//! bodies and conditional headers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use postern_protocol::id::RevisionNumber;
use postern_protocol::timestamp::Timestamp;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::app::App;
use crate::auth::{Principal, request_hash};
use crate::rfc3339;
use crate::store::idempotency::OnceKey;

/// The query parameters of a request. Each is taken by name; [`Parameters::finish`] refuses those that nobody asked for, so that
/// a misspelt filter does not list everything.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        pairs.map(|Query(pairs)| Self(pairs)).map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))
    }
}

impl Parameters {
    /// Takes a parameter that may be there once.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values: Vec<String> = self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect();
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(Problem::parameter(name, format!("{name} is given more than once"))) }
    }

    /// Takes a parameter that may be there several times, or hold several values with commas between them.
    pub(crate) fn list<T>(&mut self, name: &str, read: impl Fn(&str) -> Option<T>, known: &str) -> Result<Vec<T>, Problem> {
        let values: Vec<String> = self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect();
        let each = values.iter().flat_map(|value| value.split(',')).map(str::trim);
        each.map(|value| read(value).ok_or_else(|| Problem::parameter(name, format!("{name} is one of {known}, not {value:?}")))).collect()
    }

    /// Takes a number from 1 to `max`.
    pub(crate) fn number(&mut self, name: &str, max: usize) -> Result<Option<usize>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse::<usize>().ok().filter(|number| (1..=max).contains(number));
        number.map(Some).ok_or_else(|| Problem::parameter(name, format!("{name} is a number from 1 to {max}, not {text:?}")))
    }

    /// Takes `true` or `false`.
    pub(crate) fn truth(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Problem::parameter(name, format!("{name} is true or false, not {other:?}"))),
        }
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong = || Problem::parameter(name, format!("{name} is a time as in RFC 3339 (write + as %2B), not {text:?}"));
        rfc3339::parse(&text).map(Some).ok_or_else(wrong)
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::parameter(name, format!("there is no parameter {name:?} here"))),
        }
    }
}

/// The identifier in the path.
pub(crate) struct PathId(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|rejection| Problem::parameter("id", rejection.body_text()))
    }
}

/// A gateway's identifier and a revision's number in the path.
pub(crate) struct PathRevision(pub(crate) String, pub(crate) RevisionNumber);

impl<S: Send + Sync> FromRequestParts<S> for PathRevision {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, number)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::parameter("id", rejection.body_text()))?;
        let number = number.parse().map_err(|_| Problem::parameter("number", format!("number is that of a revision, not {number:?}")))?;
        Ok(Self(id, RevisionNumber(number)))
    }
}

/// A body and what conditional requests need: everything of a POST or PUT but the principal.
pub(crate) struct Change {
    parts: Parts,
    /// The body's bytes.
    pub(crate) body: Bytes,
}

impl FromRequest<Arc<App>> for Change {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), app).await;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than this request may have"),
            _ => Problem::new(StatusCode::BAD_REQUEST, "the body did not arrive whole"),
        })?;
        Ok(Self { parts, body })
    }
}

impl Change {
    /// Reads the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.require_json()?;
        serde_json::from_slice(&self.body).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body does not fit: {error}")))
    }

    /// Refuses a body that says it is anything but JSON.
    pub(crate) fn require_json(&self) -> Result<(), Problem> {
        let kind = self.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json, and say so in Content-Type"))
    }

    /// Refuses a body where none is needed; `{}` is let pass.
    pub(crate) fn require_no_body(&self) -> Result<(), Problem> {
        if matches!(self.body.trim_ascii(), b"" | b"{}") {
            return Ok(());
        }
        Err(Problem::new(StatusCode::BAD_REQUEST, "this request takes no body"))
    }

    /// Returns the key under which the answer is to be kept, if the client chose one.
    pub(crate) fn once(&self, principal: &Principal) -> Result<Option<OnceKey>, Problem> {
        const NAME: &str = "Idempotency-Key";
        let Some(value) = self.parts.headers.get(NAME) else { return Ok(None) };
        let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
        let key = key.ok_or_else(|| Problem::parameter(NAME, "an Idempotency-Key has 1 to 255 printable ASCII characters"))?;
        let target = self.parts.uri.path_and_query().map_or("", |target| target.as_str());
        let request = request_hash(&[self.parts.method.as_str().as_bytes(), target.as_bytes(), &self.body]);
        Ok(Some(OnceKey { principal: principal.actor.to_string(), key: key.to_owned(), request }))
    }

    /// Returns the revisions of `If-Match` (RFC 9110 §13.1.1), of which the thing must have one; `None` for any.
    pub(crate) fn expected(&self) -> Result<Option<Vec<i64>>, Problem> {
        let Some(tags) = tags(&self.parts.headers, header::IF_MATCH.as_str()) else { return Ok(None) };
        if tags.iter().any(|tag| tag == "*") {
            return Ok(None);
        }
        // A tag that is not one of ours matches nothing; weak tags never match here.
        Ok(Some(tags.iter().filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()).collect()))
    }
}

/// Whether `If-None-Match` (RFC 9110 §13.1.2) names the revision that the client has already.
pub(crate) fn has_already(headers: &HeaderMap, revision: i64) -> bool {
    let tag = format!("\"{revision}\"");
    tags(headers, header::IF_NONE_MATCH.as_str())
        .is_some_and(|tags| tags.iter().any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag))
}

/// The answer to a request that expected another revision.
pub(crate) fn precondition_failed(revision: i64) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, format!("it has changed meanwhile: its revision is {revision}; read it again"))
}

fn tags(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    headers.contains_key(name).then(|| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect()
    })
}

/// The answer to a request whose Idempotency-Key came with another request before.
pub(crate) fn key_misused() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another request; choose a new one")
}
