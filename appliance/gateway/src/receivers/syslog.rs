//! Syslog from datagrams and from streams over TCP and TLS (RFC 5425) to events.
//!
//! A stream has no acknowledgement: what was read and not yet committed when the power fails is lost, and a crash window says so.
//! A full queue makes a stream wait, so that TCP slows its sender down. A stream ends with its peer, or after the token is
//! cancelled with what has already arrived.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use postern_engine::event::{Body, Event, Protocol, SyslogMessage, Transport};
use postern_engine::ledger::DropReason;
use postern_engine::syslog::framing::{Deframer, FramingError};
use postern_engine::syslog::{self, Context, DecodeError};
use postern_protocol::alert::Authenticity;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::tls::{Certified, ClientAuth, TlsError};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::proxy_protocol;
use super::stream::{Accepted, refuse_header};
use super::udp::Datagram;
use crate::accounts::Tally;
use crate::canary::{Canary, Path, Stage, Ticket};
use crate::intake::{Arrival, Closed, Intake};
use crate::ring;
use crate::ring::entry::{Entry, Way};
use crate::site::Site;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Most events that go through the queue at once.
const BATCH_EVENTS: usize = 512;

/// Reads after the daemon was asked to stop: what has arrived is taken, a sender that goes on for ever is not waited for.
const LAST_READS: usize = 64;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the decoder of one datagram socket, which says why a datagram is no event.
pub(crate) fn datagrams(mut view: watch::Receiver<Arc<Site>>) -> impl FnMut(&Datagram<'_>) -> Result<Arrival, DropReason> + Send + 'static {
    let mut site = Arc::clone(&view.borrow_and_update());
    move |datagram| {
        if view.has_changed().unwrap_or(false) {
            site = Arc::clone(&view.borrow_and_update());
        }
        let context = Context { received: datagram.received, zone: site.zone(datagram.source) };
        let message = syslog::decode(datagram.bytes, &context).map_err(reason)?;
        let (source, relay, tls_name) = (datagram.source, None, None);
        let sender = Sender { source, relay, transport: Transport::Udp, authenticity: Authenticity::None, tls_name };
        Ok(sender.arrival(message, datagram.received))
    }
}

/// What every stream works with.
#[derive(Clone)]
pub(crate) struct Streams {
    /// Where events go.
    pub(crate) intake: Intake,
    /// Who tries the listener when it is silent.
    pub(crate) canary: Canary,
    /// Where senders' time zones stand.
    pub(crate) site: watch::Receiver<Arc<Site>>,
    /// After how long a connection on which nothing comes is closed.
    pub(crate) idle_timeout: Duration,
    /// Asks connections to end.
    pub(crate) stop: CancellationToken,
}

/// Reads one TCP connection to its end.
pub(crate) async fn tcp(accepted: Accepted, streams: Streams) {
    let sender = Sender {
        source: accepted.source,
        relay: accepted.relay,
        transport: Transport::Tcp,
        authenticity: Authenticity::None,
        tls_name: None,
    };
    stream(accepted.stream, sender, &streams).await;
}

/// Shakes hands with one TLS client and reads its connection to its end.
pub(crate) async fn tls(accepted: Accepted, acceptor: TlsAcceptor, streams: Streams) {
    let Accepted { stream: connection, source, relay } = accepted;
    let accounts = streams.intake.accounts();
    // Cancel-safe: a handshake that is given up is dropped with its connection.
    let handshake = tokio::select! {
        () = streams.stop.cancelled() => return,
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(connection, &acceptor)) => handshake,
    };
    let stream_tls = match handshake {
        Ok(Ok(Shaken::Tls(stream_tls))) => stream_tls,
        // Nothing was sent, so nothing is lost: whoever looks whether the port is open does this.
        Ok(Ok(Shaken::Silent)) => return,
        Ok(Ok(Shaken::Header)) => return refuse_header("syslog_tls", Protocol::Syslog, source, accounts),
        Ok(Err(error)) => {
            tracing::debug!(listener = "syslog_tls", error = %error, "a TLS handshake failed");
            return accounts.refused(Protocol::Syslog, source, DropReason::NotAuthentic);
        }
        Err(_) => return accounts.refused(Protocol::Syslog, source, DropReason::NotAuthentic),
    };
    let certificate = stream_tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let tls_name = certificate.map(postern_uplink::tls::peer_subject).filter(|name| !name.is_empty());
    let authenticity = if certificate.is_some() { Authenticity::Tls } else { Authenticity::None };
    let sender = Sender { source, relay, transport: Transport::Tls, authenticity, tls_name };
    stream(*stream_tls, sender, &streams).await;
}

/// How a connection that should begin with a handshake began.
enum Shaken {
    /// With a PROXY protocol header that nobody asked for.
    Header,
    /// It ended before its first byte.
    Silent,
    /// With a handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

async fn shake(connection: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Shaken> {
    let mut first = [0_u8; proxy_protocol::V2_SIGNATURE.len() + 1];
    let length = connection.peek(&mut first).await?;
    if length == 0 {
        return Ok(Shaken::Silent);
    }
    if proxy_protocol::begins(first.get(..length).unwrap_or_default()) {
        return Ok(Shaken::Header);
    }
    Ok(Shaken::Tls(Box::new(acceptor.accept(connection).await?)))
}

/// Who sent a line.
pub(crate) struct Sender {
    /// The sender.
    pub(crate) source: IpAddr,
    /// The balancer that named it.
    pub(crate) relay: Option<IpAddr>,
    /// How it came.
    pub(crate) transport: Transport,
    /// How far the sender proved who it is.
    pub(crate) authenticity: Authenticity,
    /// Subject of its certificate.
    pub(crate) tls_name: Option<String>,
}

impl Sender {
    const fn path(&self) -> Path {
        match self.transport {
            Transport::Tcp => Path::SyslogTcp,
            Transport::Tls => Path::SyslogTls,
            Transport::Udp => Path::SyslogUdp,
        }
    }

    const fn way(&self) -> Way {
        match self.transport {
            Transport::Tcp => Way::SyslogTcp,
            Transport::Tls => Way::SyslogTls,
            Transport::Udp => Way::SyslogUdp,
        }
    }

    fn arrival(&self, message: SyslogMessage, received: Timestamp) -> Arrival {
        Arrival::from(self.event(message, received))
    }

    /// Makes the event of a line.
    pub(crate) fn event(&self, message: SyslogMessage, received: Timestamp) -> Event {
        Event {
            received,
            peer: self.source,
            transport: self.transport,
            authenticity: self.authenticity,
            relay: self.relay,
            tls_name: self.tls_name.clone(),
            body: Body::Syslog(message),
        }
    }
}

async fn stream(mut stream: impl AsyncRead + Unpin, sender: Sender, streams: &Streams) {
    let Streams { intake, canary, site, idle_timeout, stop } = streams;
    let mut deframer = Deframer::new(syslog::MAX_LINE_BYTES);
    let mut buffer = vec![0_u8; READ_BYTES];
    let (mut first, mut last_reads) = (true, LAST_READS);
    loop {
        // Cancel-safe: `read` takes nothing unless it returns. Reading comes first, so that what has arrived is taken.
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout(*idle_timeout, fill(&mut stream, &mut buffer)) => read,
            () = stop.cancelled() => break,
        };
        let received = Timestamp::from(SystemTime::now());
        let length = match read {
            Ok(Ok(length @ 1..)) => length,
            Ok(Ok(0) | Err(_)) => break,
            Err(_) => {
                tracing::debug!(source = %sender.source, "a syslog connection was idle for too long");
                break;
            }
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        if std::mem::take(&mut first) && sender.transport == Transport::Tcp && proxy_protocol::begins(bytes) {
            return refuse_header("syslog_tcp", Protocol::Syslog, sender.source, intake.accounts());
        }
        deframer.push(bytes);
        let site = Arc::clone(&site.borrow());
        let context = Context { received, zone: site.zone(sender.source) };
        if submit(&mut deframer, &sender, &context, (intake, canary)).await.is_err() {
            return;
        }
        if stop.is_cancelled() {
            last_reads = last_reads.saturating_sub(1);
            if last_reads == 0 {
                break;
            }
        }
    }
    let site = Arc::clone(&site.borrow());
    let context = Context { received: Timestamp::from(SystemTime::now()), zone: site.zone(sender.source) };
    let mut lines = Lines::new(intake);
    match deframer.finish() {
        Ok(None) => return,
        Ok(Some(line)) => lines.take(&line, &sender, &context),
        Err(error) => lines.fault(&sender, &error),
    }
    // The daemon is ending if the queue is closed; the line is counted as dropped then.
    let _ = intake.submit(Protocol::Syslog, &lines.tally, lines.arrivals, (lines.bytes, &mut lines.raw)).await;
}

/// Waits for bytes and takes all that have come, as far as they fit: TLS hands out one record, at most 16 KiB, at a time, and a
/// batch costs as much for few lines as for many. Returns 0 at the end. An error after the first bytes shows at the next call.
async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut room = ReadBuf::new(buffer);
        loop {
            let before = room.filled().len();
            match Pin::new(&mut *stream).poll_read(context, &mut room) {
                Poll::Ready(Ok(())) if room.filled().len() > before && room.remaining() > 0 => {}
                Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if before == 0 => return Poll::Pending,
                Poll::Ready(_) | Poll::Pending => return Poll::Ready(Ok(room.filled().len())),
            }
        }
    })
    .await
}

async fn submit(
    deframer: &mut Deframer,
    sender: &Sender,
    context: &Context<'_>,
    (intake, canary): (&Intake, &Canary),
) -> Result<(), Closed> {
    let path = sender.path();
    loop {
        let mut lines = Lines::new(intake);
        let mut more = true;
        while more && lines.arrivals.len() < BATCH_EVENTS {
            match deframer.next() {
                Ok(Some(line)) => match canary.recognise(path, &line) {
                    Some(ticket) => probe(&ticket, &line, context, intake),
                    None => lines.take(&line, sender, context),
                },
                Ok(None) => more = false,
                Err(error) => lines.fault(sender, &error),
            }
        }
        if !lines.arrivals.is_empty() {
            canary.heard(path);
        }
        intake.submit(Protocol::Syslog, &lines.tally, lines.arrivals, (lines.bytes, &mut lines.raw)).await?;
        if !more {
            return Ok(());
        }
    }
}

/// Takes a line of our own, which is counted nowhere.
fn probe(ticket: &Ticket, line: &[u8], context: &Context<'_>, intake: &Intake) {
    if syslog::decode(line, context).is_ok() {
        ticket.reached(Stage::Decoded);
        intake.probe(ticket.clone());
    }
}

struct Lines {
    tally: Tally,
    arrivals: Vec<Arrival>,
    bytes: usize,
    /// What came, for the ring.
    raw: ring::Batch,
}

impl Lines {
    fn new(intake: &Intake) -> Self {
        Self { tally: Tally::default(), arrivals: Vec::new(), bytes: 0, raw: intake.ring().batch() }
    }

    fn take(&mut self, line: &[u8], sender: &Sender, context: &Context<'_>) {
        self.tally.received(sender.source);
        match syslog::decode(line, context) {
            Ok(message) => {
                self.bytes = self.bytes.saturating_add(line.len());
                let entry = Entry::new(context.received, sender.way(), sender.source, line);
                let (relay, tls_name, is_certified) = (sender.relay, sender.tls_name.as_deref(), sender.authenticity == Authenticity::Tls);
                self.raw.add(&Entry { relay, tls_name, is_certified, ..entry });
                self.arrivals.push(sender.arrival(message, context.received));
            }
            Err(error) => self.tally.dropped(sender.source, reason(error)),
        }
    }

    fn fault(&mut self, sender: &Sender, error: &FramingError) {
        self.tally.received(sender.source);
        let reason = match error {
            FramingError::Count => DropReason::Malformed,
            FramingError::TooLong { .. } => DropReason::TooLong,
            FramingError::Truncated { .. } => DropReason::ConnectionLost,
        };
        self.tally.dropped(sender.source, reason);
    }
}

const fn reason(error: DecodeError) -> DropReason {
    match error {
        DecodeError::Empty => DropReason::Malformed,
        DecodeError::TooLong(_) => DropReason::TooLong,
    }
}

/// Makes the TLS acceptor of a listener.
///
/// # Errors
/// What is wrong with the certificates or the key.
pub(crate) fn acceptor(listener: &Certified, clients: ClientAuth<'_>) -> Result<TlsAcceptor, TlsError> {
    let config = postern_uplink::tls::listener_server(listener, clients)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::intake::{self, Batch, Digests};
    use crate::site::Settings;
    use postern_engine::ledger::Ledger;

    async fn texts(bytes: &[u8]) -> (Vec<String>, Accounts) {
        let accounts = Accounts::new(Ledger::new());
        let (intake, mut outlet) = intake::queue(accounts.clone(), Digests::new(&[0; 32]), ring::Tap::default());
        let source = "192.0.2.1".parse().unwrap();
        let sender = Sender { source, relay: None, transport: Transport::Tcp, authenticity: Authenticity::None, tls_name: None };
        let (site, stop) = (watch::channel(Arc::new(Site::default())).1, CancellationToken::new());
        stream(bytes, sender, &Streams { intake, canary: Canary::new().unwrap(), site, idle_timeout: Duration::from_secs(60), stop }).await;
        let mut texts = Vec::new();
        while let Some(batch) = outlet.try_next() {
            let Batch::Events(arrivals) = batch else { continue };
            for arrival in arrivals {
                let Body::Syslog(message) = arrival.event.body else { continue };
                texts.push(message.message);
            }
        }
        (texts, accounts)
    }

    #[test]
    fn a_time_stamp_without_a_zone_is_read_in_that_of_its_source() {
        let document = br#"{"format":1,"rules":[],"sources":[{"networks":["192.0.2.0/24"],"time_zone":"+02:00"}]}"#;
        let settings = Arc::new(Settings::from(&postern_protocol::revision::parse(document).unwrap()));
        let (site, _) = Site::compile(settings, &|_| None, None);
        let (site, view) = watch::channel(Arc::new(site));
        let mut decode = datagrams(view);
        let received = Timestamp::from_secs(1_767_268_800);
        let mut stamped = |source: &str| {
            let peer = std::net::SocketAddr::new(source.parse().unwrap(), 514);
            let datagram =
                Datagram { bytes: b"<11>Jan  1 12:00:00 host app: text", peer, source: peer.ip(), received, local: None, is_canary: false };
            let Body::Syslog(message) = decode(&datagram).unwrap().event.body else { return None };
            message.timestamp.map(Timestamp::as_secs)
        };
        assert_eq!((stamped("192.0.2.1"), stamped("198.51.100.1")), (Some(1_767_261_600), Some(1_767_268_800)));
        site.send_replace(Arc::new(Site::default()));
        assert_eq!(stamped("192.0.2.1"), Some(1_767_268_800), "a new revision holds at once");
    }

    #[tokio::test]
    async fn lines_of_both_framings_become_events() {
        let (texts, accounts) = texts(b"<34>1 - h p - - - one\n24 <34>1 - h p - - - second\n<34>1 - h p - - - last").await;
        assert_eq!(texts, ["one", "second", "last"]);
        assert_eq!(accounts.snapshot().totals.in_flight, 3);
    }

    #[tokio::test]
    async fn faults_of_a_stream_are_counted_by_reason() {
        let mut bytes = vec![b'x'; syslog::MAX_LINE_BYTES * 3];
        bytes.extend_from_slice(b"\n<34>1 - h p - - - after\n100 <34>1 cut");
        let (texts, accounts) = texts(&bytes).await;
        assert_eq!(texts, ["after"]);
        let dropped = accounts.snapshot().totals.dropped;
        assert_eq!((dropped["too_long"], dropped["connection_lost"]), (1, 1));
    }
}
