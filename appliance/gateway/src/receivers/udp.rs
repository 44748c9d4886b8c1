//! One thread for one UDP socket: batches by `recvmmsg`, allow-list and rate limit, decoding, and the queue.
//!
//! It never waits for anyone but the socket: what the queue cannot take is dropped and counted. One thread for a socket, so that
//! events keep their order. It ends when its token is cancelled, after it has emptied the socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, getsockopt, recvmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use postern_engine::event::Protocol;
use postern_engine::ledger::DropReason;
use postern_protocol::timestamp::Timestamp;
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::kernel_drops::KernelDrops;
use super::limit::RateLimit;
use super::reply;
use crate::accounts::Tally;
use crate::canary::{Canary, Path, Stage};
use crate::config::Networks;
use crate::intake::{Arrival, Intake};
use crate::ring;
use crate::ring::entry::{Entry, Way};

/// Datagrams of one system call.
const BATCH: usize = 64;

/// Bytes for one datagram: more than UDP over IP can carry.
const DATAGRAM_BYTES: usize = 65_536;

/// How soon the thread sees that it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// Sleep after a short batch on a busy socket: fewer, fuller batches, and as much fewer wake-ups of the pipeline, cost less than half
/// the processor time at 3,000/s. It is most of the latency that this receiver adds: 5 ms at most.
const NAP: Duration = Duration::from_micros(4_800);

/// Batches that come closer together than this make a socket busy; an idle one is answered at once.
const BUSY: Duration = Duration::from_millis(6);

/// Longest time for emptying the socket at the end.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// A UDP receiver.
pub(crate) struct UdpReceiver {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// What it receives.
    pub(crate) protocol: Protocol,
    /// The socket.
    pub(crate) socket: Arc<UdpSocket>,
    /// Who may send.
    pub(crate) allow: Networks,
    /// Datagrams per second and source; 0 for no limit.
    pub(crate) rate_limit_per_source: u32,
    /// Where events go.
    pub(crate) intake: Intake,
    /// Who tries this socket when it is silent, and as what.
    pub(crate) canary: (Canary, Path),
    /// What the kernel dropped, to look at last.
    pub(crate) kernel_drops: KernelDrops,
}

/// One datagram.
pub(crate) struct Datagram<'a> {
    /// Its content.
    pub(crate) bytes: &'a [u8],
    /// The sender as the socket says.
    pub(crate) peer: SocketAddr,
    /// The sender's address, a v4-mapped one normalised.
    pub(crate) source: IpAddr,
    /// When the kernel received it.
    pub(crate) received: Timestamp,
    /// Our address that it was sent to, on a socket of [`reply::ask_destination`].
    pub(crate) local: Option<IpAddr>,
    /// Set when it is our own canary: who may send what does not apply.
    pub(crate) is_canary: bool,
}

/// Sets up a bound socket for [`UdpReceiver::run`]; returns its inode.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn prepare(socket: &UdpSocket, receive_buffer_bytes: usize) -> io::Result<u64> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(STOP_CHECK))?;
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    enlarge(socket, receive_buffer_bytes)?;
    Ok(nix::sys::stat::fstat(socket)?.st_ino)
}

/// Asks for a receive buffer. Beyond `rmem_max` only with `CAP_NET_ADMIN`: without it the kernel cuts the wish to that, and a
/// socket of the service manager may have more than that already. So the wish is tried on another socket first.
fn enlarge(socket: &UdpSocket, receive_buffer_bytes: usize) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &receive_buffer_bytes).is_ok() {
        return Ok(());
    }
    let trial = UdpSocket::from(Socket::new(Domain::IPV4, Type::DGRAM, None)?);
    setsockopt(&trial, sockopt::RcvBuf, &receive_buffer_bytes)?;
    if getsockopt(&trial, sockopt::RcvBuf)? > getsockopt(socket, sockopt::RcvBuf)? {
        setsockopt(socket, sockopt::RcvBuf, &receive_buffer_bytes)?;
    }
    Ok(())
}

impl UdpReceiver {
    /// Receives on a thread of its own until `stop` is cancelled; `decode` makes an event of a datagram or says why not.
    ///
    /// # Errors
    /// What the socket says, when it cannot be read any more.
    pub(crate) async fn run<D>(self, decode: D, stop: CancellationToken) -> io::Result<()>
    where
        D: FnMut(&Datagram<'_>) -> Result<Arrival, DropReason> + Send + 'static,
    {
        let (ended, end) = oneshot::channel();
        let name = self.name;
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // The other side is gone only when the daemon is.
            let _ = ended.send(self.receive(decode, &stop));
        })?;
        end.await.unwrap_or_else(|_| Err(io::Error::other(format!("the thread {name} panicked"))))
    }

    const fn way(&self) -> Way {
        match self.protocol {
            Protocol::SnmpTrap => Way::SnmpTrap,
            Protocol::Push | Protocol::Syslog => Way::SyslogUdp,
        }
    }

    fn receive<D>(self, decode: D, stop: &CancellationToken) -> io::Result<()>
    where
        D: FnMut(&Datagram<'_>) -> Result<Arrival, DropReason>,
    {
        let limit = RateLimit::new(self.rate_limit_per_source);
        let raw = self.intake.ring().batch();
        Reception { receiver: self, decode, limit, start: Instant::now(), raw }.run(stop)
    }
}

/// The thread's state.
struct Reception<D> {
    receiver: UdpReceiver,
    decode: D,
    limit: Option<RateLimit>,
    start: Instant,
    /// What came, for the ring.
    raw: ring::Batch,
}

impl<D> Reception<D>
where
    D: FnMut(&Datagram<'_>) -> Result<Arrival, DropReason>,
{
    fn run(mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut buffers = vec![0_u8; BATCH * DATAGRAM_BYTES];
        let mut headers = headers();
        let mut last_batch = self.start;
        let mut last_count = 0;
        let mut stopping: Option<Instant> = None;
        loop {
            if stopping.is_none() && stop.is_cancelled() {
                stopping = Some(Instant::now());
            }
            let flags = match stopping {
                Some(since) if since.elapsed() > LAST_DRAIN => return self.last_count(),
                Some(_) => MsgFlags::MSG_DONTWAIT,
                None => MsgFlags::MSG_WAITFORONE,
            };
            let mut slots: Vec<[io::IoSliceMut<'_>; 1]> =
                buffers.chunks_exact_mut(DATAGRAM_BYTES).map(|chunk| [io::IoSliceMut::new(chunk)]).collect();
            // About as many as the last time: a batch's list is handed over, and seldom has to grow.
            let mut work = Work { arrivals: Vec::with_capacity(last_count), ..Work::default() };
            match recvmmsg(self.receiver.socket.as_raw_fd(), &mut headers, slots.iter_mut(), flags, None) {
                Ok(messages) => {
                    let now = Timestamp::from(SystemTime::now());
                    for message in messages {
                        self.take(&message, now, &mut work);
                    }
                }
                Err(Errno::EAGAIN) if stopping.is_some() => return self.last_count(),
                // ECONNREFUSED and its like: an earlier Response met a closed port.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => continue,
                Err(error) => return Err(error.into()),
            }
            self.receiver.intake.offer(self.receiver.protocol, &work.tally, work.arrivals, (work.bytes, &mut self.raw));
            if work.counters_lost {
                // nix 0.31 never resets the control buffer's length that the kernel shortened: only new headers see all of it again.
                headers = self::headers();
            }
            let busy = last_batch.elapsed() < BUSY;
            last_batch = Instant::now();
            last_count = work.count;
            if busy && work.count < BATCH && stopping.is_none() {
                std::thread::sleep(NAP);
            }
        }
    }

    /// Takes in what the kernel dropped up to the end: the last commit is to have it.
    fn last_count(&self) -> io::Result<()> {
        self.receiver.intake.accounts().kernel_counters(&self.receiver.kernel_drops.read());
        Ok(())
    }

    fn take(&mut self, message: &RecvMsg<'_, '_, SockaddrStorage>, now: Timestamp, work: &mut Work) {
        work.count = work.count.saturating_add(1);
        let mut received = now;
        let mut local = None;
        match message.cmsgs() {
            Ok(controls) => {
                for control in controls {
                    match control {
                        ControlMessageOwned::RxqOvfl(counter) => {
                            self.receiver.intake.accounts().kernel_counter(self.receiver.name, counter);
                        }
                        ControlMessageOwned::ScmTimestampns(time) => received = timestamp(time),
                        other => local = local.or_else(|| reply::destination(&other)),
                    }
                }
            }
            Err(_) => work.counters_lost = true,
        }
        let Some(peer) = message.address.as_ref().and_then(socket_address) else { return };
        let source = peer.ip().to_canonical();
        let bytes = message.iovs().next().unwrap_or_default();
        let mut datagram = Datagram { bytes, peer, source, received, local, is_canary: false };
        let (canary, path) = &self.receiver.canary;
        if let Some(ticket) = canary.recognise(*path, bytes) {
            datagram.is_canary = true;
            if (self.decode)(&datagram).is_ok() {
                ticket.reached(Stage::Decoded);
                self.receiver.intake.probe(ticket);
            }
            return;
        }
        canary.heard(*path);
        work.tally.received(source);
        let outcome = match self.refusal(source, message.flags) {
            Some(reason) => Err(reason),
            None => (self.decode)(&datagram),
        };
        match outcome {
            Ok(arrival) => {
                work.bytes = work.bytes.saturating_add(bytes.len());
                work.arrivals.push(arrival);
                self.raw.add(&Entry { port: peer.port(), ..Entry::new(received, self.receiver.way(), source, bytes) });
            }
            Err(reason) => work.tally.dropped(source, reason),
        }
    }

    /// Returns why a datagram is not worth decoding.
    fn refusal(&mut self, source: IpAddr, flags: MsgFlags) -> Option<DropReason> {
        let start = self.start;
        if !self.receiver.allow.allow(source) {
            Some(DropReason::SourceDenied)
        } else if self.limit.as_mut().is_some_and(|limit| !limit.admit(source, start.elapsed())) {
            Some(DropReason::RateLimited)
        } else if flags.contains(MsgFlags::MSG_TRUNC) {
            Some(DropReason::TooLong)
        } else {
            None
        }
    }
}

/// What one system call brought.
#[derive(Default)]
struct Work {
    tally: Tally,
    arrivals: Vec<Arrival>,
    bytes: usize,
    count: usize,
    counters_lost: bool,
}

fn headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec, u32, libc::in6_pktinfo)))
}

fn timestamp(time: TimeSpec) -> Timestamp {
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Timestamp::from_secs(time.tv_sec()).saturating_add(Duration::from_nanos(nanos))
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
        (None, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::intake::{self, Batch, Digests, Outlet};
    use postern_engine::event::{Body, Event, SyslogMessage, Transport};
    use postern_engine::ledger::Ledger;
    use postern_protocol::alert::Authenticity;

    const NAME: &str = "test";

    fn receiver(buffer: usize, rate_limit_per_source: u32) -> (UdpReceiver, Outlet, SocketAddr) {
        let accounts = Accounts::new(Ledger::new());
        let (intake, outlet) = intake::queue(accounts.clone(), Digests::new(&[0; 32]), ring::Tap::default());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        accounts.open_socket(NAME, Protocol::Syslog, prepare(&socket, buffer).unwrap(), None);
        let receiver = UdpReceiver {
            name: NAME,
            protocol: Protocol::Syslog,
            socket: Arc::new(socket),
            allow: Networks::default(),
            rate_limit_per_source,
            intake,
            canary: (Canary::new().unwrap(), Path::SyslogUdp),
            kernel_drops: KernelDrops::open(),
        };
        (receiver, outlet, address)
    }

    fn decode(datagram: &Datagram<'_>) -> Result<Arrival, DropReason> {
        if datagram.bytes == b"bad" {
            return Err(DropReason::Malformed);
        }
        let message = SyslogMessage { message: String::from_utf8_lossy(datagram.bytes).into_owned(), ..SyslogMessage::default() };
        let event = Event {
            received: datagram.received,
            peer: datagram.source,
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body: Body::Syslog(message),
        };
        Ok(Arrival::from(event))
    }

    fn drain(outlet: &mut Outlet) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(batch) = outlet.try_next() {
            let Batch::Events(arrivals) = batch else { continue };
            for arrival in arrivals {
                let Body::Syslog(message) = arrival.event.body else { continue };
                texts.push(message.message);
            }
        }
        texts
    }

    #[test]
    fn datagrams_arrive_in_order_and_bad_ones_are_counted() {
        let (receiver, mut outlet, address) = receiver(1 << 20, 0);
        let accounts = receiver.intake.accounts().clone();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for text in ["1", "bad", "2", "3"] {
            sender.send_to(text.as_bytes(), address).unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        receiver.receive(decode, &stop).unwrap();
        assert_eq!(drain(&mut outlet), ["1", "2", "3"]);
        let totals = accounts.snapshot().totals;
        assert_eq!((totals.received, totals.in_flight, totals.dropped["malformed"]), (4, 3, 1));
    }

    #[test]
    fn the_order_of_one_source_is_kept_when_its_port_changes() {
        let (receiver, mut outlet, address) = receiver(1 << 22, 0);
        let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        for text in &expected {
            // A port that the kernel chooses anew for every datagram.
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(text.as_bytes(), address).unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        receiver.receive(decode, &stop).unwrap();
        assert_eq!(drain(&mut outlet), expected);
    }

    #[test]
    fn what_the_kernel_drops_is_seen_while_datagrams_go_on() {
        let (receiver, mut outlet, address) = receiver(4096, 0);
        let accounts = receiver.intake.accounts().clone();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stop = CancellationToken::new();
        let thread = {
            let stop = stop.clone();
            // The socket is full and overflowing before the first read, and again between reads.
            for _ in 0..200 {
                sender.send_to(&[b'x'; 500], address).unwrap();
            }
            std::thread::spawn(move || receiver.receive(decode, &stop))
        };
        let mut sent = 200_u64;
        while !accounts.snapshot().totals.dropped.contains_key("kernel_buffer") {
            sender.send_to(b"y", address).unwrap();
            sent += 1;
        }
        stop.cancel();
        thread.join().unwrap().unwrap();
        accounts.kernel_counters(&KernelDrops::open().read());
        drain(&mut outlet);
        assert!(accounts.snapshot().totals.received <= sent, "nothing is counted twice");
    }

    #[test]
    fn a_source_beyond_its_rate_is_counted() {
        let (receiver, mut outlet, address) = receiver(1 << 20, 2);
        let accounts = receiver.intake.accounts().clone();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            sender.send_to(b"m", address).unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        receiver.receive(decode, &stop).unwrap();
        assert_eq!(drain(&mut outlet).len(), 2);
        assert_eq!(accounts.snapshot().totals.dropped["rate_limited"], 8);
    }
}
