//! Takes the released fields out of an event: the only place where an event's text becomes an alert's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use postern_protocol::dictionary::Dictionary;
use postern_protocol::oid::Oid;
use postern_protocol::revision::document::Table;
use postern_protocol::revision::field::Field;
use postern_protocol::revision::intake::SourceFacts;
use postern_protocol::revision::keyword;
use regex::Captures;

use super::matcher::first_below;
use super::source;
use crate::event::{Body, Event, Notification};
use crate::{mib, value};

/// One released field: the first of `fields` that the event has and that is not empty; an empty qualifier is one, as in an alert's key.
#[derive(Clone, Debug)]
pub(super) struct Released {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    pub(super) max_bytes: usize,
}

impl Released {
    /// Returns whether the release needs the groups of the rule's regular expression.
    pub(super) fn is_capture(&self) -> bool {
        self.fields.iter().any(|field| match field {
            Field::Lookup { of, .. } => matches!(**of, Field::Capture(_)),
            field => matches!(field, Field::Capture(_)),
        })
    }

    /// Returns the field's text within its limit, without control characters; the event's own text where that is as it should be.
    pub(super) fn text<'e>(&self, from: &Readable<'e>) -> Option<Cow<'e, str>> {
        let has = |field: &Field, text: &str| !text.is_empty() || *field == Field::Qualifier;
        let found = self.fields.iter().find_map(|field| from.text(field).filter(|text| has(field, text)))?;
        let good = found.len() <= self.max_bytes && is_plain(&found);
        Some(if good { found } else { Cow::Owned(cut(found.into_owned(), self.max_bytes)) })
    }
}

/// Where released fields come from.
pub(super) struct Readable<'e> {
    pub(super) event: &'e Event,
    /// The groups of the rule's regular expression.
    pub(super) groups: Option<Captures<'e>>,
    pub(super) dictionary: &'e Dictionary,
    pub(super) tables: &'e BTreeMap<String, Table>,
    /// What the document knows of the sender.
    pub(super) facts: Option<&'e SourceFacts>,
}

/// What ends a text that was cut.
const ELLIPSIS: &str = "…";

/// Cuts `text` to `max_bytes` at a character's start, with [`ELLIPSIS`] as the end when there is room for it, and makes it harmless:
/// control characters, and those that turn the direction of writing, become spaces.
pub(crate) fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let (room, end) = match max_bytes.checked_sub(ELLIPSIS.len()) {
            Some(room) if room > 0 => (room, ELLIPSIS),
            Some(_) | None => (max_bytes, ""),
        };
        text.truncate(text.floor_char_boundary(room));
        text.push_str(end);
    }
    // Almost every text is printable ASCII, and stays what it is.
    if is_plain(&text) || !text.contains(is_harmful) {
        return text;
    }
    // A harmful character never takes fewer bytes than the space in its place, so the limit holds for the result too.
    text.chars().map(|char| if is_harmful(char) { ' ' } else { char }).collect()
}

/// Returns whether `text` is printable ASCII, as almost every text is.
fn is_plain(text: &str) -> bool {
    // Without an early end, many bytes are looked at at once.
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
}

/// Returns whether `char` could garble a terminal or a page.
fn is_harmful(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl<'e> Readable<'e> {
    fn text(&self, field: &Field) -> Option<Cow<'e, str>> {
        let Self { event, groups, dictionary, tables, facts } = self;
        let (trap, push, syslog) = match &event.body {
            Body::Notification(trap) => (Some(trap), None, None),
            Body::Push(push) => (None, Some(push), None),
            Body::Syslog(message) => (None, None, Some(message)),
        };
        let text = match field {
            Field::Capture(name) => groups.as_ref()?.name(name)?.as_str(),
            Field::Facility => keyword::FACILITIES.get(usize::from(syslog?.facility)).copied()?,
            Field::Group => facts.as_ref()?.group.as_deref()?,
            Field::Lookup { table, of } => {
                let table = tables.get(table)?;
                let row = self.text(of).and_then(|text| table.rows.get(text.as_ref()));
                row.or(table.default.as_ref())?
            }
            Field::Owner => facts.as_ref()?.owner.as_deref()?,
            Field::Site => facts.as_ref()?.site.as_deref()?,
            Field::SourceName => facts.as_ref()?.name.as_deref()?,
            Field::Tags => return facts.as_ref().map(|facts| facts.tags.join(", ").into()),
            Field::Host => syslog?.host.as_deref()?,
            Field::Index(oid) => return index(trap?, oid).map(Cow::Owned),
            Field::Kind => &push?.kind,
            Field::Message => &syslog?.message,
            Field::Msgid => syslog?.msgid.as_deref()?,
            Field::Name(oid) => return first_below(trap?, oid).map(|varbind| mib::name(dictionary, &varbind.name).into()),
            Field::Named(oid) => return first_below(trap?, oid).map(|varbind| mib::named(dictionary, varbind).into()),
            Field::Peer => return Some(value::address(event.peer).into()),
            Field::Pid => syslog?.pid.as_deref()?,
            Field::Program => syslog?.program.as_deref()?,
            Field::Further(name) => match push {
                Some(push) => push.fields.get(name)?,
                None => syslog?.fields.get(name)?,
            },
            Field::Qualifier => &push?.qualifier,
            Field::Resource => &push?.resource,
            Field::Severity => match push {
                Some(push) => push.severity.name(),
                None => keyword::SEVERITIES.get(usize::from(syslog?.severity)).copied()?,
            },
            Field::Source => return Some(source::source(event)),
            Field::StructuredData { id, param } => {
                let (_, params) = syslog?.structured_data.iter().find(|(element, _)| element == id)?;
                params.iter().find(|(name, _)| name == param).map(|(_, value)| value.as_str())?
            }
            Field::Summary => &push?.summary,
            Field::Transport => event.transport.name(),
            Field::TrapName => return mib::trap_name(dictionary, &trap?.trap_oid).map(Cow::Owned),
            Field::TrapOid => return Some(value::oid(&trap?.trap_oid).into()),
            Field::Value(oid) => return first_below(trap?, oid).map(|varbind| mib::value(dictionary, varbind)),
            Field::Varbind(oid) => return first_below(trap?, oid).map(|varbind| value::text(&varbind.value)),
        };
        Some(Cow::Borrowed(text))
    }
}

/// Returns what follows `oid` in the name of the first varbind at or below it.
fn index(trap: &Notification, oid: &Oid) -> Option<String> {
    let mut index = String::new();
    for number in first_below(trap, oid)?.name.strip_prefix(oid)? {
        // Writing to a String cannot fail.
        let _ = if index.is_empty() { write!(index, "{number}") } else { write!(index, ".{number}") };
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_says_so() {
        assert_eq!(cut("grün".to_owned(), 5), "grün");
        assert_eq!(cut("grünlich".to_owned(), 6), "gr…");
        assert_eq!(cut("grünlich".to_owned(), 7), "grü…");
        assert_eq!(cut("grünlich".to_owned(), 3), "gr");
        assert_eq!(cut("ü".to_owned(), 1), "");
    }

    #[test]
    fn what_could_garble_a_terminal_becomes_a_space() {
        assert_eq!(cut("a\u{1b}[31m\nb\u{202e}c".to_owned(), 40), "a [31m b c");
    }
}
