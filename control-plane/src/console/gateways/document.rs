//! A configuration document as the editor shows it: its text, the numbers of its lines, and which of them are marked. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Widest that the editor starts out.
const MAX_COLUMNS: usize = 400;

/// A document in the editor.
pub(super) struct Document {
    /// The text, lines ended by LF.
    pub(super) text: String,
    /// Its lines, a last empty one included.
    pub(super) lines: usize,
    /// Its longest line, in characters.
    pub(super) columns: usize,
}

impl Document {
    /// Takes a text; a browser sends CRLF where it shows a line's end.
    pub(super) fn new(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let lines = text.split('\n').count();
        let columns = text.split('\n').map(|line| line.chars().count()).max().unwrap_or(0).saturating_add(2).clamp(40, MAX_COLUMNS);
        Self { text, lines, columns }
    }

    /// Writes the line numbers as HTML, those in `marked` as `mark` elements. Numbers need no escaping.
    pub(super) fn gutter(&self, marked: &BTreeSet<u32>) -> String {
        let mut out = String::with_capacity(self.lines.saturating_mul(6));
        for line in 1..=u32::try_from(self.lines).unwrap_or(u32::MAX) {
            // Writing to a String cannot fail.
            let _infallible = if marked.contains(&line) { writeln!(out, "<mark>{line}</mark>") } else { writeln!(out, "{line}") };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_number_and_the_marked_ones_a_mark() {
        let document = Document::new("{\r\n  \"format\": 1\r\n}\n");
        assert_eq!((document.text.as_str(), document.lines, document.columns), ("{\n  \"format\": 1\n}\n", 4, 40));
        assert_eq!(document.gutter(&BTreeSet::from([2])), "1\n<mark>2</mark>\n3\n4\n");
    }
}
