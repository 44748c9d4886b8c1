//! Who uses the console: the person of the session cookie. [`ConsolePrincipal`] is for pages, [`ConsoleForm`] for everything
//! that changes something, [`SameOrigin`] for the sign-in, which has no session yet.

use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::sign_in::{COOKIE, IDLE, cookie_hash};
use super::{Actor, Principal, origin, secret};
use crate::api::problem;
use crate::app::App;
use crate::store::StoreError;
use crate::store::sessions::SessionRow;

/// How stale `last_used_at` may get before it is written again.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// Where a person must change the password, and may before anything else.
const CHANGE_PASSWORD: &str = "/change-password";

/// Where a person may sign out at any time.
const SIGN_OUT: &str = "/sign-out";

/// The person of a request to the console. Without a session the browser is sent to `/sign-in`; while the password must be
/// changed, to `/change-password`. Holds the CSRF token: no `Debug`.
#[derive(Clone)]
pub struct ConsolePrincipal {
    /// Who asks.
    pub principal: Principal,
    /// The user's name.
    pub user: String,
    /// What every form carries in its field `csrf`.
    pub csrf: String,
    /// Whether the password must be changed before anything else.
    pub must_change_password: bool,
    pub(super) token_sha256: Vec<u8>,
}

impl ConsolePrincipal {
    /// Whether the session still lives; an event stream asks from time to time. Does not count as use.
    pub async fn is_good(&self, app: &App) -> bool {
        let found = app.stores.system().find_session(self.token_sha256.clone()).await;
        found.is_ok_and(|row| row.is_some_and(|row| lives(&row, app)))
    }
}

/// Why the console does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleRejection {
    /// The password must be changed first.
    #[error("the password must be changed first")]
    ChangePassword,
    /// The form was not sent by one of our own pages, or by a page of a session that is over.
    #[error("the form is not from this session; open the page again")]
    Forged,
    /// The form is not what the page sends.
    #[error("the form cannot be read")]
    Malformed(StatusCode),
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignIn,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntoResponse for ConsoleRejection {
    fn into_response(self) -> Response {
        match self {
            Self::ChangePassword => Redirect::to(CHANGE_PASSWORD).into_response(),
            Self::Forged => (StatusCode::FORBIDDEN, self.to_string()).into_response(),
            Self::Malformed(status) => (status, self.to_string()).into_response(),
            Self::SignIn => Redirect::to("/sign-in").into_response(),
            Self::Store(error) => {
                let id = problem::log_internal(&error);
                (StatusCode::INTERNAL_SERVER_ERROR, format!("internal error {id}")).into_response()
            }
        }
    }
}

impl FromRequestParts<Arc<App>> for ConsolePrincipal {
    type Rejection = ConsoleRejection;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ConsoleRejection> {
        let token_sha256 = cookie_hash(cookie(&parts.headers).ok_or(ConsoleRejection::SignIn)?);
        let system = app.stores.system();
        let row = system.find_session(token_sha256.clone()).await?.ok_or(ConsoleRejection::SignIn)?;
        if !lives(&row, app) {
            return Err(ConsoleRejection::SignIn);
        }
        if row.must_change_password && !matches!(parts.uri.path(), CHANGE_PASSWORD | SIGN_OUT) {
            return Err(ConsoleRejection::ChangePassword);
        }
        let now = app.now();
        if now.saturating_since(row.last_used_at) > TOUCH_AFTER {
            system.touch_session(token_sha256.clone(), now).await?;
        }
        let principal = Principal {
            tenant: row.tenant,
            actor: Actor::User { name: row.user.clone() },
            role: row.role,
            from: super::peer(&parts.extensions),
        };
        Ok(Self { principal, user: row.user, csrf: row.csrf, must_change_password: row.must_change_password, token_sha256 })
    }
}

/// A form of a person who is signed in: it was sent by a page of ours and carries the session's CSRF token in the field `csrf`
/// or the header `X-CSRF-Token`. `T` must allow the field `csrf`, so it cannot deny unknown fields without naming it.
pub struct ConsoleForm<T> {
    /// Who sent it.
    pub principal: ConsolePrincipal,
    /// The form.
    pub form: T,
}

#[derive(Deserialize)]
struct CsrfField {
    csrf: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for ConsoleForm<T> {
    type Rejection = ConsoleRejection;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ConsoleRejection> {
        let (mut parts, body) = request.into_parts();
        origin::check(&parts).map_err(|_| ConsoleRejection::Forged)?;
        let principal = ConsolePrincipal::from_request_parts(&mut parts, app).await?;
        let in_header = parts.headers.get("x-csrf-token").map(|value| value.as_bytes().to_vec());
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), app)
            .await
            .map_err(|rejection| ConsoleRejection::Malformed(rejection.status()))?;
        let token = match in_header {
            Some(token) => token,
            None => read_form::<CsrfField>(&parts, &body).await?.csrf.unwrap_or_default().into_bytes(),
        };
        if !secret::equal(&token, principal.csrf.as_bytes()) {
            return Err(ConsoleRejection::Forged);
        }
        let form = read_form(&parts, &body).await?;
        Ok(Self { principal, form })
    }
}

/// A person who sends a file: as a form, but the token is in the header `X-CSRF-Token` and the body is the file's.
pub struct UploadPrincipal(pub ConsolePrincipal);

impl FromRequestParts<Arc<App>> for UploadPrincipal {
    type Rejection = ConsoleRejection;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ConsoleRejection> {
        origin::check(parts).map_err(|_| ConsoleRejection::Forged)?;
        let principal = ConsolePrincipal::from_request_parts(parts, app).await?;
        let token = parts.headers.get("x-csrf-token").map(|value| value.as_bytes()).unwrap_or_default();
        if secret::equal(token, principal.csrf.as_bytes()) { Ok(Self(principal)) } else { Err(ConsoleRejection::Forged) }
    }
}

async fn read_form<T: DeserializeOwned>(parts: &Parts, body: &Bytes) -> Result<T, ConsoleRejection> {
    let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let form = Form::<T>::from_request(request, &()).await;
    form.map(|Form(form)| form).map_err(|rejection| ConsoleRejection::Malformed(rejection.status()))
}

/// Proof that a request was not made by another site's page; for the sign-in, so that nobody can sign a person in as somebody else.
#[derive(Clone, Copy, Debug)]
pub struct SameOrigin;

impl<S: Send + Sync> FromRequestParts<S> for SameOrigin {
    type Rejection = ConsoleRejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ConsoleRejection> {
        origin::check(parts).map(|()| Self).map_err(|_| ConsoleRejection::Forged)
    }
}

fn lives(row: &SessionRow, app: &App) -> bool {
    let now = app.now();
    now < row.expires_at && now.saturating_since(row.last_used_at) < IDLE
}

/// The value of our cookie (RFC 6265 §4.2.1); none if it is there twice, which no browser of ours sends.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cookies: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, header::HeaderValue::from_static(cookie));
        }
        cookie(&headers).map(str::to_owned)
    }

    #[test]
    fn the_session_cookie_is_found_among_others_and_refused_twice() {
        assert_eq!(read(&["a=b; __Host-postern=x=y; c=d"]).as_deref(), Some("x=y"));
        assert_eq!(read(&["a=b", "__Host-postern=z"]).as_deref(), Some("z"));
        assert_eq!(read(&["__Host-postern=a; __Host-postern=b"]), None);
        assert_eq!(read(&["postern=a"]), None);
    }
}
