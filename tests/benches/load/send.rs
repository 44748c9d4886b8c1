//! Senders: datagrams at a rate or as fast as they go, and streams flat out.

use std::io::{IoSlice, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Datagrams of one system call.
const BATCH: usize = 32;

/// Addresses of 127.0.1.0/24 from which datagrams come, so that there are many devices.
const SOURCES: u8 = 50;

/// Sends datagrams from many loopback addresses to one socket.
pub(crate) struct Sender {
    sockets: Vec<UdpSocket>,
    to: SockaddrIn,
}

impl Sender {
    pub(crate) fn new(to: SocketAddr) -> Self {
        let SocketAddr::V4(to) = to else { panic!("the load goes over IPv4") };
        let bind = |last| UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 1, last), 0)).unwrap();
        Self { sockets: (1..=SOURCES).map(bind).collect(), to: to.into() }
    }

    /// Sends all of `datagrams` at `per_second`; datagram n comes from source n modulo the number of sources. Returns the time taken.
    pub(crate) fn paced(&self, datagrams: &[Vec<u8>], per_second: f64) -> Duration {
        let start = Instant::now();
        let mut sent = 0;
        while sent < datagrams.len() {
            let due = (start.elapsed().as_secs_f64() * per_second) as usize + 1;
            let end = due.min(datagrams.len());
            for chunk in datagrams[sent..end].chunks(BATCH) {
                self.send(chunk, sent / BATCH);
                sent += chunk.len();
            }
            // Slow loads come one by one, as from devices that know nothing of each other; fast ones in whatever batches are due.
            if per_second < 50_000.0 {
                std::thread::sleep(Duration::from_secs_f64(1.0 / per_second));
            }
        }
        start.elapsed()
    }

    fn send(&self, chunk: &[Vec<u8>], number: usize) {
        let socket = &self.sockets[number % self.sockets.len()];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(chunk.len(), None);
        let slices: Vec<[IoSlice<'_>; 1]> = chunk.iter().map(|datagram| [IoSlice::new(datagram)]).collect();
        let addresses = vec![Some(self.to); chunk.len()];
        let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &addresses, [], MsgFlags::empty()).map(Iterator::count);
        assert_eq!(sent, Ok(chunk.len()), "the sender's own socket takes everything");
    }
}

/// How to reach a stream listener.
#[derive(Clone, Copy)]
pub(crate) enum Channel<'a> {
    Plain,
    /// With the certificate authority to trust, a PEM file.
    Tls(&'a Path),
}

/// Writes `text` over and over on `connections` connections until `lines` lines are written; `lines_in_text` are in one copy.
pub(crate) fn stream(to: SocketAddr, channel: Channel<'_>, connections: usize, copies: usize, text: &[u8]) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let tcp = TcpStream::connect(to).unwrap();
                match channel {
                    Channel::Plain => write(tcp.try_clone().unwrap(), copies / connections, text),
                    Channel::Tls(ca) => write(tls(tcp.try_clone().unwrap(), ca), copies / connections, text),
                }
                tcp.shutdown(Shutdown::Write).unwrap();
                // Wait for the other side to have read everything.
                let _end = (&tcp).read(&mut [0; 256]);
            });
        }
    });
    start.elapsed()
}

fn write(mut to: impl Write, copies: usize, text: &[u8]) {
    for _ in 0..copies {
        to.write_all(text).unwrap();
    }
    to.flush().unwrap();
}

fn tls(tcp: TcpStream, ca: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)
}
