//! Which rules may match an event, found by hash: OIDs, OID prefixes, facility and severity, program, kind; and by the text that a
//! rule's regular expression needs.
//!
//! A candidate may still not match; a rule that is no candidate cannot. Candidates come in the order of the document.

use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;
use std::vec::IntoIter;

use postern_protocol::oid::Oid;

use super::literal::Literals;
use super::matcher::{Matcher, Push, Syslog, Trap, bounded};
use crate::event::{Body, Event};

/// Numbers of rules, ascending.
type Numbers = Vec<usize>;

/// Severities of syslog.
const SEVERITIES: u8 = 8;

/// Facilities of syslog.
const FACILITIES: u8 = 24;

/// The lookup tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    traps: Traps,
    syslog: SyslogMessages,
    pushes: Pushes,
}

#[derive(Clone, Debug, Default)]
struct Traps {
    exact: HashMap<Box<[u32]>, Numbers>,
    prefixes: HashMap<Box<[u32]>, Numbers>,
    /// Lengths that occur among the prefixes.
    lengths: BTreeSet<usize>,
    any: Numbers,
}

#[derive(Clone, Debug, Default)]
struct SyslogMessages {
    by_program: HashMap<String, Numbers>,
    /// Rules without programs, by facility and severity.
    by_pri: HashMap<(u8, u8), Numbers>,
    /// Rules whose regular expression needs a text; they are in no other table.
    by_text: Literals,
}

#[derive(Clone, Debug, Default)]
struct Pushes {
    by_kind: HashMap<String, Numbers>,
    any: Numbers,
}

impl Index {
    /// Makes the tables for rules with these matchers.
    pub(super) fn new<'r>(matchers: impl Iterator<Item = &'r Matcher>) -> Self {
        let mut index = Self::default();
        for (number, matcher) in matchers.enumerate() {
            match matcher {
                Matcher::Push(matcher) => index.pushes.add(number, matcher),
                Matcher::Syslog(matcher) => index.syslog.add(number, matcher),
                Matcher::Trap(matcher) => index.traps.add(number, matcher),
            }
        }
        index.syslog.by_text = std::mem::take(&mut index.syslog.by_text).finish();
        index
    }

    /// Returns the numbers of the rules that may match `event`, ascending.
    pub(super) fn candidates(&self, event: &Event) -> Candidates<'_> {
        let mut lists: Vec<&[usize]> = Vec::with_capacity(4);
        let mut found = Vec::new();
        match &event.body {
            Body::Notification(trap) => {
                let numbers = trap.trap_oid.numbers();
                lists.extend(self.traps.exact.get(numbers).map(Vec::as_slice));
                let prefixes = self.traps.lengths.iter().filter_map(|length| numbers.get(..*length));
                lists.extend(prefixes.filter_map(|prefix| self.traps.prefixes.get(prefix)).map(Vec::as_slice));
                lists.push(&self.traps.any);
            }
            Body::Push(push) => {
                lists.extend(self.pushes.by_kind.get(&push.kind).map(Vec::as_slice));
                lists.push(&self.pushes.any);
            }
            Body::Syslog(message) => {
                let program = message.program.as_ref().and_then(|program| self.syslog.by_program.get(program));
                lists.extend(program.map(Vec::as_slice));
                lists.extend(self.syslog.by_pri.get(&(message.facility, message.severity)).map(Vec::as_slice));
                found = self.syslog.by_text.found(bounded(&message.message));
            }
        }
        Candidates { lists, found: found.into_iter().peekable() }
    }
}

impl Traps {
    fn add(&mut self, number: usize, matcher: &Trap) {
        for oid in &matcher.oids {
            self.exact.entry(boxed(oid)).or_default().push(number);
        }
        match &matcher.prefix {
            _ if !matcher.oids.is_empty() => {}
            Some(prefix) => {
                self.lengths.insert(prefix.numbers().len());
                self.prefixes.entry(boxed(prefix)).or_default().push(number);
            }
            None => self.any.push(number),
        }
    }
}

impl SyslogMessages {
    fn add(&mut self, number: usize, matcher: &Syslog) {
        if matcher.regex.as_ref().is_some_and(|regex| self.by_text.add(number, regex.as_str())) {
            return;
        }
        for program in &matcher.programs {
            self.by_program.entry(program.clone()).or_default().push(number);
        }
        if !matcher.programs.is_empty() {
            return;
        }
        let least_grave = matcher.max_severity.unwrap_or(SEVERITIES);
        for facility in (0..FACILITIES).filter(|facility| matcher.facilities.is_empty() || matcher.facilities.contains(facility)) {
            for severity in (0..SEVERITIES).filter(|severity| *severity <= least_grave) {
                self.by_pri.entry((facility, severity)).or_default().push(number);
            }
        }
    }
}

impl Pushes {
    fn add(&mut self, number: usize, matcher: &Push) {
        for kind in &matcher.kinds {
            self.by_kind.entry(kind.clone()).or_default().push(number);
        }
        if matcher.kinds.is_empty() {
            self.any.push(number);
        }
    }
}

fn boxed(oid: &Oid) -> Box<[u32]> {
    oid.numbers().into()
}

/// The numbers of several ascending lists, in ascending order.
pub(super) struct Candidates<'i> {
    lists: Vec<&'i [usize]>,
    found: Peekable<IntoIter<usize>>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let least = self.lists.iter().filter_map(|list| list.first()).chain(self.found.peek()).min().copied()?;
        for list in &mut self.lists {
            if let Some(rest) = list.strip_prefix(&[least]) {
                *list = rest;
            }
        }
        self.found.next_if_eq(&least);
        Some(least)
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
        let found = vec![0, 5, 8].into_iter().peekable();
        let candidates = Candidates { lists: vec![&[2, 5, 9], &[], &[1, 5], &[7]], found };
        assert_eq!(candidates.collect::<Vec<_>>(), [0, 1, 2, 5, 7, 8, 9]);
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
            Just(r#"{"push": {"state": "clear"}}"#.to_owned()),
        ]
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let trap =
            |oid: &str| Notification { trap_oid: oid.parse().unwrap(), uptime: 0, trap_address: None, engine_id: None, varbinds: vec![] };
        let push = |kind: String, clear: bool| PushEvent {
            state: if clear { PushState::Clear } else { PushState::Raise },
            resource: "r".to_owned(),
            kind,
            qualifier: String::new(),
            severity: Severity::Minor,
            summary: String::new(),
            fields: std::collections::BTreeMap::new(),
        };
        prop_oneof![
            prop::sample::select(&OIDS[..]).prop_map(move |oid| Body::Notification(trap(oid))),
            (0..2_u8, 0..8_u8, prop::option::of("[abc]"), "(panic|oom: x|Oom: Y|3 left|pan|el| ){0,4}").prop_map(
                |(facility, severity, program, message)| Body::Syslog(SyslogMessage {
                    facility,
                    severity,
                    program,
                    message,
                    ..SyslogMessage::default()
                })
            ),
            ("[abc]", any::<bool>()).prop_map(move |(kind, clear)| Body::Push(push(kind, clear))),
        ]
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_every_rule_finds(matchers in prop::collection::vec(matchers(), 0..20), body in bodies()) {
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
