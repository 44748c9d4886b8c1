//! What `postern-gateway replay` reads: captures (pcap, pcapng), files of syslog lines, and JSON lines; told apart by how they begin.

mod capture;
mod json;
mod lines;
mod packet;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use postern_protocol::timestamp::Timestamp;

use crate::ring::entry::Entry;

/// What a capture may begin with: pcapng's section header, and pcap's numbers in both byte orders for micro- and nanoseconds.
const CAPTURES: [[u8; 4]; 5] =
    [[0x0a, 0x0d, 0x0d, 0x0a], [0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0xc3, 0xd4], [0x4d, 0x3c, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d]];

/// What of an input is an event, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// UDP ports to which captured traps went.
    pub trap_ports: Vec<u16>,
    /// UDP ports to which captured syslog went.
    pub syslog_ports: Vec<u16>,
    /// The sender of lines in files that name none.
    pub peer: IpAddr,
}

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A capture is damaged.
    #[error("{} is no whole capture: {what}", path.display())]
    Capture {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A line of JSON does not say an event.
    #[error("{}, line {line}: {what}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// What an input has.
pub(crate) enum Item<'a> {
    /// Something that was received.
    Entry(Entry<'a>),
    /// Something that was received and cannot be put together: a fragment without the others, a packet that was cut.
    Undecodable,
}

/// Says when a line was written, by its own time stamp.
pub(crate) type Stamp<'a> = &'a dyn Fn(&[u8], Timestamp) -> Option<Timestamp>;

/// Reads `path` and hands `visit` all that it has, in its order.
///
/// # Errors
/// [`InputError`]; what came before was handed over.
pub(crate) fn read(path: &Path, reading: &Reading, stamp: Stamp<'_>, visit: &mut dyn FnMut(Item<'_>)) -> Result<(), InputError> {
    let failed = |cause| InputError::Read { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let changed = file.metadata().and_then(|facts| facts.modified()).map_err(failed)?;
    let mut input = BufReader::new(file);
    let start = input.fill_buf().map_err(failed)?;
    let is_capture = start.first_chunk::<4>().is_some_and(|magic| CAPTURES.contains(magic));
    let is_json = start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match (is_capture, is_json) {
        (true, _) => capture::read(path, input, reading, visit),
        (false, true) => json::read(path, input, reading, visit),
        (false, false) => lines::read(input, (reading, Timestamp::from(changed)), stamp, visit).map_err(failed),
    }
}

#[cfg(test)]
mod tests;
