//! TLS for every connection that the gateway makes or takes: rustls on aws-lc-rs, 1.3 preferred, 1.2 the floor, no built-in roots.
//!
//! Reads no file: certificates and keys come from [`Identity`]. Trust is always in the control plane's own CA, and beyond it in
//! the pins (tunnel) or in the hash from the token (enrolment). Called by the tunnel, enrolment and the gateway's listeners.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use postern_protocol::timestamp::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use x509_parser::extensions::GeneralName;

use crate::identity::Identity;

/// ALPN of the tunnel.
pub const TUNNEL_ALPN: &[u8] = b"postern/1";

/// ALPN of enrolment.
pub const ENROLMENT_ALPN: &[u8] = b"postern-enrol/1";

pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the certificates or the key.
    #[error("certificates or key are not usable")]
    Unusable(#[from] rustls::Error),
    /// The CA's certificate is not usable as a trust anchor.
    #[error("the CA's certificate is not usable as a trust anchor")]
    Verifier(#[from] VerifierBuilderError),
}

/// Why a server's certificate was refused, beyond what rustls says. Found inside the handshake's error by [`distrust`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The certificate is good, but its key is none of the pinned ones.
    #[error(
        "the server's key is none of the pinned ones: something between here and the control plane terminates TLS, or its key was changed"
    )]
    KeyNotPinned,
    /// No certificate in the server's chain has the CA key that the token names.
    #[error(
        "the server is not the one that issued this token: its certificate authority is another one. Nothing was sent to it; check the \
         address, and whether something on the way terminates TLS"
    )]
    OtherAuthority,
}

/// Whether a listener asks its clients for a certificate, and of which authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth<'a> {
    /// It does not ask.
    None,
    /// It asks, and checks what it is given.
    Optional(&'a [CertificateDer<'static>]),
    /// It refuses clients without one.
    Required(&'a [CertificateDer<'static>]),
}

/// A certificate chain, leaf first, with its key. Holds a private key: no `Debug`.
pub struct Certified {
    /// The chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

/// Why certificates and a key do not go together.
#[derive(Debug, thiserror::Error)]
pub enum CertifiedError {
    /// No certificate is in the file.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// No key is in the file.
    #[error("there is no unencrypted private key in PEM form")]
    NoKey,
    /// The chain is out of order or incomplete.
    #[error("certificate {number} is not the issuer of the one before it: the own certificate comes first, then each one's issuer")]
    Order {
        /// Which, from 1.
        number: usize,
    },
    /// The key is another one's.
    #[error("the key is not that of the first certificate")]
    OtherKey,
    /// rustls does not know what to do with the key.
    #[error("the key is of a kind that cannot be used")]
    Key(#[source] rustls::Error),
}

impl Clone for Certified {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Certified {
    /// Reads a chain and a key, each in PEM, and checks that they go together.
    ///
    /// # Errors
    /// [`CertifiedError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertifiedError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| CertifiedError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertifiedError::NoKey)?;
        if chain.is_empty() {
            return Err(CertifiedError::NoCertificate);
        }
        for (at, pair) in chain.windows(2).enumerate() {
            if !matches!(pair, [issued, issuer] if is_issuer(issuer, issued)) {
                return Err(CertifiedError::Order { number: at.saturating_add(2) });
            }
        }
        let signer = provider().key_provider.load_private_key(key.clone_key()).map_err(CertifiedError::Key)?;
        match rustls::sign::CertifiedKey::new(chain.clone(), signer).keys_match() {
            Ok(()) => Ok(Self { chain, key }),
            Err(_) => Err(CertifiedError::OtherKey),
        }
    }

    /// Returns the certificate itself, the first of its chain.
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// Returns the leaf's first and last moment; `None` when it does not parse.
    pub fn validity(&self) -> Option<(Timestamp, Timestamp)> {
        let (_, leaf) = x509_parser::parse_x509_certificate(self.chain.first()?).ok()?;
        let validity = leaf.validity();
        Some((Timestamp::from_secs(validity.not_before.timestamp()), Timestamp::from_secs(validity.not_after.timestamp())))
    }
}

/// Whether `issued` says that `issuer` issued it.
pub(crate) fn is_issuer(issuer: &CertificateDer<'_>, issued: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, issued))) = (x509_parser::parse_x509_certificate(issuer), x509_parser::parse_x509_certificate(issued))
    else {
        return false;
    };
    issued.issuer().as_raw() == issuer.subject().as_raw()
}

/// Returns the one source of cryptography. Key exchange begins with X25519MLKEM768.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Makes the configuration of the tunnel's client side: our certificate; a server certificate of the CA, for the server's name,
/// with a pinned key.
///
/// # Errors
/// [`TlsError`] when the identity's certificates or keys are not usable.
pub fn tunnel_client(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let mut config = pinned(identity)?.with_client_auth_cert(identity.client_chain.clone(), identity.client_key.clone_key())?;
    config.alpn_protocols = vec![TUNNEL_ALPN.to_vec()];
    // A resumed session skips the verifier: each one is to be checked against the pins.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Makes the configuration of the client side of a renewal without the tunnel: the server is checked as the tunnel's is, and no
/// certificate is shown, since ours has ended.
///
/// # Errors
/// [`TlsError`] when an authority's certificate is not usable.
pub fn renewal_client(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let mut config = pinned(identity)?.with_no_client_auth();
    config.alpn_protocols = vec![ENROLMENT_ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn pinned(identity: &Identity) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = provider();
    let roots = roots(&identity.ca)?;
    // Tells a control plane that replaces its authority which one we know (RFC 8446 §4.2.4).
    let authorities = roots.subjects();
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let verifier = PinnedVerifier { webpki, authorities, pins: identity.server_pins.clone() };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(VERSIONS)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

/// Makes the configuration of enrolment's client side, which trusts exactly the CA whose SPKI has this SHA-256.
///
/// The server must send that CA's certificate along, and one of its own that it issued for the server's name.
///
/// # Errors
/// [`TlsError`] never in practice: rustls would have to refuse its own protocol versions.
pub fn enrolment_client(ca_spki: [u8; 32]) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = EnrolmentVerifier { ca_spki, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ENROLMENT_ALPN.to_vec()];
    Ok(config)
}

/// Makes the configuration of a TLS listener of this gateway; the caller sets its ALPN.
///
/// # Errors
/// [`TlsError`] when a certificate or the key is not usable.
pub fn listener_server(listener: &Certified, client_auth: ClientAuth<'_>) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let verifier = |ca| Ok::<_, TlsError>(WebPkiClientVerifier::builder_with_provider(roots(ca)?, Arc::clone(&provider)));
    let verifier = match client_auth {
        ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
        ClientAuth::Optional(ca) => verifier(ca)?.allow_unauthenticated().build()?,
        ClientAuth::Required(ca) => verifier(ca)?.build()?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(listener.chain.clone(), listener.key.clone_key())?;
    // The strongest suite that both know, whatever an old device puts first.
    config.ignore_client_order = true;
    Ok(config)
}

/// Returns the gateway and tenant that a client certificate of the control plane names: its common name and organisation.
pub(crate) fn peer_names(certificate: &CertificateDer<'_>) -> Option<(String, String)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let gateway = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let tenant = parsed.subject().iter_organization().next()?.as_str().ok()?.to_owned();
    Some((gateway, tenant))
}

/// Returns the names and addresses in a certificate.
pub(crate) fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let names = parsed.subject_alternative_name().ok().flatten().map(|extension| extension.value.general_names.as_slice());
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            v4.or_else(|| <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from)).map(|ip| ip.to_string())
        }
        _ => None,
    };
    names.unwrap_or_default().iter().filter_map(text).collect()
}

/// Returns a peer's name from its verified certificate: common name, else the first DNS name, else an empty text.
pub fn peer_subject(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return String::new() };
    let common_name = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok());
    let names = parsed.subject_alternative_name().ok().flatten().map(|extension| extension.value.general_names.as_slice());
    let dns_name = names.unwrap_or_default().iter().find_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    common_name.or(dns_name).unwrap_or_default().to_owned()
}

/// Returns the SHA-256 of a certificate's SubjectPublicKeyInfo, which pins and tokens name; `None` when it does not parse.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    digest::digest(&digest::SHA256, parsed.tbs_certificate.subject_pki.raw).as_ref().try_into().ok()
}

/// Returns our own reason for a failed handshake, if it was one.
pub fn distrust(error: &std::io::Error) -> Option<Distrust> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else { return None };
    cause.downcast_ref().copied()
}

pub(crate) fn roots(ca: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone())?;
    }
    Ok(Arc::new(roots))
}

fn refuse(reason: Distrust) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

/// Full validation against the CA, and the key must be pinned besides.
#[derive(Debug)]
struct PinnedVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    authorities: Vec<DistinguishedName>,
    pins: Vec<[u8; 32]>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let key = spki_sha256(end_entity).ok_or(CertificateError::BadEncoding)?;
        if self.pins.contains(&key) { Ok(verified) } else { Err(refuse(Distrust::KeyNotPinned)) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.authorities)
    }
}

/// Full validation, with the one certificate of the chain as trust anchor whose key the token names.
#[derive(Debug)]
struct EnrolmentVerifier {
    ca_spki: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for EnrolmentVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates.iter().find(|certificate| spki_sha256(certificate) == Some(self.ca_spki));
        let ca = ca.ok_or_else(|| refuse(Distrust::OtherAuthority))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let webpki = webpki.map_err(|error| rustls::Error::General(error.to_string()))?;
        webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_key_exchange_is_offered_first() {
        assert_eq!(provider().kx_groups.first().map(|group| group.name()), Some(rustls::NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn a_peers_name_is_its_common_name_else_its_first_dns_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        assert_eq!(peer_subject(params.self_signed(&key).unwrap().der()), "a.example");
        params.distinguished_name.push(rcgen::DnType::CommonName, "router-7");
        assert_eq!(peer_subject(params.self_signed(&key).unwrap().der()), "router-7");
        assert_eq!(peer_subject(&CertificateDer::from(vec![1, 2, 3])), "");
    }
}
