//! Localised keys, made when an engine first needs them and kept while they are used.

use std::collections::BTreeMap;

use postern_protocol::revision::intake::SecurityLevel;

use super::auth::Authenticator;
use super::clock::Slot;
use super::key::{self, Key};
use super::users::User;
use crate::snmp::engine_id::EngineId;

/// Most keys that are kept: some 400 bytes each. Making one again takes microseconds, and milliseconds for 3DES and Reeder's AES.
const MAX_KEYS: usize = 16_384;

/// Keys by engine and user.
///
/// Two generations: when the young one is full, it becomes the old one, and what is used in the old one moves to the young.
/// Only authenticated messages get keys in here, so that forged ones push none out.
#[derive(Default)]
pub(super) struct KeyCache {
    young: BTreeMap<(Slot, usize), Box<LocalKeys>>,
    old: BTreeMap<(Slot, usize), Box<LocalKeys>>,
}

/// The keys of one user at one engine.
pub(super) struct LocalKeys {
    pub(super) auth: Authenticator,
    /// Made only for a message that is authenticated already: Reeder's way costs a hash over 1 MiB.
    privacy: Option<Key>,
}

impl LocalKeys {
    /// Localises a user's authentication key; `None` when the user has none.
    pub(super) fn new(user: &User, engine: &EngineId) -> Option<Self> {
        let auth = user.auth.as_ref()?;
        let key = key::localise(auth.algorithm, &auth.ku, engine);
        Some(Self { auth: Authenticator::new(auth.algorithm, &key)?, privacy: None })
    }

    /// Returns the privacy key, localised at the first call; `None` when the user has none.
    pub(super) fn privacy(&mut self, user: &User, engine: &EngineId) -> Option<&Key> {
        if self.privacy.is_none() {
            let (auth, privacy) = (user.auth.as_ref()?, user.privacy.as_ref()?);
            self.privacy = Some(key::privacy(auth.algorithm, (privacy.algorithm, privacy.extension), &privacy.ku, engine));
        }
        self.privacy.as_ref()
    }

    /// Returns the keys for a message that we send at `level`; `None` when the user has not got them.
    pub(super) fn both(&mut self, user: &User, engine: &EngineId, level: SecurityLevel) -> Option<(&Authenticator, Option<&Key>)> {
        if level == SecurityLevel::AuthPriv {
            self.privacy(user, engine)?;
            return Some((&self.auth, self.privacy.as_ref()));
        }
        Some((&self.auth, None))
    }
}

impl KeyCache {
    /// Returns the keys of a user at an engine, when they are kept.
    pub(super) fn find(&mut self, at: (Slot, usize)) -> Option<&mut LocalKeys> {
        if !self.young.contains_key(&at) {
            let keys = self.old.remove(&at)?;
            self.insert(at, keys);
        }
        self.young.get_mut(&at).map(Box::as_mut)
    }

    /// Keeps keys.
    pub(super) fn insert(&mut self, at: (Slot, usize), keys: Box<LocalKeys>) {
        if self.young.len() >= MAX_KEYS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(at, keys);
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::revision::intake::AuthAlgorithm;

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut cache = KeyCache::default();
        let keys = || Box::new(LocalKeys { auth: Authenticator::new(AuthAlgorithm::Md5, b"key").unwrap(), privacy: None });
        let used = (Slot(u32::MAX), 0);
        cache.insert(used, keys());
        for number in 0..u32::try_from(3 * MAX_KEYS).unwrap() {
            cache.insert((Slot(number), 0), keys());
            assert!(cache.find(used).is_some(), "after {number}");
        }
        assert!(cache.young.len() + cache.old.len() <= MAX_KEYS);
        assert!(cache.find((Slot(0), 0)).is_none());
    }
}
