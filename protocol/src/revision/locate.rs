//! Finds the line and column of a place in a document, and the keys that an object gives twice.
//!
//! serde keeps neither, so the text is walked once more. The walk expects JSON that `serde_json` has already accepted.

use std::fmt;

/// Deepest nesting of a document; a good one needs 8.
const MAX_DEPTH: usize = 32;

/// Most characters of a key that a path shows.
const MAX_KEY_CHARS: usize = 64;

/// A place in a document: the way to it from the root.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// An entry of a list.
    Index(&'a Self, usize),
    /// A member of an object.
    Key(&'a Self, &'a str),
    /// The whole document.
    Root,
}

/// What the text holds where: one node for each value.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Where the member's key begins; the value itself in a list or at the root.
    pub(super) key_at: usize,
    /// Where the value begins.
    pub(super) at: usize,
    /// Just behind the value.
    pub(super) end: usize,
    /// What is in it.
    pub(super) content: Content,
}

/// What a value holds.
#[derive(Debug, Default)]
pub(super) enum Content {
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    #[default]
    Scalar,
}

/// Why the walk gave up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nested deeper than [`MAX_DEPTH`], at this byte, below this path.
    Depth(usize, String),
    /// A key that is not a text, at this byte.
    Key(usize),
    /// The text ended, or is not JSON, at this byte.
    Syntax(usize),
}

impl Fault {
    /// Puts `place`, which holds what the fault is about, before its path; only the beginning of a path is kept.
    fn below(self, place: &Place<'_>) -> Self {
        match self {
            Self::Depth(at, path) => {
                let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
                Self::Depth(at, format!("{place}{dot}{path}"))
            }
            Self::Key(_) | Self::Syntax(_) => self,
        }
    }
}

impl<'a> Place<'a> {
    /// Returns the place of the member called `key`.
    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    /// Returns the place of the entry number `index`.
    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }

    /// Finds the place in the tree below `root`, or the deepest place on the way that is there.
    pub(super) fn find<'t>(&self, root: &'t Node) -> &'t Node {
        self.lookup(root).unwrap_or_else(|found| found)
    }

    fn lookup<'t>(&self, root: &'t Node) -> Result<&'t Node, &'t Node> {
        match self {
            Self::Root => Ok(root),
            Self::Index(parent, index) => {
                let node = parent.lookup(root)?;
                node.entry(*index).ok_or(node)
            }
            Self::Key(parent, key) => {
                let node = parent.lookup(root)?;
                node.member(key).ok_or(node)
            }
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(parent, key) => {
                if !matches!(parent, Self::Root) {
                    write!(f, "{parent}.")?;
                }
                key.chars().take(MAX_KEY_CHARS).try_for_each(|char| write!(f, "{char}"))
            }
        }
    }
}

impl Node {
    /// Walks `text`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        Walk { text, at: 0 }.value(0)
    }

    /// Returns the entries when this is a list.
    pub(super) fn entries(&self) -> Option<&[Self]> {
        match &self.content {
            Content::List(entries) => Some(entries),
            Content::Object(_) | Content::Scalar => None,
        }
    }

    /// Returns the members when this is an object, in order, doubles included.
    pub(super) fn members(&self) -> Option<&[(String, Self)]> {
        match &self.content {
            Content::Object(members) => Some(members),
            Content::List(_) | Content::Scalar => None,
        }
    }

    /// Returns the member called `key`.
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        self.members()?.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    fn entry(&self, index: usize) -> Option<&Self> {
        self.entries()?.get(index)
    }

    /// Calls `report` for each key that its object already has, with its place and where it begins.
    pub(super) fn repeated_keys(&self, place: &Place<'_>, report: &mut impl FnMut(&Place<'_>, usize)) {
        match &self.content {
            Content::List(entries) => {
                for (index, node) in entries.iter().enumerate() {
                    node.repeated_keys(&place.index(index), report);
                }
            }
            Content::Object(members) => {
                let mut seen = std::collections::BTreeSet::new();
                for (key, node) in members {
                    let inner = place.key(key);
                    if !seen.insert(key.as_str()) {
                        report(&inner, node.key_at);
                    }
                    node.repeated_keys(&inner, report);
                }
            }
            Content::Scalar => {}
        }
    }
}

/// Returns line and column, both from 1, of the byte `at`.
pub(super) fn line_and_column(text: &str, at: usize) -> (u32, u32) {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let line = before.iter().filter(|b| **b == b'\n').count();
    let column = before.iter().rev().take_while(|b| **b != b'\n').count();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
    (number(line), number(column))
}

struct Walk<'t> {
    text: &'t str,
    at: usize,
}

impl Walk<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.space();
        let at = self.at;
        if depth > MAX_DEPTH {
            return Err(Fault::Depth(at, String::new()));
        }
        let content = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => {
                self.text()?;
                Content::Scalar
            }
            Some(_) => {
                while self.peek().is_some_and(|b| !matches!(b, b',' | b']' | b'}' | b':' | b'"' | b' ' | b'\t' | b'\r' | b'\n')) {
                    self.step();
                }
                if self.at == at {
                    return Err(Fault::Syntax(at));
                }
                Content::Scalar
            }
            None => return Err(Fault::Syntax(at)),
        };
        Ok(Node { key_at: at, at, end: self.at, content })
    }

    fn object(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut members = Vec::new();
        self.step();
        if self.next_is(b'}') {
            return Ok(Content::Object(members));
        }
        loop {
            self.space();
            let key_at = self.at;
            self.text()?;
            // JSON's own reader undoes the escapes, so that "a" and its escaped spelling are one key.
            let key: String = self.text.get(key_at..self.at).and_then(|key| serde_json::from_str(key).ok()).ok_or(Fault::Key(key_at))?;
            if !self.next_is(b':') {
                return Err(Fault::Syntax(self.at));
            }
            let below = |fault| Fault::below(fault, &Place::Root.key(&key));
            let mut node = self.value(depth.saturating_add(1)).map_err(below)?;
            node.key_at = key_at;
            members.push((key, node));
            if self.next_is(b'}') {
                return Ok(Content::Object(members));
            }
            if !self.next_is(b',') {
                return Err(Fault::Syntax(self.at));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut entries = Vec::new();
        self.step();
        if self.next_is(b']') {
            return Ok(Content::List(entries));
        }
        loop {
            let below = |fault| Fault::below(fault, &Place::Root.index(entries.len()));
            let node = self.value(depth.saturating_add(1)).map_err(below)?;
            entries.push(node);
            if self.next_is(b']') {
                return Ok(Content::List(entries));
            }
            if !self.next_is(b',') {
                return Err(Fault::Syntax(self.at));
            }
        }
    }

    /// Skips a text in quotes.
    fn text(&mut self) -> Result<(), Fault> {
        let from = self.at;
        if self.peek() != Some(b'"') {
            return Err(Fault::Syntax(from));
        }
        self.step();
        loop {
            match self.peek() {
                None => return Err(Fault::Syntax(from)),
                Some(b'"') => {
                    self.step();
                    return Ok(());
                }
                Some(b'\\') => {
                    self.step();
                    self.step();
                }
                Some(_) => self.step(),
            }
        }
    }

    /// Skips white space and, when `byte` comes next, also that.
    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        if there {
            self.step();
        }
        there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.step();
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n \"a\": [1, {\"b\\u0063\" : \"x]\\\"\"}],\n \"a\": null }";

    #[test]
    fn places_are_found_by_line_and_column() {
        let tree = Node::parse(TEXT).unwrap();
        let a = Place::Root.key("a");
        let one = a.index(1);
        let bc = one.key("bc");
        assert_eq!(bc.to_string(), "a[1].bc");
        assert_eq!(line_and_column(TEXT, bc.find(&tree).at), (2, 24));
        assert_eq!(line_and_column(TEXT, bc.find(&tree).key_at), (2, 12));
        assert_eq!(bc.key("gone").find(&tree).at, bc.find(&tree).at, "the deepest place that is there");
    }

    #[test]
    fn repeated_keys_are_reported() {
        let mut found = Vec::new();
        Node::parse(TEXT).unwrap().repeated_keys(&Place::Root, &mut |place, at| found.push((place.to_string(), line_and_column(TEXT, at))));
        assert_eq!(found, [("a".to_owned(), (3, 2))]);
    }

    #[test]
    fn what_is_not_json_ends_the_walk_without_a_panic() {
        for (text, fault) in [
            ("", Fault::Syntax(0)),
            ("[1", Fault::Syntax(2)),
            ("{\"a\"", Fault::Syntax(4)),
            ("{\"a", Fault::Syntax(1)),
            ("\"\\", Fault::Syntax(0)),
            ("[,]", Fault::Syntax(1)),
            ("{\"\\ud800\":1}", Fault::Key(1)),
        ] {
            assert_eq!(Node::parse(text).unwrap_err(), fault, "{text:?}");
        }
        assert_eq!(Node::parse(&"[".repeat(100)).unwrap_err(), Fault::Depth(33, "[0]".repeat(33)));
        let Fault::Depth(_, path) = Node::parse(&r#"{"a":[0,"#.repeat(50)).unwrap_err() else { panic!("it is nested too deeply") };
        assert!(path.starts_with("a[1].a[1].a"), "{path}");
    }
}
