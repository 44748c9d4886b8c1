//! From the document's texts to what the engine works with. The texts were checked by `revision::parse`; what is wrong all the same is
//! a [`Problem`], never a rule that silently does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use postern_protocol::oid::Oid;
use postern_protocol::revision::document::{self, Document, PushMatch, Release, SyslogMatch, TrapMatch};
use postern_protocol::revision::pack::{self, Meant};
use postern_protocol::revision::template::Template;
use postern_protocol::revision::{Problem, keyword, pattern};

use super::Rule;
use super::field::Released;
use super::matcher::{Matcher, Push, Syslog, Trap, VarbindTest};
use super::outcome::{Action, KeyTemplates, RaiseTemplates, SeverityChoice};

/// Compiles every rule.
pub(super) fn rules(document: &Document) -> Result<Vec<Rule>, Vec<Problem>> {
    let meant = pack::rules(document)?;
    let mut problems = Vec::new();
    let mut rules = Vec::with_capacity(meant.len());
    for Meant { path: place, rule: source } in &meant {
        match rule(source) {
            Ok(rule) => rules.push(rule),
            Err(Fault { path, reason }) => problems.push(Problem { path: format!("{place}.{path}"), line: 0, column: 0, reason }),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
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

fn rule(source: &document::Rule) -> Result<Rule, Fault> {
    Ok(Rule {
        id: source.id.clone(),
        version: source.version,
        matcher: match &source.matcher {
            document::Matcher::Push(matcher) => Matcher::Push(push(matcher)?),
            document::Matcher::Syslog(matcher) => Matcher::Syslog(syslog(matcher)?),
            document::Matcher::Trap(matcher) => Matcher::Trap(trap(matcher)?),
        },
        released: source.release.iter().map(|(name, release)| released(name, release)).collect::<Result<_, _>>()?,
        action: match &source.then {
            document::Action::Clear(key) => Action::Clear(key_templates(&key.resource, &key.kind, &key.qualifier)?),
            document::Action::Raise(source) => Action::Raise(raise(source)?),
            document::Action::Suppress {} => Action::Suppress,
        },
        continues: source.continues,
    })
}

fn trap(source: &TrapMatch) -> Result<Trap, Fault> {
    let tests = source.varbinds.iter().map(|test| {
        Ok(VarbindTest {
            oid: test.oid.parse().map_err(at("match.trap.varbinds.oid"))?,
            equals: test.equals.clone(),
            regex: test.regex.as_deref().map(pattern::compile).transpose().map_err(at("match.trap.varbinds.regex"))?,
        })
    });
    Ok(Trap {
        oids: source.oid.as_deref().map(str::parse).transpose().map_err(at("match.trap.oid"))?.map(both_forms).unwrap_or_default(),
        prefix: source.prefix.as_deref().map(str::parse).transpose().map_err(at("match.trap.prefix"))?,
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
        facilities: facilities.collect::<Result<_, _>>().map_err(at("match.syslog.facilities"))?,
        max_severity: source.max_severity,
        programs: set(&source.programs),
        hosts: set(&source.hosts),
        regex: source.regex.as_deref().map(pattern::compile).transpose().map_err(at("match.syslog.regex"))?,
        sources: networks(&source.sources)?,
    })
}

fn push(source: &PushMatch) -> Result<Push, Fault> {
    let fields = source.fields.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    Ok(Push { state: source.state, kinds: set(&source.kinds), fields, sources: networks(&source.sources)? })
}

fn networks(texts: &[String]) -> Result<Vec<ipnet::IpNet>, Fault> {
    texts.iter().map(|text| pattern::network(text)).collect::<Result<_, _>>().map_err(at("match.sources"))
}

fn set(texts: &[String]) -> BTreeSet<String> {
    texts.iter().cloned().collect()
}

fn released(name: &str, release: &Release) -> Result<Released, Fault> {
    let fields = release.fields(name).map_err(at(&format!("release.{name}.from")))?;
    Ok(Released { name: name.to_owned(), fields, max_bytes: usize::from(release.max_bytes) })
}

fn raise(source: &document::Raise) -> Result<RaiseTemplates, Fault> {
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
