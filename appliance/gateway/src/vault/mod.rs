//! Secrets of the site's devices: taken in sealed, opened with a key that never leaves, kept encrypted, and used by name.
//!
//! ```text
//! vault/           0700
//!   sealing.key    RSA-3072, PKCS#8: what the control plane's sealed secrets open with
//!   machine.key    what secrets.bin is encrypted under, unless systemd hands a credential in its place
//!   secrets.bin    the opened secrets, AES-256-GCM
//! ```
//! All files are 0600, written beside their place, synced and renamed. The control plane hands on what it cannot read; nothing
//! here is ever sent back but names, versions and problems, and no type that holds a secret has `Debug`. Owned by `control`;
//! `site` looks secrets up.

mod at_rest;
mod file;
mod machine_key;
mod sealing_key;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::message::{SealedSecret, SealedSecrets};
use postern_protocol::secret;
use postern_protocol::status::intake::SecretVersion;
use zeroize::Zeroizing;

use self::at_rest::AtRest;
use self::machine_key::MachineKey;
use self::sealing_key::SealingKey;
use crate::revision::signers::Signers;

pub(crate) use self::machine_key::credentials_directory;

/// Why the vault cannot be used, or does not take a set of secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// The library failed: no random numbers, or no memory.
    #[error("a key cannot be made or used")]
    Crypto,
    /// A file cannot be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The machine key that systemd hands over is too short.
    #[error("{} has fewer than {min} bytes", path.display())]
    MachineKey {
        /// Which file.
        path: PathBuf,
        /// How many it must have.
        min: usize,
    },
    /// The set is not one: a fault of the control plane.
    #[error("the set of secrets is malformed: {0}")]
    Malformed(&'static str),
    /// A newer set was taken in before.
    #[error("the set of secrets has serial {sent}, but {held} was taken in already")]
    Older {
        /// What was taken in.
        held: u64,
        /// What came.
        sent: u64,
    },
    /// The signature does not fit.
    #[error("the signature does not fit this gateway, serial and secrets")]
    Signature,
}

/// Whose vault it is; every seal covers both names.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) tenant: TenantId,
    pub(crate) gateway: GatewayId,
}

/// Whether a set of secrets made a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It was taken in before.
    No,
    /// Something was added, replaced or forgotten: what was compiled with secrets is to be compiled again.
    Yes,
}

/// The content of one secret; wiped when the last holder lets it go. No `Debug`.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes a content.
    pub(crate) fn new(content: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(content))
    }

    /// Returns the content.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// What is held under one name. No `Debug`.
#[derive(Clone)]
struct Held {
    version: u32,
    /// SHA-256 of the sealed secret that it came as: what has come before is not opened again.
    digest: [u8; 32],
    /// The content, or why there is none.
    content: Result<Secret, String>,
}

/// The vault. Cheap to clone, so that a set can be taken in on another thread. No `Debug`.
#[derive(Clone)]
pub(crate) struct Vault {
    owner: Owner,
    key: Arc<SealingKey>,
    file: Arc<AtRest>,
    ring_key: Arc<Zeroizing<[u8; 32]>>,
    spool_key: Arc<Zeroizing<[u8; 32]>>,
    serial: u64,
    held: BTreeMap<String, Held>,
}

impl Vault {
    /// Opens the vault in `dir`, which is made when absent, and makes the keys that are not there: takes up to a second. `credentials`
    /// is the directory of systemd's credentials.
    ///
    /// Secrets that cannot be read any more count as absent and are told: the control plane sends them again.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(crate) fn open(dir: &Path, credentials: Option<&Path>, owner: Owner) -> Result<Self, VaultError> {
        file::make_dir(dir)?;
        let key = SealingKey::load_or_make(&dir.join("sealing.key"))?;
        let machine = MachineKey::load_or_make(&dir.join("machine.key"), credentials)?;
        let (ring_key, spool_key) = (Arc::new(machine.ring_key().clone()), Arc::new(machine.spool_key().clone()));
        let file = AtRest::new(dir.join("secrets.bin"), machine, &owner);
        let (serial, held) = file.read()?;
        Ok(Self { owner, key: Arc::new(key), file: Arc::new(file), ring_key, spool_key, serial, held })
    }

    /// Returns the key to which secrets are sealed: SubjectPublicKeyInfo, DER.
    pub(crate) fn public_key_der(&self) -> &[u8] {
        self.key.public_key_der()
    }

    /// Returns the SHA-256 of [`Self::public_key_der`] in hexadecimal: what a person compares before sealing.
    pub(crate) fn fingerprint(&self) -> String {
        HEXLOWER.encode(digest::digest(&digest::SHA256, self.public_key_der()).as_ref())
    }

    /// Returns the key that the ring's files are wrapped under.
    pub(crate) fn ring_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.ring_key
    }

    /// Returns the key under which the spool wraps its segments' keys: derived from the machine key for that alone.
    pub(crate) fn spool_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.spool_key
    }

    /// Returns the serial of the newest set that was taken in; 0 for none.
    pub(crate) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Returns the secret of that name, when it is there and could be opened.
    pub(crate) fn secret(&self, name: &str) -> Option<&Secret> {
        self.held.get(name)?.content.as_ref().ok()
    }

    /// Returns names, versions and problems for the report.
    pub(crate) fn report(&self) -> Vec<SecretVersion> {
        let version = |(name, held): (&String, &Held)| SecretVersion {
            name: name.clone(),
            version: held.version,
            problem: held.content.as_ref().err().cloned().unwrap_or_default(),
        };
        self.held.iter().map(version).collect()
    }

    /// Takes in the complete set: what is not in it is forgotten, what has come before is not opened again, and one that cannot be
    /// opened keeps its problem and spoils no other. Takes about a millisecond for each new one, and syncs a file.
    ///
    /// An older version of a secret that is held is not taken: a rotated passphrase does not come back.
    ///
    /// # Errors
    /// [`VaultError`]; the vault then holds what it held before.
    pub(crate) fn take(&mut self, set: &SealedSecrets, signers: &Signers) -> Result<Changed, VaultError> {
        let input = secret::signing_input(&self.owner.gateway, set.serial, &set.secrets);
        if signers.gateway != self.owner.gateway || !signers.signed(&input, &set.signature) {
            return Err(VaultError::Signature);
        }
        if set.serial < self.serial {
            return Err(VaultError::Older { held: self.serial, sent: set.serial });
        }
        if set.serial == self.serial {
            return Ok(Changed::No);
        }
        check(&set.secrets)?;
        let held: BTreeMap<String, Held> = set.secrets.iter().map(|sealed| (sealed.name.clone(), self.hold(sealed))).collect();
        self.file.write(set.serial, &held)?;
        let same = held.len() == self.held.len()
            && held.iter().all(|(name, new)| self.held.get(name).is_some_and(|old| old.version == new.version && old.digest == new.digest));
        (self.serial, self.held) = (set.serial, held);
        Ok(if same { Changed::No } else { Changed::Yes })
    }

    fn hold(&self, sealed: &SealedSecret) -> Held {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, &sealed.sealed).as_ref());
        if let Some(held) = self.held.get(&sealed.name) {
            let again = held.version == sealed.version && held.digest == sha256 && held.content.is_ok();
            if again {
                return held.clone();
            }
            if held.version > sealed.version {
                tracing::warn!(name = sealed.name, held = held.version, sent = sealed.version, "an older version of a secret is not taken");
                return held.clone();
            }
        }
        let context = secret::context(&self.owner.tenant, &self.owner.gateway, &sealed.name, sealed.version);
        let content = self.key.open(&sealed.sealed, context.as_bytes());
        if let Err(problem) = &content {
            tracing::warn!(name = sealed.name, version = sealed.version, %problem, "a secret cannot be opened");
        }
        Held { version: sealed.version, digest: sha256, content: content.map(Secret::new).map_err(|problem| problem.to_string()) }
    }
}

fn check(secrets: &[SealedSecret]) -> Result<(), VaultError> {
    if secrets.len() > secret::MAX_SECRETS {
        return Err(VaultError::Malformed("it has too many secrets"));
    }
    if !secrets.iter().all(|sealed| secret::is_name(&sealed.name)) {
        return Err(VaultError::Malformed("a name is not one"));
    }
    if !secrets.is_sorted_by(|a, b| a.name < b.name) {
        return Err(VaultError::Malformed("the names are not in order"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
