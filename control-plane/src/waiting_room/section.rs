//! Finds and replaces one member of a document's top object, so that everything else keeps its text. Pure.

use std::ops::Range;

use serde::de::{DeserializeOwned, IgnoredAny};

/// Where a member is, or where it would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its value; `None` when there is none.
    value: Option<Range<usize>>,
    /// The end of the last member's value; `None` when there is no member.
    last: Option<usize>,
    /// Behind the opening brace.
    begin: usize,
}

/// Finds the member `key` of the object that `text` is; `None` when it is no object.
pub(super) fn find(text: &str, key: &str) -> Option<Place> {
    let begin = behind(text, 0, b'{')?;
    let mut place = Place { value: None, last: None, begin };
    let mut at = begin;
    while let Some((name, name_end)) = next::<String>(text, at) {
        let colon = behind(text, name_end, b':')?;
        let start = colon.checked_add(blanks(text, colon)?)?;
        let (IgnoredAny, end) = next(text, start)?;
        place.last = Some(end);
        if name == key {
            place.value = Some(start..end);
        }
        match behind(text, end, b',') {
            Some(comma) => at = comma,
            None => break,
        }
    }
    Some(place)
}

impl Place {
    /// Returns the member's value.
    pub(super) fn value<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.get(self.value.clone()?)
    }

    /// Returns `text` with `value`, pretty-printed JSON, as the member `key`.
    pub(super) fn replace(&self, text: &str, key: &str, value: &str) -> String {
        let value = value.replace('\n', "\n  "); // line breaks within JSON texts are escaped: these are all between tokens
        let (range, new) = match (&self.value, self.last) {
            (Some(range), _) => (range.clone(), value),
            (None, Some(last)) => (last..last, format!(",\n  \"{key}\": {value}")),
            (None, None) => (self.begin..self.begin, format!("\n  \"{key}\": {value}\n")),
        };
        let (before, after) = (text.get(..range.start).unwrap_or_default(), text.get(range.end..).unwrap_or_default());
        format!("{before}{new}{after}")
    }
}

/// Reads the next JSON value from `at` on and says where it ends.
fn next<T: DeserializeOwned>(text: &str, at: usize) -> Option<(T, usize)> {
    let mut stream = serde_json::Deserializer::from_str(text.get(at..)?).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, at.checked_add(stream.byte_offset())?))
}

/// Returns the place behind `mark`, which blanks may precede; `None` when something else is there.
fn behind(text: &str, at: usize, mark: u8) -> Option<usize> {
    let at = at.checked_add(blanks(text, at)?)?;
    if *text.as_bytes().get(at)? == mark { at.checked_add(1) } else { None }
}

fn blanks(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    Some(rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\r', '\n']).len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_replaced_where_it_stands_and_added_at_the_end() {
        let text = "{ \"a\" : 1.5e3,\n\t\"ü\\\"}\": [{\"b\": \"}\"}] ,\"b\":null\n}\n";
        let place = find(text, "b").unwrap();
        assert_eq!(place.value(text), Some("null"));
        assert_eq!(place.replace(text, "b", "{\n  \"x\": 1\n}"), text.replace("null", "{\n    \"x\": 1\n  }"));
        let added = find(text, "c").unwrap().replace(text, "c", "2");
        assert!(added.ends_with("\"b\":null,\n  \"c\": 2\n}\n"), "{added}");
        assert_eq!(find("{}", "c").unwrap().replace("{}", "c", "2"), "{\n  \"c\": 2\n}");
    }

    #[test]
    fn what_is_no_object_has_no_member() {
        assert_eq!(find("[1]", "a"), None);
        assert_eq!(find("", "a"), None);
    }
}
