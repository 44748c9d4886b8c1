//! Puts a value into words: labels, bits, addresses, and the display hints of RFC 2579 §3.1. Never fails: what does not fit its syntax is
//! shown as it is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use postern_protocol::dictionary::Dictionary;
use postern_protocol::dictionary::entry::{Class, Syntax};

use crate::event::Value;
use crate::value as raw;

/// Longest text made of a hint: more than any release can take.
const MAX_BYTES: usize = 4096;

/// Returns `value` in the words of `syntax`.
pub(super) fn value<'v>(dictionary: &Dictionary, value: &'v Value, syntax: Option<Syntax<'_>>) -> Cow<'v, str> {
    let worded = match (value, syntax) {
        (Value::Integer(number), Some(syntax)) => integer(*number, &syntax),
        (Value::OctetString(bytes), Some(syntax)) => octets(bytes, &syntax),
        (Value::Oid(oid), _) => Some(super::name(dictionary, oid)),
        (Value::TimeTicks(ticks), _) => Some(duration(*ticks)),
        (Value::Gauge32(number), Some(syntax)) => integer(i64::from(*number), &syntax),
        (
            Value::Counter32(_)
            | Value::Counter64(_)
            | Value::Gauge32(_)
            | Value::Integer(_)
            | Value::IpAddress(_)
            | Value::Null
            | Value::OctetString(_)
            | Value::Opaque(_),
            _,
        ) => None,
    };
    worded.map_or_else(|| raw::text(value), Cow::Owned)
}

fn integer(number: i64, syntax: &Syntax<'_>) -> Option<String> {
    if let Some(label) = syntax.label(number) {
        return Some(format!("{label}({number})"));
    }
    // "For INTEGER, the hint is d, d-N, x, o or b" (RFC 2579 §3.1).
    let (form, decimals) = syntax.hint.split_once('-').unwrap_or((syntax.hint, "0"));
    match form {
        "d" => Some(with_point(number, decimals.parse().ok()?)),
        "x" => Some(format!("{number:x}")),
        "o" => Some(format!("{number:o}")),
        "b" => Some(format!("{number:b}")),
        _ => None,
    }
}

/// Writes `number` with its last `decimals` digits behind a point.
fn with_point(number: i64, decimals: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let decimals = decimals.min(20);
    let width = decimals.saturating_add(1);
    let digits = format!("{:0width$}", number.unsigned_abs());
    match digits.split_at_checked(digits.len().saturating_sub(decimals)) {
        Some((whole, rest)) if !rest.is_empty() => format!("{sign}{whole}.{rest}"),
        Some(_) | None => format!("{sign}{digits}"),
    }
}

/// TimeTicks are hundredths of a second.
fn duration(ticks: u32) -> String {
    let (seconds, hundredths) = (ticks / 100, ticks % 100);
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let days = if days > 0 { format!("{days} d ") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{seconds:02}.{hundredths:02}")
}

fn octets(bytes: &[u8], syntax: &Syntax<'_>) -> Option<String> {
    match syntax.class {
        Class::Bits => bits(bytes, syntax),
        Class::InetAddress => address(bytes),
        Class::Counter
        | Class::Gauge
        | Class::Integer
        | Class::IpAddress
        | Class::Oid
        | Class::Opaque
        | Class::Other
        | Class::TimeTicks => None,
        // A plain text is shown as such, or as octets when it is none.
        Class::OctetString if syntax.hint.is_empty() || syntax.hint.ends_with('a') || syntax.hint.ends_with('t') => None,
        Class::OctetString => hinted(bytes, syntax.hint),
    }
}

/// "The first bit is the high-order bit of the first octet" (RFC 2578 §7.1.4, RFC 3416 §2.5).
fn bits(bytes: &[u8], syntax: &Syntax<'_>) -> Option<String> {
    let mut out = String::new();
    let each =
        bytes.iter().zip(0_i64..).flat_map(|(byte, at)| (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit));
    for number in each {
        if out.len() > MAX_BYTES {
            break;
        }
        let space = if out.is_empty() { "" } else { " " };
        let label = syntax.label(number).unwrap_or("bit");
        let _ = write!(out, "{space}{label}({number})");
    }
    (!out.is_empty()).then_some(out)
}

/// RFC 4001 §3: the length tells which kind of address it is; the last four octets of the longer forms are a zone.
fn address(bytes: &[u8]) -> Option<String> {
    let with_zone = |address: String, zone: &[u8]| {
        let zone = <[u8; 4]>::try_from(zone).map(u32::from_be_bytes).ok()?;
        Some(format!("{address}%{zone}"))
    };
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        8 => {
            let (address, zone) = bytes.split_first_chunk::<4>()?;
            with_zone(Ipv4Addr::from(*address).to_string(), zone)
        }
        20 => {
            let (address, zone) = bytes.split_first_chunk::<16>()?;
            with_zone(Ipv6Addr::from(*address).to_string(), zone)
        }
        // A DNS name, or nothing.
        _ => None,
    }
}

/// One octet-format specification.
#[derive(Clone, Copy, Debug)]
struct Spec {
    repeats: bool,
    length: usize,
    form: char,
    separator: Option<char>,
    terminator: Option<char>,
}

/// Applies an octet-format hint; `None` when it is none, or does not fit.
fn hinted(mut bytes: &[u8], hint: &str) -> Option<String> {
    let specs = specs(hint)?;
    let mut specs = specs.iter().chain(std::iter::repeat(specs.last()?));
    let mut out = String::new();
    while !bytes.is_empty() && out.len() < MAX_BYTES {
        let spec = specs.next()?;
        let before = bytes.len();
        let mut count = 1;
        if spec.repeats {
            let (first, rest) = bytes.split_first()?;
            (count, bytes) = (*first, rest);
        }
        for turn in 1..=count {
            let (taken, rest) = bytes.split_at_checked(spec.length).unwrap_or((bytes, &[]));
            bytes = rest;
            format_octets(&mut out, taken, spec.form)?;
            let ends = turn == count && spec.terminator.is_some();
            // "Suppressed if at the end of the display" (§3.1).
            if let Some(separator) = spec.separator.filter(|_| !bytes.is_empty() && !ends) {
                out.push(separator);
            }
            if bytes.is_empty() {
                break;
            }
        }
        if let Some(terminator) = spec.terminator.filter(|_| !bytes.is_empty()) {
            out.push(terminator);
        }
        // A last specification that takes nothing would go on for ever.
        if bytes.len() == before && spec.length == 0 {
            return None;
        }
    }
    Some(out)
}

fn specs(hint: &str) -> Option<Vec<Spec>> {
    let mut chars = hint.chars().peekable();
    let mut specs = Vec::new();
    while chars.peek().is_some() {
        let repeats = chars.next_if_eq(&'*').is_some();
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let length = digits.parse::<usize>().ok().filter(|length| *length <= 255)?;
        let form = chars.next().filter(|form| matches!(form, 'x' | 'd' | 'o' | 'a' | 't'))?;
        let separator = chars.next_if(|char| !char.is_ascii_digit() && *char != '*');
        let terminator = if repeats && separator.is_some() { chars.next_if(|char| !char.is_ascii_digit() && *char != '*') } else { None };
        specs.push(Spec { repeats, length, form, separator, terminator });
    }
    Some(specs)
}

fn format_octets(out: &mut String, octets: &[u8], form: char) -> Option<()> {
    if matches!(form, 'a' | 't') {
        out.push_str(std::str::from_utf8(octets).ok()?);
        return Some(());
    }
    if form == 'x' {
        octets.iter().for_each(|octet| {
            let _ = write!(out, "{octet:02x}");
        });
        return Some(());
    }
    if octets.len() > 8 {
        return None;
    }
    let number = octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    let _ = if form == 'o' { write!(out, "{number:o}") } else { write!(out, "{number}") };
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octet_hints_are_those_of_the_rfc() {
        for (hint, bytes, expected) in [
            ("1x:", &[0, 0x1a, 0xff][..], Some("00:1a:ff")),
            ("1d.1d.1d.1d", &[10, 1, 2, 3], Some("10.1.2.3")),
            ("2d-1d-1d,1d:1d:1d.1d,1a1d:1d", &[0x07, 0xea, 11, 22, 4, 9, 5, 0], Some("2026-11-22,4:9:5.0")),
            ("2d-1d-1d,1d:1d:1d.1d,1a1d:1d", &[0x07, 0xea, 11, 22, 4, 9, 5, 0, b'+', 1, 0], Some("2026-11-22,4:9:5.0,+1:0")),
            ("*1x:/1x:", &[2, 0xaa, 0xbb, 0xcc, 0xdd], Some("aa:bb/cc:dd")),
            ("1o", &[8, 9], Some("1011")),
            ("0x", &[1], None),
            ("9d", &[1; 9], None),
            ("1q", &[1], None),
            ("1d", &[], Some("")),
        ] {
            assert_eq!(hinted(bytes, hint).as_deref(), expected, "{hint}");
        }
        assert!(hinted(&[255; 60_000], "*0x::").is_none_or(|text| text.len() < 2 * MAX_BYTES));
    }

    #[test]
    fn numbers_have_their_points() {
        for (number, decimals, expected) in [(1234, 2, "12.34"), (-5, 2, "-0.05"), (7, 0, "7"), (i64::MIN, 1, "-922337203685477580.8")] {
            assert_eq!(with_point(number, decimals), expected);
        }
    }

    #[test]
    fn addresses_tell_themselves_by_length() {
        assert_eq!(address(&[10, 0, 0, 1]).as_deref(), Some("10.0.0.1"));
        assert_eq!(address(&[10, 0, 0, 1, 0, 0, 0, 2]).as_deref(), Some("10.0.0.1%2"));
        assert_eq!(address(&[0; 16]).as_deref(), Some("::"));
        assert_eq!(address(b"host"), Some("104.111.115.116".to_owned()), "four octets are an address");
        assert_eq!(address(b"host.example.com.x"), None);
    }

    #[test]
    fn a_time_is_days_hours_minutes_and_seconds() {
        assert_eq!((duration(0).as_str(), duration(u32::MAX).as_str()), ("00:00:00.00", "497 d 02:27:52.95"));
    }
}
