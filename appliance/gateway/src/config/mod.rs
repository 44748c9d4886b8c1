//! The gateway's own configuration, resolved and valid: what the code receives.
//!
//! `Config::load` reads the bootstrap file and the files it names, and reports every fault at once with its key. `check` and
//! `run` take the same path. What the cloud configures is a revision and lives elsewhere.

mod listeners;
mod raw;
mod secrets;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use postern_protocol::revision::field::Field;
use postern_uplink::dial::environment;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::tls::Certified;
use postern_uplink::url::{HostPort, ProxyUrl, ServerUrl};
use rustls::pki_types::CertificateDer;

use self::listeners::Kind;
use self::raw::{RawConfig, RawReceiver};
use crate::proxy::credential::PushKeys;
use crate::proxy::request::Connect;
use crate::proxy::users::Users;
use crate::ring::Bounds;

const DEFAULT_SPOOL_BYTES: u64 = 4 * 1024 * 1024 * 1024;
const DEFAULT_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
const MIN_RING_BYTES: u64 = 16 * 1024 * 1024;
const MAX_RING_HOURS: u32 = 31 * 24;

/// What stands in `server.proxy` for no proxy, whatever the environment says.
const DIRECT: &str = "direct";

/// The gateway's configuration. Holds keys: no `Debug`.
#[derive(Clone)]
pub struct Config {
    /// Directory of everything that the gateway keeps.
    pub data_dir: PathBuf,
    /// The control plane.
    pub server: ServerUrl,
    /// Where to connect to, in order; the server's own host and port when empty.
    pub server_addresses: Vec<HostPort>,
    /// HTTP proxy on the way there.
    pub server_proxy: Option<ProxyUrl>,
    /// Whether the file says something about that proxy, so that the environment does not count.
    proxy_is_said: bool,
    /// SNMP traps and informs.
    pub snmp_trap: Option<Receiver>,
    /// Syslog over UDP and TCP.
    pub syslog: Option<Receiver>,
    /// Syslog over TLS.
    pub syslog_tls: Option<Receiver>,
    /// The agents' proxy and push listener.
    pub proxy: Option<Proxy>,
    /// The site's own certificate of the TLS listeners.
    pub listener_certificate: Option<Arc<Certified>>,
    /// Who may push.
    pub push_keys: PushKeys,
    /// Most bytes of the spool on disk.
    pub spool_max_bytes: u64,
    /// Bytes of one segment of the spool.
    pub spool_segment_bytes: u64,
    /// How much is kept of what was received.
    pub ring: Bounds,
    /// Whether somebody on site may read what is kept.
    pub event_reading: EventReading,
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
    /// Most open connections of one source; TCP and TLS only.
    pub max_per_source: usize,
    /// After how long a connection on which nothing comes is closed; TCP and TLS only.
    pub idle_timeout: Duration,
    /// Balancers that name clients by the PROXY protocol; TCP and TLS only.
    pub proxy_protocol_from: Networks,
    /// Whether clients show certificates; TLS only.
    pub client_certificates: ClientDemand,
    /// Who issues them; the control plane's authority when `None`.
    pub client_ca: Option<Vec<CertificateDer<'static>>>,
}

/// Whether TLS clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDemand {
    /// They are not asked.
    None,
    /// They are asked, and what they show is checked.
    Optional,
    /// Those without one are refused.
    Required,
}

/// What `CONNECT` asks of agents. Holds hashes of passwords: no `Debug`.
#[derive(Clone)]
pub enum Authentication {
    /// A user name and a password.
    Basic(Users),
    /// Nothing.
    None,
}

/// The proxy listener. Holds hashes of passwords: no `Debug`.
#[derive(Clone)]
pub struct Proxy {
    /// Address and port; port 0 for a free one.
    pub listen: SocketAddr,
    /// Who may connect.
    pub allow: Networks,
    /// Whether signed pushes are taken without TLS.
    pub plain_push: PlainPush,
    /// Most open connections.
    pub max_connections: usize,
    /// Most open connections of one source.
    pub max_per_source: usize,
    /// After how long a connection on which nothing moves is closed.
    pub idle_timeout: Duration,
    /// Balancers that name clients by the PROXY protocol.
    pub proxy_protocol_from: Networks,
    /// What `CONNECT` asks of agents.
    pub authentication: Authentication,
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

/// Whether somebody on site may read received events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReading {
    /// Whoever may ask the daemon, may.
    Allowed,
    /// Nobody.
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

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Tells whether `address` is in one of them.
    pub fn allow(&self, address: IpAddr) -> bool {
        self.0.is_empty() || self.contain(address)
    }

    /// Tells whether `address` is in one of them; no address is in none.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
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
    /// Reads the file at `path`, and what it leaves to the environment. Relative paths in it start from its directory.
    ///
    /// # Errors
    /// [`ConfigError::Read`], or [`ConfigError::Invalid`] with every fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let resolved = Self::parse(&text, base).and_then(|config| config.within(|name| std::env::var(name).ok()));
        resolved.map_err(|faults| ConfigError::Invalid { path: path.to_owned(), faults })
    }

    /// Adds what the environment says where the file says nothing; `read` returns a variable's value.
    fn within(mut self, read: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<Fault>> {
        if !self.proxy_is_said {
            let named = environment::proxy(read, &self.server.host_port());
            self.server_proxy = named.map_err(|error| vec![Fault { key: error.variable.to_owned(), reason: crate::chain(&error) }])?;
        }
        Ok(self)
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
        let proxy_is_said = raw.server.proxy.is_some();
        let proxy = raw.server.proxy.as_deref().filter(|text| text.trim() != DIRECT);
        let server_proxy = proxy.and_then(|text| faults.take("server.proxy", ProxyUrl::parse(text)));
        let mut server_addresses = Vec::new();
        for (at, text) in raw.server.addresses.iter().enumerate() {
            server_addresses.extend(faults.take(&format!("server.addresses[{at}]"), HostPort::parse(text)));
        }
        let receiver =
            |faults: &mut FaultList, kind, raw: Option<RawReceiver>| raw.and_then(|raw| listeners::receiver(faults, kind, raw, base));
        let snmp_trap = receiver(&mut faults, Kind::SnmpTrap, raw.receivers.snmp_trap);
        let syslog = receiver(&mut faults, Kind::Syslog, raw.receivers.syslog);
        let syslog_tls = receiver(&mut faults, Kind::SyslogTls, raw.receivers.syslog_tls);
        let proxy = raw.proxy.and_then(|raw| listeners::proxy(&mut faults, raw, server.as_ref(), base));
        let listener_certificate = raw.tls.and_then(|raw| secrets::listener_certificate(&mut faults, raw, base));
        let push_keys = secrets::push_keys(&mut faults, raw.push, base);
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
        let ring = Bounds {
            bytes: raw.ring.bytes.unwrap_or(Bounds::default().bytes),
            keep: raw.ring.hours.map_or(Bounds::default().keep, |hours| Duration::from_secs(u64::from(hours) * 3600)),
        };
        if (1..MIN_RING_BYTES).contains(&ring.bytes) {
            faults.add("ring.bytes", format!("a ring has at least {MIN_RING_BYTES} bytes; 0 keeps nothing"));
        }
        if !(1..=MAX_RING_HOURS).contains(&raw.ring.hours.unwrap_or(1)) {
            faults.add("ring.hours", format!("a ring keeps 1 to {MAX_RING_HOURS} hours; to keep nothing, set ring.bytes = 0"));
        }
        let mut forbidden_fields = Vec::new();
        for (at, text) in raw.veto.forbidden_fields.iter().enumerate() {
            forbidden_fields.extend(faults.take(&format!("veto.forbidden_fields[{at}]"), text.parse::<Field>()));
        }
        match server {
            Some(server) if faults.0.is_empty() => Ok(Self {
                data_dir: base.join(raw.data_dir),
                server,
                server_addresses,
                server_proxy,
                proxy_is_said,
                snmp_trap,
                syslog,
                syslog_tls,
                proxy,
                listener_certificate,
                push_keys,
                spool_max_bytes,
                spool_segment_bytes,
                ring,
                event_reading: if raw.ring.read_events { EventReading::Allowed } else { EventReading::Refused },
                sandbox: if raw.sandbox.require { SandboxPolicy::Required } else { SandboxPolicy::BestEffort },
                forbidden_fields,
            }),
            _ => Err(faults.0),
        }
    }

    /// Returns how the control plane is reached as long as no revision says otherwise.
    pub fn link(&self) -> LinkSettings {
        LinkSettings { addresses: self.server_addresses.clone(), ..LinkSettings::new(self.server.clone(), self.server_proxy.clone()) }
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

    /// Returns the directory of the OID dictionary.
    pub fn dictionary_dir(&self) -> PathBuf {
        self.data_dir.join("dictionary")
    }

    /// Returns the directory of what was renewed of the identity.
    pub fn renewed_dir(&self) -> PathBuf {
        postern_uplink::identity::renewed::dir_beside(&self.identity_dir())
    }

    /// Returns the directory of the audit log.
    pub fn audit_dir(&self) -> PathBuf {
        self.data_dir.join("audit")
    }

    /// Returns the directory of the vault.
    pub fn vault_dir(&self) -> PathBuf {
        self.data_dir.join("vault")
    }

    /// Returns the directory of what is kept of what was received.
    pub fn ring_dir(&self) -> PathBuf {
        self.data_dir.join("ring")
    }

    /// Returns the directories in which the daemon writes.
    pub(crate) fn written_dirs(&self) -> [PathBuf; 9] {
        [
            self.audit_dir(),
            self.dictionary_dir(),
            self.doctor_dir(),
            self.outbound_dir(),
            self.renewed_dir(),
            self.revisions_dir(),
            self.ring_dir(),
            self.spool_dir(),
            self.vault_dir(),
        ]
    }

    /// Returns the directory of the doctor's last report.
    pub fn doctor_dir(&self) -> PathBuf {
        self.data_dir.join("doctor")
    }

    /// Returns the directory in which what left is kept to be looked at.
    pub fn outbound_dir(&self) -> PathBuf {
        self.data_dir.join("outbound")
    }

    /// Returns the file of our own SNMP engine.
    pub fn snmp_engine_file(&self) -> PathBuf {
        self.data_dir.join("snmp-engine.json")
    }

    /// Returns the path of the status socket.
    pub fn status_socket(&self) -> PathBuf {
        self.data_dir.join("gateway.sock")
    }

    /// Returns the path of the socket on which received events can be asked for.
    pub fn events_socket(&self) -> PathBuf {
        self.data_dir.join("events.sock")
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
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        let files = ["receivers.syslog_tls.client_ca", "proxy.users_file", "tls.certificate", "tls.key", "push.keys[0].key_file"];
        assert_eq!(keys, files, "{faults:?}");
    }

    #[test]
    fn the_way_out_is_the_files_and_only_what_it_leaves_out_is_the_environments() {
        let link = |rest: &str| {
            let read = |name: &str| (name == "HTTPS_PROXY").then(|| "http://of-the-environment:1".to_owned());
            parse(rest).ok().unwrap().within(read).ok().unwrap().link()
        };
        let proxy = |rest| link(rest).proxy.map(|proxy| proxy.to_string());
        assert_eq!(proxy("").as_deref(), Some("http://of-the-environment:1"));
        assert_eq!(proxy("proxy = \"direct\"\n"), None);
        assert_eq!(proxy("proxy = \"http://of-the-file:2\"\n").as_deref(), Some("http://of-the-file:2"));
        let several = link("addresses = [\"192.0.2.1:443\", \"[2001:db8::1]:8443\"]\n");
        assert_eq!(several.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1:443", "[2001:db8::1]:8443"]);
        assert_eq!(several.server.host(), "127.0.0.1", "the name stays that of the url");
        assert_eq!(keys("addresses = [\"192.0.2.1:443\", \"192.0.2.1\"]\n"), ["server.addresses[1]"]);
        let broken = parse("").ok().unwrap().within(|_| Some("socks5://x".to_owned())).err().unwrap();
        assert_eq!(broken[0].key, "POSTERN_PROXY");
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
    fn faults_of_connections_users_and_certificates_name_their_keys() {
        let text = "[receivers.snmp_trap]\nlisten = \"0.0.0.0:162\"\nproxy_protocol_from = [\"10.0.0.5\"]\n\
                    [receivers.syslog]\nlisten = \"0.0.0.0:514\"\nclient_certificates = \"none\"\nidle_timeout_s = 0\n\
                    [receivers.syslog_tls]\nlisten = \"0.0.0.0:6514\"\nclient_certificates = \"maybe\"\nclient_ca = \"/nonexistent\"\n\
                    [proxy]\nlisten = \"0.0.0.0:3128\"\nproxy_protocol_from = [\"x\"]\nmax_connections_per_source = 0\n\
                    authentication = \"basic\"\n[tls]\ncertificate = \"/nonexistent\"\nkey = \"/nonexistent\"\n";
        assert_eq!(
            keys(text),
            [
                "receivers.snmp_trap.proxy_protocol_from",
                "receivers.syslog.idle_timeout_s",
                "receivers.syslog.client_certificates",
                "receivers.syslog_tls.client_certificates",
                "receivers.syslog_tls.client_ca",
                "proxy.proxy_protocol_from[0]",
                "proxy.max_connections_per_source",
                "proxy.users_file",
                "tls.certificate",
                "tls.key",
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
