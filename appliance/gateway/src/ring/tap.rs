//! Between receivers and writer: a bounded buffer of encoded entries.
//!
//! A lock and not a queue of messages: a receiver appends a batch in less than it takes to wake a thread, and the writer is woken only
//! when there is enough for a block. It holds the lock for no longer than it takes to change one buffer for another.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::block::BLOCK_BYTES;
use super::entry::{Entry, MAX_ENTRY_BYTES};

/// Most bytes of entries that wait; full: further ones are not kept, and counted.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Room that a batch keeps for the next one.
const KEPT_BYTES: usize = 64 * 1024;

/// The receivers' end. The writer ends when the last clone is gone.
#[derive(Clone, Default)]
pub(crate) struct Tap(Option<Arc<Closer>>);

/// Entries of one batch, not in the ring yet: they go there when their events are in the queue.
#[derive(Default)]
pub(crate) struct Batch {
    is_on: bool,
    buffer: Vec<u8>,
    entries: u64,
    missed: u64,
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.wake.notify_one();
    }
}

/// What both ends hold.
#[derive(Default)]
pub(super) struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) buffer: Vec<u8>,
    /// Entries that were not kept since the last look.
    pub(super) missed: u64,
    /// Who wants to know when all of it is written.
    pub(super) flushes: Vec<oneshot::Sender<()>>,
    pub(super) is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked left whole entries: nothing is appended in pieces.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is enough to write, or somebody asks, or `timeout` has passed; takes what there is.
    pub(super) fn take(&self, spare: Vec<u8>, timeout: Duration) -> Waiting {
        let idle = |waiting: &mut Waiting| waiting.buffer.len() < BLOCK_BYTES && waiting.flushes.is_empty() && !waiting.is_closed;
        let waited = self.wake.wait_timeout_while(self.lock(), timeout, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_closed = waiting.is_closed;
        std::mem::replace(&mut *waiting, Waiting { buffer: spare, is_closed, ..Waiting::default() })
    }

    /// Asks the writer to write what waits; the receiver is told when it has, or dropped when it has ended.
    pub(super) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        self.lock().flushes.push(done);
        self.wake.notify_one();
        written
    }
}

/// Makes both ends.
pub(super) fn pair() -> (Tap, Arc<Shared>) {
    let shared = Arc::new(Shared::default());
    (Tap(Some(Arc::new(Closer(Arc::clone(&shared))))), shared)
}

impl Tap {
    /// Makes an empty batch.
    pub(crate) fn batch(&self) -> Batch {
        Batch { is_on: self.0.is_some(), ..Batch::default() }
    }

    /// Takes a batch's entries, and leaves it empty.
    pub(crate) fn put(&self, batch: &mut Batch) {
        let Some(Closer(shared)) = self.0.as_deref() else { return };
        if batch.entries > 0 || batch.missed > 0 {
            let mut waiting = shared.lock();
            let before = waiting.buffer.len();
            if before.saturating_add(batch.buffer.len()) > MAX_WAITING_BYTES {
                batch.missed = batch.missed.saturating_add(batch.entries);
            } else {
                waiting.buffer.extend_from_slice(&batch.buffer);
            }
            waiting.missed = waiting.missed.saturating_add(batch.missed);
            let is_enough = before < BLOCK_BYTES && waiting.buffer.len() >= BLOCK_BYTES;
            drop(waiting);
            if is_enough {
                shared.wake.notify_one();
            }
        }
        batch.clear();
    }
}

impl Batch {
    /// Adds an entry, if there is a ring.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        if !self.is_on {
            return;
        }
        if entry.bytes.len() > MAX_ENTRY_BYTES / 2 {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        entry.encode(&mut self.buffer);
        self.entries = self.entries.saturating_add(1);
    }

    /// Leaves it empty: its events were not taken.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES);
        (self.entries, self.missed) = (0, 0);
    }
}
