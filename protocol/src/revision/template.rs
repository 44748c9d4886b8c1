//! Templates: the only texts from which an alert is made. Literal text with `{name}` for released fields.

/// What stands for a field that the event does not have, or that is empty.
pub const ABSENT: &str = "-";

/// Most bytes of a template's own text.
pub const MAX_TEMPLATE_BYTES: usize = 1024;

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Name(String),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder's name is none.
    #[error("{{{0}}} is not a placeholder: a name has 1 to 64 of the characters a-z, 0-9 and '_'")]
    Name(String),
    /// A `}` that closes nothing.
    #[error("the '}}' at byte {0} closes nothing: write '}}}}' for a brace")]
    Stray(usize),
    /// The text is too long.
    #[error("a template has at most {MAX_TEMPLATE_BYTES} bytes, not {0}")]
    Size(usize),
    /// A `{` that is not closed.
    #[error("the '{{' at byte {0} is not closed: write '{{{{' for a brace")]
    Unclosed(usize),
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::Size(text.len()));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            match char {
                '{' | '}' if chars.next_if(|(_, next)| *next == char).is_some() => literal.push(char),
                '}' => return Err(TemplateError::Stray(at)),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            None => return Err(TemplateError::Unclosed(at)),
                            Some((_, '}')) => break,
                            Some((_, char)) => name.push(char),
                        }
                    }
                    if !is_name(&name) {
                        return Err(TemplateError::Name(name.chars().take(80).collect()));
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Name(name));
                }
                _ => literal.push(char),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// Returns the names of the placeholders, in order, doubles included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Name(name) => Some(name.as_str()),
        })
    }

    /// Returns whether the template is the empty text.
    pub const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Fills the placeholders in; [`ABSENT`] stands for a field that `lookup` does not have.
    pub fn render<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
        // Most fields are short: a text is seldom moved while it is filled in.
        let room = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.len(),
            Piece::Name(_) => 24,
        });
        let mut out = String::with_capacity(room.sum());
        for piece in &self.pieces {
            out.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Name(name) => lookup(name).unwrap_or(ABSENT),
            });
        }
        out
    }
}

/// Returns whether `text` can name a released field or a label.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> String {
        Template::parse(text).unwrap().render(|name| match name {
            "host" => Some("db1"),
            "empty" => Some(""),
            _ => None,
        })
    }

    #[test]
    fn placeholders_are_filled_and_braces_survive() {
        assert_eq!(render("{host}/disk"), "db1/disk");
        assert_eq!(render("{{{host}}} {{x}}"), "{db1} {x}");
        assert_eq!(render("{gone}/{empty}"), "-/");
        assert_eq!(render(""), "");
    }

    #[test]
    fn faults_are_named_with_their_place() {
        assert_eq!(Template::parse("a {b"), Err(TemplateError::Unclosed(2)));
        assert_eq!(Template::parse("a }"), Err(TemplateError::Stray(2)));
        assert_eq!(Template::parse("{}"), Err(TemplateError::Name(String::new())));
        assert_eq!(Template::parse("{A}"), Err(TemplateError::Name("A".to_owned())));
        assert_eq!(Template::parse(&"x".repeat(1025)), Err(TemplateError::Size(1025)));
    }

    #[test]
    fn names_are_listed_in_order() {
        assert_eq!(Template::parse("{a}x{b}{a}").unwrap().names().collect::<Vec<_>>(), ["a", "b", "a"]);
    }
}
