//! Looks at a connection to the control plane step by step, and says what was seen: the facts that the doctor judges.
//!
//! Opens no session: it asks the tunnel's port for a path that does not exist, with the client certificate, so the answer tells
//! whether this gateway would be let in. What cannot be verified is never taken for the control plane's word: a peer with a pinned
//! key of a certificate that is only outside its time has proven who it is, and may tell the time; any other may not.

mod http;
mod plain;
mod verifier;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_protocol::timestamp::Timestamp;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

pub use self::http::Answer;
pub use self::plain::{PlainAnswer, ask_plainly};
use self::verifier::Examiner;
use crate::identity::Identity;
use crate::tls::{self, ENROLMENT_ALPN, TUNNEL_ALPN, TlsError};
use crate::url::{ServerUrl, UrlError};

/// How long one step may take.
pub const STEP: Duration = Duration::from_secs(10);

/// A handshake that ends after so long a silence stalled, whoever ended it: a peer that refuses does so at once.
const QUIET: Duration = Duration::from_secs(4);

/// Which of the port's services is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Enrolment, which wants no certificate of ours.
    Enrolment,
    /// The tunnel, with our certificate.
    Tunnel,
}

/// A certificate that was presented, or one of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, in words.
    pub subject: String,
    /// Its issuer, in words.
    pub issuer: String,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads what is shown of a certificate; `None` when it does not parse.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self {
            subject: shown(parsed.subject()),
            issuer: shown(parsed.issuer()),
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
        })
    }
}

/// Writes a distinguished name; whoever made it may have put anything in it.
fn shown(name: &x509_parser::x509::X509Name<'_>) -> String {
    let text: String = name.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "(no name)".to_owned() } else { text }
}

/// Who the peer is, by the certificate that it presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Our authority's, of the right name, with a pinned key, and in time.
    Good,
    /// None of the above: another authority issued it.
    OtherAuthority,
    /// Our authority's, but its key is none of the pinned ones.
    OtherKey,
    /// Our authority's, but for another name.
    OtherName,
    /// Good in all, but by this machine's clock it is not valid any more, or not yet.
    OutOfTime,
    /// It presented none.
    #[default]
    Unseen,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// The peer refused in the handshake, or right behind it.
    #[error("the peer refused: {0:?}")]
    Alert(AlertDescription),
    /// The peer chose another protocol (ALPN), or none.
    #[error("the peer does not offer the protocol")]
    Alpn,
    /// The connection broke.
    #[error("the connection broke")]
    Broke(#[source] io::Error),
    /// What came is not TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// HTTP failed.
    #[error("the peer does not speak HTTP as expected")]
    Http(#[source] hyper::Error),
    /// We refused the peer's certificate.
    #[error("the peer's certificate is refused")]
    Refused(#[source] rustls::Error),
    /// Nothing came in the TLS handshake.
    #[error("the TLS handshake stalled: nothing came for seconds")]
    Stalled,
    /// The handshake was done, and a longer request was never answered.
    #[error("the request was not answered within {} s", STEP.as_secs())]
    Unanswered,
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The identity is not usable.
    #[error("the identity is not usable for TLS")]
    Tls(#[from] TlsError),
    /// The server's address cannot stand in a certificate.
    #[error("the control plane's address is not usable")]
    Url(#[from] UrlError),
}

/// What was seen on one connection.
#[derive(Debug)]
pub struct Look {
    /// What the peer presented, its own certificate first.
    pub presented: Vec<Certificate>,
    /// Who it is.
    pub trust: Trust,
    /// What it answered.
    pub answer: Result<Answer, Silence>,
}

impl Look {
    /// Says whether the peer has proven to hold a pinned key, so that its words are the control plane's.
    pub fn is_control_plane(&self) -> bool {
        matches!(self.trust, Trust::Good | Trust::OutOfTime) && self.answer.is_ok()
    }
}

/// Speaks TLS and one request on `stream`, which leads to `server`.
///
/// # Errors
/// [`ExamineError`] before anything is sent; what happens on the wire is in the [`Look`].
pub async fn look<I>(stream: I, service: Service, server: &ServerUrl, identity: &Identity) -> Result<Look, ExamineError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = server.server_name()?;
    let seen = Arc::new(Mutex::new(verifier::Seen::default()));
    let verifier = Examiner::new(identity, Arc::clone(&seen))?;
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(tls::VERSIONS)
        .map_err(TlsError::from)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match service {
        Service::Enrolment => builder.with_no_client_auth(),
        Service::Tunnel => {
            builder.with_client_auth_cert(identity.client_chain.clone(), identity.client_key.clone_key()).map_err(TlsError::from)?
        }
    };
    let alpn = match service {
        Service::Enrolment => ENROLMENT_ALPN,
        Service::Tunnel => TUNNEL_ALPN,
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let start = Instant::now();
    let answer = match tokio::time::timeout(STEP, handshake).await {
        Err(_) => Err(Silence::Stalled),
        // The other side lost its patience first.
        Ok(Err(_)) if start.elapsed() > QUIET => Err(Silence::Stalled),
        Ok(Err(error)) => Err(silence(error)),
        Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() != Some(alpn) => Err(Silence::Alpn),
        Ok(Ok(tls)) => http::ask(tls, service, &server.authority()).await,
    };
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Look { presented: seen.presented, trust: seen.trust, answer })
}

/// Tells apart who ended a handshake.
fn silence(error: io::Error) -> Silence {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return Silence::Broke(error) };
    match cause {
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Silence::Alpn,
        rustls::Error::AlertReceived(alert) => Silence::Alert(*alert),
        rustls::Error::InvalidMessage(_) => Silence::NotTls,
        rustls::Error::InvalidCertificate(_) => Silence::Refused(cause.clone()),
        rustls::Error::NoApplicationProtocol => Silence::Alpn,
        _ => Silence::Broke(error),
    }
}
