//! `postern-gateway enrol`: gathers what enrolment needs from the configuration, the command line and the host.
//!
//! The exchange itself is `postern_uplink::enrolment`. Nothing is overwritten: a gateway that is enrolled stays who it is.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use postern_protocol::enrolment::Token;
use postern_uplink::enrolment::{EnrolError, EnrolOptions};
use postern_uplink::identity::Identity;
use postern_uplink::url::{ProxyUrl, ServerUrl};
use zeroize::Zeroizing;

use crate::audit;
use crate::audit::action::Action;
use crate::config::Config;

/// Most bytes of a token file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// systemd-timesyncd's directory while it runs, and its file in there once the clock is set.
const TIME_SERVICE: [&str; 2] = ["/run/systemd/timesync", "/run/systemd/timesync/synchronized"];

/// Why this gateway is not enrolled, by what helps.
#[derive(Debug, thiserror::Error)]
pub enum EnrolFailure {
    /// Something on this machine or in what it was told; whoever runs it must change that.
    #[error(transparent)]
    Here(#[from] anyhow::Error),
    /// The way there, the control plane's state or the clock: the same token may do later.
    #[error(transparent)]
    Later(anyhow::Error),
    /// The token or the control plane's identity: this token never will.
    #[error(transparent)]
    Refused(anyhow::Error),
}

impl EnrolFailure {
    /// Returns the exit code that says so to a service manager; 75 is `EX_TEMPFAIL` of `sysexits.h`.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Here(_) => 1,
            Self::Later(_) => 75,
            Self::Refused(_) => 76,
        }
    }
}

impl From<EnrolError> for EnrolFailure {
    fn from(error: EnrolError) -> Self {
        match &error {
            EnrolError::Answer { .. }
            | EnrolError::Broke(_)
            | EnrolError::Dial(_)
            // The clock is behind, or the control plane's certificate is being replaced.
            | EnrolError::Handshake(_)
            // Too early, too many, or a fault over there.
            | EnrolError::Refused { status: 408 | 425 | 429 | 500..=599, .. }
            | EnrolError::Timeout => Self::Later(error.into()),
            EnrolError::Expired(_) if !clock_is_set() => {
                Self::Later(anyhow!(error).context("the time service has not set this machine's clock yet"))
            }
            EnrolError::Distrust(_) | EnrolError::Expired(_) | EnrolError::Refused { .. } => Self::Refused(error.into()),
            EnrolError::Identity(_) | EnrolError::Keys(_) | EnrolError::Tls(_) | EnrolError::Url(_) => Self::Here(error.into()),
        }
    }
}

fn clock_is_set() -> bool {
    let [running, set] = TIME_SERVICE.map(|path| Path::new(path).exists());
    set || !running
}

/// What the command line says.
pub struct EnrolRequest {
    /// The control plane; must be the configuration's.
    pub server: ServerUrl,
    /// File with the token; `-` for standard input.
    pub token_file: PathBuf,
    /// HTTP proxy for this exchange, in place of the configuration's.
    pub proxy: Option<ProxyUrl>,
}

/// Enrols this gateway and returns its identity.
///
/// # Errors
/// Whatever is in the way, told for the person at the terminal.
pub async fn enrol(config: &Config, request: EnrolRequest) -> Result<Identity, EnrolFailure> {
    if request.server != config.server {
        let other = anyhow!("--server is {} but the configuration's server.url is {}: make them the same", request.server, config.server);
        return Err(other.into());
    }
    let dir = config.identity_dir();
    if Identity::exists(&dir) {
        let reason = "holds an identity already: this gateway is enrolled; move that directory away to enrol it anew";
        return Err(anyhow!("{} {reason}", dir.display()).into());
    }
    let text = read_token(&request.token_file)?;
    let token = Token::parse(&text).map_err(|error| EnrolFailure::Refused(error.into()))?;
    crate::create_private_dir(&config.data_dir)?;
    let hostname = hostname();
    let options = EnrolOptions {
        server: request.server,
        token,
        proxy: request.proxy.or_else(|| config.server_proxy.clone()),
        dir,
        listener_names: listener_names(config, &hostname),
        hostname,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let identity = postern_uplink::enrolment::enrol(options).await?;
    let enrolled = Action::Enrolled {
        tenant: identity.tenant.to_string(),
        gateway: identity.gateway.to_string(),
        server: identity.server_url.to_string(),
    };
    // The gateway is enrolled, whatever becomes of the entry.
    if let Err(error) = audit::note_locally(&config.audit_dir(), enrolled) {
        tracing::warn!(error = %crate::chain(&error), "the enrolment is not in the audit log");
    }
    Ok(identity)
}

fn read_token(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut text).context("the token cannot be read from standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    Ok(text)
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "gateway".to_owned() } else { name.to_owned() }
}

/// Names and addresses under which clients reach the TLS listeners: the host's name, and where they listen.
fn listener_names(config: &Config, hostname: &str) -> Vec<String> {
    let mut names = BTreeSet::from([crate::proxy::request::OWN_NAME.to_owned()]);
    if is_host_name(hostname) {
        names.insert(hostname.to_ascii_lowercase());
    }
    let listens = [config.syslog_tls.as_ref().map(|receiver| receiver.listen), config.proxy.as_ref().map(|proxy| proxy.listen)];
    for address in listens.into_iter().flatten() {
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() {
            names.extend(interface_addresses().into_iter().map(|ip| ip.to_string()));
        } else {
            names.insert(ip.to_string());
        }
        if ip.is_unspecified() || ip.is_loopback() {
            names.insert("localhost".to_owned());
        }
    }
    names.into_iter().collect()
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label) && !name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Returns the addresses of this host's interfaces, link-local ones left out: they need a zone to be reached.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut addresses = Vec::new();
    for address in interfaces.filter_map(|interface| interface.address) {
        if let Some(v4) = address.as_sockaddr_in() {
            addresses.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6().filter(|v6| !v6.ip().is_unicast_link_local()) {
            addresses.push(IpAddr::V6(v6.ip()));
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_or_broken_control_plane_is_asked_again_and_a_refusal_is_final() {
        let code = |status| EnrolFailure::from(EnrolError::Refused { status, detail: String::new() }).exit_code();
        assert_eq!([408, 429, 500, 503].map(code), [75; 4]);
        assert_eq!([400, 403, 404].map(code), [76; 3]);
        assert_eq!(EnrolFailure::from(EnrolError::Timeout).exit_code(), 75);
    }

    #[test]
    fn the_listeners_certificate_names_where_they_listen() {
        let text = "data_dir = \"d\"\n[server]\nurl = \"https://h\"\n[proxy]\nlisten = \"127.0.0.1:3128\"\n[receivers.syslog_tls]\nlisten = \"192.0.2.7:6514\"\n";
        let config = Config::parse(text, Path::new("/")).ok().unwrap();
        assert_eq!(listener_names(&config, "Gate-1"), ["127.0.0.1", "192.0.2.7", "gate-1", "localhost", "postern.internal"]);
        assert!(!listener_names(&config, "bad_name").contains(&"bad_name".to_owned()));
    }
}
