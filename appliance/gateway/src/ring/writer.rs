//! The writing end: a thread that makes blocks of what the receivers left in the buffer, and keeps the ring within its bounds.
//!
//! It ends when the last receiver is gone and the buffer is empty. A disk that refuses is told in reports and tried again with the
//! next block: nothing waits for the ring.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_protocol::status::RingState;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::{oneshot, watch};

use super::block::{BLOCK_BYTES, FILE_HEADER_BYTES, FileKey, Header, Packer, Plain, RingKey, SealError};
use super::entry::Entry;
use super::files::{self, Facts, Files};
use super::tap::{self, Shared, Tap, Waiting};
use super::{Options, Reader};

/// How long entries wait for a block to be full.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// What a block has besides its entries, at most: its header and tag, and what packing adds to what cannot be packed.
const SLACK_BYTES: usize = 8 * 1024;

/// Why a block was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    /// The disk refuses.
    #[error("the ring cannot be written or read")]
    Disk(#[from] io::Error),
    /// Keys, random numbers.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The writer.
pub(crate) struct Writer {
    options: Options,
    shared: Arc<Shared>,
    state: watch::Sender<RingState>,
}

impl Writer {
    /// Makes a ring: the receivers' end, the writer, and the readers' end. Without bytes there is none, and what lies there is removed.
    ///
    /// # Errors
    /// When the directory cannot be made, or what a site no longer wants cannot be removed.
    pub(crate) fn open(options: Options) -> anyhow::Result<(Tap, Option<Self>, Option<Reader>)> {
        crate::create_private_dir(&options.dir)?;
        if options.bounds.bytes == 0 {
            for (_, path) in files::list(&options.dir)? {
                std::fs::remove_file(path)?;
            }
            return Ok((Tap::default(), None, None));
        }
        let (tap, shared) = tap::pair();
        let (state, view) = watch::channel(RingState::default());
        let reader = Reader::new(options.clone(), Arc::clone(&shared), view);
        Ok((tap, Some(Self { options, shared, state }), Some(reader)))
    }

    /// Writes on a thread of its own until every receiver is gone.
    ///
    /// # Errors
    /// When there is no thread, or it panicked; not for what the disk refuses.
    pub(crate) async fn run_on_thread(self) -> io::Result<()> {
        let (ended, end) = oneshot::channel();
        let work = move || {
            self.run();
            // The other side is gone only when the daemon is.
            let _ = ended.send(());
        };
        std::thread::Builder::new().name("ring".to_owned()).spawn(work)?;
        end.await.map_err(|_| io::Error::other("the ring's thread panicked"))
    }

    /// Writes until every receiver is gone.
    pub(crate) fn run(self) {
        let mut disk = match Disk::open(self.options) {
            Ok(disk) => disk,
            Err(error) => {
                let problem = crate::chain(&error);
                tracing::warn!(error = problem, "the ring cannot be opened: what is received is not kept for replays until the next start");
                self.state.send_modify(|state| state.problem = Some(problem));
                // What comes is still counted as missed.
                return drain(&self.shared, &self.state);
            }
        };
        let mut spare = Vec::new();
        loop {
            disk.tell(&self.state);
            let Waiting { mut buffer, missed, flushes, is_closed } = self.shared.take(std::mem::take(&mut spare), FLUSH_EVERY);
            disk.missed = disk.missed.saturating_add(missed);
            disk.write(&buffer, Timestamp::from(SystemTime::now()));
            for done in flushes {
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            if is_closed && buffer.is_empty() {
                return disk.tell(&self.state);
            }
            buffer.clear();
            buffer.shrink_to(2 * BLOCK_BYTES);
            spare = buffer;
        }
    }
}

/// Counts what comes, and drops it.
fn drain(shared: &Shared, state: &watch::Sender<RingState>) {
    loop {
        let Waiting { buffer, missed, flushes: _, is_closed } = shared.take(Vec::new(), FLUSH_EVERY);
        let entries = blocks(&buffer).iter().map(|plain| u64::from(plain.entries)).sum::<u64>();
        state.send_modify(|state| state.missed = state.missed.saturating_add(missed).saturating_add(entries));
        if is_closed && buffer.is_empty() {
            return;
        }
    }
}

/// Cuts entries into pieces of a block each.
fn blocks(mut entries: &[u8]) -> Vec<Plain<'_>> {
    let mut plains = Vec::new();
    while !entries.is_empty() {
        let (mut rest, mut count, mut span) = (entries, 0_u32, None::<(i64, i64)>);
        while entries.len().saturating_sub(rest.len()) < BLOCK_BYTES
            && let Some(entry) = Entry::decode(&mut rest)
        {
            let at = entry.received.as_nanos();
            count = count.saturating_add(1);
            span = Some(span.map_or((at, at), |(from, until)| (from.min(at), until.max(at))));
        }
        let Some((span, bytes)) = span.zip(entries.get(..entries.len().saturating_sub(rest.len()))) else { break };
        plains.push(Plain { bytes, entries: count, span });
        entries = rest;
    }
    plains
}

/// The file that is written to.
struct Current {
    file: File,
    key: FileKey,
    /// Where its end is.
    offset: u64,
}

/// The ring on the disk.
pub(super) struct Disk {
    options: Options,
    key: RingKey,
    packer: Packer,
    files: Files,
    current: Option<Current>,
    /// Number of the file that was begun last.
    begun: u64,
    missed: u64,
    problem: Option<String>,
}

impl Disk {
    /// Looks at what lies there; the next block begins a file of its own.
    ///
    /// # Errors
    /// [`RingError`].
    pub(super) fn open(options: Options) -> Result<Self, RingError> {
        let surveyed = files::list(&options.dir)?.into_iter().map(|(number, path)| files::survey(number, path));
        let files = Files::new(options.bounds, surveyed.collect::<io::Result<_>>()?);
        let begun = files.all.back().map_or(0, |newest| newest.number);
        let (key, packer) = (RingKey::new(&options.key)?, Packer::new()?);
        Ok(Self { options, key, packer, files, current: None, begun, missed: 0, problem: None })
    }

    /// Writes entries, and removes what has to go. What the disk refuses is counted and told.
    pub(super) fn write(&mut self, entries: &[u8], now: Timestamp) {
        let mut outcome = self.make_room(0, now);
        for plain in blocks(entries) {
            let written = outcome.and_then(|()| self.append(&plain, now));
            if written.is_err() {
                self.missed = self.missed.saturating_add(u64::from(plain.entries));
                self.current = None;
            }
            outcome = written;
        }
        match outcome {
            Ok(()) if entries.is_empty() => {}
            Ok(()) => self.problem = None,
            Err(error) => {
                let problem = crate::chain(&error);
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        error = problem,
                        "what is received is not kept for replays: free space for the ring, or set ring.bytes = 0"
                    );
                }
                self.problem = Some(problem);
            }
        }
    }

    fn append(&mut self, plain: &Plain<'_>, now: Timestamp) -> Result<(), RingError> {
        let is_full = self.current.as_ref().is_some_and(|current| current.offset >= self.files.file_bytes());
        if is_full || self.files.is_time_for_another(now) {
            self.current = None;
        }
        // Packed it is shorter, or hardly longer.
        self.make_room((plain.bytes.len().saturating_add(FILE_HEADER_BYTES).saturating_add(SLACK_BYTES)) as u64, now)?;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        let block = self.packer.pack(&current.key, current.offset, plain)?;
        current.file.write_all(&block)?;
        current.offset = current.offset.saturating_add(block.len() as u64);
        if let (Some(newest), Some(header)) = (self.files.all.back_mut(), Header::decode(&block)) {
            newest.add(&header, block.len() as u64);
        }
        self.current = Some(current);
        Ok(())
    }

    fn begin(&mut self) -> Result<Current, RingError> {
        let (key, header) = self.key.fresh()?;
        let number = self.begun.saturating_add(1);
        let path = files::path(&self.options.dir, number);
        let mut file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path)?;
        self.begun = number;
        self.files.all.push_back(Facts { number, path, bytes: header.len() as u64, blocks: 0, span: None });
        file.write_all(&header)?;
        Ok(Current { file, key, offset: header.len() as u64 })
    }

    fn make_room(&mut self, more: u64, now: Timestamp) -> Result<(), RingError> {
        while let Some(gone) = self.files.next_to_go(more, now) {
            if self.files.all.is_empty() {
                self.current = None;
            }
            match std::fs::remove_file(&gone.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.files.all.push_front(gone);
                    return Err(error.into());
                }
                Err(_) | Ok(()) => {}
            }
        }
        Ok(())
    }

    fn tell(&self, state: &watch::Sender<RingState>) {
        let all = &self.files.all;
        let next = RingState {
            bytes: self.files.bytes(),
            blocks: all.iter().map(|facts| facts.blocks).sum(),
            from: all.iter().filter_map(|facts| facts.span).map(|(from, _)| from).min(),
            until: all.iter().filter_map(|facts| facts.span).map(|(_, until)| until).max(),
            missed: self.missed,
            problem: self.problem.clone(),
        };
        state.send_if_modified(|known| {
            *known != next && {
                *known = next;
                true
            }
        });
    }
}
