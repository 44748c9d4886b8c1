//! The six HMACs of authentication (RFC 3414 §6 and §7, RFC 7860 §4): tags made, and compared in constant time.

use hmac::{Hmac, KeyInit, Mac as _};
use md5::Md5;
use postern_protocol::revision::intake::AuthAlgorithm;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// Most bytes of a tag.
pub(super) const MAX_TAG_BYTES: usize = 48;

/// An HMAC with its key absorbed, so that each message costs only itself.
pub(super) enum Authenticator {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha224(Hmac<Sha224>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Authenticator {
    /// Absorbs a localised key; `None` never happens, since an HMAC takes keys of any length.
    pub(super) fn new(algorithm: AuthAlgorithm, key: &[u8]) -> Option<Self> {
        Some(match algorithm {
            AuthAlgorithm::Md5 => Self::Md5(Hmac::new_from_slice(key).ok()?),
            AuthAlgorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            AuthAlgorithm::Sha224 => Self::Sha224(Hmac::new_from_slice(key).ok()?),
            AuthAlgorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            AuthAlgorithm::Sha384 => Self::Sha384(Hmac::new_from_slice(key).ok()?),
            AuthAlgorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(key).ok()?),
        })
    }

    /// Returns how many bytes of the HMAC a message carries.
    pub(super) const fn tag_bytes(&self) -> usize {
        match self {
            Self::Md5(_) | Self::Sha1(_) => 12,
            Self::Sha224(_) => 16,
            Self::Sha256(_) => 24,
            Self::Sha384(_) => 32,
            Self::Sha512(_) => 48,
        }
    }

    /// Says whether `tag` is that of the parts, in constant time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        if tag.len() != self.tag_bytes() {
            return false;
        }
        match self {
            Self::Md5(mac) => absorb(mac, parts).verify_truncated_left(tag).is_ok(),
            Self::Sha1(mac) => absorb(mac, parts).verify_truncated_left(tag).is_ok(),
            Self::Sha224(mac) => absorb(mac, parts).verify_truncated_left(tag).is_ok(),
            Self::Sha256(mac) => absorb(mac, parts).verify_truncated_left(tag).is_ok(),
            Self::Sha384(mac) => absorb(mac, parts).verify_truncated_left(tag).is_ok(),
            Self::Sha512(mac) => absorb(mac, parts).verify_truncated_left(tag).is_ok(),
        }
    }

    /// Writes the tag of the parts into `tag`, which has [`Authenticator::tag_bytes`] bytes.
    pub(super) fn sign(&self, parts: &[&[u8]], tag: &mut [u8]) {
        let mut fill = |whole: &[u8]| tag.iter_mut().zip(whole).for_each(|(to, from)| *to = *from);
        match self {
            Self::Md5(mac) => fill(&absorb(mac, parts).finalize().into_bytes()),
            Self::Sha1(mac) => fill(&absorb(mac, parts).finalize().into_bytes()),
            Self::Sha224(mac) => fill(&absorb(mac, parts).finalize().into_bytes()),
            Self::Sha256(mac) => fill(&absorb(mac, parts).finalize().into_bytes()),
            Self::Sha384(mac) => fill(&absorb(mac, parts).finalize().into_bytes()),
            Self::Sha512(mac) => fill(&absorb(mac, parts).finalize().into_bytes()),
        }
    }
}

fn absorb<M: hmac::Mac + Clone>(mac: &M, parts: &[&[u8]]) -> M {
    let mut mac = mac.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_fits_its_message_and_no_other() {
        for (algorithm, bytes) in [
            (AuthAlgorithm::Md5, 12),
            (AuthAlgorithm::Sha1, 12),
            (AuthAlgorithm::Sha224, 16),
            (AuthAlgorithm::Sha256, 24),
            (AuthAlgorithm::Sha384, 32),
            (AuthAlgorithm::Sha512, 48),
        ] {
            let authenticator = Authenticator::new(algorithm, &[7; 64]).unwrap();
            assert_eq!(authenticator.tag_bytes(), bytes);
            let mut tag = [0; MAX_TAG_BYTES];
            let tag = &mut tag[..bytes];
            authenticator.sign(&[b"whole", b"message"], tag);
            assert!(authenticator.verify(&[b"wholemessage"], tag));
            assert!(!authenticator.verify(&[b"wholemessagf"], tag));
            assert!(!authenticator.verify(&[b"wholemessage"], &tag[..bytes - 1]), "a shorter tag is easier to guess");
            assert!(!authenticator.verify(&[b"wholemessage"], &[]));
        }
    }
}
