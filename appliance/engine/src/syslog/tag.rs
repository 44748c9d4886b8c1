//! The TAG of RFC 3164 §4.1.3: `program:`, `program[pid]:`, and what stands before the content instead of one.

use super::label;
use super::scan::Scanner;
use crate::event::SyslogMessage;

/// Longest program; the RFC's 32 characters are exceeded every day.
const MAX_PROGRAM_BYTES: usize = 128;
/// Longest text in the brackets.
const MAX_PID_BYTES: usize = 64;

/// How the tags without a colon of Snare, Cisco ISE and Aruba ClearPass begin.
const BARE_PREFIXES: [&[u8]; 3] = [b"MSWinEventLog", b"CISE_", b"CPPM_"];

/// Words that begin a device's prose and are the name of no program.
const NOUNS: [&[u8]; 20] = [
    b"alarm",
    b"battery",
    b"connection",
    b"device",
    b"disk",
    b"error",
    b"event",
    b"fan",
    b"interface",
    b"link",
    b"login",
    b"module",
    b"port",
    b"power",
    b"session",
    b"system",
    b"temperature",
    b"the",
    b"user",
    b"warning",
];

/// Words that look like a tag and begin the content.
const CONTENT: [&[u8]; 6] = [b"AccessControlRuleName", b"DeviceUUID", b"EventPriority", b"Severity", b"SrcIP", b"https"];

/// A tag that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    pub(super) program: &'a [u8],
    pub(super) pid: Option<&'a [u8]>,
    /// What comes behind the tag and one space.
    pub(super) behind: Scanner<'a>,
}

/// How sure it is that a line's word without a colon is a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// The header is one that any device writes: only a program that is known is one.
    Known,
    /// The header is one that rsyslog writes: so is a word in small letters before one that begins otherwise.
    Likely,
}

/// Finds `program:` or `program[pid]:` and the space behind it.
///
/// Without a PID the colon must end the word, else it is part of the content (`http://…`). `CEF:0|…` and `LEEF:…` are headers of
/// the content, which stays whole.
pub(super) fn take(mut scanner: Scanner<'_>) -> Option<Tag<'_>> {
    let whole = scanner;
    let program = scanner.take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'[' | b'"' | b'=' | b','));
    if program.is_empty() || program.len() > MAX_PROGRAM_BYTES {
        return None;
    }
    let next = scanner.peek();
    if next == Some(b':') && matches!(program, b"CEF" | b"LEEF") {
        return Some(Tag { program, pid: None, behind: whole });
    }
    if next == Some(b':') && program == b"ASM" {
        // F5's web application firewall: `ASM:unit_hostname="…",…`.
        scanner.eat(b':');
        scanner.eat(b' ');
        return Some(Tag { program, pid: None, behind: scanner });
    }
    let mut pid = None;
    if next == Some(b'[') {
        scanner.eat(b'[');
        let inner = scanner.take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']'));
        if inner.is_empty() || inner.len() > MAX_PID_BYTES || !scanner.eat(b']') {
            return None;
        }
        pid = Some(inner);
    }
    let colon = scanner.eat(b':');
    let ends = matches!(scanner.peek(), None | Some(b' ' | b'\t'));
    let is_tag = match pid {
        // A PID without a colon is one only if it is a number: `foo[bar] …` may be content.
        Some(pid) => colon || (ends && pid.iter().all(u8::is_ascii_digit)),
        None => colon && ends && !CONTENT.contains(&program),
    };
    if !is_tag {
        return None;
    }
    scanner.eat(b' ');
    Some(Tag { program, pid, behind: scanner })
}

/// Takes the word behind a host as a tag that a space ends (§4.1.3), where it can be told from the first word of the content.
pub(super) fn take_bare(mut scanner: Scanner<'_>, bare: Bare) -> Option<Tag<'_>> {
    let whole = scanner;
    if scanner.eat_all(b"-- ") {
        // util-linux' login: ` -- root[2421]: ROOT LOGIN ON tty2`.
        let tag = take(scanner).filter(|tag| tag.pid.is_some())?;
        let program = whole.rest().get(..tag.program.len().checked_add(3)?)?;
        return Some(Tag { program, ..tag });
    }
    let program = scanner.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/'));
    if !matches!(scanner.peek(), Some(b' ' | b'\t')) || program.is_empty() || program.len() > MAX_PROGRAM_BYTES {
        return None;
    }
    // `vectra_cef -: CEF:0|…`, `ucs-tool : text`.
    let mut colon = scanner;
    if colon.eat_all(b" -: ") || (colon.eat_all(b" : ") && bare == Bare::Likely) {
        return Some(Tag { program, pid: None, behind: colon });
    }
    let known = is_bare(program) || BARE_PREFIXES.iter().any(|prefix| program.starts_with(prefix));
    scanner.take_while(|byte| matches!(byte, b' ' | b'\t'));
    let likely = bare == Bare::Likely
        && program.first().is_some_and(u8::is_ascii_lowercase)
        && !NOUNS.contains(&program)
        && scanner.peek().is_some_and(|byte| !byte.is_ascii_lowercase() && !byte.is_ascii_digit());
    (known || likely).then_some(Tag { program, pid: None, behind: scanner })
}

/// Says whether it is a program whose lines come without a colon: so rsyslog forwards what came to it as RFC 5424 without PROCID, and
/// so sysklogd starts.
fn is_bare(program: &[u8]) -> bool {
    matches!(
        program,
        b"CRON"
            | b"audit"
            | b"auditd"
            | b"chronyd"
            | b"cron"
            | b"crond"
            | b"dhclient"
            | b"dhcpd"
            | b"dnsmasq"
            | b"dockerd"
            | b"dovecot"
            | b"haproxy"
            | b"httpd"
            | b"kernel"
            | b"logger"
            | b"mysqld"
            | b"named"
            | b"nginx"
            | b"ntpd"
            | b"ntpdate"
            | b"openvpn"
            | b"postfix"
            | b"pppd"
            | b"rsyslogd"
            | b"slapd"
            | b"smartd"
            | b"smbd"
            | b"snmpd"
            | b"sshd"
            | b"su"
            | b"sudo"
            | b"syslog-ng"
            | b"syslogd"
            | b"systemd"
            | b"xinetd"
    )
}

/// Fills in program, PID and content from the tag at the scanner, or from there on all of it as content.
pub(super) fn fill(scanner: &mut Scanner<'_>, message: &mut SyslogMessage) {
    if let Some(tag) = take(*scanner) {
        put(&tag, scanner, message);
    }
    content(*scanner, message);
}

/// Fills in what a tag says and goes behind it.
pub(super) fn put<'a>(tag: &Tag<'a>, scanner: &mut Scanner<'a>, message: &mut SyslogMessage) {
    message.program = Some(scanner.readable(tag.program));
    message.pid = tag.pid.map(|pid| scanner.readable(pid));
    *scanner = tag.behind;
}

/// Fills in the content and the name that it gives its message, if it begins with one that is clear.
pub(super) fn content(scanner: Scanner<'_>, message: &mut SyslogMessage) {
    let text = scanner.rest();
    if message.msgid.is_none() {
        message.msgid = match text.first() {
            Some(b'%') => label::take(&mut scanner.at(text)).map(|label| scanner.readable(label.mnemonic)),
            Some(b'[') => solaris(scanner).map(|name| scanner.readable(name)),
            Some(b'0'..=b'9') => f5(scanner).map(|name| scanner.readable(name)),
            Some(b'A'..=b'Z') => junos(scanner).map(|name| scanner.readable(name)),
            _ => None,
        };
    }
    message.message = scanner.readable(text);
}

/// Takes the number of Solaris' `[ID 800047 auth.info]`.
fn solaris(mut scanner: Scanner<'_>) -> Option<&[u8]> {
    scanner.eat_all(b"[ID ").then_some(())?;
    let number = scanner.take_while(|byte| byte.is_ascii_digit());
    (!number.is_empty() && scanner.peek() == Some(b' ')).then_some(number)
}

/// Takes the code of F5's `01010028:3: `.
fn f5(mut scanner: Scanner<'_>) -> Option<&[u8]> {
    let code = scanner.take_while(|byte| byte.is_ascii_hexdigit());
    if code.len() != 8 || !scanner.eat(b':') {
        return None;
    }
    scanner.digits(1..=1)?;
    scanner.eat(b':').then_some(code)
}

/// Takes the tag of Junos' `SNMP_TRAP_LINK_DOWN: `.
fn junos(mut scanner: Scanner<'_>) -> Option<&[u8]> {
    let name = scanner.take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    (name.contains(&b'_') && scanner.eat_all(b": ")).then_some(name)
}
