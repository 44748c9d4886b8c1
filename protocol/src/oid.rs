//! Object identifiers (RFC 2578 §3.5): parsed, compared and written; nothing about what they mean.

use std::fmt;
use std::str::FromStr;

/// Most sub-identifiers of an OID (RFC 2578 §3.5).
pub const MAX_SUB_IDENTIFIERS: usize = 128;

/// An object identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(Box<[u32]>);

/// Why something is not an OID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// Fewer than two sub-identifiers, or more than [`MAX_SUB_IDENTIFIERS`].
    #[error("an OID has 2 to {MAX_SUB_IDENTIFIERS} numbers")]
    Length,
    /// The first is above 2, or the second above 39 under 0 or 1 (X.660).
    #[error("an OID begins with 0, 1 or 2, and 0 and 1 are followed by at most 39")]
    Root,
    /// Something between the dots is not a number of 32 bits.
    #[error("an OID is numbers between 0 and 4294967295 with dots between them, for example 1.3.6.1.6.3.1.1.5.3")]
    SubIdentifier,
}

impl Oid {
    /// Checks `numbers` and takes them as an OID.
    ///
    /// # Errors
    /// [`OidError::Length`] or [`OidError::Root`].
    pub fn new(numbers: &[u32]) -> Result<Self, OidError> {
        match numbers {
            [] | [_] => Err(OidError::Length),
            [first, second, ..] if *first > 2 || (*first < 2 && *second > 39) => Err(OidError::Root),
            _ if numbers.len() > MAX_SUB_IDENTIFIERS => Err(OidError::Length),
            _ => Ok(Self(numbers.into())),
        }
    }

    /// Returns the sub-identifiers.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// Returns what follows `prefix`, when this OID equals it or lies below it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(prefix.numbers())
    }
}

impl FromStr for Oid {
    type Err = OidError;

    /// Parses the dotted form; one leading dot is allowed.
    fn from_str(text: &str) -> Result<Self, OidError> {
        let mut numbers = Vec::with_capacity(16);
        for part in text.strip_prefix('.').unwrap_or(text).split('.') {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(OidError::SubIdentifier);
            }
            if numbers.len() == MAX_SUB_IDENTIFIERS {
                return Err(OidError::Length);
            }
            numbers.push(part.parse().map_err(|_| OidError::SubIdentifier)?);
        }
        Self::new(&numbers)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dotted_form_survives_and_faults_are_named() {
        let oid: Oid = ".1.3.6.1.4.1.4294967295".parse().unwrap();
        assert_eq!(oid.to_string(), "1.3.6.1.4.1.4294967295");
        for (text, error) in [
            ("", OidError::SubIdentifier),
            ("1", OidError::Length),
            ("3.1", OidError::Root),
            ("1.40", OidError::Root),
            ("1.3.+6", OidError::SubIdentifier),
            ("1.3.4294967296", OidError::SubIdentifier),
            ("1..3", OidError::SubIdentifier),
        ] {
            assert_eq!(text.parse::<Oid>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_is_stripped_by_whole_numbers_only() {
        let oid: Oid = "1.3.6.11".parse().unwrap();
        assert_eq!(oid.strip_prefix(&"1.3.6".parse().unwrap()), Some(&[11][..]));
        assert_eq!(oid.strip_prefix(&"1.3.6.1".parse().unwrap()), None);
    }
}
