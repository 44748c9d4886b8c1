//! The proxy that the environment names, in the variables that other programs know as well.
//!
//! `POSTERN_PROXY` comes first (`direct` for none); then `https_proxy` and `HTTPS_PROXY`, unless `no_proxy` or `NO_PROXY` has the
//! destination. The bootstrap file and the revision in force come before all of them. Pure: the variables are read by the caller.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::url::{HostPort, ProxyUrl, UrlError};

/// Our own variable, which no exception applies to.
const OWN: &str = "POSTERN_PROXY";

/// What stands in [`OWN`] for the direct way.
const DIRECT: &str = "direct";

/// A variable holds what is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable} is not the address of an HTTP proxy, http://[user:password@]host:port")]
pub struct EnvironmentError {
    /// Its name; never its value, which may hold a password.
    pub variable: &'static str,
    /// What is wrong.
    #[source]
    pub cause: UrlError,
}

/// Returns the proxy through which `to` is reached; `read` returns a variable's value.
///
/// # Errors
/// [`EnvironmentError`], rather than going past a proxy that the site wants used.
pub fn proxy(read: impl Fn(&str) -> Option<String>, to: &HostPort) -> Result<Option<ProxyUrl>, EnvironmentError> {
    let read = |name| read(name).filter(|value| !value.trim().is_empty());
    let parsed = |variable, text: &str| ProxyUrl::parse_variable(text).map_err(|cause| EnvironmentError { variable, cause });
    if let Some(own) = read(OWN) {
        return if own.trim().eq_ignore_ascii_case(DIRECT) { Ok(None) } else { parsed(OWN, &own).map(Some) };
    }
    let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(read);
    if exceptions.is_some_and(|list| list.split(',').any(|entry| excepts(entry.trim(), to))) {
        return Ok(None);
    }
    for variable in ["https_proxy", "HTTPS_PROXY"] {
        if let Some(text) = read(variable) {
            return parsed(variable, &text).map(Some);
        }
    }
    Ok(None)
}

/// Says whether an entry of `NO_PROXY` has `to`: `*`, a name with all below it, an address, or a network (`10.0.0.0/8`), each with
/// a port or without.
fn excepts(entry: &str, to: &HostPort) -> bool {
    if entry == "*" {
        return true;
    }
    let (entry, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (entry, None),
    };
    if port.is_some_and(|port| port.parse() != Ok(to.port())) {
        return false;
    }
    let entry = entry.trim_start_matches('[').trim_end_matches(']').trim_start_matches("*.").trim_start_matches('.');
    if entry.is_empty() {
        return false;
    }
    if let Ok(address) = to.host().parse::<IpAddr>() {
        return entry.parse() == Ok(address) || entry.parse::<IpNet>().is_ok_and(|network| network.contains(&address));
    }
    let (host, entry) = (to.host(), entry.to_ascii_lowercase());
    host == entry || host.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], to: &str) -> Result<Option<String>, &'static str> {
        let read = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        let found = proxy(read, &HostPort::parse(to).unwrap()).map_err(|error| error.variable)?;
        Ok(found.map(|proxy| proxy.to_string()))
    }

    const TO: &str = "control.example.com:443";

    #[test]
    fn our_own_variable_comes_first_and_can_say_direct() {
        let others = [("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2"), ("no_proxy", "*")];
        let with = |own| [&[("POSTERN_PROXY", own)][..], &others].concat();
        assert_eq!(found(&with("http://c:3"), TO), Ok(Some("http://c:3".to_owned())));
        assert_eq!(found(&with("Direct"), TO), Ok(None));
        assert_eq!(found(&with(" "), TO), Ok(None), "an empty one is none, and the exception applies");
        assert_eq!(found(&others[..2], TO), Ok(Some("http://a:1".to_owned())));
        assert_eq!(found(&others[1..2], TO), Ok(Some("http://b:2".to_owned())));
        assert_eq!(found(&[], TO), Ok(None));
    }

    #[test]
    fn a_variable_needs_no_scheme_and_what_is_no_http_proxy_is_an_error() {
        assert_eq!(found(&[("HTTPS_PROXY", "proxy.lan:8080/")], TO), Ok(Some("http://proxy.lan:8080".to_owned())));
        assert_eq!(found(&[("HTTPS_PROXY", "https://proxy.lan:8080")], TO), Err("HTTPS_PROXY"));
        assert_eq!(found(&[("POSTERN_PROXY", "socks5://x:1")], TO), Err("POSTERN_PROXY"));
    }

    #[test]
    fn exceptions_are_names_with_all_below_them_addresses_and_networks() {
        let direct = |entries: &str, to| found(&[("https_proxy", "http://p:1"), ("NO_PROXY", entries)], to) == Ok(None);
        for entries in ["*", "example.com", "x, .example.com", "*.example.com", "CONTROL.example.com", "control.example.com:443"] {
            assert!(direct(entries, TO), "{entries}");
        }
        for entries in ["", "ample.com", "control.example.com:8443", "10.0.0.0/8", ",", "."] {
            assert!(!direct(entries, TO), "{entries}");
        }
        assert!(
            direct("192.0.2.7", "192.0.2.7:443") && direct("192.0.2.0/24", "192.0.2.7:443") && !direct("192.0.2.0/24", "192.0.3.7:443")
        );
        assert!(direct("[2001:db8::1]:443", "[2001:db8::1]:443") && direct("2001:db8::/32", "[2001:db8::1]:443"));
        assert!(direct("2001:db8::1", "[2001:db8::1]:443"));
    }
}
