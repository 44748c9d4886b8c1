//! The two addresses that a person writes as a URL: the control plane's and, where a site has one, the HTTP proxy's.
//!
//! They accept less than the gateway does, never more: what is accepted here is written into its configuration as it stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::host::{Host, HostError};
use crate::secret::Secret;

const MAX_CREDENTIAL_BYTES: usize = 256;

/// Why a text is not a usable URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A character that cannot stand in a configuration file. The value is not repeated: it is a secret.
    #[error("user and password are up to {MAX_CREDENTIAL_BYTES} printable characters with a ':' between, without spaces, '\"' and '\\'")]
    Credentials,
    /// The host is none.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Something behind the port.
    #[error("the address ends after its port: remove the path, query or fragment")]
    Path,
    /// The port is no number from 1 to 65535.
    #[error("{0:?} is not a port: it is a number from 1 to 65535")]
    Port(String),
    /// No address of a proxy. The value is not repeated: a part of it may be a password.
    #[error("a proxy is http://host:port or http://user:password@host:port")]
    Proxy,
    /// The scheme is another one.
    #[error("the address begins with \"{0}\"")]
    Scheme(&'static str),
    /// A user name where none belongs.
    #[error("the control plane's address has no user name: remove everything before the '@'")]
    User,
}

/// A machine and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The machine.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host.in_url(), self.port)
    }
}

/// The control plane: `https://host[:port]`, port 443 unless given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlPlane(Target);

impl ControlPlane {
    /// Returns where it is.
    pub const fn target(&self) -> &Target {
        &self.0
    }
}

impl FromStr for ControlPlane {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("https://").ok_or(UrlError::Scheme("https://"))?;
        if rest.contains('@') {
            return Err(UrlError::User);
        }
        target(rest, 443).map(Self)
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

super::text_of!(ControlPlane, UrlError);

/// The site's HTTP proxy: `http://[user:password@]host[:port]`, port 3128 unless given. `Debug` hides the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proxy {
    target: Target,
    credentials: Option<Secret>,
}

impl Proxy {
    /// Returns where it is.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Writes the URL with its password: a deliberate step.
    pub fn with_credentials(&self) -> String {
        match &self.credentials {
            Some(credentials) => format!("http://{}@{}", credentials.expose(), self.target),
            None => self.to_string(),
        }
    }

    /// Returns the proxy with the password of `kept`, if that is the same machine and this one has none.
    #[must_use]
    pub fn or_credentials_of(mut self, kept: &Self) -> Self {
        if self.credentials.is_none() && self.target == kept.target {
            self.credentials.clone_from(&kept.credentials);
        }
        self
    }

    /// Returns the proxy without its password.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        Self { target: self.target.clone(), credentials: None }
    }
}

impl FromStr for Proxy {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("http://").ok_or(UrlError::Scheme("http://"))?;
        let Some((credentials, rest)) = rest.rsplit_once('@') else {
            return Ok(Self { target: proxy_target(rest)?, credentials: None });
        };
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
        if credentials.len() > MAX_CREDENTIAL_BYTES || !credentials.contains(':') || !credentials.bytes().all(plain) {
            return Err(UrlError::Credentials);
        }
        Ok(Self { target: proxy_target(rest)?, credentials: Some(Secret::new(credentials.to_owned())) })
    }
}

/// Writes the address without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.target)
    }
}

impl TryFrom<String> for Proxy {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

/// With the password: this is how the settings travel to the broker and are kept.
impl From<Proxy> for String {
    fn from(proxy: Proxy) -> Self {
        proxy.with_credentials()
    }
}

/// Parses host and port without telling what they are not: `http://user:password` has the password where the port belongs.
fn proxy_target(authority: &str) -> Result<Target, UrlError> {
    target(authority, 3128).map_err(|_| UrlError::Proxy)
}

fn target(authority: &str, default_port: u16) -> Result<Target, UrlError> {
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(UrlError::Path);
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, "")) => (inside, None),
        Some((inside, rest)) => (inside, Some(rest.strip_prefix(':').ok_or_else(|| UrlError::Port(super::shown(rest)))?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let host: Host = host.parse()?;
    let bracketed = authority.starts_with('[');
    if bracketed != matches!(host, Host::Address(std::net::IpAddr::V6(_))) {
        return Err(UrlError::Host(HostError::Name(super::shown(authority))));
    }
    let port = match port {
        None => default_port,
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().ok().filter(|port| *port != 0).ok_or_else(|| UrlError::Port(super::shown(text)))?
        }
        Some(text) => return Err(UrlError::Port(super::shown(text))),
    };
    Ok(Target { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_scheme_host_and_port() {
        for (text, shown) in [
            ("https://control.example.com", "https://control.example.com:443"),
            ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
            ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ] {
            let url: ControlPlane = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url));
        }
        assert_eq!("http://proxy.lan".parse::<Proxy>().unwrap().to_string(), "http://proxy.lan:3128");
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<ControlPlane>().unwrap_err();
        assert!(matches!(error("http://a"), UrlError::Scheme(_)));
        assert!(matches!(error("https://"), UrlError::Host(_)));
        assert!(matches!(error("https://a\r\nb"), UrlError::Host(_)));
        assert!(matches!(error("https://a\"b"), UrlError::Host(_)));
        assert!(matches!(error("https://2001:db8::1"), UrlError::Port(_) | UrlError::Host(_)));
        assert!(matches!(error("https://[192.0.2.1]"), UrlError::Host(_)));
        assert!(matches!(error("https://[::1"), UrlError::Host(_)));
        assert!(matches!(error("https://a:0"), UrlError::Port(_)));
        assert!(matches!(error("https://a:+1"), UrlError::Port(_)));
        assert!(matches!(error("https://a:65536"), UrlError::Port(_)));
        assert!(matches!(error("https://a/b"), UrlError::Path));
        assert!(matches!(error("https://u@a"), UrlError::User));
    }

    #[test]
    fn a_proxys_password_is_kept_and_not_shown() {
        let proxy: Proxy = "http://site:p@ss@proxy.lan:8080".parse().unwrap();
        assert_eq!(proxy.with_credentials(), "http://site:p@ss@proxy.lan:8080");
        assert_eq!(proxy.without_credentials().with_credentials(), "http://proxy.lan:8080");
        assert!(!format!("{proxy} {proxy:?}").contains("p@ss"));
        for bad in ["http://a b:c@p", "http://a:\"@p", "http://a:\\@p", "http://a:\n@p", "http://a@p"] {
            let error = bad.parse::<Proxy>().unwrap_err();
            assert_eq!(error, UrlError::Credentials, "{bad:?}");
        }
        for bad in ["http://site:p4ssword", "http://u:p@", "http://u:p4ss/word@a/b"] {
            let told = bad.parse::<Proxy>().unwrap_err().to_string();
            assert!(!told.contains("p4ss"), "{told}");
        }
        let bare: Proxy = "http://proxy.lan:8080".parse().unwrap();
        assert_eq!(bare.clone().or_credentials_of(&proxy), proxy);
        let other: Proxy = "http://other.lan:8080".parse().unwrap();
        assert_eq!(other.clone().or_credentials_of(&proxy), other);
    }
}
