//! Cuts the text of modules into tokens, and finds where modules begin and end.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A descriptor, a type or a keyword.
    Word,
    /// A decimal number.
    Number,
    /// A text between quotation marks, without them.
    Text,
    /// `::=`.
    Assign,
    /// Any other mark, one character each.
    Mark,
}

/// A piece of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    pub(super) line: u32,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// A module's tokens, from what follows BEGIN to what precedes its END.
#[derive(Clone, Debug)]
pub(super) struct ModuleText<'t> {
    pub(super) name: &'t str,
    pub(super) tokens: Vec<Token<'t>>,
    /// Where the module's text lies in the file, header and END included.
    pub(super) range: std::ops::Range<usize>,
    /// What is wrong, and where.
    pub(super) faults: Vec<(u32, &'static str)>,
}

/// How much to believe a quotation mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// A text ends at the next one.
    Balanced,
    /// One is missing somewhere: a text also ends before a line that can only be a definition's.
    Unbalanced,
}

/// Finds the modules in `text`; one without a name gets `name`.
pub(super) fn modules<'t>(text: &'t str, name: &'t str) -> Vec<ModuleText<'t>> {
    let mut found = Vec::new();
    let mut from = 0_usize;
    while let Some(header) = header(text, from, name) {
        let mut module = body(text, &header, Quotes::Balanced);
        if !module.0 {
            let mended = body(text, &header, Quotes::Unbalanced);
            if mended.0 || mended.1.tokens.len() > module.1.tokens.len() {
                module = mended;
            }
        }
        from = module.1.range.end.max(header.body);
        if !header.is_named {
            module.1.faults.push((header.line, "the module has no name: its file's is taken"));
        }
        found.push(module.1);
    }
    found
}

struct Header<'t> {
    name: &'t str,
    is_named: bool,
    start: usize,
    body: usize,
    line: u32,
}

/// Finds the next `NAME … DEFINITIONS ::= BEGIN` at or behind `from` that is not in a comment.
fn header<'t>(text: &'t str, from: usize, otherwise: &'t str) -> Option<Header<'t>> {
    let mut search = from;
    loop {
        let at = search.checked_add(text.get(search..)?.find("DEFINITIONS")?)?;
        let after = at.checked_add("DEFINITIONS".len())?;
        search = after;
        let line_start = text.get(..at)?.rfind('\n').map_or(0, |at| at.saturating_add(1));
        if text.get(line_start..at)?.contains("--") {
            continue;
        }
        // `NAME { iso org(3) … } DEFINITIONS IMPLICIT TAGS ::= BEGIN`, over several lines perhaps, with comments between.
        let (mut name, mut end) = ("", at);
        for line in text.get(from..at)?.split_inclusive('\n').rev() {
            let start = end.saturating_sub(line.len());
            let mut code = line.split_once("--").map_or(line, |(code, _)| code).trim_end();
            if let Some(without) = code.strip_suffix('}') {
                code = without.rsplit_once('{').map_or(without, |(before, _)| before).trim_end();
            }
            end = start;
            if !code.trim().is_empty() {
                name = code.rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
                end = start.saturating_add(code.len()).saturating_sub(name.len());
                break;
            }
        }
        let is_named = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let (name, start) = if is_named { (name, end) } else { (otherwise, at) };
        let mut lexer = Lexer { text, at: after, line: 1, quotes: Quotes::Balanced, faults: Vec::new() };
        let begins = (0..6).find_map(|_| lexer.next().map(|token| token.is("BEGIN")).filter(|begins| *begins)).is_some();
        if begins {
            return Some(Header { name, is_named, start, body: lexer.at, line: line_of(text, start) });
        }
    }
}

/// Reads up to the module's END; the first value says whether there is one.
fn body<'t>(text: &'t str, header: &Header<'t>, quotes: Quotes) -> (bool, ModuleText<'t>) {
    let mut lexer = Lexer { text, at: header.body, line: line_of(text, header.body), quotes, faults: Vec::new() };
    let mut tokens: Vec<Token<'t>> = Vec::new();
    let mut macros = 0_usize;
    let mut ended = false;
    while let Some(token) = lexer.next() {
        if token.is("BEGIN") {
            macros = macros.saturating_add(1);
        } else if token.is("END") {
            if macros == 0 {
                ended = true;
                break;
            }
            macros = macros.saturating_sub(1);
        } else if token.is("DEFINITIONS") && macros == 0 {
            // The next module begins: this one's END is missing.
            lexer.faults.push((token.line, "the module before has no END"));
            lexer.at = lexer.at.saturating_sub("DEFINITIONS".len());
            let name = tokens.pop().map(|name| name.text.len()).unwrap_or_default();
            lexer.at = text.get(..lexer.at).unwrap_or_default().trim_end().len().saturating_sub(name);
            ended = true;
            break;
        }
        tokens.push(token);
    }
    if !ended {
        lexer.faults.push((lexer.line, "the module has no END"));
    }
    let range = header.start..lexer.at;
    (ended, ModuleText { name: header.name, tokens, range, faults: lexer.faults })
}

fn line_of(text: &str, at: usize) -> u32 {
    let lines = text.as_bytes().get(..at).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(lines).unwrap_or(u32::MAX).saturating_add(1)
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '-' | '_')
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    quotes: Quotes,
    faults: Vec<(u32, &'static str)>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes the next `bytes`, counting their lines.
    fn take(&mut self, bytes: usize) -> &'t str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.at = self.at.saturating_add(bytes);
        let lines = taken.as_bytes().iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        taken
    }

    fn next(&mut self) -> Option<Token<'t>> {
        loop {
            let rest = self.rest();
            let blank = rest.len().saturating_sub(rest.trim_start().len());
            self.take(blank);
            let rest = self.rest();
            if !rest.starts_with("--") {
                break;
            }
            self.take(comment(rest));
        }
        let (line, rest) = (self.line, self.rest());
        let first = rest.chars().next()?;
        let (kind, text) = if first == '"' {
            (Kind::Text, self.quoted())
        } else if rest.starts_with("::=") {
            (Kind::Assign, self.take(3))
        } else if is_word(first) && first != '-' {
            let text = self.take(word(rest));
            let number = text.bytes().all(|byte| byte.is_ascii_digit());
            (if number { Kind::Number } else { Kind::Word }, text)
        } else {
            (Kind::Mark, self.take(first.len_utf8()))
        };
        Some(Token { kind, text, line })
    }

    fn quoted(&mut self) -> &'t str {
        self.take(1);
        let rest = self.rest();
        let end = rest.find('"').unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        // A mark with a letter behind it opens a text rather than closes one: an even number may be missing, too.
        let opens = rest.get(end..).and_then(|rest| rest.chars().nth(1)).is_some_and(char::is_alphanumeric);
        if (self.quotes == Quotes::Unbalanced || opens)
            && let Some(cut) = definition_inside(text)
        {
            self.faults.push((self.line, "a text has no closing quotation mark"));
            return self.take(cut);
        }
        let text = self.take(end);
        self.take(usize::from(end < rest.len()));
        text
    }
}

/// Returns the length of the word at the start of `text`: it does not end in a hyphen, and no comment is in it.
fn word(text: &str) -> usize {
    let end = text.find(|char| !is_word(char)).unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default();
    let word = word.find("--").and_then(|at| word.get(..at)).unwrap_or(word);
    word.trim_end_matches('-').len()
}

/// Returns the length of the comment at the start of `text`. "Comments … end with the next pair of hyphens or the end of the line"
/// (X.208 §8.6); but a pair in the middle of a sentence is no end: only before what can be part of a definition.
fn comment(text: &str) -> usize {
    let line = text.find('\n').unwrap_or(text.len());
    let comment = text.get(..line).unwrap_or_default();
    let dashes = comment.len().saturating_sub(comment.trim_start_matches('-').len());
    let mut from = dashes;
    while let Some(at) = comment.get(from..).and_then(|rest| rest.find("--")) {
        let run = from.saturating_add(at);
        let rest = comment.get(run..).unwrap_or_default().trim_start_matches('-');
        let after = comment.len().saturating_sub(rest.len());
        if continues_code(rest.trim_start()) {
            return after;
        }
        from = after;
    }
    line
}

/// Returns whether the rest of a line behind a comment reads like part of a definition.
fn continues_code(rest: &str) -> bool {
    if rest.starts_with(['{', '}', ',', ';']) || rest.starts_with("::=") {
        return true;
    }
    let word = rest.find(|char| !is_word(char)).and_then(|end| rest.split_at_checked(end));
    word.is_some_and(|(word, after)| {
        !word.is_empty() && after.trim_start().starts_with([',', '(', '}']) && after.trim_end().ends_with([',', '}', ')'])
    })
}

/// Returns where a text that swallowed a definition should have ended: before the line that ends the definition it is in.
fn definition_inside(text: &str) -> Option<usize> {
    let mut at = 0_usize;
    for line in text.split_inclusive('\n') {
        let code = line.trim();
        let ends = code.strip_prefix("::=").is_some_and(|value| {
            let value = value.trim();
            value.starts_with('{') || value.parse::<u32>().is_ok()
        });
        if ends && at > 0 {
            return Some(at);
        }
        at = at.saturating_add(line.len());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(&str, u32)> {
        modules(text, "F").iter().flat_map(|module| module.tokens.iter().map(|token| (token.text, token.line))).collect()
    }

    #[test]
    fn comments_and_texts_are_told_from_tokens() {
        let text = "-- X DEFINITIONS ::= BEGIN\nM DEFINITIONS ::= BEGIN\na --one-- , b -- two -- three\n\"x -- y\n\" c---- d\n----\ne-f- 12 ::={END";
        let expected = [("a", 3), (",", 3), ("b", 3), ("x -- y\n", 4), ("c", 5), ("e-f", 7), ("-", 7), ("12", 7), ("::=", 7), ("{", 7)];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn several_modules_in_one_file_are_found_with_macros_and_prose_between() {
        let text = "It's \"prose\nA { iso 1 } DEFINITIONS ::= BEGIN M MACRO ::= BEGIN x END y END\n don't\nB\n DEFINITIONS IMPLICIT TAGS ::= BEGIN z END";
        let found = modules(text, "F");
        assert_eq!(found.iter().map(|module| (module.name, module.tokens.len())).collect::<Vec<_>>(), [("A", 7), ("B", 1)]);
    }

    #[test]
    fn a_modules_name_may_stand_before_comments_or_nowhere() {
        let text = "-- old\nA --{ iso }\n--FORCE \"x\"\n\nDEFINITIONS ::= BEGIN a END -- b\n\nDEFINITIONS ::= BEGIN c END";
        let found = modules(text, "F");
        assert_eq!(found.iter().map(|module| (module.name, module.faults.len())).collect::<Vec<_>>(), [("A", 0), ("F", 1)]);
    }

    #[test]
    fn a_missing_quotation_mark_costs_one_text() {
        let text =
            "M DEFINITIONS ::= BEGIN\na OBJECT-TYPE DESCRIPTION \"never ends\n  ::= { b 1 }\nc X DESCRIPTION \"good\"\n::= { b 2 }\nEND";
        let [module] = <[_; 1]>::try_from(modules(text, "F")).unwrap();
        assert_eq!(module.faults.len(), 1);
        assert_eq!(module.tokens.iter().filter(|token| token.is("b")).count(), 2);
    }

    #[test]
    fn a_module_without_end_ends_where_the_next_begins() {
        let found = modules("A DEFINITIONS ::= BEGIN a b\nB DEFINITIONS ::= BEGIN c END", "F");
        assert_eq!(found.iter().map(|module| (module.name, module.tokens.len())).collect::<Vec<_>>(), [("A", 2), ("B", 1)]);
    }
}
