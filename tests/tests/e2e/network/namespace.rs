//! Two network namespaces with one bad wire between them.
//!
//! The kernel of a test machine need not have netem, so the wire is ours: a packet device in either namespace, and two threads
//! that carry packets across, or lose, delay, reorder and cut them as the test says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Address of the side where the gateway runs.
pub(crate) const SITE: &str = "10.203.0.1";
/// Address of the side where the control plane runs.
pub(crate) const CLOUD: &str = "10.203.0.2";

/// How bad the wire is, in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// Packets of a hundred that are lost.
    pub(crate) loss_percent: u32,
    /// What every packet waits.
    pub(crate) delay: Duration,
    /// What a packet waits at most besides, at random: packets overtake each other.
    pub(crate) jitter: Duration,
    /// Longer packets vanish without a word; 0 for none.
    pub(crate) swallows_above: usize,
    /// Nothing passes.
    pub(crate) is_cut: bool,
}

/// A network namespace of our own.
pub(crate) struct Namespace(File);

impl Namespace {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(made.join().unwrap())
    }

    /// Runs `work` inside; programs that it starts are and stay inside. This very thread goes in and comes back: the programs are
    /// bound to the life of the thread that starts them.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = File::open("/proc/thread-self/ns/net").unwrap();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        let done = work();
        setns(&before, CloneFlags::CLONE_NEWNET).unwrap();
        done
    }

    fn device(&self, address: &str, mtu: u16) -> SyncDevice {
        self.run(|| {
            let device = DeviceBuilder::new().name("wire0").layer(Layer::L3).build_sync().unwrap();
            ip(&["link", "set", "lo", "up"]);
            ip(&["link", "set", "wire0", "mtu", &mtu.to_string(), "up"]);
            ip(&["address", "add", &format!("{address}/24"), "dev", "wire0"]);
            device
        })
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Both namespaces and the wire. Dropping it ends the wire; the namespaces go with the last program inside.
pub(crate) struct Wire {
    pub(crate) site: Namespace,
    pub(crate) cloud: Namespace,
    quality: Arc<Mutex<Quality>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Makes both sides; packets of at most `mtu` bytes leave them.
    pub(crate) fn new(mtu: u16) -> Self {
        let (site, cloud) = (Namespace::new(), Namespace::new());
        let devices = [Arc::new(site.device(SITE, mtu)), Arc::new(cloud.device(CLOUD, mtu))];
        let (quality, stop) = (Arc::new(Mutex::new(Quality::default())), Arc::new(AtomicBool::new(false)));
        let mut threads = Vec::new();
        for (from, to, seed) in [(0, 1, 0x9e37_79b9_u64), (1, 0, 0x7f4a_7c15)] {
            let (send, queue) = mpsc::channel();
            let (reader, writer) = (Arc::clone(&devices[from]), Arc::clone(&devices[to]));
            let (judged, stopped) = (Arc::clone(&quality), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || take(&reader, &judged, &stopped, (seed, send))));
            threads.push(std::thread::spawn(move || deliver(&writer, &queue)));
        }
        Self { site, cloud, quality, stop, threads }
    }

    /// Changes the wire from now on.
    pub(crate) fn set(&self, quality: Quality) {
        *self.quality.lock().unwrap() = quality;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

type Packet = (Instant, u64, Vec<u8>);

/// Reads packets and decides on each; ends, and so ends its `deliver`, when told to.
fn take(device: &SyncDevice, quality: &Mutex<Quality>, stop: &AtomicBool, (seed, send): (u64, mpsc::Sender<Packet>)) {
    device.set_nonblocking(true).unwrap();
    let mut random = seed;
    let mut buffer = vec![0; 65_536];
    for number in 0_u64.. {
        let length = loop {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            match device.recv(&mut buffer) {
                Ok(length) => break length,
                Err(_) => std::thread::sleep(Duration::from_micros(300)),
            }
        };
        let quality = *quality.lock().unwrap();
        // Xorshift: what is lost is the same in each run with the same packets.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let lost = random % 100 < u64::from(quality.loss_percent);
        let swallowed = quality.swallows_above > 0 && length > quality.swallows_above;
        if quality.is_cut || lost || swallowed {
            continue;
        }
        let jitter = quality.jitter.mul_f64(((random >> 20) % 1000) as f64 / 1000.0);
        if send.send((Instant::now() + quality.delay + jitter, number, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes each packet when its time has come.
fn deliver(device: &SyncDevice, queue: &mpsc::Receiver<Packet>) {
    let mut waiting: BinaryHeap<Reverse<Packet>> = BinaryHeap::new();
    loop {
        while waiting.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
            let Some(Reverse((.., packet))) = waiting.pop() else { break };
            // A device whose queue is full loses packets, as a wire does.
            drop(device.send(&packet));
        }
        let wait = waiting.peek().map_or(Duration::from_secs(1), |Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        match queue.recv_timeout(wait) {
            Ok(packet) => waiting.push(Reverse(packet)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
