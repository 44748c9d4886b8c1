//! Signs revisions with the control plane's Ed25519 key. Gateways take no revision without such a signature.

use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision;
use zeroize::Zeroizing;

use crate::key_file::{self, KeyFileError};

/// Why there is no signer.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The key's file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The system gives no random bytes, so that no key can be made.
    #[error("cannot make an Ed25519 key")]
    Generate,
    /// The file does not hold an Ed25519 key.
    #[error("the revision key is not an Ed25519 key in PKCS#8")]
    Key,
}

/// Signs revisions. Holds a private key: no `Debug`.
pub struct Signer {
    key: Ed25519KeyPair,
}

impl Signer {
    /// Makes a new key and writes it to `path` (PKCS#8, base64, mode 0600), which must not exist.
    ///
    /// # Errors
    /// [`SignerError`] when the key cannot be made or the file exists.
    pub fn create(path: &Path) -> Result<Self, SignerError> {
        let key = Ed25519KeyPair::generate().map_err(|_| SignerError::Generate)?;
        let document = key.to_pkcs8v1().map_err(|_| SignerError::Generate)?;
        key_file::create(path, data_encoding::BASE64.encode(document.as_ref()).as_bytes())?;
        Ok(Self { key })
    }

    /// Loads the key that [`Signer::create`] wrote.
    ///
    /// # Errors
    /// [`SignerError`] when the file cannot be read or is something else.
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        let text = key_file::read(path)?;
        let pkcs8 = Zeroizing::new(data_encoding::BASE64.decode(text.trim().as_bytes()).map_err(|_| SignerError::Key)?);
        Ok(Self { key: Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| SignerError::Key)? })
    }

    /// Returns the raw public key (32 bytes).
    pub fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// Signs a revision for one gateway.
    pub fn sign(&self, gateway: &GatewayId, number: RevisionNumber, document: &[u8]) -> Vec<u8> {
        self.sign_input(&revision::signing_input(gateway, number, document))
    }

    /// Signs what says in itself for which purpose and gateway it is.
    pub fn sign_input(&self, input: &[u8]) -> Vec<u8> {
        self.key.sign(input).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_key_signs_what_the_public_key_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revision.key");
        let public = Signer::create(&path).unwrap().public_key().to_vec();
        let gateway = GatewayId::new("gw").unwrap();
        let signature = Signer::load(&path).unwrap().sign(&gateway, RevisionNumber(7), b"{}");
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public);
        assert!(key.verify(&revision::signing_input(&gateway, RevisionNumber(7), b"{}"), &signature).is_ok());
        assert!(key.verify(&revision::signing_input(&gateway, RevisionNumber(8), b"{}"), &signature).is_err());
    }
}
