//! Opens the TCP connection to the control plane: directly, or through an HTTP proxy with `CONNECT` (RFC 9110 §9.3.6).
//!
//! What comes back carries TLS and nothing in between. Called by the tunnel, enrolment, the doctor and the agents' proxy.

mod challenge;
mod digest;
pub mod environment;
pub mod error;
pub mod link;
mod proxy;
mod race;

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use self::error::DialError;
use crate::url::{HostPort, ProxyUrl, UrlError};

/// How long one step, to connect or to be answered by the proxy, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// Silence after which the kernel probes the peer, so that a proxy or firewall keeps the connection and a dead one is found.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Tried in order: each begins a while after the one before, or at once when that one failed.
    pub addresses: Vec<HostPort>,
    /// The HTTP proxy to go through.
    pub proxy: Option<ProxyUrl>,
    /// Largest TCP segment (`TCP_MAXSEG`), for who looks for a black hole; the kernel's choice when `None`.
    pub segment_bytes: Option<u32>,
}

impl Way {
    /// Names the way to one address.
    pub fn to(address: HostPort, proxy: Option<ProxyUrl>) -> Self {
        Self { addresses: vec![address], proxy, segment_bytes: None }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Dialled {
    /// It.
    pub stream: TcpStream,
    /// Which of the addresses it leads to.
    pub address: HostPort,
    /// Who is at its other end: the proxy, when there is one.
    pub peer: SocketAddr,
}

/// Connects.
///
/// # Errors
/// [`DialError`] of the address with which the attempt got farthest.
pub async fn dial(way: &Way) -> Result<Dialled, DialError> {
    let Some(proxy) = &way.proxy else { return race::first(&way.addresses, way.segment_bytes).await };
    let mut farthest: Option<DialError> = None;
    for address in &way.addresses {
        match proxy::open(proxy, address, way.segment_bytes).await {
            Ok(dialled) => return Ok(dialled),
            // Another destination may do better.
            Err(error @ DialError::ProxyRefused { .. }) => farthest = farthest.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(farthest.unwrap_or(DialError::Unaddressed(UrlError::Host(String::new()))))
}

/// Has small writes sent at once and a silent peer probed, as every connection that this module opens.
pub fn keep_alive(stream: &TcpStream) {
    // Neither option is worth a failure.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _unset = stream.set_nodelay(true);
    let _unset = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
