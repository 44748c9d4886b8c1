//! Files that the bootstrap file names: push keys, proxy users, certificates and their keys.
//!
//! They are read once, before the sandbox closes. What is secret must be readable by its owner only.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use postern_uplink::tls::Certified;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::FaultList;
use super::raw::{RawPush, RawTls};
use crate::proxy::credential::{MIN_KEY_CHARS, PushKeys};
use crate::proxy::users::Users;

const MAX_KEY_FILE_BYTES: u64 = 4096;
const MAX_USERS_FILE_BYTES: u64 = 1024 * 1024;
const MAX_PEM_FILE_BYTES: u64 = 256 * 1024;

/// Reads the keys that may push.
pub(super) fn push_keys(faults: &mut FaultList, raw: RawPush, base: &Path) -> PushKeys {
    let mut keys = PushKeys::default();
    let mut seen = BTreeSet::new();
    for (at, key) in raw.keys.into_iter().enumerate() {
        let name = format!("push.keys[{at}]");
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if key.id.is_empty() || key.id.len() > 64 || !key.id.bytes().all(allowed) {
            faults.add(&format!("{name}.id"), "the id is 1 to 64 of the characters a-z, 0-9, '-' and '_'");
        } else if !seen.insert(key.id.clone()) {
            faults.add(&format!("{name}.id"), format!("there is another key {:?}", key.id));
        }
        if let Some(text) = faults.take(&format!("{name}.key_file"), read_key(&base.join(key.key_file))) {
            keys.insert(key.id, &text);
        }
    }
    keys
}

/// Reads a file of proxy users.
pub(super) fn users(path: &Path) -> Result<Users, String> {
    let users = Users::parse(&secret_text(path, MAX_USERS_FILE_BYTES)?).map_err(|error| format!("{}: {error}", path.display()))?;
    if users.is_empty() { Err(format!("{} has no user in it", path.display())) } else { Ok(users) }
}

/// Reads the certificate of the TLS listeners.
pub(super) fn listener_certificate(faults: &mut FaultList, raw: RawTls, base: &Path) -> Option<Arc<Certified>> {
    let (certificate, key) = (base.join(raw.certificate), base.join(raw.key));
    let chain = faults.take("tls.certificate", text(&certificate, MAX_PEM_FILE_BYTES));
    let key_text = faults.take("tls.key", secret_text(&key, MAX_PEM_FILE_BYTES));
    let certified = Certified::from_pem(chain?.as_bytes(), key_text?.as_bytes());
    let reason = |error| format!("{} and {}: {}", certificate.display(), key.display(), crate::chain(&error));
    faults.take("tls.certificate", certified.map_err(reason)).map(Arc::new)
}

/// Reads certificates.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = text(path, MAX_PEM_FILE_BYTES)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|error| format!("{} is not PEM: {error:?}", path.display()))?;
    if certificates.is_empty() { Err(format!("{} holds no certificate", path.display())) } else { Ok(certificates) }
}

fn read_key(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = secret_text(path, MAX_KEY_FILE_BYTES)?;
    let key = Zeroizing::new(text.trim().to_owned());
    if key.chars().count() < MIN_KEY_CHARS {
        return Err(format!("the key in {} has fewer than {MIN_KEY_CHARS} characters", path.display()));
    }
    Ok(key)
}

fn secret_text(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("{} can be read by others: set its mode to 0600", path.display()));
    }
    text(path, max_bytes)
}

fn text(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    if std::fs::metadata(path).map_err(cannot)?.len() > max_bytes {
        return Err(format!("{} has more than {max_bytes} bytes", path.display()));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(cannot)
}
