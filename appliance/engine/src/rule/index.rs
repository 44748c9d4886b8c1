//! Which rules may match an event: looked up by what the event has, not tried one by one.
//!
//! Each rule stands in one table, under what is the rarest of its conditions among all rules: its OID, the text that its expression
//! needs, MSGID, program, host, a field, the sender's network. A candidate may still not match; a rule that is no candidate cannot.
//! Candidates come in the order of the document.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use ipnet::IpNet;
use postern_protocol::oid::Oid;

use super::expression::Expression;
use super::literal::Literals;
use super::matcher::{Matcher, Push, Syslog, Trap, bounded};
use super::networks::Networks;
use super::oid_tree::{Fits, OidTree};
use crate::event::{Body, Event, SyslogMessage};

/// Numbers of rules, ascending.
type Numbers = Vec<u32>;

/// What is found by a key of the document. Its keys are all that is in it, so no sender can crowd it, and no seed has to be secret.
type ByKey<K, V> = HashMap<K, V, FixedState>;

/// Numbers by text.
type ByText = ByKey<String, Numbers>;

/// Rules that may share a key before another condition is looked for that tells them apart.
const CROWD: usize = 8;

/// Shortest prefix of a network that tells senders apart.
const MIN_PREFIX: u8 = 8;

/// Severities and facilities of syslog.
const SEVERITIES: usize = 8;
const FACILITIES: usize = 24;

/// The lookup tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    traps: Traps,
    syslog: SyslogMessages,
    pushes: Pushes,
}

#[derive(Clone, Debug, Default)]
struct Traps {
    by_oid: OidTree,
    by_source: Networks<Numbers>,
    any: Numbers,
}

#[derive(Clone, Debug, Default)]
struct SyslogMessages {
    by_text: Literals,
    by_program: ByText,
    by_host: ByText,
    by_msgid: ByText,
    by_field: ByKey<String, ByText>,
    by_source: Networks<Numbers>,
    /// Rules without any of these, by facility and severity.
    by_pri: Vec<Numbers>,
}

#[derive(Clone, Debug, Default)]
struct Pushes {
    by_kind: ByText,
    by_field: ByKey<String, ByText>,
    by_source: Networks<Numbers>,
    any: Numbers,
}

/// Under what a rule is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Below(Oid),
    Exactly(Oid),
    Field(String, String),
    Host(String),
    Kind(String),
    Msgid(String),
    Network(IpNet),
    Program(String),
    Text(Vec<u8>),
}

/// Keys of which an event must have one before the rule can match.
type Way = Vec<Key>;

impl Index {
    /// Makes the tables for rules with these matchers.
    pub(super) fn new<'r>(matchers: impl Iterator<Item = &'r Matcher>) -> Self {
        let rules: Vec<_> = matchers.map(|matcher| (matcher, ways(matcher))).collect();
        let mut crowds: ByKey<(Kind, &Key), usize> = ByKey::default();
        for (matcher, ways) in &rules {
            for key in ways.iter().flatten() {
                let crowd = crowds.entry((Kind::of(matcher), key)).or_default();
                *crowd = crowd.saturating_add(1);
            }
        }
        let mut index = Self::default();
        for (number, (matcher, ways)) in (0..).zip(&rules) {
            let crowd = |way: &&Way| way.iter().filter_map(|key| crowds.get(&(Kind::of(matcher), key)).copied()).max().unwrap_or(0);
            let way = ways.iter().find(|way| crowd(way) <= CROWD).or_else(|| ways.iter().min_by_key(crowd));
            index.add(number, matcher, way.map(Vec::as_slice).unwrap_or_default());
        }
        index.traps.by_oid = std::mem::take(&mut index.traps.by_oid).finish();
        index.syslog.by_text = std::mem::take(&mut index.syslog.by_text).finish();
        index
    }

    fn add(&mut self, number: u32, matcher: &Matcher, way: &[Key]) {
        let Self { traps, syslog, pushes } = self;
        let (any, by_field, by_source) = match matcher {
            Matcher::Push(_) => (Some(&mut pushes.any), &mut pushes.by_field, &mut pushes.by_source),
            Matcher::Syslog(_) => (None, &mut syslog.by_field, &mut syslog.by_source),
            Matcher::Trap(_) => (Some(&mut traps.any), &mut syslog.by_field, &mut traps.by_source),
        };
        let mut texts = Vec::new();
        for key in way {
            let numbers = match key {
                Key::Below(oid) => {
                    traps.by_oid.add(oid, Fits::Below, number);
                    continue;
                }
                Key::Exactly(oid) => {
                    traps.by_oid.add(oid, Fits::Exactly, number);
                    continue;
                }
                Key::Text(text) => {
                    texts.push(text.clone());
                    continue;
                }
                Key::Field(name, text) => by_field.entry(name.clone()).or_default().entry(text.clone()).or_default(),
                Key::Host(host) => syslog.by_host.entry(host.clone()).or_default(),
                Key::Kind(kind) => pushes.by_kind.entry(kind.clone()).or_default(),
                Key::Msgid(msgid) => syslog.by_msgid.entry(msgid.clone()).or_default(),
                Key::Network(network) => by_source.entry(*network, Numbers::new),
                Key::Program(program) => syslog.by_program.entry(program.clone()).or_default(),
            };
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        syslog.by_text.add(number, &texts);
        match (any, matcher) {
            _ if !way.is_empty() => {}
            (Some(any), _) => any.push(number),
            (None, Matcher::Syslog(matcher)) => syslog.add_by_pri(number, matcher),
            (None, Matcher::Push(_) | Matcher::Trap(_)) => {}
        }
    }

    /// Returns the numbers of the rules that may match `event`, ascending.
    pub(super) fn candidates(&self, event: &Event) -> Candidates<'_> {
        let mut candidates = Candidates::default();
        match &event.body {
            Body::Notification(trap) => {
                self.traps.by_oid.find(&trap.trap_oid, |numbers| candidates.add(numbers));
                self.traps.by_source.holding(event.peer).for_each(|numbers| candidates.add(numbers));
                candidates.add(&self.traps.any);
            }
            Body::Push(push) => {
                candidates.add_of(&self.pushes.by_kind, Some(&push.kind));
                for (name, texts) in &self.pushes.by_field {
                    candidates.add_of(texts, push.fields.get(name).map(String::as_str));
                }
                self.pushes.by_source.holding(event.peer).for_each(|numbers| candidates.add(numbers));
                candidates.add(&self.pushes.any);
            }
            Body::Syslog(message) => {
                self.syslog.find(message, &mut candidates);
                self.syslog.by_source.holding(event.peer).for_each(|numbers| candidates.add(numbers));
            }
        }
        candidates.found.sort_unstable();
        candidates
    }
}

impl SyslogMessages {
    fn add_by_pri(&mut self, number: u32, matcher: &Syslog) {
        self.by_pri.resize_with(FACILITIES * SEVERITIES, Numbers::new);
        let fits = |facility: usize, severity: usize| {
            let (facility, severity) = (u8::try_from(facility).unwrap_or(u8::MAX), u8::try_from(severity).unwrap_or(u8::MAX));
            (matcher.facilities.is_empty() || matcher.facilities.contains(&facility))
                && matcher.max_severity.is_none_or(|gravest| severity <= gravest)
        };
        for (at, numbers) in self.by_pri.iter_mut().enumerate() {
            if fits(at / SEVERITIES, at % SEVERITIES) {
                numbers.push(number);
            }
        }
    }

    fn find<'i>(&'i self, message: &SyslogMessage, candidates: &mut Candidates<'i>) {
        self.by_text.find(bounded(&message.message), &mut candidates.found);
        candidates.add_of(&self.by_program, message.program.as_deref());
        candidates.add_of(&self.by_host, message.host.as_deref());
        candidates.add_of(&self.by_msgid, message.msgid.as_deref());
        if !self.by_field.is_empty() {
            for (name, text) in message.fields.iter() {
                if let Some(texts) = self.by_field.get(name) {
                    candidates.add_of(texts, Some(text));
                }
            }
        }
        let pri = usize::from(message.facility).saturating_mul(SEVERITIES).saturating_add(usize::from(message.severity));
        candidates.add(self.by_pri.get(pri).map(Vec::as_slice).unwrap_or_default());
    }
}

/// The kind of event that a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Push,
    Syslog,
    Trap,
}

impl Kind {
    const fn of(matcher: &Matcher) -> Self {
        match matcher {
            Matcher::Push(_) => Self::Push,
            Matcher::Syslog(_) => Self::Syslog,
            Matcher::Trap(_) => Self::Trap,
        }
    }
}

/// Returns the ways to find a rule, the most telling first; none when it must be tried for every event of its kind.
fn ways(matcher: &Matcher) -> Vec<Way> {
    let mut ways = match matcher {
        Matcher::Push(Push { kinds, fields, .. }) => {
            let kinds = kinds.iter().cloned().map(Key::Kind).collect();
            [vec![kinds], by_field(fields.iter())].concat()
        }
        Matcher::Syslog(Syslog { fields, hosts, msgids, programs, regex, .. }) => {
            let texts = regex.as_ref().map(Expression::needed).unwrap_or_default();
            let mut ways = vec![texts.iter().cloned().map(Key::Text).collect()];
            ways.extend(by_field(fields.iter()));
            ways.push(msgids.iter().cloned().map(Key::Msgid).collect());
            ways.push(programs.iter().cloned().map(Key::Program).collect());
            ways.push(hosts.iter().cloned().map(Key::Host).collect());
            ways
        }
        Matcher::Trap(Trap { oids, prefix, .. }) => {
            vec![oids.iter().cloned().map(Key::Exactly).collect(), prefix.iter().cloned().map(Key::Below).collect()]
        }
    };
    let sources = matcher.sources();
    if sources.iter().all(|network| network.prefix_len() >= MIN_PREFIX) {
        ways.push(sources.iter().copied().map(Key::Network).collect());
    }
    ways.retain(|way| !way.is_empty());
    ways
}

fn by_field<'r>(fields: impl Iterator<Item = (&'r String, &'r String)>) -> Vec<Way> {
    fields.map(|(name, text)| vec![Key::Field(name.clone(), text.clone())]).collect()
}

/// Most lists that are merged as they are; the numbers of further ones are sorted in.
const LISTS: usize = 6;

/// The numbers of several ascending lists, in ascending order.
#[derive(Default)]
pub(super) struct Candidates<'i> {
    lists: [&'i [u32]; LISTS],
    used: usize,
    /// Further numbers, sorted before the first is taken.
    found: Vec<u32>,
    taken: usize,
}

impl<'i> Candidates<'i> {
    fn add(&mut self, numbers: &'i [u32]) {
        if numbers.is_empty() {
            return;
        }
        match self.lists.get_mut(self.used) {
            Some(list) => {
                *list = numbers;
                self.used = self.used.saturating_add(1);
            }
            None => self.found.extend_from_slice(numbers),
        }
    }

    fn add_of(&mut self, lists: &'i ByText, text: Option<&str>) {
        if let Some(numbers) = text.filter(|_| !lists.is_empty()).and_then(|text| lists.get(text)) {
            self.add(numbers);
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lists = self.lists.get_mut(..self.used).unwrap_or_default();
        let further = self.found.get(self.taken..).unwrap_or_default();
        let least = lists.iter().filter_map(|list| list.first()).chain(further.first()).min().copied()?;
        for list in lists {
            if let Some(rest) = list.strip_prefix(&[least]) {
                *list = rest;
            }
        }
        // One number may be there more than once.
        self.taken = self.taken.saturating_add(further.iter().take_while(|number| **number == least).count());
        Some(least as usize)
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::alert::{Authenticity, Severity};
    use postern_protocol::revision::document::{Document, PushState};
    use postern_protocol::timestamp::Timestamp;
    use proptest::prelude::*;

    use super::super::RuleIndex;
    use super::*;
    use crate::event::{Notification, PushEvent, SyslogMessage, Transport};

    #[test]
    fn candidates_of_all_tables_come_in_the_order_of_the_document() {
        let mut candidates = Candidates::default();
        for numbers in [&[2, 5, 9][..], &[], &[1, 5], &[7], &[7, 10], &[7], &[7], &[3, 8, 8], &[0, 3, 5, 8]] {
            candidates.add(numbers);
        }
        candidates.found.sort_unstable();
        assert_eq!(candidates.collect::<Vec<_>>(), [0, 1, 2, 3, 5, 7, 8, 9, 10]);
    }

    const OIDS: [&str; 6] = ["1.3.6", "1.3.6.1", "1.3.6.1.7", "1.3.6.1.0.7", "1.3.6.1.0", "2.5"];

    /// The `match` of a rule, as a document has it.
    fn matchers() -> impl Strategy<Value = String> {
        let oid = prop::sample::select(&OIDS[..]);
        prop_oneof![
            oid.clone().prop_map(|oid| format!(r#"{{"trap": {{"oid": "{oid}"}}}}"#)),
            oid.prop_map(|oid| format!(r#"{{"trap": {{"prefix": "{oid}"}}}}"#)),
            Just(r#"{"trap": {}}"#.to_owned()),
            ("[ab]", 0..9_u8).prop_map(|(program, severity)| match severity {
                8 => format!(r#"{{"syslog": {{"programs": ["{program}", "c"]}}}}"#),
                _ => format!(r#"{{"syslog": {{"programs": ["{program}"], "max_severity": {severity}}}}}"#),
            }),
            (0..8_u8, any::<bool>()).prop_map(|(severity, kern)| match kern {
                true => format!(r#"{{"syslog": {{"max_severity": {severity}, "facilities": ["kern"]}}}}"#),
                false => format!(r#"{{"syslog": {{"max_severity": {severity}}}}}"#),
            }),
            ("[ab]", prop::sample::select(&["panic", "(?i)OOM: [a-z]+", "[0-9]+ left", "x|panic", "pan(?:ic|el)$", "lef"][..])).prop_map(
                |(program, regex)| match program.as_str() {
                    "a" => format!(r#"{{"syslog": {{"regex": "{regex}"}}}}"#),
                    _ => format!(r#"{{"syslog": {{"programs": ["{program}"], "regex": "{regex}"}}}}"#),
                },
            ),
            "[ab]".prop_map(|kind| format!(r#"{{"push": {{"kinds": ["{kind}"]}}}}"#)),
            "[ab]".prop_map(|text| format!(r#"{{"push": {{"fields": {{"f": "{text}"}}}}}}"#)),
            ("[ab]", "[ab]").prop_map(|(id, text)| format!(r#"{{"syslog": {{"msgids": ["{id}"], "fields": {{"f": "{text}"}}}}}}"#)),
            ("[ab]", "[ab]").prop_map(|(host, text)| format!(r#"{{"syslog": {{"hosts": ["{host}"], "fields": {{"f": "{text}"}}}}}}"#)),
            "[ab]".prop_map(|host| format!(r#"{{"syslog": {{"hosts": ["{host}", "c"]}}}}"#)),
            "[ab]".prop_map(|id| format!(r#"{{"syslog": {{"msgids": ["{id}"], "regex": "lost"}}}}"#)),
            (0..3_u8, prop::sample::select(&["trap", "syslog", "push"][..]), 7..33_u8).prop_map(|(last, kind, bits)| {
                let network = ipnet::Ipv4Net::new([10, 0, 0, last].into(), bits).unwrap().trunc();
                format!(r#"{{"{kind}": {{"sources": ["{network}"]}}}}"#)
            }),
            Just(r#"{"push": {"state": "clear"}}"#.to_owned()),
        ]
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let trap =
            |oid: &str| Notification { trap_oid: oid.parse().unwrap(), uptime: 0, trap_address: None, engine_id: None, varbinds: vec![] };
        let push = |kind: String, kind_of_field: String, clear: bool| PushEvent {
            state: if clear { PushState::Clear } else { PushState::Raise },
            resource: "r".to_owned(),
            kind,
            qualifier: String::new(),
            severity: Severity::Minor,
            summary: String::new(),
            fields: [("f".to_owned(), kind_of_field)].into(),
        };
        prop_oneof![
            prop::sample::select(&OIDS[..]).prop_map(move |oid| Body::Notification(trap(oid))),
            (0..2_u8, 0..8_u8, prop::collection::vec(prop::option::of("[abc]"), 4), "(panic|oom: x|Oom: Y|3 left|pan|lost|el| ){0,4}")
                .prop_map(|(facility, severity, words, message)| {
                    let [program, host, msgid, field] = <[_; 4]>::try_from(words).unwrap();
                    let mut fields = crate::event::Fields::default();
                    field.iter().for_each(|text| fields.push("f", text));
                    Body::Syslog(SyslogMessage { facility, severity, program, host, msgid, fields, message, ..SyslogMessage::default() })
                }),
            ("[abc]", "[abc]", any::<bool>()).prop_map(move |(kind, text, clear)| Body::Push(push(kind, text, clear))),
        ]
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_every_rule_finds(matchers in prop::collection::vec(matchers(), 0..40), body in bodies()) {
            let rule = |(number, matcher)| format!(r#"{{"id": "{number}", "match": {matcher}, "then": {{"suppress": {{}}}}}}"#);
            let text = format!(r#"{{"format": 1, "rules": [{}]}}"#, matchers.iter().enumerate().map(rule).collect::<Vec<_>>().join(","));
            let document: Document = postern_protocol::revision::parse(text.as_bytes()).unwrap();
            let RuleIndex { rules, index, .. } = RuleIndex::compile(&document).unwrap();
            let event = Event {
                received: Timestamp::from_secs(1),
                peer: [10, 0, 0, 1].into(),
                transport: Transport::Udp,
                authenticity: Authenticity::None,
                relay: None,
                tls_name: None,
                body,
            };
            let tried: Vec<_> = (0..rules.len()).filter(|number| rules[*number].matcher.matches(&event, &mut 0)).collect();
            let found: Vec<_> = index.candidates(&event).filter(|number| rules[*number].matcher.matches(&event, &mut 0)).collect();
            prop_assert_eq!(found, tried);
        }
    }
}
