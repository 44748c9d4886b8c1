//! The configuration file `control.toml`: what is written there ([`RawConfig`]) and what the program uses ([`Config`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::server_name::ServerName;

/// The file's keys. An unknown key is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Address and port of console, API, tunnel and enrolment. Port 0 takes a free one.
    pub listen: String,
    /// Address and port of `/healthz`, `/readyz` and `/metrics`, plain HTTP; a loopback address. Default `127.0.0.1:8444`.
    #[serde(default = "default_admin")]
    pub admin_listen: String,
    /// Folder of databases and keys; relative to the file's folder. Default: the file's folder.
    pub data_dir: Option<PathBuf>,
    /// Host names and addresses by which browsers and gateways reach this control plane; its certificates carry them.
    pub names: Vec<String>,
    /// Seconds for which a gateway's client certificate is good; it is renewed when two thirds are over. Default 2592000 (30 days),
    /// 15 to 34300800.
    #[serde(default = "default_month")]
    pub client_certificate_life_s: u64,
    /// Seconds after its end in which a gateway that was off may still renew its certificate by itself; later an admin has to allow it.
    /// Default 2592000 (30 days), 0 to 34300800.
    #[serde(default = "default_month")]
    pub renew_expired_within_s: u64,
    /// Seconds without a session after which a gateway counts as unreachable. Default 60.
    #[serde(default = "default_unreachable")]
    pub unreachable_after_s: u64,
    /// Milliseconds that a small commit of measurements may take, waiting for its turn included, before the gateway that sent them
    /// is told to send more slowly; 0 never slows one down. Default 250.
    #[serde(default = "default_bulk_slow")]
    pub bulk_slow_after_ms: u64,
}

fn default_admin() -> String {
    DEFAULT_ADMIN_LISTEN.to_owned()
}

/// The default of [`RawConfig::bulk_slow_after_ms`].
pub const DEFAULT_BULK_SLOW_AFTER: Duration = Duration::from_millis(250);

fn default_bulk_slow() -> u64 {
    u64::try_from(DEFAULT_BULK_SLOW_AFTER.as_millis()).unwrap_or(u64::MAX)
}

/// What certificates live, and how late they may be renewed, unless the file says otherwise: 30 days.
pub const MONTH_S: u64 = 30 * 86_400;

const fn default_month() -> u64 {
    MONTH_S
}

/// Longest life of a client certificate, and longest time in which it may be renewed after its end.
const MAX_LIFE_S: u64 = 397 * 86_400;

const fn default_unreachable() -> u64 {
    60
}

/// Where `/healthz` and `/metrics` are unless the file says otherwise.
pub const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8444";

/// The resolved configuration: every value is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Console, API, tunnel and enrolment.
    pub listen: SocketAddr,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub admin_listen: SocketAddr,
    /// Folder of databases and keys.
    pub data_dir: PathBuf,
    /// Names and addresses in our certificates, at least one.
    pub names: Vec<ServerName>,
    /// For how long gateways' client certificates are good.
    pub client_certificate_life: Duration,
    /// For how long after its end a gateway may renew one by itself.
    pub renew_expired_within: Duration,
    /// How long a gateway may be away before the alert is raised.
    pub unreachable_after: Duration,
    /// How long a small commit of measurements may take before its gateway is slowed down; zero never does.
    pub bulk_slow_after: Duration,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One or more values are not good; one line each, with the key.
    #[error("the configuration is not valid:\n{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML or has an unknown or missing key.
    #[error("{path} is not a configuration")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads and resolves the file.
    ///
    /// # Errors
    /// [`ConfigError`] with every invalid value at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let raw = toml::from_str(&text).map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        Self::resolve(raw, path.parent().unwrap_or(Path::new(".")))
    }

    /// Checks the values; `folder` is where a relative `data_dir` begins.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every fault.
    pub fn resolve(raw: RawConfig, folder: &Path) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let listen = address("listen", &raw.listen, &mut faults);
        let admin_listen = address("admin_listen", &raw.admin_listen, &mut faults);
        if admin_listen.is_some_and(|admin| !admin.ip().is_loopback()) {
            faults.push(format!("admin_listen: {} is not a loopback address, and the page asks for no password", raw.admin_listen));
        }
        let mut names = Vec::new();
        for (place, name) in raw.names.iter().enumerate() {
            match name.parse::<ServerName>() {
                Ok(name) if names.contains(&name) => {}
                Ok(name) => names.push(name),
                Err(error) => faults.push(format!("names[{place}]: {error}")),
            }
        }
        if raw.names.is_empty() {
            faults.push("names: give at least one host name or address".to_owned());
        }
        if !(15..=MAX_LIFE_S).contains(&raw.client_certificate_life_s) {
            faults.push(format!("client_certificate_life_s: {} is not between 15 and {MAX_LIFE_S}", raw.client_certificate_life_s));
        }
        if raw.renew_expired_within_s > MAX_LIFE_S {
            faults.push(format!("renew_expired_within_s: {} is not between 0 and {MAX_LIFE_S}", raw.renew_expired_within_s));
        }
        if !(2..=86_400).contains(&raw.unreachable_after_s) {
            faults.push(format!("unreachable_after_s: {} is not between 2 and 86400", raw.unreachable_after_s));
        }
        if raw.bulk_slow_after_ms > 60_000 {
            faults.push(format!("bulk_slow_after_ms: {} is more than 60000", raw.bulk_slow_after_ms));
        }
        match (listen, admin_listen) {
            (Some(listen), Some(admin_listen)) if faults.is_empty() => Ok(Self {
                listen,
                admin_listen,
                data_dir: raw.data_dir.map_or_else(|| folder.to_owned(), |data_dir| folder.join(data_dir)),
                names,
                client_certificate_life: Duration::from_secs(raw.client_certificate_life_s),
                renew_expired_within: Duration::from_secs(raw.renew_expired_within_s),
                unreachable_after: Duration::from_secs(raw.unreachable_after_s),
                bulk_slow_after: Duration::from_millis(raw.bulk_slow_after_ms),
            }),
            _ => Err(ConfigError::Invalid(faults)),
        }
    }

    /// Returns the folder of certificates and keys.
    pub fn keys(&self) -> PathBuf {
        self.data_dir.join("keys")
    }
}

fn address(key: &str, text: &str, faults: &mut Vec<String>) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        faults.push(format!("{key}: {text:?} is not an address and port like 127.0.0.1:8443"));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Config, ConfigError> {
        Config::resolve(toml::from_str(text).unwrap(), Path::new("/data"))
    }

    #[test]
    fn a_short_file_gets_the_defaults() {
        let config = resolve("listen = \"127.0.0.1:8443\"\nnames = [\"localhost\", \"127.0.0.1\"]").unwrap();
        assert_eq!(config.unreachable_after, Duration::from_secs(60));
        assert_eq!(config.admin_listen, DEFAULT_ADMIN_LISTEN.parse().unwrap());
        assert_eq!(config.data_dir, Path::new("/data"));
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let text = "listen = \"x\"\nadmin_listen = \"0.0.0.0:1\"\nnames = [\"a b\"]\nunreachable_after_s = 0";
        let Err(ConfigError::Invalid(faults)) = resolve(text) else { panic!("four faults") };
        let keys: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(keys, ["listen", "admin_listen", "names[0]", "unreachable_after_s"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<RawConfig>("listen = \"127.0.0.1:1\"\nnames = [\"a\"]\nlisen = 1").is_err());
    }
}
