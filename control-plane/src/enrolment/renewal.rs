//! Renewal: new certificates for a gateway that is known, over its tunnel or, when its certificate has ended, by `POST /enrol/v1/renew`.
//!
//! There the peer shows no client certificate to TLS. Its old one says who it claims to be, an authority of ours must have issued it, and
//! the signature by its key proves the claim. What ended longer ago than the configuration says is renewed only while an admin allows it;
//! what was revoked or set aside as a copy never is.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use postern_protocol::enrolment::{RenewRequest, RenewResponse};
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::oid_registry::{OID_NIST_EC_P384, OID_SIG_ED25519};

use crate::app::App;
use crate::ca::{CaError, CertificateRequest, Issued, Subject, Term};
use crate::clones::{self, Arrival, Verdict};
use crate::rfc3339;
use crate::store::StoreError;
use crate::store::audit::{By, Deed, Outcome, What};
use crate::store::certificates::{Certificate, Presented};
use crate::store::gateway_events::{GatewayEvent, Happening};
use crate::store::incarnations::Standing;
use crate::tls;
use crate::tunnel::identity::{self, Peer};

/// What a gateway wants certificates for.
pub(crate) struct Requests {
    client: CertificateRequest,
    listener: Option<CertificateRequest>,
}

impl Requests {
    /// Reads the requests of the tunnel's message; the listeners' may be empty.
    pub(crate) fn from_der(client: &[u8], listener: &[u8]) -> Result<Self, CaError> {
        let listener = if listener.is_empty() { None } else { Some(CertificateRequest::from_der(listener)?) };
        Ok(Self { client: CertificateRequest::from_der(client)?, listener })
    }
}

/// What was issued.
pub(crate) struct Renewed {
    pub(crate) client: Issued,
    pub(crate) listener: Option<Issued>,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Authority(#[source] CaError),
    /// The request is not good.
    #[error("{0}")]
    Request(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CaError> for IssueError {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Request(_) => Self::Request(crate::chain(&error)),
            CaError::File(_) | CaError::Own { .. } | CaError::Random(_) => Self::Authority(error),
        }
    }
}

/// Issues certificates for a gateway that has proven who it is, and writes that down before they leave.
pub(crate) async fn issue(
    app: &App,
    tenant: &TenantId,
    gateway: &GatewayId,
    (requests, by): (Requests, By),
) -> Result<Renewed, IssueError> {
    let (trust, now) = (app.trust.current(), app.now());
    let authority = trust.issuing();
    let term = Term { now, life: app.config.client_certificate_life };
    let client = authority.issue_client(&requests.client, Subject { gateway, tenant }, term)?;
    let listener = match &requests.listener {
        Some(request) => Some(authority.issue_listener(request, gateway, &app.config.names, now)?),
        None => None,
    };
    let peer = identity::parse(&trust, &client.der).ok_or(StoreError::Corrupt("certificate"))?;
    let detail = format!("certificate {} is good until {}", peer.certificate.serial, rfc3339::format(peer.certificate.not_after));
    let deed = Deed {
        at: now,
        by,
        what: What::GatewayRenewed,
        about: format!("gateway {gateway}"),
        detail: detail.clone(),
        outcome: Outcome::Done,
    };
    app.stores.system().certificate_issued(gateway, peer.certificate, (now, deed)).await?;
    tracing::info!(%gateway, detail, "certificate renewed");
    Ok(Renewed { client, listener })
}

/// Why `/enrol/v1/renew` gives nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The body is not a request.
    Body(String),
    /// The control plane failed.
    Internal(String),
    /// The old certificate, or the signature by its key, does not prove anything.
    Proof(&'static str),
    /// A request for a certificate is not good.
    Request(String),
    /// The gateway was revoked then.
    Revoked(GatewayId, Timestamp),
    /// The machine is a copy that is kept out.
    SetAside(GatewayId),
    /// The certificate ended too long ago, and nobody has allowed it.
    TooLate { gateway: GatewayId, ended: Timestamp, within: Duration },
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Internal(crate::chain(&error))
    }
}

impl From<IssueError> for Refusal {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Request(reason) => Self::Request(reason),
            IssueError::Authority(_) | IssueError::Store(_) => Self::Internal(crate::chain(&error)),
        }
    }
}

impl From<CaError> for Refusal {
    fn from(error: CaError) -> Self {
        IssueError::from(error).into()
    }
}

/// Renews the certificates of a gateway whose own has ended.
pub(super) async fn renew(app: &App, body: &[u8]) -> Result<(RenewResponse, Peer), Refusal> {
    let request: RenewRequest = serde_json::from_slice(body).map_err(|error| Refusal::Body(error.to_string()))?;
    let peer = prove(app, &request)?;
    let (now, system) = (app.now(), app.stores.system());
    let record = system.find_gateway(&peer.gateway).await?.filter(|record| record.tenant == peer.tenant);
    let record = record.ok_or(Refusal::Proof("this control plane has no such gateway"))?;
    if let Some(at) = record.revoked_at {
        return Err(Refusal::Revoked(peer.gateway, at));
    }
    if system.present(&peer.gateway, &peer.certificate).await? == Presented::Unknown {
        return Err(Refusal::Proof("the certificate is none of this gateway's: it was enrolled anew since"));
    }
    let [incarnation, previous] = request.incarnations.map(|text| text.parse().unwrap_or_default());
    let arrival = Arrival { incarnation, previous, session: u64::MAX };
    let (arrival, chain) = system.chain(&peer.gateway, arrival, Vec::new()).await?;
    if let Verdict::KeptOut(Standing::Refused | Standing::Suspect) = clones::judge(arrival, chain) {
        return Err(Refusal::SetAside(peer.gateway));
    }
    let Certificate { not_after, .. } = peer.certificate;
    let in_time = now <= not_after.saturating_add(app.config.renew_expired_within);
    if !in_time && system.renewal_allowed(&peer.gateway).await?.is_none_or(|until| now > until) {
        return Err(Refusal::TooLate { gateway: peer.gateway, ended: not_after, within: app.config.renew_expired_within });
    }
    let requests = Requests {
        client: CertificateRequest::from_pem(&request.client_csr)?,
        listener: Some(CertificateRequest::from_pem(&request.listener_csr)?),
    };
    let renewed = issue(app, &peer.tenant, &peer.gateway, (requests, By::gateway(&peer.gateway))).await?;
    let text = format!("its certificate had ended at {}; it was renewed without the tunnel", rfc3339::format(not_after));
    let store = app.stores.tenant(&peer.tenant)?;
    store.note_gateway_event(&peer.gateway, GatewayEvent { at: now, what: Happening::Renewed, text }).await?;
    let response = RenewResponse {
        client_certificate: renewed.client.pem,
        listener_certificate: renewed.listener.map(|listener| listener.pem).unwrap_or_default(),
    };
    Ok((response, peer))
}

/// Finds out who asks: an authority of ours issued the certificate, and its key signed the request.
fn prove(app: &App, request: &RenewRequest) -> Result<Peer, Refusal> {
    let trust = app.trust.current();
    let unknown = Refusal::Proof("the certificate is none that this control plane issued: enrol the gateway anew with a token");
    let Ok(certificate) = CertificateDer::from_pem_slice(request.certificate.as_bytes()) else {
        return Err(Refusal::Proof("there is no certificate in the request"));
    };
    let Some(peer) = identity::parse(&trust, &certificate) else { return Err(unknown) };
    // Judged as of its own time: that it has ended is why we are here.
    let own_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(peer.certificate.not_after.as_secs()).unwrap_or_default()));
    let mut roots = rustls::RootCertStore::empty();
    for authority in trust.certificates() {
        roots.add(authority).map_err(|error| Refusal::Internal(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), tls::provider().into()).build();
    let verifier = verifier.map_err(|error| Refusal::Internal(error.to_string()))?;
    if verifier.verify_client_cert(&certificate, &[], own_time).is_err() {
        return Err(unknown);
    }
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&certificate) else { return Err(unknown) };
    let spki = parsed.public_key();
    let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let algorithm: &'static dyn VerificationAlgorithm = if spki.algorithm.algorithm == OID_SIG_ED25519 {
        &ED25519
    } else if curve.is_some_and(|curve| curve == OID_NIST_EC_P384) {
        &ECDSA_P384_SHA384_ASN1
    } else {
        &ECDSA_P256_SHA256_ASN1
    };
    let signature = data_encoding::BASE64.decode(request.signature.as_bytes()).unwrap_or_default();
    let key = UnparsedPublicKey::new(algorithm, &spki.subject_public_key.data);
    match key.verify(&request.signing_input(), &signature) {
        Ok(()) => Ok(peer),
        Err(_) => Err(Refusal::Proof("the request is not signed by the certificate's key")),
    }
}
