//! Texts of which a line must contain one before a regular expression can match it.
//!
//! The engine looks for the texts of all rules in one pass, so that a line costs what it matches and not how many rules there are. An
//! expression that needs none is held against every line; `check` bounds how many of those a document may have.

use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::{Hir, HirKind};

/// Shortest text worth looking for; shorter ones are in almost every line.
const MIN_BYTES: usize = 3;

/// A text of so many bytes hardly comes by chance.
const ENOUGH_BYTES: usize = 8;

/// Most bytes of a text: longer ones tell no more.
const MAX_BYTES: usize = 24;

/// Most texts of one expression.
const MAX_TEXTS: usize = 64;

/// Most parts of a sequence at which a text is looked for, and how many parts are put together for one.
const MAX_STARTS: usize = 48;
const COUNTS: [usize; 4] = [1, 2, 3, 12];

/// Deepest nesting that is looked into.
const MAX_DEPTH: u32 = 8;

/// Returns the texts of which every match of `expression` has one: at its beginning, at its end, or within; `None` when it can
/// match without any of [`MIN_BYTES`] bytes at least.
pub fn needed(expression: &str) -> Option<Vec<Vec<u8>>> {
    let parsed = regex_syntax::parse(expression).ok()?;
    best(&parsed, MAX_DEPTH)
}

type Texts = Vec<Vec<u8>>;

fn best(expression: &Hir, depth: u32) -> Option<Texts> {
    let mut found = extracted(expression, ExtractKind::Prefix);
    better(&mut found, extracted(expression, ExtractKind::Suffix));
    let Some(depth) = depth.checked_sub(1) else { return found };
    match expression.kind() {
        HirKind::Alternation(ways) => better(&mut found, all(ways, depth)),
        HirKind::Capture(group) => better(&mut found, best(&group.sub, depth)),
        HirKind::Concat(parts) => {
            for start in 0..parts.len().min(MAX_STARTS) {
                for count in COUNTS {
                    let some = parts.iter().skip(start).take(count).cloned().collect();
                    better(&mut found, extracted(&Hir::concat(some), ExtractKind::Prefix));
                }
            }
            for part in parts.iter().take(MAX_STARTS) {
                better(&mut found, best(part, depth));
            }
        }
        HirKind::Repetition(repeated) if repeated.min > 0 => better(&mut found, best(&repeated.sub, depth)),
        HirKind::Class(_) | HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) | HirKind::Repetition(_) => {}
    }
    found
}

/// The texts of all ways together, when each needs one.
fn all(ways: &[Hir], depth: u32) -> Option<Texts> {
    let mut texts = Texts::new();
    for way in ways {
        texts.extend(best(way, depth)?);
        if texts.len() > MAX_TEXTS {
            return None;
        }
    }
    Some(texts)
}

fn extracted(expression: &Hir, kind: ExtractKind) -> Option<Texts> {
    let mut extractor = Extractor::new();
    extractor.kind(kind.clone()).limit_literal_len(MAX_BYTES).limit_total(MAX_TEXTS);
    let mut found = extractor.extract(expression);
    // A text that contains another is only a longer way to say it.
    match kind {
        ExtractKind::Prefix => found.minimize_by_preference(),
        _ => found.dedup(),
    }
    telling(&found)
}

fn telling(found: &Seq) -> Option<Texts> {
    let literals = found.literals()?;
    let useful = !literals.is_empty() && literals.iter().all(|literal| literal.len() >= MIN_BYTES);
    useful.then(|| literals.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

/// Keeps the texts that tell more: the shortest of them is longer, up to a length that hardly comes by chance; then the fewer.
fn better(found: &mut Option<Texts>, other: Option<Texts>) {
    let worth = |texts: &Option<Texts>| {
        let shortest = texts.as_ref().and_then(|texts| texts.iter().map(Vec::len).min()).unwrap_or(0);
        (shortest.min(ENOUGH_BYTES), std::cmp::Reverse(texts.as_ref().map_or(usize::MAX, Vec::len)), shortest)
    };
    if worth(&other) > worth(found) {
        *found = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(expression: &str) -> Option<Vec<String>> {
        needed(expression).map(|texts| texts.into_iter().map(|text| String::from_utf8(text).unwrap()).collect())
    }

    #[test]
    fn an_expression_needs_its_beginning_its_end_or_what_is_between() {
        let some = |expected: &[&str]| Some(expected.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(texts(r"I/O error, dev (?P<device>\w+)"), some(&["I/O error, dev "]));
        assert_eq!(texts(r"^(?:kernel panic|Oops): "), some(&["kernel panic: ", "Oops: "]));
        assert_eq!(texts(r"\d+ segments failed"), some(&[" segments failed"]));
        assert_eq!(texts(r"^\w+ of (?P<what>volume|disk) [0-9]+$"), some(&[" of volume ", " of disk "]));
        assert_eq!(texts(r"(?:\w+: link down|\w+: port lost)!?"), some(&[": link down", ": port lost"]));
        assert_eq!(texts(r"(?:failed \d+ ){2}\w"), some(&["failed "]));
        assert_eq!(texts(r"\w+"), None);
        assert_eq!(texts(r"(?:panic)?\d"), None, "it may be left out");
        assert_eq!(texts(r"a|panic"), None, "one of its ways needs next to nothing");
        assert!(texts(r"(?i)panic").unwrap().iter().any(|text| "PaNIC".starts_with(text.as_str())));
    }

    #[test]
    fn a_long_expression_is_looked_into_in_bounded_time() {
        assert!(needed(&format!("(?i){}", "ab".repeat(500))).is_some());
        assert!(needed(&format!("{}panic{}", "(?:".repeat(30), ")".repeat(30))).is_some());
        assert_eq!(needed(&"[ab]?".repeat(200)), None);
    }
}
