//! The RSA key to which the control plane's people seal secrets. Made on the gateway, never leaves it, never printed.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use postern_protocol::secret::{MAX_CONTENT_BYTES, Sealed};
use zeroize::Zeroizing;

use super::{VaultError, file};

/// Why one secret cannot be opened; for people at both ends, so without a word of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// The content's tag does not fit.
    #[error("it was altered, or sealed for another gateway, name or version: seal it again")]
    Content,
    /// The content is empty or too long.
    #[error("its content is empty or longer than {MAX_CONTENT_BYTES} bytes")]
    Length,
    /// It is not a sealed secret.
    #[error("it is not in the sealed format that this gateway reads")]
    Format,
    /// The wrapped key does not open.
    #[error("it was sealed to another key, or for another gateway, name or version: seal it again")]
    WrappedKey,
}

/// The key. No `Debug`.
pub(super) struct SealingKey {
    private: OaepPrivateDecryptingKey,
    public_der: Vec<u8>,
}

impl SealingKey {
    /// Reads the key at `path`, or makes one. A damaged one is put aside and told: what was sealed to it is to be sealed again.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(super) fn load_or_make(path: &Path) -> Result<Self, VaultError> {
        if let Some(der) = file::read(path)? {
            if let Ok(key) = PrivateDecryptingKey::from_pkcs8(&der) {
                return Self::new(key);
            }
            let aside = path.with_extension("damaged");
            std::fs::rename(path, &aside).map_err(|cause| VaultError::File { path: path.to_owned(), cause })?;
            tracing::error!(aside = %aside.display(), "the sealing key is damaged: a new one is made, and every secret must be sealed again");
        }
        let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).map_err(|_| VaultError::Crypto)?;
        // The library wipes what it frees.
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| VaultError::Crypto)?;
        file::write(path, der.as_ref())?;
        Self::new(key)
    }

    fn new(key: PrivateDecryptingKey) -> Result<Self, VaultError> {
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| VaultError::Crypto)?;
        let public_der = public.as_ref().to_vec();
        let private = OaepPrivateDecryptingKey::new(key).map_err(|_| VaultError::Crypto)?;
        Ok(Self { private, public_der })
    }

    /// Returns the public key: SubjectPublicKeyInfo, DER.
    pub(super) fn public_key_der(&self) -> &[u8] {
        &self.public_der
    }

    /// Opens a sealed secret that was sealed with `context`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let sealed = Sealed::parse(sealed).ok_or(OpenError::Format)?;
        let mut unwrapped = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let key = self.private.decrypt(&OAEP_SHA256_MGF1SHA256, sealed.wrapped_key, &mut unwrapped, Some(context));
        let key = UnboundKey::new(&AES_256_GCM, key.map_err(|_| OpenError::WrappedKey)?).map_err(|_| OpenError::Format)?;
        let mut content = Zeroizing::new(sealed.content.to_vec());
        let nonce = Nonce::assume_unique_for_key(*sealed.nonce);
        let plain = LessSafeKey::new(key).open_in_place(nonce, Aad::from(context), &mut content).map_err(|_| OpenError::Content)?;
        let length = plain.len();
        if !(1..=MAX_CONTENT_BYTES).contains(&length) {
            return Err(OpenError::Length);
        }
        content.truncate(length);
        Ok(content)
    }
}
