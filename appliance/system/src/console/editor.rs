//! Edits one line as bytes of a terminal come in. Pure: says what to echo, and knows neither terminal nor clock.
//!
//! The console edits lines itself, so that it knows when a person has begun to type (no refresh then), can hide a secret, and gets
//! Ctrl-C as a byte instead of a signal.

/// Longest line, in bytes: a long RSA key is under 3,000.
pub const MAX_LINE_BYTES: usize = 8 * 1_024;
/// Longest escape sequence that is swallowed.
const MAX_ESCAPE_BYTES: u8 = 16;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CLEAR_LINE: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What the person sees of what they type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The characters.
    Plain,
    /// One star for each character.
    Stars,
}

/// What a byte did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It changed the line or nothing; this is to be shown.
    Echo(String),
    /// The person wants no more: Ctrl-D on an empty line.
    End,
    /// Ctrl-C; the line is gone.
    Interrupt,
    /// The line is done.
    Line(String),
}

/// A line in the making.
#[derive(Debug)]
pub struct LineEditor {
    line: String,
    echo: Echo,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// After a carriage return: the line feed of a pair is no second line.
    AfterReturn,
    /// In an escape sequence `ESC [` or `ESC O` with so many bytes.
    Sequence(u8),
    /// After ESC.
    Escape,
    Typing,
}

impl LineEditor {
    /// Returns an editor with an empty line.
    pub fn new(echo: Echo) -> Self {
        Self { line: String::new(), echo, state: State::Typing }
    }

    /// Says how the next line is echoed.
    pub fn set_echo(&mut self, echo: Echo) {
        self.echo = echo;
    }

    /// Returns whether nothing has been typed.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Drops what was typed, for example before a new question.
    pub fn clear(&mut self) {
        self.line.clear();
    }

    /// Takes one byte from the terminal. Only printable ASCII gets into a line; what else arrives is dropped.
    pub fn feed(&mut self, byte: u8) -> Step {
        match std::mem::replace(&mut self.state, State::Typing) {
            State::AfterReturn if byte == b'\n' => Step::Echo(String::new()),
            State::Escape => {
                if matches!(byte, b'[' | b'O') {
                    self.state = State::Sequence(0);
                }
                Step::Echo(String::new())
            }
            State::Sequence(bytes) => {
                // A sequence ends with a byte from @ to ~ (ECMA-48 §5.4).
                if !(b'@'..=b'~').contains(&byte) && byte >= b' ' && bytes < MAX_ESCAPE_BYTES {
                    self.state = State::Sequence(bytes.saturating_add(1));
                }
                Step::Echo(String::new())
            }
            State::AfterReturn | State::Typing => self.typed(byte),
        }
    }

    fn typed(&mut self, byte: u8) -> Step {
        match byte {
            b'\r' | b'\n' => {
                if byte == b'\r' {
                    self.state = State::AfterReturn;
                }
                Step::Line(std::mem::take(&mut self.line))
            }
            INTERRUPT => {
                self.line.clear();
                Step::Interrupt
            }
            END if self.line.is_empty() => Step::End,
            BACKSPACE | DELETE => Step::Echo(rubbed_out(usize::from(self.line.pop().is_some()))),
            CLEAR_LINE => Step::Echo(rubbed_out(std::mem::take(&mut self.line).len())),
            ESCAPE => {
                self.state = State::Escape;
                Step::Echo(String::new())
            }
            b' '..=b'~' if self.line.len() >= MAX_LINE_BYTES => Step::Echo("\x07".to_owned()),
            b' '..=b'~' => {
                let character = char::from(byte);
                self.line.push(character);
                Step::Echo(match self.echo {
                    Echo::Plain => character.to_string(),
                    Echo::Stars => "*".to_owned(),
                })
            }
            _ => Step::Echo(String::new()),
        }
    }
}

/// Takes back `characters` on the screen.
fn rubbed_out(characters: usize) -> String {
    "\x08 \x08".repeat(characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds all and returns the steps that are more than an echo, and the echo.
    fn feed(editor: &mut LineEditor, bytes: &[u8]) -> (Vec<Step>, String) {
        let mut steps = Vec::new();
        let mut echo = String::new();
        for byte in bytes {
            match editor.feed(*byte) {
                Step::Echo(text) => echo.push_str(&text),
                step @ (Step::End | Step::Interrupt | Step::Line(_)) => steps.push(step),
            }
        }
        (steps, echo)
    }

    fn lines(bytes: &[u8]) -> Vec<Step> {
        feed(&mut LineEditor::new(Echo::Plain), bytes).0
    }

    fn line(text: &str) -> Step {
        Step::Line(text.to_owned())
    }

    #[test]
    fn every_way_to_end_a_line_gives_one_line() {
        assert_eq!(lines(b"a\nb\rc\r\nd\n"), [line("a"), line("b"), line("c"), line("d")]);
    }

    #[test]
    fn rubbing_out_and_clearing_change_line_and_screen() {
        let (steps, echo) = feed(&mut LineEditor::new(Echo::Plain), b"ab\x7fc\x15xy\x08\x08\x08z\n");
        assert_eq!((steps, echo.matches('\x08').count()), (vec![line("z")], 2 * (1 + 2 + 2)));
    }

    #[test]
    fn secrets_are_not_echoed() {
        let (steps, echo) = feed(&mut LineEditor::new(Echo::Stars), b"postern1.x\n");
        assert_eq!((steps, echo.as_str()), (vec![line("postern1.x")], "**********"));
    }

    #[test]
    fn arrow_keys_and_control_bytes_leave_no_trace() {
        assert_eq!(lines(b"a\x1b[Ab\x1b[1;5C\x1bOP\x1bx\x00\x1a\x1c\xc3\xbcc\n"), [line("abc")]);
    }

    #[test]
    fn control_c_drops_the_line_and_control_d_ends_only_an_empty_one() {
        assert_eq!(lines(b"abc\x03d\x04\n\x04"), [Step::Interrupt, line("d"), Step::End]);
    }

    #[test]
    fn a_line_has_an_end() {
        let steps = lines(&[vec![b'a'; MAX_LINE_BYTES * 2], vec![b'\n']].concat());
        assert_eq!(steps, [line(&"a".repeat(MAX_LINE_BYTES))]);
    }
}
