//! Another address of the control plane: connections to it are passed on as they are.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// It; when it is dropped, the address and all its connections are cut.
pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Listens at `ip` on the port of `upstream`.
    pub(crate) fn start(ip: IpAddr, upstream: SocketAddr) -> Self {
        let address = SocketAddr::new(ip, upstream.port());
        let listener = TcpListener::bind(address).unwrap();
        let (stopped, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ended, passed) = (Arc::clone(&stopped), Arc::clone(&connections));
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = client.and_then(|client| pass_on(client, upstream, &passed)) {
                    eprintln!("{address}: a connection cannot be passed on: {error}");
                }
            }
        });
        Self { address, stopped, connections, acceptor: Some(acceptor) }
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

fn pass_on(client: TcpStream, upstream: SocketAddr, passed: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    passed.lock().unwrap().push(client.try_clone()?);
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        std::thread::spawn(move || {
            // A cut is the end of the other direction, too.
            let _cut = io::copy(&mut from, &mut to);
            let _closed = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _refused = TcpStream::connect(self.address);
        for connection in self.connections.lock().unwrap().iter() {
            let _closed = connection.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}
