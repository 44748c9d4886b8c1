//! Bulk between two plain TCP connections without a copy through this process: socket, pipe, socket (splice(2)).
//!
//! A pipe is empty whenever its owner waits for bytes, so that `EAGAIN` while filling it means the socket and never the pipe.
//! [`Pipes`] bounds how many there are; their descriptors are in the budget of [`crate::descriptors`].

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::relay::{QUIET, Reached, Way};

/// Most pipes at once; a direction that gets none is copied.
pub(crate) const MAX_PIPES: usize = 32;

/// Bytes that a pipe is asked to hold, the most that the kernel gives by default: [`MAX_PIPES`] of them are half of what one user may
/// have (`pipe-user-pages-soft`). Fewer, larger batches cost less.
const PIPE_BYTES: usize = 1024 * 1024;

/// Room for pipes.
pub(crate) struct Pipes {
    room: Semaphore,
    #[cfg(test)]
    most: usize,
}

impl Pipes {
    /// Makes room for `most` pipes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            room: Semaphore::new(most),
            #[cfg(test)]
            most,
        }
    }

    /// Returns how many are in use.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.most.saturating_sub(self.room.available_permits())
    }
}

/// One pipe.
pub(super) struct Pipe<'a> {
    read: OwnedFd,
    write: OwnedFd,
    bytes: usize,
    _room: SemaphorePermit<'a>,
}

impl<'a> Pipe<'a> {
    /// Makes a pipe; `None` when there are as many as may be, or the system has none.
    pub(super) fn open(pipes: &'a Pipes) -> Option<Self> {
        let room = pipes.room.try_acquire().ok()?;
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        // A system that gives less gives 64 KiB as a rule, which does as well, only slower.
        let asked = fcntl(&write, FcntlArg::F_SETPIPE_SZ(i32::try_from(PIPE_BYTES).unwrap_or(i32::MAX)));
        let bytes = asked.ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(64 * 1024);
        Some(Self { read, write, bytes, _room: room })
    }
}

/// Moves bytes until the end, a pause, or what the kernel cannot do. Nothing is left in the pipe then, unless nobody is there to take it.
pub(super) async fn carry(pipe: &Pipe<'_>, from: &TcpStream, to: &TcpStream, way: &Way<'_>) -> Reached {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        let filling =
            from.async_io(Interest::READABLE, || splice(from, None, &pipe.write, None, pipe.bytes, flags).map_err(io::Error::from));
        let mut left = match tokio::time::timeout(QUIET, filling).await {
            Ok(Ok(0)) => return Reached::End,
            Ok(Ok(filled)) => filled,
            Ok(Err(error)) if unsupported(&error) => return Reached::Unspliceable,
            Ok(Err(_)) => return Reached::End,
            Err(_) => return Reached::Quiet,
        };
        while left > 0 {
            let emptying = to.async_io(Interest::WRITABLE, || splice(&pipe.read, None, to, None, left, flags).map_err(io::Error::from));
            match emptying.await {
                Ok(0) => return Reached::Broken,
                Ok(moved) => {
                    left = left.saturating_sub(moved);
                    way.moved(moved as u64);
                }
                Err(error) if unsupported(&error) => {
                    return match rescue(pipe, to, left).await {
                        Ok(()) => {
                            way.moved(left as u64);
                            Reached::Unspliceable
                        }
                        Err(_) => Reached::Broken,
                    };
                }
                Err(_) => return Reached::Broken,
            }
        }
    }
}

fn unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EINVAL as i32)
}

/// Writes what is in the pipe the long way.
async fn rescue(pipe: &Pipe<'_>, to: &TcpStream, left: usize) -> io::Result<()> {
    let mut bytes = vec![0_u8; left];
    let length = nix::unistd::read(&pipe.read, &mut bytes)?;
    let mut bytes = bytes.get(..length).unwrap_or_default();
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
