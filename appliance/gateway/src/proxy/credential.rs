//! Who may push: keys from the site's own file, shown as a bearer token inside TLS or as an HMAC over time and body.
//!
//! The header is `Postern-Signature: id=ID, ts=UNIXSECONDS, mac=HEX` with
//! `mac = HMAC-SHA256(key, ts || "\n" || body)`; `ts` may be off by [`MAX_SKEW`]. The bearer token is `ID.KEY`.
//! Comparisons take the same time wherever the first difference lies.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use postern_protocol::timestamp::Timestamp;

/// How far a signature's time may be from the gateway's clock.
pub const MAX_SKEW: Duration = Duration::from_secs(300);

/// Fewest characters of a key.
pub const MIN_KEY_CHARS: usize = 32;

/// The keys that may push. Holds secrets: no `Debug`.
#[derive(Clone, Default)]
pub struct PushKeys {
    keys: BTreeMap<String, PushKey>,
}

#[derive(Clone)]
struct PushKey {
    mac: hmac::Key,
    sha256: [u8; 32],
}

/// What a credential proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Id of the key.
    pub key: String,
    /// The signature, when there is one: it counts only once.
    pub mac: Option<[u8; 32]>,
}

/// Why a credential is refused. The client hears the text; it never says which keys exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A bearer token outside TLS.
    #[error("a bearer token is taken over TLS only; sign the push (Postern-Signature) or use TLS")]
    BearerInClear,
    /// The header is not well formed.
    #[error("the credential is malformed; use \"Postern-Signature: id=ID, ts=UNIXSECONDS, mac=HEX\" or \"Authorization: Bearer ID.KEY\"")]
    Malformed,
    /// There is none.
    #[error("a push needs a Postern-Signature or, over TLS, a bearer token")]
    Missing,
    /// The clock of the sender is off.
    #[error("the signature's ts is more than {} seconds from the gateway's clock", MAX_SKEW.as_secs())]
    Skew,
    /// No key fits.
    #[error("the key id is unknown or the signature does not fit the body")]
    Wrong,
}

/// Whether a request came inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Readable on the path.
    Plain,
    /// Inside TLS.
    Tls,
}

impl PushKeys {
    /// Adds a key under `id`, in place of an earlier one of that id.
    pub fn insert(&mut self, id: String, key: &str) {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
        self.keys.insert(id, PushKey { mac: hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), sha256 });
    }

    /// Tells whether there is no key, so that no push can be taken.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks the credential of a push: a signature when there is one, else a bearer token.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn verify(&self, headers: Credential<'_>, body: &[u8], channel: Channel, now: Timestamp) -> Result<Proof, CredentialError> {
        match headers {
            Credential { signature: Some(signature), .. } => self.verify_signature(signature, body, now),
            Credential { authorization: Some(_), .. } if channel == Channel::Plain => Err(CredentialError::BearerInClear),
            Credential { authorization: Some(authorization), .. } => self.verify_bearer(authorization),
            Credential { authorization: None, signature: None } => Err(CredentialError::Missing),
        }
    }

    fn verify_signature(&self, header: &str, body: &[u8], now: Timestamp) -> Result<Proof, CredentialError> {
        let signature = Signature::parse(header).ok_or(CredentialError::Malformed)?;
        let key = self.keys.get(signature.id).ok_or(CredentialError::Wrong)?;
        let mut message = Vec::with_capacity(body.len().saturating_add(24));
        message.extend_from_slice(signature.ts.as_bytes());
        message.push(b'\n');
        message.extend_from_slice(body);
        hmac::verify(&key.mac, &message, &signature.mac).map_err(|_| CredentialError::Wrong)?;
        let ts: i64 = signature.ts.parse().map_err(|_| CredentialError::Malformed)?;
        if now.as_secs().abs_diff(ts) > MAX_SKEW.as_secs() {
            return Err(CredentialError::Skew);
        }
        Ok(Proof { key: signature.id.to_owned(), mac: Some(signature.mac) })
    }

    fn verify_bearer(&self, header: &str) -> Result<Proof, CredentialError> {
        let (scheme, token) = header.split_once(' ').ok_or(CredentialError::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(CredentialError::Malformed);
        }
        let (id, secret) = token.trim().split_once('.').ok_or(CredentialError::Malformed)?;
        let key = self.keys.get(id).ok_or(CredentialError::Wrong)?;
        let shown = digest::digest(&digest::SHA256, secret.as_bytes());
        constant_time::verify_slices_are_equal(shown.as_ref(), &key.sha256).map_err(|_| CredentialError::Wrong)?;
        Ok(Proof { key: id.to_owned(), mac: None })
    }
}

/// The headers that may hold a credential.
#[derive(Clone, Copy, Default)]
pub struct Credential<'a> {
    /// Value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// Value of `Postern-Signature`.
    pub signature: Option<&'a str>,
}

struct Signature<'a> {
    id: &'a str,
    ts: &'a str,
    mac: [u8; 32],
}

impl<'a> Signature<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let (mut id, mut ts, mut mac) = (None, None, None);
        for part in header.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let place = match name {
                "id" => &mut id,
                "mac" => &mut mac,
                "ts" => &mut ts,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let ts = ts.filter(|ts: &&str| !ts.is_empty() && ts.len() <= 12 && ts.bytes().all(|b| b.is_ascii_digit()))?;
        let mac = data_encoding::HEXLOWER_PERMISSIVE.decode(mac?.as_bytes()).ok()?;
        Some(Self { id: id?, ts, mac: mac.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const BODY: &[u8] = br#"{"events":[]}"#;

    fn keys() -> PushKeys {
        let mut keys = PushKeys::default();
        keys.insert("demo".into(), KEY);
        keys
    }

    fn header(key: &str, ts: i64, body: &[u8]) -> String {
        let message = [format!("{ts}\n").as_bytes(), body].concat();
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &message);
        format!("id=demo, ts={ts}, mac={}", data_encoding::HEXLOWER.encode(mac.as_ref()))
    }

    fn verify(signature: &str, body: &[u8], now: i64) -> Result<Proof, CredentialError> {
        keys().verify(Credential { signature: Some(signature), authorization: None }, body, Channel::Plain, Timestamp::from_secs(now))
    }

    fn bearer(token: &str, channel: Channel) -> Result<Proof, CredentialError> {
        keys().verify(Credential { authorization: Some(token), signature: None }, BODY, channel, Timestamp::from_secs(0))
    }

    #[test]
    fn the_documented_signature_is_computed_as_documented() {
        // printf '1700000000\n{"events":[]}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let header = header(KEY, 1_700_000_000, BODY);
        let proof = verify(&header, BODY, 1_700_000_000).unwrap();
        assert_eq!(proof.key, "demo");
        assert_eq!(data_encoding::HEXLOWER.encode(&proof.mac.unwrap()), header.rsplit_once('=').unwrap().1);
    }

    #[test]
    fn a_signature_holds_for_its_body_its_key_and_its_time_only() {
        let good = header(KEY, 1000, BODY);
        assert!(verify(&good, BODY, 1300).is_ok());
        assert_eq!(verify(&good, BODY, 1301), Err(CredentialError::Skew));
        assert_eq!(verify(&good, BODY, 699), Err(CredentialError::Skew));
        assert_eq!(verify(&good, b"{}", 1000), Err(CredentialError::Wrong));
        assert_eq!(verify(&header("another key of 32 characters ...", 1000, BODY), BODY, 1000), Err(CredentialError::Wrong));
        assert_eq!(verify(&good.replace("id=demo", "id=nobody"), BODY, 1000), Err(CredentialError::Wrong));
        for bad in [
            "",
            "id=demo",
            "id=demo, ts=1, mac=zz",
            &good.replace("ts=1000", "ts=+1000"),
            &format!("{good}, id=demo"),
            &format!("{good}, x=y"),
        ] {
            assert_eq!(verify(bad, BODY, 1000), Err(CredentialError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_bearer_token_is_taken_inside_tls_only() {
        let token = format!("Bearer demo.{KEY}");
        assert_eq!(bearer(&token, Channel::Tls), Ok(Proof { key: "demo".into(), mac: None }));
        assert_eq!(bearer(&token, Channel::Plain), Err(CredentialError::BearerInClear));
        assert_eq!(bearer("Bearer demo.wrong", Channel::Tls), Err(CredentialError::Wrong));
        assert_eq!(bearer("Basic demo", Channel::Tls), Err(CredentialError::Malformed));
    }
}
