//! The bootstrap file as written: what must work without the cloud. One field per key; what it means is decided in `config`.

use std::path::PathBuf;

use serde::Deserialize;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    /// Directory of identity, spool, revisions and the status socket; made with mode 0700 when absent.
    pub(super) data_dir: PathBuf,
    /// The control plane.
    pub(super) server: RawServer,
    /// What listens for events; a section that is left out is off.
    #[serde(default)]
    pub(super) receivers: RawReceivers,
    /// The agents' proxy and push listener; off when left out.
    pub(super) proxy: Option<RawProxy>,
    /// The certificate of the TLS listeners; enrolment's, or the one that was installed, when left out.
    pub(super) tls: Option<RawTls>,
    /// Who may push.
    #[serde(default)]
    pub(super) push: RawPush,
    /// The durable queue.
    #[serde(default)]
    pub(super) spool: RawSpool,
    /// What is kept of what was received, to try revisions on.
    #[serde(default)]
    pub(super) ring: RawRing,
    /// How the daemon confines itself.
    #[serde(default)]
    pub(super) sandbox: RawSandbox,
    /// What no revision can change.
    #[serde(default)]
    pub(super) veto: RawVeto,
}

/// `[server]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    /// `https://host[:port]`; port 443 when left out.
    pub(super) url: String,
    /// Where to connect to, each `host:port`, tried in order; the host and port of `url` when left out. What the server must prove
    /// (name, authority, pins) stays that of `url`.
    #[serde(default)]
    pub(super) addresses: Vec<String>,
    /// HTTP proxy on the way there, `http://[user:password@]host:port`; `direct` for none. The environment's when left out.
    pub(super) proxy: Option<String>,
}

/// `[receivers]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReceivers {
    /// SNMP traps and informs over UDP.
    pub(super) snmp_trap: Option<RawReceiver>,
    /// Syslog over UDP and TCP, on the same port.
    pub(super) syslog: Option<RawReceiver>,
    /// Syslog over TLS (RFC 5425).
    pub(super) syslog_tls: Option<RawReceiver>,
}

/// `[receivers.…]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReceiver {
    /// Address and port, for example `0.0.0.0:162`.
    pub(super) listen: String,
    /// Networks (CIDR) that may send; any when empty (default).
    #[serde(default)]
    pub(super) allow: Vec<String>,
    /// Datagrams per second and source; 0 = unlimited (default).
    #[serde(default)]
    pub(super) rate_limit_per_source: u32,
    /// Receive buffer to ask the kernel for, in bytes, UDP only (default 33554432).
    pub(super) receive_buffer_bytes: Option<u64>,
    /// Most open connections, TCP and TLS only (default 1024).
    pub(super) max_connections: Option<u32>,
    /// Most open connections of one source, TCP and TLS only (default half of `max_connections`, at least 64).
    pub(super) max_connections_per_source: Option<u32>,
    /// Seconds after which a connection on which nothing comes is closed, TCP and TLS only (default 86400). A sender of plain TCP
    /// loses the line that it writes into a closed connection.
    pub(super) idle_timeout_s: Option<u64>,
    /// Networks (CIDR) of balancers that begin every connection with a PROXY protocol header, version 1 or 2; TCP and TLS only (default
    /// none).
    #[serde(default)]
    pub(super) proxy_protocol_from: Vec<String>,
    /// Whether clients show a certificate: `none`, `optional` (default) or `required`; TLS only.
    pub(super) client_certificates: Option<String>,
    /// PEM file of the authority that issues them, TLS only (default: the control plane's, that of gateways).
    pub(super) client_ca: Option<PathBuf>,
}

/// `[proxy]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProxy {
    /// Address and port, for example `0.0.0.0:3128`.
    pub(super) listen: String,
    /// Networks (CIDR) that may connect; any when empty (default).
    #[serde(default)]
    pub(super) allow: Vec<String>,
    /// Whether signed pushes are taken without TLS (default false).
    #[serde(default)]
    pub(super) allow_plain_push: bool,
    /// Most open connections (default 1024).
    pub(super) max_connections: Option<u32>,
    /// Seconds after which a connection on which nothing moves is closed (default 300).
    pub(super) idle_timeout_s: Option<u64>,
    /// Most open connections of one source (default half of `max_connections`, at least 64).
    pub(super) max_connections_per_source: Option<u32>,
    /// Networks (CIDR) of balancers that begin every connection with a PROXY protocol header, version 1 or 2 (default none).
    #[serde(default)]
    pub(super) proxy_protocol_from: Vec<String>,
    /// What CONNECT asks of agents: `none` (default) or `basic`, a user name and password of `users_file`.
    pub(super) authentication: Option<String>,
    /// File of `NAME:HASH` lines, as `postern-gateway proxy-user` makes them; readable by its owner only.
    pub(super) users_file: Option<PathBuf>,
    /// Destinations of CONNECT as `host:port`, besides the control plane (default none).
    #[serde(default)]
    pub(super) connect_allow: Vec<String>,
}

/// `[tls]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// PEM file of the certificate and its intermediates, the certificate first.
    pub(super) certificate: PathBuf,
    /// PEM file of its key, readable by its owner only.
    pub(super) key: PathBuf,
}

/// `[push]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPush {
    /// `[[push.keys]]`
    #[serde(default)]
    pub(super) keys: Vec<RawPushKey>,
}

/// `[[push.keys]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPushKey {
    /// Name of the key: 1 to 64 of a-z, 0-9, `-` and `_`; alerts carry it.
    pub(super) id: String,
    /// File with the key's text, at least 32 characters, readable by its owner only.
    pub(super) key_file: PathBuf,
}

/// `[spool]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpool {
    /// Most bytes on disk (default 4294967296).
    pub(super) max_bytes: Option<u64>,
    /// Bytes of one segment file (default 16777216).
    pub(super) segment_bytes: Option<u64>,
}

/// `[ring]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRing {
    /// Most bytes on disk (default 268435456); 0 keeps nothing, whatever a revision or the control plane wants.
    pub(super) bytes: Option<u64>,
    /// Hours for which it is kept at most (default 24).
    pub(super) hours: Option<u32>,
    /// Whether `postern-gateway events` may print what was received (default false).
    #[serde(default)]
    pub(super) read_events: bool,
}

/// `[sandbox]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSandbox {
    /// Whether the daemon refuses to start when the kernel confines neither its files nor its system calls (default false).
    #[serde(default)]
    pub(super) require: bool,
}

/// `[veto]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVeto {
    /// Fields that no rule may release, as in a rule's `from`: a revision that does is refused (default none).
    #[serde(default)]
    pub(super) forbidden_fields: Vec<String>,
}
