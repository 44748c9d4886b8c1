//! The key that secrets rest under: bound to this machine where systemd can do that (TPM, credential), else a file.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use zeroize::Zeroizing;

use super::{VaultError, file};

/// Name of the credential, as in a unit's `LoadCredentialEncrypted=`.
const CREDENTIAL: &str = "postern-machine-key";

/// Fewest bytes of the key's material.
const MIN_BYTES: usize = 32;

/// What the key is derived for (RFC 5869 §3.2).
const PURPOSE: &[u8] = b"postern-vault-at-rest-v1";

/// What the spool's key is derived for.
const SPOOL_PURPOSE: &[u8] = b"postern-spool-v2";

/// Returns the directory in which systemd puts this service's credentials, if any.
pub(crate) fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// What the ring's key is derived for.
const RING_PURPOSE: &[u8] = b"postern-ring-v1";

/// The key. No `Debug`.
pub(super) struct MachineKey {
    at_rest: LessSafeKey,
    ring: Zeroizing<[u8; 32]>,
    spool: Zeroizing<[u8; 32]>,
}

impl MachineKey {
    /// Takes the credential in `credentials` when it is there, else the file, which is made when absent.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(super) fn load_or_make(path: &Path, credentials: Option<&Path>) -> Result<Self, VaultError> {
        let credential = credentials.map(|dir| dir.join(CREDENTIAL));
        if let Some(credential) = credential
            && let Some(material) = file::read(&credential)?
        {
            return Self::derive(&material, &credential);
        }
        if let Some(material) = file::read(path)? {
            return Self::derive(&material, path);
        }
        let mut material = Zeroizing::new([0; MIN_BYTES]);
        rand::fill(material.as_mut()).map_err(|_| VaultError::Crypto)?;
        file::write(path, material.as_ref())?;
        Self::derive(material.as_ref(), path)
    }

    fn derive(material: &[u8], path: &Path) -> Result<Self, VaultError> {
        if material.len() < MIN_BYTES {
            return Err(VaultError::MachineKey { path: path.to_owned(), min: MIN_BYTES });
        }
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(material);
        let derive = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            let derived = secret.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut()));
            derived.map(|()| key).map_err(|_| VaultError::Crypto)
        };
        let at_rest = UnboundKey::new(&AES_256_GCM, derive(PURPOSE)?.as_ref()).map_err(|_| VaultError::Crypto)?;
        Ok(Self { at_rest: LessSafeKey::new(at_rest), ring: derive(RING_PURPOSE)?, spool: derive(SPOOL_PURPOSE)? })
    }

    /// Returns the key that the ring's files are wrapped under, from which nothing else can be told.
    pub(super) const fn ring_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.ring
    }

    /// Returns the key that the spool uses, from which nothing else can be told.
    pub(super) const fn spool_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.spool
    }

    /// Encrypts `plain` in place and appends the tag; returns the nonce. The nonce is random: 96 bits do for the few times that a
    /// vault is written.
    ///
    /// # Errors
    /// [`VaultError::Crypto`].
    pub(super) fn seal(&self, context: &[u8], plain: &mut Vec<u8>) -> Result<[u8; NONCE_LEN], VaultError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| VaultError::Crypto)?;
        let sealed = self.at_rest.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), plain);
        sealed.map(|()| nonce).map_err(|_| VaultError::Crypto)
    }

    /// Decrypts in place; `None` when it is not authentic.
    pub(super) fn open<'a>(&self, context: &[u8], nonce: [u8; NONCE_LEN], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let opened = self.at_rest.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(context), sealed);
        opened.ok().map(|plain| &*plain)
    }
}
