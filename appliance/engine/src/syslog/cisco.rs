//! Lines that a label tells apart, behind the PRI: `[seq:] [host:] [time:] %FACILITY-SEVERITY-MNEMONIC: text` from Cisco's IOS, IOS-XE,
//! IOS-XR, NX-OS, ASA, FTD and AireOS and those who write like them; `[time] [host] %%01MODULE/SEVERITY/MNEMONIC(l): text` from Huawei and H3C.
//!
//! Their own prefixes break RFC 3164 in ways that would take a sequence number for the program.

use postern_protocol::timestamp::Timestamp;

use super::label::{self, Label};
use super::scan::Scanner;
use super::zone::Context;
use super::{header, stamp};
use crate::event::SyslogMessage;

/// How far into a line the percent sign may be.
const MAX_PREFIX_BYTES: usize = 192;
/// How many percent signs are looked at: NX-OS has two before the label's, H3C one before the date. Each can cost the length of the line.
const MAX_PERCENT_SIGNS: usize = 4;

/// Fills in what follows the PRI and says whether it is a labelled line; if not, `message` is as it was.
///
/// The program is `%FACILITY-SEVERITY-MNEMONIC`, as any syslog server names it, or Huawei's module; the msgid is the mnemonic.
pub(super) fn decode(line: Scanner<'_>, context: &Context<'_>, message: &mut SyslogMessage) -> bool {
    let content = line.rest();
    let window = content.get(..content.len().min(MAX_PREFIX_BYTES)).unwrap_or_default();
    let labelled = memchr::memchr_iter(b'%', window).take(MAX_PERCENT_SIGNS).find_map(|percent| {
        let (before, from_percent) = content.split_at_checked(percent)?;
        let mut scanner = line.at(from_percent);
        Some((before, label::take(&mut scanner)?, scanner))
    });
    let Some((before, Label { program, mnemonic }, scanner)) = labelled else { return false };
    let Some(prefix) = prefix(before, context) else { return false };
    message.timestamp = prefix.timestamp;
    message.host = prefix.host.map(|part| line.readable(part));
    message.pid = prefix.pid.map(|part| line.readable(part));
    message.program = Some(line.readable(program));
    message.msgid = Some(line.readable(mnemonic));
    message.message = line.readable(scanner.rest());
    true
}

#[derive(Default)]
struct Prefix<'a> {
    timestamp: Option<Timestamp>,
    host: Option<&'a [u8]>,
    pid: Option<&'a [u8]>,
}

/// Reads all that stands before the percent sign; `None` when something there is not a device's.
fn prefix<'a>(before: &'a [u8], context: &Context<'_>) -> Option<Prefix<'a>> {
    let mut prefix = Prefix::default();
    let mut located = false;
    let mut marked = false;
    let mut scanner = Scanner::new(before);
    loop {
        let divider = scanner.take_while(|byte| matches!(byte, b' ' | b':'));
        // `fw1 : %ASA-…`: a colon of its own makes the word before it a host.
        marked |= prefix.host.is_some() && divider.contains(&b':');
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
        if let Some(rest) = counter(scanner) {
            marked = true;
            scanner = rest;
            continue;
        }
        // `*` and `.`: the device's clock is not set, or not synchronised. H3C writes a percent sign before the date.
        let mut dated = scanner;
        dated.take_while(|byte| matches!(byte, b'*' | b'.' | b'%'));
        if let Some(timestamp) = stamp::any(&mut dated, context) {
            // A relay's time stamp comes before the device's own, which is the better one.
            prefix.timestamp = Some(timestamp);
            marked = true;
            scanner = dated;
            if scanner.eat_all(b" DST") {
                // Huawei says so in summer; the offset has it already.
            }
            zone(&mut scanner);
            continue;
        }
        let word = scanner.word();
        let name = word.strip_suffix(b":");
        if word.starts_with(b"%") || name.is_some_and(|name| name.starts_with(b"*")) {
            // AireOS names the task, `*spamApTask4:`, FTOS the stack unit, `%STKUNIT0-M:CP`.
        } else if let Some(inner) = name.and_then(process).filter(|_| located) {
            prefix.pid = Some(inner);
        } else if let Some(behind) = location(word) {
            let skip = before.len().checked_sub(scanner.rest().len())?.checked_sub(behind.len())?;
            scanner = Scanner::new(before.get(skip..)?);
            located = true;
        } else if prefix.host.is_none() && header::is_host(name.unwrap_or(word)) {
            prefix.host = Some(name.unwrap_or(word));
            marked |= name.is_some_and(header::is_address);
        } else {
            return None;
        }
    }
    // `app: %X-3-Y: text` without sequence number or time is a program's line that quotes a device's, and any other word before the
    // label may be text as well.
    (marked || prefix.host.is_none()).then_some(prefix)
}

/// Takes the name of a time zone that means nothing to `stamp`, when a colon ends it.
fn zone(scanner: &mut Scanner<'_>) {
    let mut ahead = *scanner;
    ahead.skip_spaces();
    let name = ahead.take_while(|byte| byte.is_ascii_alphabetic());
    if (1..=7).contains(&name.len()) && ahead.eat(b':') {
        *scanner = ahead;
    }
}

/// Takes a sequence number (`000025:`) or an uptime (`00:00:46:`, `3d02h:`, `1w2d:`).
fn counter(mut scanner: Scanner<'_>) -> Option<Scanner<'_>> {
    if !scanner.peek()?.is_ascii_digit() {
        return None;
    }
    let counter = scanner.take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'y' | b'w' | b'd' | b'h'));
    (counter.ends_with(b":") && matches!(scanner.peek(), None | Some(b' '))).then_some(scanner)
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
