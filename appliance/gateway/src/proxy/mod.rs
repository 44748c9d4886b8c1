//! The 3128 listener, plain and TLS (told apart by the first byte): `CONNECT` under policy and `POST /v1/push`.
//!
//! One task for a connection. It ends with its peer, after the idle time, or when the token is cancelled: between requests and
//! in tunnels at once, in a push after its answer.

pub(crate) mod answer;
pub mod credential;
pub(crate) mod policy;
pub(crate) mod push;
pub(crate) mod relay;
pub mod request;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_engine::event::Protocol;
use postern_engine::ledger::DropReason;
use postern_uplink::identity::Identity;
use postern_uplink::proxy_dial;
use postern_uplink::tls::{ClientAuth, TlsError};
use postern_uplink::url::ProxyUrl;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::answer::{After, Answer};
use self::credential::Channel;
use self::policy::Policy;
use self::push::Pushes;
use self::request::{Connect, Head, Host, MAX_HEAD_BYTES, Refusal, Request};
use crate::receivers::stream::Accepted;

/// First byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Time for the first bytes, a TLS handshake or a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a push's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a connection to a destination, name look-up included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Time for a peer to take an answer, which is short: one that reads nothing would otherwise keep its place, and hold the stop.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// After a refusal, what is still on its way is read for so long, so that the refusal is not lost in a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Connections above the limit that are still told why they are refused.
pub(crate) const REFUSABLE: usize = 64;

/// Makes the TLS acceptor of the listener; it asks for no client certificate: a push proves itself by its key.
///
/// # Errors
/// What is wrong with the identity's certificates or key.
pub(crate) fn acceptor(identity: &Identity) -> Result<TlsAcceptor, TlsError> {
    let mut config = postern_uplink::tls::listener_server(identity, ClientAuth::None)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What every connection shares.
pub(crate) struct Proxy {
    /// Destinations of `CONNECT`.
    pub(crate) policy: Policy,
    /// The site's proxy, through which destinations are reached.
    pub(crate) upstream: Option<ProxyUrl>,
    /// What becomes of pushes.
    pub(crate) pushes: Pushes,
    /// TLS with the gateway's own certificate.
    pub(crate) acceptor: TlsAcceptor,
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
        let Accepted { stream, source } = accepted;
        let Some(Ok(Ok(Some(first)))) = self.unless_stopped(tokio::time::timeout(HEAD_TIMEOUT, first_byte(&stream))).await else {
            return;
        };
        let ended = if first == TLS_HANDSHAKE {
            match self.unless_stopped(tokio::time::timeout(HEAD_TIMEOUT, self.acceptor.accept(stream))).await {
                None => return,
                Some(Ok(Ok(stream))) => self.requests(stream, source, Channel::Tls).await,
                Some(failed) => {
                    self.pushes.intake.accounts().refused(Protocol::Push, source, DropReason::NotAuthentic);
                    failed.map_or_else(|_| Err(io::ErrorKind::TimedOut.into()), |accepted| accepted.map(|_| ()))
                }
            }
        } else {
            self.requests(stream, source, Channel::Plain).await
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

    async fn requests<S>(&self, mut stream: S, source: IpAddr, channel: Channel) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut buffer = Vec::with_capacity(1024);
        let Ok(_permit) = self.room.try_acquire() else {
            let answer = Answer::text(503, "the gateway has as many connections as it may; try again later", "connection_limit_reached");
            return last_answer(&mut stream, &answer).await;
        };
        loop {
            let head = match self.head(&mut stream, &mut buffer).await? {
                Next::Ended => return Ok(()),
                Next::Head(head) => head,
                Next::Refused(refusal) => return self.refuse(&mut stream, &refusal, source).await,
            };
            let after = if head.keep_alive && !self.stop.is_cancelled() { After::KeepAlive } else { After::Close };
            buffer.drain(..head.bytes.min(buffer.len()));
            match head.request {
                Request::Connect(connect) => return self.tunnel(stream, &buffer, &connect).await,
                Request::Push(push) => {
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
                    let answer = self.pushes.take(&push, &body, source, channel).await;
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

    async fn refuse<S>(&self, stream: &mut S, refusal: &Refusal, source: IpAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
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

    /// Opens a tunnel and carries it; `early` is what the client sent behind its request.
    async fn tunnel<S>(&self, mut stream: S, early: &[u8], connect: &Connect) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut server = match self.unless_stopped(self.dial(connect)).await {
            None => return Ok(()),
            Some(Ok(server)) => server,
            Some(Err(answer)) => return last_answer(&mut stream, &answer).await,
        };
        send(&mut stream, b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        send(&mut server, early).await?;
        let Some(relayed) = self.unless_stopped(relay::run(stream, server, self.idle_timeout)).await else { return Ok(()) };
        tracing::debug!(listener = "proxy", up = relayed.up, down = relayed.down, ended = ?relayed.ended, "a tunnel ended");
        Ok(())
    }

    async fn dial(&self, connect: &Connect) -> Result<TcpStream, Answer> {
        let denied = |error: policy::PolicyError| Answer::text(403, &error.to_string(), "http_request_denied");
        self.policy.check(connect).map_err(denied)?;
        let host = match &connect.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        let dialling = proxy_dial::dial(&host, connect.port, self.upstream.as_ref());
        let stream = match tokio::time::timeout(DIAL_TIMEOUT, dialling).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(error = %crate::chain(&error), "a destination cannot be reached");
                return Err(Answer::text(502, &format!("{} cannot be reached", connect.host), "destination_unavailable"));
            }
            Err(_) => return Err(Answer::text(504, &format!("{} did not answer in time", connect.host), "connection_timeout")),
        };
        if self.upstream.is_none() {
            let addresses = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
            let (peer, local) = addresses.map_err(|_| Answer::text(502, "the destination closed at once", "connection_terminated"))?;
            Policy::check_address(connect, peer, local.ip()).map_err(denied)?;
        }
        Ok(stream)
    }
}

/// What comes next on a connection.
enum Next {
    Ended,
    Head(Head),
    Refused(Refusal),
}

async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0_u8; 1];
    Ok((stream.peek(&mut first).await? > 0).then_some(first[0]))
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
