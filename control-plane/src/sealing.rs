//! Seals a secret to a gateway's key, as the console's module `seal.js` does in the browser. Only the command line seals here; the
//! server never sees what is inside.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use postern_protocol::secret::{FORMAT, MAX_CONTENT_BYTES};
use zeroize::Zeroizing;

/// Fewest bits of a gateway's key (OR-30 asks for 2048).
const MIN_BITS: usize = 2048;

/// Most bits: a larger key makes a sealed secret too long.
const MAX_BITS: usize = 4096;

/// Most bytes of a key's SubjectPublicKeyInfo.
pub const MAX_SPKI_BYTES: usize = 1024;

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The library failed.
    #[error("the secret cannot be sealed")]
    Crypto,
    /// It is not a key to seal to.
    #[error("it is not an RSA public key of {MIN_BITS} to {MAX_BITS} bits (SubjectPublicKeyInfo, DER)")]
    Key,
    /// The content has no fitting length.
    #[error("a secret has 1 to {MAX_CONTENT_BYTES} bytes")]
    Length,
}

/// Returns the SHA-256 of a key: what people compare.
pub fn fingerprint(spki: &[u8]) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
    sha256
}

/// Returns how many bytes a content's key has once it is wrapped for the key `spki`.
///
/// # Errors
/// [`SealError::Key`].
pub fn wrapped_key_bytes(spki: &[u8]) -> Result<usize, SealError> {
    key(spki).map(|key| key.key_size_bytes())
}

/// Seals `content` to the key `spki`; `context` is `secret::context`.
///
/// # Errors
/// [`SealError`].
pub fn seal(spki: &[u8], context: &str, content: &[u8]) -> Result<Vec<u8>, SealError> {
    if !(1..=MAX_CONTENT_BYTES).contains(&content.len()) {
        return Err(SealError::Length);
    }
    let key = OaepPublicEncryptingKey::new(key(spki)?).map_err(|_| SealError::Key)?;
    let (mut content_key, mut nonce) = (Zeroizing::new([0; 32]), [0; NONCE_LEN]);
    rand::fill(content_key.as_mut()).map_err(|_| SealError::Crypto)?;
    rand::fill(&mut nonce).map_err(|_| SealError::Crypto)?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let wrapped = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, content_key.as_ref(), &mut wrapped, Some(context.as_bytes()))
        .map_err(|_| SealError::Crypto)?;
    let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, content_key.as_ref()).map_err(|_| SealError::Crypto)?);
    let mut sealed = Zeroizing::new(Vec::with_capacity(content.len() + AES_256_GCM.tag_len()));
    sealed.extend_from_slice(content);
    aead.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut *sealed)
        .map_err(|_| SealError::Crypto)?;
    let length = u16::try_from(wrapped.len()).map_err(|_| SealError::Key)?;
    Ok([&[FORMAT][..], &length.to_be_bytes(), wrapped, &nonce, &sealed].concat())
}

fn key(spki: &[u8]) -> Result<PublicEncryptingKey, SealError> {
    if spki.len() > MAX_SPKI_BYTES {
        return Err(SealError::Key);
    }
    let key = PublicEncryptingKey::from_der(spki).map_err(|_| SealError::Key)?;
    if (MIN_BITS..=MAX_BITS).contains(&key.key_size_bits()) { Ok(key) } else { Err(SealError::Key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use postern_protocol::secret::{MAX_SEALED_BYTES, Sealed};

    #[test]
    fn what_is_sealed_opens_with_the_private_key_and_the_same_context_only() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let spki: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
        let sealed = seal(spki.as_ref(), "ctx", &[7; MAX_CONTENT_BYTES]).unwrap();
        assert!(sealed.len() <= MAX_SEALED_BYTES);
        let parts = Sealed::parse(&sealed).unwrap();
        assert_eq!(parts.wrapped_key.len(), wrapped_key_bytes(spki.as_ref()).unwrap());
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let unwrap = |context: &[u8]| {
            let mut out = vec![0; private.min_output_size()];
            private.decrypt(&OAEP_SHA256_MGF1SHA256, parts.wrapped_key, &mut out, Some(context)).map(|key| key.to_vec())
        };
        assert!(unwrap(b"other").is_err());
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &unwrap(b"ctx").unwrap()).unwrap());
        let mut content = parts.content.to_vec();
        let plain = aead.open_in_place(Nonce::assume_unique_for_key(*parts.nonce), Aad::from(b"ctx"), &mut content).unwrap();
        assert_eq!(plain, [7; MAX_CONTENT_BYTES]);
    }

    #[test]
    fn what_does_not_fit_is_not_sealed() {
        assert_eq!(seal(b"no key", "ctx", b"x"), Err(SealError::Key));
        assert_eq!(seal(b"no key", "ctx", b""), Err(SealError::Length));
        assert_eq!(seal(b"no key", "ctx", &[0; MAX_CONTENT_BYTES + 1]), Err(SealError::Length));
    }
}
