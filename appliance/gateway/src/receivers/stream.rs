//! Accepting connections: allow-list, a bound on how many are open, a task for each, all joined at the end.
//!
//! Syslog over TCP and TLS and the proxy listener use it. What a connection carries is the handler's business.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postern_engine::event::Protocol;
use postern_engine::ledger::DropReason;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::config::Networks;

/// Pause after an accept that failed for want of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long a silent peer is trusted to be there before the kernel asks.
const KEEPALIVE: Duration = Duration::from_secs(60);

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
    /// Most open connections; further ones wait in the kernel's backlog.
    pub(crate) max_connections: usize,
    /// How many are open.
    pub(crate) connections: Arc<AtomicU64>,
    /// Where refused connections are counted.
    pub(crate) accounts: Accounts,
}

/// An accepted connection.
pub(crate) struct Accepted {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// The peer's address, a v4-mapped one normalised.
    pub(crate) source: IpAddr,
}

impl Listener {
    /// Accepts until `stop` is cancelled, then waits for the handlers, which watch the same token.
    ///
    /// # Errors
    /// What the socket says, when it cannot accept any more.
    pub(crate) async fn serve<F>(self, stop: CancellationToken, handle: impl Fn(Accepted) -> F) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.socket)?;
        let room = Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS)));
        let mut handlers = JoinSet::new();
        loop {
            // Cancel-safe: a permit or a connection that is not taken stays where it is.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = handlers.join_next() => continue,
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
            if !self.allow.allow(source) {
                self.accounts.refused(self.protocol, source, DropReason::SourceDenied);
                continue;
            }
            // Neither failure matters to the connection's content.
            let _ = stream.set_nodelay(true);
            let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6));
            let open = Open::new(&self.connections);
            let handler = handle(Accepted { stream, source });
            handlers.spawn(async move {
                handler.await;
                drop((open, permit));
            });
        }
        drop(listener);
        while handlers.join_next().await.is_some() {}
        Ok(())
    }
}

type Permitted = ((TcpStream, SocketAddr), tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<Permitted> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, permit))
}

fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
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
    use tokio::io::AsyncReadExt as _;

    fn listener(allow: Networks, max_connections: usize) -> (Listener, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener {
            name: "test",
            protocol: Protocol::Syslog,
            socket,
            allow,
            max_connections,
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
