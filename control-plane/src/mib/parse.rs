//! Reads a module's definitions as tolerantly as can be: each stands for itself, so that a broken one costs no other.
//!
//! What a definition means is for `resolve`; here names are names.

use std::collections::BTreeMap;

use super::lexer::{Kind, ModuleText, Token};

/// One module's definitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Module {
    pub(super) name: String,
    /// 1 or 2: the version of the SMI.
    pub(super) smi: u8,
    /// LAST-UPDATED, digits only; empty when there is none.
    pub(super) updated: String,
    pub(super) imports: Vec<Import>,
    pub(super) nodes: Vec<Node>,
    pub(super) types: BTreeMap<String, Type>,
    /// What is wrong, and where.
    pub(super) faults: Vec<(u32, String)>,
}

/// A name that another module defines.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) name: String,
    pub(super) module: String,
    pub(super) line: u32,
}

/// A definition that has an OID.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) role: Role,
    /// `{ parent 1 2 }`.
    pub(super) value: Vec<Arc>,
}

/// A part of an OID's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arc {
    Name(String),
    Number(u32),
    /// `name(number)`.
    Both(String, u32),
}

/// What a definition with an OID is.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Node,
    Notification {
        objects: Vec<String>,
    },
    Object {
        syntax: Syntax,
        is_row: bool,
    },
    /// A v1 trap; its value is its number.
    Trap {
        enterprise: Vec<Arc>,
        objects: Vec<String>,
    },
}

/// A syntax as it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Syntax {
    /// The type's name; `SEQUENCE OF` for a table.
    pub(super) name: String,
    pub(super) labels: BTreeMap<i32, String>,
}

/// A type assignment or textual convention.
#[derive(Clone, Debug, Default)]
pub(super) struct Type {
    pub(super) hint: String,
    pub(super) syntax: Syntax,
}

const MACROS: [&str; 11] = [
    "AGENT-CAPABILITIES",
    "MODULE-COMPLIANCE",
    "MODULE-IDENTITY",
    "NOTIFICATION-GROUP",
    "NOTIFICATION-TYPE",
    "OBJECT-GROUP",
    "OBJECT-IDENTITY",
    "OBJECT-TYPE",
    "TEXTUAL-CONVENTION",
    "TRAP-TYPE",
    "MACRO",
];

/// What ends the SYNTAX of an object.
const CLAUSES: [&str; 12] = [
    "UNITS",
    "ACCESS",
    "MAX-ACCESS",
    "MIN-ACCESS",
    "STATUS",
    "DESCRIPTION",
    "REFERENCE",
    "INDEX",
    "AUGMENTS",
    "DEFVAL",
    "WRITE-SYNTAX",
    "DISPLAY-HINT",
];

/// Reads `module`.
pub(super) fn module(module: &ModuleText<'_>) -> Module {
    let mut parser = Parser {
        tokens: &module.tokens,
        at: 0,
        out: Module {
            name: module.name.to_owned(),
            smi: 1,
            faults: module.faults.iter().map(|(line, what)| (*line, (*what).to_owned())).collect(),
            ..Module::default()
        },
    };
    while let Some(token) = parser.peek(0) {
        parser.definition(token);
    }
    parser.out
}

struct Parser<'m, 't> {
    tokens: &'m [Token<'t>],
    at: usize,
    out: Module,
}

impl<'t> Parser<'_, 't> {
    fn peek(&self, ahead: usize) -> Option<Token<'t>> {
        self.tokens.get(self.at.saturating_add(ahead)).copied()
    }

    fn next_is(&self, ahead: usize, text: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is(text))
    }

    const fn skip(&mut self, tokens: usize) {
        self.at = self.at.saturating_add(tokens);
    }

    fn fault(&mut self, line: u32, what: String) {
        self.out.faults.push((line, what));
    }

    /// Reads one definition, or goes one token on.
    fn definition(&mut self, first: Token<'t>) {
        if first.is("IMPORTS") {
            self.skip(1);
            return self.imports();
        }
        if first.is("EXPORTS") {
            while self.peek(0).is_some_and(|token| !token.is(";")) && !self.begins_definition() {
                self.skip(1);
            }
            return self.skip(1);
        }
        let Some(second) = self.peek(1).filter(|_| first.kind == Kind::Word) else { return self.skip(1) };
        let is_macro = MACROS.contains(&second.text) && second.kind == Kind::Word;
        if second.is("MACRO") {
            while self.peek(0).is_some_and(|token| !token.is("END")) {
                self.skip(1);
            }
            self.skip(1);
        } else if is_macro {
            self.skip(2);
            self.by_macro(first, second.text);
        } else if second.is("OBJECT") && self.next_is(2, "IDENTIFIER") && self.peek(3).is_some_and(|token| token.kind == Kind::Assign) {
            self.skip(4);
            let value = self.value();
            self.node(first, Role::Node, value);
        } else if second.kind == Kind::Assign {
            self.skip(2);
            self.type_assignment(first);
        } else {
            self.skip(1);
        }
    }

    /// Whether what comes next can only be the start of a definition.
    fn begins_definition(&self) -> bool {
        let (Some(first), Some(second)) = (self.peek(0), self.peek(1)) else { return false };
        let by_macro = MACROS.contains(&second.text) && second.kind == Kind::Word && !matches!(second.text, "MACRO");
        let after = self.peek(2);
        let listed = after.is_some_and(|after| after.is(",") || after.is("FROM") || after.is(";") || MACROS.contains(&after.text));
        let is_node = second.is("OBJECT") && self.next_is(2, "IDENTIFIER") && self.peek(3).is_some_and(|token| token.kind == Kind::Assign);
        first.kind == Kind::Word && !first.is("FROM") && (by_macro && !listed || is_node)
    }

    fn imports(&mut self) {
        let mut names: Vec<Token<'t>> = Vec::new();
        while let Some(token) = self.peek(0) {
            if token.is(";") {
                return self.skip(1);
            }
            if self.begins_definition() && !self.next_is(2, "FROM") {
                self.fault(token.line, "the IMPORTS before do not end in a semicolon".to_owned());
                return;
            }
            self.skip(1);
            if token.is("FROM") {
                let Some(module) = self.peek(0) else { return };
                self.skip(1);
                for name in names.drain(..) {
                    self.out.imports.push(Import { name: name.text.to_owned(), module: module.text.to_owned(), line: name.line });
                    if matches!(module.text, "SNMPv2-SMI") {
                        self.out.smi = 2;
                    }
                }
            } else if token.kind == Kind::Word {
                names.push(token);
            }
        }
    }

    fn by_macro(&mut self, name: Token<'t>, macro_name: &str) {
        if macro_name == "MODULE-IDENTITY" {
            self.out.smi = 2;
        }
        let (mut syntax, mut is_row, mut objects, mut enterprise) = (Syntax::default(), false, Vec::new(), Vec::new());
        loop {
            let Some(token) = self.peek(0) else {
                return self.fault(name.line, format!("the definition of {} is cut off", name.text));
            };
            if token.kind == Kind::Assign {
                break;
            }
            if self.begins_definition() || self.next_is(1, "::=") && self.is_lost_value(token) {
                if macro_name != "TEXTUAL-CONVENTION" {
                    self.fault(name.line, format!("the definition of {} has no value", name.text));
                }
                return;
            }
            self.skip(1);
            match token.text {
                _ if token.kind != Kind::Word => {}
                "SYNTAX" if macro_name == "OBJECT-TYPE" && syntax.name.is_empty() => syntax = self.syntax(),
                "INDEX" | "AUGMENTS" if self.next_is(0, "{") => {
                    is_row = true;
                    self.list();
                }
                "OBJECTS" | "VARIABLES" if matches!(macro_name, "NOTIFICATION-TYPE" | "TRAP-TYPE") => objects.extend(self.list()),
                "ENTERPRISE" if macro_name == "TRAP-TYPE" || macro_name == "NOTIFICATION-TYPE" => enterprise = self.value(),
                "LAST-UPDATED" => {
                    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
                    let date = self.peek(0).filter(|token| token.kind == Kind::Text).map(|token| digits(token.text)).unwrap_or_default();
                    // "9505241811Z" is of 1995 (RFC 2578 §2).
                    self.out.updated = if date.len() == 10 { format!("19{date}") } else { date };
                }
                _ => {}
            }
        }
        self.skip(1);
        let value = self.value();
        if value.is_empty() {
            return self.fault(name.line, format!("the definition of {} has no value", name.text));
        }
        let is_number = matches!(value.as_slice(), [Arc::Number(_)]);
        let role = match macro_name {
            "NOTIFICATION-TYPE" | "TRAP-TYPE" if is_number => Role::Trap { enterprise, objects },
            "NOTIFICATION-TYPE" | "TRAP-TYPE" => Role::Notification { objects },
            "OBJECT-TYPE" => Role::Object { syntax, is_row },
            _ => Role::Node,
        };
        self.node(name, role, value);
    }

    /// Whether `token ::=` belongs to the next definition, because the value of this one is missing: a type's name begins with a
    /// capital and no clause ends in one.
    fn is_lost_value(&self, token: Token<'t>) -> bool {
        token.kind == Kind::Word && token.text.starts_with(|c: char| c.is_ascii_uppercase()) && !self.next_is(2, "{")
    }

    fn node(&mut self, name: Token<'t>, role: Role, value: Vec<Arc>) {
        if value.is_empty() {
            return self.fault(name.line, format!("the definition of {} has no value", name.text));
        }
        self.out.nodes.push(Node { name: name.text.to_owned(), line: name.line, role, value });
    }

    /// Reads `{ parent sub(1) 2 }`, `parent` or `7`.
    fn value(&mut self) -> Vec<Arc> {
        let mut arcs = Vec::new();
        let braces = self.next_is(0, "{");
        self.skip(usize::from(braces));
        while let Some(token) = self.peek(0) {
            if token.is("}") {
                self.skip(usize::from(braces));
                break;
            }
            if self.begins_definition() || arcs.len() >= postern_protocol::oid::MAX_SUB_IDENTIFIERS {
                break;
            }
            self.skip(1);
            match token.kind {
                Kind::Word => match self.number_in_parentheses() {
                    Some(number) => arcs.push(Arc::Both(token.text.to_owned(), number)),
                    None => arcs.push(Arc::Name(token.text.to_owned())),
                },
                // A number that is none keeps its place, so that nothing gets a wrong OID.
                Kind::Number => arcs.push(token.text.parse().map_or_else(|_| Arc::Name(token.text.to_owned()), Arc::Number)),
                Kind::Mark if token.text == "," || token.text == "." => continue,
                Kind::Assign | Kind::Mark | Kind::Text => {
                    self.at = self.at.saturating_sub(1);
                    break;
                }
            }
            if !braces {
                break;
            }
        }
        arcs
    }

    fn number_in_parentheses(&mut self) -> Option<u32> {
        let number = self.peek(1).filter(|token| token.kind == Kind::Number && self.next_is(0, "(") && self.next_is(2, ")"))?;
        self.skip(3);
        number.text.parse().ok()
    }

    /// Reads `{ a, b, IMPLIED c }`, with the commas left out perhaps.
    fn list(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        if !self.next_is(0, "{") {
            return names;
        }
        self.skip(1);
        while let Some(token) = self.peek(0) {
            if self.begins_definition() || token.kind == Kind::Assign || CLAUSES.contains(&token.text) {
                return names;
            }
            self.skip(1);
            if token.is("}") {
                break;
            }
            if token.kind == Kind::Word && !token.is("IMPLIED") {
                names.push(token.text.to_owned());
            }
        }
        names
    }

    fn syntax(&mut self) -> Syntax {
        while self.next_is(0, "[") {
            while self.peek(0).is_some_and(|token| !token.is("]")) {
                self.skip(1);
            }
            self.skip(1);
        }
        self.skip(usize::from(self.next_is(0, "IMPLICIT")));
        let Some(token) = self.peek(0).filter(|token| token.kind == Kind::Word) else { return Syntax::default() };
        self.skip(1);
        let second = self.peek(0).map_or("", |token| token.text);
        let name = match (token.text, second) {
            ("OCTET", "STRING") | ("OBJECT", "IDENTIFIER") | ("SEQUENCE", "OF") | ("BIT", "STRING") => {
                self.skip(1);
                format!("{} {second}", token.text)
            }
            _ => token.text.to_owned(),
        };
        let labels = if self.next_is(0, "{") && name != "SEQUENCE" && name != "CHOICE" { self.labels() } else { BTreeMap::new() };
        Syntax { name, labels }
    }

    /// Reads `{ up(1), down(2) }`; negative numbers are possible.
    fn labels(&mut self) -> BTreeMap<i32, String> {
        let mut labels = BTreeMap::new();
        let mut name = String::new();
        let (mut sign, mut joins) = ("", false);
        self.skip(1);
        while let Some(token) = self.peek(0) {
            if CLAUSES.contains(&token.text) || token.kind == Kind::Assign || self.begins_definition() {
                return labels;
            }
            self.skip(1);
            match (token.kind, token.text) {
                (Kind::Mark, "}") => break,
                (Kind::Mark, "-") => sign = "-",
                (Kind::Mark, ",") => name.clear(),
                (Kind::Number, digits) if !name.is_empty() && !joins => {
                    if let Ok(number) = format!("{sign}{digits}").parse() {
                        labels.entry(number).or_insert_with(|| std::mem::take(&mut name));
                    }
                    (name, sign) = (String::new(), "");
                }
                (Kind::Word | Kind::Number, word) => {
                    if !joins {
                        name.clear();
                    }
                    name.push_str(word);
                    joins = false;
                }
                // No label may have it, but some do: `packet/attack(3)`.
                (Kind::Mark, mark @ ("/" | "." | "+" | "&")) if !name.is_empty() => {
                    name.push_str(mark);
                    joins = true;
                }
                (Kind::Assign | Kind::Mark | Kind::Text, _) => {}
            }
        }
        labels
    }

    fn type_assignment(&mut self, name: Token<'t>) {
        let mut hint = "";
        if self.next_is(0, "TEXTUAL-CONVENTION") {
            self.out.smi = 2;
            self.skip(1);
            while let Some(token) = self.peek(0) {
                let lost = self.begins_definition() || self.peek(1).is_some_and(|next| next.kind == Kind::Assign);
                if lost && !token.is("SYNTAX") {
                    return self.fault(name.line, format!("the textual convention {} has no SYNTAX", name.text));
                }
                self.skip(1);
                if token.is("DISPLAY-HINT") {
                    hint = self.peek(0).filter(|token| token.kind == Kind::Text).map_or("", |token| token.text);
                } else if token.is("SYNTAX") {
                    break;
                }
            }
        }
        let syntax = self.syntax();
        self.out.types.insert(name.text.to_owned(), Type { hint: hint.to_owned(), syntax });
    }
}
