//! The gateway's own configuration, resolved and valid: what the code receives.
//!
//! `Config::load` reads the bootstrap file and the files it names, and reports every fault at once with its key. `check` and
//! `run` take the same path. What the cloud configures is a revision and lives elsewhere.

mod raw;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use postern_protocol::revision::field::Field;
use postern_uplink::url::{ProxyUrl, ServerUrl};
use zeroize::Zeroizing;

use self::raw::{RawConfig, RawProxy, RawPush, RawReceiver};
use crate::proxy::credential::{MIN_KEY_CHARS, PushKeys};
use crate::proxy::request::{Connect, Host};

const DEFAULT_RECEIVE_BUFFER_BYTES: u64 = 32 * 1024 * 1024;
const DEFAULT_CONNECTIONS: u32 = 1024;
const DEFAULT_IDLE: Duration = Duration::from_secs(300);
const DEFAULT_SPOOL_BYTES: u64 = 4 * 1024 * 1024 * 1024;
const DEFAULT_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// The gateway's configuration. Holds push keys: no `Debug`.
#[derive(Clone)]
pub struct Config {
    /// Directory of everything that the gateway keeps.
    pub data_dir: PathBuf,
    /// The control plane.
    pub server: ServerUrl,
    /// HTTP proxy on the way there.
    pub server_proxy: Option<ProxyUrl>,
    /// SNMP traps and informs.
    pub snmp_trap: Option<Receiver>,
    /// Syslog over UDP and TCP.
    pub syslog: Option<Receiver>,
    /// Syslog over TLS.
    pub syslog_tls: Option<Receiver>,
    /// The agents' proxy and push listener.
    pub proxy: Option<Proxy>,
    /// Who may push.
    pub push_keys: PushKeys,
    /// Most bytes of the spool on disk.
    pub spool_max_bytes: u64,
    /// Bytes of one segment of the spool.
    pub spool_segment_bytes: u64,
    /// Whether the daemon runs without its sandbox.
    pub sandbox: SandboxPolicy,
    /// Fields that no rule may release.
    pub forbidden_fields: Vec<Field>,
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Address and port; port 0 for a free one.
    pub listen: SocketAddr,
    /// Who may send.
    pub allow: Networks,
    /// Datagrams per second and source; 0 for no limit.
    pub rate_limit_per_source: u32,
    /// Receive buffer to ask the kernel for; UDP only.
    pub receive_buffer_bytes: usize,
    /// Most open connections; TCP and TLS only.
    pub max_connections: usize,
}

/// The proxy listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Address and port; port 0 for a free one.
    pub listen: SocketAddr,
    /// Who may connect.
    pub allow: Networks,
    /// Whether signed pushes are taken without TLS.
    pub plain_push: PlainPush,
    /// Most open connections.
    pub max_connections: usize,
    /// After how long a connection on which nothing moves is closed.
    pub idle_timeout: Duration,
    /// Destinations of CONNECT: the control plane and what the file adds.
    pub connect_allow: Vec<Connect>,
}

/// Whether signed pushes are taken without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainPush {
    /// Taken.
    Allowed,
    /// Refused with the reason.
    Refused,
}

/// Whether the daemon runs without its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxPolicy {
    /// It does, and says so.
    BestEffort,
    /// It does not start.
    Required,
}

/// A set of networks; empty stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Tells whether `address` is in one of them.
    pub fn allow(&self, address: IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|net| net.contains(&address))
    }
}

/// A fault of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, for example `receivers.syslog.listen`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It says something that it must not.
    #[error("{} has {} fault(s):{}", path.display(), faults.len(), Faults(faults))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// All of them.
        faults: Vec<Fault>,
    },
}

struct Faults<'a>(&'a [Fault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Fault { key, reason } in self.0 {
            if key.is_empty() {
                write!(f, "\n  {reason}")?;
            } else {
                write!(f, "\n  {key}: {reason}")?;
            }
        }
        Ok(())
    }
}

impl Config {
    /// Reads the file at `path`. Relative paths in it start from its directory.
    ///
    /// # Errors
    /// [`ConfigError::Read`], or [`ConfigError::Invalid`] with every fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        let base = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, base).map_err(|faults| ConfigError::Invalid { path: path.to_owned(), faults })
    }

    /// Resolves the text of a file that lies in `base`.
    ///
    /// # Errors
    /// Every fault; a fault of the shape (a wrong type, an unknown key) hides those of the meaning.
    pub fn parse(text: &str, base: &Path) -> Result<Self, Vec<Fault>> {
        let raw: RawConfig = toml::from_str(text)
            .map_err(|error| vec![Fault { key: String::new(), reason: error.to_string().trim_end().replace('\n', "\n  ") }])?;
        let mut faults = FaultList::default();
        let server = faults.take("server.url", ServerUrl::parse(&raw.server.url));
        let server_proxy = raw.server.proxy.as_deref().and_then(|text| faults.take("server.proxy", ProxyUrl::parse(text)));
        let receiver = |faults: &mut FaultList, key, raw: Option<RawReceiver>| raw.and_then(|raw| resolve_receiver(faults, key, raw));
        let snmp_trap = receiver(&mut faults, "receivers.snmp_trap", raw.receivers.snmp_trap);
        let syslog = receiver(&mut faults, "receivers.syslog", raw.receivers.syslog);
        let syslog_tls = receiver(&mut faults, "receivers.syslog_tls", raw.receivers.syslog_tls);
        let proxy = raw.proxy.and_then(|raw| resolve_proxy(&mut faults, raw, server.as_ref()));
        let push_keys = resolve_keys(&mut faults, raw.push, base);
        let spool_max_bytes = raw.spool.max_bytes.unwrap_or(DEFAULT_SPOOL_BYTES);
        let spool_segment_bytes = raw.spool.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES.min(spool_max_bytes / 4));
        if spool_segment_bytes < MIN_SEGMENT_BYTES {
            faults.add(
                "spool.segment_bytes",
                format!("a segment has at least {MIN_SEGMENT_BYTES} bytes, and the spool at least four segments"),
            );
        } else if spool_max_bytes / 4 < spool_segment_bytes {
            faults.add("spool.max_bytes", format!("the spool holds at least four segments of {spool_segment_bytes} bytes"));
        }
        let mut forbidden_fields = Vec::new();
        for (at, text) in raw.veto.forbidden_fields.iter().enumerate() {
            forbidden_fields.extend(faults.take(&format!("veto.forbidden_fields[{at}]"), text.parse::<Field>()));
        }
        match server {
            Some(server) if faults.0.is_empty() => Ok(Self {
                data_dir: base.join(raw.data_dir),
                server,
                server_proxy,
                snmp_trap,
                syslog,
                syslog_tls,
                proxy,
                push_keys,
                spool_max_bytes,
                spool_segment_bytes,
                sandbox: if raw.sandbox.require { SandboxPolicy::Required } else { SandboxPolicy::BestEffort },
                forbidden_fields,
            }),
            _ => Err(faults.0),
        }
    }

    /// Returns the directory of the gateway's identity.
    pub fn identity_dir(&self) -> PathBuf {
        self.data_dir.join("identity")
    }

    /// Returns the directory of the spool.
    pub fn spool_dir(&self) -> PathBuf {
        self.data_dir.join("spool")
    }

    /// Returns the directory of the revisions.
    pub fn revisions_dir(&self) -> PathBuf {
        self.data_dir.join("revisions")
    }

    /// Returns the directory of the vault.
    pub fn vault_dir(&self) -> PathBuf {
        self.data_dir.join("vault")
    }

    /// Returns the file of our own SNMP engine.
    pub fn snmp_engine_file(&self) -> PathBuf {
        self.data_dir.join("snmp-engine.json")
    }

    /// Returns the path of the status socket.
    pub fn status_socket(&self) -> PathBuf {
        self.data_dir.join("gateway.sock")
    }
}

#[derive(Default)]
struct FaultList(Vec<Fault>);

impl FaultList {
    fn add(&mut self, key: &str, reason: impl Into<String>) {
        self.0.push(Fault { key: key.to_owned(), reason: reason.into() });
    }

    fn take<T, E: fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(key, error.to_string())).ok()
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let parsed = text.parse::<SocketAddr>();
        self.take(key, parsed.map_err(|_| format!("{text:?} is not address:port, for example 0.0.0.0:514 or [::]:514")))
    }

    fn networks(&mut self, key: &str, texts: &[String]) -> Networks {
        let mut networks = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let reason = parsed.map_err(|_| format!("{text:?} is not a network, for example 10.0.0.0/8 or 2001:db8::/32"));
            networks.extend(self.take(&format!("{key}[{at}]"), reason));
        }
        Networks(networks)
    }

    fn connections(&mut self, key: &str, given: Option<u32>) -> usize {
        let limit = given.unwrap_or(DEFAULT_CONNECTIONS);
        if limit == 0 {
            self.add(key, "at least one connection must be possible; leave the section out to turn the listener off");
        }
        usize::try_from(limit).unwrap_or(usize::MAX)
    }
}

fn resolve_receiver(faults: &mut FaultList, key: &str, raw: RawReceiver) -> Option<Receiver> {
    let listen = faults.address(&format!("{key}.listen"), &raw.listen);
    let allow = faults.networks(&format!("{key}.allow"), &raw.allow);
    let max_connections = faults.connections(&format!("{key}.max_connections"), raw.max_connections);
    let buffer = raw.receive_buffer_bytes.unwrap_or(DEFAULT_RECEIVE_BUFFER_BYTES);
    if !(4096..=1 << 30).contains(&buffer) {
        faults.add(&format!("{key}.receive_buffer_bytes"), "the buffer has 4096 to 1073741824 bytes");
    }
    Some(Receiver {
        listen: listen?,
        allow,
        rate_limit_per_source: raw.rate_limit_per_source,
        receive_buffer_bytes: usize::try_from(buffer).unwrap_or(usize::MAX),
        max_connections,
    })
}

fn resolve_proxy(faults: &mut FaultList, raw: RawProxy, server: Option<&ServerUrl>) -> Option<Proxy> {
    let listen = faults.address("proxy.listen", &raw.listen);
    let allow = faults.networks("proxy.allow", &raw.allow);
    let max_connections = faults.connections("proxy.max_connections", raw.max_connections);
    let idle_timeout = raw.idle_timeout_s.map_or(DEFAULT_IDLE, Duration::from_secs);
    if !(1..=86_400).contains(&idle_timeout.as_secs()) {
        faults.add("proxy.idle_timeout_s", "the idle time is 1 to 86400 seconds");
    }
    let mut connect_allow = Vec::new();
    if let Some(server) = server {
        // `ServerUrl` keeps an IPv6 address without brackets.
        let host = server.host().parse().map_or_else(|_| Host::parse(server.host()), |ip: IpAddr| Some(Host::Address(ip.to_canonical())));
        match host {
            Some(host) => connect_allow.push(Connect { host, port: server.port() }),
            None => faults.add("server.url", format!("{:?} is not a host that CONNECT can name", server.host())),
        }
    }
    for (at, text) in raw.connect_allow.iter().enumerate() {
        let destination = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Connect { host: Host::parse(host)?, port })
        });
        match destination {
            Some(destination) => connect_allow.push(destination),
            None => {
                faults.add(&format!("proxy.connect_allow[{at}]"), format!("{text:?} is not host:port, for example mirror.example.com:443"))
            }
        }
    }
    let plain_push = if raw.allow_plain_push { PlainPush::Allowed } else { PlainPush::Refused };
    Some(Proxy { listen: listen?, allow, plain_push, max_connections, idle_timeout, connect_allow })
}

fn resolve_keys(faults: &mut FaultList, raw: RawPush, base: &Path) -> PushKeys {
    let mut keys = PushKeys::default();
    let mut seen = std::collections::BTreeSet::new();
    for (at, key) in raw.keys.into_iter().enumerate() {
        let name = format!("push.keys[{at}]");
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if key.id.is_empty() || key.id.len() > 64 || !key.id.bytes().all(allowed) {
            faults.add(&format!("{name}.id"), "the id is 1 to 64 of the characters a-z, 0-9, '-' and '_'");
        } else if !seen.insert(key.id.clone()) {
            faults.add(&format!("{name}.id"), format!("there is another key {:?}", key.id));
        }
        if let Some(text) = faults.take(&format!("{name}.key_file"), read_key(&base.join(key.key_file))) {
            keys.insert(key.id, &text);
        }
    }
    keys
}

fn read_key(path: &Path) -> Result<Zeroizing<String>, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("{} can be read by others: set its mode to 0600", path.display()));
    }
    if metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(format!("{} has more than {MAX_KEY_FILE_BYTES} bytes", path.display()));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(cannot)?);
    let key = Zeroizing::new(text.trim().to_owned());
    if key.chars().count() < MIN_KEY_CHARS {
        return Err(format!("the key in {} has fewer than {MIN_KEY_CHARS} characters", path.display()));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const SERVER: &str = "data_dir = \"data\"\n[server]\nurl = \"https://127.0.0.1:8443\"\n";

    fn parse(rest: &str) -> Result<Config, Vec<Fault>> {
        Config::parse(&format!("{SERVER}{rest}"), Path::new("/etc/postern"))
    }

    fn keys(rest: &str) -> Vec<String> {
        parse(rest).err().unwrap().into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn the_smallest_file_turns_every_listener_off() {
        let config = parse("").ok().unwrap();
        assert!(config.snmp_trap.is_none() && config.syslog.is_none() && config.syslog_tls.is_none() && config.proxy.is_none());
        assert_eq!(config.identity_dir(), Path::new("/etc/postern/data/identity"));
    }

    #[test]
    fn the_example_is_valid_and_shows_every_key() {
        let example = include_str!("../../gateway.example.toml");
        assert!(Config::parse(example, Path::new("/etc/postern")).is_ok());
        let everything = example
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ") || line.starts_with('[')).unwrap_or(line));
        let text = everything.collect::<Vec<_>>().join("\n");
        let faults = Config::parse(&text, Path::new("/etc/postern")).err().unwrap();
        assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["push.keys[0].key_file"], "{faults:?}");
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_key() {
        let text = "[receivers.snmp_trap]\nlisten = \"nowhere\"\nallow = [\"10.0.0.0/8\", \"x\"]\n\
                    [receivers.syslog]\nlisten = \"0.0.0.0:514\"\nmax_connections = 0\n\
                    [proxy]\nlisten = \"0.0.0.0:3128\"\nidle_timeout_s = 0\nconnect_allow = [\"nohost\"]\n\
                    [[push.keys]]\nid = \"A\"\nkey_file = \"/nonexistent\"\n[spool]\nmax_bytes = 5\n";
        assert_eq!(
            keys(text),
            [
                "receivers.snmp_trap.listen",
                "receivers.snmp_trap.allow[1]",
                "receivers.syslog.max_connections",
                "proxy.idle_timeout_s",
                "proxy.connect_allow[0]",
                "push.keys[0].id",
                "push.keys[0].key_file",
                "spool.segment_bytes",
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line() {
        let faults = parse("[proxy]\nlisten = \"0.0.0.0:3128\"\nlissten = 1\n").err().unwrap();
        assert!(faults[0].reason.contains("lissten") && faults[0].reason.contains("line 6"), "{}", faults[0].reason);
    }

    #[test]
    fn the_control_plane_may_always_be_connected_to() {
        let proxy = parse("[proxy]\nlisten = \"127.0.0.1:0\"\nconnect_allow = [\"mirror.example.com:443\"]\n").ok().unwrap().proxy.unwrap();
        let shown: Vec<String> = proxy.connect_allow.iter().map(|c| format!("{}:{}", c.host, c.port)).collect();
        assert_eq!(shown, ["127.0.0.1:8443", "mirror.example.com:443"]);
        assert_eq!(proxy.plain_push, PlainPush::Refused);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("push.key");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        let text = format!("[[push.keys]]\nid = \"demo\"\nkey_file = {path:?}\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(keys(&text), ["push.keys[0].key_file"]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!parse(&text).ok().unwrap().push_keys.is_empty());
    }

    #[test]
    fn networks_hold_what_lies_in_them() {
        let networks = FaultList::default().networks("k", &["10.0.0.0/8".into(), "::1".into()]);
        assert!(networks.allow("10.1.2.3".parse().unwrap()) && networks.allow("::1".parse().unwrap()));
        assert!(!networks.allow("11.0.0.1".parse().unwrap()));
        assert!(Networks::default().allow("11.0.0.1".parse().unwrap()));
    }
}
