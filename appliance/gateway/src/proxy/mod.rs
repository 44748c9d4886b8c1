//! The 3128 listener, plain and TLS (told apart by the first byte): `CONNECT` under policy and `POST /v1/push`.
//!
//! One task for a connection. It ends with its peer, after the idle time, or when the token is cancelled: between requests and
//! in tunnels at once, in a push after its answer.

pub(crate) mod agents;
pub(crate) mod answer;
pub(crate) mod authentication;
pub mod credential;
pub(crate) mod policy;
pub(crate) mod push;
pub(crate) mod relay;
pub mod request;
mod rewound;
pub(crate) mod splice;
pub(crate) mod tunnel;
pub mod users;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_engine::event::Protocol;
use postern_engine::ledger::DropReason;
use postern_uplink::tls::{Certified, ClientAuth, TlsError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::agents::Agent;
use self::answer::{After, Answer};
use self::authentication::{Authentication, Denied};
use self::credential::Channel;
use self::push::Pushes;
use self::relay::Client;
use self::request::{Connect, Head, MAX_HEAD_BYTES, ProxyCredential, Refusal, Request};
use self::rewound::Rewound;
use self::tunnel::Tunnels;
use crate::canary::{Canary, Path};
use crate::receivers::proxy_protocol;
use crate::receivers::stream::{Accepted, refuse_header};

/// First byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Bytes that the first read takes: room for most heads.
const FIRST_BYTES: usize = 1024;

/// Time for the first bytes, a TLS handshake or a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a push's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a peer to take an answer, which is short: one that reads nothing would otherwise keep its place, and hold the stop.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// After a refusal, what is still on its way is read for so long, so that the refusal is not lost in a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Connections above the limit that are still told why they are refused.
pub(crate) const REFUSABLE: usize = 64;

/// Makes the TLS acceptor of the listener; it asks for no client certificate: a push proves itself by its key.
///
/// # Errors
/// What is wrong with the certificates or the key.
pub(crate) fn acceptor(listener: &Certified) -> Result<TlsAcceptor, TlsError> {
    let mut config = postern_uplink::tls::listener_server(listener, ClientAuth::None)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) source: IpAddr,
    /// The balancer that named it.
    pub(crate) relay: Option<IpAddr>,
}

/// What every connection shares.
pub(crate) struct Proxy {
    /// `CONNECT`.
    pub(crate) tunnels: Tunnels,
    /// Who may open tunnels; everyone when `None`.
    pub(crate) authentication: Option<Authentication>,
    /// What becomes of pushes.
    pub(crate) pushes: Pushes,
    /// Who tries the listener when it is silent.
    pub(crate) canary: Canary,
    /// TLS with the gateway's own certificate.
    pub(crate) acceptor: watch::Receiver<TlsAcceptor>,
    /// After how long a connection on which nothing moves is closed.
    pub(crate) idle_timeout: Duration,
    /// A permit for each connection.
    pub(crate) room: Semaphore,
    /// Asks connections to end.
    pub(crate) stop: CancellationToken,
}

impl Proxy {
    /// Serves one connection to its end.
    pub(crate) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { mut stream, source, relay } = accepted;
        let peer = Peer { source, relay };
        let mut first = Vec::with_capacity(FIRST_BYTES);
        let Some(Ok(Ok(1..))) = self.unless_stopped(tokio::time::timeout(HEAD_TIMEOUT, stream.read_buf(&mut first))).await else {
            return;
        };
        let ended = if first.first() == Some(&TLS_HANDSHAKE) {
            let acceptor = self.acceptor.borrow().clone();
            let accepting = acceptor.accept(Rewound::new(first, stream));
            match self.unless_stopped(tokio::time::timeout(HEAD_TIMEOUT, accepting)).await {
                None => return,
                Some(Ok(Ok(stream))) => self.requests(stream, Vec::with_capacity(FIRST_BYTES), (peer, Channel::Tls)).await,
                Some(failed) => {
                    self.pushes.intake.accounts().refused(Protocol::Push, source, DropReason::NotAuthentic);
                    failed.map_or_else(|_| Err(io::ErrorKind::TimedOut.into()), |accepted| accepted.map(|_| ()))
                }
            }
        } else {
            self.requests(stream, first, (peer, Channel::Plain)).await
        };
        if let Err(error) = ended {
            tracing::debug!(listener = "proxy", error = %error, "a connection ended with an error");
        }
    }

    /// Waits for something that may be given up at any point; `None` when the daemon stops first.
    async fn unless_stopped<T>(&self, waited_for: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            outcome = waited_for => Some(outcome),
            () = self.stop.cancelled() => None,
        }
    }

    /// Serves requests, of which `buffer` has the beginning.
    async fn requests<S>(&self, mut stream: S, mut buffer: Vec<u8>, (peer, channel): (Peer, Channel)) -> io::Result<()>
    where
        S: Client,
    {
        let source = peer.source;
        let Ok(_permit) = self.room.try_acquire() else {
            let answer = Answer::text(503, "the gateway has as many connections as it may; try again later", "connection_limit_reached");
            return last_answer(&mut stream, &answer).await;
        };
        loop {
            let head = match self.head(&mut stream, &mut buffer).await? {
                Next::Ended => return Ok(()),
                Next::Head(head) => head,
                Next::Refused(refusal) => return self.refuse(&mut stream, &refusal, (source, &buffer)).await,
            };
            let after = if head.keep_alive && !self.stop.is_cancelled() { After::KeepAlive } else { After::Close };
            buffer.drain(..head.bytes.min(buffer.len()));
            match head.request {
                Request::Connect(connect) if self.canary.recognise_host(&connect.host.to_string()).is_some() => {
                    return send(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
                }
                Request::Connect(connect) => {
                    self.canary.heard(Path::Proxy);
                    return match self.agent(head.proxy_authorization.as_ref(), source).await {
                        Ok(agent) => self.tunnel(stream, &buffer, &connect, agent).await,
                        Err(answer) => {
                            self.tunnels.agents.refused(Agent::Address(source));
                            last_answer(&mut stream, &answer).await
                        }
                    };
                }
                Request::Push(push) => {
                    self.canary.heard(Path::Proxy);
                    if let Some(answer) = self.pushes.refuse_early(&push, channel) {
                        if let Some(reason) = answer.counted {
                            self.pushes.intake.accounts().refused(Protocol::Push, source, reason);
                        }
                        return last_answer(&mut stream, &answer).await;
                    }
                    if push.expects_continue && buffer.len() < push.content_length {
                        send(&mut stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                    }
                    let Some(body) = self.body(&mut stream, &mut buffer, push.content_length, source).await? else { return Ok(()) };
                    let answer = self.pushes.take(&push, &body, peer, channel).await;
                    send(&mut stream, &answer.bytes(after)).await?;
                    if after == After::Close {
                        return close(&mut stream).await;
                    }
                }
            }
        }
    }

    /// Reads until a head is whole; the clock runs from its first byte.
    async fn head<S: AsyncRead + Unpin>(&self, stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Next> {
        if buffer.is_empty() {
            match self.unless_stopped(tokio::time::timeout(self.idle_timeout, stream.read_buf(buffer))).await {
                Some(Ok(Err(error))) => return Err(error),
                Some(Ok(Ok(1..))) => {}
                Some(Ok(Ok(0)) | Err(_)) | None => return Ok(Next::Ended),
            }
        }
        let deadline = tokio::time::Instant::now() + HEAD_TIMEOUT;
        loop {
            match request::parse(buffer) {
                Ok(Some(head)) => return Ok(Next::Head(head)),
                Ok(None) => {}
                Err(refusal) => return Ok(Next::Refused(refusal)),
            }
            let room = MAX_HEAD_BYTES.saturating_sub(buffer.len()).saturating_add(1);
            let mut limited = (&mut *stream).take(room as u64);
            match self.unless_stopped(tokio::time::timeout_at(deadline, limited.read_buf(buffer))).await {
                Some(Ok(Err(error))) => return Err(error),
                Some(Ok(Ok(1..))) => {}
                Some(Ok(Ok(0))) | None => return Ok(Next::Ended),
                Some(Err(_)) => {
                    let reason = format!("the request's head was not complete within {} seconds", HEAD_TIMEOUT.as_secs());
                    return Ok(Next::Refused(Refusal { status: 408, reason, push: false }));
                }
            }
        }
    }

    /// Reads a push's body; `None`, and counted, when the client does not send all of it.
    async fn body<S>(&self, stream: &mut S, buffer: &mut Vec<u8>, length: usize, source: IpAddr) -> io::Result<Option<Vec<u8>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        buffer.reserve(length.saturating_sub(buffer.len()));
        let reading = async {
            while buffer.len() < length {
                let missing = length.saturating_sub(buffer.len());
                if (&mut *stream).take(missing as u64).read_buf(buffer).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
            Ok(())
        };
        let outcome = self.unless_stopped(tokio::time::timeout(BODY_TIMEOUT, reading)).await;
        let refused = |reason| self.pushes.intake.accounts().refused(Protocol::Push, source, reason);
        match outcome {
            Some(Ok(Ok(()))) => {
                let rest = buffer.split_off(length);
                Ok(Some(std::mem::replace(buffer, rest)))
            }
            Some(Ok(Err(error))) => {
                refused(DropReason::ConnectionLost);
                Err(error)
            }
            None => {
                refused(DropReason::Shutdown);
                last_answer(stream, &Answer::problem(503, "the gateway is stopping: send again", None)).await.map(|()| None)
            }
            Some(Err(_)) => {
                refused(DropReason::ConnectionLost);
                let detail = format!("the body was not complete within {} seconds", BODY_TIMEOUT.as_secs());
                last_answer(stream, &Answer::problem(408, &detail, None)).await.map(|()| None)
            }
        }
    }

    /// Answers what cannot be done; `first` is what came.
    async fn refuse<S>(&self, stream: &mut S, refusal: &Refusal, (source, first): (IpAddr, &[u8])) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if refusal.status == 400 && proxy_protocol::begins(first) {
            refuse_header("proxy", Protocol::Push, source, self.pushes.intake.accounts());
            return Ok(());
        }
        // What is too broken to tell what it was counts as a push.
        if refusal.push || matches!(refusal.status, 400 | 408 | 431) {
            let reason = if matches!(refusal.status, 413 | 431) { DropReason::TooLong } else { DropReason::Malformed };
            self.pushes.intake.accounts().refused(Protocol::Push, source, reason);
        }
        if refusal.push {
            return last_answer(stream, &Answer::problem(refusal.status, &refusal.reason, None)).await;
        }
        let error = if refusal.status == 403 { "http_request_denied" } else { "http_request_error" };
        last_answer(stream, &Answer::text(refusal.status, &refusal.reason, error)).await
    }

    /// Finds out who wants a tunnel.
    async fn agent(&self, credential: Option<&ProxyCredential>, source: IpAddr) -> Result<Agent, Answer> {
        let Some(authentication) = &self.authentication else { return Ok(Agent::Address(source)) };
        authentication.admit(credential.map(ProxyCredential::expose), source, Instant::now()).await.map_err(|denied| match denied {
            Denied::Credential => Answer::text(407, "the proxy wants a user name and password it knows", "http_request_denied"),
            Denied::Guessing => Answer::text(429, "too many wrong passwords; wait before the next try", "http_request_denied"),
            Denied::Overloaded => Answer::text(503, "too many passwords wait to be checked; try again later", "connection_limit_reached"),
        })
    }

    /// Opens a tunnel and carries it; `early` is what the client sent behind its request.
    async fn tunnel(&self, mut stream: impl Client, early: &[u8], connect: &Connect, agent: Agent) -> io::Result<()> {
        let server = match self.unless_stopped(self.tunnels.dial(connect)).await {
            None => return Ok(()),
            Some(Ok(server)) => server,
            Some(Err(answer)) => {
                self.tunnels.agents.refused(agent);
                return last_answer(&mut stream, &answer).await;
            }
        };
        send(&mut stream, b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        if let Some(ended) = self.unless_stopped(self.tunnels.carry(stream, server, early, agent)).await {
            tracing::debug!(listener = "proxy", ended = ?ended?, "a tunnel ended");
        }
        Ok(())
    }
}

/// What comes next on a connection.
enum Next {
    Ended,
    Head(Head),
    Refused(Refusal),
}

/// Sends an answer after which the connection ends.
async fn last_answer<S>(stream: &mut S, answer: &Answer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(stream, &answer.bytes(After::Close)).await?;
    close(stream).await
}

/// Sends a few bytes to a peer that has to take them in time.
async fn send<S>(stream: &mut S, bytes: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let sending = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    tokio::time::timeout(ANSWER_TIMEOUT, sending).await?
}

/// Ends a connection without a reset while the peer may still be sending (RFC 9112 §9.6).
async fn close<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::time::timeout(ANSWER_TIMEOUT, stream.shutdown()).await??;
    let discard = async {
        let mut scrap = vec![0_u8; 16 * 1024];
        while stream.read(&mut scrap).await.is_ok_and(|read| read > 0) {}
    };
    // A peer that goes on is cut off.
    let _ = tokio::time::timeout(LINGER, discard).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_no_answer_does_not_keep_its_place() {
        let (mut stream, _reads_nothing) = tokio::io::duplex(16);
        let answer = Answer::text(403, "no", "http_request_denied");
        let outcome = tokio::time::timeout(Duration::from_secs(300), last_answer(&mut stream, &answer)).await;
        assert!(outcome.expect("it is given up").is_err());
    }
}
