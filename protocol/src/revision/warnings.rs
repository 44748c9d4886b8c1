//! What is allowed in a document and hardly meant: rules that can never decide, rules that take more than anyone wants, names that
//! nothing has. Warnings never stand in the way of a revision; whoever writes one is told.
//!
//! A rule is found to be out of reach when one single rule before it takes everything that it is for; what several take together is
//! not looked for.

mod cover;

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use super::document::{Action, Document, Matcher, Mode, PushMatch, Rule, SyslogMatch, TrapMatch};
use super::field::Field;
use super::noise::Scope;
use super::pack::{self, Meant};
use super::{literal, pattern};

/// Most warnings.
const MAX_WARNINGS: usize = 100;

/// Numbers of an OID that still hold several vendors' notifications: 1.3.6.1.4.1.N names one.
const BROAD_NUMBERS: usize = 6;

/// Returns what is hardly meant in `document`, each with its path and what to do; at most 100.
pub fn warnings(document: &Document) -> Vec<Problem> {
    let Ok(meant) = pack::rules(document) else { return Vec::new() };
    let mut found = Found(Vec::new());
    cover::out_of_reach(&meant, &mut found);
    for Meant { path, rule } in meant.iter().take(document.rules.len()) {
        too_broad(path, rule, &mut found);
    }
    clears_without_raise(document, &meant, &mut found);
    names(document, &meant, &mut found);
    tables(document, &meant, &mut found);
    sources(document, &mut found);
    found.0.truncate(MAX_WARNINGS);
    found.0
}

/// The warnings so far.
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        if self.0.len() < MAX_WARNINGS {
            self.0.push(Problem { path: path.into(), line: 0, column: 0, reason: reason.into() });
        }
    }
}

/// A rule of the document's own that takes everything, or nearly.
fn too_broad(path: &str, rule: &Rule, found: &mut Found) {
    if rule.mode == Mode::Observe {
        return;
    }
    let broad = match &rule.matcher {
        Matcher::Push(PushMatch { state, kinds, fields, sources }) => {
            (state.is_none() && kinds.is_empty() && fields.is_empty() && sources.is_empty()).then_some("every push")
        }
        Matcher::Syslog(SyslogMatch { facilities, max_severity, programs, hosts, msgids, fields, regex, sources }) => {
            let all = facilities.is_empty() && max_severity.is_none_or(|severity| severity == 7) && programs.is_empty();
            let all = all && hosts.is_empty() && msgids.is_empty() && fields.is_empty() && sources.is_empty();
            let all = all && regex.as_deref().is_none_or(|regex| literal::needed(regex).is_none());
            // Only then is an expression worth its compilation.
            let any_text = || regex.as_deref().is_none_or(|regex| pattern::compile(regex).is_ok_and(|regex| regex.is_match("")));
            (all && any_text()).then_some("every syslog message")
        }
        Matcher::Trap(TrapMatch { oid, prefix, varbinds, sources }) => {
            let all = oid.is_none() && varbinds.is_empty() && sources.is_empty();
            let numbers = prefix.as_deref().map_or(0, |prefix| prefix.trim_start_matches('.').split('.').count());
            (all && numbers <= BROAD_NUMBERS).then_some(if prefix.is_none() { "every trap" } else { "the traps of several vendors" })
        }
    };
    if let Some(what) = broad {
        found.add(format!("{path}.match"), format!("this takes {what}: add a condition, or leave it to the pack `catch-all`"));
    }
    if let Matcher::Syslog(SyslogMatch { regex: Some(regex), programs, hosts, msgids, fields, .. }) = &rule.matcher
        && programs.is_empty()
        && hosts.is_empty()
        && msgids.is_empty()
        && fields.is_empty()
        && literal::needed(regex).is_none()
    {
        let reason = "this has no fixed text of 3 bytes or more, so it is held against every line: add such a text, or programs or hosts";
        found.add(format!("{path}.match.syslog.regex"), reason);
    }
}

/// A rule of the document's own that clears what no rule raises.
fn clears_without_raise(document: &Document, meant: &[Meant], found: &mut Found) {
    let raised: BTreeSet<&str> = meant
        .iter()
        .filter_map(|Meant { rule, .. }| match &rule.then {
            Action::Raise(raise) => Some(raise.kind.as_str()),
            Action::Clear(_) | Action::Suppress {} => None,
        })
        .collect();
    // A kind that is filled in may be any.
    if raised.iter().any(|kind| kind.contains('{')) && document.packs.is_empty() {
        return;
    }
    for Meant { path, rule } in meant.iter().take(document.rules.len()) {
        if let Action::Clear(key) = &rule.then
            && !key.kind.contains('{')
            && !raised.contains(key.kind.as_str())
        {
            found.add(
                format!("{path}.then.clear.kind"),
                format!("no rule raises an alert of the kind {}: there is nothing to clear", key.kind),
            );
        }
    }
}

/// What windows, dependencies and silences name.
fn names(document: &Document, meant: &[Meant], found: &mut Found) {
    let known = Known::new(document, meant);
    for (index, window) in document.windows.iter().enumerate() {
        known.check(&window.affects, &format!("windows[{index}].affects"), found);
    }
    for (index, dependency) in document.dependencies.iter().enumerate() {
        known.check(&dependency.children, &format!("dependencies[{index}].children"), found);
    }
    for (index, silence) in document.silences.iter().enumerate() {
        known.check(&silence.of, &format!("silences[{index}].of"), found);
    }
}

/// Names that a scope may use.
struct Known<'d> {
    rules: BTreeSet<&'d str>,
    groups: BTreeSet<&'d str>,
    tags: BTreeSet<&'d str>,
}

impl<'d> Known<'d> {
    fn new(document: &'d Document, meant: &'d [Meant]) -> Self {
        let silences = document.silences.iter().map(|silence| silence.id.as_str());
        Self {
            rules: meant.iter().map(|meant| meant.rule.id.as_str()).chain(silences).collect(),
            groups: document.sources.iter().filter_map(|facts| facts.group.as_deref()).collect(),
            tags: meant
                .iter()
                .flat_map(|meant| &meant.rule.tags)
                .chain(document.sources.iter().flat_map(|facts| &facts.tags))
                .map(String::as_str)
                .collect(),
        }
    }

    fn check(&self, scope: &Scope, path: &str, found: &mut Found) {
        for (index, wanted) in scope.rules.iter().enumerate() {
            let there = match wanted.strip_suffix('*') {
                Some(begin) => self.rules.range(begin..).next().is_some_and(|id| id.starts_with(begin)),
                None => self.rules.contains(wanted.as_str()),
            };
            if !there {
                found.add(format!("{path}.rules[{index}]"), format!("there is no rule {wanted}, in the document or its packs"));
            }
        }
        for (index, group) in scope.groups.iter().enumerate().filter(|(_, group)| !self.groups.contains(group.as_str())) {
            found.add(format!("{path}.groups[{index}]"), format!("no entry of `sources` has the group {group}"));
        }
        for (index, tag) in scope.tags.iter().enumerate().filter(|(_, tag)| !self.tags.contains(tag.as_str())) {
            found.add(format!("{path}.tags[{index}]"), format!("no rule and no entry of `sources` has the tag {tag}"));
        }
    }
}

/// Tables that nothing is looked up in.
fn tables(document: &Document, meant: &[Meant], found: &mut Found) {
    let fields = meant.iter().flat_map(|meant| &meant.rule.release).flat_map(|(name, release)| release.fields(name).unwrap_or_default());
    let used: BTreeSet<_> = fields
        .filter_map(|field| match field {
            Field::Lookup { table, .. } => Some(table),
            _ => None,
        })
        .collect();
    for name in document.tables.keys().filter(|name| !used.contains(*name)) {
        found.add(format!("tables.{name}"), format!("no rule releases lookup:{name}:FIELD"));
    }
}

/// Networks that two entries of `sources` have.
fn sources(document: &Document, found: &mut Found) {
    let mut seen = BTreeMap::new();
    for (at, facts) in document.sources.iter().enumerate() {
        for (index, text) in facts.networks.iter().enumerate() {
            let Ok(network) = text.parse::<ipnet::IpNet>() else { continue };
            if let Some(first) = seen.insert(network.trunc(), at) {
                found.add(
                    format!("sources[{at}].networks[{index}]"),
                    format!("sources[{first}] has {network} already, and the first holds"),
                );
            }
        }
    }
}
