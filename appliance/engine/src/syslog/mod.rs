//! Syslog lines: RFC 5424 and the many shapes of RFC 3164, never without their PRI.
//!
//! [`decode`] takes one line of any transport; [`framing`] cuts lines out of a TCP stream. A line that fits no grammar is still an
//! event: all of it is the message. Text comes out readable: what is not UTF-8, and control characters, become U+FFFD.

mod date;
pub mod framing;
mod rfc3164;
mod rfc5424;
mod scan;
mod vendor;
mod zone;

use self::scan::Scanner;
pub use self::zone::{Context, Zone, ZoneError};
use crate::event::SyslogMessage;

/// Most bytes that one line may have.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// `user`, which a line without PRI has (RFC 3164 §4.3.3).
const DEFAULT_FACILITY: u8 = 1;
/// `notice`, likewise.
const DEFAULT_SEVERITY: u8 = 5;

/// Why bytes are not a syslog line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing is left after trailing line feeds and NULs.
    #[error("the line is empty")]
    Empty,
    /// It has more than [`MAX_LINE_BYTES`].
    #[error("the line has {0} bytes, more than {MAX_LINE_BYTES}")]
    TooLong(usize),
}

/// Decodes one line in either grammar; RFC 5424 is known by its version number, `<PRI>1 `.
///
/// Trailing line feeds, carriage returns and NULs are no part of it. `received` gives RFC 3164 time stamps their year; those
/// without a zone are taken as UTC.
///
/// # Errors
/// [`DecodeError`]; what is in a line is never an error.
pub fn decode(line: &[u8], context: &Context<'_>) -> Result<SyslogMessage, DecodeError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(DecodeError::TooLong(line.len()));
    }
    let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).ok_or(DecodeError::Empty)?;
    let line = line.get(..=end).unwrap_or_default();

    let received = context.received;
    let _ = context.zone.offset(0, received);
    let mut message = SyslogMessage { facility: DEFAULT_FACILITY, severity: DEFAULT_SEVERITY, ..SyslogMessage::default() };
    let mut content = line;
    let mut scanner = Scanner::new(line);
    scanner.skip_bom();
    scanner.skip_spaces();
    if let Some(pri) = pri(&mut scanner) {
        message.facility = pri >> 3;
        message.severity = pri & 7;
        message.pri_present = true;
        content = scanner.rest();
    }
    let known = (message.pri_present && rfc5424::decode(content, &mut message)) || vendor::decode(content, received, &mut message);
    if !known {
        rfc3164::decode(content, received, &mut message);
    }
    Ok(message)
}

/// Reads `<0>` to `<191>` (RFC 5424 §6.2.1). Leading zeros are forbidden there and accepted here: the number is still clear.
fn pri(scanner: &mut Scanner<'_>) -> Option<u8> {
    if !scanner.eat(b'<') {
        return None;
    }
    let number = scanner.digits(1..=3)?;
    let valid = scanner.eat(b'>') && number <= 191;
    if valid { u8::try_from(number).ok() } else { None }
}

/// Makes bytes readable: what is not UTF-8 and control characters, save tab and line ends, become U+FFFD.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let hidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    if text.chars().any(hidden) { text.replace(hidden, "\u{fffd}") } else { text.into_owned() }
}

#[cfg(test)]
mod tests;
