//! The grammar of RFC 5424 §6, behind the PRI. Senders that leave out the end of it, or exceed its lengths, are understood.

use super::scan::Scanner;
use super::text::readable;
use super::zone::Context;
use super::{stamp, tag};
use crate::event::SyslogMessage;

type Element = (String, Vec<(String, String)>);

/// Fills in what follows the PRI and says whether it is RFC 5424; if not, `message` is as it was.
///
/// It is when version 1 and a TIMESTAMP (§6.2.3) or NILVALUE are there. What comes after that may be cut off (§6.1 lets receivers
/// truncate): what is missing stays `None`. STRUCTURED-DATA that breaks the grammar is left in the message, whole. Devices' own
/// ideas are understood: other shapes of time, `program[pid]:` in the place of APP-NAME.
pub(super) fn decode(mut scanner: Scanner<'_>, context: &Context<'_>, message: &mut SyslogMessage) -> bool {
    if !scanner.eat_all(b"1 ") {
        return false;
    }
    let timestamp = if nil(&mut scanner) {
        None
    } else {
        let stamp = stamp::rfc3339(&mut scanner, context).or_else(|| stamp::any(&mut scanner, context));
        if stamp.is_none() {
            return false;
        }
        stamp
    };
    if !scanner.is_empty() && !scanner.eat(b' ') {
        return false;
    }
    message.timestamp = timestamp;
    message.host = field(&mut scanner);
    if tag::take(scanner).is_some() && !has_structured_data(scanner) {
        tag::fill(&mut scanner, message);
        return true;
    }
    let behind_host = scanner;
    message.program = field(&mut scanner);
    if is_meraki(message) && !has_structured_data(behind_host) {
        message.message = scanner.readable(scanner.rest());
        return true;
    }
    behind_program(scanner, message);
    true
}

/// Fills in what stands behind HOSTNAME.
pub(super) fn behind_host(mut scanner: Scanner<'_>, message: &mut SyslogMessage) {
    message.program = field(&mut scanner);
    behind_program(scanner, message);
}

fn behind_program(mut scanner: Scanner<'_>, message: &mut SyslogMessage) {
    message.pid = field(&mut scanner);
    message.msgid = field(&mut scanner);
    if let Some(elements) = structured_data(&mut scanner) {
        message.structured_data = elements;
        scanner.eat(b' ');
    }
    scanner.skip_bom();
    // rsyslog's SyslogProtocol23Format sends the space that stood behind the TAG of a BSD line; nobody means it.
    scanner.eat(b' ');
    message.message = scanner.readable(scanner.rest());
}

/// Says whether STRUCTURED-DATA stands where it should behind APP-NAME: then the header is the RFC's, whatever its words look like.
pub(super) fn has_structured_data(mut scanner: Scanner<'_>) -> bool {
    for _ in 0..3 {
        scanner.word();
        if !scanner.eat(b' ') {
            return false;
        }
    }
    scanner.peek() == Some(b'[') || nil(&mut scanner)
}

/// Says whether it is a line of Meraki's, which has a type where APP-NAME is, and pairs or text at once behind it.
fn is_meraki(message: &SyslogMessage) -> bool {
    const TYPES: [&str; 11] = [
        "airmarshal_events",
        "cellular_firewall",
        "events",
        "firewall",
        "flows",
        "ids-alerts",
        "ip_flow_end",
        "ip_flow_start",
        "security_event",
        "urls",
        "vpn_firewall",
    ];
    message.program.as_deref().is_some_and(|program| TYPES.contains(&program))
}

/// Takes NILVALUE when it is a whole field.
fn nil(scanner: &mut Scanner<'_>) -> bool {
    let mut ahead = *scanner;
    let taken = ahead.eat(b'-') && matches!(ahead.peek(), None | Some(b' '));
    if taken {
        *scanner = ahead;
    }
    taken
}

/// Takes a header field and the space behind it.
fn field(scanner: &mut Scanner<'_>) -> Option<String> {
    let word = scanner.word();
    scanner.eat(b' ');
    if matches!(word, b"" | b"-") { None } else { Some(scanner.readable(word)) }
}

/// Takes STRUCTURED-DATA (§6.3), or nothing when it breaks the grammar.
fn structured_data(scanner: &mut Scanner<'_>) -> Option<Vec<Element>> {
    let mut ahead = *scanner;
    let mut elements = Vec::new();
    if !nil(&mut ahead) {
        while ahead.eat(b'[') {
            elements.push(element(&mut ahead)?);
        }
        if elements.is_empty() {
            return None;
        }
    }
    *scanner = ahead;
    Some(elements)
}

/// Takes an SD-ELEMENT behind its bracket: SD-ID *(SP SD-PARAM) "]".
fn element(scanner: &mut Scanner<'_>) -> Option<Element> {
    let id = name(scanner)?;
    let mut params = Vec::new();
    loop {
        if scanner.eat(b']') {
            return Some((id, params));
        }
        if !scanner.eat(b' ') {
            return None;
        }
        scanner.skip_spaces();
        if scanner.eat(b']') {
            return Some((id, params));
        }
        let name = name(scanner)?;
        if !scanner.eat_all(b"=\"") {
            return None;
        }
        params.push((name, param_value(scanner)?));
    }
}

/// Takes an SD-NAME (§6.3.2): printable ASCII save `=`, space, `]` and `"`.
fn name(scanner: &mut Scanner<'_>) -> Option<String> {
    let name = scanner.take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"'));
    if name.is_empty() { None } else { Some(scanner.readable(name)) }
}

/// Takes a PARAM-VALUE (§6.3.3) and its closing quote. Only `\"`, `\\` and `\]` are escapes; any other backslash stands for itself.
fn param_value(scanner: &mut Scanner<'_>) -> Option<String> {
    let plain = scanner.take_while(|byte| !matches!(byte, b'"' | b'\\'));
    if scanner.eat(b'"') {
        return Some(scanner.readable(plain));
    }
    let mut value = plain.to_vec();
    loop {
        if scanner.eat(b'"') {
            return Some(readable(&value));
        }
        if !scanner.eat(b'\\') {
            return None;
        }
        match scanner.peek() {
            Some(escaped @ (b'"' | b'\\' | b']')) => {
                scanner.eat(escaped);
                value.push(escaped);
            }
            _ => value.push(b'\\'),
        }
        value.extend_from_slice(scanner.take_while(|byte| !matches!(byte, b'"' | b'\\')));
    }
}
