//! What a window, a dependency or a silence is about: a document's scope, compiled.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use postern_protocol::revision::intake::SourceFacts;
use postern_protocol::revision::noise::Scope as Wanted;
use postern_protocol::revision::pattern::{self, NetworkError};

/// A scope, compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scope {
    networks: Vec<IpNet>,
    sources: BTreeSet<String>,
    groups: BTreeSet<String>,
    rules: BTreeSet<String>,
    /// What ids of rules begin with.
    prefixes: Vec<String>,
    tags: BTreeSet<String>,
}

/// Who reported something, and by which rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The source, as alerts name it.
    pub(crate) source: &'a str,
    /// Its address.
    pub(crate) address: Option<IpAddr>,
    /// What the document knows of it.
    pub(crate) facts: Option<&'a SourceFacts>,
    /// The rule; empty for none.
    pub(crate) rule: &'a str,
    /// The rule's tags.
    pub(crate) tags: &'a [String],
}

impl Scope {
    /// Compiles `wanted`.
    ///
    /// # Errors
    /// Which network is none.
    pub(super) fn compile(wanted: &Wanted) -> Result<Self, (usize, NetworkError)> {
        let networks = wanted.networks.iter().enumerate().map(|(index, text)| pattern::network(text).map_err(|error| (index, error)));
        let (prefixes, rules): (Vec<_>, Vec<_>) = wanted.rules.iter().partition(|rule| rule.ends_with('*'));
        Ok(Self {
            networks: networks.collect::<Result<_, _>>()?,
            sources: wanted.sources.iter().cloned().collect(),
            groups: wanted.groups.iter().cloned().collect(),
            rules: rules.into_iter().cloned().collect(),
            prefixes: prefixes.into_iter().map(|prefix| prefix.trim_end_matches('*').to_owned()).collect(),
            tags: wanted.tags.iter().cloned().collect(),
        })
    }

    /// Says whether it is about `subject`: of each list that is given, one entry fits.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        let facts = subject.facts;
        let name = facts.and_then(|facts| facts.name.as_deref());
        let group = facts.and_then(|facts| facts.group.as_deref());
        let among = |set: &BTreeSet<String>, text: Option<&str>| text.is_some_and(|text| set.contains(text));
        (self.networks.is_empty() || subject.address.is_some_and(|address| self.networks.iter().any(|network| network.contains(&address))))
            && (self.sources.is_empty() || self.sources.contains(subject.source) || among(&self.sources, name))
            && (self.groups.is_empty() || among(&self.groups, group))
            && self.holds_rule(subject.rule)
            && (self.tags.is_empty() || self.holds_tag(subject))
    }

    /// Returns the names of sources that it lists; empty when any will do.
    pub(super) const fn sources(&self) -> &BTreeSet<String> {
        &self.sources
    }

    fn holds_rule(&self, rule: &str) -> bool {
        (self.rules.is_empty() && self.prefixes.is_empty())
            || self.rules.contains(rule)
            || self.prefixes.iter().any(|prefix| rule.starts_with(prefix))
    }

    fn holds_tag(&self, subject: &Subject<'_>) -> bool {
        let of_source = subject.facts.map(|facts| facts.tags.as_slice()).unwrap_or_default();
        subject.tags.iter().chain(of_source).any(|tag| self.tags.contains(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(json: &str) -> Scope {
        Scope::compile(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn facts() -> SourceFacts {
        serde_json::from_str(r#"{"networks": ["10.0.0.0/8"], "name": "core", "group": "dc", "tags": ["lab"]}"#).unwrap()
    }

    #[track_caller]
    fn holds(json: &str, expected: bool) {
        let facts = facts();
        let tags = ["ups".to_owned()];
        let address = Some([10, 0, 0, 7].into());
        let subject = Subject { source: "10.0.0.7", address, facts: Some(&facts), rule: "cisco.link-down", tags: &tags };
        assert_eq!(scope(json).holds(&subject), expected, "{json}");
    }

    #[test]
    fn of_each_list_one_entry_must_fit_and_a_list_that_is_left_out_is_no_condition() {
        holds("{}", true);
        holds(r#"{"networks": ["192.0.2.0/24", "10.0.0.0/24"]}"#, true);
        holds(r#"{"networks": ["192.0.2.0/24"]}"#, false);
        holds(r#"{"sources": ["core"]}"#, true);
        holds(r#"{"sources": ["10.0.0.7"], "groups": ["dc"], "tags": ["ups"]}"#, true);
        holds(r#"{"sources": ["10.0.0.8"]}"#, false);
        holds(r#"{"groups": ["edge"]}"#, false);
        holds(r#"{"groups": ["dc"], "networks": ["192.0.2.1"]}"#, false);
        holds(r#"{"tags": ["lab"]}"#, true);
        holds(r#"{"tags": ["prod"]}"#, false);
    }

    #[test]
    fn rules_are_named_or_begin_alike() {
        holds(r#"{"rules": ["cisco.*"]}"#, true);
        holds(r#"{"rules": ["juniper.*", "cisco.link-down"]}"#, true);
        holds(r#"{"rules": ["cisco"]}"#, false);
        holds(r#"{"rules": ["*"]}"#, true);
    }
}
