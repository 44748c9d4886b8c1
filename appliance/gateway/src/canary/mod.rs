//! The path canary: a message of our own through each real listener that has been silent for a minute, and where it got stuck.
//!
//! A message is recognised by the mark that ends it: 128 random bits of this start, which never leave the machine. A connection is
//! recognised by both its ends. So a canary passes an allow-list that leaves this machine out, and nothing else does. It is counted
//! in no ledger and touches no rule.
//!
//! Receivers and the pipeline say how far a message got; `probe` sends and judges.

mod message;
pub(crate) mod probe;
pub(crate) mod specimen;
pub(crate) mod tls;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Characters of the mark and of the number behind it.
const MARK_CHARS: usize = 32;
const NUMBER_CHARS: usize = 16;

/// A listener that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// `CONNECT` on the proxy.
    Proxy,
    /// Traps.
    SnmpTrap,
    /// Syslog over TCP.
    SyslogTcp,
    /// Syslog over TLS.
    SyslogTls,
    /// Syslog over UDP.
    SyslogUdp,
}

impl Path {
    /// Every path.
    pub(crate) const ALL: [Self; 5] = [Self::Proxy, Self::SnmpTrap, Self::SyslogTcp, Self::SyslogTls, Self::SyslogUdp];

    /// Returns its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::SnmpTrap => "snmp_trap",
            Self::SyslogTcp => "syslog_tcp",
            Self::SyslogTls => "syslog_tls",
            Self::SyslogUdp => "syslog_udp",
        }
    }
}

/// How far a message got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It was sent.
    #[default]
    Sent,
    /// The receiver read it from its socket.
    Received,
    /// It was decoded.
    Decoded,
    /// It waits in the queue.
    Queued,
    /// The pipeline had it.
    Handled,
}

/// What the receivers, the pipeline and the prober share.
#[derive(Clone)]
pub(crate) struct Canary(Arc<Shared>);

struct Shared {
    mark: [u8; MARK_CHARS],
    paths: [Track; Path::ALL.len()],
}

/// What is known of one path.
struct Track {
    /// Something real came since the prober looked last.
    heard: AtomicBool,
    /// Number of the present try, and how far it got.
    reached: watch::Sender<(u64, Stage)>,
    /// The connection of the present try.
    connection: watch::Sender<Connection>,
}

/// A try's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Connection {
    /// Not now.
    #[default]
    None,
    /// It is being opened: its own end is not known yet.
    Opening,
    /// Its own end.
    Open(SocketAddr),
}

/// One recognised message.
#[derive(Clone)]
pub(crate) struct Ticket {
    canary: Canary,
    path: Path,
    number: u64,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("path", &self.path).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Canary {
    /// Makes the canary of one start.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(crate) fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut random = [0; MARK_CHARS / 2];
        aws_lc_rs::rand::fill(&mut random)?;
        let mut mark = [0; MARK_CHARS];
        data_encoding::HEXLOWER.encode_mut(&random, &mut mark);
        let track = |_| Track { heard: AtomicBool::new(false), reached: watch::Sender::default(), connection: watch::Sender::default() };
        Ok(Self(Arc::new(Shared { mark, paths: Path::ALL.map(track) })))
    }

    /// Says that something real came on `path`.
    pub(crate) fn heard(&self, path: Path) {
        // Looked at first: a line that is only read is not fetched from one processor to the other.
        let heard = &self.track(path).heard;
        if !heard.load(Ordering::Relaxed) {
            heard.store(true, Ordering::Relaxed);
        }
    }

    /// Recognises the host that a `CONNECT` of ours names.
    pub(crate) fn recognise_host(&self, host: &str) -> Option<Ticket> {
        self.recognise(Path::Proxy, message::of_host(host)?.as_bytes())
    }

    /// Recognises a datagram or line of ours; `length` is what such a message on `path` has, so that others cost one comparison.
    pub(crate) fn recognise(&self, path: Path, bytes: &[u8]) -> Option<Ticket> {
        if bytes.len() != message::length(path) {
            return None;
        }
        let (rest, number) = bytes.split_last_chunk::<NUMBER_CHARS>()?;
        let (_, mark) = rest.split_last_chunk::<MARK_CHARS>()?;
        if *mark != self.0.mark {
            return None;
        }
        let number = u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
        let ticket = Ticket { canary: self.clone(), path, number };
        ticket.reached(Stage::Received);
        Some(ticket)
    }

    /// Tells whether the prober has a connection on this path, or opens one; asked for every connection, so it costs no system call.
    pub(crate) fn is_trying(&self, path: Path) -> bool {
        *self.track(path).connection.borrow() != Connection::None
    }

    /// Tells whether a connection from `peer` to `local` is the one that the prober opens. Waits only for a connection from our own
    /// address while one is being opened, which takes as long as a system call.
    pub(crate) async fn is_own(&self, path: Path, peer: SocketAddr, local: IpAddr) -> bool {
        if peer.ip().to_canonical() != local.to_canonical() {
            return false;
        }
        let mut connection = self.track(path).connection.subscribe();
        let known = connection.wait_for(|connection| *connection != Connection::Opening).await;
        known.is_ok_and(|connection| match *connection {
            Connection::Open(own) => own.port() == peer.port() && own.ip().to_canonical() == peer.ip().to_canonical(),
            Connection::None | Connection::Opening => false,
        })
    }

    fn track(&self, path: Path) -> &Track {
        let [proxy, snmp_trap, syslog_tcp, syslog_tls, syslog_udp] = &self.0.paths;
        match path {
            Path::Proxy => proxy,
            Path::SnmpTrap => snmp_trap,
            Path::SyslogTcp => syslog_tcp,
            Path::SyslogTls => syslog_tls,
            Path::SyslogUdp => syslog_udp,
        }
    }

    fn text(&self, number: u64) -> String {
        format!("{}{number:016x}", String::from_utf8_lossy(&self.0.mark))
    }
}

impl Ticket {
    /// Says how far the message got. A message of an earlier try says nothing any more.
    pub(crate) fn reached(&self, stage: Stage) {
        self.canary.track(self.path).reached.send_if_modified(|(number, known)| {
            let is_news = *number == self.number && *known < stage;
            if is_news {
                *known = stage;
            }
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_recognised_by_its_mark_and_no_other_is() {
        let (canary, other) = (Canary::new().unwrap(), Canary::new().unwrap());
        for path in [Path::SnmpTrap, Path::SyslogUdp, Path::SyslogTcp] {
            let message = message::of(path, &canary.text(7));
            assert_eq!(message.len(), message::length(path), "{path:?}");
            assert_eq!(canary.recognise(path, &message).map(|ticket| ticket.number), Some(7));
            assert!(other.recognise(path, &message).is_none());
            assert!(canary.recognise(path, message.get(1..).unwrap()).is_none());
        }
    }

    #[test]
    fn stages_only_grow_and_an_old_message_says_nothing() {
        let canary = Canary::new().unwrap();
        let reached = canary.track(Path::SyslogUdp).reached.subscribe();
        canary.track(Path::SyslogUdp).reached.send_replace((2, Stage::Sent));
        let ticket = |number| Ticket { canary: canary.clone(), path: Path::SyslogUdp, number };
        ticket(1).reached(Stage::Handled);
        assert_eq!(*reached.borrow(), (2, Stage::Sent));
        ticket(2).reached(Stage::Queued);
        ticket(2).reached(Stage::Received);
        assert_eq!(*reached.borrow(), (2, Stage::Queued));
    }

    #[tokio::test]
    async fn only_the_connection_that_is_open_is_our_own() {
        let canary = Canary::new().unwrap();
        let own: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        canary.track(Path::Proxy).connection.send_replace(Connection::Open(own));
        assert!(canary.is_own(Path::Proxy, "[::ffff:127.0.0.1]:4000".parse().unwrap(), own.ip()).await);
        assert!(!canary.is_own(Path::Proxy, "127.0.0.1:4001".parse().unwrap(), own.ip()).await);
        assert!(!canary.is_own(Path::Proxy, "192.0.2.1:4000".parse().unwrap(), own.ip()).await);
        assert!(!canary.is_own(Path::SyslogTcp, own, own.ip()).await);
    }
}
