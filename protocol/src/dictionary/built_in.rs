//! The table that every gateway has: facts about notifications and objects that are met everywhere, written down by us in
//! `protocol/dictionary/builtin.txt`.
//!
//! A line that begins with `@` names the module of what follows. Any other line is `NAME PARENT.NUMBER KIND SYNTAX`: the parent is a name
//! from above, or none for an OID that begins with a number. Kinds are `node` (which may be left out), `table`, `row`, `col`, `scalar`,
//! `trap`; behind `trap` stand its objects. A syntax is a class with its display hint, `int`, `str`, `bits` …, or `=NAME` for one that a
//! line `NAME = CLASS LABELS` above gave a name; labels are `1 up 2 down`. `#` begins a comment.

use std::collections::{BTreeMap, HashMap};

use super::builder::{BuildError, Builder, Definition, SyntaxDefinition};
use super::entry::{Class, Kind};
use super::table::Table;
use crate::oid::Oid;

const TEXT: &str = include_str!("../../dictionary/builtin.txt");

/// A line that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LineError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Returns the table. Takes about a millisecond: a caller keeps it.
///
/// A test holds that every line is good; one that is not would be left out.
pub fn table() -> Table {
    let (definitions, _) = read(TEXT);
    let mut builder = Builder::default();
    for definition in definitions {
        // The test holds that there is none that cannot be added.
        let _: Result<(), BuildError> = builder.add(definition);
    }
    let encoded = builder.encode().unwrap_or_default();
    Table::parse(encoded.into()).unwrap_or_else(|_| Table::empty())
}

/// Reads every line; faults are those of lines that were left out.
fn read(text: &str) -> (Vec<Definition>, Vec<LineError>) {
    let mut reader = Reader::default();
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(code, _)| code).trim();
        if let Err(what) = reader.line(line) {
            faults.push(LineError { line: at.saturating_add(1), what });
        }
    }
    (reader.definitions, faults)
}

#[derive(Default)]
struct Reader {
    module: String,
    oids: HashMap<String, Oid>,
    syntaxes: HashMap<String, SyntaxDefinition>,
    definitions: Vec<Definition>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(module) = line.strip_prefix('@') {
            module.trim().clone_into(&mut self.module);
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { return Ok(()) };
        let place = words.next().ok_or("a name alone says nothing")?;
        if place == "=" {
            let syntax = self.syntax(&mut words)?.ok_or("a syntax is missing")?;
            self.syntaxes.insert(name.to_owned(), syntax);
            return Ok(());
        }
        let oid = self.oid(place)?;
        let kind = match words.next() {
            None | Some("node") => Kind::Node,
            Some("col") => Kind::Column,
            Some("row") => Kind::Row,
            Some("scalar") => Kind::Scalar,
            Some("table") => Kind::Table,
            Some("trap") => Kind::Notification,
            Some(other) => return Err(format!("there is no kind {other}")),
        };
        let (mut syntax, mut objects) = (None, Vec::new());
        if kind == Kind::Notification {
            for object in words {
                objects.push(self.oids.get(object).cloned().ok_or_else(|| format!("{object} is not above"))?);
            }
        } else {
            syntax = self.syntax(&mut words)?;
        }
        self.oids.insert(name.to_owned(), oid.clone());
        self.definitions.push(Definition { oid, name: name.to_owned(), module: self.module.clone(), kind, syntax, objects });
        Ok(())
    }

    fn oid(&self, place: &str) -> Result<Oid, String> {
        let numeric = place.parse::<Oid>();
        if let Ok(oid) = numeric {
            return Ok(oid);
        }
        let (parent, numbers) = place.split_once('.').ok_or("a place is PARENT.NUMBER")?;
        let parent = self.oids.get(parent).ok_or_else(|| format!("{parent} is not above"))?;
        let below = numbers.split('.').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        Oid::new(&[parent.numbers(), &below].concat()).map_err(|error| error.to_string())
    }

    fn syntax<'t>(&self, words: &mut impl Iterator<Item = &'t str>) -> Result<Option<SyntaxDefinition>, String> {
        let Some(class) = words.next() else { return Ok(None) };
        if let Some(name) = class.strip_prefix('=') {
            return self.syntaxes.get(name).cloned().map(Some).ok_or_else(|| format!("there is no syntax {name} above"));
        }
        let (class, hint) = match class {
            "bits" => (Class::Bits, ""),
            "counter" => (Class::Counter, ""),
            "date" => (Class::OctetString, "2d-1d-1d,1d:1d:1d.1d,1a1d:1d"),
            "gauge" => (Class::Gauge, ""),
            "inet" => (Class::InetAddress, ""),
            "int" => (Class::Integer, ""),
            "ip" => (Class::IpAddress, ""),
            "mac" => (Class::OctetString, "1x:"),
            "octets" => (Class::OctetString, ""),
            "oid" => (Class::Oid, ""),
            "str" => (Class::OctetString, "255t"),
            "ticks" => (Class::TimeTicks, ""),
            other => match other.strip_prefix("int:").map(|hint| (Class::Integer, hint)) {
                Some(hinted) => hinted,
                None => return Err(format!("there is no syntax {other}")),
            },
        };
        let mut labels = BTreeMap::new();
        while let Some(number) = words.next() {
            let number = number.parse::<i32>().map_err(|_| format!("{number} is no number"))?;
            let label = words.next().ok_or("a label is missing")?;
            labels.insert(number, label.to_owned());
        }
        Ok(Some(SyntaxDefinition { class, hint: hint.to_owned(), labels }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_good_and_names_each_oid_once() {
        let (definitions, faults) = read(TEXT);
        assert_eq!(faults, []);
        let mut oids: Vec<_> = definitions.iter().map(|definition| (&definition.oid, &definition.name)).collect();
        oids.sort();
        let twice: Vec<_> = oids.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let mut builder = Builder::default();
        for definition in definitions {
            builder.add(definition).unwrap();
        }
        assert_eq!(table().len(), builder.len());
    }

    #[test]
    fn a_line_that_is_not_as_it_should_be_is_told() {
        let text =
            "@M\na 1.3.6\nb a.1 col int 1 up 2 down\nc x.1\nd a.2 thing\ne a.3 trap b\nf a.4 trap z\nS = int 1 x\ng a.5 scalar =S\nh\n";
        let (definitions, faults) = read(text);
        assert_eq!(definitions.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b", "e", "g"]);
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [4, 5, 7, 10]);
    }
}
