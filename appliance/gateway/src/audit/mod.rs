//! The local audit log: what was done to this gateway and by it, hash-chained, on the disk before it counts as done.
//!
//! [`Audit::note`] may be called from any task; one thread writes, several entries with one sync. The log is `data_dir/audit`
//! ([`log`] says how it lies there), kept through outages, sent to the control plane and countersigned by it. Never holds a
//! secret, a password, a varbind or a line of syslog.

pub mod action;
mod line;
mod log;
pub mod print;
mod receipt;
#[cfg(test)]
mod tests;
pub(crate) mod upload;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use postern_protocol::message::{AuditEntry, AuditReceipt};
use postern_protocol::status::AuditState;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::{oneshot, watch};

use self::action::{Action, Actor, Entry};
use self::log::{Limits, Log, Trimmed};
use self::receipt::Found;

/// Entries that may wait for the disk; more are counted, and the count is written down.
const QUEUE: usize = 4096;

/// Most entries, and about as many bytes of them, that are sent at once.
const PARCEL: (usize, usize) = (256, 128 * 1024);

/// How soon a write that failed is tried again: the disk may have room then.
const RETRY: Duration = Duration::from_secs(1);

/// Why something is not in the log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The writing thread has ended.
    #[error("the audit log's writer has ended")]
    Ended,
    /// An entry cannot be written as JSON: a fault of the program.
    #[error("an audit entry cannot be encoded")]
    Encode(#[from] serde_json::Error),
    /// A file or directory of the log.
    #[error("{} cannot be used for the audit log", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It is not on the disk yet; it is kept in memory and tried again every second.
    #[error("the audit entry is not on the disk yet: {0}")]
    Late(String),
    /// More entries came than the disk takes.
    #[error("the audit log's queue is full")]
    Full,
}

/// The daemon's hold on the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    wishes: SyncSender<Wish>,
    state: watch::Receiver<AuditState>,
    lost: Arc<AtomicU64>,
}

/// An entry on its way to the disk; may be dropped by whoever does not need to know.
#[derive(Debug)]
pub struct Noted(Result<oneshot::Receiver<Result<(), AuditError>>, AuditError>);

impl Noted {
    /// Waits until the disk has the entry: only then may the action be told done.
    ///
    /// # Errors
    /// [`AuditError::Late`] when the disk takes nothing now: the entry is kept in memory and comes later.
    pub async fn kept(self) -> Result<(), AuditError> {
        self.0?.await.map_err(|_| AuditError::Ended)?
    }
}

enum Wish {
    Note { at: Timestamp, action: Action, done: oneshot::Sender<Result<(), AuditError>> },
    Read { number: u64, done: oneshot::Sender<Result<Vec<AuditEntry>, AuditError>> },
    Countersign { receipt: AuditReceipt, done: oneshot::Sender<Result<(), AuditError>> },
}

impl Audit {
    /// Opens the log in `dir`, checks it, and starts its thread, which ends when the last clone is dropped. Blocks for the disk.
    /// What is wrong with the log is written down in it and in its state.
    ///
    /// # Errors
    /// [`AuditError`] when the log cannot be opened.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        Self::with_limits(dir, Limits::default())
    }

    fn with_limits(dir: &Path, limits: Limits) -> Result<Self, AuditError> {
        let log = Log::open(dir, limits)?;
        let verified = verify::verify(dir, None)?;
        let damage = verified.faults.first().map(ToString::to_string);
        let countersigned = verified.countersigned;
        let (wishes, queue) = sync_channel(QUEUE);
        let (state, view) = watch::channel(AuditState { countersigned, ..AuditState::default() });
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer { dir: dir.to_owned(), log, state, lost: Arc::clone(&lost), waiting: Vec::new(), damage: damage.clone() };
        if let Some(damage) = damage {
            tracing::warn!(damage, "the audit log is damaged; run postern-gateway audit verify");
            writer.wait(now(), Action::AuditDamaged { damage }, None);
            writer.write();
        }
        writer.publish(None);
        let spawned = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&queue));
        spawned.map_err(|cause| AuditError::File { path: dir.to_owned(), cause })?;
        Ok(Self { wishes, state: view, lost })
    }

    /// Writes down what the daemon did, or what the control plane had it do. Never waits; see [`Noted::kept`].
    pub fn note(&self, action: Action) -> Noted {
        let (done, told) = oneshot::channel();
        let at = now();
        let wished = self.wish(Wish::Note { at, action, done });
        if matches!(wished, Err(AuditError::Full)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Noted(wished.map(|()| told))
    }

    /// Reads some entries from `number` on, or from the oldest that is left.
    async fn read(&self, number: u64) -> Result<Vec<AuditEntry>, AuditError> {
        let (done, told) = oneshot::channel();
        self.wish(Wish::Read { number, done })?;
        told.await.map_err(|_| AuditError::Ended)?
    }

    /// Keeps a countersignature, whose signature is verified. One that does not fit the log is damage.
    async fn countersign(&self, receipt: AuditReceipt) -> Result<(), AuditError> {
        let (done, told) = oneshot::channel();
        self.wish(Wish::Countersign { receipt, done })?;
        told.await.map_err(|_| AuditError::Ended)?
    }

    fn wish(&self, wish: Wish) -> Result<(), AuditError> {
        self.wishes.try_send(wish).map_err(|error| match error {
            TrySendError::Disconnected(_) => AuditError::Ended,
            TrySendError::Full(_) => AuditError::Full,
        })
    }

    /// Returns how the log stands.
    pub fn state(&self) -> watch::Receiver<AuditState> {
        self.state.clone()
    }
}

/// Writes one entry from the command line, while the daemon may run. Blocks until the disk has it.
///
/// # Errors
/// [`AuditError`].
pub fn note_locally(dir: &Path, action: Action) -> Result<(), AuditError> {
    let by = Actor::Local(nix::unistd::getuid().as_raw());
    let text = Entry::text(now(), by, action)?;
    Log::open(dir, Limits::default())?.append(&[text])
}

/// What waits for the disk.
struct Waiting {
    text: Vec<u8>,
    done: Option<oneshot::Sender<Result<(), AuditError>>>,
}

struct Writer {
    dir: PathBuf,
    log: Log,
    state: watch::Sender<AuditState>,
    lost: Arc<AtomicU64>,
    waiting: Vec<Waiting>,
    /// What was found wrong with the log since the start.
    damage: Option<String>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Wish>) {
        loop {
            match queue.recv_timeout(RETRY) {
                Ok(wish) => self.take(wish),
                // The command line may have written.
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            while let Ok(wish) = queue.try_recv() {
                self.take(wish);
            }
            self.write();
        }
    }

    fn take(&mut self, wish: Wish) {
        match wish {
            Wish::Note { at, action, done } => self.wait(at, action, Some(done)),
            Wish::Read { number, done } => {
                let _gone = done.send(self.log.read(number, PARCEL.0, PARCEL.1));
            }
            Wish::Countersign { receipt, done } => tell(Some(done), self.countersign(&receipt)),
        }
    }

    fn wait(&mut self, at: Timestamp, action: Action, done: Option<oneshot::Sender<Result<(), AuditError>>>) {
        match Entry::text(at, Actor::Daemon, action) {
            Ok(text) if self.waiting.len() < QUEUE => self.waiting.push(Waiting { text, done }),
            Ok(_) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                tell(done, Err(AuditError::Full));
            }
            Err(error) => tell(done, Err(error.into())),
        }
    }

    fn write(&mut self) {
        let count = self.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.wait(now(), Action::EntriesLost { count }, None);
        }
        if self.waiting.is_empty() {
            return;
        }
        let texts: Vec<Vec<u8>> = self.waiting.iter().map(|waiting| waiting.text.clone()).collect();
        match self.log.append(&texts) {
            // Whoever was told can see it in the state.
            Ok(()) => {
                let written = std::mem::take(&mut self.waiting);
                self.trim();
                self.publish(None);
                written.into_iter().for_each(|waiting| tell(waiting.done, Ok(())));
            }
            Err(error) => {
                let error = crate::chain(&error);
                self.publish(Some(error.clone()));
                for waiting in &mut self.waiting {
                    tell(waiting.done.take(), Err(AuditError::Late(error.clone())));
                }
            }
        }
    }

    fn look(&mut self) {
        let before = self.log.last();
        match self.log.refresh() {
            Ok(()) if self.log.last() == before => {}
            Ok(()) => self.publish(None),
            Err(error) => self.publish(Some(crate::chain(&error))),
        }
    }

    fn countersign(&mut self, receipt: &AuditReceipt) -> Result<(), AuditError> {
        let ours = self.log.read(receipt.number, 1, usize::MAX)?.into_iter().find(|entry| entry.number == receipt.number);
        if ours.is_none_or(|ours| ours.digest != receipt.digest) {
            let damage = verify::Fault::Another { number: receipt.number }.to_string();
            if self.damage.is_none() {
                tracing::warn!(damage, "the audit log is damaged; run postern-gateway audit verify");
                self.damage = Some(damage.clone());
                self.wait(now(), Action::AuditDamaged { damage }, None);
            }
            return Ok(());
        }
        if let Found::Receipt(kept) = receipt::load(&self.dir)?
            && kept.number > receipt.number
            && kept.number <= self.log.last().number
        {
            return Ok(());
        }
        receipt::keep(&self.dir, receipt)?;
        self.state.send_modify(|state| state.countersigned = receipt.number);
        Ok(())
    }

    /// Makes room, and says so.
    fn trim(&mut self) {
        let countersigned = self.state.borrow().countersigned;
        match self.log.trim(countersigned) {
            Ok(None) => {}
            Ok(Some(Trimmed { up_to, countersigned })) => self.wait(now(), Action::AuditTrimmed { up_to, countersigned }, None),
            Err(error) => tracing::warn!(error = %crate::chain(&error), "the audit log's oldest file cannot be removed"),
        }
    }

    /// `late` says why entries are not on the disk.
    fn publish(&self, late: Option<String>) {
        let last = self.log.last();
        self.state.send_modify(|state| {
            (state.number, state.digest) = (last.number, last.hex());
            state.damage = self.damage.clone().or(late);
        });
    }
}

fn tell(done: Option<oneshot::Sender<Result<(), AuditError>>>, outcome: Result<(), AuditError>) {
    // Whoever does not wait has dropped it.
    let _gone = done.map(|done| done.send(outcome));
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
