//! Secrets that only one gateway can read: names, the context that a seal covers, and the sealed format.
//!
//! A sealed secret is: format (1 byte, 1), the length of the wrapped key (2 bytes, big-endian), a fresh AES-256-GCM key wrapped by
//! RSA-OAEP-SHA256 with [`context`] as label, a nonce (12 bytes), then the content under AES-256-GCM with [`context`] as additional
//! data and the 16-byte tag at its end: what WebCrypto makes. Pure: who seals and who opens is elsewhere.

use crate::id::{GatewayId, TenantId};
use crate::message::SealedSecret;

/// The sealed format that this build reads.
pub const FORMAT: u8 = 1;

/// Most bytes of a secret's content.
pub const MAX_CONTENT_BYTES: usize = 1024;

/// Most bytes of a sealed secret.
pub const MAX_SEALED_BYTES: usize = 2048;

/// Most secrets of one gateway.
pub const MAX_SECRETS: usize = 1024;

/// Returns whether `name` can be the name of a secret: 1 to 64 characters of `a-z`, `0-9`, `.`, `_` and `-`.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

/// Returns what a seal covers besides the content: whose secret it is, of which name and version.
pub fn context(tenant: &TenantId, gateway: &GatewayId, name: &str, version: u32) -> String {
    format!("postern-secret-v1|{}|{}|{name}|{version}", tenant.as_str(), gateway.as_str())
}

/// Returns the bytes that the signature of a set of secrets covers.
pub fn signing_input(gateway: &GatewayId, serial: u64, secrets: &[SealedSecret]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut part = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    part(b"postern-secrets-v1");
    part(gateway.as_str().as_bytes());
    part(&serial.to_be_bytes());
    for secret in secrets {
        part(secret.name.as_bytes());
        part(&secret.version.to_be_bytes());
        part(&secret.sealed);
    }
    out
}

/// The pieces of a sealed secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The content's key, wrapped by RSA-OAEP-SHA256.
    pub wrapped_key: &'a [u8],
    /// The nonce.
    pub nonce: &'a [u8; 12],
    /// The content and its tag.
    pub content: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Takes a sealed secret apart; `None` when it is not of this format.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[format, high, low], rest) = bytes.split_first_chunk::<3>()?;
        let (wrapped_key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        let (nonce, content) = rest.split_first_chunk::<12>()?;
        (format == FORMAT && bytes.len() <= MAX_SEALED_BYTES && content.len() >= 16).then_some(Self { wrapped_key, nonce, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert!(is_name("core-sw.auth_2"));
        assert!(["", "A", "a b", "ä"].iter().all(|name| !is_name(name)) && !is_name(&"a".repeat(65)));
    }

    #[test]
    fn a_sealed_secret_comes_apart_at_its_lengths() {
        let mut bytes = vec![FORMAT, 0, 2, 7, 8];
        bytes.extend_from_slice(&[1; 12]);
        bytes.extend_from_slice(&[2; 16]);
        let sealed = Sealed::parse(&bytes).unwrap();
        assert_eq!((sealed.wrapped_key, sealed.nonce, sealed.content.len()), (&[7, 8][..], &[1; 12], 16));
        assert_eq!(Sealed::parse(bytes.get(..30).unwrap()), None);
    }
}
