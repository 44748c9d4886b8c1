//! TLS for every connection that the gateway makes or takes: rustls on aws-lc-rs, 1.3 preferred, 1.2 the floor, no built-in roots.
//!
//! Reads no file: certificates and keys come from [`Identity`].

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use crate::identity::Identity;

/// ALPN of the tunnel.
pub const TUNNEL_ALPN: &[u8] = b"postern/1";

/// ALPN of enrolment.
pub const ENROLMENT_ALPN: &[u8] = b"postern-enrol/1";

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the certificates or the key.
    #[error("certificates or key are not usable")]
    Unusable(#[from] rustls::Error),
    /// The CA's certificate is not usable as a trust anchor.
    #[error("the CA's certificate is not usable as a trust anchor")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Whether a listener asks its clients for a certificate of our CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It does not ask.
    None,
    /// It asks, and checks what it is given.
    Optional,
    /// It refuses clients without one.
    Required,
}

/// Returns the one source of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Makes the configuration of the tunnel's client side.
///
/// # Errors
/// [`TlsError`] when the identity's certificates or keys are not usable.
pub fn tunnel_client(_identity: &Identity) -> Result<ClientConfig, TlsError> {
    Err(TlsError::Unusable(rustls::Error::General("not built yet".to_owned())))
}

/// Makes the configuration of enrolment's client side, which trusts exactly the CA whose SPKI has this SHA-256.
///
/// # Errors
/// [`TlsError`] never in practice: rustls would have to refuse its own protocol versions.
pub fn enrolment_client(_ca_spki: [u8; 32]) -> Result<ClientConfig, TlsError> {
    Err(TlsError::Unusable(rustls::Error::General("not built yet".to_owned())))
}

/// Makes the configuration of a TLS listener of this gateway; the caller sets its ALPN.
///
/// # Errors
/// [`TlsError`] when the identity's certificates or keys are not usable.
pub fn listener_server(_identity: &Identity, _client_auth: ClientAuth) -> Result<ServerConfig, TlsError> {
    Err(TlsError::Unusable(rustls::Error::General("not built yet".to_owned())))
}

/// Returns a peer's name from its verified certificate: common name, else the first DNS name, else an empty text.
pub fn peer_subject(_certificate: &CertificateDer<'_>) -> String {
    String::new()
}
