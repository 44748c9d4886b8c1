//! The demo's sockets: chosen, bound here, and handed to the gateway, so that datagrams queue while it restarts.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;

use anyhow::Context as _;
use command_fds::{CommandFdExt as _, FdMapping};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};

/// Which ports to use; 0 for a free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortChoice {
    /// Console, API and tunnel.
    pub https: u16,
    /// SNMP traps.
    pub snmp_trap: u16,
    /// Syslog over UDP and TCP.
    pub syslog: u16,
    /// Syslog over TLS.
    pub syslog_tls: u16,
    /// Proxy and pushes.
    pub proxy: u16,
}

impl PortChoice {
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let port = |name: &str, default: u16| match std::env::var(name) {
            Ok(text) => text.parse::<u16>().with_context(|| format!("{name} is a port number or 0, not {text:?}")),
            Err(std::env::VarError::NotPresent) => Ok(default),
            Err(error) => Err(error).with_context(|| format!("{name} cannot be read")),
        };
        Ok(Self {
            https: port("POSTERN_HTTPS_PORT", 8443)?,
            snmp_trap: port("POSTERN_TRAP_PORT", 10162)?,
            syslog: port("POSTERN_SYSLOG_PORT", 10514)?,
            syslog_tls: port("POSTERN_SYSLOG_TLS_PORT", 10601)?,
            proxy: port("POSTERN_PROXY_PORT", 3128)?,
        })
    }
}

/// Every socket of the demo, bound to 127.0.0.1.
///
/// The control plane binds its own. Its port is reserved by a socket that never listens: nobody else is given it while the
/// control plane restarts, and connecting meanwhile is refused as it should be.
pub struct Sockets {
    https: (SocketAddr, OwnedFd),
    snmp_trap: UdpSocket,
    syslog_udp: UdpSocket,
    syslog_tcp: TcpListener,
    syslog_tls: TcpListener,
    proxy: TcpListener,
}

/// Descriptor of the first passed socket (sd_listen_fds(3)).
const FIRST_PASSED: i32 = 3;

impl Sockets {
    /// Binds them all.
    ///
    /// # Errors
    /// When a port is taken; the text says which, and by which variable another can be chosen.
    pub fn open(choice: &PortChoice) -> anyhow::Result<Self> {
        let taken = |what: &str, port: u16, variable: &str| {
            format!("cannot open 127.0.0.1:{port} for {what}; is it taken? set {variable} to another port, or to 0 for a free one")
        };
        let https = reserve(choice.https).with_context(|| taken("the console", choice.https, "POSTERN_HTTPS_PORT"))?;
        let snmp_trap = UdpSocket::bind(local(choice.snmp_trap)).with_context(|| taken("traps", choice.snmp_trap, "POSTERN_TRAP_PORT"))?;
        let (syslog_tcp, syslog_udp) = tcp_and_udp(choice.syslog).with_context(|| taken("syslog", choice.syslog, "POSTERN_SYSLOG_PORT"))?;
        let syslog_tls = TcpListener::bind(local(choice.syslog_tls))
            .with_context(|| taken("syslog over TLS", choice.syslog_tls, "POSTERN_SYSLOG_TLS_PORT"))?;
        let proxy = TcpListener::bind(local(choice.proxy)).with_context(|| taken("the proxy", choice.proxy, "POSTERN_PROXY_PORT"))?;
        Ok(Self { https, snmp_trap, syslog_udp, syslog_tcp, syslog_tls, proxy })
    }

    /// Address of console, API and tunnel.
    pub fn https(&self) -> SocketAddr {
        self.https.0
    }

    /// Address for SNMP traps.
    pub fn snmp_trap(&self) -> SocketAddr {
        self.snmp_trap.local_addr().unwrap_or_else(|_| local(0))
    }

    /// Address for syslog over UDP and TCP.
    pub fn syslog(&self) -> SocketAddr {
        self.syslog_tcp.local_addr().unwrap_or_else(|_| local(0))
    }

    /// Address for syslog over TLS.
    pub fn syslog_tls(&self) -> SocketAddr {
        self.syslog_tls.local_addr().unwrap_or_else(|_| local(0))
    }

    /// Address of the proxy.
    pub fn proxy(&self) -> SocketAddr {
        self.proxy.local_addr().unwrap_or_else(|_| local(0))
    }

    /// Hands copies of the gateway's sockets to `command` in the way of systemd's socket units (sd_listen_fds(3)).
    ///
    /// `LISTEN_PID` is left out: it would have to be set between fork and exec, and no shell shall stand around the program.
    ///
    /// # Errors
    /// When a descriptor cannot be copied.
    pub fn pass(&self, command: &mut Command) -> anyhow::Result<()> {
        let passed: [(&str, std::io::Result<OwnedFd>); 5] = [
            ("snmp_trap", self.snmp_trap.try_clone().map(OwnedFd::from)),
            ("syslog_udp", self.syslog_udp.try_clone().map(OwnedFd::from)),
            ("syslog_tcp", self.syslog_tcp.try_clone().map(OwnedFd::from)),
            ("syslog_tls", self.syslog_tls.try_clone().map(OwnedFd::from)),
            ("proxy", self.proxy.try_clone().map(OwnedFd::from)),
        ];
        let (mut names, mut mappings) = (Vec::new(), Vec::new());
        for (child_fd, (name, parent_fd)) in (FIRST_PASSED..).zip(passed) {
            names.push(name);
            mappings.push(FdMapping { parent_fd: parent_fd.with_context(|| format!("cannot copy the socket {name}"))?, child_fd });
        }
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":")).env_remove("LISTEN_PID");
        command.fd_mappings(mappings).context("two sockets would get one number")?;
        Ok(())
    }
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// Binds a socket that will never listen. Both it and the control plane's listener set SO_REUSEADDR, and Linux lets two such
/// sockets share a port as long as only one listens.
fn reserve(port: u16) -> anyhow::Result<(SocketAddr, OwnedFd)> {
    if port != 0 {
        return Ok((local(port), bound(port, Reuse::Yes)?));
    }
    // Below the ephemeral range, so that no outgoing connection of this machine is ever given the port.
    let mut last = nix::Error::EADDRINUSE;
    for _ in 0..64 {
        let mut random = [0; 2];
        aws_lc_rs::rand::fill(&mut random).ok().context("no random numbers")?;
        let port = 12_000 + u16::from_be_bytes(random) % 20_000;
        // Alone first: that fails when another demo has reserved the port.
        match bound(port, Reuse::No).map(drop).and_then(|()| bound(port, Reuse::Yes)) {
            Ok(fd) => return Ok((local(port), fd)),
            Err(error) => last = error,
        }
    }
    Err(last).context("no port is free")
}

#[derive(PartialEq)]
enum Reuse {
    No,
    Yes,
}

fn bound(port: u16, reuse: Reuse) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &(reuse == Reuse::Yes))?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
    Ok(fd)
}

fn tcp_and_udp(port: u16) -> std::io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = if port == 0 { 32 } else { 1 };
    loop {
        let tcp = TcpListener::bind(local(port))?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if attempts == 1 => return Err(error),
            Err(_) => attempts -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_refuses_connections_until_its_owner_listens() {
        let (address, _held) = reserve(0).unwrap();
        assert!(std::net::TcpStream::connect(address).is_err());
        let listener = TcpListener::bind(address).unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok());
        drop(listener);
        assert!(std::net::TcpStream::connect(address).is_err());
        assert!(TcpListener::bind(address).is_ok(), "it can be bound again at once");
    }

    #[test]
    fn two_demos_never_reserve_one_port() {
        let (address, _held) = reserve(0).unwrap();
        assert!(bound(address.port(), Reuse::No).is_err());
    }

    #[test]
    fn a_taken_port_is_named_with_the_variable_that_moves_it() {
        let holder = TcpListener::bind(local(0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let error = Sockets::open(&PortChoice { proxy: taken, ..PortChoice::default() }).err().unwrap();
        assert!(format!("{error:#}").contains("POSTERN_PROXY_PORT"), "{error:#}");
        let error = Sockets::open(&PortChoice { https: taken, ..PortChoice::default() }).err().unwrap();
        assert!(format!("{error:#}").contains("POSTERN_HTTPS_PORT"), "{error:#}");
    }
}
