//! Passwords: what a good one is, and argon2id (RFC 9106) over it. Knows no user and no store.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::random::{self, Unavailable};

/// Fewest characters of a password (NIST SP 800-63B §5.1.1.2 asks for at least 8; no rules of composition).
pub const MIN_CHARACTERS: usize = 12;

/// Most bytes of a password; a longer one would only cost time.
pub const MAX_BYTES: usize = 1024;

/// How many hashes run at once; each takes 19 MiB and a core for tens of milliseconds. The others wait their turn.
const AT_ONCE: usize = 2;

/// How many attempts may be under way, those that wait for a turn included: about a second's worth. Full: a further one is refused,
/// so that a flood of attempts does not make a queue in which nobody ever gets a turn.
const MAX_ATTEMPTS: usize = 64;

/// What a sign-in under an unknown name is checked against, so that it takes as long as one under a known name. Matches no password.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and checks passwords, a bounded number at once, on threads that may block.
pub struct Passwords {
    attempts: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// An attempt that is under way, see [`Passwords::begin`].
pub(super) struct UnderWay {
    _place: OwnedSemaphorePermit,
}

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The hash function refused its input, or the stored hash is damaged.
    #[error("password hashing failed: {0}")]
    Hash(argon2::password_hash::Error),
    /// There was nothing to make a salt from.
    #[error("no salt for a password")]
    Salt(#[from] Unavailable),
    /// The program is shutting down.
    #[error("password hashing was interrupted")]
    Stopped,
}

/// Why a password may not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is the user's name.
    #[error("the password may not be the user name")]
    Name,
    /// It is the one to be replaced.
    #[error("the new password must differ from the old one")]
    Old,
    /// It is too long.
    #[error("a password has at most {MAX_BYTES} bytes")]
    TooLong,
    /// It is too short.
    #[error("a password has at least {MIN_CHARACTERS} characters")]
    TooShort,
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// Makes a hasher.
    pub fn new() -> Self {
        Self { attempts: Arc::new(Semaphore::new(MAX_ATTEMPTS)), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Takes a place for an attempt, before anything is done for it; `None` when too many are under way.
    pub(super) fn begin(&self) -> Option<UnderWay> {
        Arc::clone(&self.attempts).try_acquire_owned().ok().map(|place| UnderWay { _place: place })
    }

    /// Hashes `password` with a new salt into a PHC string.
    ///
    /// # Errors
    /// [`PasswordError`] when that is impossible.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let (password, salt) = (password.to_owned(), random::bytes::<16>()?);
        self.in_turn(move || {
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(PasswordError::Hash)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `password` fits `hash`; without a hash (an unknown user) the answer is no, after the same time.
    ///
    /// # Errors
    /// [`PasswordError`] when the hash is damaged.
    pub async fn fits(&self, password: &str, hash: Option<String>) -> Result<bool, PasswordError> {
        let password = password.to_owned();
        self.in_turn(move || {
            let known = hash.is_some();
            let fits = Argon2::default().verify_password(password.as_bytes(), hash.as_deref().unwrap_or(NOBODY));
            match fits {
                Ok(()) => Ok(known),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(PasswordError::Hash(error)),
            }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| PasswordError::Stopped)?;
        // The turn goes with the work, which runs on when the peer goes away and nobody waits for it any more.
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| PasswordError::Stopped)?
    }
}

/// Checks a password that a person chose.
///
/// # Errors
/// [`Unfit`] says why not.
pub fn check(password: &str, user: &str, old: Option<&str>) -> Result<(), Unfit> {
    if password.chars().count() < MIN_CHARACTERS {
        return Err(Unfit::TooShort);
    }
    if password.len() > MAX_BYTES {
        return Err(Unfit::TooLong);
    }
    if password.eq_ignore_ascii_case(user) {
        return Err(Unfit::Name);
    }
    if old == Some(password) {
        return Err(Unfit::Old);
    }
    Ok(())
}

/// Makes a first password: 100 random bits in groups that can be typed from paper, without letters that look alike.
///
/// # Errors
/// [`Unavailable`] when the system has none.
pub(crate) fn first() -> Result<String, Unavailable> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut text = String::new();
    for (at, byte) in random::bytes::<20>()?.into_iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            text.push('-');
        }
        text.push(LETTERS.get(usize::from(byte % 32)).copied().map_or('a', char::from));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_only_and_says_argon2id() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.fits("correct horse battery", Some(hash.clone())).await.unwrap());
        assert!(!passwords.fits("correct horse batterz", Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn an_unknown_user_is_checked_like_a_known_one_and_never_fits() {
        assert!(!Passwords::new().fits("", None).await.unwrap());
        assert!(matches!(Passwords::new().fits("x", Some("damaged".into())).await, Err(PasswordError::Hash(_))));
    }

    #[tokio::test]
    async fn a_hash_that_nobody_waits_for_any_more_keeps_its_turn() {
        let passwords = Passwords::new();
        let ((begins, has_begun), (ends, may_end)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let hashing = passwords.in_turn(move || {
            begins.send(()).unwrap();
            may_end.recv().unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(std::time::Duration::ZERO, hashing).await.is_err());
        has_begun.recv().unwrap();
        assert_eq!(passwords.turns.available_permits(), AT_ONCE - 1);
        ends.send(()).unwrap();
        let _all = passwords.turns.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
    }

    #[test]
    fn attempts_beyond_the_bound_are_refused_until_one_ends() {
        let passwords = Passwords::new();
        let mut under_way: Vec<_> = (0..MAX_ATTEMPTS).map(|_| passwords.begin().unwrap()).collect();
        assert!(passwords.begin().is_none());
        drop(under_way.pop());
        assert!(passwords.begin().is_some());
    }

    #[test]
    fn unfit_passwords_are_named() {
        assert_eq!(check("short", "u", None), Err(Unfit::TooShort));
        assert_eq!(check("äöüäöüäöüäö", "u", None), Err(Unfit::TooShort));
        assert_eq!(check(&"x".repeat(1025), "u", None), Err(Unfit::TooLong));
        assert_eq!(check("Administrator", "administrator", None), Err(Unfit::Name));
        assert_eq!(check("the same as before", "u", Some("the same as before")), Err(Unfit::Old));
        assert_eq!(check("something else now", "u", Some("the same as before")), Ok(()));
    }

    #[test]
    fn first_passwords_are_fit_and_random() {
        let (a, b) = (first().unwrap(), first().unwrap());
        assert_ne!(a, b);
        assert_eq!(check(&a, "admin", None), Ok(()));
        assert_eq!(a.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5]);
    }
}
