//! Which alerts a list holds and where its next page begins, as SQL conditions.

use std::fmt;

use postern_protocol::alert::{AlertState, MAX_ALERT_BYTES, Severity};
use postern_protocol::timestamp::Timestamp;
use rusqlite::types::Value;

use super::view::AlertView;

/// Which alerts to list. What is left out does not limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Any of these states.
    pub states: Vec<AlertState>,
    /// Any of these severities.
    pub severities: Vec<Severity>,
    /// Of this gateway.
    pub gateway: Option<String>,
    /// With exactly this resource.
    pub resource: Option<String>,
    /// Of exactly this kind.
    pub kind: Option<String>,
    /// With this text in resource, kind, qualifier, summary or labels; ASCII letters match in either case.
    pub q: Option<String>,
    /// Acknowledged, or not.
    pub acknowledged: Option<bool>,
    /// First seen after this time.
    pub first_seen_after: Option<Timestamp>,
    /// First seen before this time.
    pub first_seen_before: Option<Timestamp>,
    /// Folded under something, or not.
    pub folding: Option<Folding>,
    /// Kept quiet by a maintenance window, or not.
    pub suppressed: Option<bool>,
    /// Flapping, or not.
    pub flapping: Option<bool>,
}

/// Under what an alert is folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folding {
    /// Nothing: it stands for itself.
    Nothing,
    /// The alert of this identifier.
    Under(String),
}

/// The condition that a row is folded: its parent is here, and open if the row is. The lists inside are made once for each query.
pub(crate) const FOLDED: &str = "(parent <> '' AND CASE state WHEN 'open' THEN parent IN (SELECT id FROM folding WHERE is_open)
     ELSE parent IN (SELECT id FROM folding) END)";

impl AlertFilter {
    /// Whether a list with this filter holds `alert`: the same meaning as the store's.
    pub fn matches(&self, alert: &AlertView) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        (self.states.is_empty() || self.states.contains(&alert.state))
            && (self.severities.is_empty() || self.severities.contains(&alert.severity))
            && self.gateway.as_deref().is_none_or(|gateway| alert.is_of(gateway))
            && is(self.resource.as_ref(), &alert.resource)
            && is(self.kind.as_ref(), &alert.kind)
            && is(self.acknowledged.as_ref(), &alert.acknowledged.is_some())
            && self.first_seen_after.is_none_or(|after| alert.first_seen > after)
            && self.first_seen_before.is_none_or(|before| alert.first_seen < before)
            && self.folding.as_ref().is_none_or(|folding| match folding {
                Folding::Nothing => alert.parent.is_none(),
                Folding::Under(parent) => alert.parent.as_ref() == Some(parent),
            })
            && is(self.suppressed.as_ref(), &alert.suppressed.is_some())
            && is(self.flapping.as_ref(), &alert.flapping)
            && self.q.as_deref().is_none_or(|q| has_text(alert, q))
    }
}

/// Like SQLite's `LIKE '%…%'`: ASCII letters match in either case, all others only as they are.
fn has_text(alert: &AlertView, q: &str) -> bool {
    let q = q.to_ascii_lowercase();
    let labels = serde_json::to_string(&alert.labels).unwrap_or_default();
    [&alert.resource, &alert.kind, &alert.qualifier, &alert.summary, &labels].iter().any(|text| text.to_ascii_lowercase().contains(&q))
}

/// The place in a list after one alert: its `first_seen` and `id`, as opaque URL-safe text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    first_seen: Timestamp,
    id: String,
}

impl Cursor {
    pub(super) fn after(first_seen: Timestamp, id: &str) -> Self {
        Self { first_seen, id: id.to_owned() }
    }

    /// Reads the text of a cursor; `None` if it was altered.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (first_seen, id) = bytes.split_first_chunk::<8>()?;
        let id = std::str::from_utf8(id).ok().filter(|id| !id.is_empty() && id.len() <= 64)?;
        Some(Self { first_seen: Timestamp::from_nanos(i64::from_be_bytes(*first_seen)), id: id.to_owned() })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.first_seen.as_nanos().to_be_bytes().as_slice(), self.id.as_bytes()].concat();
        f.write_str(&data_encoding::BASE64URL_NOPAD.encode(&bytes))
    }
}

/// A `WHERE` clause and the values for its question marks, in order.
#[derive(Default)]
pub(super) struct Condition {
    terms: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Condition {
    pub(super) fn new(filter: AlertFilter, cursor: Option<Cursor>) -> Self {
        let mut condition = Self::default();
        condition.term("merged_into IS NULL", []); // a pair's sides are seen in their merged row
        let text = |text: &str| Value::Text(text.to_owned());
        condition.any_of("state", filter.states.iter().map(|state| text(state.name())).collect());
        condition.any_of("severity", filter.severities.iter().map(|severity| Value::Integer(severity.number().into())).collect());
        if let Some(gateway) = filter.gateway {
            let gateway = Value::Text(gateway);
            condition.term("gateway IN (?, (SELECT pair FROM pair_member WHERE gateway = ?))", [gateway.clone(), gateway]);
        }
        for (column, wanted) in [("resource", filter.resource), ("kind", filter.kind)] {
            condition.any_of(column, wanted.into_iter().map(Value::Text).collect());
        }
        match filter.acknowledged {
            Some(true) => condition.term("acknowledged_at IS NOT NULL", []),
            Some(false) => condition.term("acknowledged_at IS NULL", []),
            None => {}
        }
        if let Some(after) = filter.first_seen_after {
            condition.term("first_seen > ?", [Value::Integer(after.as_nanos())]);
        }
        if let Some(before) = filter.first_seen_before {
            condition.term("first_seen < ?", [Value::Integer(before.as_nanos())]);
        }
        condition.course(filter.folding, (filter.suppressed, filter.flapping));
        if filter.q.as_ref().is_some_and(|q| q.len() > MAX_ALERT_BYTES) {
            condition.term("FALSE", []); // longer than any alert, and than SQLite takes
        } else if let Some(q) = filter.q {
            let pattern = like_pattern(&q);
            let columns = ["resource", "kind", "qualifier", "summary", "labels"];
            let any = columns.map(|column| format!("{column} LIKE ? ESCAPE '!'")).join(" OR ");
            condition.term(&format!("({any})"), columns.map(|_| Value::Text(pattern.clone())));
        }
        if let Some(Cursor { first_seen, id }) = cursor {
            let at = Value::Integer(first_seen.as_nanos());
            // The first comparison lets the index find the place; SQLite has no row value with mixed order.
            condition.term("first_seen <= ? AND (first_seen < ? OR id > ?)", [at.clone(), at, Value::Text(id)]);
        }
        condition
    }

    fn course(&mut self, folding: Option<Folding>, (suppressed, flapping): (Option<bool>, Option<bool>)) {
        match folding {
            None => {}
            Some(Folding::Nothing) => self.term(&format!("NOT {FOLDED}"), []),
            Some(Folding::Under(parent)) => {
                let parent = Value::Text(parent);
                self.term("parent IN (SELECT id FROM alert WHERE id = ? OR merged_into = ?)", [parent.clone(), parent]);
                self.term(FOLDED, []);
            }
        }
        if let Some(suppressed) = suppressed {
            self.term(if suppressed { "suppressed_by <> ''" } else { "suppressed_by = ''" }, []);
        }
        if let Some(flapping) = flapping {
            self.term("flapping = ?", [Value::Integer(flapping.into())]);
        }
    }

    /// Returns the clause; empty without a condition.
    pub(super) fn sql(&self) -> String {
        if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) }
    }

    fn term(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.terms.push(sql.to_owned());
        self.values.extend(values);
    }

    fn any_of(&mut self, column: &str, allowed: Vec<Value>) {
        if !allowed.is_empty() {
            self.term(&format!("{column} IN ({})", vec!["?"; allowed.len()].join(", ")), allowed);
        }
    }
}

fn like_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '!' | '%' | '_') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_an_altered_one_is_refused() {
        let cursor = Cursor::after(Timestamp::from_nanos(-5), "00ff");
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for bad in ["", "AAAA", "AAAAAAAAAAA", "not base64!", "AAAAAAAAAAD_"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn wildcards_in_a_search_mean_themselves() {
        assert_eq!(like_pattern("50%_!"), "%50!%!_!!%");
    }
}
