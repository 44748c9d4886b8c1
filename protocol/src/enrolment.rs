//! How a gateway becomes known: the one-time token that an admin carries, and the bodies of `POST /enrol/v1`.
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
