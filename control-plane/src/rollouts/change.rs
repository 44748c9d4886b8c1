//! What a roll-out changes in a gateway's configuration. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;

/// What becomes of a gateway's document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// This one takes its place.
    Document(Value),
    /// Some of its rules change.
    Rules(RulesChange),
}

/// Which rules of a document change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesChange {
    /// Whole rules: each takes the place of the one with its `id`; new ones come first, so that no catch-all hides them.
    #[serde(default)]
    pub set: Vec<Value>,
    /// Ids of rules that go.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Why a change does not fit a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The document at hand cannot be changed.
    #[error("the gateway's present document is not JSON with a list of rules: save a good one first")]
    Document,
    /// There is nothing to change.
    #[error("the change sets no rule and removes none")]
    Empty,
    /// A rule to be set has no id.
    #[error("rule {0} of the change has no id")]
    Id(usize),
}

impl Change {
    /// Returns the document that `present` becomes.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn apply(&self, present: &[u8]) -> Result<String, ChangeError> {
        let document = match self {
            Self::Document(document) => document.clone(),
            Self::Rules(change) => change.apply(present)?,
        };
        canonical::canonical(document.to_string().as_bytes()).map_err(|_| ChangeError::Document)
    }

    /// Says in a few words what it does.
    pub fn in_words(&self) -> String {
        match self {
            Self::Document(_) => "a whole document".to_owned(),
            Self::Rules(change) => {
                let ids = change.set.iter().filter_map(id).map(|id| format!("sets {id}"));
                let all: Vec<String> = ids.chain(change.remove.iter().map(|id| format!("removes {id}"))).collect();
                all.join(", ")
            }
        }
    }
}

impl RulesChange {
    fn apply(&self, present: &[u8]) -> Result<Value, ChangeError> {
        if self.set.is_empty() && self.remove.is_empty() {
            return Err(ChangeError::Empty);
        }
        let mut document: Value = serde_json::from_slice(present).map_err(|_| ChangeError::Document)?;
        let rules = document.get_mut("rules").and_then(Value::as_array_mut).ok_or(ChangeError::Document)?;
        rules.retain(|rule| !id(rule).is_some_and(|id| self.remove.iter().any(|gone| gone == id)));
        let mut added = Vec::new();
        for (at, rule) in self.set.iter().enumerate() {
            let wanted = id(rule).ok_or_else(|| ChangeError::Id(at.saturating_add(1)))?;
            match rules.iter_mut().find(|present| id(present) == Some(wanted)) {
                Some(present) => *present = rule.clone(),
                None => added.push(rule.clone()),
            }
        }
        rules.splice(0..0, added);
        Ok(document)
    }
}

fn id(rule: &Value) -> Option<&str> {
    rule.get("id").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids(document: &str) -> Vec<String> {
        let document: Value = serde_json::from_str(document).unwrap();
        document["rules"].as_array().unwrap().iter().map(|rule| format!("{}{}", rule["id"].as_str().unwrap(), rule["v"])).collect()
    }

    #[test]
    fn rules_are_replaced_in_place_removed_and_put_first() {
        let present = json!({"format": 1, "rules": [{"id": "a", "v": 1}, {"id": "b", "v": 1}, {"id": "c", "v": 1}]}).to_string();
        let change: Change =
            serde_json::from_value(json!({"rules": {"set": [{"id": "c", "v": 2}, {"id": "n", "v": 2}], "remove": ["b"]}})).unwrap();
        assert_eq!(ids(&change.apply(present.as_bytes()).unwrap()), ["n2", "a1", "c2"]);
        assert_eq!(change.in_words(), "sets c, sets n, removes b");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let rules = |set: Value| Change::Rules(RulesChange { set: set.as_array().cloned().unwrap(), remove: Vec::new() });
        assert_eq!(rules(json!([])).apply(b"{}"), Err(ChangeError::Empty));
        assert_eq!(rules(json!([{"id": "a"}])).apply(b"{"), Err(ChangeError::Document));
        assert_eq!(rules(json!([{}])).apply(br#"{"rules":[]}"#), Err(ChangeError::Id(1)));
        assert_eq!(Change::Document(json!({"format": 1})).apply(b"").unwrap(), "{\n  \"format\": 1\n}\n");
    }
}
