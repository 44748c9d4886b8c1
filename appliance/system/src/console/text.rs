//! Makes text from outside safe for a terminal: printable ASCII only, in lines of a screen's width.

/// Width of every line that the console prints: a serial terminal's.
pub const WIDTH: usize = 78;
/// Longest text that is shown of one thing; the rest is cut.
const MAX_CHARS: usize = 500;

/// Returns `text` in printable ASCII: line ends and tabs become spaces, anything else that a terminal might obey becomes `?`.
pub fn printable(text: &str) -> String {
    let safe = |character: char| match character {
        '\n' | '\r' | '\t' => ' ',
        ' '..='~' => character,
        _ => '?',
    };
    text.chars().take(MAX_CHARS).map(safe).collect()
}

/// Returns `label` and `text` as lines of at most [`WIDTH`]: further lines stand under the beginning of `text`.
pub fn labelled(label: &str, text: &str) -> Vec<String> {
    const LABEL: usize = 16;
    let mut lines = Vec::new();
    for part in wrapped(&printable(text), WIDTH - LABEL) {
        let label = if lines.is_empty() { label } else { "" };
        lines.push(format!("{label:<LABEL$}{part}").trim_end().to_owned());
    }
    lines
}

/// Returns `text` wrapped, its own line ends kept; ends with one.
pub fn paragraph(text: &str) -> String {
    let lines: Vec<String> = text.lines().flat_map(|line| wrapped(&printable(line), WIDTH)).collect();
    lines.join("\n") + "\n"
}

/// Breaks ASCII text at spaces, and a word that is longer than a line anywhere.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars() {
            if line.len() >= width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(character);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(printable("gw\x1b[2J\x07\u{9b}31m\u{202e}ü\r\nx"), "gw?[2J??31m??  x");
        assert_eq!(printable(&"a".repeat(10_000)).len(), MAX_CHARS);
    }

    #[test]
    fn a_paragraph_keeps_its_lines_and_nothing_else() {
        assert_eq!(paragraph("a\n\x1bb\tc"), "a\n?b c\n");
    }

    #[test]
    fn long_texts_are_wrapped_under_their_beginning() {
        let lines = labelled("Reason", &"word ".repeat(30));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert!(lines[0].starts_with("Reason          word") && lines[1].starts_with("                word"));
        assert!(labelled("Key", &"x".repeat(200)).iter().all(|line| line.len() <= WIDTH));
        assert_eq!(labelled("Empty", ""), ["Empty"]);
    }
}
