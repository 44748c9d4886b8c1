//! Configuration documents as files: one way to write each, so that a version control shows what really changed. Pure.

use std::fmt::Write as _;

use serde_json::Value;

/// A document that is no JSON has no canonical form.
#[derive(Debug, thiserror::Error)]
#[error("the document is not JSON")]
pub struct NotJson(#[from] serde_json::Error);

/// Returns the canonical form of a document: keys in order, two spaces a level, a line break at the end. Lists keep their order,
/// which has a meaning.
///
/// # Errors
/// [`NotJson`].
pub fn canonical(document: &[u8]) -> Result<String, NotJson> {
    let mut out = String::new();
    write(&serde_json::from_slice(document)?, 0, &mut out);
    out.push('\n');
    Ok(out)
}

/// Whether two documents say the same; what is no JSON equals only itself.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    match (canonical(one), canonical(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                next_line(index, depth, out);
                write(item, depth.saturating_add(1), out);
            }
            end_line(depth, out);
            out.push(']');
        }
        Value::Object(entries) if !entries.is_empty() => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                next_line(index, depth, out);
                // Writing to a String cannot fail.
                let _infallible = write!(out, "{}: ", Value::String(key.clone()));
                write(item, depth.saturating_add(1), out);
            }
            end_line(depth, out);
            out.push('}');
        }
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) | Value::String(_) => {
            let _infallible = write!(out, "{value}");
        }
    }
}

fn next_line(index: usize, depth: usize, out: &mut String) {
    out.push_str(if index == 0 { "\n" } else { ",\n" });
    out.extend(std::iter::repeat_n("  ", depth.saturating_add(1)));
}

fn end_line(depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_document_has_one_form() {
        let one = canonical(br#"{"rules":[{"b":1,"a":"x\u00e4"}],"format":1,"none":{},"empty":[]}"#).unwrap();
        let expected = "{\n  \"empty\": [],\n  \"format\": 1,\n  \"none\": {},\n  \"rules\": [\n    {\n      \"a\": \"xä\",\n      \"b\": 1\n    }\n  ]\n}\n";
        assert_eq!(one, expected);
        assert_eq!(canonical(one.as_bytes()).unwrap(), one);
    }

    #[test]
    fn order_and_blanks_make_no_difference_but_the_order_of_a_list_does() {
        assert!(same(b"{\"a\":1,\"b\":[1,2]}", b"{ \"b\": [1, 2],\n\"a\": 1 }"));
        assert!(!same(b"{\"b\":[1,2]}", b"{\"b\":[2,1]}"));
        assert!(same(b"{", b"{") && !same(b"{", b"{}"));
    }

    #[test]
    fn the_built_in_rules_keep_their_meaning() {
        let text = canonical(postern_protocol::revision::BUILT_IN.as_bytes()).unwrap();
        let read = |text: &str| postern_protocol::revision::parse(text.as_bytes()).unwrap();
        assert_eq!(read(&text), read(postern_protocol::revision::BUILT_IN));
    }
}
