//! Rules that can never decide, because one rule before them takes everything that they are for.
//!
//! Rules that could cover another are kept by their rarest condition, so that ten thousand rules are compared with few each.

use std::collections::BTreeMap;

use super::Found;
use crate::oid::Oid;
use crate::revision::document::{Matcher, Mode, PushMatch, SyslogMatch, TrapMatch};
use crate::revision::pack::Meant;
use crate::revision::pattern;

/// Most comparisons of two rules.
const MAX_COMPARISONS: usize = 500_000;

/// Adds a warning for each rule of `meant` that is out of reach.
pub(super) fn out_of_reach(meant: &[Meant], found: &mut Found) {
    let mut earlier = Earlier::default();
    let mut comparisons = 0_usize;
    for (number, Meant { path, rule }) in meant.iter().enumerate() {
        let asked = asked(&rule.matcher);
        let may_cover = asked.iter().filter_map(|key| earlier.0.get(key)).flatten().filter_map(|at| meant.get(*at));
        let coverer = may_cover.take(MAX_COMPARISONS.saturating_sub(comparisons)).find(|first| {
            comparisons = comparisons.saturating_add(1);
            covers(&first.rule.matcher, &rule.matcher)
        });
        if let Some(first) = coverer {
            let reason = format!(
                "the rule {} ({}) takes every event that this one is for: put this one before it, narrow it, or let it say `continue`",
                first.rule.id, first.path
            );
            found.add(path, reason);
        } else if rule.mode == Mode::Active && !rule.continues {
            earlier.add(number, &rule.matcher);
        }
    }
    if comparisons == MAX_COMPARISONS {
        found.add("rules", "there are too many rules that look alike to tell which are out of reach; some of them were not looked at");
    }
}

/// What a rule is kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'d> {
    Any(&'static str),
    Below(Oid),
    Exactly(Oid),
    Field(&'static str, &'d str, &'d str),
    Host(&'d str),
    Kind(&'d str),
    Msgid(&'d str),
    Program(&'d str),
    Regex(&'d str),
    Source(&'static str, &'d str),
}

/// Rules that may cover later ones.
#[derive(Default)]
struct Earlier<'d>(BTreeMap<Key<'d>, Vec<usize>>);

impl<'d> Earlier<'d> {
    fn add(&mut self, number: usize, matcher: &'d Matcher) {
        for key in keys(matcher) {
            self.0.entry(key).or_default().push(number);
        }
    }
}

/// Under what a matcher is kept: a rule that it covers has one of these keys among those that it asks for.
fn keys(matcher: &Matcher) -> Vec<Key<'_>> {
    let by_source = |kind: &'static str, sources: &'_ [String]| match sources {
        // Where several networks are given, any of them may hold the other's.
        [] | [_, _, ..] => vec![Key::Any(kind)],
        [one] if one.ends_with("/32") || !one.contains('/') => vec![],
        [_] => vec![Key::Any(kind)],
    };
    match matcher {
        Matcher::Push(PushMatch { kinds, fields, sources, .. }) => match (kinds.as_slice(), fields.first_key_value()) {
            ([], Some((name, text))) => vec![Key::Field("push", name, text)],
            ([], None) => kept("push", sources, by_source("push", sources)),
            (kinds, _) => kinds.iter().map(|kind| Key::Kind(kind)).collect(),
        },
        Matcher::Syslog(SyslogMatch { programs, hosts, msgids, fields, regex, sources, .. }) => {
            if let Some(regex) = regex {
                vec![Key::Regex(regex)]
            } else if let Some((name, text)) = fields.first_key_value() {
                vec![Key::Field("syslog", name, text)]
            } else if !msgids.is_empty() {
                msgids.iter().map(|msgid| Key::Msgid(msgid)).collect()
            } else if !programs.is_empty() {
                programs.iter().map(|program| Key::Program(program)).collect()
            } else if !hosts.is_empty() {
                hosts.iter().map(|host| Key::Host(host)).collect()
            } else {
                kept("syslog", sources, by_source("syslog", sources))
            }
        }
        Matcher::Trap(TrapMatch { oid, prefix, sources, .. }) => match (parsed(oid.as_ref()), parsed(prefix.as_ref())) {
            (Some(oid), _) => vec![Key::Exactly(oid)],
            (None, Some(prefix)) => vec![Key::Below(prefix)],
            (None, None) => kept("trap", sources, by_source("trap", sources)),
        },
    }
}

/// A rule for one address alone is kept by it.
fn kept<'d>(kind: &'static str, sources: &'d [String], any: Vec<Key<'d>>) -> Vec<Key<'d>> {
    match sources {
        [one] if any.is_empty() => vec![Key::Source(kind, one)],
        _ => any,
    }
}

/// The keys under which a rule that covers `matcher` would be kept.
fn asked(matcher: &Matcher) -> Vec<Key<'_>> {
    let mut asked = Vec::new();
    let sources = match matcher {
        Matcher::Push(PushMatch { kinds, fields, sources, .. }) => {
            asked.push(Key::Any("push"));
            asked.extend(kinds.iter().map(|kind| Key::Kind(kind)));
            asked.extend(fields.iter().map(|(name, text)| Key::Field("push", name, text)));
            asked.extend(sources.iter().map(|source| Key::Source("push", source)));
            return asked;
        }
        Matcher::Syslog(SyslogMatch { programs, hosts, msgids, fields, regex, sources, .. }) => {
            asked.push(Key::Any("syslog"));
            asked.extend(regex.iter().map(|regex| Key::Regex(regex)));
            asked.extend(programs.iter().map(|program| Key::Program(program)));
            asked.extend(hosts.iter().map(|host| Key::Host(host)));
            asked.extend(msgids.iter().map(|msgid| Key::Msgid(msgid)));
            asked.extend(fields.iter().map(|(name, text)| Key::Field("syslog", name, text)));
            asked.extend(sources.iter().map(|source| Key::Source("syslog", source)));
            return asked;
        }
        Matcher::Trap(TrapMatch { oid, prefix, sources, .. }) => {
            asked.push(Key::Any("trap"));
            let oid = parsed(oid.as_ref());
            if let Some(narrow) = oid.clone().or_else(|| parsed(prefix.as_ref())) {
                let numbers = narrow.numbers();
                asked.extend((2..=numbers.len()).filter_map(|length| Some(Key::Below(Oid::new(numbers.get(..length)?).ok()?))));
            }
            asked.extend(oid.map(Key::Exactly));
            sources
        }
    };
    asked.extend(sources.iter().map(|source| Key::Source("trap", source)));
    asked
}

fn parsed(oid: Option<&String>) -> Option<Oid> {
    oid?.parse().ok()
}

/// Returns whether everything that `narrow` is for is also what `wide` is for, as far as their conditions tell.
fn covers(wide: &Matcher, narrow: &Matcher) -> bool {
    match (wide, narrow) {
        (Matcher::Push(wide), Matcher::Push(narrow)) => {
            wide.state.is_none_or(|state| narrow.state == Some(state))
                && all_of(&wide.kinds, &narrow.kinds)
                && wide.fields.iter().all(|(name, text)| narrow.fields.get(name) == Some(text))
                && networks(&wide.sources, &narrow.sources)
        }
        (Matcher::Syslog(wide), Matcher::Syslog(narrow)) => {
            all_of(&wide.facilities, &narrow.facilities)
                && wide.max_severity.is_none_or(|wide| narrow.max_severity.unwrap_or(7) <= wide)
                && all_of(&wide.programs, &narrow.programs)
                && all_of(&wide.hosts, &narrow.hosts)
                && all_of(&wide.msgids, &narrow.msgids)
                && wide.fields.iter().all(|(name, text)| narrow.fields.get(name) == Some(text))
                && (wide.regex.is_none() || wide.regex == narrow.regex)
                && networks(&wide.sources, &narrow.sources)
        }
        (Matcher::Trap(wide), Matcher::Trap(narrow)) => {
            let oids = match (parsed(wide.oid.as_ref()), parsed(wide.prefix.as_ref())) {
                (Some(wide), _) => parsed(narrow.oid.as_ref()) == Some(wide),
                (None, Some(wide)) => {
                    let narrow = parsed(narrow.oid.as_ref()).or_else(|| parsed(narrow.prefix.as_ref()));
                    narrow.is_some_and(|narrow| narrow.strip_prefix(&wide).is_some())
                }
                (None, None) => true,
            };
            oids && wide.varbinds.iter().all(|test| narrow.varbinds.contains(test)) && networks(&wide.sources, &narrow.sources)
        }
        (Matcher::Push(_) | Matcher::Syslog(_) | Matcher::Trap(_), Matcher::Push(_) | Matcher::Syslog(_) | Matcher::Trap(_)) => false,
    }
}

/// Returns whether the list `wide` leaves nothing of `narrow` out; an empty one is any.
fn all_of(wide: &[String], narrow: &[String]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|text| wide.contains(text)))
}

fn networks(wide: &[String], narrow: &[String]) -> bool {
    let holds = |narrow: &String| {
        let Ok(narrow) = pattern::network(narrow) else { return false };
        wide.iter().any(|wide| pattern::network(wide).is_ok_and(|wide| wide.contains(&narrow)))
    };
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(holds))
}
