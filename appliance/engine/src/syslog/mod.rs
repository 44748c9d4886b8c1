//! Syslog lines: RFC 5424 and the many shapes of RFC 3164, never without their PRI.
//!
//! [`decode`] takes one line of any transport; [`framing`] cuts lines out of a TCP stream. A line that fits no grammar is still an
//! event: all of it is the message. Text comes out readable: what is not UTF-8, and control characters, become U+FFFD.

mod calendar;
mod cisco;
mod fields;
pub mod framing;
mod header;
mod label;
mod marker;
mod rfc5424;
mod scan;
mod stamp;
mod tag;
mod text;
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
/// Trailing line feeds, carriage returns and NULs are no part of it. The context gives time stamps the year and the zone that they
/// do not name.
///
/// # Errors
/// [`DecodeError`]; what is in a line is never an error.
pub fn decode(line: &[u8], context: &Context<'_>) -> Result<SyslogMessage, DecodeError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(DecodeError::TooLong(line.len()));
    }
    let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).ok_or(DecodeError::Empty)?;
    let line = line.get(..=end).unwrap_or_default();

    let mut message = SyslogMessage { facility: DEFAULT_FACILITY, severity: DEFAULT_SEVERITY, ..SyslogMessage::default() };
    let whole = Scanner::over(line);
    let mut content = whole;
    let mut scanner = whole;
    scanner.skip_bom();
    scanner.skip_spaces();
    if let Some(pri) = pri(&mut scanner) {
        message.facility = pri >> 3;
        message.severity = pri & 7;
        message.pri_present = true;
        content = scanner;
    }
    let known = (message.pri_present && rfc5424::decode(content, context, &mut message)) || cisco::decode(content, context, &mut message);
    if !known {
        header::decode(content, context, &mut message);
    }
    fields::extract(&mut message, context);
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

#[cfg(test)]
mod tests;
