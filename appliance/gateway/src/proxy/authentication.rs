//! Basic authentication of agents (RFC 7617) at the proxy, cheap for those who were let in before and slow for those who guess.
//!
//! A password is checked by argon2id once; a keyed digest of what was shown is remembered, so that thousands of tunnels stay
//! cheap. Guesses are bounded for each source and user, before the memory is asked, and for each source in all.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use data_encoding::BASE64;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::agents::Agent;
use super::users::Users;

/// Wrong passwords that a source may show for one user at once, and how soon it may show another.
const FOR_A_USER: Allowance = Allowance { at_once: 10, again: Duration::from_secs(6) };

/// Wrong passwords that a source may show in all.
const FOR_A_SOURCE: Allowance = Allowance { at_once: 60, again: Duration::from_secs(1) };

/// Most sources and users whose failures are remembered; beyond it they share one allowance.
const MAX_REMEMBERED: usize = 4096;

/// Most credentials that were found right and are known again.
const MAX_KNOWN: usize = 2048;

/// Checks that may wait for their turn; each takes tens of milliseconds.
const MAX_WAITING: usize = 32;

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No credential, or none that anyone has.
    Credential,
    /// Too many wrong ones.
    Guessing,
    /// Too many to check.
    Overloaded,
}

/// Lets agents in.
pub(crate) struct Authentication {
    users: Arc<Users>,
    key: hmac::Key,
    known: Mutex<HashMap<[u8; 32], Arc<str>>>,
    failures: Mutex<Failures>,
    turn: Semaphore,
    waiting: Semaphore,
}

impl Authentication {
    /// Makes it for `users`, under a key for this start alone.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(crate) fn new(users: Users) -> Result<Self, Unspecified> {
        Ok(Self {
            users: Arc::new(users),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            known: Mutex::default(),
            failures: Mutex::default(),
            turn: Semaphore::new(1),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    /// Decides about a request from `source` with this `Proxy-Authorization`.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) async fn admit(&self, header: Option<&str>, source: IpAddr, now: Instant) -> Result<Agent, Denied> {
        let shown = header.and_then(basic).ok_or(Denied::Credential)?;
        let (name, password) = shown.split_once(':').ok_or(Denied::Credential)?;
        if self.failures().exhausted(FOR_A_USER, (source, Some(name)), now) {
            return Err(Denied::Guessing);
        }
        let digest = self.digest(&shown);
        if let Some(name) = self.known().get(&digest) {
            return Ok(Agent::User(Arc::clone(name)));
        }
        if self.failures().exhausted(FOR_A_SOURCE, (source, None), now) {
            return Err(Denied::Guessing);
        }
        match self.check(name, password).await? {
            Some(name) => {
                let mut known = self.known();
                if known.len() >= MAX_KNOWN {
                    // Rare: more credentials than users can only be old ones of other spellings. All are checked once more.
                    known.clear();
                }
                known.insert(digest, Arc::clone(&name));
                Ok(Agent::User(name))
            }
            None => {
                let mut failures = self.failures();
                failures.note(FOR_A_USER, (source, Some(name)), now);
                failures.note(FOR_A_SOURCE, (source, None), now);
                Err(Denied::Credential)
            }
        }
    }

    /// Checks a password on a thread that may block, one at a time: each check takes a processor and some MiB.
    async fn check(&self, name: &str, password: &str) -> Result<Option<Arc<str>>, Denied> {
        let _place = self.waiting.try_acquire().map_err(|_| Denied::Overloaded)?;
        let _turn = self.turn.acquire().await.map_err(|_| Denied::Overloaded)?;
        let (users, name, password) = (Arc::clone(&self.users), name.to_owned(), Zeroizing::new(password.to_owned()));
        tokio::task::spawn_blocking(move || users.check(&name, &password)).await.map_err(|_| Denied::Overloaded)
    }

    fn digest(&self, shown: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.key, shown.as_bytes());
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns `user:password` of a Basic credential.
fn basic(header: &str) -> Option<Zeroizing<String>> {
    let (scheme, token) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(BASE64.decode(token.trim().as_bytes()).ok()?).ok().map(Zeroizing::new)
}

/// How many failures are allowed.
#[derive(Clone, Copy)]
struct Allowance {
    at_once: u32,
    again: Duration,
}

/// Failures of sources, each as the time at which its last one is forgiven. A lock around it: look-ups of a few words.
#[derive(Default)]
struct Failures {
    hasher: RandomState,
    forgiven: HashMap<u64, Instant>,
    others: Option<Instant>,
}

impl Failures {
    fn exhausted(&self, allowance: Allowance, who: (IpAddr, Option<&str>), now: Instant) -> bool {
        let forgiven = self.forgiven.get(&self.hasher.hash_one(who)).copied().or(self.others);
        // Full when one more failure would be forgiven later than a whole allowance's worth from now.
        let full = allowance.again.saturating_mul(allowance.at_once.saturating_sub(1));
        forgiven.is_some_and(|forgiven| forgiven.saturating_duration_since(now) > full)
    }

    fn note(&mut self, allowance: Allowance, who: (IpAddr, Option<&str>), now: Instant) {
        let key = self.hasher.hash_one(who);
        if self.forgiven.len() >= MAX_REMEMBERED && !self.forgiven.contains_key(&key) {
            self.forgiven.retain(|_, forgiven| *forgiven > now);
        }
        let next = |forgiven: Option<Instant>| forgiven.map_or(now, |forgiven| forgiven.max(now)).checked_add(allowance.again);
        if self.forgiven.len() >= MAX_REMEMBERED && !self.forgiven.contains_key(&key) {
            self.others = next(self.others);
        } else if let Some(forgiven) = next(self.forgiven.get(&key).copied()) {
            self.forgiven.insert(key, forgiven);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::users;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn authentication() -> Authentication {
        let line = users::line("press-4", "correct horse battery").unwrap();
        Authentication::new(Users::parse(&line).unwrap()).unwrap()
    }

    fn header(credential: &str) -> String {
        format!("Basic {}", BASE64.encode(credential.as_bytes()))
    }

    #[tokio::test]
    async fn a_user_is_let_in_and_known_again() {
        let (authentication, now) = (authentication(), Instant::now());
        let right = header("press-4:correct horse battery");
        for _ in 0..3 {
            assert_eq!(authentication.admit(Some(&right), SOURCE, now).await, Ok(Agent::User("press-4".into())));
        }
        assert_eq!(authentication.known().len(), 1);
        for wrong in [None, Some("Bearer x"), Some("Basic !"), Some(header("press-4").as_str()), Some(header("press-4:no").as_str())] {
            assert_eq!(authentication.admit(wrong, SOURCE, now).await, Err(Denied::Credential));
        }
    }

    #[tokio::test]
    async fn guesses_are_bounded_for_the_source_and_the_user_even_if_the_next_one_were_right() {
        let (authentication, now) = (authentication(), Instant::now());
        let (right, wrong) = (header("press-4:correct horse battery"), header("press-4:wrong"));
        assert!(authentication.admit(Some(&right), OTHER, now).await.is_ok());
        for _ in 0..FOR_A_USER.at_once {
            assert_eq!(authentication.admit(Some(&wrong), SOURCE, now).await, Err(Denied::Credential));
        }
        assert_eq!(authentication.admit(Some(&right), SOURCE, now).await, Err(Denied::Guessing));
        assert!(authentication.admit(Some(&right), OTHER, now).await.is_ok(), "another source");
        assert!(authentication.admit(Some(&right), SOURCE, now + FOR_A_USER.again).await.is_ok(), "one is forgiven");
    }

    #[test]
    fn what_is_remembered_of_failures_is_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for n in 0..10_000_u32 {
            failures.note(FOR_A_SOURCE, (IpAddr::from(n.to_be_bytes()), None), now);
        }
        assert_eq!(failures.forgiven.len(), MAX_REMEMBERED);
        assert!(failures.exhausted(FOR_A_SOURCE, (OTHER, None), now), "those without a place share an allowance");
        assert!(!failures.exhausted(FOR_A_SOURCE, (OTHER, None), now + Duration::from_secs(10_000)));
    }
}
