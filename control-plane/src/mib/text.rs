//! Makes plain text of a file: whatever an editor, a mail program or a printed standard did to it is undone, line by line, so that line
//! numbers stay those of the file.

/// How the months begin, as headings of printed pages write them.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the text of `bytes`.
///
/// UTF-16 with a byte order mark is decoded; what is not UTF-8 is taken as ISO 8859-1; line ends become one kind; pages' headings and
/// footings become empty lines; of an HTML page the text is left.
pub(super) fn plain(bytes: &[u8]) -> String {
    let text = ends_and_marks(&decoded(bytes));
    without_pages(&if is_html(&text) { without_tags(&text) } else { text })
}

fn decoded(bytes: &[u8]) -> String {
    let wide = |from: fn([u8; 2]) -> u16, rest: &[u8]| {
        let units = rest.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok()).map(from);
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => decoded(rest),
        _ => std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned),
    }
}

/// One kind of line end; no characters that only an old editor means something by; the quotation marks that the SMI knows.
fn ends_and_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        out.push(match char {
            '\r' => {
                chars.next_if_eq(&'\n');
                '\n'
            }
            '\n' | '\t' => char,
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{93}' | '\u{94}' => '"',
            '\u{2018}' | '\u{2019}' | '\u{91}' | '\u{92}' => '\'',
            '\u{2010}'..='\u{2015}' | '\u{96}' | '\u{97}' => '-',
            char if char.is_control() || char.is_whitespace() || matches!(char, '\u{feff}' | '\u{200b}') => ' ',
            char => char,
        });
    }
    out
}

fn is_html(text: &str) -> bool {
    let begin = text.get(..text.floor_char_boundary(4096)).unwrap_or_default().to_ascii_lowercase();
    ["<html", "<!doctype", "<pre", "<body"].iter().any(|tag| begin.contains(tag))
}

fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (replacement, after) = markup(from);
        out.push_str(&replacement);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Returns what stands for the tag or character reference at the start of `from`, and what follows it.
fn markup(from: &str) -> (String, &str) {
    let is_tag = from.strip_prefix('<').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!')));
    if is_tag && let Some((tag, after)) = from.split_once('>') {
        // Lines inside a tag still count.
        return ("\n".repeat(tag.matches('\n').count()), after);
    }
    if let Some((name, after)) = from.strip_prefix('&').and_then(|rest| rest.split_once(';')) {
        let number = name.strip_prefix('#').and_then(|number| number.parse().ok()).and_then(char::from_u32);
        let known = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "nbsp" => Some(' '),
            _ => number,
        };
        if let Some(char) = known {
            return (char.into(), after);
        }
    }
    let mut chars = from.chars();
    let first = chars.next().map(String::from).unwrap_or_default();
    (first, chars.as_str())
}

fn without_pages(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if !is_page_mark(line.trim()) {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// Returns whether a line is the footing of a printed page (`McCloghrie & Kastenholz  Standards Track  [Page 7]`, `T. Otani  Expires
/// Sept. 30, 2006  9`) or the heading of the next (`RFC 2863  The Interfaces Group MIB  June 2000`). Inside a text it is no loss.
fn is_page_mark(line: &str) -> bool {
    let ends_like_one = line.ends_with(|c: char| c.is_ascii_digit() || c == ']');
    if !ends_like_one
        || !(line.contains("   ") || line.starts_with("RFC "))
        || line.contains(['"', '{', '}', ';', '='])
        || line.contains("--")
    {
        return false;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_year = |word: &str| word.len() == 4 && word.parse::<u16>().is_ok_and(|year| (1980..2100).contains(&year));
    let is_month = |word: &str| MONTHS.iter().any(|month| word.starts_with(month));
    let is_number = |word: &&str| word.trim_end_matches(']').parse::<u16>().is_ok();
    let heading = matches!(words.as_slice(), [.., month, year] if is_year(year) && is_month(month));
    let footing = words.windows(2).any(|pair| matches!(pair, ["Page" | "[Page", number] if is_number(number)));
    let draft = words.contains(&"Expires") && words.iter().any(|word| is_year(word));
    heading || footing || draft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_and_line_ends_become_one() {
        assert_eq!(plain(b"a\r\nb\rc\x1a"), "a\nb\nc \n");
        assert_eq!(plain(b"\xef\xbb\xbfM\xfcller"), "Müller\n");
        assert_eq!(plain(b"\xff\xfea\0\n\0"), "a\n");
        assert_eq!(plain("“x” \u{a0}–".as_bytes()), "\"x\"  -\n");
    }

    #[test]
    fn of_a_page_of_the_web_the_text_is_left() {
        assert_eq!(plain(b"<html><body\n><pre>\nA ::= { b 1 }  -- a &lt; b &amp; c\n</pre>"), "\n\nA ::= { b 1 }  -- a < b & c\n");
        assert_eq!(plain(b"-- a < b && c"), "-- a < b && c\n");
    }

    #[test]
    fn pages_of_a_printed_rfc_join_without_a_trace() {
        let text = "x\n\nMcCloghrie & Kastenholz     Standards Track      [Page 7]\n\x0c\nRFC 2863      The Interfaces Group MIB     June 2000\n\ny";
        assert_eq!(plain(text.as_bytes()), "x\n\n\n \n\n\ny\n");
        assert_eq!(
            plain(b"  T. Otani et al.     Expires Sept. 30, 2006     9\n a   OF     Page 3   2/9/2004\n     EFM OAM MIB     March 2005"),
            "\n\n\n"
        );
        assert_eq!(plain(b"::= { a   2005 }\n-- March 2005\n"), "::= { a   2005 }\n-- March 2005\n");
    }
}
