//! How a gateway becomes known and stays so: the one-time token that an admin carries, the bodies of `POST /enrol/v1`, and those of
//! `POST /enrol/v1/renew`, by which a gateway whose certificate has ended gets another one.
//!
//! The token's text is `postern1.` and the base64url of: CA SPKI SHA-256 (32 bytes), secret (32), expiry (8, seconds since the
//! Unix epoch, big-endian), then the first 4 bytes of SHA-256 over all that. The check bytes catch slips of the hand;
//! what protects the token is that the control plane stores the secret's hash and the gateway checks the CA first.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::timestamp::Timestamp;

const PREFIX: &str = "postern1.";
const BODY_BYTES: usize = 32 + 32 + 8;
const CHECK_BYTES: usize = 4;

/// A one-time enrolment token. Holds a secret: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the CA's SubjectPublicKeyInfo: the gateway talks to no one else.
    pub ca_spki_sha256: [u8; 32],
    /// Proves to the control plane that an admin issued it.
    pub secret: [u8; 32],
    /// When it ends.
    pub expires: Timestamp,
}

/// Why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A character is missing, added or changed.
    #[error("the enrolment token is altered or incomplete; copy it again as a whole")]
    Altered,
    /// It does not begin as a token does.
    #[error("this is not an enrolment token; one begins with \"{PREFIX}\" and comes from `postern-control token create`")]
    Foreign,
}

impl Token {
    /// Parses the text of a token; white space around it is ignored.
    ///
    /// # Errors
    /// [`TokenError::Foreign`] without the prefix, [`TokenError::Altered`] when the check bytes do not fit.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Foreign)?;
        let bytes = data_encoding::BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| TokenError::Altered)?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TokenError::Altered)?;
        if body.len() != BODY_BYTES || Sha256::digest(body).first_chunk() != Some(check) {
            return Err(TokenError::Altered);
        }
        let (ca, rest) = body.split_first_chunk::<32>().ok_or(TokenError::Altered)?;
        let (secret, rest) = rest.split_first_chunk::<32>().ok_or(TokenError::Altered)?;
        let expires = rest.first_chunk::<8>().ok_or(TokenError::Altered)?;
        Ok(Self { ca_spki_sha256: *ca, secret: *secret, expires: Timestamp::from_secs(i64::from_be_bytes(*expires)) })
    }

    /// Returns the hash under which the control plane stores the secret.
    pub fn secret_hash(secret: &[u8]) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

/// Writes the token's text; a deliberate step, since it holds a secret.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = Vec::with_capacity(BODY_BYTES + CHECK_BYTES);
        body.extend_from_slice(&self.ca_spki_sha256);
        body.extend_from_slice(&self.secret);
        body.extend_from_slice(&self.expires.as_secs().to_be_bytes());
        let check = Sha256::digest(&body);
        body.extend_from_slice(check.get(..CHECK_BYTES).unwrap_or_default());
        write!(f, "{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&body))
    }
}

/// Body of `POST /enrol/v1`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The token's secret, base64url.
    pub secret: String,
    /// PKCS#10 request for the client certificate, PEM. The key was made on the device and stays there.
    pub client_csr: String,
    /// PKCS#10 request for the certificate of the gateway's own TLS listeners, PEM, with their names and addresses as SANs.
    pub listener_csr: String,
    /// The gateway's host name, for people.
    pub hostname: String,
    /// The gateway's program version.
    pub program_version: String,
}

/// The answer to an [`EnrolRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// Who the gateway is from now on.
    pub gateway: crate::id::GatewayId,
    /// Its tenant.
    pub tenant: crate::id::TenantId,
    /// Client certificate, PEM, leaf first.
    pub client_certificate: String,
    /// Certificate for the TLS listeners, PEM, leaf first.
    pub listener_certificate: String,
    /// The control plane's CA, PEM.
    pub ca: String,
    /// SHA-256 of the SPKIs that the tunnel's server may present, base64: current and backup.
    pub server_pins: Vec<String>,
    /// Ed25519 public keys that may sign revisions, base64.
    pub revision_keys: Vec<String>,
}

/// Body of `POST /enrol/v1/renew`. Nobody is authenticated by TLS there: the signature by the old key is what proves who asks.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The last client certificate, PEM; it may have ended.
    pub certificate: String,
    /// PKCS#10 request for the new client certificate, PEM, for a key that was made for it.
    pub client_csr: String,
    /// PKCS#10 request for the listeners' new certificate, PEM.
    pub listener_csr: String,
    /// The incarnation of the daemon that asks, and the one before (see `Hello`), as decimal texts; a copy that was set aside gets
    /// nothing.
    pub incarnations: [String; 2],
    /// The gateway's program version.
    pub program_version: String,
    /// Signature over [`RenewRequest::signing_input`] by the key of `certificate`, base64; ECDSA ones in ASN.1 (RFC 3279 §2.2.3).
    pub signature: String,
}

impl RenewRequest {
    /// Returns the bytes that the signature covers: a domain tag and every other field, all length-prefixed.
    pub fn signing_input(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let [incarnation, previous] = &self.incarnations;
        let texts = [&self.certificate, &self.client_csr, &self.listener_csr, incarnation, previous, &self.program_version];
        for part in std::iter::once("postern-renew-v1").chain(texts.into_iter().map(String::as_str)) {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }
}

/// The answer to a [`RenewRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewResponse {
    /// Client certificate, PEM, leaf first.
    pub client_certificate: String,
    /// Certificate for the TLS listeners, PEM, leaf first.
    pub listener_certificate: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token { ca_spki_sha256: [7; 32], secret: [9; 32], expires: Timestamp::from_secs(1_800_000_000) }
    }

    #[test]
    fn a_token_survives_its_text() {
        assert!(Token::parse(&format!(" {}\n", token())).is_ok_and(|parsed| parsed == token()));
    }

    #[test]
    fn every_field_of_a_renewal_is_signed_and_none_can_slide_into_another() {
        let request = RenewRequest {
            certificate: "a".to_owned(),
            client_csr: "b".to_owned(),
            listener_csr: "c".to_owned(),
            incarnations: ["1".to_owned(), "2".to_owned()],
            program_version: "v".to_owned(),
            signature: String::new(),
        };
        let spoilt = [
            RenewRequest { certificate: "ab".to_owned(), client_csr: String::new(), ..request.clone() },
            RenewRequest { listener_csr: "x".to_owned(), ..request.clone() },
            RenewRequest { incarnations: ["12".to_owned(), String::new()], ..request.clone() },
            RenewRequest { program_version: String::new(), ..request.clone() },
        ];
        assert!(spoilt.iter().all(|other| other.signing_input() != request.signing_input()));
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused() {
        let text = token().to_string();
        for at in PREFIX.len()..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let parsed = Token::parse(std::str::from_utf8(&altered).unwrap());
            assert!(matches!(parsed, Err(TokenError::Altered)), "character {at}");
        }
        assert!(matches!(Token::parse("hello"), Err(TokenError::Foreign)));
    }
}
