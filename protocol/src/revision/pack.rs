//! Rule packs: curated rules that programs bring along, by name and version. A document names those that it wants and changes what it
//! does not like, without copying them.
//!
//! Every version that was ever released stays in the program, so that a revision means the same after an update.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::Segment;

use super::Problem;
use super::document::{Document, Rule};

/// The packs of this build: name, version, text.
const PACKS: &[(&str, u32, &str)] = &[
    ("ietf", 1, include_str!("../../packs/ietf.json")),
    ("ups", 1, include_str!("../../packs/ups.json")),
    ("apc", 1, include_str!("../../packs/apc.json")),
    ("eaton", 1, include_str!("../../packs/eaton.json")),
    ("cisco", 1, include_str!("../../packs/cisco.json")),
    ("juniper", 1, include_str!("../../packs/juniper.json")),
    ("arista", 1, include_str!("../../packs/arista.json")),
    ("aruba", 1, include_str!("../../packs/aruba.json")),
    ("fortinet", 1, include_str!("../../packs/fortinet.json")),
    ("paloalto", 1, include_str!("../../packs/paloalto.json")),
    ("mikrotik", 1, include_str!("../../packs/mikrotik.json")),
    ("dell", 1, include_str!("../../packs/dell.json")),
    ("hpe-server", 1, include_str!("../../packs/hpe-server.json")),
    ("netapp", 1, include_str!("../../packs/netapp.json")),
    ("vmware", 1, include_str!("../../packs/vmware.json")),
    ("network-syslog", 1, include_str!("../../packs/network-syslog.json")),
    ("windows", 1, include_str!("../../packs/windows.json")),
    ("linux", 1, include_str!("../../packs/linux.json")),
    ("services", 1, include_str!("../../packs/services.json")),
    ("catch-all", 1, include_str!("../../packs/catch-all.json")),
];

/// A pack that a document wants. Its rules come after the document's own, in the order of `packs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PackUse {
    /// The pack's name, for example `cisco`.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Changes by rule id: members of the rule that are to be others (RFC 7396, JSON Merge Patch), or `null` to leave the rule out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Value>,
}

/// A pack as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// Its name.
    pub id: String,
    /// Counted up by every release that changes it.
    pub version: u32,
    /// What it is for.
    pub title: String,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Returns name and version of every pack that this build has, the newest version of each first.
pub fn known() -> impl Iterator<Item = (&'static str, u32)> {
    PACKS.iter().map(|(id, version, _)| (*id, *version))
}

/// A rule that a document means, and where it stands in it: `rules[3]`, or `packs[0].overrides.ID` for a pack's.
#[derive(Clone, Debug, PartialEq)]
pub struct Meant {
    /// Its place.
    pub path: String,
    /// The rule, with the document's changes.
    pub rule: Rule,
}

/// Returns the rules that `document` means: its own, then those of its packs with its changes.
///
/// # Errors
/// Every pack that this build does not have, and every change that leaves no good rule, with its path in the document.
pub fn rules(document: &Document) -> Result<Vec<Meant>, Vec<Problem>> {
    let own = document.rules.iter().enumerate();
    let mut rules: Vec<_> = own.map(|(index, rule)| Meant { path: format!("rules[{index}]"), rule: rule.clone() }).collect();
    let mut problems = Vec::new();
    for (index, wanted) in document.packs.iter().enumerate() {
        let path = format!("packs[{index}]");
        let found = rules_of(wanted, &path, &mut problems);
        rules.extend(found.into_iter().map(|rule| Meant { path: format!("{path}.overrides.{}", rule.id), rule }));
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// Returns the rules of one pack, changed as the document at `path` wants it; what is wrong is added to `problems`.
pub fn rules_of(wanted: &PackUse, path: &str, problems: &mut Vec<Problem>) -> Vec<Rule> {
    let mut faults = Vec::new();
    let rules = expanded(wanted, &mut faults);
    problems.extend(faults.into_iter().map(|Fault { members, reason }| {
        let members = members.iter().map(|member| format!(".{member}"));
        Problem { path: std::iter::once(path.to_owned()).chain(members).collect(), line: 0, column: 0, reason }
    }));
    rules
}

/// What is wrong with a pack that a document wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The way to it from the entry of `packs`: member by member, nothing for the entry as a whole.
    pub(super) members: Vec<String>,
    /// What is wrong.
    pub(super) reason: String,
}

/// Returns the rules of one pack, changed as the document wants it.
pub(super) fn expanded(wanted: &PackUse, faults: &mut Vec<Fault>) -> Vec<Rule> {
    match pack(wanted) {
        Ok(pack) => changed(pack, wanted, faults),
        Err(reason) => {
            faults.push(Fault { members: Vec::new(), reason });
            Vec::new()
        }
    }
}

fn pack(wanted: &PackUse) -> Result<Pack, String> {
    let text = PACKS.iter().find(|(id, version, _)| *id == wanted.id && *version == wanted.version).map(|(_, _, text)| *text);
    let Some(text) = text else {
        let versions: Vec<_> = PACKS.iter().filter(|(id, _, _)| *id == wanted.id).map(|(_, version, _)| version.to_string()).collect();
        return Err(if versions.is_empty() {
            let names: Vec<_> = PACKS.iter().map(|(id, _, _)| *id).collect();
            format!("there is no pack {:?}: this program has {}", wanted.id, names.join(", "))
        } else {
            format!("this program has versions {} of the pack {}: name one of them, or update it", versions.join(", "), wanted.id)
        });
    };
    serde_json::from_str(text).map_err(|error| format!("the pack {} of this program is damaged: {error}", wanted.id))
}

fn changed(pack: Pack, wanted: &PackUse, faults: &mut Vec<Fault>) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(pack.rules.len());
    let fault = |members: Vec<String>, reason: String| Fault { members: [vec!["overrides".to_owned()], members].concat(), reason };
    for id in wanted.overrides.keys().filter(|id| pack.rules.iter().all(|rule| rule.id.as_str() != id.as_str())) {
        faults.push(fault(vec![id.clone()], format!("the pack {} has no rule {id:?}", pack.id)));
    }
    for rule in pack.rules {
        let id = rule.id.as_str().to_owned();
        match wanted.overrides.get(&id) {
            None => rules.push(rule),
            Some(Value::Null) => {}
            Some(change) => match merged(&rule, change) {
                Ok(changed) => rules.push(changed),
                Err((members, reason)) => faults.push(fault([vec![id], members].concat(), reason)),
            },
        }
    }
    rules
}

/// Returns `rule` with `change`; else the members that lead to what is wrong, and what that is.
fn merged(rule: &Rule, change: &Value) -> Result<Rule, (Vec<String>, String)> {
    let whole = |error: serde_json::Error| (Vec::new(), format!("the changed rule is not good: {error}"));
    let mut value = serde_json::to_value(rule).map_err(whole)?;
    merge(&mut value, change);
    for alternative in ["match", "then"] {
        let given = value.get(alternative).and_then(Value::as_object);
        if let Some(given) = given.filter(|given| given.len() > 1) {
            let names: Vec<_> = given.keys().map(String::as_str).collect();
            let reason = format!("{} exclude each other: set the one that is not wanted to null", names.join(" and "));
            return Err((vec![alternative.to_owned()], reason));
        }
    }
    let changed: Rule = serde_path_to_error::deserialize(value).map_err(|error| {
        let members = error.path().iter().filter_map(|segment| match segment {
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { .. } | Segment::Unknown => None,
        });
        (members.collect(), format!("the changed rule is not good: {}", error.inner()))
    })?;
    if changed.id == rule.id { Ok(changed) } else { Err((vec!["id".to_owned()], "a change keeps the rule's id".to_owned())) }
}

/// Applies a JSON Merge Patch (RFC 7396 §2).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
