//! From the document's texts to what the engine works with. The texts were checked by `revision::parse`; what is wrong all the same is
//! a [`Problem`], never a rule that silently does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use postern_protocol::oid::Oid;
use postern_protocol::revision::document::{self, Document, PushMatch, Release, SyslogMatch, TrapMatch};
use postern_protocol::revision::pack::{self, Meant};
use postern_protocol::revision::template::Template;
use postern_protocol::revision::{Problem, keyword, pattern};

use super::expression::Expression;
use super::field::Released;
use super::matcher::{Matcher, Push, Syslog, Trap, VarbindTest};
use super::outcome::{Action, KeyTemplates, RaiseTemplates, SeverityChoice};
use super::{Rule, RuleFacts, RuleNumber};
use crate::noise::Settings;

/// The rules of a document.
pub(super) struct Compiled {
    /// What is tried, in order.
    pub(super) rules: Vec<Rule>,
    /// The rules that are counted and named.
    pub(super) facts: Vec<RuleFacts>,
    /// What the document and its rules say about noise.
    pub(super) noise: Settings,
}

/// Compiles every rule.
pub(super) fn rules(document: &Document) -> Result<Compiled, Vec<Problem>> {
    let meant = pack::rules(document)?;
    let mut problems = Vec::new();
    let mut rules = Vec::with_capacity(meant.len());
    for (number, Meant { path: place, rule: source }) in meant.iter().enumerate() {
        match tried(source, RuleNumber::new(number)) {
            Ok(tried) => rules.extend(tried),
            Err(Fault { path, reason }) => problems.push(Problem { path: format!("{place}.{path}"), line: 0, column: 0, reason }),
        }
    }
    let noise = Settings::compile(document, meant.iter().map(|meant| &meant.rule));
    let facts = meant.into_iter().map(|Meant { rule, .. }| RuleFacts {
        id: rule.id,
        version: rule.version,
        mode: rule.mode,
        clear_after_s: match rule.then {
            document::Action::Raise(raise) => raise.clear_after_s,
            document::Action::Clear(_) | document::Action::Suppress {} => None,
        },
        tags: rule.tags.into(),
    });
    match noise {
        Ok(noise) if problems.is_empty() => Ok(Compiled { rules, facts: facts.collect(), noise }),
        noise => Err(problems.into_iter().chain(noise.err().into_iter().flatten()).collect()),
    }
}

/// What is wrong with a rule, and where in it.
struct Fault {
    path: String,
    reason: String,
}

fn at<E: Display>(path: &str) -> impl FnOnce(E) -> Fault {
    let path = path.to_owned();
    move |error| Fault { path, reason: error.to_string() }
}

/// The rule itself, then what ends the alerts that it raises.
fn tried(source: &document::Rule, number: RuleNumber) -> Result<Vec<Rule>, Fault> {
    let released: Vec<_> = source.release.iter().map(|(name, release)| released(name, release)).collect::<Result<_, _>>()?;
    let action = match &source.then {
        document::Action::Clear(key) => Action::Clear(key_templates(&key.resource, &key.kind, &key.qualifier)?),
        document::Action::Raise(raised) => Action::Raise(raise(raised, source)?),
        document::Action::Suppress {} => Action::Suppress,
    };
    let rule = |matcher, action| Rule { number, matcher, released: released.clone(), action, continues: source.continues };
    let mut tried = vec![rule(matcher(&source.matcher).map_err(below("match"))?, action.clone())];
    if let Action::Raise(raise) = action {
        for (index, ending) in source.clear_on.iter().enumerate() {
            let matcher = matcher(ending).map_err(below(&format!("clear_on[{index}]")))?;
            tried.push(rule(matcher, Action::Clear(raise.key.clone())));
        }
    }
    Ok(tried)
}

fn below(path: &str) -> impl FnOnce(Fault) -> Fault {
    let path = path.to_owned();
    move |fault| Fault { path: format!("{path}.{}", fault.path), ..fault }
}

fn matcher(source: &document::Matcher) -> Result<Matcher, Fault> {
    Ok(match source {
        document::Matcher::Push(matcher) => Matcher::Push(push(matcher)?),
        document::Matcher::Syslog(matcher) => Matcher::Syslog(syslog(matcher)?),
        document::Matcher::Trap(matcher) => Matcher::Trap(trap(matcher)?),
    })
}

fn trap(source: &TrapMatch) -> Result<Trap, Fault> {
    let tests = source.varbinds.iter().map(|test| {
        Ok(VarbindTest {
            oid: test.oid.parse().map_err(at("trap.varbinds.oid"))?,
            equals: test.equals.clone(),
            regex: test.regex.as_deref().map(Expression::new).transpose().map_err(at("trap.varbinds.regex"))?,
        })
    });
    Ok(Trap {
        oids: source.oid.as_deref().map(str::parse).transpose().map_err(at("trap.oid"))?.map(both_forms).unwrap_or_default(),
        prefix: source.prefix.as_deref().map(str::parse).transpose().map_err(at("trap.prefix"))?,
        varbinds: tests.collect::<Result<_, _>>()?,
        sources: networks(&source.sources)?,
    })
}

/// Returns `oid`, and the OID that the same notification has when an SNMPv1 agent sends it: RFC 3584 §3.1 makes that of "the
/// SNMPv1 enterprise parameter and two additional sub-identifiers, '0', and the SNMPv1 specific-trap parameter", though many MIBs
/// define the notification without the 0 (UPS-MIB, OSPF-TRAP-MIB).
fn both_forms(oid: Oid) -> Vec<Oid> {
    let as_v1 = match oid.numbers().split_last() {
        Some((specific, enterprise)) if enterprise.last() != Some(&0) => Oid::new(&[enterprise, &[0, *specific]].concat()).ok(),
        Some(_) | None => None,
    };
    [Some(oid), as_v1].into_iter().flatten().collect()
}

fn syslog(source: &SyslogMatch) -> Result<Syslog, Fault> {
    let facilities = source.facilities.iter().map(|text| keyword::facility(text).ok_or("there is no such facility"));
    Ok(Syslog {
        facilities: facilities.collect::<Result<_, _>>().map_err(at("syslog.facilities"))?,
        max_severity: source.max_severity,
        programs: set(&source.programs),
        hosts: set(&source.hosts),
        msgids: set(&source.msgids),
        fields: source.fields.clone(),
        regex: source.regex.as_deref().map(Expression::new).transpose().map_err(at("syslog.regex"))?,
        sources: networks(&source.sources)?,
    })
}

fn push(source: &PushMatch) -> Result<Push, Fault> {
    let fields = source.fields.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    Ok(Push { state: source.state, kinds: set(&source.kinds), fields, sources: networks(&source.sources)? })
}

fn networks(texts: &[String]) -> Result<Vec<ipnet::IpNet>, Fault> {
    texts.iter().map(|text| pattern::network(text)).collect::<Result<_, _>>().map_err(at("sources"))
}

fn set(texts: &[String]) -> BTreeSet<String> {
    texts.iter().cloned().collect()
}

fn released(name: &str, release: &Release) -> Result<Released, Fault> {
    let fields = release.fields(name).map_err(at(&format!("release.{name}.from")))?;
    Ok(Released { name: name.to_owned(), fields, max_bytes: usize::from(release.max_bytes) })
}

fn raise(source: &document::Raise, rule: &document::Rule) -> Result<RaiseTemplates, Fault> {
    let mut labels = BTreeMap::new();
    for (name, text) in &source.labels {
        labels.insert(name.clone(), template("labels", text)?);
    }
    Ok(RaiseTemplates {
        key: key_templates(&source.resource, &source.kind, &source.qualifier)?,
        severity: match &source.severity {
            document::SeverityChoice::Fixed(severity) => SeverityChoice::Fixed(*severity),
            document::SeverityChoice::Map(map) => SeverityChoice::Map { by: map.by.clone(), map: map.map.clone(), default: map.default },
        },
        summary: template("summary", &source.summary)?,
        labels,
        clear_after_s: source.clear_after_s,
        number: rule.rate.as_ref().map(|rate| rate.of.clone()),
    })
}

fn key_templates(resource: &str, kind: &str, qualifier: &str) -> Result<KeyTemplates, Fault> {
    Ok(KeyTemplates {
        resource: template("resource", resource)?,
        kind: template("kind", kind)?,
        qualifier: template("qualifier", qualifier)?,
    })
}

fn template(name: &str, text: &str) -> Result<Template, Fault> {
    Template::parse(text).map_err(at(&format!("then.{name}")))
}
