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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::{Way, dial};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_first_of_the_answer() {
        let found = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        let wanted = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "192.0.2.3:1"];
        assert_eq!(interleaved(found), addresses(&wanted));
        assert_eq!(interleaved(addresses(&["192.0.2.1:1"; 100])).len(), 1);
        assert_eq!(interleaved(Vec::new()), []);
        let many: Vec<SocketAddr> = (0..100).map(|n| SocketAddr::from(([192, 0, 2, n], 1))).collect();
        assert_eq!(interleaved(many).len(), MAX_ADDRESSES);
    }

    /// An attempt that takes as long as `after`.
    async fn attempt(after: Duration, outcome: Result<u8, u8>) -> Result<u8, u8> {
        tokio::time::sleep(after).await;
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_attempt_holds_the_next_one_up_for_its_head_start_only() {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let attempts = vec![attempt(hour, Ok(1)), attempt(hour, Ok(2)), attempt(Duration::from_millis(5), Ok(3))];
        assert_eq!(staggered(attempts, NEXT_ADDRESS).await, Ok(3));
        assert_eq!(start.elapsed(), 2 * NEXT_ADDRESS + Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_is_followed_at_once_and_an_earlier_one_may_still_win() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let attempts = vec![attempt(ms(300), Ok(1)), attempt(ms(10), Err(2)), attempt(ms(100), Ok(3))];
        assert_eq!(staggered(attempts, NEXT_ADDRESS).await, Ok(1));
        assert_eq!(start.elapsed(), ms(300));
        let attempts = vec![attempt(ms(1), Err(1)), attempt(ms(1), Err(2))];
        assert_eq!(staggered(attempts, NEXT_ADDRESS).await, Err(vec![1, 2]));
        assert_eq!(start.elapsed(), ms(302));
    }

    #[tokio::test]
    async fn a_name_with_two_families_of_which_one_listens_is_reached() {
        for listening in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(listening).await else { continue };
            let address = listener.local_addr().unwrap();
            let way = Way::to(HostPort::new("localhost", address.port()).unwrap(), None);
            // A host without the one family in its hosts file cannot show it.
            let found: Vec<_> = tokio::net::lookup_host(("localhost", address.port())).await.unwrap().collect();
            if found.contains(&address) {
                assert_eq!(dial(&way).await.unwrap().peer, address);
            }
        }
    }

    #[tokio::test]
    async fn the_next_name_is_tried_when_one_cannot_be_reached_or_resolved() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let names = [closed.to_string(), "name.invalid:443".to_owned(), listener.local_addr().unwrap().to_string()];
        let mut way =
            Way { addresses: names.iter().map(|name| HostPort::parse(name).unwrap()).collect(), proxy: None, segment_bytes: None };
        assert_eq!(dial(&way).await.unwrap().address.to_string(), names[2]);
        drop(listener);
        way.addresses.truncate(2);
        let error = dial(&way).await.unwrap_err();
        let DialError::Connect { to, cause, tried } = error else { panic!("{error:?}") };
        assert_eq!((to.as_str(), cause.kind(), tried.len()), (names[0].as_str(), io::ErrorKind::ConnectionRefused, 1));
        way.addresses.remove(0);
        let error = dial(&way).await.unwrap_err();
        assert!(matches!(&error, DialError::Resolve { host, .. } if host == "name.invalid"), "{error:?}");
    }
}
