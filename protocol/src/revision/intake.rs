//! The part of a document that says how a gateway receives: SNMP users and communities, trusted relays, facts about sources.
//!
//! Only shapes; `check::intake` holds what they may mean. Secrets are named here and travel sealed, beside the document.

use serde::{Deserialize, Serialize};

/// How SNMP notifications are taken in. Without this section any community is taken, and no SNMPv3 user is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Snmp {
    /// SNMPv3 users (RFC 3414); several may share a name when engines or sources tell them apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Which communities are taken from where; any from anywhere when empty. A source in no entry's networks is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<CommunityGrant>,
    /// Networks (CIDR) of relays whose `snmpTrapAddress.0` is believed (RFC 3584 §3.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_relays: Vec<String>,
    /// Weak algorithms that are allowed all the same. MD5, DES and 3DES are off unless they are named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_weak: Vec<WeakAlgorithm>,
    /// Authentication algorithms that no user may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid_auth: Vec<AuthAlgorithm>,
    /// Privacy algorithms that no user may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid_priv: Vec<PrivAlgorithm>,
    /// Authoritative engines whose snmpEngineBoots may start again from a lower number, once each: for a device that was replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine_resets: Vec<EngineReset>,
}

/// One SNMPv3 user (RFC 3414).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct User {
    /// msgUserName, 1 to 32 bytes (RFC 3414 §5).
    pub name: String,
    /// Engine IDs in hexadecimal, 5 to 32 bytes each (RFC 3411 §5), of the devices that may use it; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<String>,
    /// Networks (CIDR) that it may come from; needed when `engines` is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Authentication; none for noAuthNoPriv.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Authentication>,
    /// Privacy; needs `auth`.
    #[serde(default, rename = "priv", skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// The lowest level that is taken; the highest that its keys allow when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_level: Option<SecurityLevel>,
}

/// How a user's messages are authenticated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    /// The HMAC.
    pub algorithm: AuthAlgorithm,
    /// Name of the secret that holds the passphrase (8 characters at least, RFC 3414 §11.2).
    pub secret: String,
}

/// How a user's messages are encrypted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// The cipher.
    pub algorithm: PrivAlgorithm,
    /// Name of the secret that holds the passphrase (8 characters at least).
    pub secret: String,
    /// How a key longer than the hash is made of it.
    #[serde(default, skip_serializing_if = "KeyExtension::is_default")]
    pub key_extension: KeyExtension,
}

/// HMACs of SNMPv3 (RFC 3414 §6 and §7, RFC 7860).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AuthAlgorithm {
    /// HMAC-MD5-96; weak.
    #[serde(rename = "md5")]
    Md5,
    /// HMAC-SHA-96.
    #[serde(rename = "sha-1")]
    Sha1,
    /// usmHMAC128SHA224AuthProtocol.
    #[serde(rename = "sha-224")]
    Sha224,
    /// usmHMAC192SHA256AuthProtocol.
    #[serde(rename = "sha-256")]
    Sha256,
    /// usmHMAC256SHA384AuthProtocol.
    #[serde(rename = "sha-384")]
    Sha384,
    /// usmHMAC384SHA512AuthProtocol.
    #[serde(rename = "sha-512")]
    Sha512,
}

/// Ciphers of SNMPv3 (RFC 3414 §8, RFC 3826, draft-reeder-snmpv3-usm-3desede, draft-blumenthal-aes-usm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PrivAlgorithm {
    /// CBC-DES; weak.
    #[serde(rename = "des")]
    Des,
    /// 3DES-EDE in CBC; weak.
    #[serde(rename = "3des")]
    TripleDes,
    /// CFB128-AES-128 (RFC 3826).
    #[serde(rename = "aes-128")]
    Aes128,
    /// CFB128-AES-192.
    #[serde(rename = "aes-192")]
    Aes192,
    /// CFB128-AES-256.
    #[serde(rename = "aes-256")]
    Aes256,
}

/// How a localised key is made longer for AES-192, AES-256 and 3DES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyExtension {
    /// draft-blumenthal-aes-usm-04 §3.1.2.1 for AES, draft-reeder-snmpv3-usm-3desede-00 §2.1 for 3DES: what most devices do.
    #[default]
    Standard,
    /// Reeder's way also for AES: Cisco's AES-192 and AES-256.
    Reeder,
}

impl KeyExtension {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Security levels (RFC 3411 §3.4.3), lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SecurityLevel {
    /// noAuthNoPriv.
    NoAuthNoPriv,
    /// authNoPriv.
    AuthNoPriv,
    /// authPriv.
    AuthPriv,
}

/// Algorithms that are refused unless a document names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WeakAlgorithm {
    /// HMAC-MD5-96.
    #[serde(rename = "md5")]
    Md5,
    /// CBC-DES.
    #[serde(rename = "des")]
    Des,
    /// 3DES-EDE.
    #[serde(rename = "3des")]
    TripleDes,
}

/// Communities that some networks may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CommunityGrant {
    /// Networks (CIDR).
    pub sources: Vec<String>,
    /// Names of the secrets that hold the community strings.
    pub secrets: Vec<String>,
}

/// Lets one authoritative engine start over (RFC 3414 §3.2 (7) b would refuse it for ever).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineReset {
    /// Engine ID in hexadecimal.
    pub engine: String,
    /// Counted up for each further reset of this engine: a number that was used has no effect.
    pub serial: u32,
}

/// Facts about senders in some networks. The longest prefix that holds an address wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SourceFacts {
    /// Networks (CIDR).
    pub networks: Vec<String>,
    /// The zone of time stamps that name none: an IANA name (`Europe/Berlin`) or a fixed offset (`+02:00`); UTC when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What the sources are called, in place of their addresses, by `source_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where they are, for `site`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Who looks after them, for `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The group that they belong to, by which windows, dependencies and silences choose them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Words by which windows choose them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}
