//! From a passphrase to the keys of one user at one engine (RFC 3414 §A.2, RFC 7860 §9.3, the drafts of Blumenthal and Reeder).

use std::iter;

use md5::Md5;
use postern_protocol::revision::intake::{AuthAlgorithm, KeyExtension, PrivAlgorithm};
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::snmp::engine_id::EngineId;

/// A key: wiped when dropped.
pub(super) type Key = Zeroizing<Vec<u8>>;

/// How much of a repeated passphrase is hashed (RFC 3414 §A.2).
const PASSPHRASE_BYTES: usize = 1_048_576;

/// Makes the key `Ku` of a passphrase: the hash over a mebibyte of it, repeated.
pub(super) fn of_passphrase(algorithm: AuthAlgorithm, passphrase: &[u8]) -> Key {
    if passphrase.is_empty() {
        return hash(algorithm, iter::empty());
    }
    let block = Zeroizing::new(passphrase.repeat((4096 / passphrase.len()).max(1)));
    let rest = block.get(..PASSPHRASE_BYTES % block.len()).unwrap_or_default();
    hash(algorithm, iter::repeat_n(block.as_slice(), PASSPHRASE_BYTES / block.len()).chain([rest]))
}

/// Localises `Ku` to one engine: `Kul`, the hash of Ku, engine ID and Ku (RFC 3414 §2.6).
pub(super) fn localise(algorithm: AuthAlgorithm, ku: &[u8], engine: &EngineId) -> Key {
    hash(algorithm, [ku, engine.as_bytes(), ku].into_iter())
}

/// Makes the privacy key of one engine, as long as [`needed`] says.
pub(super) fn privacy(auth: AuthAlgorithm, cipher: (PrivAlgorithm, KeyExtension), ku: &[u8], engine: &EngineId) -> Key {
    let needed = needed(cipher.0);
    let mut key = Zeroizing::new(Vec::with_capacity(128));
    key.extend_from_slice(&localise(auth, ku, engine));
    while key.len() < needed {
        let more = match cipher {
            // draft-reeder-snmpv3-usm-3desede-00 §2.1: the key so far is the passphrase of the next part.
            (PrivAlgorithm::TripleDes, _) | (_, KeyExtension::Reeder) => localise(auth, &of_passphrase(auth, &key), engine),
            // draft-blumenthal-aes-usm-04 §3.1.2.1: Kul' = Kul || H(Kul), as often as it takes.
            (_, KeyExtension::Standard) => hash(auth, [key.as_slice()].into_iter()),
        };
        key.extend_from_slice(&more);
    }
    key.truncate(needed);
    key
}

/// Bytes of a localised privacy key; for DES and 3DES the last 8 are the pre-IV (RFC 3414 §8.2.1).
pub(super) const fn needed(cipher: PrivAlgorithm) -> usize {
    match cipher {
        PrivAlgorithm::Des | PrivAlgorithm::Aes128 => 16,
        PrivAlgorithm::Aes192 => 24,
        PrivAlgorithm::TripleDes | PrivAlgorithm::Aes256 => 32,
    }
}

fn hash<'a>(algorithm: AuthAlgorithm, parts: impl Iterator<Item = &'a [u8]>) -> Key {
    match algorithm {
        AuthAlgorithm::Md5 => hash_with::<Md5>(parts),
        AuthAlgorithm::Sha1 => hash_with::<Sha1>(parts),
        AuthAlgorithm::Sha224 => hash_with::<Sha224>(parts),
        AuthAlgorithm::Sha256 => hash_with::<Sha256>(parts),
        AuthAlgorithm::Sha384 => hash_with::<Sha384>(parts),
        AuthAlgorithm::Sha512 => hash_with::<Sha512>(parts),
    }
}

fn hash_with<'a, D: Digest>(parts: impl Iterator<Item = &'a [u8]>) -> Key {
    let mut digest = D::new();
    parts.for_each(|part| digest.update(part));
    let mut output = digest.finalize();
    let key = Zeroizing::new(output.to_vec());
    output.as_mut_slice().zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine ID of the examples in RFC 3414 §A.3.
    const ENGINE: &str = "000000000000000000000002";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_those_of_rfc_3414_a_3() {
        let engine = ENGINE.parse().unwrap();
        for (algorithm, ku, kul) in [
            (AuthAlgorithm::Md5, "9faf3283884e92834ebc9847d8edd963", "526f5eed9fcce26f8964c2930787d82b"),
            (AuthAlgorithm::Sha1, "9fb5cc0381497b3793528939ff788d5d79145211", "6695febc9288e36282235fc7151f128497b38f3f"),
        ] {
            let key = of_passphrase(algorithm, b"maplesyrup");
            assert_eq!((hex(&key), hex(&localise(algorithm, &key, &engine))), (ku.to_owned(), kul.to_owned()));
        }
    }

    #[test]
    fn keys_of_sha_2_are_those_that_other_implementations_make() {
        let engine = ENGINE.parse().unwrap();
        for (algorithm, kul) in [
            (AuthAlgorithm::Sha224, SHA224),
            (AuthAlgorithm::Sha256, SHA256),
            (AuthAlgorithm::Sha384, SHA384),
            (AuthAlgorithm::Sha512, SHA512),
        ] {
            assert_eq!(hex(&localise(algorithm, &of_passphrase(algorithm, b"maplesyrup"), &engine)), kul);
        }
    }

    /// From pysnmp 7.1 (`localkey`), which agrees with net-snmp.
    const SHA224: &str = "0bd8827c6e29f8065e08e09237f177e410f69b90e1782be682075674";
    const SHA256: &str = "8982e0e549e866db361a6b625d84cccc11162d453ee8ce3a6445c2d6776f0f8b";
    const SHA384: &str = "3b298f16164a11184279d5432bf169e2d2a48307de02b3d3f7e2b4f36eb6f0455a53689a3937eea07319a633d2ccba78";
    const SHA512: &str =
        "22a5a36cedfcc085807a128d7bc6c2382167ad6c0dbc5fdff856740f3d84c099ad1ea87a8db096714d9788bd544047c9021e4229ce27e4c0a69250adfcffbb0b";

    #[test]
    fn short_keys_are_made_longer_as_the_drafts_say() {
        let engine = ENGINE.parse().unwrap();
        // draft-reeder-snmpv3-usm-3desede-00 §B.1 and §B.2.
        let md5 = privacy(
            AuthAlgorithm::Md5,
            (PrivAlgorithm::TripleDes, KeyExtension::Standard),
            &of_passphrase(AuthAlgorithm::Md5, b"maplesyrup"),
            &engine,
        );
        assert_eq!(hex(&md5), "526f5eed9fcce26f8964c2930787d82b79eff44a90650ee0a3a40abfac5acc12");
        let sha = of_passphrase(AuthAlgorithm::Sha1, b"maplesyrup");
        let reeder = privacy(AuthAlgorithm::Sha1, (PrivAlgorithm::Aes256, KeyExtension::Reeder), &sha, &engine);
        assert_eq!(hex(&reeder), "6695febc9288e36282235fc7151f128497b38f3f9b8b6d78936ba6e7d19dfd9c");
        // draft-blumenthal-aes-usm-04 §3.1.2.1, from pysnmp.
        let blumenthal = privacy(AuthAlgorithm::Sha1, (PrivAlgorithm::Aes256, KeyExtension::Standard), &sha, &engine);
        assert_eq!(hex(&blumenthal), BLUMENTHAL);
    }

    const BLUMENTHAL: &str = "6695febc9288e36282235fc7151f128497b38f3f505e07eb9af25568fa1f5dbe";

    #[test]
    fn passphrases_of_any_length_are_hashed_without_a_panic() {
        for passphrase in [&b""[..], b"a", &[7; 4097], &[7; 1024]] {
            assert_eq!(of_passphrase(AuthAlgorithm::Md5, passphrase).len(), 16);
        }
    }
}
