//! Load for HTTP proxies: short CONNECT tunnels, bulk through one, and a tunnel whose client has said all it will say.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes that a short tunnel carries each way.
const SMALL: usize = 256;

/// Clients at once.
const CLIENTS: usize = 8;

/// Bytes of one write in bulk.
const CHUNK: usize = 256 * 1024;

/// A server behind the proxy. The first byte says what it is to do: echo `e`, send so many bytes `b`, answer after the end `h`.
pub(crate) fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut kind = [0; 1];
    if stream.read_exact(&mut kind).is_err() {
        return;
    }
    match kind {
        [b'e'] => {
            let mut text = [0; SMALL];
            if stream.read_exact(&mut text).is_ok() {
                let _ = stream.write_all(&text);
            }
        }
        [b'b'] => {
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes).unwrap();
            let chunk = vec![7; CHUNK];
            for _ in 0..u64::from_be_bytes(bytes) / CHUNK as u64 {
                if stream.write_all(&chunk).is_err() {
                    return;
                }
            }
        }
        _ => {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            let _ = stream.write_all(format!("{} bytes", rest.len()).as_bytes());
        }
    }
}

fn tunnel(proxy: SocketAddr, origin: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("no answer to CONNECT: {error}; {:?}", String::from_utf8_lossy(&head)));
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Opens `count` tunnels, sends and receives a little in each; returns the time taken.
pub(crate) fn short(proxy: SocketAddr, origin: SocketAddr, count: usize) -> Duration {
    let (start, next) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let mut stream = tunnel(proxy, origin);
                    let mut text = [b'e'; SMALL + 1];
                    stream.write_all(&text).unwrap();
                    stream.read_exact(&mut text[..SMALL]).unwrap();
                }
            });
        }
    });
    start.elapsed()
}

/// Carries `bytes` from the origin through one tunnel; returns the time taken.
pub(crate) fn bulk(proxy: SocketAddr, origin: SocketAddr, bytes: u64) -> Duration {
    let start = Instant::now();
    let mut stream = tunnel(proxy, origin);
    stream.write_all(&[&b"b"[..], &bytes.to_be_bytes()].concat()).unwrap();
    let (mut received, mut buffer) = (0, vec![0; CHUNK]);
    while received < bytes {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the tunnel ended after {received} of {bytes} bytes");
        received += n as u64;
    }
    start.elapsed()
}

/// Sends, says that it is done, and says whether the answer still comes.
pub(crate) fn keeps_half_closed(proxy: SocketAddr, origin: SocketAddr) -> bool {
    let mut stream = tunnel(proxy, origin);
    stream.write_all(b"h0123456789").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    // A reset is an answer that was lost.
    let _ = stream.read_to_string(&mut answer);
    answer == "10 bytes"
}
