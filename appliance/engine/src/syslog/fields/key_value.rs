//! Pairs: `key=value`, quoted or not, divided by spaces, commas, semicolons or bars; Check Point's `key:"value"`; `Key: value, …`.

use std::borrow::Cow;

use super::{MAX_FIELDS, is_key};
use crate::event::Fields;

/// How far ahead of a comma the next pair's `=` is looked for.
const MAX_KEY_BYTES: usize = 64;

/// Keys with which Dell's iDRAC and Cisco's Firepower begin their lines of `Key: value` pairs.
const COLON_KEYS: [&str; 5] = ["Severity: ", "DeviceUUID: ", "EventPriority: ", "AccessControlRuleName: ", "SrcIP: "];

/// Reads `key=value` pairs; words between them that are none are passed over.
pub(super) fn equals(text: &str, fields: &mut Fields) {
    fields.reserve(text.len());
    if let Some(divider) = divider(text) {
        for pair in text.split(divider).take(MAX_FIELDS) {
            if let Some((key, value)) = pair.split_once('=').filter(|(key, _)| key.bytes().all(is_pair_key)) {
                fields.push(key, value);
            }
        }
        return;
    }
    let mut rest = text;
    while fields.len() < MAX_FIELDS {
        rest = rest.trim_start_matches([' ', '\t', ',', ';', '|', '(', ')']);
        if rest.is_empty() {
            return;
        }
        let key_end = rest.bytes().position(|byte| !is_pair_key(byte)).unwrap_or(rest.len());
        let (key, behind) = rest.split_at_checked(key_end).unwrap_or((rest, ""));
        let Some(value) = behind.strip_prefix('=').filter(|_| !key.is_empty()) else {
            // A word of prose, or a quoted one.
            let end = memchr::memchr2(b' ', b'\t', behind.as_bytes()).unwrap_or(behind.len());
            rest = behind.get(end..).unwrap_or_default();
            continue;
        };
        let (value, behind) = value_of(value);
        fields.push(key, &value);
        rest = behind;
    }
}

/// Returns the sign that divides pairs whose values may have spaces: a tab or a bar behind the first, unquoted value.
fn divider(text: &str) -> Option<char> {
    let (_, value) = text.split_once('=')?;
    let at = value.bytes().position(|byte| matches!(byte, b' ' | b'\t' | b'|' | b'"'))?;
    let found = value.as_bytes().get(at).copied()?;
    let next = value.get(at.checked_add(1)?..)?;
    (matches!(found, b'\t' | b'|') && is_pair_next(next.as_bytes()) && !next.contains("=\"")).then(|| char::from(found))
}

/// Reads the pairs of netfilter in a kernel's message, which stand behind the rule's name: `[name]IN=eth0 OUT= …`.
pub(super) fn packet(text: &str, fields: &mut Fields) {
    /// How long a rule's name and the kernel's time may be.
    const MAX_PREFIX_BYTES: usize = 96;
    let head = text.as_bytes().get(..text.len().min(MAX_PREFIX_BYTES)).unwrap_or_default();
    if let Some(at) = memchr::memmem::find(head, b"IN=") {
        equals(text.get(at..).unwrap_or_default(), fields);
    }
}

/// Reads what stands in brackets: Check Point's `[action:"Accept"; …]`, or VMware's `[Originator@6876 sub=Vimsvc …]`.
pub(super) fn bracketed(text: &str, fields: &mut Fields) {
    let Some(inner) = text.strip_prefix('[') else { return };
    let key_end = inner.bytes().position(|byte| !is_pair_key(byte)).unwrap_or(inner.len());
    let (key, behind) = inner.split_at_checked(key_end).unwrap_or((inner, ""));
    if key.is_empty() {
        return;
    }
    if behind.starts_with(":\"") {
        return quoted_colons(inner, fields);
    }
    if key.contains('@') && behind.starts_with(' ') {
        let end = memchr::memchr(b']', behind.as_bytes()).unwrap_or(behind.len());
        equals(behind.get(..end).unwrap_or_default(), fields);
    } else if let Some(pairs) = behind.find(']').and_then(|end| behind.get(end.saturating_add(1)..)).filter(|text| text.starts_with("IN="))
    {
        // The name of a firewall's rule stands before the packet's pairs.
        equals(pairs, fields);
    }
}

fn quoted_colons(text: &str, fields: &mut Fields) {
    fields.reserve(text.len());
    let mut rest = text;
    while fields.len() < MAX_FIELDS {
        rest = rest.trim_start_matches([' ', ';']);
        let key_end = rest.bytes().position(|byte| !is_pair_key(byte)).unwrap_or(rest.len());
        let (key, behind) = rest.split_at_checked(key_end).unwrap_or((rest, ""));
        let Some(value) = behind.strip_prefix(":\"").filter(|_| !key.is_empty()) else { return };
        let (value, behind) = quoted(value);
        fields.push(key, &value);
        rest = behind;
    }
}

/// Says whether text begins with one of the keys that open lines of [`colons`].
pub(super) fn begins_colons(text: &str) -> bool {
    COLON_KEYS.iter().any(|key| text.starts_with(key))
}

/// Reads `Key: value, Key: value`. A comma within a value is its own when no key follows it.
pub(super) fn colons(text: &str, fields: &mut Fields) {
    fields.reserve(text.len());
    let mut rest = text;
    while fields.len() < MAX_FIELDS {
        let Some((key, behind)) = rest.split_once(": ") else { return };
        let mut end = behind.len();
        for (at, _) in behind.match_indices(", ").take(MAX_FIELDS) {
            let next = behind.get(at.saturating_add(2)..).unwrap_or_default();
            let key_end = next.bytes().position(|byte| !is_key(byte)).unwrap_or(next.len());
            if key_end > 0 && next.get(key_end..).is_some_and(|next| next.starts_with(": ")) {
                end = at;
                break;
            }
        }
        fields.push(key, behind.get(..end).unwrap_or_default());
        let Some(next) = behind.get(end..).and_then(|rest| rest.strip_prefix(", ")) else { return };
        rest = next;
    }
}

const fn is_pair_key(byte: u8) -> bool {
    is_key(byte) || matches!(byte, b'@' | b'/' | b'#')
}

/// Takes a value and returns what follows it.
fn value_of(text: &str) -> (Cow<'_, str>, &str) {
    if let Some(inner) = text.strip_prefix('"') {
        return quoted(inner);
    }
    if let Some((value, behind)) = text.strip_prefix('\'').and_then(|inner| inner.split_once('\''))
        && (behind.is_empty() || behind.starts_with([' ', ',', ';']))
    {
        return (Cow::Borrowed(value), behind);
    }
    let bytes = text.as_bytes();
    let mut from = 0;
    let end = loop {
        let Some(at) = bytes.get(from..).unwrap_or_default().iter().position(|byte| matches!(byte, b' ' | b'\t' | b',' | b';' | b'|'))
        else {
            break bytes.len();
        };
        let at = from.saturating_add(at);
        if matches!(bytes.get(at), Some(b' ' | b'\t')) || is_pair_next(bytes.get(at.saturating_add(1)..).unwrap_or_default()) {
            break at;
        }
        from = at.saturating_add(1);
    };
    let (value, behind) = text.split_at_checked(end).unwrap_or((text, ""));
    (Cow::Borrowed(value), behind)
}

/// Says whether a pair follows, or nothing.
fn is_pair_next(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(MAX_KEY_BYTES)).unwrap_or_default();
    match head.iter().position(|byte| !is_pair_key(*byte)) {
        Some(end) => (end > 0 && head.get(end) == Some(&b'=')) || matches!(head.get(end), Some(b' ' | b'\t')) && end == 0,
        None => head.is_empty(),
    }
}

/// Takes a quoted value behind its first quote; a backslash before a quote or a backslash is an escape.
fn quoted(text: &str) -> (Cow<'_, str>, &str) {
    let bytes = text.as_bytes();
    let mut escaped = false;
    let mut from = 0;
    let end = loop {
        let Some(at) = bytes.get(from..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) else { break bytes.len() };
        let at = from.saturating_add(at);
        match (bytes.get(at), bytes.get(at.saturating_add(1))) {
            (Some(b'"'), _) => break at,
            (_, Some(b'"' | b'\\')) => {
                escaped = true;
                from = at.saturating_add(2);
            }
            _ => from = at.saturating_add(1),
        }
    };
    let (value, behind) = text.split_at_checked(end).unwrap_or((text, ""));
    let value = if escaped { Cow::Owned(unescaped(value)) } else { Cow::Borrowed(value) };
    (value, behind.strip_prefix('"').unwrap_or(behind))
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\\', Some(next @ ('"' | '\\'))) => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: fn(&str, &mut Fields), text: &str) -> Vec<(String, String)> {
        let mut fields = Fields::default();
        reader(text, &mut fields);
        fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn pairs_are_read_however_they_are_divided() {
        let expected = pairs(&[("a", "1"), ("b", "two words"), ("c", "")]);
        for text in ["a=1 b=\"two words\" c=", "a=1,b=\"two words\",c=", "a=1; b='two words'; c=", "a=1|b=\"two words\"|c="] {
            assert_eq!(read(equals, text), expected, "{text}");
        }
        assert_eq!(read(equals, "a=1,2;3 prose \"x\" b=q"), pairs(&[("a", "1,2;3"), ("b", "q")]));
        assert_eq!(read(equals, r#"a="say \"hi\" \ c:\\x" b=1"#), pairs(&[("a", r#"say "hi" \ c:\x"#), ("b", "1")]));
        assert_eq!(read(equals, "a=\"open"), pairs(&[("a", "open")]));
    }

    #[test]
    fn the_pairs_of_others_are_read() {
        assert_eq!(read(bracketed, "[action:\"Accept\"; src:\"10.0.0.1\"; ]"), pairs(&[("action", "Accept"), ("src", "10.0.0.1")]));
        assert_eq!(read(bracketed, "[Originator@6876 sub=Vimsvc opID=ab-1] x=y"), pairs(&[("sub", "Vimsvc"), ("opID", "ab-1")]));
        assert_eq!(
            read(bracketed, "[WAN_LOCAL-3002-A]IN=eth0 OUT= SRC=10.0.0.1"),
            pairs(&[("IN", "eth0"), ("OUT", ""), ("SRC", "10.0.0.1")])
        );
        assert_eq!(read(packet, "[ 12.5] DROP IN=eth0 OUT="), pairs(&[("IN", "eth0"), ("OUT", "")]));
        assert_eq!(
            read(colons, "Severity: Info, Message: Logged in, from 10.0.0.1, ID: 7"),
            pairs(&[("Severity", "Info"), ("Message", "Logged in, from 10.0.0.1"), ("ID", "7")])
        );
    }

    #[test]
    fn there_is_an_end_to_fields() {
        assert_eq!(read(equals, &"a=b ".repeat(1_000)).len(), MAX_FIELDS);
    }
}
