//! Renewal of a gateway's certificates: fresh keys, the request for them, and the checks on what comes back.
//!
//! Over the tunnel the daemon carries request and answer ([`Renewal`]); when the certificate has ended there is no tunnel, and
//! [`renew_expired`] asks `POST /enrol/v1/renew`, signed by the old key. Called by the gateway's identity task.

use data_encoding::BASE64;
use postern_protocol::enrolment::{RenewRequest, RenewResponse};
use postern_protocol::message::{CertificateReply, CertificateRequest};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::dial::Way;
use crate::enrolment::{self, EnrolError, key_and_request};
use crate::identity::Identity;
use crate::identity::renewed::{NewCertificates, Unfit};
use crate::tls;
use crate::url::ServerUrl;

/// Why there are no new certificates.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The exchange with the control plane failed, or it refused.
    #[error(transparent)]
    Exchange(#[from] EnrolError),
    /// Keys or requests cannot be made.
    #[error("cannot make the keys and certificate requests")]
    Keys(#[from] rcgen::Error),
    /// The control plane refused, over the tunnel.
    #[error("the control plane refused to renew the certificate: {0}")]
    Refused(String),
    /// The old key cannot sign.
    #[error("the key of the present certificate cannot sign the request")]
    Sign(#[source] rustls::Error),
    /// What came back is not ours.
    #[error("the control plane's answer is not taken")]
    Unfit(#[from] Unfit),
}

/// A renewal under way: the new keys, which stay here. No `Debug`.
pub struct Renewal {
    client_key: Zeroizing<String>,
    client_csr: String,
    listener_key: Zeroizing<String>,
    listener_csr: String,
}

impl Renewal {
    /// Makes fresh keys for `identity`; the listeners' names stay those of their present certificate.
    ///
    /// # Errors
    /// [`RenewalError::Keys`].
    pub fn begin(identity: &Identity) -> Result<Self, RenewalError> {
        let names = identity.listener_chain.first().map(tls::alternative_names).unwrap_or_default();
        let (client_key, client_csr) = key_and_request(identity.gateway.as_str(), &[])?;
        let (listener_key, listener_csr) = key_and_request(identity.gateway.as_str(), &names)?;
        Ok(Self { client_key, client_csr, listener_key, listener_csr })
    }

    /// Returns the request for the tunnel.
    pub fn request(&self) -> CertificateRequest {
        let der = |pem: &str| CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map(|der| der.to_vec()).unwrap_or_default();
        CertificateRequest { request: der(&self.client_csr), listener_request: der(&self.listener_csr) }
    }

    /// Takes the tunnel's answer; `None` when it answers another request, for a key that is not this one.
    ///
    /// # Errors
    /// [`RenewalError::Refused`], or [`RenewalError::Unfit`] when the certificates are not for `identity`.
    pub fn finish(&self, identity: &Identity, reply: &CertificateReply) -> Result<Option<(Identity, NewCertificates)>, RenewalError> {
        if !reply.refused.is_empty() {
            return Err(RenewalError::Refused(reply.refused.chars().take(500).collect()));
        }
        let pem = |chain: &[Vec<u8>]| chain.iter().map(|der| encode_pem(der)).collect::<String>();
        match self.certificates(identity, pem(&reply.chain), pem(&reply.listener_chain)) {
            Err(RenewalError::Unfit(Unfit::Pair)) => Ok(None),
            other => other.map(Some),
        }
    }

    fn certificates(&self, identity: &Identity, client: String, listener: String) -> Result<(Identity, NewCertificates), RenewalError> {
        let new = NewCertificates {
            client_certificate: client,
            client_key: self.client_key.to_string(),
            listener_certificate: listener,
            listener_key: self.listener_key.to_string(),
        };
        Ok((identity.with_certificates(&new)?, new))
    }
}

/// Who asks for a renewal without the tunnel.
pub struct Asker<'a> {
    /// The control plane, whose name its certificate must carry.
    pub server: &'a ServerUrl,
    /// How it is reached.
    pub way: &'a Way,
    /// This start of the daemon, and the one before.
    pub incarnations: [u64; 2],
    /// Program version.
    pub program_version: &'a str,
}

/// Renews certificates that have ended.
///
/// # Errors
/// [`RenewalError`].
pub async fn renew_expired(identity: &Identity, asker: &Asker<'_>) -> Result<(Identity, NewCertificates), RenewalError> {
    let renewal = Renewal::begin(identity)?;
    let mut request = RenewRequest {
        certificate: identity.client_chain.first().map(|leaf| encode_pem(leaf)).unwrap_or_default(),
        client_csr: renewal.client_csr.clone(),
        listener_csr: renewal.listener_csr.clone(),
        incarnations: asker.incarnations.map(|incarnation| incarnation.to_string()),
        program_version: asker.program_version.to_owned(),
        signature: String::new(),
    };
    request.signature = BASE64.encode(&sign(identity, &request.signing_input())?);
    let body = serde_json::to_vec(&request).map_err(|error| EnrolError::Answer { reason: error.to_string() })?;
    let config = tls::renewal_client(identity).map_err(EnrolError::Tls)?;
    let stream = enrolment::shake(asker.server, config, asker.way).await?;
    let answer: RenewResponse = enrolment::answer("/enrol/v1/renew", stream, &asker.server.authority(), body).await?;
    renewal.certificates(identity, answer.client_certificate, answer.listener_certificate)
}

fn sign(identity: &Identity, input: &[u8]) -> Result<Vec<u8>, RenewalError> {
    let key = tls::provider().key_provider.load_private_key(identity.client_key.clone_key()).map_err(RenewalError::Sign)?;
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384, SignatureScheme::ED25519];
    let signer =
        key.choose_scheme(&schemes).ok_or_else(|| RenewalError::Sign(rustls::Error::General("its kind is not known".to_owned())))?;
    signer.sign(input).map_err(RenewalError::Sign)
}

/// Writes a certificate as PEM (RFC 7468).
pub fn encode_pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn a_certificate_survives_its_text() {
        for bytes in [vec![], vec![7; 47], vec![7; 48], vec![7; 49], vec![1; 1000]] {
            let pem = encode_pem(&bytes);
            assert!(pem.lines().all(|line| line.len() <= 64));
            let read = CertificateDer::from_pem_slice(pem.as_bytes());
            assert_eq!(read.ok().map(|der| der.to_vec()), Some(bytes));
        }
    }
}
