//! Enrolment: how an admin's one-time token becomes a gateway with certificates, and how a gateway whose certificate has ended gets
//! another one ([`renewal`]). Served only under ALPN `postern-enrol/1`.
//!
//! Every refusal says what is wrong and what to do, but only to someone who holds a token that this control plane made; anyone else
//! learns that the token is not known.

pub(crate) mod renewal;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use postern_protocol::enrolment::{EnrolRequest, EnrolResponse, Token};
use postern_protocol::farewell;
use postern_protocol::id::{GatewayId, RevisionNumber, TenantId};
use postern_protocol::revision::BUILT_IN;
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::ca::{CaError, CertificateRequest, Subject, Term};
use crate::feed::Change;
use crate::metrics::Metrics;
use crate::random;
use crate::rfc3339;
use crate::store::audit::By;
use crate::store::certificates::Given;
use crate::store::revisions::NewRevision;
use crate::store::tokens::{Grant, NewToken, Refusal};
use crate::store::{StoreError, Stores};
use crate::tunnel::identity;

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Makes a token for a gateway of `tenant`, whose audit says that `by` did; its text is not kept.
///
/// # Errors
/// [`StoreError::NotFound`] without such a tenant.
pub async fn create_token(
    app: &App,
    (tenant, by): (&TenantId, By),
    gateway_name: &str,
    life: Duration,
) -> Result<(String, Token), StoreError> {
    let issue = TokenIssue { ca_spki_sha256: app.trust.current().presented().spki_sha256(), by, now: app.now() };
    issue.create(&app.stores, tenant, gateway_name, life).await
}

/// What a new token is made of, besides its secret: the command line makes tokens without a running [`App`].
#[derive(Clone, Debug)]
pub struct TokenIssue {
    /// SHA-256 of the CA's SubjectPublicKeyInfo.
    pub ca_spki_sha256: [u8; 32],
    /// Who makes it.
    pub by: By,
    /// The present time.
    pub now: Timestamp,
}

impl TokenIssue {
    /// Makes a token and keeps its secret's hash.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a tenant.
    pub async fn create(
        self,
        stores: &Stores,
        tenant: &TenantId,
        gateway_name: &str,
        life: Duration,
    ) -> Result<(String, Token), StoreError> {
        let id = random::hex::<6>()?;
        let secret = random::bytes::<32>()?;
        // Whole seconds: the token's text carries no more.
        let expires = Timestamp::from_secs(self.now.saturating_add(life).as_secs());
        let new = NewToken {
            id: id.clone(),
            secret_sha256: Token::secret_hash(&secret),
            tenant: tenant.clone(),
            gateway_name: gateway_name.to_owned(),
            expires_at: expires,
        };
        stores.system().insert_token(new, (self.by, self.now)).await?;
        stores.deliver_notes(tenant).await?;
        Ok((id, Token { ca_spki_sha256: self.ca_spki_sha256, secret, expires }))
    }
}

/// Returns the only route that a connection without any identity can reach.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/enrol/v1", post(handle))
        .route("/enrol/v1/renew", post(renew))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

async fn handle(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match enrol(&app, &body).await {
        Ok(response) => {
            Metrics::add(&app.metrics.enrolments, 1);
            tracing::info!(gateway = %response.gateway, tenant = %response.tenant, "gateway enrolled");
            Json(response).into_response()
        }
        Err(refused) => {
            Metrics::add(&app.metrics.enrolments_refused, 1);
            refused.into_response()
        }
    }
}

async fn renew(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match renewal::renew(&app, &body).await {
        Ok((response, peer)) => {
            tracing::info!(gateway = %peer.gateway, tenant = %peer.tenant, "a certificate that had ended was renewed");
            app.feed.publish(&peer.tenant, Change::Gateway { id: peer.gateway });
            Json(response).into_response()
        }
        Err(refused) => {
            Metrics::add(&app.metrics.enrolments_refused, 1);
            Refused::Renewal(refused).into_response()
        }
    }
}

async fn enrol(app: &App, body: &[u8]) -> Result<EnrolResponse, Refused> {
    let request: EnrolRequest = serde_json::from_slice(body).map_err(|error| Refused::Body(error.to_string()))?;
    let secret = data_encoding::BASE64URL_NOPAD.decode(request.secret.as_bytes()).map_err(|_| Refused::Token(Refusal::Unknown))?;
    let secret_sha256 = Token::secret_hash(&secret);
    let now = app.now();
    let system = app.stores.system();
    let grant = system.check_token(secret_sha256, now).await?.map_err(Refused::Token)?;
    let gateway = gateway_id(&grant.gateway_name)?;
    let trust = app.trust.current();
    let (client, listener) = (CertificateRequest::from_pem(&request.client_csr)?, CertificateRequest::from_pem(&request.listener_csr)?);
    let term = Term { now, life: app.config.client_certificate_life };
    let client = trust.issuing().issue_client(&client, Subject { gateway: &gateway, tenant: &grant.tenant }, term)?;
    let listener = trust.issuing().issue_listener(&listener, &gateway, &app.config.names, now)?;
    let own = identity::parse(&trust, &client.der).ok_or_else(|| Refused::Internal("certificate".to_owned()))?;
    let given = Given { certificate: own.certificate, trust_serial: trust.ring().serial };
    // Before the token is used up: from here on the gateway must find its revision.
    put_built_in(app, &gateway, &grant, now).await?;
    let grant = system.redeem_token(secret_sha256, &gateway, given, now).await?.map_err(Refused::Token)?;
    app.feed.publish(&grant.tenant, Change::Gateway { id: gateway.clone() });
    Ok(EnrolResponse {
        gateway,
        tenant: grant.tenant,
        client_certificate: client.pem,
        listener_certificate: listener.pem,
        ca: trust.pem(),
        server_pins: trust.pins().iter().map(|pin| data_encoding::BASE64.encode(pin)).collect(),
        revision_keys: vec![data_encoding::BASE64.encode(app.signer.public_key())],
    })
}

async fn put_built_in(app: &App, gateway: &GatewayId, grant: &Grant, now: Timestamp) -> Result<(), StoreError> {
    let new = NewRevision {
        gateway: gateway.clone(),
        document: BUILT_IN.as_bytes().to_vec(),
        by: By::control_plane(),
        remark: "the built-in rules".to_owned(),
        rollout: None,
        at_least: RevisionNumber(1),
        at: now,
    };
    app.stores.tenant(&grant.tenant)?.put_revision(new, &app.signer).await?;
    Ok(())
}

/// Makes a gateway's identifier: readable, and unique by its random part.
fn gateway_id(name: &str) -> Result<GatewayId, Refused> {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 40 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    let text = format!("{}-{}", if slug.is_empty() { "gateway" } else { slug }, random::hex::<4>().map_err(StoreError::from)?);
    GatewayId::new(text).map_err(|_| Refused::Internal("gateway identifier".to_owned()))
}

/// Why an enrolment was refused.
#[derive(Debug)]
enum Refused {
    Body(String),
    Internal(String),
    Renewal(renewal::Refusal),
    Request(String),
    Token(Refusal),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Internal(crate::chain(&error))
    }
}

impl From<CaError> for Refused {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Request(reason) => Self::Request(reason),
            CaError::File(_) | CaError::Own { .. } | CaError::Random(_) => Self::Internal(crate::chain(&error)),
        }
    }
}

/// A refusal as the gateway shows it to a person (RFC 9457).
#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

impl Refused {
    fn problem(&self) -> Problem {
        let another = "Make another one with `postern-control token create` or in the console.";
        let (status, title, detail) = match self {
            Self::Body(reason) => {
                (StatusCode::BAD_REQUEST, "Malformed enrolment request", format!("The request cannot be read: {reason}."))
            }
            Self::Internal(id) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Enrolment failed",
                format!("The control plane failed; the token can still be used. Its log has the details under {id}."),
            ),
            Self::Renewal(refused) => return renewal_problem(refused),
            Self::Request(reason) => {
                (StatusCode::BAD_REQUEST, "Certificate request refused", format!("The token can still be used. Reason: {reason}."))
            }
            Self::Token(Refusal::Expired(at)) => {
                (StatusCode::FORBIDDEN, "Enrolment token expired", format!("The token expired at {}. {another}", rfc3339::format(*at)))
            }
            Self::Token(Refusal::Revoked(at)) => {
                (StatusCode::FORBIDDEN, "Enrolment token revoked", format!("The token was revoked at {}. {another}", rfc3339::format(*at)))
            }
            Self::Token(Refusal::Unknown) => (
                StatusCode::FORBIDDEN,
                "Enrolment token not known",
                format!("This control plane did not make that token, or it was altered. Copy it again as a whole. {another}"),
            ),
            Self::Token(Refusal::Used(at)) => (
                StatusCode::FORBIDDEN,
                "Enrolment token already used",
                format!(
                    "A gateway enrolled with this token at {}; a token works once. If that was not you, revoke that gateway. {another}",
                    rfc3339::format(*at)
                ),
            ),
        };
        Problem { kind: "about:blank", title, status: status.as_u16(), detail }
    }
}

fn renewal_problem(refused: &renewal::Refusal) -> Problem {
    use renewal::Refusal::{Body, Internal, Proof, Request, Revoked, SetAside, TooLate};
    let (status, title, detail) = match refused {
        Body(reason) => (StatusCode::BAD_REQUEST, "Malformed renewal request", format!("The request cannot be read: {reason}.")),
        Internal(id) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Renewal failed",
            format!("The control plane failed; the gateway tries again. Its log has the details under {id}."),
        ),
        Proof(reason) => (StatusCode::FORBIDDEN, "Not this gateway's certificate", format!("Nothing was renewed: {reason}.")),
        Request(reason) => (StatusCode::BAD_REQUEST, "Certificate request refused", format!("Nothing was renewed: {reason}.")),
        Revoked(gateway, at) => (
            StatusCode::FORBIDDEN,
            "Gateway revoked",
            format!("Gateway {gateway} {} at {}: it can only be enrolled anew, with a token.", farewell::REVOKED, rfc3339::format(*at)),
        ),
        SetAside(gateway) => (
            StatusCode::FORBIDDEN,
            "Copy of a gateway",
            format!(
                "This copy of gateway {gateway} {}: another machine has its identity. Decide on the gateway's identity page in the console.",
                farewell::QUARANTINED
            ),
        ),
        TooLate { gateway, ended, within } => (
            StatusCode::FORBIDDEN,
            "Certificate ended too long ago",
            format!(
                "The certificate of gateway {gateway} ended at {}, more than {} days ago. An admin can allow its renewal on the gateway's \
                 identity page in the console, or with `postern-control gateway allow-renewal {gateway}`; the gateway then comes back by itself.",
                rfc3339::format(*ended),
                within.as_secs() / 86_400
            ),
        ),
    };
    Problem { kind: "about:blank", title, status: status.as_u16(), detail }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let this = match self {
            Self::Internal(reason) => {
                let id = random::hex::<6>().unwrap_or_default();
                tracing::error!(id, reason, "enrolment failed");
                Self::Internal(id)
            }
            Self::Renewal(renewal::Refusal::Internal(reason)) => {
                let id = random::hex::<6>().unwrap_or_default();
                tracing::error!(id, reason, "renewal failed");
                Self::Renewal(renewal::Refusal::Internal(id))
            }
            other @ (Self::Body(_) | Self::Renewal(_) | Self::Request(_) | Self::Token(_)) => other,
        };
        let problem = this.problem();
        match this {
            // Anyone can send these: counted, not logged.
            Self::Body(_) | Self::Renewal(renewal::Refusal::Body(_) | renewal::Refusal::Proof(_)) | Self::Token(Refusal::Unknown) => {
                tracing::debug!(title = problem.title, "enrolment refused")
            }
            Self::Internal(_) | Self::Renewal(_) | Self::Request(_) | Self::Token(_) => {
                tracing::warn!(title = problem.title, "enrolment refused")
            }
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
    }
}
