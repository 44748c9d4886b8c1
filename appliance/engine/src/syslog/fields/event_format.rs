//! CEF (ArcSight's Common Event Format) and LEEF 1.0 and 2.0 (QRadar's Log Event Extended Format): header and extension.
//!
//! The header's parts get the names that the CEF dictionary gives them, in LEEF too, so that one rule fits both.

use std::borrow::Cow;

use super::{MAX_FIELDS, is_key};
use crate::event::Fields;

/// The parts of CEF's header behind the version.
const CEF_HEADER: [&str; 6] = ["deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "severity"];
/// The parts of LEEF's.
const LEEF_HEADER: [&str; 4] = ["deviceVendor", "deviceProduct", "deviceVersion", "eventId"];
/// How long LEEF's delimiter can be written: `0x09`.
const MAX_DELIMITER_BYTES: usize = 4;

/// Reads `CEF:0|vendor|product|version|class|name|severity|key=value key=value …`, in which values may have spaces.
pub(super) fn cef(text: &str, fields: &mut Fields) {
    let Some(rest) = text.strip_prefix("CEF:") else { return };
    let Some((version, mut rest)) = part(rest.trim_start()) else { return };
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return;
    }
    fields.reserve(text.len());
    for name in CEF_HEADER {
        let Some((value, behind)) = part(rest) else { return };
        fields.push(name, &value);
        rest = behind;
    }
    let mut rest = rest.trim_start();
    while fields.len() < MAX_FIELDS {
        let Some((key, value)) = rest.split_once('=') else { return };
        let end = value_end(value);
        let (value, behind) = value.split_at_checked(end).unwrap_or((value, ""));
        let key = key.rsplit(' ').next().unwrap_or(key);
        fields.push(key, &unescaped(value.trim_end()));
        rest = behind;
    }
}

/// Reads `LEEF:1.0|vendor|product|version|event|key=value\tkey=value`; 2.0 may name another delimiter behind the event.
pub(super) fn leef(text: &str, fields: &mut Fields) {
    let Some(rest) = text.strip_prefix("LEEF:") else { return };
    let Some((version, mut rest)) = part(rest.trim_start()) else { return };
    fields.reserve(text.len());
    for name in LEEF_HEADER {
        let Some((value, behind)) = part(rest) else { return };
        fields.push(name, &value);
        rest = behind;
    }
    let mut delimiter = '\t';
    if version.starts_with('2')
        && let Some((written, behind)) = rest.split_once('|').filter(|(written, _)| written.len() <= MAX_DELIMITER_BYTES)
    {
        delimiter = delimiter_of(written);
        rest = behind;
    }
    // Some senders write what a tab shows as.
    let delimiter =
        if delimiter == '\t' && !rest.contains('\t') && rest.contains('^') && !version.starts_with('2') { '^' } else { delimiter };
    for pair in rest.split(delimiter).take(MAX_FIELDS) {
        if let Some((key, value)) = pair.split_once('=') {
            fields.push(key.trim(), value);
        }
    }
}

/// Reads the delimiter as LEEF 2.0 writes it: itself, `x09`, `0x09` or nothing.
fn delimiter_of(written: &str) -> char {
    let hex = written.strip_prefix("0x").or_else(|| written.strip_prefix('x')).filter(|hex| !hex.is_empty());
    let named = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
    named.or_else(|| written.chars().next()).unwrap_or('\t')
}

/// Takes a part of the header and its bar; `\|` and `\\` are escapes.
fn part(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0_usize;
    loop {
        let at = from.saturating_add(memchr::memchr2(b'|', b'\\', text.as_bytes().get(from..)?)?);
        if text.as_bytes().get(at) == Some(&b'|') {
            let (value, behind) = text.split_at_checked(at)?;
            return Some((unescaped(value), behind.strip_prefix('|')?));
        }
        from = at.saturating_add(2);
    }
}

/// Returns where a value of CEF's extension ends: before the space that precedes the next key, or at the end.
fn value_end(value: &str) -> usize {
    let bytes = value.as_bytes();
    for at in memchr::memchr_iter(b'=', bytes) {
        let before = bytes.get(..at).unwrap_or_default();
        let key_bytes = before.iter().rev().take_while(|byte| is_key(**byte) || matches!(byte, b'[' | b']')).count();
        let start = at.saturating_sub(key_bytes);
        // An escaped `=` belongs to the value, as does one that no key precedes.
        if key_bytes > 0 && start > 0 && bytes.get(start.saturating_sub(1)) == Some(&b' ') {
            return start.saturating_sub(1);
        }
        if key_bytes > 0 && start == 0 {
            return 0;
        }
    }
    value.len()
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let next = if char == '\\' { chars.peek().copied() } else { None };
        match next {
            Some(escaped @ ('\\' | '|' | '=')) => out.push(escaped),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some(_) | None => {
                out.push(char);
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: fn(&str, &mut Fields), text: &str) -> Fields {
        let mut fields = Fields::default();
        reader(text, &mut fields);
        fields
    }

    #[test]
    fn cef_is_read_with_its_escapes() {
        let fields = read(
            cef,
            r"CEF:0|Acme|Wall\|X|1.0|100|worm \\ stopped|10|src=10.0.0.1 msg=two words \= one\nline act=blocked a \\| dst=1.1.1.1",
        );
        let expected = [
            ("deviceVendor", "Acme"),
            ("deviceProduct", "Wall|X"),
            ("deviceVersion", "1.0"),
            ("deviceEventClassId", "100"),
            ("name", r"worm \ stopped"),
            ("severity", "10"),
            ("src", "10.0.0.1"),
            ("msg", "two words = one\nline"),
            ("act", r"blocked a \|"),
            ("dst", "1.1.1.1"),
        ];
        assert_eq!(fields.iter().collect::<Vec<_>>(), expected);
        assert_eq!(read(cef, "CEF: 0|F|G|7|1|n|5|deviceExternalId=F1 a= b=2 ").get("b"), Some("2"));
        assert!(read(cef, "CEF: done").is_empty());
    }

    #[test]
    fn leef_is_read_with_any_delimiter() {
        for text in [
            "LEEF:1.0|V|P|1|ev|a=1\tb=x y",
            "LEEF:2.0|V|P|1|ev|^|a=1^b=x y",
            "LEEF:2.0|V|P|1|ev|x7C|a=1|b=x y",
            "LEEF:2.0|V|P|1|ev||a=1\tb=x y",
        ] {
            let fields = read(leef, text);
            assert_eq!((fields.get("eventId"), fields.get("a"), fields.get("b")), (Some("ev"), Some("1"), Some("x y")), "{text}");
        }
    }
}
