//! Who asks the API: the principal of the access token in `Authorization: Bearer …` (RFC 6750 §2.1). Never looks at a cookie,
//! so that no page in a browser can use the API in a person's name.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use postern_protocol::timestamp::Timestamp;

use super::clients::token_hash;
use super::seal::Seal;
use super::{Actor, Principal};
use crate::api::problem::Problem;
use crate::app::App;

/// The principal of a request to the API. Holds a key: no `Debug`.
#[derive(Clone)]
pub struct ApiPrincipal {
    /// Who asks.
    pub principal: Principal,
    /// When the access token ends: long answers end then too.
    pub expires_at: Timestamp,
    token_sha256: Vec<u8>,
    seal: Seal,
}

impl FromRequestParts<Arc<App>> for ApiPrincipal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| unauthorised("an access token is needed", Challenge::Bare))?;
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| unauthorised("the API takes bearer tokens only", Challenge::Bare))?;
        let token_sha256 = token_hash(token);
        let row = app.stores.system().find_access_token(token_sha256.clone(), app.now()).await?;
        let row = row.ok_or_else(|| unauthorised("the access token is unknown, over or revoked", Challenge::InvalidToken))?;
        let principal =
            Principal { tenant: row.tenant, actor: Actor::Client { id: row.client }, role: row.role, from: super::peer(&parts.extensions) };
        Ok(Self { principal, expires_at: row.expires_at, token_sha256, seal: Seal::of(token) })
    }
}

impl ApiPrincipal {
    /// Keeps answers with secrets in them from everybody who does not hold the access token.
    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Whether the access token is still good; a stream asks from time to time.
    pub(crate) async fn is_good(&self, app: &App) -> bool {
        let found = app.stores.system().find_access_token(self.token_sha256.clone(), app.now()).await;
        found.is_ok_and(|row| row.is_some())
    }
}

enum Challenge {
    Bare,
    InvalidToken,
}

fn unauthorised(detail: &'static str, challenge: Challenge) -> Problem {
    // RFC 6750 §3.1: without credentials the challenge names no error.
    let challenge = HeaderValue::from_static(match challenge {
        Challenge::Bare => "Bearer realm=\"postern\"",
        Challenge::InvalidToken => "Bearer realm=\"postern\", error=\"invalid_token\"",
    });
    Problem::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, challenge)
}
