//! Cisco's lines, behind the PRI: `[seq:] [host:] [time:] %FACILITY-SEVERITY-MNEMONIC: text` from IOS, IOS-XR, NX-OS, ASA and AireOS.
//!
//! Their own prefixes break RFC 3164 in ways that would take a sequence number for the program.

use postern_protocol::timestamp::Timestamp;

use super::scan::Scanner;
use super::{date, readable, rfc3164};
use crate::event::SyslogMessage;

/// How far into a line the percent sign may be.
const MAX_PREFIX_BYTES: usize = 192;
/// How many percent signs are looked at: NX-OS has two before the label's. Each can cost the length of the line.
const MAX_PERCENT_SIGNS: usize = 3;

/// Fills in what follows the PRI and says whether it is a Cisco line; if not, `message` is as it was.
///
/// The program is `%FACILITY-SEVERITY-MNEMONIC`, as any syslog server names it, and the msgid the mnemonic.
pub(super) fn decode(content: &[u8], received: Timestamp, message: &mut SyslogMessage) -> bool {
    let window = content.get(..content.len().min(MAX_PREFIX_BYTES)).unwrap_or_default();
    let labelled = memchr::memchr_iter(b'%', window).take(MAX_PERCENT_SIGNS).find_map(|percent| {
        let (before, from_percent) = content.split_at_checked(percent)?;
        let mut scanner = Scanner::new(from_percent);
        let (label, mnemonic) = label(&mut scanner)?;
        Some((before, label, mnemonic, scanner))
    });
    let Some((before, label, mnemonic, scanner)) = labelled else { return false };
    let Some(prefix) = prefix(before, received) else { return false };
    message.timestamp = prefix.timestamp;
    message.host = prefix.host.map(readable);
    message.pid = prefix.pid.map(readable);
    message.program = Some(readable(label));
    message.msgid = Some(readable(mnemonic));
    message.message = readable(scanner.rest());
    true
}

/// Takes `%FACILITY[-SUBFACILITY]-SEVERITY-MNEMONIC`, the colon and the space; returns the label and its mnemonic.
fn label<'a>(scanner: &mut Scanner<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let label = scanner.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'_' | b'-'));
    scanner.skip_spaces();
    if !scanner.eat(b':') {
        return None;
    }
    scanner.skip_spaces();
    let mut parts = label.strip_prefix(b"%")?.rsplit(|byte| *byte == b'-');
    let mnemonic = parts.next().filter(|mnemonic| !mnemonic.is_empty())?;
    let severity = parts.next()?;
    let facility = parts.next()?;
    (matches!(severity, [b'0'..=b'7']) && !facility.is_empty()).then_some((label, mnemonic))
}

#[derive(Default)]
struct Prefix<'a> {
    timestamp: Option<Timestamp>,
    host: Option<&'a [u8]>,
    pid: Option<&'a [u8]>,
}

/// Reads all that stands before the percent sign; `None` when something there is not Cisco's.
fn prefix(before: &[u8], received: Timestamp) -> Option<Prefix<'_>> {
    let mut prefix = Prefix::default();
    let mut located = false;
    let mut marked = false;
    let mut scanner = Scanner::new(before);
    loop {
        scanner.take_while(|byte| matches!(byte, b' ' | b':'));
        if scanner.is_empty() {
            break;
        }
        // NX-OS names the virtual device: `%$ VDC-1 %$`.
        if scanner.eat_all(b"%$ ") {
            scanner.word();
            if !scanner.eat_all(b" %$") {
                return None;
            }
            continue;
        }
        // `*` and `.`: the device's clock is not set, or not synchronised.
        let mut dated = scanner;
        dated.take_while(|byte| matches!(byte, b'*' | b'.'));
        if let Some(timestamp) = date::month_day(&mut dated, received).or_else(|| date::rfc3339(&mut dated)) {
            // A relay's time stamp comes before the device's own, which is the better one.
            prefix.timestamp = Some(timestamp);
            marked = true;
            scanner = dated;
            zone(&mut scanner);
            continue;
        }
        let word = scanner.word();
        let name = word.strip_suffix(b":");
        if name.is_some_and(is_counter) {
            marked = true;
        } else if name.is_some_and(|name| name.starts_with(b"*")) {
            // AireOS names the task: `*spamApTask4:`.
        } else if let Some(inner) = name.and_then(process).filter(|_| located) {
            prefix.pid = Some(inner);
        } else if let Some(behind) = location(word) {
            let skip = before.len().checked_sub(scanner.rest().len())?.checked_sub(behind.len())?;
            scanner = Scanner::new(before.get(skip..)?);
            located = true;
        } else if prefix.host.is_none() && rfc3164::is_host(name.unwrap_or(word)) {
            prefix.host = Some(name.unwrap_or(word));
        } else {
            return None;
        }
    }
    // `app: %X-3-Y: text` without sequence number or time is a program's line that quotes a device's, and any other word before the
    // label may be text as well.
    (marked || prefix.host.is_none()).then_some(prefix)
}

/// Takes the name of a time zone, which a colon ends. The name says no offset that can be trusted: the time is taken as UTC.
fn zone(scanner: &mut Scanner<'_>) {
    let mut ahead = *scanner;
    ahead.skip_spaces();
    let name = ahead.take_while(|byte| byte.is_ascii_uppercase());
    if (1..=5).contains(&name.len()) && ahead.eat(b':') {
        *scanner = ahead;
    }
}

/// Says whether it is a sequence number (`000025`) or an uptime (`00:00:46`, `3d02h`, `1w2d`).
fn is_counter(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
        && word.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'y' | b'w' | b'd' | b'h'))
}

/// Returns the PID of `ifmgr[209]`, which IOS-XR puts before the label, behind the location. Without one it is a program of its own:
/// Junos writes `mib2d[209]: %DAEMON-4-TAG: text` where `explicit-priority` is set.
fn process(word: &[u8]) -> Option<&[u8]> {
    let (name, pid) = word.strip_suffix(b"]").and_then(|word| word.split_at_checked(word.iter().position(|byte| *byte == b'[')?))?;
    let pid = pid.strip_prefix(b"[")?;
    (!name.is_empty() && !pid.is_empty() && pid.iter().all(u8::is_ascii_digit)).then_some(pid)
}

/// Returns what follows the location in `RP/0/RSP0/CPU0:Mar`, as IOS-XR writes it.
fn location(word: &[u8]) -> Option<&[u8]> {
    let (location, behind) = word.split_at_checked(word.iter().position(|byte| *byte == b':')?)?;
    location.contains(&b'/').then(|| behind.strip_prefix(b":"))?
}
