//! One of the control plane's own certificate authorities: a P-256 key whose certificate gateways and browsers trust. Which one issues,
//! and which is still trusted, is `trust`'s to say.
//!
//! What a request asks for is never copied: of a CSR only the key is taken, and for a gateway's own listeners those names that
//! it may have. Everything else in a certificate is decided here. The key stays in the `keys` folder and in this module.

use std::path::Path;
use std::time::Duration;

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;

use crate::key_file::{self, KeyFileError};
use crate::random;
use crate::server_name::ServerName;

const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Browsers refuse server certificates of more than 398 days.
const SERVER_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// Renewed early enough that no one meets an expired one.
const SERVER_RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// For peers whose clock is behind ours; a short-lived certificate by a tenth of its life, or its renewal would be due at once.
const BACKDATED: Duration = Duration::from_secs(3600);
const BACKDATED_PART: u32 = 10;
const MAX_LISTENER_NAMES: usize = 32;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A certificate or key of ours is damaged, or a signature failed.
    #[error("the certificate authority's {what} cannot be used")]
    Own {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] random::Unavailable),
    /// The request is not one, is not signed by its key, or its key is of a kind that we do not certify.
    #[error("the certificate request is not valid: {0}")]
    Request(String),
}

/// A certificate that was issued to a gateway.
pub struct Issued {
    /// The certificate, PEM.
    pub pem: String,
    /// The certificate, DER.
    pub der: CertificateDer<'static>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
}

/// A request for a certificate (PKCS#10): its signature fits, and its key is of a kind that we certify.
pub struct CertificateRequest(CertificateSigningRequestParams);

impl CertificateRequest {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// [`CaError::Request`] when it is none, is not signed by its key, or its key is of another kind.
    pub fn from_pem(pem: &str) -> Result<Self, CaError> {
        Self::check(CertificateSigningRequestParams::from_pem(pem))
    }

    /// Reads a request in DER.
    ///
    /// # Errors
    /// As [`CertificateRequest::from_pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, CaError> {
        Self::check(CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der)))
    }

    fn check(parsed: Result<CertificateSigningRequestParams, rcgen::Error>) -> Result<Self, CaError> {
        let request = parsed.map_err(|error| CaError::Request(error.to_string()))?;
        let allowed = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !allowed.contains(&request.public_key.algorithm()) {
            return Err(CaError::Request("the key must be ECDSA P-256, ECDSA P-384 or Ed25519".to_owned()));
        }
        Ok(Self(request))
    }
}

/// Whom a gateway's certificate names.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The gateway.
    pub gateway: &'a GatewayId,
    /// Its tenant.
    pub tenant: &'a TenantId,
}

/// From when and how long a certificate is good.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// The present time.
    pub now: Timestamp,
    /// Time from then to its end.
    pub life: Duration,
}

/// The certificate authority. Holds a private key: no `Debug`.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Makes a new authority and writes `NAME.key` and `NAME.pem` to `folder`; the key may not exist.
    ///
    /// # Errors
    /// [`CaError`] when they cannot be made.
    pub fn create(folder: &Path, name: &str, now: Timestamp) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(own("key"))?;
        let mut params = params(Term { now, life: CA_LIFE })?;
        // The random part tells apart the authorities of several control planes in one browser.
        params.distinguished_name = subject(&format!("Postern CA {}", random::hex::<4>()?), "Postern");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(own("certificate"))?;
        key_file::create(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
        key_file::replace_public(&folder.join(format!("{name}.pem")), certificate.pem().as_bytes())?;
        Self::load(folder, name)
    }

    /// Loads what [`CertificateAuthority::create`] wrote.
    ///
    /// # Errors
    /// [`CaError`] when a file cannot be read or does not hold what it should.
    pub fn load(folder: &Path, name: &str) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(&key_file::read(&folder.join(format!("{name}.key")))?).map_err(own("key"))?;
        let pem = key_file::read_public(&folder.join(format!("{name}.pem")))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CaError::Own { what: "certificate", source: rcgen::Error::CouldNotParseCertificate })?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(own("certificate"))?;
        Ok(Self { certificate, pem, issuer })
    }

    /// Returns the authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the authority's certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether a certificate of ours says that this authority issued it.
    pub fn issued(&self, certificate: &CertificateDer<'_>) -> bool {
        match (x509_parser::parse_x509_certificate(certificate), x509_parser::parse_x509_certificate(&self.certificate)) {
            (Ok((_, issued)), Ok((_, own))) => issued.issuer().as_raw() == own.subject().as_raw(),
            _ => false,
        }
    }

    /// Returns SHA-256 of the authority's SubjectPublicKeyInfo: what enrolment tokens carry.
    pub fn spki_sha256(&self) -> [u8; 32] {
        spki_sha256(self.issuer.key())
    }

    /// Issues a certificate for one of the control plane's own TLS keys.
    ///
    /// # Errors
    /// [`CaError::Own`] when signing fails.
    pub fn issue_server(&self, key: &KeyPair, names: &[ServerName], now: Timestamp) -> Result<Certificate, CaError> {
        let common_name = names.first().map_or_else(|| "postern".to_owned(), ToString::to_string);
        self.server_params(subject(&common_name, "Postern"), names, now)?.signed_by(key, &self.issuer).map_err(own("key"))
    }

    /// Issues a gateway's client certificate: the subject is ours to say, the request's is ignored.
    ///
    /// # Errors
    /// [`CaError::Own`] when signing fails.
    pub fn issue_client(&self, request: &CertificateRequest, whom: Subject<'_>, term: Term) -> Result<Issued, CaError> {
        let mut params = params(term)?;
        params.distinguished_name = subject(whom.gateway.as_str(), whom.tenant.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, request)
    }

    fn sign(&self, params: &CertificateParams, request: &CertificateRequest) -> Result<Issued, CaError> {
        let key = &request.0.public_key;
        let certificate = params.signed_by(key, &self.issuer).map_err(own("key"))?;
        Ok(Issued { pem: certificate.pem(), der: certificate.der().clone(), spki_sha256: spki_sha256(key) })
    }

    /// Issues the certificate of a gateway's own TLS listeners with the names that it asks for.
    ///
    /// Names of the control plane are left out, or a gateway could pass for it; loopback names stay, since they reach only the
    /// gateway's own machine. Without any name left the certificate carries the gateway's identifier.
    ///
    /// # Errors
    /// [`CaError::Own`] when signing fails.
    pub fn issue_listener(
        &self,
        request: &CertificateRequest,
        gateway: &GatewayId,
        ours: &[ServerName],
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        let mut names = Vec::new();
        for name in request.0.params.subject_alt_names.iter().filter_map(ServerName::from_san) {
            let allowed = name.is_loopback() || !ours.contains(&name);
            if allowed && !names.contains(&name) && names.len() < MAX_LISTENER_NAMES {
                names.push(name);
            }
        }
        if names.is_empty() {
            names.push(ServerName::Dns(gateway.as_str().to_owned()));
        }
        let params = self.server_params(subject(gateway.as_str(), "Postern gateway"), &names, now)?;
        self.sign(&params, request)
    }

    fn server_params(&self, subject: DistinguishedName, names: &[ServerName], now: Timestamp) -> Result<CertificateParams, CaError> {
        let mut params = params(Term { now, life: SERVER_LIFE })?;
        params.distinguished_name = subject;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(ServerName::to_san).collect::<Result<_, _>>().map_err(own("name"))?;
        Ok(params)
    }
}

/// Returns SHA-256 of a public key's SubjectPublicKeyInfo.
pub fn spki_sha256(key: &impl PublicKeyData) -> [u8; 32] {
    sha256(&key.subject_public_key_info())
}

/// Returns SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// Whether a server certificate of ours still fits its key and names and has enough time left.
pub fn is_current(certificate: &CertificateDer<'_>, key: &KeyPair, names: &[ServerName], now: Timestamp) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    if sha256(parsed.public_key().raw) != spki_sha256(key) {
        return false;
    }
    let Ok(Some(sans)) = parsed.subject_alternative_name() else { return false };
    let carried: Vec<ServerName> = sans.value.general_names.iter().filter_map(name_of).collect();
    let until = Timestamp::from_secs(parsed.validity().not_after.timestamp());
    carried == names && until > now.saturating_add(SERVER_RENEWAL)
}

fn name_of(name: &x509_parser::extensions::GeneralName<'_>) -> Option<ServerName> {
    match name {
        x509_parser::extensions::GeneralName::DNSName(name) => name.parse().ok(),
        x509_parser::extensions::GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| ServerName::Ip(b.into())),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| ServerName::Ip(b.into())),
        },
        _ => None,
    }
}

fn params(Term { now, life }: Term) -> Result<CertificateParams, CaError> {
    let secs = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    let at = |secs: i64| OffsetDateTime::from_unix_timestamp(secs).map_err(|_| CaError::Own { what: "clock", source: rcgen::Error::Time });
    let mut serial = random::bytes::<16>()?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let mut params = CertificateParams::default();
    params.not_before = at(now.as_secs().saturating_sub(secs(BACKDATED.min(life / BACKDATED_PART))))?;
    params.not_after = at(now.as_secs().saturating_add(secs(life)))?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn subject(common_name: &str, organization: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, organization);
    name
}

fn own(what: &'static str) -> impl FnOnce(rcgen::Error) -> CaError {
    move |source| CaError::Own { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn authority() -> CertificateAuthority {
        let folder = tempfile::tempdir().unwrap();
        CertificateAuthority::create(folder.path(), "ca", NOW).unwrap()
    }

    fn request(names: &[&str]) -> (KeyPair, CertificateRequest) {
        let (key, csr) = csr(names);
        (key, CertificateRequest::from_pem(&csr).unwrap())
    }

    fn csr(names: &[&str]) -> (KeyPair, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "another-gateway");
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        (key, csr)
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_client_certificate_says_what_we_say_and_not_what_the_request_says() {
        let (key, request) = request(&["console.example.org"]);
        let (gateway, tenant) = (GatewayId::new("gw-1").unwrap(), TenantId::new("acme").unwrap());
        let whom = Subject { gateway: &gateway, tenant: &tenant };
        let issued = authority().issue_client(&request, whom, Term { now: NOW, life: Duration::from_secs(90 * 86_400) }).unwrap();
        let der = der(&issued.pem);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=gw-1, O=acme");
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty());
        assert!(!certificate.is_ca());
        let life = certificate.validity().not_after.timestamp() - NOW.as_secs();
        assert_eq!(life, 90 * 86_400);
        assert_eq!(issued.spki_sha256, spki_sha256(&key));
    }

    #[test]
    fn a_short_lived_certificate_is_backdated_by_little_so_that_it_is_not_due_for_renewal_at_once() {
        let (gateway, tenant) = (GatewayId::new("gw-1").unwrap(), TenantId::new("acme").unwrap());
        let whom = Subject { gateway: &gateway, tenant: &tenant };
        let issued = authority().issue_client(&request(&[]).1, whom, Term { now: NOW, life: Duration::from_secs(20) }).unwrap();
        let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
        assert_eq!(NOW.as_secs() - certificate.validity().not_before.timestamp(), 2);
    }

    #[test]
    fn a_listener_certificate_cannot_pass_for_the_control_plane() {
        let (_, request) = request(&["console.example.org", "Gateway.Site", "10.0.0.1", "10.0.0.7", "localhost", "*.example.org"]);
        let ours: Vec<ServerName> = ["console.example.org", "10.0.0.1", "localhost"].map(|n| n.parse().unwrap()).to_vec();
        let issued = authority().issue_listener(&request, &GatewayId::new("gw-1").unwrap(), &ours, NOW).unwrap();
        let der = der(&issued.pem);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let sans = certificate.subject_alternative_name().unwrap().unwrap().value;
        let names: Vec<String> = sans.general_names.iter().filter_map(name_of).map(|name| name.to_string()).collect();
        assert_eq!(names, ["gateway.site", "10.0.0.7", "localhost"]);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
    }

    #[test]
    fn a_request_that_its_key_did_not_sign_is_refused() {
        let (_, text) = csr(&[]);
        let mut bytes =
            data_encoding::BASE64.decode(text.lines().filter(|line| !line.starts_with('-')).collect::<String>().as_bytes()).unwrap();
        // A byte of the subject: the signature no longer fits.
        let at = bytes.windows(7).position(|window| window == b"another").unwrap();
        bytes[at] = b'x';
        let altered =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", data_encoding::BASE64.encode(&bytes));
        assert!(matches!(CertificateRequest::from_pem(&altered), Err(CaError::Request(_))));
    }

    #[test]
    fn server_certificates_are_renewed_for_new_names_and_before_their_end() {
        let (ca, key) = (authority(), KeyPair::generate().unwrap());
        let names: Vec<ServerName> = ["localhost", "127.0.0.1"].map(|n| n.parse().unwrap()).to_vec();
        let first = ca.issue_server(&key, &names, NOW).unwrap();
        let second = ca.issue_server(&key, &names, NOW).unwrap();
        assert!(is_current(first.der(), &key, &names, NOW));
        assert!(!is_current(first.der(), &key, &names[..1], NOW));
        assert!(!is_current(first.der(), &key, &names, NOW.saturating_add(Duration::from_secs(370 * 86_400))));
        assert!(!is_current(first.der(), &KeyPair::generate().unwrap(), &names, NOW));
        // Firefox refuses two certificates of one issuer with the same serial number.
        let serial = |c: &Certificate| X509Certificate::from_der(c.der()).unwrap().1.raw_serial().to_vec();
        assert_ne!(serial(&first), serial(&second));
    }
}
