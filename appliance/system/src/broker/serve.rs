//! The broker's socket: takes connections, a bounded number in all and per user, each in a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::ServeError;
use super::connection;
use super::firewall::resolver;
use super::owner::{Mail, Owner, Peer};
use super::paths::Paths;

/// Open connections in all; more are told to come back.
const MAX_CONNECTIONS: usize = 32;
/// Of one user: nobody can keep the others out.
const MAX_PER_USER: usize = 8;
/// Requests that wait for the owner; the threads wait when it is full.
const INBOX: usize = MAX_CONNECTIONS;

/// Serves until SIGTERM or SIGINT. Takes the socket that the service manager passes, else makes its own.
///
/// # Errors
/// [`ServeError`].
pub fn serve(paths: &Paths) -> Result<(), ServeError> {
    // Before any thread starts, so that all have it.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(|errno| ServeError::Socket(errno.into()))?;
    let stop = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map_err(|errno| ServeError::Socket(errno.into()))?;
    let (names, wanted) = channel();
    let (inbox, mail) = sync_channel(INBOX);
    let owner = Owner::open(paths, names)?;
    let listener = listener(paths).map_err(ServeError::Socket)?;
    // Ends when the owner is gone.
    let (resolved, end) = (inbox.clone(), Ending(inbox.clone()));
    std::thread::spawn(move || {
        let _end = end;
        resolver::run(&wanted, |found| resolved.send(Mail::Resolved(found)).is_ok());
    });
    // Ends with a signal, or when the socket fails.
    let end = Ending(inbox.clone());
    let acceptor = std::thread::spawn(move || {
        let _end = end;
        accept(&listener, &stop, &inbox)
    });
    tracing::info!("serving");
    owner.run(&mail)?;
    drop(mail);
    acceptor.join().map_err(|_| ServeError::Gone)?.map_err(ServeError::Socket)
}

/// Tells the owner to end when the thread that holds it has ended, also by a panic: a broker without all its parts must not linger.
struct Ending(SyncSender<Mail>);

impl Drop for Ending {
    fn drop(&mut self) {
        // The owner may have ended before.
        let _ = self.0.send(Mail::Stop);
    }
}

fn listener(paths: &Paths) -> io::Result<UnixListener> {
    if let Some(passed) = listenfd::ListenFd::from_env().take_unix_listener(0)? {
        return Ok(passed);
    }
    let path = paths.socket();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, stop: &SignalFd, inbox: &SyncSender<Mail>) -> io::Result<()> {
    let mut connections: Vec<(u32, JoinHandle<()>)> = Vec::new();
    loop {
        let mut events = [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        if events.last().is_some_and(|event| event.any().unwrap_or(true)) {
            return Ok(());
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        connections.retain(|(_, thread)| !thread.is_finished());
        let Ok(peer) = peer(&stream) else { continue };
        let started = room(&connections, peer.uid).and_then(|()| {
            let (inbox, ours) = (inbox.clone(), stream.try_clone());
            let ours = ours.map_err(|_| "no descriptor is left; try again")?;
            let thread = std::thread::Builder::new().spawn(move || connection::serve(ours, peer, &inbox));
            thread.map_err(|_| "no thread is left; try again")
        });
        match started {
            Ok(thread) => connections.push((peer.uid, thread)),
            Err(reason) => {
                // Never waits: one who does not read is no reason to keep others waiting.
                if stream.set_nonblocking(true).is_ok() {
                    connection::refuse(stream, reason);
                }
                // A full inbox has other worries than this count.
                let _ = inbox.try_send(Mail::TurnedAway);
            }
        }
    }
}

fn room(connections: &[(u32, JoinHandle<()>)], uid: u32) -> Result<(), &'static str> {
    let mut per_user: BTreeMap<u32, usize> = BTreeMap::new();
    for (uid, _) in connections {
        let count = per_user.entry(*uid).or_default();
        *count = count.saturating_add(1);
    }
    if per_user.get(&uid).is_some_and(|count| *count >= MAX_PER_USER) {
        return Err("too many connections of this user; close some");
    }
    if connections.len() >= MAX_CONNECTIONS {
        return Err("too many connections; try again");
    }
    Ok(())
}

/// Who is at the other end, as the kernel noted when the connection was made.
fn peer(stream: &UnixStream) -> nix::Result<Peer> {
    let credentials = getsockopt(stream, PeerCredentials)?;
    Ok(Peer { uid: credentials.uid(), pid: credentials.pid() })
}
