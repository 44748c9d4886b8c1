//! The sockets: bound here or taken over from systemd, then given to the receivers and the proxy.
//!
//! Binding comes before anything slow, so that what arrives while the daemon starts waits in the kernel, and before the sandbox,
//! inside which nothing can be bound.

pub(crate) mod kernel_drops;
mod limit;
pub(crate) mod proxy_protocol;
pub(crate) mod reply;
pub(crate) mod snmp_trap;
pub(crate) mod stream;
pub(crate) mod syslog;
pub(crate) mod udp;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postern_protocol::status;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use self::kernel_drops::KernelDrops;
use crate::accounts::Accounts;
use crate::canary::Path;
use crate::config::Config;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How often a free port is sought that both UDP and TCP can have.
const FREE_PORT_TRIES: usize = 16;

/// The names under which systemd passes sockets (`FileDescriptorName=`).
pub(crate) const PASSED_NAMES: [&str; 5] = ["proxy", "snmp_trap", "syslog_tcp", "syslog_tls", "syslog_udp"];

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot listen on {address}")]
pub(crate) struct BindError {
    /// Which listener.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) address: SocketAddr,
    /// Why.
    #[source]
    pub(crate) cause: io::Error,
}

/// Sockets that the service manager passed, by name.
#[derive(Default)]
pub(crate) struct Passed {
    /// `snmp_trap`, `syslog_udp`.
    pub(crate) udp: BTreeMap<String, UdpSocket>,
    /// `syslog_tcp`, `syslog_tls`, `proxy`.
    pub(crate) tcp: BTreeMap<String, TcpListener>,
}

/// The bound sockets; what the configuration leaves out is absent.
pub(crate) struct Sockets {
    pub(crate) kernel_drops: KernelDrops,
    pub(crate) snmp_trap: Option<Arc<UdpSocket>>,
    pub(crate) syslog_udp: Option<Arc<UdpSocket>>,
    pub(crate) syslog_tcp: Option<TcpListener>,
    pub(crate) syslog_tls: Option<TcpListener>,
    pub(crate) proxy: Option<TcpListener>,
}

impl Sockets {
    /// Returns the TCP ports on which the gateway listens: the canary connects to them.
    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        let listeners = [&self.syslog_tcp, &self.syslog_tls, &self.proxy].into_iter().flatten();
        listeners.filter_map(|listener| Some(listener.local_addr().ok()?.port())).collect()
    }
}

/// Binds what the configuration asks for, or takes it from `passed`.
///
/// # Errors
/// [`BindError`] for the first socket that cannot be had.
pub(crate) fn bind(config: &Config, mut passed: Passed) -> Result<Sockets, BindError> {
    let snmp_trap = match &config.snmp_trap {
        None => None,
        Some(receiver) => Some(match passed.udp.remove("snmp_trap") {
            Some(socket) => socket,
            None => udp("snmp_trap", receiver.listen)?,
        }),
    };
    let (syslog_udp, syslog_tcp) = match &config.syslog {
        None => (None, None),
        Some(receiver) => {
            let (udp, tcp) = both(receiver.listen, passed.udp.remove("syslog_udp"), passed.tcp.remove("syslog_tcp"))?;
            (Some(udp), Some(tcp))
        }
    };
    let mut stream = |name, wanted: Option<SocketAddr>| match (wanted, passed.tcp.remove(name)) {
        (None, _) => Ok(None),
        (Some(_), Some(listener)) => Ok(Some(listener)),
        (Some(address), None) => tcp(name, address).map(Some),
    };
    let syslog_tls = stream("syslog_tls", config.syslog_tls.as_ref().map(|receiver| receiver.listen))?;
    let proxy = stream("proxy", config.proxy.as_ref().map(|proxy| proxy.listen))?;
    for name in passed.udp.keys().chain(passed.tcp.keys()) {
        tracing::warn!(socket = name, "the service manager passed a socket that the configuration does not use");
    }
    let (snmp_trap, syslog_udp) = (snmp_trap.map(Arc::new), syslog_udp.map(Arc::new));
    Ok(Sockets { kernel_drops: KernelDrops::open(), snmp_trap, syslog_udp, syslog_tcp, syslog_tls, proxy })
}

/// Binds UDP and TCP on one port, which the kernel chooses when it is 0.
fn both(
    address: SocketAddr,
    passed_udp: Option<UdpSocket>,
    passed_tcp: Option<TcpListener>,
) -> Result<(UdpSocket, TcpListener), BindError> {
    let mut tries = 0_usize;
    match (passed_udp, passed_tcp) {
        (Some(udp), Some(tcp)) => Ok((udp, tcp)),
        (Some(socket), None) => Ok((socket, tcp("syslog_tcp", address)?)),
        (None, Some(listener)) => Ok((udp("syslog_udp", address)?, listener)),
        (None, None) => loop {
            let listener = tcp("syslog_tcp", address)?;
            let at = listener.local_addr().map_err(|cause| BindError { name: "syslog_tcp", address, cause })?;
            match udp("syslog_udp", at) {
                Ok(socket) => return Ok((socket, listener)),
                Err(error) if address.port() != 0 || tries == FREE_PORT_TRIES => return Err(error),
                Err(_) => tries = tries.saturating_add(1),
            }
        },
    }
}

/// `[::]` is for IPv4, too, whatever the system's default.
fn both_families(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() && address.ip().is_unspecified() { socket.set_only_v6(false) } else { Ok(()) }
}

fn udp(name: &'static str, address: SocketAddr) -> Result<UdpSocket, BindError> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        both_families(&socket, address)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bind().map_err(|cause| BindError { name, address, cause })
}

fn tcp(name: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        both_families(&socket, address)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|cause| BindError { name, address, cause })
}

/// What status reports say about one socket.
#[derive(Clone)]
pub(crate) struct ListenerFacts {
    name: &'static str,
    proto: &'static str,
    address: Option<SocketAddr>,
    kind: ListenerKind,
}

#[derive(Clone)]
enum ListenerKind {
    Stream { connections: Arc<AtomicU64> },
    Udp { socket: Arc<UdpSocket>, counted_as: &'static str, buffer: ReceiveBuffer },
}

/// A UDP socket's receive buffer, in bytes as the kernel counts: with its own overhead, twice of what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiveBuffer {
    /// What the configuration asks for.
    pub(crate) asked: usize,
    /// What the kernel reports.
    pub(crate) granted: usize,
}

impl ReceiveBuffer {
    /// Returns whether the kernel gave less than was asked for.
    pub(crate) const fn is_capped(&self) -> bool {
        self.granted / 2 < self.asked
    }

    /// Says what to do about a buffer that was capped.
    pub(crate) fn advice(&self) -> String {
        let Self { asked, .. } = self;
        format!(
            "the kernel granted less than the {asked} bytes asked for: set net.core.rmem_max = {asked} (sysctl), or ReceiveBuffer={asked} in the socket unit"
        )
    }
}

impl ListenerFacts {
    /// Describes a UDP socket whose drops are counted under `counted_as`.
    /// The configuration asks for a receive buffer of `asked` bytes.
    pub(crate) fn udp(name: &'static str, counted_as: &'static str, socket: &Arc<UdpSocket>, asked: usize) -> Self {
        let granted = SockRef::from(&**socket).recv_buffer_size().unwrap_or(0);
        let kind = ListenerKind::Udp { socket: Arc::clone(socket), counted_as, buffer: ReceiveBuffer { asked, granted } };
        Self { name, proto: "udp", address: socket.local_addr().ok(), kind }
    }

    /// Describes a listener for connections; `proto` is `tcp` or `tls`.
    pub(crate) fn stream(name: &'static str, proto: &'static str, listener: &stream::Listener) -> Self {
        let kind = ListenerKind::Stream { connections: Arc::clone(&listener.connections) };
        Self { name, proto, address: listener.socket.local_addr().ok(), kind }
    }

    /// Returns the name under which a UDP socket's drops are counted, and its receive buffer.
    pub(crate) const fn buffer(&self) -> Option<(&'static str, ReceiveBuffer)> {
        match &self.kind {
            ListenerKind::Stream { .. } => None,
            ListenerKind::Udp { counted_as, buffer, .. } => Some((*counted_as, *buffer)),
        }
    }

    /// Returns the path that the canary tries on the listener, and where it listens.
    pub(crate) fn canary_target(&self) -> Option<(Path, SocketAddr)> {
        let path = match (self.name, self.proto) {
            ("proxy", _) => Path::Proxy,
            ("snmp_trap", _) => Path::SnmpTrap,
            ("syslog", "tcp") => Path::SyslogTcp,
            ("syslog", _) => Path::SyslogUdp,
            ("syslog_tls", _) => Path::SyslogTls,
            _ => return None,
        };
        Some((path, self.address?))
    }

    /// Returns what an admin should change about the listener.
    pub(crate) fn warning(&self) -> Option<String> {
        let (name, buffer) = self.buffer().filter(|(_, buffer)| buffer.is_capped())?;
        Some(format!("{name} has a receive buffer of {} bytes: {}", buffer.granted, buffer.advice()))
    }

    /// Returns the protocol whose events come by the listener, for the ledger.
    pub(crate) fn protocol(&self) -> Option<postern_engine::event::Protocol> {
        use postern_engine::event::Protocol;
        match self.name {
            "snmp_trap" => Some(Protocol::SnmpTrap),
            "proxy" => Some(Protocol::Push),
            name if name.starts_with("syslog") => Some(Protocol::Syslog),
            _ => None,
        }
    }

    /// Returns the report of this moment.
    pub(crate) fn report(&self, accounts: &Accounts) -> status::Listener {
        let mut report = status::Listener {
            name: self.name.to_owned(),
            proto: self.proto.to_owned(),
            addr: self.address.map_or_else(String::new, |address| address.to_string()),
            rcvbuf_effective: None,
            rcvbuf_asked: None,
            kernel_drops: None,
            connections: None,
        };
        match &self.kind {
            ListenerKind::Stream { connections } => report.connections = Some(connections.load(Ordering::Relaxed)),
            ListenerKind::Udp { socket, counted_as, buffer } => {
                report.rcvbuf_asked = Some(buffer.asked as u64);
                report.rcvbuf_effective = SockRef::from(&**socket).recv_buffer_size().ok().map(|bytes| bytes as u64);
                report.kernel_drops = accounts.socket_drops(counted_as);
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_gets_one_free_port_for_udp_and_tcp() {
        let (udp, tcp) = both("127.0.0.1:0".parse().unwrap(), None, None).unwrap();
        assert_eq!(udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    }

    #[test]
    fn a_taken_port_is_told_with_its_listener() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = udp("snmp_trap", taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.name, "snmp_trap");
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
    }
}
