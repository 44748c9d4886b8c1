//! The site's time server: answers NTP requests with this machine's time (RFC 5905 §7.3), as far as a client of one server needs it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A running time server.
pub(crate) struct Clock {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut request = [0; 48];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((48, from)) = socket.recv_from(&mut request) else { continue };
                // Whoever asked may be gone by now.
                drop(socket.send_to(&answer(&request, SystemTime::now().duration_since(UNIX_EPOCH).unwrap()), from));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(request: &[u8; 48], now: Duration) -> [u8; 48] {
    let seconds = u32::try_from((now.as_secs() + NTP_TO_UNIX) & 0xffff_ffff).unwrap();
    let fraction = u32::try_from((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000).unwrap();
    let stamp = [seconds.to_be_bytes(), fraction.to_be_bytes()].concat();
    let mut reply = [0; 48];
    // No leap second announced, the client's version, mode 4 (server); stratum 2; poll 6; precision 2^-20 s.
    reply[..4].copy_from_slice(&[(request[0] & 0x38) | 4, 2, 6, 0xec]);
    reply[12..16].copy_from_slice(&[127, 127, 1, 1]);
    reply[16..24].copy_from_slice(&stamp);
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&stamp);
    reply[40..48].copy_from_slice(&stamp);
    reply
}
