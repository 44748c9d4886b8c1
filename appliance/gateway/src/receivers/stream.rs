//! Accepting connections: allow-list, bounds on how many are open in all and of one source, a task for each, all joined at the end.
//!
//! Syslog over TCP and TLS and the proxy listener use it. What a connection carries is the handler's business. Balancers that the
//! site trusts name the client in a PROXY protocol header, which is taken off here; from anyone else it is the handler's to refuse.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_engine::event::Protocol;
use postern_engine::ledger::DropReason;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::proxy_protocol::{self, Header, HeaderError, Parsed};
use crate::accounts::Accounts;
use crate::canary::{Canary, Path};
use crate::config::Networks;

/// Pause after an accept that failed for want of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long a silent peer is trusted to be there before the kernel asks.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Time for a balancer's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener for connections.
pub(crate) struct Listener {
    /// Its name in logs.
    pub(crate) name: &'static str,
    /// What refused connections are counted under.
    pub(crate) protocol: Protocol,
    /// The socket.
    pub(crate) socket: std::net::TcpListener,
    /// Who may connect.
    pub(crate) allow: Networks,
    /// Balancers whose PROXY protocol header is required and believed.
    pub(crate) proxy_protocol_from: Networks,
    /// Most open connections; further ones wait in the kernel's backlog.
    pub(crate) max_connections: usize,
    /// Most open connections of one source; further ones are refused.
    pub(crate) max_per_source: usize,
    /// Who tries the listener when it is silent, and as what.
    pub(crate) canary: (Canary, Path),
    /// How many are open.
    pub(crate) connections: Arc<AtomicU64>,
    /// Where refused connections are counted.
    pub(crate) accounts: Accounts,
}

/// An accepted connection.
pub(crate) struct Accepted {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// The client's address, a v4-mapped one normalised.
    pub(crate) source: IpAddr,
    /// The balancer that named it.
    pub(crate) relay: Option<IpAddr>,
}

impl Listener {
    /// Accepts until `stop` is cancelled, then waits for the handlers, which watch the same token.
    ///
    /// # Errors
    /// What the socket says, when it cannot accept any more.
    pub(crate) async fn serve<F>(self, stop: CancellationToken, handle: impl Fn(Accepted) -> F + Send + Sync + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.socket.set_nonblocking(true)?;
        // Connections inherit both, so that it costs nothing for each. Neither failure matters to what they carry.
        let _ = SockRef::from(&self.socket).set_tcp_nodelay(true);
        let _ = SockRef::from(&self.socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6));
        let listener = TcpListener::from_std(self.socket)?;
        let room = Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS)));
        let door = Arc::new(Door {
            name: self.name,
            protocol: self.protocol,
            allow: self.allow,
            max_per_source: self.max_per_source,
            open: Mutex::default(),
            accounts: self.accounts,
        });
        let handle = Arc::new(handle);
        let mut handlers = JoinSet::new();
        loop {
            // Not awaited: every connection's end would wake this task. What has ended is only a result by then.
            while handlers.try_join_next().is_some() {}
            // Cancel-safe: a permit or a connection that is not taken stays where it is.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accept(&listener, &room) => accepted,
            };
            let ((stream, peer), permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(listener = self.name, error = %error, "a connection could not be accepted");
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                    continue;
                }
            };
            let source = peer.ip().to_canonical();
            let open = Open::new(&self.connections);
            let (canary, path) = &self.canary;
            if canary.is_trying(*path)
                && let Ok(local) = stream.local_addr().map(|local| local.ip())
                && canary.is_own(*path, peer, local).await
            {
                let handler = handle(Accepted { stream, source, relay: None });
                handlers.spawn(async move {
                    handler.await;
                    drop((open, permit));
                });
                continue;
            }
            if self.proxy_protocol_from.contain(source) {
                let (door, handle, stop) = (Arc::clone(&door), Arc::clone(&handle), stop.clone());
                handlers.spawn(async move {
                    // Cancel-safe: a connection whose header is not awaited is dropped.
                    let named = tokio::select! {
                        () = stop.cancelled() => None,
                        named = door.named(stream, source) => named,
                    };
                    if let Some((accepted, place)) = named {
                        handle(accepted).await;
                        drop(place);
                    }
                    drop((open, permit));
                });
                continue;
            }
            let Some(place) = door.admit(source) else { continue };
            let handler = handle(Accepted { stream, source, relay: None });
            handlers.spawn(async move {
                handler.await;
                drop((open, permit, place));
            });
        }
        drop(listener);
        while handlers.join_next().await.is_some() {}
        Ok(())
    }
}

/// Who may come in.
struct Door {
    name: &'static str,
    protocol: Protocol,
    allow: Networks,
    max_per_source: usize,
    /// Open connections by source, as many entries as there are connections at most. A lock: handlers end on any thread.
    open: Mutex<HashMap<IpAddr, usize>>,
    accounts: Accounts,
}

impl Door {
    /// Admits a client that may connect and has fewer connections than it may, or counts the refusal.
    fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        if self.allow.allow(source) { self.place(source) } else { self.refuse(source, DropReason::SourceDenied) }
    }

    fn place(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let of_source = open.entry(source).or_insert(0);
            if *of_source < self.max_per_source {
                *of_source = of_source.saturating_add(1);
                return Some(Place { door: Arc::clone(self), source });
            }
        }
        tracing::debug!(listener = self.name, source = %source, "a source has as many connections as it may");
        self.refuse(source, DropReason::RateLimited)
    }

    fn refuse(&self, source: IpAddr, reason: DropReason) -> Option<Place> {
        self.accounts.refused(self.protocol, source, reason);
        None
    }

    /// Takes the header off a connection of a trusted balancer, and admits the client that it names. The balancer itself, when it
    /// only asks how we are, needs no place in `allow`.
    async fn named(self: &Arc<Self>, mut stream: TcpStream, balancer: IpAddr) -> Option<(Accepted, Place)> {
        match tokio::time::timeout(HEADER_TIMEOUT, header(&mut stream)).await {
            Ok(Ok(Some(Header { client: Some(source), .. }))) => {
                let place = self.admit(source)?;
                Some((Accepted { stream, source, relay: Some(balancer) }, place))
            }
            Ok(Ok(Some(Header { client: None, .. }))) => {
                let place = self.place(balancer)?;
                Some((Accepted { stream, source: balancer, relay: None }, place))
            }
            // A probe that says nothing.
            Ok(Ok(None)) => None,
            Ok(Err(error)) => {
                tracing::debug!(listener = self.name, balancer = %balancer, error = %error, "a trusted balancer sent no usable header");
                self.accounts.refused(self.protocol, balancer, DropReason::Malformed);
                None
            }
            Err(_) => {
                tracing::debug!(listener = self.name, balancer = %balancer, "a trusted balancer sent no header in time");
                self.accounts.refused(self.protocol, balancer, DropReason::Malformed);
                None
            }
        }
    }
}

/// Reads a header and not a byte further; `None` when the connection ends before it begins.
async fn header(stream: &mut TcpStream) -> io::Result<Option<Header>> {
    let mut bytes = Vec::new();
    loop {
        match proxy_protocol::parse(&bytes) {
            Ok(Parsed::Header(header)) => return Ok(Some(header)),
            Ok(Parsed::Wants(more)) => {
                let have = bytes.len();
                let read = (&mut *stream).take(more as u64).read_buf(&mut bytes).await?;
                match (read, have) {
                    (0, 0) => return Ok(None),
                    (0, _) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, HeaderError::Malformed)),
                    _ => {}
                }
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Tells and counts a header from a source that the site does not trust with naming clients.
pub(crate) fn refuse_header(listener: &'static str, protocol: Protocol, source: IpAddr, accounts: &Accounts) {
    tracing::debug!(
        listener,
        source = %source,
        "a PROXY protocol header came from a source that is not in proxy_protocol_from: the connection is refused"
    );
    accounts.refused(protocol, source, DropReason::Malformed);
}

type Permitted = ((TcpStream, SocketAddr), tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<Permitted> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, permit))
}

fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

/// One of a source's connections, for as long as it lives.
struct Place {
    door: Arc<Door>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.door.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_source) = open.get_mut(&self.source) {
            *of_source = of_source.saturating_sub(1);
            if *of_source == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<AtomicU64>);

impl Open {
    fn new(connections: &Arc<AtomicU64>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_engine::ledger::Ledger;

    fn listener(allow: Networks, max_connections: usize) -> (Listener, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener {
            name: "test",
            protocol: Protocol::Syslog,
            socket,
            allow,
            proxy_protocol_from: Networks::default(),
            max_connections,
            max_per_source: max_connections,
            canary: (Canary::new().unwrap(), Path::SyslogTcp),
            connections: Arc::default(),
            accounts: Accounts::new(Ledger::new()),
        };
        (listener, address)
    }

    #[tokio::test]
    async fn a_panicking_handler_leaves_the_listener_and_its_count_alone() {
        let (listener, address) = listener(Networks::default(), 1);
        let connections = Arc::clone(&listener.connections);
        let stop = CancellationToken::new();
        let serve = listener.serve(stop.clone(), |accepted| async move {
            assert!(accepted.source.is_ipv6(), "on purpose");
        });
        let connect = async {
            for _ in 0..2 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            }
            stop.cancel();
        };
        let (served, ()) = tokio::join!(serve, connect);
        served.unwrap();
        assert_eq!(connections.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_source_outside_the_networks_is_closed_and_counted() {
        let text =
            "data_dir = \"d\"\n[server]\nurl = \"https://h\"\n[receivers.syslog]\nlisten = \"127.0.0.1:0\"\nallow = [\"192.0.2.0/24\"]\n";
        let allow = crate::config::Config::parse(text, std::path::Path::new("/")).ok().unwrap().syslog.unwrap().allow;
        let (listener, address) = listener(allow, 8);
        let accounts = listener.accounts.clone();
        let stop = CancellationToken::new();
        let serve = listener.serve(stop.clone(), |_| async { panic!("not reached") });
        let connect = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            stop.cancel();
        };
        tokio::join!(serve, connect).0.unwrap();
        assert_eq!(accounts.snapshot().totals.dropped["source_denied"], 1);
    }
}
