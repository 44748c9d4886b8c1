//! Whose certificate a connection showed: the only thing that decides which tenant and gateway a session belongs to.
//!
//! TLS has verified that an authority of ours issued it, that it has not ended and that the peer holds its key; here it is held against
//! what was written down of that gateway (`store::certificates`).

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ca;
use crate::store::certificates::{Certificate, Presented};
use crate::store::{StoreError, SystemStore};
use crate::trust::Trust;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The gateway's tenant.
    pub(crate) tenant: TenantId,
    /// The gateway.
    pub(crate) gateway: GatewayId,
    /// What it showed.
    pub(crate) certificate: Certificate,
}

/// Why a certificate opens no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The certificate does not name a gateway as ours do.
    #[error("the certificate does not name a gateway")]
    Name,
    /// The gateway was revoked.
    #[error("gateway {0} was revoked")]
    Revoked(GatewayId),
    /// The store cannot tell.
    #[error("the gateway cannot be looked up")]
    Store(#[from] StoreError),
    /// There is no such gateway, or it has another key or tenant by now.
    #[error("gateway {0} is not known with this certificate; enrol it again")]
    Unknown(GatewayId),
}

/// Finds out who showed `certificate`.
pub(crate) async fn identify(system: &SystemStore, trust: &Trust, certificate: &CertificateDer<'_>) -> Result<Peer, Refusal> {
    let peer = parse(trust, certificate).ok_or(Refusal::Name)?;
    let Some(record) = system.find_gateway(&peer.gateway).await? else { return Err(Refusal::Unknown(peer.gateway)) };
    if record.tenant != peer.tenant || system.present(&peer.gateway, &peer.certificate).await? == Presented::Unknown {
        return Err(Refusal::Unknown(peer.gateway));
    }
    if record.revoked_at.is_some() {
        return Err(Refusal::Revoked(peer.gateway));
    }
    Ok(peer)
}

/// Reads who a certificate of ours names, and what is written down of it.
pub(crate) fn parse(trust: &Trust, certificate: &CertificateDer<'_>) -> Option<Peer> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let gateway = GatewayId::new(only(subject.iter_common_name())?).ok()?;
    let tenant = TenantId::new(only(subject.iter_organization())?).ok()?;
    let issuer = trust.authorities().into_iter().find(|authority| authority.issued(certificate))?;
    let validity = parsed.validity();
    let certificate = Certificate {
        spki_sha256: ca::sha256(parsed.public_key().raw),
        serial: data_encoding::HEXLOWER.encode(parsed.raw_serial()),
        issuer: issuer.spki_sha256(),
        not_before: Timestamp::from_secs(validity.not_before.timestamp()),
        not_after: Timestamp::from_secs(validity.not_after.timestamp()),
    };
    Some(Peer { tenant, gateway, certificate })
}

fn only<'a>(mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    let value = values.next()?;
    if values.next().is_some() { None } else { value.as_str().ok() }
}
