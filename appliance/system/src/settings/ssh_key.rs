//! One OpenSSH public key, checked down to its bytes: what is accepted here is a line of `authorized_keys`.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const MAX_LINE_BYTES: usize = 8192;
const MAX_COMMENT_BYTES: usize = 128;
const MIN_RSA_BITS: usize = 3072;
const MAX_RSA_BITS: usize = 16_384;

/// Why a text is not a usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    /// The key's bytes do not fit its type.
    #[error("the key's body is altered or incomplete; copy the whole line of the .pub file again")]
    Altered,
    /// The remark behind the key.
    #[error("the comment behind the key is up to {MAX_COMMENT_BYTES} printable characters")]
    Comment,
    /// Options, several lines, a private key, another type.
    #[error("this is not one line of a .pub file of type ssh-ed25519, ecdsa-sha2-nistp*, sk-* or ssh-rsa")]
    Kind,
    /// A private key.
    #[error("this is a private key: give the line of the .pub file, and replace that key pair")]
    Private,
    /// RSA with a short modulus.
    #[error("an RSA key has at least {MIN_RSA_BITS} bits; better use ssh-ed25519")]
    Short,
}

/// One public key that may log in by SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshKey {
    kind: Kind,
    body: Vec<u8>,
    comment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
    Rsa,
    SkEcdsa,
    SkEd25519,
}

impl Kind {
    const ALL: [Self; 7] = [Self::EcdsaP256, Self::EcdsaP384, Self::EcdsaP521, Self::Ed25519, Self::Rsa, Self::SkEcdsa, Self::SkEd25519];

    const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Ed25519 => "ssh-ed25519",
            Self::Rsa => "ssh-rsa",
            Self::SkEcdsa => "sk-ecdsa-sha2-nistp256@openssh.com",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
        }
    }
}

impl SshKey {
    /// Returns the fingerprint as OpenSSH shows it: `SHA256:` and base64.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", data_encoding::BASE64_NOPAD.encode(&Sha256::digest(&self.body)))
    }
}

impl FromStr for SshKey {
    type Err = SshKeyError;

    fn from_str(text: &str) -> Result<Self, SshKeyError> {
        if text.contains("PRIVATE KEY") {
            return Err(SshKeyError::Private);
        }
        let text = text.trim();
        if text.len() > MAX_LINE_BYTES || text.contains(['\n', '\r']) {
            return Err(SshKeyError::Kind);
        }
        let mut words = text.splitn(3, ' ');
        let name = words.next().unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or(SshKeyError::Kind)?;
        let body = BASE64.decode(words.next().unwrap_or_default().as_bytes()).map_err(|_| SshKeyError::Altered)?;
        check_body(kind, &body)?;
        let comment = words.next().unwrap_or_default().trim();
        if comment.len() > MAX_COMMENT_BYTES || !comment.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(SshKeyError::Comment);
        }
        Ok(Self { kind, body, comment: comment.to_owned() })
    }
}

/// Writes the line of the `.pub` file.
impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), BASE64.encode(&self.body))?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " {}", self.comment) }
    }
}

super::text_of!(SshKey, SshKeyError);

/// Checks the fields of a public key (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4, OpenSSH's PROTOCOL.u2f).
fn check_body(kind: Kind, body: &[u8]) -> Result<(), SshKeyError> {
    let mut fields = Fields(body);
    if fields.next()? != kind.name().as_bytes() {
        return Err(SshKeyError::Altered);
    }
    match kind {
        Kind::EcdsaP256 => fields.point(b"nistp256", 65)?,
        Kind::EcdsaP384 => fields.point(b"nistp384", 97)?,
        Kind::EcdsaP521 => fields.point(b"nistp521", 133)?,
        Kind::Ed25519 => fields.sized(32)?,
        Kind::Rsa => {
            let exponent = fields.next()?;
            if exponent.is_empty() || exponent.len() > 8 {
                return Err(SshKeyError::Altered);
            }
            check_modulus(fields.next()?)?;
        }
        Kind::SkEcdsa => {
            fields.point(b"nistp256", 65)?;
            fields.application()?;
        }
        Kind::SkEd25519 => {
            fields.sized(32)?;
            fields.application()?;
        }
    }
    if fields.0.is_empty() { Ok(()) } else { Err(SshKeyError::Altered) }
}

/// A positive `mpint` (RFC 4251 §5) of a fitting length.
fn check_modulus(modulus: &[u8]) -> Result<(), SshKeyError> {
    let magnitude = match modulus {
        [0, rest @ ..] => rest,
        [first, ..] if *first < 0x80 => modulus,
        _ => return Err(SshKeyError::Altered),
    };
    let Some(first) = magnitude.first().filter(|first| **first != 0) else { return Err(SshKeyError::Altered) };
    let unused = usize::try_from(first.leading_zeros()).unwrap_or_default();
    match magnitude.len().saturating_mul(8).saturating_sub(unused) {
        MIN_RSA_BITS..=MAX_RSA_BITS => Ok(()),
        bits if bits < MIN_RSA_BITS => Err(SshKeyError::Short),
        _ => Err(SshKeyError::Altered),
    }
}

/// Reads strings of RFC 4251 §5.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], SshKeyError> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(SshKeyError::Altered)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SshKeyError::Altered)?;
        let (field, rest) = rest.split_at_checked(length).ok_or(SshKeyError::Altered)?;
        self.0 = rest;
        Ok(field)
    }

    fn sized(&mut self, bytes: usize) -> Result<(), SshKeyError> {
        if self.next()?.len() == bytes { Ok(()) } else { Err(SshKeyError::Altered) }
    }

    fn point(&mut self, curve: &[u8], bytes: usize) -> Result<(), SshKeyError> {
        if self.next()? == curve { self.sized(bytes) } else { Err(SshKeyError::Altered) }
    }

    fn application(&mut self) -> Result<(), SshKeyError> {
        if (1..=256).contains(&self.next()?.len()) { Ok(()) } else { Err(SshKeyError::Altered) }
    }
}
