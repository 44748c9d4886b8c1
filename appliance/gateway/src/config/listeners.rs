//! Receivers and the proxy listener: from keys as written to what the code receives.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use postern_uplink::url::ServerUrl;

use super::raw::{RawProxy, RawReceiver};
use super::{Authentication, ClientDemand, FaultList, PlainPush, Proxy, Receiver, secrets};
use crate::proxy::request::{Connect, Host};

const DEFAULT_RECEIVE_BUFFER_BYTES: u64 = 32 * 1024 * 1024;
const DEFAULT_CONNECTIONS: u32 = 1024;
const FEW_CONNECTIONS: usize = 64;
const DEFAULT_IDLE: Duration = Duration::from_secs(300);
const DEFAULT_SYSLOG_IDLE: Duration = Duration::from_secs(86_400);

/// What a receiver speaks, so which keys it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// SNMP over UDP.
    SnmpTrap,
    /// Syslog over UDP and TCP.
    Syslog,
    /// Syslog over TLS.
    SyslogTls,
}

impl Kind {
    const fn key(self) -> &'static str {
        match self {
            Self::SnmpTrap => "receivers.snmp_trap",
            Self::Syslog => "receivers.syslog",
            Self::SyslogTls => "receivers.syslog_tls",
        }
    }
}

/// Resolves one receiver.
pub(super) fn receiver(faults: &mut FaultList, kind: Kind, raw: RawReceiver, base: &Path) -> Option<Receiver> {
    let key = kind.key();
    let listen = faults.address(&format!("{key}.listen"), &raw.listen);
    let allow = faults.networks(&format!("{key}.allow"), &raw.allow);
    let proxy_protocol_from = faults.networks(&format!("{key}.proxy_protocol_from"), &raw.proxy_protocol_from);
    let max_connections = connections(faults, &format!("{key}.max_connections"), raw.max_connections);
    let max_per_source = per_source(faults, &format!("{key}.max_connections_per_source"), raw.max_connections_per_source, max_connections);
    let buffer = raw.receive_buffer_bytes.unwrap_or(DEFAULT_RECEIVE_BUFFER_BYTES);
    if !(4096..=1 << 30).contains(&buffer) {
        faults.add(&format!("{key}.receive_buffer_bytes"), "the buffer has 4096 to 1073741824 bytes");
    }
    let idle_timeout = raw.idle_timeout_s.map_or(DEFAULT_SYSLOG_IDLE, Duration::from_secs);
    if !(1..=604_800).contains(&idle_timeout.as_secs()) {
        faults.add(&format!("{key}.idle_timeout_s"), "the idle time is 1 to 604800 seconds");
    }
    if kind == Kind::SnmpTrap && !raw.proxy_protocol_from.is_empty() {
        faults
            .add(&format!("{key}.proxy_protocol_from"), "the PROXY protocol is for TCP and TLS; trusted relays of traps are in revisions");
    }
    let demand_key = format!("{key}.client_certificates");
    let client_certificates = match raw.client_certificates.as_deref() {
        None | Some("optional") => ClientDemand::Optional,
        Some("none") => ClientDemand::None,
        Some("required") => ClientDemand::Required,
        Some(other) => {
            faults.add(&demand_key, format!("{other:?} is none of none, optional and required"));
            ClientDemand::None
        }
    };
    let ca_key = format!("{key}.client_ca");
    if kind != Kind::SyslogTls {
        for (there, key) in [(raw.client_certificates.is_some(), &demand_key), (raw.client_ca.is_some(), &ca_key)] {
            if there {
                faults.add(key, "only receivers.syslog_tls has client certificates");
            }
        }
    }
    let client_ca = raw.client_ca.and_then(|path| faults.take(&ca_key, secrets::certificates(&base.join(path))));
    Some(Receiver {
        listen: listen?,
        allow,
        rate_limit_per_source: raw.rate_limit_per_source,
        receive_buffer_bytes: usize::try_from(buffer).unwrap_or(usize::MAX),
        max_connections,
        max_per_source,
        idle_timeout,
        proxy_protocol_from,
        client_certificates,
        client_ca,
    })
}

/// Resolves the proxy listener.
pub(super) fn proxy(faults: &mut FaultList, raw: RawProxy, server: Option<&ServerUrl>, base: &Path) -> Option<Proxy> {
    let listen = faults.address("proxy.listen", &raw.listen);
    let allow = faults.networks("proxy.allow", &raw.allow);
    let proxy_protocol_from = faults.networks("proxy.proxy_protocol_from", &raw.proxy_protocol_from);
    let max_connections = connections(faults, "proxy.max_connections", raw.max_connections);
    let max_per_source = per_source(faults, "proxy.max_connections_per_source", raw.max_connections_per_source, max_connections);
    let idle_timeout = raw.idle_timeout_s.map_or(DEFAULT_IDLE, Duration::from_secs);
    if !(1..=86_400).contains(&idle_timeout.as_secs()) {
        faults.add("proxy.idle_timeout_s", "the idle time is 1 to 86400 seconds");
    }
    let authentication = match (raw.authentication.as_deref(), raw.users_file) {
        (None | Some("none"), None) => Authentication::None,
        (None | Some("none"), Some(_)) => {
            faults.add("proxy.users_file", "there are users, and nobody is asked: set proxy.authentication = \"basic\"");
            Authentication::None
        }
        (Some("basic"), Some(path)) => {
            let users = faults.take("proxy.users_file", secrets::users(&base.join(path)));
            Authentication::Basic(users.unwrap_or_default())
        }
        (Some("basic"), None) => {
            faults.add("proxy.users_file", "authentication \"basic\" needs a file of users");
            Authentication::None
        }
        (Some(other), _) => {
            faults.add("proxy.authentication", format!("{other:?} is none of none and basic"));
            Authentication::None
        }
    };
    let connect_allow = destinations(faults, &raw.connect_allow, server);
    let plain_push = if raw.allow_plain_push { PlainPush::Allowed } else { PlainPush::Refused };
    Some(Proxy {
        listen: listen?,
        allow,
        plain_push,
        max_connections,
        max_per_source,
        idle_timeout,
        proxy_protocol_from,
        authentication,
        connect_allow,
    })
}

fn destinations(faults: &mut FaultList, texts: &[String], server: Option<&ServerUrl>) -> Vec<Connect> {
    let mut destinations = Vec::new();
    if let Some(server) = server {
        // `ServerUrl` keeps an IPv6 address without brackets.
        let host = server.host().parse().map_or_else(|_| Host::parse(server.host()), |ip: IpAddr| Some(Host::Address(ip.to_canonical())));
        match host {
            Some(host) => destinations.push(Connect { host, port: server.port() }),
            None => faults.add("server.url", format!("{:?} is not a host that CONNECT can name", server.host())),
        }
    }
    for (at, text) in texts.iter().enumerate() {
        let destination = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Connect { host: Host::parse(host)?, port })
        });
        match destination {
            Some(destination) => destinations.push(destination),
            None => {
                faults.add(&format!("proxy.connect_allow[{at}]"), format!("{text:?} is not host:port, for example mirror.example.com:443"))
            }
        }
    }
    destinations
}

fn connections(faults: &mut FaultList, key: &str, given: Option<u32>) -> usize {
    let limit = given.unwrap_or(DEFAULT_CONNECTIONS);
    if limit == 0 {
        faults.add(key, "at least one connection must be possible; leave the section out to turn the listener off");
    }
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Half of all by default, so that no single source can take every place; of few ones more.
fn per_source(faults: &mut FaultList, key: &str, given: Option<u32>, of: usize) -> usize {
    if given == Some(0) {
        faults.add(key, "at least one connection must be possible");
    }
    given.map_or_else(|| of.div_ceil(2).max(FEW_CONNECTIONS), |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
