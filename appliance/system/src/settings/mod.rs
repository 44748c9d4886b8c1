//! What a site sets, as types: a value in hand is good, so what is rendered from it needs no escaping and no second check.
//!
//! First boot and the console make a [`Submission`] from the texts of the fixed list of keys; the broker takes [`Settings`] over
//! its socket through the same parsers and keeps them.

pub mod host;
pub mod network;
pub mod servers;
pub mod ssh_key;
pub mod url;

use std::net::IpAddr;

use postern_protocol::enrolment::Token;
use serde::{Deserialize, Serialize};

use self::host::HostName;
use self::network::{AddressError, Cidr, Network};
use self::servers::{Resolvers, TimeServers};
use self::ssh_key::SshKey;
use self::url::{ControlPlane, Proxy};
use crate::secret::Secret;
use crate::veto::Veto;

/// Every key that a site can set, in the order of the forms. In OVF properties each follows `postern.`.
pub const KEYS: [&str; 10] = ["hostname", "address", "gateway", "dns", "ntp", "proxy", "control_plane", "token", "ssh_key", "veto"];

/// What a site sets and the appliance keeps. The default is DHCP for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSettings", into = "RawSettings")]
pub struct Settings {
    /// The appliance's host name.
    pub hostname: Option<HostName>,
    /// How it gets its address.
    pub network: Network,
    /// DNS resolvers.
    pub dns: Resolvers,
    /// Time servers.
    pub ntp: TimeServers,
    /// The HTTP proxy on the way to the control plane.
    pub proxy: Option<Proxy>,
    /// The control plane.
    pub control_plane: Option<ControlPlane>,
    /// Who may log in by SSH, when that is on.
    pub ssh_key: Option<SshKey>,
}

impl Settings {
    /// Returns the settings without the proxy's password.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        Self { proxy: self.proxy.as_ref().map(Proxy::without_credentials), ..self.clone() }
    }
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The key as it was given.
    pub key: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Everything that a site hands over at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// What is kept.
    pub settings: Settings,
    /// The enrolment token.
    pub token: Option<Secret>,
    /// The text of the site's veto.
    pub veto: Option<String>,
}

impl Submission {
    /// Parses texts by key, without the prefix `postern.`; an empty value stands for one that is not set.
    ///
    /// # Errors
    /// Every fault at once: unknown keys, repeated keys, values that do not parse, values that do not fit together.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Vec<Fault>> {
        let (mut raw, mut faults) = (RawSubmission::default(), Vec::new());
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in pairs {
            let value = value.trim();
            let slot = match key {
                "hostname" => &mut raw.settings.hostname,
                "address" => &mut raw.settings.address,
                "gateway" => &mut raw.settings.gateway,
                "dns" => &mut raw.settings.dns,
                "ntp" => &mut raw.settings.ntp,
                "proxy" => &mut raw.settings.proxy,
                "control_plane" => &mut raw.settings.control_plane,
                "token" => &mut raw.token,
                "ssh_key" => &mut raw.settings.ssh_key,
                "veto" => &mut raw.veto,
                _ => {
                    faults.push(Fault { key: shown(key), reason: format!("there is no such setting; there are {}", KEYS.join(", ")) });
                    continue;
                }
            };
            if !seen.insert(key) {
                faults.push(Fault { key: key.to_owned(), reason: "it is set twice".to_owned() });
            } else if !value.is_empty() {
                *slot = Some(value.to_owned());
            }
        }
        let settings = resolve(raw.settings, &mut faults);
        let token = raw.token.and_then(|text| take(&mut faults, "token", Token::parse(&text)).map(|token| Secret::new(token.to_string())));
        let veto = raw.veto.and_then(|text| decode_veto(&text, &mut faults));
        if token.is_some() && settings.control_plane.is_none() && !faults.iter().any(|fault| fault.key == "control_plane") {
            faults.push(Fault { key: "control_plane".to_owned(), reason: "a token needs the URL of its control plane".to_owned() });
        }
        if faults.is_empty() { Ok(Self { settings, token, veto }) } else { Err(faults) }
    }
}

#[derive(Default)]
struct RawSubmission {
    settings: RawSettings,
    token: Option<String>,
    veto: Option<String>,
}

/// The settings as text, one field per key.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    /// RFC 1123 name, up to 64 characters; none = `postern`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// Address and prefix length; none = DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The router, with `address` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    /// Up to 3 resolvers; none = DHCP's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dns: Option<String>,
    /// Up to 4 time servers; none = DHCP's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ntp: Option<String>,
    /// `http://[user:password@]host[:port]`; none = the control plane is reached directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    /// `https://host[:port]`; none = not enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    control_plane: Option<String>,
    /// One line of a `.pub` file; none = SSH cannot be switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ssh_key: Option<String>,
}

/// Why settings are refused that came as JSON.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|fault| format!("{}: {}", fault.key, fault.reason)).collect::<Vec<_>>().join("; "))]
struct SettingsError(Vec<Fault>);

impl TryFrom<RawSettings> for Settings {
    type Error = SettingsError;

    fn try_from(raw: RawSettings) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let settings = resolve(raw, &mut faults);
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError(faults)) }
    }
}

impl From<Settings> for RawSettings {
    fn from(settings: Settings) -> Self {
        let (address, gateway) = match settings.network {
            Network::Dhcp => (None, None),
            Network::Static { address, gateway } => (Some(address.to_string()), gateway.map(|gateway| gateway.to_string())),
        };
        let listed = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            hostname: settings.hostname.map(String::from),
            address,
            gateway,
            dns: listed(settings.dns.to_string()),
            ntp: listed(settings.ntp.to_string()),
            proxy: settings.proxy.map(String::from),
            control_plane: settings.control_plane.map(String::from),
            ssh_key: settings.ssh_key.map(String::from),
        }
    }
}

/// Parses every value; what does not parse is left out and told.
fn resolve(raw: RawSettings, faults: &mut Vec<Fault>) -> Settings {
    Settings {
        hostname: parsed(faults, "hostname", raw.hostname),
        network: network(faults, raw.address, raw.gateway),
        dns: parsed(faults, "dns", raw.dns).unwrap_or_default(),
        ntp: parsed(faults, "ntp", raw.ntp).unwrap_or_default(),
        proxy: parsed(faults, "proxy", raw.proxy),
        control_plane: parsed(faults, "control_plane", raw.control_plane),
        ssh_key: parsed(faults, "ssh_key", raw.ssh_key),
    }
}

fn network(faults: &mut Vec<Fault>, address: Option<String>, gateway: Option<String>) -> Network {
    let no_address = address.is_none();
    let address: Option<Cidr> = parsed(faults, "address", address);
    let gateway = gateway.and_then(|text| {
        let gateway: Result<IpAddr, _> = text.parse();
        take(faults, "gateway", gateway.map_err(|_| AddressError::Gateway(shown(&text))))
    });
    match (address, gateway) {
        (Some(address), gateway) => take(faults, "gateway", Network::fixed(address, gateway)).unwrap_or_default(),
        (None, Some(_)) if no_address => {
            faults.push(Fault { key: "gateway".to_owned(), reason: "it belongs to an address: set that too, or neither".to_owned() });
            Network::Dhcp
        }
        (None, _) => Network::Dhcp,
    }
}

fn decode_veto(text: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let joined: String = text.split_ascii_whitespace().collect();
    let bytes = data_encoding::BASE64.decode(joined.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(decoded) = bytes else {
        faults.push(Fault { key: "veto".to_owned(), reason: "this is not the base64 of a TOML text (`base64 -w0 veto.toml`)".to_owned() });
        return None;
    };
    take(faults, "veto", Veto::parse(&decoded)).map(|_| decoded)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(faults: &mut Vec<Fault>, key: &str, text: Option<String>) -> Option<T> {
    text.and_then(|text| take(faults, key, text.parse()))
}

fn take<T, E: std::fmt::Display>(faults: &mut Vec<Fault>, key: &str, result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(Fault { key: key.to_owned(), reason: error.to_string() });
            None
        }
    }
}

/// The beginning of a text from outside, for an error; not of a token that was put in the wrong place.
fn shown(text: &str) -> String {
    if text.contains("postern1.") { "(an enrolment token)".to_owned() } else { text.chars().take(80).collect() }
}

/// Serde by way of the text, and `String::from`. A macro, because these are the same three lines for seven types.
macro_rules! text_of {
    ($name:ident, $error:ident) => {
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
use text_of;

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::timestamp::Timestamp;

    fn token() -> String {
        Token { ca_spki_sha256: [7; 32], secret: [9; 32], expires: Timestamp::from_secs(1_800_000_000) }.to_string()
    }

    #[test]
    fn all_keys_together_are_taken_and_survive_json() {
        let (token, veto) = (token(), data_encoding::BASE64.encode(b"[appliance]\nforbid = [\"ssh\"]\n"));
        let pairs = [
            ("hostname", "gw1"),
            ("address", "192.0.2.10/24"),
            ("gateway", "192.0.2.1"),
            ("dns", "192.0.2.53"),
            ("ntp", "time.example.com"),
            ("proxy", "http://u:p@proxy.lan:8080"),
            ("control_plane", "https://control.example.com"),
            ("token", &token),
            ("ssh_key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin"),
            ("veto", &veto),
        ];
        let submission = Submission::parse(pairs).unwrap();
        assert_eq!(submission.token.unwrap().expose(), token);
        let json = serde_json::to_string(&submission.settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), submission.settings);
        assert!(!serde_json::to_string(&submission.settings.without_secrets()).unwrap().contains("u:p"));
    }

    #[test]
    fn nothing_set_is_dhcp() {
        assert_eq!(Submission::parse([("hostname", ""), ("dns", " ")]), Ok(Submission::default()));
        assert_eq!(serde_json::to_string(&Settings::default()).unwrap(), "{}");
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = Submission::parse([
            ("hostname", "a b"),
            ("hostname", "c"),
            ("gateway", "192.0.2.1"),
            ("shell", "/bin/sh"),
            ("token", "postern1.x"),
            ("veto", "%"),
        ])
        .unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["hostname", "shell", "hostname", "gateway", "token", "veto"]);
    }

    #[test]
    fn a_token_in_the_wrong_place_is_not_repeated() {
        for key in ["hostname", "address", "gateway", "dns", "ntp", "proxy", "control_plane", "ssh_key", "veto", "other"] {
            let faults = Submission::parse([(key, &*token())]).unwrap_err();
            assert!(!format!("{faults:?}").contains("postern1."), "{faults:?}");
        }
    }

    #[test]
    fn a_token_needs_a_control_plane() {
        let token = token();
        assert_eq!(Submission::parse([("token", &*token)]).unwrap_err().first().unwrap().key, "control_plane");
    }

    #[test]
    fn json_takes_no_other_field() {
        assert!(serde_json::from_str::<Settings>(r#"{"hostname":"a","x":1}"#).is_err());
        let error = serde_json::from_str::<Settings>(r#"{"address":"192.0.2.1/24","gateway":"192.0.3.1"}"#).unwrap_err();
        assert!(error.to_string().contains("gateway: 192.0.3.1 is not a neighbour"), "{error}");
    }
}
