//! `CONNECT`: dial under policy, answer, carry, and count for the agent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_uplink::dial::{self, Way};
use postern_uplink::url::{HostPort, ProxyUrl};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::agents::{Agent, Agents};
use super::answer::Answer;
use super::policy::{Policy, PolicyError};
use super::relay::{self, Client, Ended, Terms};
use super::request::{Connect, Host};
use super::splice::Pipes;

/// Time for a connection to a destination, name look-up included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Tunnels that may be silent for longer than this have the kernel ask whether the destination is still there.
const PROBED: Duration = Duration::from_secs(600);

/// Opens and carries tunnels.
pub(crate) struct Tunnels {
    /// Where to.
    pub(crate) policy: Policy,
    /// The site's proxy, through which destinations are reached.
    pub(crate) upstream: Option<ProxyUrl>,
    /// Who moves how much.
    pub(crate) agents: Agents,
    /// For bulky tunnels.
    pub(crate) pipes: Pipes,
    /// After how long a tunnel in which nothing moves is closed.
    pub(crate) idle_timeout: Duration,
}

impl Tunnels {
    /// Connects to a destination, or says why not.
    pub(super) async fn dial(&self, connect: &Connect) -> Result<TcpStream, Answer> {
        self.policy.check(connect).map_err(|error| denied(&error))?;
        let dialled = match (&self.upstream, &connect.host) {
            // Nothing to look up and nobody to ask on the way: one system call, and the kernel's answer.
            (None, Host::Address(address)) => tokio::time::timeout(DIAL_TIMEOUT, self.directly(*address, connect.port)).await,
            (upstream, host) => {
                let host = match host {
                    Host::Address(address) => address.to_string(),
                    Host::Name(name) => name.clone(),
                };
                let dialling = async {
                    let way = Way::to(HostPort::new(&host, connect.port).map_err(io::Error::other)?, upstream.clone());
                    dial::dial(&way).await.map(|dialled| dialled.stream).map_err(io::Error::other)
                };
                tokio::time::timeout(DIAL_TIMEOUT, dialling).await
            }
        };
        let stream = match dialled {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(error = %crate::chain(&error), "a destination cannot be reached");
                return Err(Answer::text(502, &format!("{} cannot be reached", connect.host), "destination_unavailable"));
            }
            Err(_) => return Err(Answer::text(504, &format!("{} did not answer in time", connect.host), "connection_timeout")),
        };
        if self.upstream.is_none() && Policy::needs_address(connect) {
            let addresses = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
            let (peer, local) = addresses.map_err(|_| Answer::text(502, "the destination closed at once", "connection_terminated"))?;
            Policy::check_address(connect, peer, local.ip()).map_err(|error| denied(&error))?;
        }
        Ok(stream)
    }

    async fn directly(&self, address: IpAddr, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(SocketAddr::new(address, port)).await?;
        if self.idle_timeout > PROBED {
            dial::keep_alive(&stream);
        } else {
            // Not worth a failure.
            let _ = stream.set_nodelay(true);
        }
        Ok(stream)
    }

    /// Carries a tunnel that is answered; `early` is what the client sent behind its request.
    pub(super) async fn carry(&self, client: impl Client, mut server: TcpStream, early: &[u8], agent: Agent) -> io::Result<Ended> {
        let tunnel = self.agents.open(agent);
        let account = tunnel.account();
        if !early.is_empty() {
            tokio::time::timeout(self.idle_timeout, server.write_all(early)).await??;
            account.up.fetch_add(early.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
        let terms = Terms { idle_timeout: self.idle_timeout, pipes: &self.pipes, up: &account.up, down: &account.down };
        Ok(relay::run(client, server, terms).await)
    }
}

fn denied(error: &PolicyError) -> Answer {
    Answer::text(403, &error.to_string(), "http_request_denied")
}
