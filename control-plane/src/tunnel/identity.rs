//! Whose certificate a connection showed: the only thing that decides which tenant and gateway a session belongs to.
//!
//! TLS has verified that our CA issued it and that the peer holds its key; here it is held against the gateway's row.

use postern_protocol::id::{GatewayId, TenantId};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ca;
use crate::store::{StoreError, SystemStore};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The gateway's tenant.
    pub(super) tenant: TenantId,
    /// The gateway.
    pub(super) gateway: GatewayId,
}

/// Why a certificate opens no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
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
pub(super) async fn identify(system: &SystemStore, certificate: &CertificateDer<'_>) -> Result<Peer, Refusal> {
    let (peer, spki) = parse(certificate).ok_or(Refusal::Name)?;
    let Some(record) = system.find_gateway(&peer.gateway).await? else { return Err(Refusal::Unknown(peer.gateway)) };
    if record.tenant != peer.tenant || record.client_spki != spki {
        return Err(Refusal::Unknown(peer.gateway));
    }
    if record.revoked_at.is_some() {
        return Err(Refusal::Revoked(peer.gateway));
    }
    Ok(peer)
}

fn parse(certificate: &CertificateDer<'_>) -> Option<(Peer, [u8; 32])> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let gateway = GatewayId::new(only(subject.iter_common_name())?).ok()?;
    let tenant = TenantId::new(only(subject.iter_organization())?).ok()?;
    Some((Peer { tenant, gateway }, ca::sha256(parsed.public_key().raw)))
}

fn only<'a>(mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    let value = values.next()?;
    if values.next().is_some() { None } else { value.as_str().ok() }
}
