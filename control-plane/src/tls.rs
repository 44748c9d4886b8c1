//! TLS for the one public port: three server configurations, chosen by ALPN before the handshake.
//!
//! The tunnel asks for a client certificate of our CA and shows the pinned key; enrolment shows the same key with the CA's
//! certificate in the chain and asks for none; browsers get the public certificate and are never asked.

use std::path::Path;
use std::sync::Arc;

use postern_protocol::timestamp::Timestamp;
use rcgen::KeyPair;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::ca::{self, CaError, CertificateAuthority};
use crate::key_file::{self, KeyFileError};
use crate::server_name::ServerName;

/// ALPN identifier of the tunnel.
pub const ALPN_TUNNEL: &[u8] = b"postern/1";
/// ALPN identifier of enrolment.
pub const ALPN_ENROLMENT: &[u8] = b"postern-enrol/1";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be issued.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A key file does not hold a key, or a key cannot be made.
    #[error("the TLS key {name} cannot be used")]
    Key {
        /// Name of the key.
        name: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// rustls refuses the configuration.
    #[error("the TLS configuration is not valid")]
    Rustls(#[from] rustls::Error),
    /// The CA's certificate cannot be a root of trust.
    #[error("the client verifier cannot be built")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The server configurations of the public port.
#[derive(Clone)]
pub struct ServerConfigs {
    /// For [`ALPN_TUNNEL`].
    pub tunnel: Arc<ServerConfig>,
    /// For [`ALPN_ENROLMENT`].
    pub enrolment: Arc<ServerConfig>,
    /// For everything else: console and API.
    pub public: Arc<ServerConfig>,
}

/// Makes the keys of tunnel, its backup and the public port in `folder`; none may exist.
///
/// # Errors
/// [`TlsError`] when one cannot be made.
pub fn create_keys(folder: &Path) -> Result<(), TlsError> {
    for name in ["public", "tunnel", "tunnel-backup"] {
        let key = KeyPair::generate().map_err(|source| TlsError::Key { name, source })?;
        key_file::create(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
    }
    Ok(())
}

/// Returns SHA-256 of the SPKIs that a tunnel server may present, base64: the current key's and the backup's.
///
/// # Errors
/// [`TlsError`] when a key cannot be read.
pub fn tunnel_pins(folder: &Path) -> Result<Vec<String>, TlsError> {
    let keys = [load_key(folder, "tunnel")?, load_key(folder, "tunnel-backup")?];
    Ok(keys.iter().map(|key| data_encoding::BASE64.encode(&ca::spki_sha256(key))).collect())
}

impl ServerConfigs {
    /// Loads the keys of `folder` and their certificates; a certificate that is missing, has other names or ends soon is issued anew.
    ///
    /// # Errors
    /// [`TlsError`] when a key or certificate cannot be read, written or used.
    pub fn load(folder: &Path, authority: &CertificateAuthority, names: &[ServerName], now: Timestamp) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let issue = Issue { authority, names, now };
        let (tunnel_key, tunnel) = identity(folder, "tunnel", &issue)?;
        let (public_key, public) = identity(folder, "public", &issue)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let tunnel_chain = vec![tunnel, authority.certificate().clone()];
        let mut for_tunnel =
            builder(&provider)?.with_client_cert_verifier(verifier).with_single_cert(tunnel_chain.clone(), tunnel_key.clone_key())?;
        for_tunnel.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
        // A resumed session skips the verifier: a certificate that has ended since would open another one for a day.
        for_tunnel.session_storage = Arc::new(NoServerSessionStorage {});
        for_tunnel.send_tls13_tickets = 0;
        let mut for_enrolment = builder(&provider)?.with_no_client_auth().with_single_cert(tunnel_chain, tunnel_key)?;
        for_enrolment.alpn_protocols = vec![ALPN_ENROLMENT.to_vec()];
        let public_chain = vec![public, authority.certificate().clone()];
        let mut for_public = builder(&provider)?.with_no_client_auth().with_single_cert(public_chain, public_key)?;
        for_public.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tunnel: Arc::new(for_tunnel), enrolment: Arc::new(for_enrolment), public: Arc::new(for_public) })
    }
}

/// Returns the cryptography that all TLS here uses.
pub fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn builder(provider: &Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
}

fn load_key(folder: &Path, name: &'static str) -> Result<KeyPair, TlsError> {
    let pem = key_file::read(&folder.join(format!("{name}.key")))?;
    KeyPair::from_pem(&pem).map_err(|source| TlsError::Key { name, source })
}

/// What a server certificate is issued by and with.
struct Issue<'a> {
    authority: &'a CertificateAuthority,
    names: &'a [ServerName],
    now: Timestamp,
}

fn identity(folder: &Path, name: &'static str, issue: &Issue<'_>) -> Result<(PrivateKeyDer<'static>, CertificateDer<'static>), TlsError> {
    let Issue { authority, names, now } = *issue;
    let key = load_key(folder, name)?;
    let path = folder.join(format!("{name}.pem"));
    let stored = key_file::read_public(&path).ok().and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
    let certificate = match stored {
        Some(stored) if ca::is_current(&stored, &key, names, now) => stored,
        _ => {
            let issued = authority.issue_server(&key, names, now)?;
            key_file::replace_public(&path, issued.pem().as_bytes())?;
            tracing::info!(certificate = name, "server certificate issued");
            issued.der().clone()
        }
    };
    Ok((PrivatePkcs8KeyDer::from(key.serialize_der()).into(), certificate))
}
