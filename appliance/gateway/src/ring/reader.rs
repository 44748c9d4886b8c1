//! The reading end: goes through the entries of a span of time, a file at a time, while the writer goes on.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use postern_protocol::status::RingState;
use postern_protocol::timestamp::Timestamp;
use tokio::sync::watch;

use super::Options;
use super::block::{FILE_HEADER_BYTES, FileKey, HEADER_BYTES, Header, RingKey};
use super::entry::Entry;
use super::files;
use super::tap::Shared;
use super::writer::RingError;

/// Reads the ring. No `Debug`.
#[derive(Clone)]
pub(crate) struct Reader {
    options: Options,
    shared: Arc<Shared>,
    state: watch::Receiver<RingState>,
}

/// What reading came upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Blocks, or whole files, that could not be opened.
    pub(crate) damaged: u64,
}

impl Reader {
    pub(super) const fn new(options: Options, shared: Arc<Shared>, state: watch::Receiver<RingState>) -> Self {
        Self { options, shared, state }
    }

    /// Returns how the ring stands.
    pub(crate) fn state(&self) -> RingState {
        self.state.borrow().clone()
    }

    /// Has what was received up to now written, and waits for that.
    pub(crate) async fn flush(&self) {
        // A writer that has ended has written all.
        let _ended = self.shared.flush().await;
    }

    /// Calls `visit` with every entry received from `from` to `until`, in the order in which they were put, until it breaks.
    ///
    /// Reads files: for a blocking thread. Holds one file's bytes and one block's.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file other than one that was removed meanwhile.
    pub(crate) fn read(
        &self,
        (from, until): (Timestamp, Timestamp),
        mut visit: impl FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Found, RingError> {
        let key = RingKey::new(&self.options.key)?;
        let (mut found, span) = (Found::default(), (from.as_nanos(), until.as_nanos()));
        let mut visit = |entry: &Entry<'_>| {
            if (span.0..=span.1).contains(&entry.received.as_nanos()) { visit(entry) } else { ControlFlow::Continue(()) }
        };
        for (_, path) in files::list(&self.options.dir)? {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(file) = bytes.get(..FILE_HEADER_BYTES).and_then(|header| key.open(header)) else {
                // An empty one is being begun, or a power cut left it.
                found.damaged = found.damaged.saturating_add(u64::from(bytes.len() >= FILE_HEADER_BYTES));
                continue;
            };
            let walk = Walk { file: &file, bytes: &bytes, span, found: &mut found };
            if walk.go(&mut visit).is_break() {
                break;
            }
        }
        Ok(found)
    }
}

/// Goes through one file.
struct Walk<'a> {
    file: &'a FileKey,
    bytes: &'a [u8],
    span: (i64, i64),
    found: &'a mut Found,
}

impl Walk<'_> {
    fn go(self, visit: &mut impl FnMut(&Entry<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut at = FILE_HEADER_BYTES;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                return ControlFlow::Continue(());
            }
            let Some(header) = Header::decode(rest) else {
                match Header::seek(rest) {
                    Some(further) => {
                        self.found.damaged = self.found.damaged.saturating_add(1);
                        at = at.saturating_add(further);
                        continue;
                    }
                    // A header that the end cuts is none that was damaged.
                    None => {
                        self.found.damaged = self.found.damaged.saturating_add(u64::from(rest.len() >= HEADER_BYTES));
                        return ControlFlow::Continue(());
                    }
                }
            };
            let end = HEADER_BYTES.saturating_add(header.sealed_bytes());
            let Some(sealed) = rest.get(HEADER_BYTES..end) else { return ControlFlow::Continue(()) };
            if header.span.0 <= self.span.1 && header.span.1 >= self.span.0 {
                match self.file.open(at as u64, &header, sealed) {
                    Some(plain) => {
                        let mut entries = plain.as_slice();
                        while let Some(entry) = Entry::decode(&mut entries) {
                            visit(&entry)?;
                        }
                    }
                    None => self.found.damaged = self.found.damaged.saturating_add(1),
                }
            }
            at = at.saturating_add(end);
        }
    }
}
