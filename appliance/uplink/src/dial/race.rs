//! Several addresses at once, a little apart, and the first connection wins (Happy Eyeballs, RFC 8305).
//!
//! Names are resolved by the system, which asks for IPv4 and IPv6 together, so there is one answer to wait for (§3 would have
//! two). Attempts that lose are dropped, which closes their sockets. Called by [`super::dial`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::error::{DialError, Tried};
use super::{Dialled, STEP_TIMEOUT, keep_alive};
use crate::url::{HostPort, UrlError};

/// Head start of an address of a name over its next one (RFC 8305 §5, the recommended value).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Head start of a name over the next one: they are told in the order in which they are wanted, so a lost packet alone does not
/// change the place.
const NEXT_NAME: Duration = Duration::from_secs(3);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to the first of `names` that answers.
///
/// # Errors
/// That of the name with which the attempt got farthest.
pub(super) async fn first(names: &[HostPort], segment_bytes: Option<u32>) -> Result<Dialled, DialError> {
    let attempts = names.iter().map(|name| by_name(name.clone(), segment_bytes)).collect();
    let failed = match staggered(attempts, NEXT_NAME).await {
        Ok(dialled) => return Ok(dialled),
        Err(failed) => failed,
    };
    let farthest = failed.into_iter().reduce(|best, next| if next.stage() > best.stage() { next } else { best });
    Err(farthest.unwrap_or(DialError::Unaddressed(UrlError::Host(String::new()))))
}

async fn by_name(name: HostPort, segment_bytes: Option<u32>) -> Result<Dialled, DialError> {
    let unresolved = |cause| DialError::Resolve { host: name.host().to_owned(), cause };
    let looking = tokio::time::timeout(STEP_TIMEOUT, tokio::net::lookup_host((name.host(), name.port()))).await;
    let found: Vec<_> = looking.map_err(|_| unresolved(io::ErrorKind::TimedOut.into()))?.map_err(unresolved)?.collect();
    if found.is_empty() {
        return Err(unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
    }
    let attempts = interleaved(found).into_iter().map(|address| connect(address, segment_bytes)).collect();
    match staggered(attempts, NEXT_ADDRESS).await {
        Ok((stream, peer)) => Ok(Dialled { stream, address: name, peer }),
        Err(tried) => {
            let telling = tried.iter().map(|tried| &tried.cause).reduce(|best, next| if tells(next) > tells(best) { next } else { best });
            let cause = telling.map_or_else(|| io::ErrorKind::NotFound.into(), copied);
            Err(DialError::Connect { to: name.to_string(), cause, tried })
        }
    }
}

async fn connect(address: SocketAddr, segment_bytes: Option<u32>) -> Result<(TcpStream, SocketAddr), Tried> {
    let connecting = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(bytes) = segment_bytes {
            SockRef::from(&socket).set_tcp_mss(bytes)?;
        }
        socket.connect(address).await
    };
    let connected = tokio::time::timeout(STEP_TIMEOUT, connecting).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|cause| Tried { address, cause })?;
    keep_alive(&stream);
    Ok((stream, address))
}

/// Orders addresses so that the families take turns, beginning with that of the first (RFC 8305 §4).
fn interleaved(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = found.first().map(SocketAddr::is_ipv4) else { return found };
    let (mut preferred, mut other): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for address in found {
        let family = if address.is_ipv4() == first { &mut preferred } else { &mut other };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            ordered.truncate(MAX_ADDRESSES);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// Ranks causes by how much they say: somebody who refuses is there; without a route nothing was even sent.
fn tells(cause: &io::Error) -> u8 {
    match cause.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => 0,
        io::ErrorKind::HostUnreachable => 1,
        io::ErrorKind::TimedOut => 2,
        _ => 3,
    }
}

fn copied(cause: &io::Error) -> io::Error {
    cause.raw_os_error().map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error)
}

/// Runs attempts side by side, each begun when the one before has failed or has had its head start, until one succeeds.
async fn staggered<T, E, F>(attempts: Vec<F>, head_start: Duration) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter();
    let (mut running, mut failed) = (FuturesUnordered::new(), Vec::new());
    loop {
        running.extend(waiting.next());
        // Both waits are cancel-safe: what runs stays in the set.
        tokio::select! {
            biased;
            done = running.next() => match done {
                Some(Ok(won)) => return Ok(won),
                Some(Err(error)) => failed.push(error),
                None => return Err(failed),
            },
            () = tokio::time::sleep(head_start), if waiting.len() > 0 => {}
        }
    }
}
