//! The certificate of the TLS listeners: the site's own files, one that was installed for a request made here, or enrolment's.
//!
//! `listener-csr` makes a key that never leaves and a request for it; `listener-certificate --install` takes what an authority made of
//! it. Both lie in `data_dir/listener/`, 0600, and the daemon, which only reads there, uses them from its next start on.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::timestamp::Timestamp;
use postern_uplink::enrolment;
use postern_uplink::identity::Identity;
use postern_uplink::tls::{self, Certified, CertifiedError};
use zeroize::Zeroizing;

use crate::config::Config;

/// How long before its end a certificate is warned about.
const WARNING: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longest file of certificates.
const MAX_PEM_BYTES: u64 = 256 * 1024;

/// Why a request or certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ListenerCertificateError {
    /// Certificates or key are not what they should be.
    #[error("{} cannot be used", path.display())]
    Certified {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: CertifiedError,
    },
    /// A file cannot be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The certificate is over or not yet valid.
    #[error("the certificate in {} {} by this machine's clock", path.display(), if *over { "has ended" } else { "is not valid yet" })]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Whether its end is past.
        over: bool,
    },
    /// No request was made.
    #[error("there is no request that this could answer: make one with postern-gateway listener-csr")]
    NoRequest,
    /// The request cannot be made.
    #[error("the key or the request cannot be made: {0}")]
    Request(String),
    /// The bootstrap file decides.
    #[error("the bootstrap file names its own certificate ([tls]): that one is used")]
    Overruled,
}

/// Where the certificate in use comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `[tls]` of the bootstrap file.
    Bootstrap,
    /// Enrolment.
    Enrolment,
    /// Installed for a request made here.
    Installed,
}

/// The certificate in use.
pub(crate) struct ListenerCertificate {
    /// Chain and key.
    pub(crate) certified: Certified,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

impl ListenerCertificate {
    /// Chooses: the bootstrap file's, else the installed one, else enrolment's.
    ///
    /// # Errors
    /// [`ListenerCertificateError`] when the installed one cannot be used: falling back would surprise its clients.
    pub(crate) fn choose(config: &Config, identity: &Identity) -> Result<Self, ListenerCertificateError> {
        if let Some(certified) = &config.listener_certificate {
            return Ok(Self { certified: Certified::clone(certified), origin: Origin::Bootstrap });
        }
        let path = installed(config);
        match read(&path) {
            Ok(pem) => {
                let certified = Certified::from_pem(&pem, &pem);
                Ok(Self {
                    certified: certified.map_err(|cause| ListenerCertificateError::Certified { path, cause })?,
                    origin: Origin::Installed,
                })
            }
            Err(ListenerCertificateError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Self { certified: identity.listener(), origin: Origin::Enrolment })
            }
            Err(error) => Err(error),
        }
    }

    /// Says what an admin should do about its end, if it is near.
    pub(crate) fn warning(&self, now: Timestamp) -> Option<String> {
        let (_, not_after) = self.certified.validity()?;
        let left = not_after.as_secs().saturating_sub(now.as_secs());
        if left > i64::try_from(WARNING.as_secs()).unwrap_or(i64::MAX) {
            return None;
        }
        let what = match self.origin {
            Origin::Bootstrap => "replace the files of [tls] and restart the gateway",
            Origin::Enrolment => "it is renewed with the gateway's own certificate, which fails: see there",
            Origin::Installed => "make a request with listener-csr and install what your authority makes of it",
        };
        let when = if left < 0 { "has ended".to_owned() } else { format!("ends in {} days", left / (24 * 3600)) };
        Some(format!("the certificate of the TLS listeners {when}: {what}"))
    }
}

/// Makes a key in the data directory and returns a request for it (PEM). An earlier request that was not answered is void then.
///
/// # Errors
/// [`ListenerCertificateError`].
pub fn request(config: &Config, name: &str, names: &[String]) -> Result<String, ListenerCertificateError> {
    if config.listener_certificate.is_some() {
        return Err(ListenerCertificateError::Overruled);
    }
    let (key, request) = enrolment::key_and_request(name, names).map_err(|error| ListenerCertificateError::Request(error.to_string()))?;
    replace(&pending(config), key.as_bytes())?;
    Ok(request)
}

/// Checks a certificate with its intermediates against the key of the last request, and has the daemon use it from its next start.
/// Returns the name in it.
///
/// # Errors
/// [`ListenerCertificateError`].
pub fn install(config: &Config, file: &Path, now: Timestamp) -> Result<String, ListenerCertificateError> {
    if config.listener_certificate.is_some() {
        return Err(ListenerCertificateError::Overruled);
    }
    let chain = read(file)?;
    let key = match read(&pending(config)) {
        Err(ListenerCertificateError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(ListenerCertificateError::NoRequest);
        }
        key => key?,
    };
    let unusable = |cause| ListenerCertificateError::Certified { path: file.to_owned(), cause };
    let certified = Certified::from_pem(&chain, &key).map_err(unusable)?;
    let (not_before, not_after) = certified.validity().ok_or_else(|| unusable(CertifiedError::NoCertificate))?;
    if now < not_before || now > not_after {
        return Err(ListenerCertificateError::Invalid { path: file.to_owned(), over: now > not_after });
    }
    let newline: &[u8] = if chain.ends_with(b"\n") { b"" } else { b"\n" };
    replace(&installed(config), &Zeroizing::new([&chain[..], newline, &key[..]].concat()))?;
    // The request is answered; its key lies with the certificate now.
    let path = pending(config);
    fs::remove_file(&path).map_err(|cause| ListenerCertificateError::File { path, cause })?;
    Ok(certified.chain.first().map(tls::peer_subject).unwrap_or_default())
}

/// Returns the directory of installed certificates.
pub(crate) fn dir(config: &Config) -> PathBuf {
    config.data_dir.join("listener")
}

fn installed(config: &Config) -> PathBuf {
    dir(config).join("certificate.pem")
}

fn pending(config: &Config) -> PathBuf {
    dir(config).join("request.key")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ListenerCertificateError> {
    let at = |cause| ListenerCertificateError::File { path: path.to_owned(), cause };
    if fs::metadata(path).map_err(at)?.len() > MAX_PEM_BYTES {
        return Err(at(io::Error::new(io::ErrorKind::FileTooLarge, "it is too long for certificates")));
    }
    fs::read(path).map(Zeroizing::new).map_err(at)
}

/// Writes a file that only its owner can read, as a whole or not at all.
fn replace(path: &Path, content: &[u8]) -> Result<(), ListenerCertificateError> {
    let at = |cause| ListenerCertificateError::File { path: path.to_owned(), cause };
    let Some(dir) = path.parent() else { return Err(at(io::ErrorKind::NotFound.into())) };
    crate::create_private_dir(dir).map_err(|error| at(io::Error::other(error.to_string())))?;
    let staged = path.with_extension("new");
    let written = || {
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        fs::File::open(dir)?.sync_all()
    };
    written().map_err(at)
}
