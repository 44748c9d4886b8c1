//! A seal that only the holder of an access token can open: keeps an answer that holds a secret for the client that may ask
//! for it again, while the store knows nothing but the token's hash.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::secret;
use crate::random;

/// The key of one access token.
#[derive(Clone)]
pub(crate) struct Seal(Vec<u8>);

impl Seal {
    pub(super) fn of(token: &str) -> Self {
        Self(secret::sha256(&[b"seal", token.as_bytes()]))
    }

    /// Seals `text`, so that it opens only together with `purpose`.
    pub(crate) fn close(&self, purpose: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let nonce = random::bytes::<NONCE_LEN>().ok()?;
        let mut sealed = text.to_vec();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).ok()?);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Seal::close`] made for the same access token and purpose.
    pub(crate) fn open(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).ok()?);
        let mut text = sealed.to_vec();
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(purpose), &mut text).ok()?;
        Some(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_and_purpose_open_a_seal() {
        let sealed = Seal::of("a").close(b"p", b"text").unwrap();
        assert_eq!(Seal::of("a").open(b"p", &sealed).as_deref(), Some(b"text".as_slice()));
        assert_eq!(Seal::of("b").open(b"p", &sealed), None);
        assert_eq!(Seal::of("a").open(b"q", &sealed), None);
        assert_eq!(Seal::of("a").open(b"p", b"short"), None);
    }
}
