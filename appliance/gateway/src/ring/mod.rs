//! The ring: what was received in the last hours, as it was received, sealed on this disk; so that another revision can be tried on it
//! before it is put into force, and so that somebody on site can look behind an alert. It never leaves the site.
//!
//! ```text
//! ring/                            0700
//!   00000000000000000007.ring      0600; numbered in the order in which they were begun
//! file  = "PSTNRNG1" | id 16 | nonce 12 | the file's key, wrapped: 32 + tag 16 | block…
//! block = "RBLK" | plain bytes u32 | sealed bytes u32 | entries u32 | first i64 | last i64 | CRC-32C of these u32
//!         | AES-256-GCM (nonce: the block's offset; covers file id and header) of zstd of entries | tag 16
//! ```
//! Numbers are little-endian, times nanoseconds since the Unix epoch; `entry` has what a block holds.
//!
//! **Keys.** Each file has a random key of its own, wrapped under a key derived from the machine key. A file is only appended to, by the
//! run that made it, so a disk that is set back never has one nonce used twice: the next run begins another file.
//!
//! **Bounds.** By bytes and by hours: the oldest file goes first, and a file spans a sixteenth of either. The receivers put entries
//! into a bounded buffer ([`Tap`]) and never wait; what does not fit is counted. A thread of its own writes, a block when there is
//! enough for one and every 10 s what there is. Not synced: a power cut costs the last blocks, a kill the last 10 s.
//!
//! **Damage.** A block that cannot be opened is skipped and counted, and the next one is found by its header; a file whose key cannot be
//! opened is skipped whole. A block that the end of its file cuts is what a power cut left.

mod block;
pub(crate) mod entry;
mod files;
pub(crate) mod reader;
mod tap;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

pub(crate) use self::reader::Reader;
pub(crate) use self::tap::{Batch, Tap};
pub(crate) use self::writer::Writer;

/// Bounds of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes on the disk; 0 for no ring.
    pub bytes: u64,
    /// For how long what was received is kept at most.
    pub keep: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 256 * 1024 * 1024, keep: Duration::from_secs(24 * 3600) }
    }
}

/// Where the ring lies, how much it keeps, and what its keys are wrapped under. No `Debug`.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) bounds: Bounds,
    pub(crate) key: Zeroizing<[u8; 32]>,
}

#[cfg(test)]
mod tests;
