//! The spool's one thread: takes commits from the queue, has the core write them in groups, and says what is durable.
//!
//! It ends when the spool is closed, when every handle is gone, or with the first fault of the disk: after a failed fsync nobody
//! knows what is on the disk, so the only honest thing is to stop and recover. A full disk is no fault: what is queued is kept and
//! tried again every [`RETRY`].

use std::time::{Duration, Instant};

use postern_protocol::id::Epoch;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use super::core::Core;
use super::storage::Storage;
use super::{Commit, CommitNumber, SpoolError};

/// Most commits, and bytes of them, that share one fsync.
const MAX_GROUP_COMMITS: usize = 1024;
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the thread looks out for the next command before it sleeps, if the one before came as soon: about as long as a sync takes.
/// Somebody who waits for each commit before the next one then need not wait for the thread to wake up as well.
const LOOK_OUT: Duration = Duration::from_micros(100);

/// What the thread is asked to do.
pub(crate) enum Command {
    /// Write this last commit, mark the stop as clean, and end.
    Close(Commit, oneshot::Sender<()>),
    /// Write this.
    Commit(Commit),
    /// Go on in this epoch.
    Renew(Epoch, oneshot::Sender<()>),
    /// Remove what nobody needs any more.
    Trim,
}

/// The thread's state.
pub(crate) struct Thread<S: Storage> {
    pub(crate) core: Core<S>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) durable: watch::Sender<CommitNumber>,
    /// Whether the disk is full now.
    pub(crate) full: watch::Sender<bool>,
    pub(crate) opened: Instant,
    pub(crate) pause: Pause,
}

/// How soon the last command came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// After a sleep.
    Long,
    /// While the thread would still have looked out for it.
    Short,
}

impl<S: Storage> Thread<S> {
    /// Runs until it is closed, abandoned or broken.
    pub(crate) fn run(mut self) -> Result<(), SpoolError> {
        let mut held = None;
        // A start on a full disk has not written its first segment yet.
        let begun = self.core.retry(self.opened.elapsed());
        self.settle(begun)?;
        loop {
            let Some(command) = held.take().or_else(|| self.next()) else { return Ok(()) };
            match command {
                Command::Close(commit, done) => {
                    self.commands.close();
                    self.core.close(commit, self.opened.elapsed())?;
                    self.durable.send_replace(self.core.durable());
                    let _gone = done.send(());
                    return Ok(());
                }
                Command::Commit(commit) => {
                    let (group, next) = self.gather(commit);
                    held = next;
                    let written = self.core.write(group, self.opened.elapsed());
                    self.settle(written)?;
                    self.durable.send_replace(self.core.durable());
                }
                Command::Renew(epoch, done) => {
                    let renewed = self.core.renew(epoch, self.opened.elapsed());
                    self.settle(renewed)?;
                    let _gone = done.send(());
                }
                Command::Trim => self.core.trim()?,
            }
        }
    }

    /// Waits for the next command; `None` when every handle is gone.
    fn next(&mut self) -> Option<Command> {
        let from = Instant::now();
        while self.pause == Pause::Short && from.elapsed() < LOOK_OUT {
            match self.commands.try_recv() {
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => return None,
                Ok(command) => return Some(command),
            }
        }
        let command = self.commands.blocking_recv();
        self.pause = if from.elapsed() < LOOK_OUT { Pause::Short } else { Pause::Long };
        command
    }

    /// Waits while the disk is full. Whoever commits waits with it: nothing more becomes durable, and the queue fills up.
    fn settle(&mut self, mut done: Result<(), SpoolError>) -> Result<(), SpoolError> {
        while matches!(done, Err(SpoolError::Full)) {
            if !self.full.send_replace(true) {
                tracing::error!(
                    "the spool's disk is full and nothing is left to give up: free some room; nothing new is accepted until then"
                );
            }
            if self.commands.is_closed() {
                return done;
            }
            std::thread::sleep(RETRY);
            done = self.core.retry(self.opened.elapsed());
        }
        if self.full.send_replace(false) {
            tracing::info!("the spool's disk has room again");
        }
        done
    }

    /// Takes what else waits in the queue into the group, up to a commit that begins a new segment or another command.
    fn gather(&mut self, commit: Commit) -> (Vec<Commit>, Option<Command>) {
        let mut bytes = commit.bytes();
        let mut group = vec![commit];
        while group.len() < MAX_GROUP_COMMITS && bytes < MAX_GROUP_BYTES {
            match self.commands.try_recv() {
                Ok(Command::Commit(commit)) if commit.checkpoint.is_none() => {
                    bytes = bytes.saturating_add(commit.bytes());
                    group.push(commit);
                }
                Ok(Command::Trim) => {}
                Ok(other) => return (group, Some(other)),
                Err(_) => break,
            }
        }
        (group, None)
    }
}
