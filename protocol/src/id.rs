//! Identifiers that travel between programs: one newtype for each, so that no two can be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alert::AlertKey;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identifier is 1 to 64 of the characters a-z, 0-9, '-', '_' and '.', not {0:?}")]
pub struct IdError(String);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it as an identifier.
            ///
            /// # Errors
            /// [`IdError`] unless it is 1 to 64 of the characters `a-z`, `0-9`, `-`, `_`, `.`.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
                if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
                    return Err(IdError(text.chars().take(80).collect()));
                }
                Ok(Self(text))
            }

            /// Returns the identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

// A macro because three identical newtypes would otherwise be 120 lines of copies.
text_id!(
    /// A customer of the control plane.
    TenantId
);
text_id!(
    /// An enrolled gateway, unique over all tenants.
    GatewayId
);
text_id!(
    /// A rule of a revision.
    RuleId
);

impl RuleId {
    /// Returns what stands where an alert names its rule, when it is about the gateway itself and no rule made it.
    pub fn own() -> Self {
        Self("postern".to_owned())
    }
}

/// An alert of one gateway, stable for its key: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(String);

impl AlertId {
    /// Derives the identifier that `key` always has on `gateway`: the first 16 bytes of SHA-256 over the length-prefixed parts.
    pub fn derive(gateway: &GatewayId, key: &AlertKey) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for part in [gateway.as_str(), &key.resource, &key.kind, &key.qualifier] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(data_encoding::HEXLOWER.encode(hash.finalize().get(..16).unwrap_or_default()))
    }

    /// Returns the identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The life of a spool between two starts of the daemon: random, so that a restored disk is told from the one that ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The place of a record within its epoch and lane, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// A revision of a gateway's configuration, counted from 1 and never rewound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionNumber(pub u64);

impl fmt::Display for RevisionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One class of outbound data, with its own order, quota and stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Alert states.
    Alerts,
    /// Inventory and durable status.
    Inventory,
    /// Opted-in log streams.
    Logs,
    /// Measurements.
    Samples,
}

impl Lane {
    /// Every lane, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Alerts, Self::Inventory, Self::Logs, Self::Samples];

    /// Returns the number that stands for the lane on disk and on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Alerts => 1,
            Self::Inventory => 2,
            Self::Logs => 3,
            Self::Samples => 4,
        }
    }

    /// Returns the lane that `number` stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.number() == number)
    }

    /// Returns the name of the lane in URLs, metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Inventory => "inventory",
            Self::Logs => "logs",
            Self::Samples => "samples",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_what_could_break_a_path_or_a_certificate() {
        for bad in ["", "A", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
        assert!(TenantId::new("acme-1.eu_x").is_ok());
    }

    #[test]
    fn alert_ids_depend_on_every_part_of_the_key() {
        let key = |r: &str, k: &str, q: &str| AlertKey { resource: r.into(), kind: k.into(), qualifier: q.into() };
        let a = GatewayId::new("a").unwrap();
        let ids = [
            AlertId::derive(&a, &key("r", "k", "q")),
            AlertId::derive(&a, &key("rk", "", "q")),
            AlertId::derive(&a, &key("r", "kq", "")),
            AlertId::derive(&GatewayId::new("b").unwrap(), &key("r", "k", "q")),
        ];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
