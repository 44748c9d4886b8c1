//! RFC 3164 lines, behind the PRI, in the shapes that senders give them (the RFC only observes): each part may be missing.

use postern_protocol::timestamp::Timestamp;

use super::scan::Scanner;
use super::{date, readable};
use crate::event::SyslogMessage;

/// Fills in what follows the PRI: `[TIMESTAMP [HOST]] [TAG[[PID]]:] CONTENT`. What fits none of it is the message.
///
/// TIMESTAMP is `Mmm dd hh:mm:ss` or RFC 3339 (RSYSLOG_ForwardFormat). A HOST is only looked for behind one, as a line without
/// time stamp has no header (§4.3.2); the first word behind a time stamp is the tag if it ends like one. A TAG without colon is
/// only looked for behind a HOST.
pub(super) fn decode(content: &[u8], received: Timestamp, message: &mut SyslogMessage) {
    let mut scanner = Scanner::new(content);
    scanner.skip_spaces();
    message.timestamp = timestamp(&mut scanner, received);
    if message.timestamp.is_some() && tag(scanner).is_none() {
        message.host = host(&mut scanner);
    }
    let tag = tag(scanner).or_else(|| message.host.as_ref().and_then(|_| bare_tag(scanner)));
    if let Some(tag) = tag {
        message.program = Some(readable(tag.program));
        message.pid = tag.pid.map(readable);
        scanner = tag.behind;
    }
    message.message = readable(scanner.rest());
}

/// Takes a time stamp and the space or colon behind it.
fn timestamp(scanner: &mut Scanner<'_>, received: Timestamp) -> Option<Timestamp> {
    let mut ahead = *scanner;
    let timestamp = date::month_day(&mut ahead, received).or_else(|| date::rfc3339(&mut ahead))?;
    ahead.eat(b':');
    if !ahead.eat(b' ') && !ahead.is_empty() {
        return None;
    }
    ahead.skip_spaces();
    *scanner = ahead;
    Some(timestamp)
}

/// Takes a word that can be a host name or an address, and the space behind it; ` :` behind it too, as relays and ASAs write.
fn host(scanner: &mut Scanner<'_>) -> Option<String> {
    let mut ahead = *scanner;
    if is_repetition(ahead) {
        return None;
    }
    let word = ahead.word();
    if !is_host(word) || !ahead.eat(b' ') {
        return None;
    }
    ahead.skip_spaces();
    if ahead.eat_all(b": ") {
        ahead.skip_spaces();
    }
    *scanner = ahead;
    Some(readable(word))
}

/// Says whether BSD syslogd's own line is next, which has no tag, and no host until a relay puts one before it.
fn is_repetition(mut scanner: Scanner<'_>) -> bool {
    scanner.eat_all(b"last message repeated ")
}

/// Says whether a word can be a host: letters, digits, and the punctuation of names, IPv6 addresses and zones.
pub(super) fn is_host(word: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%' | b'/');
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b':';
    word.len() <= 255 && word.first().is_some_and(begins) && !word.ends_with(b":") && word.iter().all(allowed)
}

struct Tag<'a> {
    program: &'a [u8],
    pid: Option<&'a [u8]>,
    behind: Scanner<'a>,
}

/// Finds `program:` or `program[pid]:` and the space behind it.
///
/// Without a PID the colon must end the word, else it is part of the content (`http://…`). `CEF:0|…` and `LEEF:…` are headers of
/// the content, which stays whole.
fn tag(mut scanner: Scanner<'_>) -> Option<Tag<'_>> {
    let whole = scanner;
    let program = scanner.take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'[' | b'"' | b'=' | b','));
    if program.is_empty() || program.len() > 128 {
        return None;
    }
    if scanner.peek() == Some(b':') && matches!(program, b"CEF" | b"LEEF") {
        return Some(Tag { program, pid: None, behind: whole });
    }
    let mut pid = None;
    if scanner.eat(b'[') {
        let inner = scanner.take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']'));
        if inner.is_empty() || inner.len() > 64 || !scanner.eat(b']') {
            return None;
        }
        pid = Some(inner);
    }
    let colon = scanner.eat(b':');
    let ends = matches!(scanner.peek(), None | Some(b' ' | b'\t'));
    let is_tag = match pid {
        // A PID without a colon is one only if it is a number: `foo[bar] …` may be content.
        Some(pid) => colon || (ends && pid.iter().all(u8::is_ascii_digit)),
        None => colon && ends,
    };
    if !is_tag {
        return None;
    }
    scanner.eat(b' ');
    Some(Tag { program, pid, behind: scanner })
}

/// Takes the word behind a host as a tag that a space ends (§4.1.3): so rsyslog forwards what came as RFC 5424 without PROCID.
fn bare_tag(mut scanner: Scanner<'_>) -> Option<Tag<'_>> {
    if is_repetition(scanner) {
        return None;
    }
    let program = scanner.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/'));
    let valid = program.len() <= 48 && program.first().is_some_and(u8::is_ascii_alphabetic) && scanner.eat(b' ');
    valid.then_some(Tag { program, pid: None, behind: scanner })
}
