//! Who this gateway is: its names, keys, certificates and pins, kept in one directory that is written once, by enrolment. What is renewed
//! later lies beside it ([`renewed`]) and takes its place at every load.
//!
//! ```text
//! identity/            0700
//!   gateway.json       gateway, tenant, server_url, server_pins (base64 SHA-256 of SPKIs), revision_keys (base64 Ed25519)
//!   client.pem .key    certificate chain and PKCS#8 key for the tunnel
//!   listener.pem .key  certificate chain and PKCS#8 key for the gateway's own TLS listeners
//!   ca.pem             the control plane's CA
//! ```
//! All files are 0600. Saving writes a complete sibling directory, syncs it and renames it, so that there is
//! always a whole identity or none. The keys were made here and never leave; nothing in this module prints them.

pub mod renewed;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::tls::{self, Certified};
use crate::url::{HostPort, ServerUrl};

/// Why an identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is an identity already.
    #[error("{} holds an identity already: this gateway is enrolled", dir.display())]
    Exists {
        /// Where.
        dir: PathBuf,
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
    /// A file is there but its content is not what it should be.
    #[error("{} is damaged: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No identity: the gateway was never enrolled.
    #[error("{} holds no identity: enrol this gateway first", dir.display())]
    Missing {
        /// Where it should be.
        dir: PathBuf,
    },
}

/// A gateway's identity. Holds private keys: no `Debug`, no `Clone`; share it in an `Arc`.
pub struct Identity {
    /// The gateway's name.
    pub gateway: GatewayId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Where it enrolled.
    pub server_url: ServerUrl,
    /// SHA-256 of the SPKIs that the tunnel's server may present.
    pub server_pins: Vec<[u8; 32]>,
    /// Ed25519 public keys that may sign revisions.
    pub revision_keys: Vec<[u8; 32]>,
    /// Those that came with the enrolment: they alone may sign trust bundles.
    anchor_keys: Vec<[u8; 32]>,
    /// Certificate chain for the tunnel, leaf first.
    pub client_chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub client_key: PrivateKeyDer<'static>,
    /// Certificate chain for the TLS listeners, leaf first.
    pub listener_chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub listener_key: PrivateKeyDer<'static>,
    /// The control plane's certificate authorities, the issuing one first.
    pub ca: Vec<CertificateDer<'static>>,
    /// Serial of the trust bundle in use; 0 for what enrolment gave.
    pub trust_serial: u64,
    /// Further addresses of the control plane, by that bundle.
    pub addresses: Vec<HostPort>,
    /// What was left aside at the load, for a person.
    pub warnings: Vec<String>,
}

/// What [`Identity::save`] takes: the texts as the control plane sent them, and the keys.
pub(crate) struct NewIdentity {
    pub(crate) gateway: GatewayId,
    pub(crate) tenant: TenantId,
    pub(crate) server_url: ServerUrl,
    pub(crate) server_pins: Vec<String>,
    pub(crate) revision_keys: Vec<String>,
    pub(crate) client_chain: String,
    pub(crate) client_key: Zeroizing<String>,
    pub(crate) listener_chain: String,
    pub(crate) listener_key: Zeroizing<String>,
    pub(crate) ca: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayFile {
    gateway: GatewayId,
    tenant: TenantId,
    server_url: ServerUrl,
    server_pins: Vec<String>,
    revision_keys: Vec<String>,
}

impl Identity {
    /// Says whether `dir` holds an identity, whole or not.
    pub fn exists(dir: &Path) -> bool {
        fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Reads the identity in `dir`, and what was renewed of it since.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] when the gateway was never enrolled, else what is wrong with which file.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        Ok(Self::enrolled(dir)?.renewed(&renewed::dir_beside(dir)))
    }

    /// Reads what enrolment wrote.
    fn enrolled(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join("gateway.json");
        let text = match fs::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(IdentityError::Missing { dir: dir.to_owned() }),
            Err(cause) => return Err(IdentityError::File { path, cause }),
            Ok(text) => text,
        };
        let malformed = |reason: String| IdentityError::Malformed { path: path.clone(), reason };
        let file: GatewayFile = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        let hash = |text: &String| decode_32(text).ok_or_else(|| malformed(format!("{text:?} is not the base64 of 32 bytes")));
        let identity = Self {
            gateway: file.gateway,
            tenant: file.tenant,
            server_url: file.server_url,
            server_pins: file.server_pins.iter().map(hash).collect::<Result<_, _>>()?,
            revision_keys: file.revision_keys.iter().map(hash).collect::<Result<_, _>>()?,
            anchor_keys: file.revision_keys.iter().map(hash).collect::<Result<_, _>>()?,
            client_chain: read_chain(&dir.join("client.pem"))?,
            client_key: read_key(&dir.join("client.key"))?,
            listener_chain: read_chain(&dir.join("listener.pem"))?,
            listener_key: read_key(&dir.join("listener.key"))?,
            ca: read_chain(&dir.join("ca.pem"))?,
            trust_serial: 0,
            addresses: Vec::new(),
            warnings: Vec::new(),
        };
        if identity.server_pins.is_empty() {
            return Err(malformed("server_pins is empty".to_owned()));
        }
        Ok(identity)
    }

    /// Returns the client certificate's first and last moment, and its serial number in hexadecimal; `None` when it does not parse.
    pub fn validity(&self) -> Option<(Timestamp, Timestamp, String)> {
        let (_, leaf) = x509_parser::parse_x509_certificate(self.client_chain.first()?).ok()?;
        let (begin, end) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        Some((Timestamp::from_secs(begin), Timestamp::from_secs(end), data_encoding::HEXLOWER.encode(leaf.raw_serial())))
    }

    /// Whether the authority that issues now issued the client certificate; where that cannot be told, it is taken so.
    pub fn is_of_issuing_authority(&self) -> bool {
        match (self.client_chain.first(), self.ca.first()) {
            (Some(leaf), Some(authority)) => tls::is_issuer(authority, leaf),
            _ => true,
        }
    }

    /// Returns the certificate and key of the TLS listeners.
    pub fn listener(&self) -> Certified {
        Certified { chain: self.listener_chain.clone(), key: self.listener_key.clone_key() }
    }

    /// Checks that [`Identity::save`] will be able to write.
    ///
    /// # Errors
    /// [`IdentityError::File`] when it will not.
    pub(crate) fn check_writable(dir: &Path) -> Result<(), IdentityError> {
        let staging = Self::stage(dir)?;
        fs::remove_dir(&staging).map_err(|cause| IdentityError::File { path: staging, cause })
    }

    /// Makes the empty directory beside `dir` in which an identity is put together, and returns it.
    ///
    /// # Errors
    /// [`IdentityError::File`] when it cannot be made.
    fn stage(dir: &Path) -> Result<PathBuf, IdentityError> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let staging = dir.with_file_name(name);
        let made = match fs::remove_dir_all(&staging) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            Err(_) | Ok(()) => DirBuilder::new().mode(0o700).recursive(true).create(&staging),
        };
        made.map(|()| staging.clone()).map_err(|cause| IdentityError::File { path: staging, cause })
    }

    /// Writes `new` to `dir`, as a whole or not at all, and reads it back.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] when `dir` is not empty, [`IdentityError::Malformed`] when the control plane's answer does not
    /// make an identity, else the file that could not be written.
    pub(crate) fn save(new: &NewIdentity, dir: &Path) -> Result<Self, IdentityError> {
        if Self::exists(dir) {
            return Err(IdentityError::Exists { dir: dir.to_owned() });
        }
        let file = GatewayFile {
            gateway: new.gateway.clone(),
            tenant: new.tenant.clone(),
            server_url: new.server_url.clone(),
            server_pins: new.server_pins.clone(),
            revision_keys: new.revision_keys.clone(),
        };
        let json = serde_json::to_vec_pretty(&file)
            .map_err(|error| IdentityError::Malformed { path: dir.to_owned(), reason: error.to_string() })?;
        let staging = Self::stage(dir)?;
        let at_staging = |cause| IdentityError::File { path: staging.clone(), cause };
        for (name, content) in [
            ("client.pem", new.client_chain.as_bytes()),
            ("client.key", new.client_key.as_bytes()),
            ("listener.pem", new.listener_chain.as_bytes()),
            ("listener.key", new.listener_key.as_bytes()),
            ("ca.pem", new.ca.as_bytes()),
            ("gateway.json", &json),
        ] {
            let path = staging.join(name);
            write_secret(&path, content).map_err(|cause| IdentityError::File { path, cause })?;
        }
        Self::enrolled(&staging)?;
        let sync_dir = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync_dir(&staging).map_err(at_staging)?;
        // POSIX: a directory may be renamed onto an empty one.
        let at_dir = |cause| IdentityError::File { path: dir.to_owned(), cause };
        fs::rename(&staging, dir).map_err(at_dir)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(parent).map_err(at_dir)?;
        // What an earlier identity renewed is not this one's.
        match fs::remove_dir_all(renewed::dir_beside(dir)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(at_dir(cause)),
            Err(_) | Ok(()) => {}
        }
        Self::load(dir)
    }
}

fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = fs::read(path).map_err(|cause| IdentityError::File { path: path.to_owned(), cause })?;
    let malformed = |reason: String| IdentityError::Malformed { path: path.to_owned(), reason };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| malformed(format!("not PEM: {error:?}")))?;
    if chain.is_empty() { Err(malformed("it holds no certificate".to_owned())) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let pem = Zeroizing::new(fs::read(path).map_err(|cause| IdentityError::File { path: path.to_owned(), cause })?);
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| IdentityError::Malformed { path: path.to_owned(), reason: "it holds no private key".to_owned() })
}

fn decode_32(text: &str) -> Option<[u8; 32]> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn new_identity() -> NewIdentity {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        NewIdentity {
            gateway: GatewayId::new("gw-1").unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            server_url: ServerUrl::parse("https://cloud.example").unwrap(),
            server_pins: vec![BASE64.encode(&[1; 32]), BASE64.encode(&[2; 32])],
            revision_keys: vec![BASE64.encode(&[3; 32])],
            client_chain: pem.clone(),
            client_key: Zeroizing::new(key.serialize_pem()),
            listener_chain: pem.clone(),
            listener_key: Zeroizing::new(key.serialize_pem()),
            ca: pem,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_read_back_as_it_was_saved_and_only_its_owner_can_read_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep/identity");
        assert!(matches!(Identity::load(&dir), Err(IdentityError::Missing { .. })));
        Identity::save(&new_identity(), &dir).unwrap();
        let identity = Identity::load(&dir).unwrap();
        assert_eq!((identity.gateway.as_str(), identity.tenant.as_str()), ("gw-1", "acme"));
        assert_eq!((identity.server_pins, identity.revision_keys), (vec![[1; 32], [2; 32]], vec![[3; 32]]));
        assert_eq!(identity.client_chain.len(), 1);
        assert_eq!(mode(&dir), 0o700);
        for entry in fs::read_dir(&dir).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
        assert!(!root.path().join("deep/identity.new").exists());
    }

    #[test]
    fn an_identity_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("client.key"), "precious").unwrap();
        assert!(matches!(Identity::save(&new_identity(), root.path()), Err(IdentityError::Exists { .. })));
    }

    #[test]
    fn an_answer_that_makes_no_identity_leaves_none() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("identity");
        for spoil in [
            |new: &mut NewIdentity| new.client_chain = "nonsense".to_owned(),
            |new: &mut NewIdentity| new.server_pins = vec!["AAAA".to_owned()],
            |new: &mut NewIdentity| new.server_pins.clear(),
        ] {
            let mut new = new_identity();
            spoil(&mut new);
            assert!(matches!(Identity::save(&new, &dir), Err(IdentityError::Malformed { .. })));
            assert!(!dir.exists());
        }
    }
}
