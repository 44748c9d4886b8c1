//! The addresses that a person writes: the control plane's and, where a site has one, the HTTP proxy's.
//!
//! All are just scheme, host and port, so they are parsed here rather than by a URL library.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Port of a proxy when none is given.
const DEFAULT_PROXY_PORT: u16 = 3128;

/// Why a text is not a usable address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The host is empty or has a character that no host name has.
    #[error("{0:?} is not a host name or an IP address")]
    Host(String),
    /// There is something behind the port.
    #[error("an address ends after its port: remove the path, query or fragment")]
    Path,
    /// No port where one must stand.
    #[error("{0:?} has no port: write host:port, for example control.example.com:443")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port: it is a number from 1 to 65535")]
    Port(String),
    /// The scheme is another one.
    #[error("the address must begin with \"{expected}\"")]
    Scheme {
        /// What it should begin with.
        expected: &'static str,
    },
    /// A user name with a colon, or with a control character in it or the password.
    #[error("the proxy's user name has a colon, or it or the password has a control character")]
    Credentials,
    /// A user name or password where none belongs.
    #[error("the control plane's address has no user name: remove everything before the '@'")]
    User,
}

/// The control plane's address: `https://host[:port]`, port 443 unless given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl {
    host: String,
    port: u16,
}

impl ServerUrl {
    /// Parses `https://host[:port][/]`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`UrlError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        const SCHEME: &str = "https://";
        let authority = text.trim().strip_prefix(SCHEME).ok_or(UrlError::Scheme { expected: SCHEME })?;
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let (host, port) = authority_parts(authority)?;
        Ok(Self { host, port: port.unwrap_or(443) })
    }

    /// Returns the host without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `host:port`, an IPv6 address in brackets: what `Host` and `CONNECT` carry.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Returns where to connect to.
    pub fn host_port(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port }
    }

    /// Returns the name that the server's certificate must have.
    ///
    /// # Errors
    /// [`UrlError::Host`] when the host can stand in no certificate.
    pub fn server_name(&self) -> Result<ServerName<'static>, UrlError> {
        ServerName::try_from(self.host.clone()).map_err(|_| UrlError::Host(self.host.clone()))
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse(&text)
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

/// Where to connect to: `host:port`, both always given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Parses `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`UrlError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (host, port) = authority_parts(text.trim())?;
        Ok(Self { host, port: port.ok_or_else(|| UrlError::NoPort(text.chars().take(80).collect()))? })
    }

    /// Names an address by its parts; `host` is a name, or an IP address without brackets.
    ///
    /// # Errors
    /// [`UrlError::Host`] when it is neither.
    pub fn new(host: &str, port: u16) -> Result<Self, UrlError> {
        ServerName::try_from(host).map_err(|_| UrlError::Host(host.chars().take(80).collect()))?;
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Returns the host without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

/// Writes `host:port`, an IPv6 address in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// A user name and a password for a proxy. A secret: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// Takes a name and a password.
    ///
    /// # Errors
    /// [`UrlError::Credentials`] when the name has a colon (RFC 7617 §2), or either a control character.
    pub fn new(user: String, password: Zeroizing<String>) -> Result<Self, UrlError> {
        if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
            return Err(UrlError::Credentials);
        }
        Ok(Self { user, password })
    }
}

/// An HTTP proxy: `http://[user:password@]host[:port]`, port 3128 unless given. May hold a password: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    address: HostPort,
    credentials: Option<Credentials>,
}

impl ProxyUrl {
    /// Names a proxy by its parts.
    pub fn new(address: HostPort, credentials: Option<Credentials>) -> Self {
        Self { address, credentials }
    }

    /// Parses `http://[user:password@]host[:port][/]`. User and password are taken as they stand, up to the last `@`.
    ///
    /// # Errors
    /// [`UrlError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        const SCHEME: &str = "http://";
        let rest = text.trim().strip_prefix(SCHEME).ok_or(UrlError::Scheme { expected: SCHEME })?;
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                (Some(Credentials::new(user.to_owned(), Zeroizing::new(password.to_owned()))?), rest)
            }
            None => (None, rest),
        };
        let (host, port) = authority_parts(rest)?;
        Ok(Self { address: HostPort { host, port: port.unwrap_or(DEFAULT_PROXY_PORT) }, credentials })
    }

    /// Parses what an environment variable holds: as [`ProxyUrl::parse`], but the scheme may be left out, and user and password are
    /// percent-decoded (RFC 3986 §2.1), as other programs read these variables.
    ///
    /// # Errors
    /// [`UrlError`] for anything else.
    pub fn parse_variable(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut proxy = Self::parse(&Zeroizing::new(whole))?;
        if let Some(Credentials { user, password }) = proxy.credentials {
            proxy.credentials = Some(Credentials::new(percent_decoded(&user)?, Zeroizing::new(percent_decoded(&password)?))?);
        }
        Ok(proxy)
    }

    /// Returns where it listens.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// Returns name and password, when given. A secret.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl FromStr for ProxyUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

/// Writes the address without user and password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Joins host and port, an IPv6 address in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn percent_decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let pair = behind.split_at_checked(2);
        let decoded = pair.and_then(|(pair, _)| HEXLOWER_PERMISSIVE.decode(pair).ok()?.first().copied());
        match (*first, decoded, pair) {
            (b'%', Some(byte), Some((_, after))) => {
                bytes.push(byte);
                rest = after;
            }
            (byte, ..) => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Credentials)
}

fn authority_parts(authority: &str) -> Result<(String, Option<u16>), UrlError> {
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(UrlError::Path);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| UrlError::Host(authority.to_owned()))?;
            if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
                return Err(UrlError::Host(host.to_owned()));
            }
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(|| UrlError::Port(rest.to_owned()))?) };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if ServerName::try_from(host).is_err() {
        return Err(UrlError::Host(host.chars().take(80).collect()));
    }
    let port = match port {
        None => None,
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(text.parse().ok().filter(|port| *port != 0).ok_or_else(|| UrlError::Port(text.to_owned()))?)
        }
        Some(text) => return Err(UrlError::Port(text.to_owned())),
    };
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_are_scheme_host_and_port() {
        for (text, shown) in [
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("https://Cloud.example.org/", "https://cloud.example.org:443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(ServerUrl::parse(&url.to_string()), Ok(url));
        }
        assert_eq!(ServerUrl::parse("https://[::1]:8443").unwrap().host(), "::1");
    }

    #[test]
    fn what_is_no_server_url_is_refused_with_the_reason() {
        let error = |text| ServerUrl::parse(text).unwrap_err();
        assert!(matches!(error("http://a"), UrlError::Scheme { .. }));
        assert!(matches!(error("https://"), UrlError::Host(_)));
        assert!(matches!(error("https://a b"), UrlError::Host(_)));
        assert!(matches!(error("https://[::1"), UrlError::Host(_)));
        assert!(matches!(error("https://a\r\nX: y"), UrlError::Host(_)));
        assert!(matches!(error("https://a:0"), UrlError::Port(_)));
        assert!(matches!(error("https://a:+1"), UrlError::Port(_)));
        assert!(matches!(error("https://a:65536"), UrlError::Port(_)));
        assert!(matches!(error("https://[::1]8443"), UrlError::Port(_)));
        assert!(matches!(error("https://a/b"), UrlError::Path));
        assert!(matches!(error("https://u@a"), UrlError::User));
    }

    #[test]
    fn a_proxys_password_is_never_printed() {
        let proxy = ProxyUrl::parse("http://site:p@ss@proxy.lan:8080").unwrap();
        let credentials = proxy.credentials().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("site", "p@ss"));
        assert_eq!(format!("{proxy} {proxy:?}"), "http://proxy.lan:8080 http://proxy.lan:8080");
        assert_eq!(ProxyUrl::parse("http://proxy.lan").unwrap().address().port(), 3128);
        assert_eq!(ProxyUrl::parse("http://a\r\nb:c@proxy.lan"), Err(UrlError::Credentials));
    }

    #[test]
    fn a_variables_name_and_password_are_percent_decoded() {
        let proxy = ProxyUrl::parse_variable("site:p%40s%3As%zz%@proxy.lan:8080").unwrap();
        let credentials = proxy.credentials().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("site", "p@s:s%zz%"));
        assert_eq!(ProxyUrl::parse_variable("a%0d%0a:b@proxy.lan"), Err(UrlError::Credentials));
        assert_eq!(ProxyUrl::parse_variable("a%ff:b@proxy.lan"), Err(UrlError::Credentials));
    }

    #[test]
    fn an_address_to_connect_to_has_a_port() {
        let shown = |text| HostPort::parse(text).map(|address| address.to_string());
        assert_eq!(shown(" Control.example.com:443"), Ok("control.example.com:443".to_owned()));
        assert_eq!(shown("[2001:DB8::1]:443"), Ok("[2001:db8::1]:443".to_owned()));
        assert!(matches!(shown("control.example.com"), Err(UrlError::NoPort(_))));
        assert!(matches!(shown("https://control.example.com:443"), Err(UrlError::Path | UrlError::Host(_))));
    }
}
