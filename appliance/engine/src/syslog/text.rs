//! Makes bytes readable: what senders call text is UTF-8, mostly, or Windows-1252.

/// What stands for bytes and characters that nobody can read.
const REPLACEMENT: char = '\u{fffd}';

/// Most bytes above ASCII in a row that are still taken for letters of Windows-1252: in scripts of two bytes a character, more follow.
const MAX_RUN: usize = 2;

/// The characters of Windows-1252 for the bytes 0x80 to 0x9f; U+FFFD where it has none.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}', '\u{fffd}', '‘', '’', '“', '”',
    '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

/// Makes bytes readable: control characters, save tab and line ends, become U+FFFD, and so does what is not UTF-8, unless all of it
/// reads as Windows-1252 without a doubt.
///
/// Without a doubt: nothing in it is UTF-8 beyond ASCII, nothing is a control character, and every run of bytes above ASCII is one
/// or two letters beside ASCII letters or digits, or one sign among them. The result has at most three times as many bytes.
pub(super) fn readable(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => shown(text),
        Err(_) if is_windows_1252(bytes) => bytes.iter().map(|byte| windows_1252(*byte)).collect(),
        Err(_) => shown(&String::from_utf8_lossy(bytes)),
    }
}

/// Returns bytes as text if it is UTF-8 without control characters, save tabs.
pub(super) fn shown_as_is(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let hidden = bytes.iter().fold(false, |any, byte| any | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f));
    // U+0080 to U+009F are control characters as well: 0xC2 begins them.
    (!hidden && (memchr::memchr(0xc2, bytes).is_none() || !text.chars().any(|char| char.is_control() && char != '\t'))).then_some(text)
}

/// Replaces control characters.
fn shown(text: &str) -> String {
    let hidden = |char: char| char.is_control() && !matches!(char, '\t' | '\n' | '\r');
    if text.chars().any(hidden) { text.replace(hidden, "\u{fffd}") } else { text.to_owned() }
}

/// Says whether bytes that are not UTF-8 are Windows-1252 without a doubt.
fn is_windows_1252(bytes: &[u8]) -> bool {
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        // A sequence that the end cuts is a truncated line.
        let cut = chunks.peek().is_none() && chunk.invalid().first().is_some_and(|byte| sequence_bytes(*byte) > chunk.invalid().len());
        if !chunk.valid().is_ascii() || cut {
            return false;
        }
    }
    let hidden = |byte: &u8| (*byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || windows_1252(*byte).is_control();
    let unknown = |byte: &u8| windows_1252(*byte) == REPLACEMENT;
    let mut high = 0_usize;
    let mut beside_word = false;
    let mut before = 0;
    for byte in bytes {
        if hidden(byte) || unknown(byte) {
            return false;
        }
        if byte.is_ascii() {
            if high > 0 && !beside_word && !byte.is_ascii_alphanumeric() {
                return false;
            }
            high = 0;
        } else {
            if high == 0 {
                beside_word = before_is_word(before);
            }
            high = high.saturating_add(1);
        }
        if high > MAX_RUN {
            return false;
        }
        before = *byte;
    }
    high == 0 || beside_word
}

const fn before_is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Returns how many bytes a UTF-8 sequence has that begins with `byte`.
const fn sequence_bytes(byte: u8) -> usize {
    match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252.get(usize::from(byte & 0x1f)).copied().unwrap_or(REPLACEMENT),
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_stays_and_control_characters_do_not() {
        assert_eq!(readable("grün\tin\u{1b}[1m".as_bytes()), "grün\tin\u{fffd}[1m");
        assert_eq!(readable("a\u{85}b".as_bytes()), "a\u{fffd}b");
        assert_eq!(readable(b"plain"), "plain");
    }

    #[test]
    fn clean_windows_1252_is_read() {
        assert_eq!(readable(b"T\xfcr ge\xf6ffnet"), "Tür geöffnet");
        assert_eq!(readable(b"Temperatur 25\xb0C, Preis 5\x80"), "Temperatur 25°C, Preis 5€");
        assert_eq!(readable(b"d\xe9j\xe0 vu"), "déjà vu");
        assert_eq!(readable(b"\xdcberlast"), "Überlast");
    }

    #[test]
    fn what_may_be_something_else_is_replaced() {
        for bytes in [
            b"gr\xc3\xbcn und gr\xfcn".as_slice(), // mixed
            b"b\xfcro \x1b[31m",                   // a control character
            b"caf\xc3",                            // UTF-8, cut
            b"\xd6\xd0\xce\xc4 x",                 // GBK
            b"a \xff\xfe b",                       // nothing beside it
            b"x\x81y",                             // not in Windows-1252
        ] {
            assert!(readable(bytes).contains(REPLACEMENT), "{bytes:?}");
            assert!(readable(bytes).len() <= bytes.len() * 3);
        }
    }
}
