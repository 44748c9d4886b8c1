//! What devices put between HOST and TAG, or in the place of HOST: severities, serial numbers, addresses, event numbers.
//!
//! Each is passed over only when a tag follows, so that no text loses its beginning.

use super::header::{is_address, is_host};
use super::scan::Scanner;
use super::tag;
use crate::event::SyslogMessage;

/// Most words between host and tag.
const MAX_MARKERS: usize = 3;

/// Severities as words, as F5, busybox and AIX write them.
const SEVERITIES: [&[u8]; 14] = [
    b"alert",
    b"crit",
    b"critical",
    b"debug",
    b"emerg",
    b"emergency",
    b"err",
    b"error",
    b"info",
    b"informational",
    b"none",
    b"notice",
    b"warn",
    b"warning",
];

/// Passes over what stands between host and tag; the number of ProCurve's event becomes the msgid.
pub(super) fn skip(scanner: &mut Scanner<'_>, message: &mut SyslogMessage) {
    let mut ahead = *scanner;
    let mut msgid = None;
    for _ in 0..MAX_MARKERS {
        let Some(word) = marker(&mut ahead) else { return };
        if !ahead.eat(b' ') {
            return;
        }
        ahead.skip_spaces();
        if word.len() == 5 && word.iter().all(u8::is_ascii_digit) {
            msgid = Some(word);
        }
        if tag::take(ahead).is_some() {
            message.msgid = msgid.map(|number| scanner.readable(number));
            *scanner = ahead;
            return;
        }
    }
}

/// Takes one word that is a marker.
fn marker<'a>(scanner: &mut Scanner<'a>) -> Option<&'a [u8]> {
    let mut ahead = *scanner;
    let word = match ahead.peek()? {
        // Aruba's access points: `<10.1.1.20 AC:A3:1E:CB:00:01>`.
        b'<' => enclosed(&mut ahead, b'>')?,
        // WatchGuard: `(2026-11-21T22:09:39)`.
        b'(' => enclosed(&mut ahead, b')')?,
        _ => {
            let word = ahead.word();
            let known = is_severity(word) || is_number(word) || is_serial(word) || is_address(word) || is_unifi(word) || is_priority(word);
            known.then_some(word)?
        }
    };
    *scanner = ahead;
    Some(word)
}

fn enclosed<'a>(scanner: &mut Scanner<'a>, end: u8) -> Option<&'a [u8]> {
    let inner = scanner.take_while(|byte| byte != end);
    scanner.eat(end).then_some(inner)
}

/// Says whether it is `info`, `daemon.info`, `daemon/info` or `auth|security:info`.
fn is_severity(word: &[u8]) -> bool {
    let last = word.rsplit(|byte| matches!(byte, b'.' | b':' | b'/')).next().unwrap_or(word);
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'|' | b'.' | b':' | b'/');
    let begins = matches!(last.first().map(|byte| byte | 0x20), Some(b'a' | b'c' | b'd' | b'e' | b'i' | b'n' | b'w'));
    begins && SEVERITIES.iter().any(|severity| last.eq_ignore_ascii_case(severity)) && word.iter().all(name)
}

/// Says whether it is a number as ProCurve's events have, `00076`.
fn is_number(word: &[u8]) -> bool {
    word.len() == 5 && word.iter().all(u8::is_ascii_digit)
}

/// Says whether it is a serial number: capitals and digits, such as WatchGuard's `80AB01234567D`.
fn is_serial(word: &[u8]) -> bool {
    (9..=20).contains(&word.len())
        && word.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && word.iter().any(u8::is_ascii_digit)
}

/// Says whether it is UniFi's address, model and version: `f09fc2aabbcc,UAP-AC-Lite-6.0.21+13673:`.
fn is_unifi(word: &[u8]) -> bool {
    word.get(..12).is_some_and(|address| address.iter().all(u8::is_ascii_hexdigit)) && word.get(12) == Some(&b',')
}

/// Says whether it is ESXi 8's `In(182)`.
fn is_priority(word: &[u8]) -> bool {
    let Some((letters, number)) = word.split_at_checked(2) else { return false };
    letters.iter().all(u8::is_ascii_alphabetic)
        && number
            .strip_prefix(b"(")
            .and_then(|number| number.strip_suffix(b")"))
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

/// Takes a host that is not a plain word behind a time stamp, and what belongs to it.
pub(super) fn host(scanner: &mut Scanner<'_>, message: &mut SyslogMessage) -> Option<String> {
    let mut ahead = *scanner;
    let name = match ahead.peek()? {
        b'(' => unifi(&mut ahead)?,
        b'[' => bracketed(&mut ahead).or_else(|| netapp(&mut ahead, message))?,
        b'a'..=b'z' if facility(&mut ahead) => {
            let word = ahead.word();
            (is_host(word) && ahead.eat(b' ') && tag::take(ahead).is_some()).then_some(word)?
        }
        b'M' if ahead.eat_all(b"Message forwarded from ") => named(&mut ahead, b':')?,
        _ => return None,
    };
    *scanner = ahead;
    Some(scanner.readable(name))
}

/// Takes `user.info ` before a host, as Cisco's meeting servers write it.
fn facility(scanner: &mut Scanner<'_>) -> bool {
    let mut ahead = *scanner;
    let letters = ahead.take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if letters.len() > 8 || !ahead.eat(b'.') {
        return false;
    }
    let found = SEVERITIES.contains(&ahead.word()) && ahead.eat(b' ');
    if found {
        *scanner = ahead;
    }
    found
}

/// Takes Zscaler's `[10.0.0.143] `.
fn bracketed<'a>(scanner: &mut Scanner<'a>) -> Option<&'a [u8]> {
    let mut ahead = *scanner;
    ahead.eat(b'[');
    let inner = ahead.take_while(|byte| byte != b']');
    if !is_address(inner) || !ahead.eat_all(b"] ") {
        return None;
    }
    *scanner = ahead;
    Some(inner)
}

/// Takes what newer access points of UniFi write without quotes, `U7PG2,788a2056b182,v4.0.66.10832: `, and F5's rules, which put
/// their pairs behind the host at once: `bigip1,f5_irule=…`.
pub(super) fn with_commas(scanner: &mut Scanner<'_>) -> Option<String> {
    let mut ahead = *scanner;
    let word = ahead.word();
    let first = word.split(|byte| *byte == b',').next().filter(|first| first.len() < word.len())?;
    let behind = word.get(first.len().checked_add(1)?..)?;
    let key = behind.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if is_host(first) && key > 0 && behind.get(key) == Some(&b'=') {
        scanner.take_while(|byte| byte != b',');
        scanner.eat(b',');
        return Some(scanner.readable(first));
    }
    let address = |part: &&[u8]| part.len() == 12 && part.iter().all(u8::is_ascii_hexdigit);
    let address = word.split(|byte| *byte == b',').take(2).find(address)?;
    ahead.eat(b' ').then_some(())?;
    *scanner = ahead;
    Some(scanner.readable(address))
}

/// Takes the address in UniFi's older `("U7LT,f09fc2aabbcc,v4.3.20.11298") `: the access point has no other name there.
fn unifi<'a>(scanner: &mut Scanner<'a>) -> Option<&'a [u8]> {
    scanner.eat_all(b"(\"").then_some(())?;
    let inner = scanner.take_while(|byte| byte != b'"');
    scanner.eat_all(b"\") ").then_some(())?;
    inner.split(|byte| *byte == b',').nth(1).filter(|address| is_host(address))
}

/// Takes NetApp's `[node-1:monitor.globalStatus.ok:notice]: `; the event's name becomes the msgid.
fn netapp<'a>(scanner: &mut Scanner<'a>, message: &mut SyslogMessage) -> Option<&'a [u8]> {
    scanner.eat(b'[');
    let inner = scanner.take_while(|byte| byte != b']');
    if !scanner.eat_all(b"]:") {
        return None;
    }
    scanner.skip_spaces();
    let mut parts = inner.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
    let (node, event) = (parts.next()?, parts.next()?);
    parts.next()?;
    if !is_host(node) {
        return None;
    }
    message.msgid = Some(scanner.readable(event));
    Some(node)
}

/// Takes the name up to `end` and the space behind that.
fn named<'a>(scanner: &mut Scanner<'a>, end: u8) -> Option<&'a [u8]> {
    let name = scanner.take_while(|byte| byte != end && byte != b' ');
    (scanner.eat(end) && scanner.eat(b' ') && is_host(name)).then_some(name)
}

/// Reads what NetScaler writes behind its time: `[host] 0-PPE-0 : default TCP CONN_DELINK 1234 0 : …`. The feature becomes the program,
/// the event the msgid.
pub(super) fn packet_engine(scanner: &mut Scanner<'_>, message: &mut SyslogMessage) {
    let mut ahead = *scanner;
    if !is_packet_engine(ahead) {
        return;
    }
    ahead.word();
    ahead.skip_spaces();
    if !ahead.eat_all(b": ") {
        return;
    }
    ahead.skip_spaces();
    *scanner = ahead;
    ahead.eat_all(b"default ");
    let feature = ahead.word();
    ahead.eat(b' ');
    let event = ahead.word();
    if [feature, event].iter().all(|word| !word.is_empty() && word.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_')) {
        message.program = Some(scanner.readable(feature));
        message.msgid = Some(scanner.readable(event));
    }
}

/// Says whether the name of one of NetScaler's packet engines is next: `0-PPE-0`.
pub(super) fn is_packet_engine(mut scanner: Scanner<'_>) -> bool {
    scanner.peek().is_some_and(|byte| byte.is_ascii_digit())
        && scanner.digits(1..=3).is_some()
        && scanner.eat_all(b"-PPE-")
        && scanner.digits(1..=3).is_some()
}
