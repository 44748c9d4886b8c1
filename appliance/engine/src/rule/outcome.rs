//! What a rule makes of an event: its templates, filled in and bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use postern_protocol::alert::{AlertKey, Evidence, MAX_ALERT_BYTES, Severity};
use postern_protocol::id::RuleId;
use postern_protocol::revision::field::Field;
use postern_protocol::revision::intake::SourceFacts;
use postern_protocol::revision::template::{ABSENT, Template};
use sha2::Digest as _;

use super::field::{Readable, cut};
use super::matcher::{Matcher, bounded};
use super::source::{self, MAX_TLS_NAME_BYTES};
use super::{Deciding, Rule, RuleFacts, RuleNumber};
use crate::event::{Body, Event};

/// Most bytes of an alert's resource.
pub(crate) const MAX_RESOURCE_BYTES: usize = 512;

/// Most bytes of an alert's kind.
pub(crate) const MAX_KIND_BYTES: usize = 128;

/// Most bytes of an alert's qualifier.
pub(crate) const MAX_QUALIFIER_BYTES: usize = 512;

/// Most bytes of an alert's summary.
pub(crate) const MAX_SUMMARY_BYTES: usize = 1024;

/// Most bytes of a label's text.
pub(crate) const MAX_LABEL_BYTES: usize = 512;

/// Most labels and bytes of a label's name, as `revision::parse` holds.
const LABELS: usize = 16;
const LABEL_NAME_BYTES: usize = 64;

/// Evidence besides names: addresses, numbers, tags and lengths of the encoding.
const OVERHEAD_BYTES: usize = 1024;

/// HOSTNAME in evidence: at most what a rule can release.
const HOSTNAME_BYTES: usize = 1024;

const _: () = assert!(
    MAX_RESOURCE_BYTES
        + MAX_KIND_BYTES
        + MAX_QUALIFIER_BYTES
        + MAX_SUMMARY_BYTES
        + LABELS * (MAX_LABEL_BYTES + LABEL_NAME_BYTES + 16)
        + MAX_TLS_NAME_BYTES
        + HOSTNAME_BYTES
        + OVERHEAD_BYTES
        < MAX_ALERT_BYTES,
    "no alert can be longer than a record may be"
);

/// What to do, as templates.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Clear(KeyTemplates),
    Raise(RaiseTemplates),
    Suppress,
}

/// Templates of an alert's key.
#[derive(Clone, Debug)]
pub(super) struct KeyTemplates {
    pub(super) resource: Template,
    pub(super) kind: Template,
    pub(super) qualifier: Template,
}

/// Templates of an alert.
#[derive(Clone, Debug)]
pub(super) struct RaiseTemplates {
    pub(super) key: KeyTemplates,
    pub(super) severity: SeverityChoice,
    pub(super) summary: Template,
    pub(super) labels: BTreeMap<String, Template>,
    pub(super) clear_after_s: Option<u32>,
    /// Name of the released field that a rate is of.
    pub(super) number: Option<String>,
}

/// How grave an alert is.
#[derive(Clone, Debug)]
pub(super) enum SeverityChoice {
    Fixed(Severity),
    Map { by: String, map: BTreeMap<String, Severity>, default: Severity },
}

/// What one rule makes of one event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// End the alert of this key, because this rule says so.
    Clear { key: AlertKey, rule: RuleId, evidence: Evidence },
    /// Open this alert or count it again.
    Raise(Report),
    /// Do nothing.
    Suppress,
}

/// One report of an alert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) key: AlertKey,
    pub(crate) severity: Severity,
    pub(crate) summary: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) rule: RuleId,
    pub(crate) rule_version: u32,
    /// Seconds without a report after which the alert ends by itself.
    pub(crate) clear_after_s: Option<u32>,
    pub(crate) evidence: Evidence,
    /// Who reported it, and by which rule.
    pub(crate) noise: NoiseFacts,
}

/// What noise control looks at; nothing of it is in the alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NoiseFacts {
    /// The rule; `None` when none made the report.
    pub(crate) rule: Option<RuleNumber>,
    /// The number whose rate the rule watches, when the event has it.
    pub(crate) number: Option<f64>,
    /// The rule's tags.
    pub(crate) tags: Arc<[String]>,
}

/// Who reported an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Origin {
    /// The name that alerts carry as `source`.
    pub(crate) source: String,
    /// The address to which networks are held.
    pub(crate) address: Option<IpAddr>,
    /// What the document knows of that address.
    pub(crate) facts: Option<Arc<SourceFacts>>,
}

/// Fills in the templates of `rule`, which matched the event that is being decided about.
pub(super) fn of<'r>(rule: &'r Rule, known: &RuleFacts, deciding: &Deciding<'r>) -> Outcome {
    let event = deciding.event;
    let facts = Facts::new(rule, deciding);
    match &rule.action {
        Action::Clear(key) => Outcome::Clear { key: facts.key(key), rule: known.id.clone(), evidence: facts.evidence(rule, event) },
        Action::Raise(raise) => Outcome::Raise(Report {
            key: facts.key(&raise.key),
            severity: match &raise.severity {
                SeverityChoice::Fixed(severity) => *severity,
                SeverityChoice::Map { by, map, default } => facts.get(by).and_then(|text| map.get(text)).copied().unwrap_or(*default),
            },
            summary: cut(facts.fill(&raise.summary), MAX_SUMMARY_BYTES),
            labels: raise.labels.iter().filter_map(|(name, template)| Some((name.clone(), facts.label(template)?))).collect(),
            rule: known.id.clone(),
            rule_version: known.version,
            clear_after_s: raise.clear_after_s,
            evidence: facts.evidence(rule, event),
            noise: NoiseFacts {
                rule: Some(rule.number),
                number: raise
                    .number
                    .as_ref()
                    .and_then(|name| facts.get(name)?.trim().parse().ok())
                    .filter(|number: &f64| number.is_finite()),
                tags: Arc::clone(&known.tags),
            },
        }),
        Action::Suppress => Outcome::Suppress,
    }
}

/// The released fields of one event by name.
struct Facts<'r> {
    texts: Vec<(&'r str, Option<Cow<'r, str>>)>,
}

impl<'r> Facts<'r> {
    fn new(rule: &'r Rule, deciding: &Deciding<'r>) -> Self {
        let Deciding { rules, event, dictionary, .. } = deciding;
        let groups = match (&rule.matcher, &event.body) {
            (Matcher::Syslog(matcher), Body::Syslog(message)) if rule.released.iter().any(super::field::Released::is_capture) => {
                matcher.regex.as_ref().and_then(|expression| expression.regex()?.captures(bounded(&message.message)))
            }
            _ => None,
        };
        let facts = rules.sources.of(source::address(event)).map(AsRef::as_ref);
        let from = Readable { event, groups, dictionary, tables: &rules.tables, facts };
        let texts = rule.released.iter().map(|released| (released.name.as_str(), released.text(&from)));
        Self { texts: texts.collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(known, _)| *known == name)?.1.as_deref()
    }

    fn fill(&self, template: &Template) -> String {
        template.render(|name| self.get(name))
    }

    fn key(&self, key: &KeyTemplates) -> AlertKey {
        AlertKey {
            resource: named(identity(self.fill(&key.resource), MAX_RESOURCE_BYTES)),
            kind: named(identity(self.fill(&key.kind), MAX_KIND_BYTES)),
            qualifier: identity(self.fill(&key.qualifier), MAX_QUALIFIER_BYTES),
        }
    }

    /// Fills in a label; none when it is only about fields that the event lacks.
    fn label(&self, template: &Template) -> Option<String> {
        let mut names = template.names().peekable();
        if names.peek().is_some() && names.all(|name| self.get(name).is_none()) {
            return None;
        }
        Some(cut(self.fill(template), MAX_LABEL_BYTES))
    }

    fn evidence(&self, rule: &Rule, event: &Event) -> Evidence {
        source::evidence(event, rule.released.iter().find(|released| released.fields.contains(&Field::Host)))
    }
}

/// Stands in for an empty text: an alert without resource or kind is no record that anyone would take.
fn named(text: String) -> String {
    if text.is_empty() { ABSENT.to_owned() } else { text }
}

/// Cuts a part of a key. The end becomes a hash of the whole, so that two long parts that begin alike stay two.
fn identity(text: String, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text;
    }
    let hash = sha2::Sha256::digest(text.as_bytes());
    let end = format!("…{:016x}", hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first)));
    let begin = text.get(..text.floor_char_boundary(max_bytes.saturating_sub(end.len()))).unwrap_or_default();
    format!("{begin}{end}")
}
