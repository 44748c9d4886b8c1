//! What the bootstrap file, the revision in force and the vault make of the way to the control plane. Pure.
//!
//! A revision may name other addresses and another proxy. Whom the gateway trusts there (name, authority, pins) is never its to say.

use postern_protocol::revision::Problem;
use postern_protocol::revision::link::{Uplink, UplinkProxy};
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::url::{Credentials, HostPort, ProxyUrl};
use zeroize::Zeroizing;

use crate::vault::Secret;

/// Returns how the control plane is reached with `uplink` in force, and what is amiss. Whatever that is, the settings can be tried:
/// a proxy whose password is missing is asked without one.
pub(crate) fn settings(
    bootstrap: &LinkSettings,
    uplink: Option<&Uplink>,
    find: &dyn Fn(&str) -> Option<Secret>,
) -> (LinkSettings, Vec<Problem>) {
    let (mut settings, mut problems) = (bootstrap.clone(), Vec::new());
    let Some(uplink) = uplink else { return (settings, problems) };
    let mut amiss = |path: String, reason: String| problems.push(Problem { path, line: 0, column: 0, reason });
    let mut addresses = Vec::new();
    for (index, address) in uplink.addresses.iter().enumerate() {
        match HostPort::parse(address) {
            Ok(address) => addresses.push(address),
            Err(error) => amiss(format!("uplink.addresses[{index}]"), crate::chain(&error)),
        }
    }
    if !addresses.is_empty() {
        settings.addresses = addresses;
    }
    match &uplink.proxy {
        None => {}
        Some(UplinkProxy::Direct {}) => settings.proxy = None,
        Some(UplinkProxy::Http { address, user, secret }) => match HostPort::parse(address) {
            Ok(address) => {
                let signed_in = user.as_ref().zip(secret.as_ref()).map(|(user, secret)| credentials(user, secret, find));
                let credentials = signed_in.transpose().unwrap_or_else(|reason| {
                    amiss("uplink.proxy.http.secret".to_owned(), reason);
                    None
                });
                settings.proxy = Some(ProxyUrl::new(address, credentials));
            }
            Err(error) => amiss("uplink.proxy.http.address".to_owned(), crate::chain(&error)),
        },
    }
    (settings, problems)
}

fn credentials(user: &str, secret: &str, find: &dyn Fn(&str) -> Option<Secret>) -> Result<Credentials, String> {
    let found = find(secret).ok_or_else(|| format!("no secret of the name \"{secret}\" is in the vault: seal it first"))?;
    let password = std::str::from_utf8(found.expose()).map_err(|_| format!("the secret \"{secret}\" is not UTF-8 text"))?;
    Credentials::new(user.to_owned(), Zeroizing::new(password.to_owned())).map_err(|error| crate::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap() -> LinkSettings {
        LinkSettings::new("https://control.example:443".parse().unwrap(), Some("http://old.example:3128".parse().unwrap()))
    }

    fn made(uplink: &str, find: &dyn Fn(&str) -> Option<Secret>) -> (LinkSettings, Vec<Problem>) {
        settings(&bootstrap(), Some(&serde_json::from_str(uplink).unwrap()), find)
    }

    fn secret(name: &str) -> Option<Secret> {
        Some(Secret::new(Zeroizing::new(format!("password of {name}").into_bytes())))
    }

    #[test]
    fn what_the_revision_leaves_out_stays_as_the_bootstrap_file_says() {
        assert_eq!(settings(&bootstrap(), None, &secret), (bootstrap(), Vec::new()));
        assert_eq!(made("{}", &secret), (bootstrap(), Vec::new()));
        let (direct, _) = made(r#"{"addresses":["[2001:db8::1]:8443"],"proxy":{"direct":{}}}"#, &secret);
        assert_eq!((direct.server, direct.proxy), (bootstrap().server, None));
        assert_eq!(direct.addresses, [HostPort::parse("[2001:db8::1]:8443").unwrap()]);
    }

    #[test]
    fn a_trust_bundles_addresses_are_left_to_be_tried_whatever_the_revision_says() {
        let further = vec![HostPort::parse("192.0.2.9:443").unwrap()];
        let bootstrap = LinkSettings { further: further.clone(), ..bootstrap() };
        let uplink: Uplink = serde_json::from_str(r#"{"addresses":["192.0.2.8:443"]}"#).unwrap();
        let (made, _) = settings(&bootstrap, Some(&uplink), &secret);
        assert_eq!(made.way(0).addresses, [HostPort::parse("192.0.2.8:443").unwrap(), further[0].clone()]);
    }

    #[test]
    fn a_proxy_gets_its_password_from_the_vault() {
        const SIGNED_IN: &str = r#"{"proxy":{"http":{"address":"new.example:8080","user":"anna","secret":"proxy"}}}"#;
        let (with, problems) = made(SIGNED_IN, &secret);
        assert_eq!(problems, []);
        let password = Zeroizing::new("password of proxy".to_owned());
        let credentials = Credentials::new("anna".to_owned(), password).unwrap();
        assert_eq!(with.proxy, Some(ProxyUrl::new(HostPort::parse("new.example:8080").unwrap(), Some(credentials))));
        let (without, problems) = made(SIGNED_IN, &|_| None);
        assert_eq!(without.proxy, Some(ProxyUrl::new(HostPort::parse("new.example:8080").unwrap(), None)));
        assert_eq!(problems.first().map(|problem| problem.path.as_str()), Some("uplink.proxy.http.secret"));
    }
}
