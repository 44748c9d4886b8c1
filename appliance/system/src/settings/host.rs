//! Names and addresses of machines: the appliance's own host name, and whom it talks to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Linux keeps at most this many bytes of a host name (`HOST_NAME_MAX`).
const MAX_HOST_NAME_BYTES: usize = 64;
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is no host name or address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A host name that Linux cannot keep.
    #[error("a host name has at most {MAX_HOST_NAME_BYTES} characters")]
    Long,
    /// Not a name by RFC 1123.
    #[error("{0:?} is not a host name: it has letters, digits and '-' between dots, for example gateway-1.example.com")]
    Name(String),
    /// Digits and dots only: it would be taken for an address.
    #[error("{0:?} is neither an address nor a name: the last part of a name is not a number")]
    Numeric(String),
}

/// The appliance's host name by RFC 1123, in lower case; with or without a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.len() > MAX_HOST_NAME_BYTES {
            return Err(HostError::Long);
        }
        dns_name(text).map(Self)
    }
}

/// A machine to talk to: an address, or a name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name that DNS resolves.
    Name(String),
}

impl Host {
    /// Writes the host as it stands before a port: an IPv6 address in brackets.
    pub fn in_url(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(IpAddr::V4(_)) | Self::Name(_) => self.to_string(),
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Address(address.to_canonical())),
            Err(_) => dns_name(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::text_of!(Host, HostError);
super::text_of!(HostName, HostError);

/// Checks the grammar of RFC 1123 §2.1 and returns the name in lower case.
fn dns_name(text: &str) -> Result<String, HostError> {
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() > MAX_NAME_BYTES || !text.split('.').all(label) {
        return Err(HostError::Name(super::shown(text)));
    }
    if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(HostError::Numeric(super::shown(text)));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_follow_rfc_1123() {
        for (text, name) in [("gw1", "gw1"), ("GW-1.Example.com", "gw-1.example.com"), ("3com", "3com")] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), name);
        }
        for text in ["", "-a", "a-", "a..b", "a.", "a_b", "a b", "a\nb", "ä", "10.0.0.1", "1", &"a".repeat(65)] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name() {
        assert_eq!("::ffff:192.0.2.1".parse(), Ok(Host::Address("192.0.2.1".parse().unwrap())));
        assert_eq!("2001:db8::1".parse::<Host>().unwrap().in_url(), "[2001:db8::1]");
        assert_eq!("NTP.example.com".parse(), Ok(Host::Name("ntp.example.com".into())));
        assert!(matches!("10.0.0.256".parse::<Host>(), Err(HostError::Numeric(_))));
        assert!(matches!("[::1]".parse::<Host>(), Err(HostError::Name(_))));
    }
}
