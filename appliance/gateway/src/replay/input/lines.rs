//! A file of syslog lines, one each, with or without a PRI. A line counts as received when its own time stamp says, or with the line
//! before it; without any time stamp, when the file was last changed.

use std::io::{self, BufRead};

use postern_protocol::timestamp::Timestamp;

use super::{Item, Reading, Stamp};
use crate::ring::entry::{Entry, Way};

/// Reads lines.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(
    mut input: impl BufRead,
    (reading, changed): (&Reading, Timestamp),
    stamp: Stamp<'_>,
    visit: &mut dyn FnMut(Item<'_>),
) -> io::Result<()> {
    let (mut line, mut last) = (Vec::new(), None);
    while {
        line.clear();
        input.read_until(b'\n', &mut line)? > 0
    } {
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        let received = stamp(text, last.unwrap_or(changed)).or(last).unwrap_or(changed);
        last = Some(received);
        visit(Item::Entry(Entry::new(received, Way::SyslogUdp, reading.peer, text)));
    }
    Ok(())
}
