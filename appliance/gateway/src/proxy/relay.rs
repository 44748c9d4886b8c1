//! Bytes both ways of a tunnel, each direction on its own, until both have ended or nothing moves for too long.
//!
//! An end of one direction is passed on as a shutdown of writing, and the other direction goes on: a client that has sent its
//! request and closed its side still gets the whole answer. Bytes pass through a buffer on the stack, so a tunnel that waits holds
//! none; a direction that proves bulky is left to the kernel ([`super::splice`]) until it is quiet again.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::rewound::Rewound;
use super::splice::{self, Pipes};

/// Bytes that are moved at once before a direction proves bulky.
const SMALL_BYTES: usize = 16 * 1024;

/// Bytes without a pause of [`QUIET`] after which a direction is bulky.
const BULKY_BYTES: u64 = 256 * 1024;

/// Pause after which a direction is no longer bulky.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// A client's end of a tunnel.
pub(crate) trait Client: AsyncRead + AsyncWrite + Unpin + Send {
    /// Returns the connection itself when the tunnel's bytes cross it as they are, so that the kernel can move them.
    fn plain(&mut self) -> Option<&mut TcpStream>;
}

impl Client for TcpStream {
    fn plain(&mut self) -> Option<&mut TcpStream> {
        Some(self)
    }
}

impl Client for tokio_rustls::server::TlsStream<Rewound> {
    fn plain(&mut self) -> Option<&mut TcpStream> {
        None
    }
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both directions ended.
    Both,
    /// Nothing moved for the idle time.
    Idle,
}

/// What a relay works with.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Ends a tunnel in which nothing moved for so long.
    pub(crate) idle_timeout: Duration,
    /// For bulky directions.
    pub(crate) pipes: &'a Pipes,
    /// Counts the bytes from the client that were written to the server.
    pub(crate) up: &'a AtomicU64,
    /// Counts the bytes from the server that were written to the client.
    pub(crate) down: &'a AtomicU64,
}

/// Relays between `client` and `server` until both directions have ended or none moved a byte for the idle time.
///
/// A read or write that fails ends only its own direction: what is on its way in the other still arrives.
pub(crate) async fn run(mut client: impl Client, mut server: TcpStream, terms: Terms<'_>) -> Ended {
    let activity = Activity { start: Instant::now(), last_ms: AtomicU64::new(0) };
    let one_ended = AtomicBool::new(false);
    let way = |carried| Way { activity: &activity, one_ended: &one_ended, carried, pipes: terms.pipes };
    let (up, down) = (way(terms.up), way(terms.down));
    let both = async {
        let (mut server_read, mut server_write) = server.split();
        if let Some(client) = client.plain() {
            let (mut client_read, mut client_write) = client.split();
            let up = up.carry_plain(&mut client_read, &mut server_write);
            let down = down.carry_plain(&mut server_read, &mut client_write);
            tokio::join!(up, down);
            return;
        }
        let (mut client_read, mut client_write) = tokio::io::split(client);
        tokio::join!(up.carry(&mut client_read, &mut server_write), down.carry(&mut server_read, &mut client_write));
    };
    // Cancel-safe: either the directions have ended, or the streams are dropped anyway.
    tokio::select! {
        () = both => Ended::Both,
        () = activity.quiet_for(terms.idle_timeout) => Ended::Idle,
    }
}

/// When a byte moved last, in either direction.
pub(super) struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    /// Notes that bytes moved now; returns the milliseconds since they did before.
    fn touch(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.last_ms.swap(now, Ordering::Relaxed))
    }

    async fn quiet_for(&self, timeout: Duration) {
        loop {
            let until = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + timeout;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// One direction.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    activity: &'a Activity,
    one_ended: &'a AtomicBool,
    carried: &'a AtomicU64,
    pipes: &'a Pipes,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It carries so much that the kernel had better move it.
    Bulky,
    /// Nobody is there to write to.
    Broken,
    /// Nothing more comes.
    End,
    /// It carries little again.
    Quiet,
    /// The kernel cannot move these bytes.
    Unspliceable,
}

impl Way<'_> {
    /// Carries one direction between connections that the kernel can join.
    async fn carry_plain(&self, from: &mut tokio::net::tcp::ReadHalf<'_>, to: &mut tokio::net::tcp::WriteHalf<'_>) {
        let mut bulky_after = BULKY_BYTES;
        loop {
            let mut reached = self.copy(from, to, bulky_after).await;
            if reached == Reached::Bulky {
                reached = match splice::Pipe::open(self.pipes) {
                    Some(pipe) => splice::carry(&pipe, from.as_ref(), to.as_ref(), self).await,
                    None => Reached::Quiet,
                };
            }
            match reached {
                Reached::Bulky | Reached::Quiet => {}
                Reached::Unspliceable => bulky_after = u64::MAX,
                Reached::Broken => return,
                Reached::End => return self.end(to).await,
            }
        }
    }

    /// Carries one direction of which an end is inside TLS.
    async fn carry(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
        if self.copy(from, to, u64::MAX).await == Reached::End {
            self.end(to).await;
        }
    }

    /// Copies until the end, or until `bulky_after` bytes have come without a pause.
    async fn copy(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), bulky_after: u64) -> Reached {
        let mut rest = Vec::new();
        let mut at_once = 0_u64;
        loop {
            let read = match poll_fn(|context| transfer(context, from, to, &mut rest)).await {
                Ok(0) | Err(Fault::Reading) => return Reached::End,
                Ok(read) => read as u64,
                Err(Fault::Writing) => return Reached::Broken,
            };
            let pause_ms = self.activity.touch();
            if to.write_all(&rest).await.is_err() || to.flush().await.is_err() {
                return Reached::Broken;
            }
            rest = Vec::new();
            self.moved(read);
            at_once = if u128::from(pause_ms) >= QUIET.as_millis() { read } else { at_once.saturating_add(read) };
            if at_once >= bulky_after {
                return Reached::Bulky;
            }
        }
    }

    /// Counts bytes that were written.
    pub(super) fn moved(&self, bytes: u64) {
        self.carried.fetch_add(bytes, Ordering::Relaxed);
        self.activity.touch();
    }

    /// Passes the end on. After the second one both connections are closed, which says the same.
    async fn end(&self, to: &mut (impl AsyncWrite + Unpin)) {
        if !self.one_ended.swap(true, Ordering::Relaxed) {
            // Fails only when the other side is gone already.
            let _ = to.shutdown().await;
        }
    }
}

/// Whose fault ended a direction.
enum Fault {
    Reading,
    Writing,
}

/// Reads what there is and writes as much of it as the other side takes at once; what it does not take is left in `rest`.
fn transfer(
    context: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    rest: &mut Vec<u8>,
) -> Poll<Result<usize, Fault>> {
    let mut room = [const { MaybeUninit::uninit() }; SMALL_BYTES];
    let mut read = ReadBuf::uninit(&mut room);
    ready!(Pin::new(from).poll_read(context, &mut read)).map_err(|_: io::Error| Fault::Reading)?;
    let bytes = read.filled();
    if bytes.is_empty() {
        return Poll::Ready(Ok(0));
    }
    let written = match Pin::new(to).poll_write(context, bytes) {
        Poll::Ready(Ok(written)) => written,
        Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::Writing)),
        Poll::Pending => 0,
    };
    rest.extend_from_slice(bytes.get(written..).unwrap_or_default());
    Poll::Ready(Ok(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// A tunnel: the client's end, the server's end, and what has been carried when it ended.
    async fn tunnel<T>(pipes: &Pipes, talk: impl AsyncFnOnce(TcpStream, TcpStream) -> T) -> (Ended, u64, u64, T) {
        let ((client, proxy_client), (server, proxy_server)) = tokio::join!(pair(), pair());
        let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
        let terms = Terms { idle_timeout: Duration::from_secs(60), pipes, up: &up, down: &down };
        let (ended, said) = tokio::join!(run(proxy_client, proxy_server, terms), talk(client, server));
        (ended, up.into_inner(), down.into_inner(), said)
    }

    #[tokio::test]
    async fn an_answer_arrives_after_the_client_closed_its_side() {
        let (ended, up, down, ()) = tunnel(&Pipes::new(4), async |mut client, mut server| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = Vec::new();
            server.read_to_end(&mut question).await.unwrap();
            assert_eq!(question, b"question");
            let answer = vec![b'a'; 10_000];
            let write = async move {
                server.write_all(&answer).await.unwrap();
                server.shutdown().await.unwrap();
            };
            let mut seen = Vec::new();
            let ((), read) = tokio::join!(write, client.read_to_end(&mut seen));
            read.unwrap();
            assert_eq!(seen, vec![b'a'; 10_000]);
        })
        .await;
        assert_eq!((ended, up, down), (Ended::Both, 8, 10_000));
    }

    /// Bytes whose order can be seen.
    fn bulk(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at % 251) as u8).collect()
    }

    async fn send_and_close(mut stream: tokio::net::tcp::OwnedWriteHalf, bytes: Vec<u8>) {
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    async fn bulk_both_ways(pipes: &Pipes) {
        const BYTES: usize = 8 * 1024 * 1024 + 77;
        let (ended, up, down, (question, answer)) = tunnel(pipes, async |client, server| {
            let ((mut client_read, client_write), (mut server_read, server_write)) = (client.into_split(), server.into_split());
            let (mut question, mut answer) = (Vec::new(), Vec::new());
            let (_, (), read, asked) = tokio::join!(
                server_read.read_to_end(&mut question),
                send_and_close(server_write, bulk(BYTES)),
                client_read.read_to_end(&mut answer),
                send_and_close(client_write, bulk(BYTES / 2)),
            );
            read.unwrap();
            let () = asked;
            (question, answer)
        })
        .await;
        assert!(question == bulk(BYTES / 2) && answer == bulk(BYTES), "as they were sent");
        assert_eq!((ended, up, down), (Ended::Both, (BYTES / 2) as u64, BYTES as u64));
        assert_eq!(pipes.open(), 0, "they are given back");
    }

    #[tokio::test]
    async fn bulk_arrives_whole_through_pipes_and_is_counted_to_the_byte() {
        bulk_both_ways(&Pipes::new(2)).await;
    }

    #[tokio::test]
    async fn bulk_arrives_without_a_free_pipe_too() {
        bulk_both_ways(&Pipes::new(0)).await;
    }

    #[tokio::test]
    async fn a_direction_that_turns_quiet_gives_its_pipe_back() {
        let pipes = Pipes::new(2);
        let waiting = async |mut client: TcpStream, mut server: TcpStream| {
            let sent = bulk(4 * 1024 * 1024);
            let mut seen = vec![0; sent.len()];
            let (write, read) = tokio::join!(server.write_all(&sent), client.read_exact(&mut seen));
            write.unwrap();
            read.unwrap();
            while pipes.open() > 0 {
                tokio::task::yield_now().await;
            }
            server.write_all(b"more").await.unwrap();
            client.read_exact(seen.get_mut(..4).unwrap()).await.unwrap();
            assert_eq!(seen.get(..4), Some(b"more".as_slice()));
        };
        let (ended, _, down, ()) = tunnel(&pipes, waiting).await;
        assert_eq!((ended, down), (Ended::Both, 4 * 1024 * 1024 + 4));
    }

    #[tokio::test]
    async fn an_idle_relay_ends() {
        let ((_client, proxy_client), (_server, proxy_server)) = tokio::join!(pair(), pair());
        tokio::time::pause();
        let (pipes, carried) = (Pipes::new(0), AtomicU64::new(0));
        let terms = Terms { idle_timeout: Duration::from_secs(300), pipes: &pipes, up: &carried, down: &carried };
        assert_eq!(run(proxy_client, proxy_server, terms).await, Ended::Idle);
    }
}
