//! Judges a server's certificate like the tunnel does, keeps what it saw, and lets one more pass: a control plane that is only out of
//! time, so that it can be asked what time it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{Certificate, Trust};
use crate::identity::Identity;
use crate::tls::{self, TlsError};

/// What was presented, and what it is worth.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) presented: Vec<Certificate>,
    pub(super) trust: Trust,
}

#[derive(Debug)]
pub(super) struct Examiner {
    webpki: Arc<WebPkiServerVerifier>,
    authorities: Arc<[DistinguishedName]>,
    pins: Vec<[u8; 32]>,
    // Written inside the handshake, read behind it: there is no other way out of a verifier.
    seen: Arc<Mutex<Seen>>,
}

impl Examiner {
    pub(super) fn new(identity: &Identity, seen: Arc<Mutex<Seen>>) -> Result<Self, TlsError> {
        let roots = tls::roots(&identity.ca)?;
        // Tells a control plane that replaces its authority which one we know (RFC 8446 §4.2.4).
        let authorities = roots.subjects().into();
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, tls::provider()).build()?;
        Ok(Self { webpki, authorities, pins: identity.server_pins.clone(), seen })
    }

    fn pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        tls::spki_sha256(certificate).is_some_and(|key| self.pins.contains(&key))
    }
}

impl ServerCertVerifier for Examiner {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented: Vec<Certificate> = std::iter::once(end_entity).chain(intermediates).filter_map(Certificate::read).collect();
        let verify = |at| self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        let verified = verify(now);
        let trust = match &verified {
            Ok(_) if self.pinned(end_entity) => Trust::Good,
            Ok(_) => Trust::OtherKey,
            Err(error) if out_of_time(error) => {
                let at = presented.iter().map(|certificate| certificate.not_before.as_secs()).max().unwrap_or_default();
                let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or_default()));
                match verify(at) {
                    Ok(_) if self.pinned(end_entity) => Trust::OutOfTime,
                    Ok(_) => Trust::OtherKey,
                    Err(error) => of(&error),
                }
            }
            Err(error) => of(error),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { presented, trust };
        match trust {
            Trust::Good | Trust::OutOfTime => Ok(ServerCertVerified::assertion()),
            Trust::OtherAuthority | Trust::OtherKey | Trust::OtherName | Trust::Unseen => {
                Err(verified.err().unwrap_or_else(|| CertificateError::ApplicationVerificationFailure.into()))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.authorities)
    }
}

fn out_of_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(error, Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }))
}

/// Says who a peer is whose certificate was refused for another reason than its time.
fn of(error: &Error) -> Trust {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    match error {
        Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => Trust::OtherName,
        _ => Trust::OtherAuthority,
    }
}
