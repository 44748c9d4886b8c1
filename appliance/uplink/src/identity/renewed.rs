//! What changes in an identity over the years, in `renewed/` beside its directory: the daemon writes only here.
//!
//! ```text
//! renewed/              0700
//!   certificates.json   client_certificate, client_key, listener_certificate, listener_key (PEM)
//!   trust.json          the newest trust bundle as it was signed: serial, server_pins, authorities, signing_keys, addresses, signature
//! ```
//! Each file is replaced as a whole (written beside, synced, renamed, directory synced), so a crash at any point leaves the old one or the
//! new one. Both are checked at every load, against what enrolment wrote where the daemon cannot: a daemon that was taken over can make
//! itself neither other pins nor another name. What does not pass is left aside with a warning, and enrolment's holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use data_encoding::BASE64;
use postern_protocol::message::TrustBundle;
use postern_protocol::trust::signing_input;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Identity, IdentityError};
use crate::tls::{self, Certified};
use crate::url::{HostPort, UrlError};

const CERTIFICATES: &str = "certificates.json";
const TRUST: &str = "trust.json";

/// Most addresses of one bundle: each is waited for when the ones before do not answer.
const MAX_ADDRESSES: usize = 8;

/// Certificates that were issued for keys that were made here. Holds private keys: no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCertificates {
    /// Client certificate with its intermediates, PEM.
    pub(crate) client_certificate: String,
    /// Its key, PEM.
    pub(crate) client_key: String,
    /// The TLS listeners' certificate with its intermediates, PEM.
    pub(crate) listener_certificate: String,
    /// Its key, PEM.
    pub(crate) listener_key: String,
}

impl Drop for NewCertificates {
    fn drop(&mut self) {
        self.client_key.zeroize();
        self.listener_key.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    serial: u64,
    server_pins: Vec<String>,
    authorities: Vec<String>,
    signing_keys: Vec<String>,
    addresses: Vec<String>,
    signature: String,
}

/// Why a trust bundle is not taken. The text goes to the control plane, for the admin there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrusted {
    /// An address in it is none.
    #[error("its address {address:?} cannot be used")]
    Address {
        /// It.
        address: String,
        /// Why.
        #[source]
        cause: UrlError,
    },
    /// A certificate authority in it is none.
    #[error("a certificate authority in it cannot be read")]
    Authority,
    /// A pin or signing key is not one, or there is none.
    #[error("it lacks {0}, or one of them is not 32 bytes long")]
    Incomplete(&'static str),
    /// It has nothing in common with what is trusted now: whoever took it over would lose the present control plane.
    #[error("it has no {0} in common with what is trusted now: replace one at a time, by way of a bundle that holds both")]
    NothingInCommon(&'static str),
    /// No key that this gateway got at its enrolment signed it.
    #[error("none of the signing keys that came with the enrolment signed it for this gateway")]
    Signature,
    /// It is older than what is kept.
    #[error("its serial {serial} is not above {held}, which is kept")]
    Stale {
        /// Its serial.
        serial: u64,
        /// The one that is kept.
        held: u64,
    },
    /// It has more addresses than could be tried.
    #[error("its {0} addresses are more than {MAX_ADDRESSES}")]
    TooManyAddresses(usize),
}

/// Why new certificates are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// They name another gateway or tenant.
    #[error("the certificate names another gateway")]
    Name,
    /// Certificate and key do not go together, or are not readable.
    #[error("certificate and key do not go together")]
    Pair,
    /// No trusted authority issued it for a client.
    #[error("no certificate authority that is trusted here issued it")]
    Untrusted,
}

/// Returns the directory beside an identity's.
pub fn dir_beside(identity: &Path) -> PathBuf {
    identity.with_file_name("renewed")
}

impl Identity {
    /// Returns this identity with other certificates, once they prove to be its own.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn with_certificates(&self, new: &NewCertificates) -> Result<Self, Unfit> {
        let pair = |chain: &str, key: &str| Certified::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|_| Unfit::Pair);
        let client = pair(&new.client_certificate, &new.client_key)?;
        let listener = pair(&new.listener_certificate, &new.listener_key)?;
        let [leaf, intermediates @ ..] = client.chain.as_slice() else { return Err(Unfit::Pair) };
        if tls::peer_names(leaf) != Some((self.gateway.as_str().to_owned(), self.tenant.as_str().to_owned())) {
            return Err(Unfit::Name);
        }
        // Whether it is over is the renewal's business: here it is judged as of its own time.
        let (_, end) = client.validity().ok_or(Unfit::Pair)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(end.as_secs()).unwrap_or_default()));
        let verifier =
            tls::roots(&self.ca).ok().and_then(|roots| WebPkiClientVerifier::builder_with_provider(roots, tls::provider()).build().ok());
        verifier.and_then(|verifier| verifier.verify_client_cert(leaf, intermediates, at).ok()).ok_or(Unfit::Untrusted)?;
        let mut identity = self.duplicate();
        (identity.client_chain, identity.client_key) = (client.chain, client.key);
        (identity.listener_chain, identity.listener_key) = (listener.chain, listener.key);
        Ok(identity)
    }

    /// Returns this identity with what a newer bundle trusts.
    ///
    /// # Errors
    /// [`Distrusted`].
    pub fn with_trust(&self, bundle: &TrustBundle) -> Result<Self, Distrusted> {
        if bundle.serial <= self.trust_serial {
            return Err(Distrusted::Stale { serial: bundle.serial, held: self.trust_serial });
        }
        let identity = Self { addresses: addresses(bundle)?, ..self.trusting(bundle)? };
        if !identity.server_pins.iter().any(|pin| self.server_pins.contains(pin)) {
            return Err(Distrusted::NothingInCommon("pin"));
        }
        if !identity.ca.iter().any(|authority| self.ca.contains(authority)) {
            return Err(Distrusted::NothingInCommon("certificate authority"));
        }
        Ok(identity)
    }

    /// Returns this identity with what a bundle trusts, whatever was trusted before, without its addresses.
    fn trusting(&self, bundle: &TrustBundle) -> Result<Self, Distrusted> {
        let input = signing_input(&self.gateway, bundle);
        let signed = |key: &[u8; 32]| UnparsedPublicKey::new(&ED25519, key).verify(&input, &bundle.signature).is_ok();
        if !self.anchor_keys.iter().any(signed) {
            return Err(Distrusted::Signature);
        }
        let keys = |list: &[Vec<u8>], what| -> Result<Vec<[u8; 32]>, Distrusted> {
            let keys: Option<Vec<_>> = list.iter().map(|key| key.as_slice().try_into().ok()).collect();
            keys.filter(|keys| !keys.is_empty()).ok_or(Distrusted::Incomplete(what))
        };
        let mut identity = self.duplicate();
        identity.server_pins = keys(&bundle.server_pins, "pins")?;
        identity.revision_keys = keys(&bundle.signing_keys, "signing keys")?;
        identity.ca = bundle.authorities.iter().map(|der| CertificateDer::from(der.clone())).collect();
        if identity.ca.is_empty() {
            return Err(Distrusted::Incomplete("certificate authorities"));
        }
        tls::roots(&identity.ca).map_err(|_| Distrusted::Authority)?;
        identity.trust_serial = bundle.serial;
        Ok(identity)
    }

    /// Reads what was renewed since enrolment; what cannot be used becomes a warning.
    pub(super) fn renewed(self, dir: &Path) -> Self {
        let identity = match read_trust(dir) {
            Ok(None) => self,
            Ok(Some(bundle)) => match self.trusting(&bundle) {
                Ok(identity) => match addresses(&bundle) {
                    Ok(addresses) => Self { addresses, ..identity },
                    // An older program kept what it never dialled; pins and authorities count all the same.
                    Err(error) => {
                        let warning = format!("the further addresses in {} are left out: {error}", dir.join(TRUST).display());
                        identity.left_aside(warning)
                    }
                },
                Err(error) => self.warn(&dir.join(TRUST), &error.to_string()),
            },
            Err(error) => self.warn(&dir.join(TRUST), &error),
        };
        match read_certificates(dir) {
            Ok(None) => identity,
            Ok(Some(certificates)) => match identity.with_certificates(&certificates) {
                Ok(identity) => identity,
                Err(error) => identity.warn(&dir.join(CERTIFICATES), &error.to_string()),
            },
            Err(error) => identity.warn(&dir.join(CERTIFICATES), &error),
        }
    }

    fn warn(self, path: &Path, reason: &str) -> Self {
        self.left_aside(format!("{} cannot be used ({reason}): what enrolment gave is used in its place", path.display()))
    }

    fn left_aside(mut self, warning: String) -> Self {
        tracing::warn!(warning, "a part of the identity is left aside");
        self.warnings.push(warning);
        self
    }

    fn duplicate(&self) -> Self {
        Self {
            gateway: self.gateway.clone(),
            tenant: self.tenant.clone(),
            server_url: self.server_url.clone(),
            server_pins: self.server_pins.clone(),
            revision_keys: self.revision_keys.clone(),
            anchor_keys: self.anchor_keys.clone(),
            client_chain: self.client_chain.clone(),
            client_key: self.client_key.clone_key(),
            listener_chain: self.listener_chain.clone(),
            listener_key: self.listener_key.clone_key(),
            ca: self.ca.clone(),
            trust_serial: self.trust_serial,
            addresses: self.addresses.clone(),
            warnings: self.warnings.clone(),
        }
    }
}

/// Reads the addresses of a bundle.
fn addresses(bundle: &TrustBundle) -> Result<Vec<HostPort>, Distrusted> {
    if bundle.addresses.len() > MAX_ADDRESSES {
        return Err(Distrusted::TooManyAddresses(bundle.addresses.len()));
    }
    let parse = |text: &String| {
        let address = || text.chars().take(80).collect();
        HostPort::parse(text).map_err(|cause| Distrusted::Address { address: address(), cause })
    };
    bundle.addresses.iter().map(parse).collect()
}

/// Makes certificates durable; the next load finds them.
///
/// # Errors
/// [`IdentityError::File`]; the old ones are still there then.
pub fn keep_certificates(dir: &Path, new: &NewCertificates) -> Result<(), IdentityError> {
    let text = serde_json::to_vec_pretty(new).map(Zeroizing::new);
    let text = text.map_err(|error| IdentityError::Malformed { path: dir.join(CERTIFICATES), reason: error.to_string() })?;
    replace(dir, CERTIFICATES, &text)
}

/// Makes a bundle durable; the next load finds it.
///
/// # Errors
/// [`IdentityError::File`]; the old one is still there then.
pub fn keep_trust(dir: &Path, bundle: &TrustBundle) -> Result<(), IdentityError> {
    let encode = |list: &[Vec<u8>]| list.iter().map(|item| BASE64.encode(item)).collect();
    let file = TrustFile {
        serial: bundle.serial,
        server_pins: encode(&bundle.server_pins),
        authorities: encode(&bundle.authorities),
        signing_keys: encode(&bundle.signing_keys),
        addresses: bundle.addresses.clone(),
        signature: BASE64.encode(&bundle.signature),
    };
    let text =
        serde_json::to_vec_pretty(&file).map_err(|error| IdentityError::Malformed { path: dir.join(TRUST), reason: error.to_string() })?;
    replace(dir, TRUST, &text)
}

fn read_certificates(dir: &Path) -> Result<Option<NewCertificates>, String> {
    let Some(text) = read(&dir.join(CERTIFICATES))? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|error| error.to_string())
}

fn read_trust(dir: &Path) -> Result<Option<TrustBundle>, String> {
    let Some(text) = read(&dir.join(TRUST))? else { return Ok(None) };
    let file: TrustFile = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let bytes = |text: &String| BASE64.decode(text.as_bytes()).map_err(|error| error.to_string());
    let decode = |list: &[String]| list.iter().map(bytes).collect::<Result<Vec<_>, _>>();
    Ok(Some(TrustBundle {
        serial: file.serial,
        server_pins: decode(&file.server_pins)?,
        authorities: decode(&file.authorities)?,
        signing_keys: decode(&file.signing_keys)?,
        addresses: file.addresses.clone(),
        signature: bytes(&file.signature)?,
    }))
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    match fs::read(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Replaces a file of `dir` that only its owner can read, as a whole or not at all, durably; makes `dir` where it is absent.
///
/// # Errors
/// [`IdentityError::File`].
pub fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<(), IdentityError> {
    let (path, staged) = (dir.join(name), dir.join(format!("{name}.new")));
    let written = || {
        DirBuilder::new().mode(0o700).recursive(true).create(dir)?;
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&staged, &path)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(|cause| IdentityError::File { path: path.clone(), cause })
}

#[cfg(test)]
#[path = "renewed_tests.rs"]
mod tests;
