//! The header of RFC 3164 lines, behind the PRI, in the shapes that senders give it (the RFC only observes): each part may be missing.

use std::net::IpAddr;

use postern_protocol::timestamp::Timestamp;

use super::scan::Scanner;
use super::tag::{self, Bare};
use super::zone::Context;
use super::{label, marker, rfc5424, stamp};
use crate::event::SyslogMessage;

/// Longest name of a host (RFC 5424 §6).
const MAX_HOST_BYTES: usize = 255;

/// Fills in what follows the PRI: `[TIMESTAMP [HOST]] [TAG[[PID]]:] CONTENT`. What fits none of it is the message.
///
/// A HOST is looked for behind a TIMESTAMP, as a line without one has no header (§4.3.2); without one only an address, or a name
/// before `program[pid]:`, is. The first word behind a time stamp is the tag if it ends like one. The first word of a text that has
/// no tag stays where it is.
pub(super) fn decode(mut scanner: Scanner<'_>, context: &Context<'_>, message: &mut SyslogMessage) {
    scanner.take_while(|byte| matches!(byte, b' ' | b':'));
    let bare = if scanner.peek().is_some_and(|byte| byte.is_ascii_digit()) { Bare::Likely } else { Bare::Known };
    message.timestamp = timestamp(&mut scanner, context);
    if message.timestamp.is_some() {
        stamped(&mut scanner, context, message);
    } else {
        unstamped(&mut scanner, message);
    }
    if let Some(label) = label::take_plain(&mut scanner) {
        message.program = Some(scanner.readable(label.program));
        message.msgid = Some(scanner.readable(label.mnemonic));
    } else if let Some(tag) = tag::take(scanner) {
        tag::put(&tag, &mut scanner, message);
    } else if message.timestamp.is_some() && marker::is_packet_engine(scanner) {
        marker::packet_engine(&mut scanner, message);
    } else if message.host.is_some() && bare == Bare::Likely && rfc5424::has_structured_data(scanner) {
        // VMware's NSX and HPE's iLO leave out the version of RFC 5424 and nothing else.
        rfc5424::behind_host(scanner, message);
        return;
    } else if message.host.is_some() && !is_repetition(scanner) {
        marker::skip(&mut scanner, message);
        if let Some(tag) = tag::take(scanner).or_else(|| tag::take_bare(scanner, bare)) {
            tag::put(&tag, &mut scanner, message);
        }
    }
    tag::content(scanner, message);
}

/// Reads what stands between a time stamp and the tag.
fn stamped(scanner: &mut Scanner<'_>, context: &Context<'_>, message: &mut SyslogMessage) {
    if let Some(name) = marker::host(scanner, message) {
        message.host = Some(name);
        return;
    }
    match tag::take(*scanner) {
        Some(tag) if tag.pid.is_none() => {
            // `10.0.0.1: text`, `node-1: node-1: text`, `web-1: sshd[812]: text`, `esa-1: CEF:0|…`: a colon behind a host.
            let next = tag::take(tag.behind);
            let doubled = next.is_some_and(|next| next.program == tag.program);
            let named = tag.program.iter().any(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
            let told = next.is_some_and(|next| matches!(next.program, b"CEF" | b"LEEF") || next.pid.is_some_and(is_number));
            if is_address(tag.program) || (is_host(tag.program) && (doubled || (named && told))) {
                message.host = Some(scanner.readable(tag.program));
                *scanner = tag.behind;
                if let Some(next) = next.filter(|_| doubled) {
                    *scanner = next.behind;
                }
            }
        }
        Some(_) => {}
        None if marker::is_packet_engine(*scanner) => {}
        None => message.host = host(scanner).or_else(|| marker::with_commas(scanner)),
    }
    if message.host.is_some() {
        inner(scanner, context, message);
    }
}

/// Reads a second header: a relay's stands before the device's own, which knows better. It is one when a tag follows it.
fn inner(scanner: &mut Scanner<'_>, context: &Context<'_>, message: &mut SyslogMessage) {
    if !scanner.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return;
    }
    let mut ahead = *scanner;
    let Some(timestamp) = timestamp(&mut ahead, context) else { return };
    if tag::take(ahead).is_some_and(|tag| tag.pid.is_some()) {
        message.timestamp = Some(timestamp);
        *scanner = ahead;
        return;
    }
    let Some(name) = host(&mut ahead) else { return };
    if tag::take(ahead).or_else(|| tag::take_bare(ahead, Bare::Known)).is_some() {
        message.timestamp = Some(timestamp);
        message.host = Some(name);
        *scanner = ahead;
    }
}

/// Reads a host before the tag of a line without a time stamp, where it can be told.
fn unstamped(scanner: &mut Scanner<'_>, message: &mut SyslogMessage) {
    let mut ahead = *scanner;
    let word = ahead.word();
    let name = word.strip_suffix(b":").unwrap_or(word);
    if ahead.peek() == Some(b'\t') && ahead.rest().starts_with(b"\tMSWinEventLog\t") && is_host(word) {
        ahead.eat(b'\t');
    } else {
        let screen = word != name && is_host(name) && ahead.rest().starts_with(b" NetScreen device_id=");
        let told = screen || is_address(name) || (word == name && is_host(name) && followed_by_process(ahead));
        if !told || !ahead.eat(b' ') {
            return;
        }
        ahead.skip_spaces();
    }
    message.host = Some(scanner.readable(name));
    *scanner = ahead;
}

/// Says whether ` program[pid]:` is next.
fn followed_by_process(mut scanner: Scanner<'_>) -> bool {
    scanner.eat(b' ') && tag::take(scanner).is_some_and(|tag| tag.pid.is_some_and(is_number))
}

fn is_number(pid: &[u8]) -> bool {
    pid.iter().all(u8::is_ascii_digit)
}

/// Takes a time stamp, the marks that Cisco puts around it, and the space or colon behind it.
fn timestamp(scanner: &mut Scanner<'_>, context: &Context<'_>) -> Option<Timestamp> {
    let mut ahead = *scanner;
    let bracket = ahead.eat(b'[');
    if !bracket {
        ahead.take_while(|byte| matches!(byte, b'*' | b'.' | b'%'));
    }
    let timestamp = stamp::any(&mut ahead, context)?;
    if bracket && !ahead.eat(b']') {
        return None;
    }
    ahead.eat(b':');
    ahead.eat(b',');
    if !ahead.eat(b' ') && !ahead.eat(b'\t') && !ahead.is_empty() {
        return None;
    }
    ahead.skip_spaces();
    *scanner = ahead;
    Some(timestamp)
}

/// Takes a word that can be a host name or an address, and the space behind it; ` :` behind it too, as relays and ASAs write.
pub(super) fn host(scanner: &mut Scanner<'_>) -> Option<String> {
    let mut ahead = *scanner;
    if is_repetition(ahead) {
        return None;
    }
    let word = ahead.word();
    let name = word.strip_suffix(b",").unwrap_or(word);
    if !is_host(name) || !(ahead.eat(b' ') || ahead.eat(b'\t')) {
        return None;
    }
    ahead.skip_spaces();
    if ahead.eat_all(b": ") {
        ahead.skip_spaces();
    }
    *scanner = ahead;
    Some(scanner.readable(name))
}

/// Says whether BSD syslogd's own line is next, which has no tag, and no host until a relay puts one before it.
fn is_repetition(mut scanner: Scanner<'_>) -> bool {
    scanner.eat_all(b"last message repeated ") || scanner.eat_all(b"--- last message repeated ")
}

/// Says whether a word can be a host: letters, digits, and the punctuation of names, IPv6 addresses and zones.
pub(super) fn is_host(word: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%' | b'/') || *byte >= 0x80;
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b':' || *byte >= 0x80;
    word.len() <= MAX_HOST_BYTES && word.first().is_some_and(begins) && !word.ends_with(b":") && word.iter().all(allowed)
}

/// Says whether a word is an IP address.
pub(super) fn is_address(word: &[u8]) -> bool {
    let begins = word.first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':');
    let divided = word.iter().any(|byte| matches!(byte, b'.' | b':'));
    begins && divided && str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}
