//! Bytes both ways between two streams, each direction on its own, until both have ended or nothing moves for too long.
//!
//! An end of one direction is passed on as a shutdown of writing, and the other direction goes on: a client that has sent its
//! request and closed its side still gets the whole answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

const BUFFER_BYTES: usize = 32 * 1024;

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both directions ended.
    Both,
    /// Nothing moved for the idle time.
    Idle,
}

/// What a relay carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    /// How it ended.
    pub(crate) ended: Ended,
    /// Bytes from the first stream to the second.
    pub(crate) up: u64,
    /// Bytes from the second stream to the first.
    pub(crate) down: u64,
}

/// Relays between `client` and `server` until both directions have ended or none moved a byte for `idle_timeout`.
///
/// A read or write that fails ends only its own direction: what is on its way in the other still arrives.
pub(crate) async fn run<C, S>(client: C, server: S, idle_timeout: Duration) -> Relayed
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let activity = Activity { start: Instant::now(), last_ms: AtomicU64::new(0) };
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let both = async {
        tokio::join!(
            copy(&mut client_read, &mut server_write, &activity, &up),
            copy(&mut server_read, &mut client_write, &activity, &down)
        );
    };
    // Cancel-safe: either the directions have ended, or the streams are dropped anyway.
    let ended = tokio::select! {
        () = both => Ended::Both,
        () = activity.quiet_for(idle_timeout) => Ended::Idle,
    };
    Relayed { ended, up: up.into_inner(), down: down.into_inner() }
}

struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn touch(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since, Ordering::Relaxed);
    }

    async fn quiet_for(&self, timeout: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = last + timeout;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

async fn copy<R, W>(from: &mut R, to: &mut W, activity: &Activity, carried: &AtomicU64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        activity.touch();
        if to.write_all(buffer.get(..read).unwrap_or_default()).await.is_err() || to.flush().await.is_err() {
            return;
        }
        activity.touch();
        carried.fetch_add(read as u64, Ordering::Relaxed);
    }
    // Fails only when the other side is gone already.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_arrives_after_the_client_closed_its_side() {
        let (mut client, proxy_client) = tokio::io::duplex(64);
        let (mut server, proxy_server) = tokio::io::duplex(64);
        let relay = run(proxy_client, proxy_server, Duration::from_secs(60));
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = Vec::new();
            server.read_to_end(&mut question).await.unwrap();
            assert_eq!(question, b"question");
            let answer = vec![b'a'; 10_000];
            let write = async {
                server.write_all(&answer).await.unwrap();
                server.shutdown().await.unwrap();
            };
            let mut seen = Vec::new();
            let (_, read) = tokio::join!(write, client.read_to_end(&mut seen));
            read.unwrap();
            assert_eq!(seen, answer);
        };
        let (relayed, ()) = tokio::join!(relay, talk);
        assert_eq!(relayed, Relayed { ended: Ended::Both, up: 8, down: 10_000 });
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_relay_ends() {
        let (_client, proxy_client) = tokio::io::duplex(64);
        let (_server, proxy_server) = tokio::io::duplex(64);
        let relayed = run(proxy_client, proxy_server, Duration::from_secs(300)).await;
        assert_eq!(relayed.ended, Ended::Idle);
    }
}
