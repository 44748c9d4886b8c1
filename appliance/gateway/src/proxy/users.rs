//! Who may use the proxy: names and argon2id hashes (RFC 9106) from the site's own file.
//!
//! One `NAME:HASH` a line; `#` begins a comment. [`line`] makes one, `config` reads the file, [`super::authentication`] asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};

use super::agents::OTHERS;

/// Most users of a file.
pub const MAX_USERS: usize = 1024;

/// Most bytes of a password; a longer one would only cost time.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// Fewest characters of a password.
const MIN_PASSWORD_CHARS: usize = 12;

/// What one check may cost at most, whatever the file says: 64 MiB, four passes.
const MAX_MEMORY_KIB: u32 = 64 * 1024;
const MAX_PASSES: u32 = 10;

/// What a made line costs: OWASP's setting with the least memory, 7 MiB and five passes.
const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;

/// What a password of an unknown user is checked against, so that the answer takes as long. Matches no password.
const NOBODY: &str = "$argon2id$v=19$m=7168,t=5,p=1$bm9ib2R5IGhhcyB0aGlzIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The users. Holds hashes of secrets: no `Debug`.
#[derive(Clone, Default)]
pub struct Users(BTreeMap<Arc<str>, Arc<str>>);

/// What is wrong with a file of users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct UsersError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why no line can be made.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The name.
    #[error("a name has 1 to 64 of a-z, A-Z, 0-9, '.', '-', '_' and '@', and is not \"{OTHERS}\"")]
    Name,
    /// The password.
    #[error("a password has at least {MIN_PASSWORD_CHARS} characters and at most {MAX_PASSWORD_BYTES} bytes")]
    Password,
    /// The hash function or the source of random numbers.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

impl Users {
    /// Parses a file of users.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let mut users = BTreeMap::new();
        for (at, entry) in text.lines().enumerate() {
            let fault = |reason| UsersError { line: at.saturating_add(1), reason };
            let entry = entry.trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let (name, hash) = entry.split_once(':').ok_or_else(|| fault("it is not NAME:HASH"))?;
            if !is_name(name) {
                return Err(fault("the name is empty, too long, reserved or has odd characters"));
            }
            affordable(hash).map_err(fault)?;
            if users.insert(Arc::from(name), Arc::from(hash)).is_some() {
                return Err(fault("there is another line for this name"));
            }
            if users.len() > MAX_USERS {
                return Err(fault("there are too many users"));
            }
        }
        Ok(Self(users))
    }

    /// Tells whether nobody is in the file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a password, which takes tens of milliseconds and some MiB; for an unknown name as well. Returns the name when it fits.
    pub(super) fn check(&self, name: &str, password: &str) -> Option<Arc<str>> {
        let known = self.0.get_key_value(name);
        let hash = known.map_or(NOBODY, |(_, hash)| hash);
        let fits = password.len() <= MAX_PASSWORD_BYTES && Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
        known.filter(|_| fits).map(|(name, _)| Arc::clone(name))
    }
}

/// Makes a line for a user.
///
/// # Errors
/// [`LineError`].
pub fn line(name: &str, password: &str) -> Result<String, LineError> {
    if !is_name(name) {
        return Err(LineError::Name);
    }
    if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
        return Err(LineError::Password);
    }
    let mut salt = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|error| LineError::Hash(error.to_string()))?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| LineError::Hash(error.to_string()))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = hasher.hash_password_with_salt(password.as_bytes(), &salt).map_err(|error| LineError::Hash(error.to_string()))?;
    Ok(format!("{name}:{hash}"))
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed) && name != OTHERS
}

fn affordable(hash: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(hash).map_err(|_| "the hash is not one that postern-gateway proxy-user makes")?;
    let params = Params::try_from(&hash).map_err(|_| "the hash has odd parameters")?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
        return Err("the hash is not argon2id with salt and result");
    }
    if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
        return Err("the hash costs more than 64 MiB or ten passes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_line_lets_its_user_in_with_its_password_only() {
        let text = format!("# agents\n\n{}\n", line("press-4", "correct horse battery").unwrap());
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.check("press-4", "correct horse battery").as_deref(), Some("press-4"));
        assert_eq!(users.check("press-4", "correct horse batterz"), None);
        assert_eq!(users.check("press-5", "correct horse battery"), None);
        assert!(users.check("press-4", &"x".repeat(10_000)).is_none());
    }

    #[test]
    fn a_line_that_is_none_is_told_with_its_number() {
        let good = line("a", "correct horse battery").unwrap();
        for (text, number) in [
            ("nobody".to_owned(), 1),
            (format!("{good}\n{good}"), 2),
            ("others:x".to_owned(), 1),
            ("a b:x".to_owned(), 1),
            ("a:plain text".to_owned(), 1),
            (good.replace("argon2id", "argon2i"), 1),
            (good.replace("m=7168", "m=999999"), 1),
        ] {
            assert_eq!(Users::parse(&text).err().map(|error| error.line), Some(number), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_user_gets_no_line() {
        assert!(matches!(line("a:b", "correct horse battery"), Err(LineError::Name)));
        assert!(matches!(line("a", "short"), Err(LineError::Password)));
    }
}
