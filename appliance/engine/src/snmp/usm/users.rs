//! Who may send SNMPv3: entries of users with their hashed passphrases, found by name, engine and source.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::key::{self, Key};
use super::networks::Networks;
use crate::snmp::engine_id::EngineId;

/// A passphrase: wiped when dropped, and never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes of a passphrase.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// One entry of the users; several may share a name.
///
/// Of the entries with the name in a message, one that lists its engine goes before one that takes any engine, then one with a longer
/// source prefix before one with a shorter, then the first. An inform carries our engine, which no entry needs to list: it
/// is told apart by source only.
pub struct UserConfig {
    /// msgUserName (RFC 3414 §5).
    pub name: String,
    /// The authoritative engines whose traps it sends; any when empty.
    pub engines: Vec<EngineId>,
    /// Where it may send from; anywhere when empty.
    pub sources: Vec<IpNet>,
    /// How its messages are authenticated, and the passphrase.
    pub auth: Option<(AuthAlgorithm, Secret)>,
    /// How its messages are encrypted, and the passphrase; without `auth` it is never used (RFC 3411 §3.4.3).
    pub privacy: Option<(PrivAlgorithm, KeyExtension, Secret)>,
    /// The lowest level that is taken.
    pub minimum: SecurityLevel,
}

/// All users, hashed: made once for each revision, and shared.
///
/// Making it hashes 1 MiB for each different pair of passphrase and algorithm (RFC 3414 §A.2), one to three milliseconds: not for the
/// thread that receives.
#[derive(Default)]
pub struct Users {
    entries: Vec<User>,
    by_name: BTreeMap<Arc<str>, Vec<usize>>,
    bound: BTreeSet<EngineId>,
    /// The sources of entries that take any engine.
    open: Networks,
    /// Whether such an entry takes any source, too.
    anywhere: bool,
    hashed: Hashed,
}

/// The keys `Ku`, by algorithm and SHA-256 of the passphrase.
type Hashed = BTreeMap<(AuthAlgorithm, [u8; 32]), Arc<Key>>;

/// An entry, ready for use.
pub(super) struct User {
    pub(super) name: Arc<str>,
    engines: BTreeSet<EngineId>,
    sources: Networks,
    pub(super) auth: Option<Auth>,
    pub(super) privacy: Option<Privacy>,
    pub(super) minimum: SecurityLevel,
}

pub(super) struct Auth {
    pub(super) algorithm: AuthAlgorithm,
    pub(super) ku: Arc<Key>,
}

pub(super) struct Privacy {
    pub(super) algorithm: PrivAlgorithm,
    pub(super) extension: KeyExtension,
    pub(super) ku: Arc<Key>,
}

/// Whose clock and key a message goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// Ours: informs and discoveries.
    Local,
    /// The sender's: traps.
    Remote(EngineId),
}

/// Which part of (engine, user) is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Engine,
    Name,
}

/// Whether a user's entry lists the engine of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    /// It takes any engine.
    Open,
    /// It lists this one.
    Bound,
}

/// An entry that fits a message.
pub(super) struct Found<'u> {
    /// Where it stands among the entries.
    pub(super) index: usize,
    pub(super) user: &'u User,
    pub(super) binding: Binding,
}

impl Users {
    /// Hashes the passphrases.
    pub fn new(entries: Vec<UserConfig>) -> Self {
        Self::default().renew(entries)
    }

    /// Hashes only the passphrases that are not in `self` already.
    #[must_use]
    pub fn renew(&self, entries: Vec<UserConfig>) -> Self {
        let mut users = Self::default();
        for entry in entries {
            let user = User {
                name: entry.name.into(),
                engines: entry.engines.into_iter().collect(),
                sources: entry.sources.into_iter().collect(),
                privacy: entry.auth.as_ref().zip(entry.privacy).map(|((hash, _), (algorithm, extension, secret))| Privacy {
                    algorithm,
                    extension,
                    ku: self.hash(&mut users.hashed, *hash, &secret),
                }),
                auth: entry.auth.map(|(algorithm, secret)| Auth { algorithm, ku: self.hash(&mut users.hashed, algorithm, &secret) }),
                minimum: entry.minimum,
            };
            users.add(user);
        }
        users
    }

    fn hash(&self, fresh: &mut Hashed, algorithm: AuthAlgorithm, secret: &Secret) -> Arc<Key> {
        let known = (algorithm, Sha256::digest(&secret.0).into());
        let old = fresh.get(&known).or_else(|| self.hashed.get(&known)).map(Arc::clone);
        let ku = old.unwrap_or_else(|| Arc::new(key::of_passphrase(algorithm, &secret.0)));
        fresh.insert(known, Arc::clone(&ku));
        ku
    }

    fn add(&mut self, user: User) {
        self.bound.extend(user.engines.iter().copied());
        if user.engines.is_empty() {
            user.sources.iter().for_each(|network| self.open.insert(network));
            self.anywhere |= user.sources.is_empty();
        }
        self.by_name.entry(Arc::clone(&user.name)).or_default().push(self.entries.len());
        self.entries.push(user);
    }

    /// Finds the entry of a message.
    pub(super) fn find(&self, name: &[u8], authority: Authority, source: IpAddr) -> Result<Found<'_>, Unknown> {
        let named = std::str::from_utf8(name).ok().and_then(|name| self.by_name.get(name));
        let mut best: Option<((Binding, u8), Found<'_>)> = None;
        for index in named.into_iter().flatten().copied() {
            let Some(user) = self.entries.get(index) else { continue };
            let Some(rank @ (binding, _)) = user.rank(authority, source) else { continue };
            if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                best = Some((rank, Found { index, user, binding }));
            }
        }
        best.map(|(_, found)| found).ok_or_else(|| self.unknown(authority, source))
    }

    fn unknown(&self, authority: Authority, source: IpAddr) -> Unknown {
        match authority {
            Authority::Local => Unknown::Name,
            Authority::Remote(engine) if self.anywhere || self.bound.contains(&engine) => Unknown::Name,
            Authority::Remote(_) if self.open.longest(source).is_some() => Unknown::Name,
            Authority::Remote(_) => Unknown::Engine,
        }
    }
}

impl User {
    /// Says how well the entry fits, `None` when not at all.
    fn rank(&self, authority: Authority, source: IpAddr) -> Option<(Binding, u8)> {
        let binding = match authority {
            Authority::Local => Binding::Open,
            Authority::Remote(engine) if self.engines.contains(&engine) => Binding::Bound,
            Authority::Remote(_) if self.engines.is_empty() => Binding::Open,
            Authority::Remote(_) => return None,
        };
        let prefix = if self.sources.is_empty() { 0 } else { self.sources.longest(source)?.saturating_add(1) };
        Some((binding, prefix))
    }
}
