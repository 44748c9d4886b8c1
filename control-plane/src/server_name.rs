//! A host name or address as certificates carry it (RFC 6125, RFC 5280 §4.2.1.6).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::SanType;

/// A host name (lower case, no wildcard) or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// A host name, letters in lower case.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// The text is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name nor an address")]
pub struct ServerNameError(String);

impl ServerName {
    /// Whether it reaches only the machine itself (RFC 6761 §6.3, RFC 1122 §3.2.1.3).
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Dns(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(address) => address.is_loopback(),
        }
    }

    /// Returns the entry of a certificate's subject alternative names.
    pub(crate) fn to_san(&self) -> Result<SanType, rcgen::Error> {
        match self {
            Self::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
            Self::Ip(address) => Ok(SanType::IpAddress(*address)),
        }
    }

    /// Returns the name that an entry of a certificate request stands for; `None` for wildcards and other kinds.
    pub(crate) fn from_san(san: &SanType) -> Option<Self> {
        match san {
            SanType::DnsName(name) => name.as_str().parse().ok().filter(|name| matches!(name, Self::Dns(_))),
            SanType::IpAddress(address) => Some(Self::Ip(*address)),
            _ => None,
        }
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter) && !label.starts_with('-');
        let digits = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        // A last label of digits only would be an address to some and a name to others (RFC 3696 §2).
        let good = text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(digits);
        if good { Ok(Self::Dns(text.to_ascii_lowercase())) } else { Err(ServerNameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        assert_eq!("Console.Example.org".parse(), Ok(ServerName::Dns("console.example.org".to_owned())));
        assert_eq!("::1".parse(), Ok(ServerName::Ip("::1".parse().unwrap())));
        for bad in ["", "a b", "*.example.org", "a..b", "-a", "10.0.0.256", &"a.".repeat(140)] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?}");
        }
    }
}
