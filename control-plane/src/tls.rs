//! TLS for the one public port: three server configurations, chosen by ALPN before the handshake.
//!
//! The tunnel asks for a client certificate of our CA and shows the pinned key; enrolment shows the same key with the CA's
//! certificate in the chain and asks for none; browsers get the public certificate and are never asked. While the authority is replaced
//! (`trust`) there are two certificates of the pinned key, and the peer's ClientHello says which authority it wants.

use std::path::Path;
use std::sync::Arc;

use postern_protocol::timestamp::Timestamp;
use rcgen::KeyPair;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, RootCertStore, ServerConfig};

use crate::ca::{self, CaError, CertificateAuthority};
use crate::key_file::{self, KeyFileError};
use crate::server_name::ServerName;
use crate::trust::ring::RingError;
use crate::trust::{self, Trust};

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
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The key ring cannot be read or changed.
    #[error(transparent)]
    Ring(#[from] RingError),
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
        let key = KeyPair::generate().map_err(|source| TlsError::Key { name: name.to_owned(), source })?;
        key_file::create(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
    }
    Ok(())
}

impl ServerConfigs {
    /// Loads the keys of `folder` and their certificates; a certificate that is missing, has other names or ends soon is issued anew.
    ///
    /// # Errors
    /// [`TlsError`] when a key or certificate cannot be read, written or used.
    pub fn load(folder: &Path, trust: &Trust, names: &[ServerName], now: Timestamp) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let issue = |authority| Issue { folder, authority, names, now };
        let shown = certified(&provider, &trust.ring().tunnel, &issue(trust.presented()))?;
        let next = match trust.next() {
            None => None,
            Some(next) => {
                let subject = DistinguishedName::from(subject(next)?);
                Some((subject, certified(&provider, &trust.ring().tunnel, &issue(next))?))
            }
        };
        let resolver = Arc::new(ByAuthority { shown, next });
        let mut roots = RootCertStore::empty();
        for authority in trust.certificates() {
            roots.add(authority)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let mut for_tunnel = builder(&provider)?.with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(&resolver) as _);
        for_tunnel.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
        // A resumed session skips the verifier: a certificate that has ended since would open another one for a day.
        for_tunnel.session_storage = Arc::new(NoServerSessionStorage {});
        for_tunnel.send_tls13_tickets = 0;
        let mut for_enrolment = builder(&provider)?.with_no_client_auth().with_cert_resolver(resolver);
        for_enrolment.alpn_protocols = vec![ALPN_ENROLMENT.to_vec()];
        let public = certified(&provider, "public", &issue(trust.issuing()))?;
        let mut for_public =
            builder(&provider)?.with_no_client_auth().with_cert_resolver(Arc::new(ByAuthority { shown: public, next: None }));
        for_public.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tunnel: Arc::new(for_tunnel), enrolment: Arc::new(for_enrolment), public: Arc::new(for_public) })
    }
}

/// Shows the certificate of the authority that the peer names in its ClientHello (RFC 8446 §4.2.4), else the usual one.
#[derive(Debug)]
struct ByAuthority {
    shown: Arc<CertifiedKey>,
    next: Option<(DistinguishedName, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for ByAuthority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.certificate_authorities().unwrap_or_default();
        match &self.next {
            Some((subject, next)) if wanted.iter().any(|name| name.as_ref() == subject.as_ref()) => Some(Arc::clone(next)),
            _ => Some(Arc::clone(&self.shown)),
        }
    }
}

/// Returns the encoded subject of an authority.
fn subject(authority: &CertificateAuthority) -> Result<Vec<u8>, TlsError> {
    let damaged = |_| TlsError::Authority(CaError::Own { what: "certificate", source: rcgen::Error::CouldNotParseCertificate });
    let (_, parsed) = x509_parser::parse_x509_certificate(authority.certificate()).map_err(damaged)?;
    Ok(parsed.subject().as_raw().to_vec())
}

/// Returns the cryptography that all TLS here uses.
pub fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn builder(provider: &Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
}

/// What a server certificate is issued by and with.
struct Issue<'a> {
    folder: &'a Path,
    authority: &'a CertificateAuthority,
    names: &'a [ServerName],
    now: Timestamp,
}

/// Returns the key `name` with its certificate, which is issued anew if it does not fit any more.
fn certified(provider: &CryptoProvider, name: &str, issue: &Issue<'_>) -> Result<Arc<CertifiedKey>, TlsError> {
    let Issue { folder, authority, names, now } = *issue;
    let key = trust::load_key(folder, name)?;
    // Of the same key there may be certificates of two authorities.
    let of = data_encoding::HEXLOWER.encode(authority.spki_sha256().get(..4).unwrap_or_default());
    let stored = [format!("{name}.pem"), format!("{name}.{of}.pem")].map(|file| folder.join(file));
    let fitting = stored.iter().find_map(|path| {
        let pem = key_file::read_public(path).ok()?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        (ca::is_current(&certificate, &key, names, now) && authority.issued(&certificate)).then_some(certificate)
    });
    let certificate = match fitting {
        Some(certificate) => certificate,
        None => {
            let issued = authority.issue_server(&key, names, now)?;
            let [first, other] = &stored;
            let path = if of_another(first, authority) { other } else { first };
            key_file::replace_public(path, issued.pem().as_bytes())?;
            tracing::info!(certificate = name, "server certificate issued");
            issued.der().clone()
        }
    };
    let signer = provider.key_provider.load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate, authority.certificate().clone()], signer)))
}

/// Whether the file holds another authority's certificate, which is still shown.
fn of_another(path: &Path, authority: &CertificateAuthority) -> bool {
    let pem = key_file::read_public(path).ok();
    let certificate = pem.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
    certificate.is_some_and(|certificate| !authority.issued(&certificate))
}
