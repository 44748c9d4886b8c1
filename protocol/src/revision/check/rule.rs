//! The meaning of one rule.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problems, noise};
use crate::oid::Oid;
use crate::revision::document::{Action, Key, Matcher, PushMatch, Raise, Release, Rule, SeverityChoice, SyslogMatch, Table, TrapMatch};
use crate::revision::field::{EventKind, Field, is_table_name};
use crate::revision::locate::Place;
use crate::revision::template::{Template, is_name};
use crate::revision::{keyword, literal, pattern};

/// Most bytes of a description.
const MAX_DESCRIPTION_BYTES: usize = 2048;

/// Most entries of a list of conditions, and of a severity map.
const MAX_ENTRIES: usize = 256;

/// Most bytes of a text in a condition.
const MAX_CONDITION_BYTES: usize = 1024;

/// Most conditions on varbinds.
const MAX_VARBIND_TESTS: usize = 16;

/// Most released fields.
const MAX_RELEASES: usize = 32;

/// Most bytes of a released field.
const MAX_RELEASE_BYTES: u16 = 1024;

/// Most labels.
const MAX_LABELS: usize = 16;

/// Most entries of `clear_on`.
const MAX_ENDINGS: usize = 16;

/// Most tags of a rule or source.
const MAX_TAGS: usize = 32;

/// Most seconds of `clear_after_s`: 30 days.
const MAX_CLEAR_AFTER_S: u32 = 2_592_000;

/// What a rule may name besides its own parts.
pub(super) struct Surroundings<'d> {
    pub(super) tables: &'d BTreeMap<String, Table>,
}

/// Returns the number of regular expressions in `rule`.
pub(super) fn patterns(rule: &Rule) -> usize {
    let of = |matcher: &Matcher| match matcher {
        Matcher::Push(_) => 0,
        Matcher::Syslog(matcher) => usize::from(matcher.regex.is_some()),
        Matcher::Trap(matcher) => matcher.varbinds.iter().filter(|test| test.regex.is_some()).count(),
    };
    rule.clear_on.iter().map(of).fold(of(&rule.matcher), usize::saturating_add)
}

/// Returns whether `rule` holds an expression against every line: it needs no fixed text, and the rule names no
/// program, host, MSGID or field.
pub(super) fn is_hungry(rule: &Rule) -> bool {
    let hungry = |matcher: &Matcher| match matcher {
        Matcher::Syslog(SyslogMatch { programs, hosts, msgids, fields, regex: Some(regex), .. }) => {
            let any = programs.is_empty() && hosts.is_empty() && msgids.is_empty() && fields.is_empty();
            any && literal::needed(regex).is_none()
        }
        Matcher::Push(_) | Matcher::Syslog(_) | Matcher::Trap(_) => false,
    };
    hungry(&rule.matcher) || rule.clear_on.iter().any(hungry)
}

/// Notes every fault of `rule`.
pub(super) fn check(rule: &Rule, around: &Surroundings<'_>, place: &Place<'_>, problems: &mut Problems<'_>) {
    if rule.description.len() > MAX_DESCRIPTION_BYTES {
        problems.add(&place.key("description"), format!("a description has at most {MAX_DESCRIPTION_BYTES} bytes"));
    }
    if rule.continues && matches!(rule.then, Action::Suppress {}) {
        problems.add(&place.key("continue"), "a rule that suppresses ends the search: leave `continue` out");
    }
    tags(&rule.tags, &place.key("tags"), problems);
    noise::rule(rule, place, problems);
    let kind = EventKind::of(&rule.matcher);
    let groups = matcher(&rule.matcher, &place.key("match"), problems);
    releases(&rule.release, &Releasing { kind, groups, around }, &place.key("release"), problems);
    endings(rule, place, problems);
    let place = place.key("then");
    match &rule.then {
        Action::Clear(templates) => key(templates, &rule.release, &place.key("clear"), problems),
        Action::Raise(templates) => raise(templates, &rule.release, &place.key("raise"), problems),
        Action::Suppress {} => {}
    }
}

/// Notes every fault of a rule's or source's tags.
pub(super) fn tags(tags: &[String], place: &Place<'_>, problems: &mut Problems<'_>) {
    if tags.len() > MAX_TAGS {
        problems.add(place, format!("at most {MAX_TAGS} tags are possible"));
    }
    for (index, tag) in tags.iter().enumerate().take(MAX_TAGS) {
        if !is_table_name(tag) {
            problems.add(&place.index(index), "a tag has 1 to 64 of the characters a-z, 0-9, '.', '_' and '-'");
        }
    }
}

/// Returns the named groups of the matcher's regular expression, when there is a good one.
fn matcher(matcher: &Matcher, place: &Place<'_>, problems: &mut Problems<'_>) -> Option<BTreeSet<String>> {
    let place = place.key(EventKind::of(matcher).name());
    match matcher {
        Matcher::Push(matcher) => push(matcher, &place, problems),
        Matcher::Syslog(matcher) => return syslog(matcher, &place, problems),
        Matcher::Trap(matcher) => trap(matcher, &place, problems),
    }
    None
}

/// Notes every fault of `clear_on`: what ends an alert must be able to say which.
fn endings(rule: &Rule, place: &Place<'_>, problems: &mut Problems<'_>) {
    let place = place.key("clear_on");
    let raised = match &rule.then {
        _ if rule.clear_on.is_empty() => return,
        Action::Raise(raised) => raised,
        Action::Clear(_) | Action::Suppress {} => {
            return problems.add(&place, "only a rule that raises has `clear_on`: it ends what the rule raised");
        }
    };
    if rule.clear_on.len() > MAX_ENDINGS {
        problems.add(&place, format!("at most {MAX_ENDINGS} entries are possible"));
    }
    let kind = EventKind::of(&rule.matcher);
    for (index, ending) in rule.clear_on.iter().enumerate().take(MAX_ENDINGS) {
        let place = place.index(index);
        let groups = matcher(ending, &place, problems);
        if EventKind::of(ending) != kind {
            let reason = format!("must be `{}`, as the rule's `match`: for another kind of event write a rule that clears", kind.name());
            problems.add(&place, reason);
            continue;
        }
        for name in names_of_key(raised) {
            let Some(fields) = rule.release.get(&name).and_then(|release| release.fields(&name).ok()) else { continue };
            let can_be_there =
                |field: &Field| capture(field).is_none_or(|group| groups.as_ref().is_some_and(|known| known.contains(group)));
            if let (false, Some(group)) = (fields.iter().any(can_be_there), fields.iter().find_map(capture)) {
                problems
                    .add(&place, format!("the alert's key needs {{{name}}}: this regular expression needs a group (?P<{group}>…), too"));
            }
        }
    }
}

/// Returns the released fields that the key of `raise` is made of.
fn names_of_key(raise: &Raise) -> BTreeSet<String> {
    let templates = [&raise.resource, &raise.kind, &raise.qualifier].into_iter().filter_map(|text| Template::parse(text).ok());
    templates.flat_map(|template| template.names().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Returns the group of the regular expression that `field` takes.
fn capture(field: &Field) -> Option<&str> {
    match field {
        Field::Capture(group) => Some(group),
        Field::Lookup { of, .. } => capture(of),
        _ => None,
    }
}

fn trap(matcher: &TrapMatch, place: &Place<'_>, problems: &mut Problems<'_>) {
    if matcher.oid.is_some() && matcher.prefix.is_some() {
        problems.add(&place.key("prefix"), "give oid or prefix, not both");
    }
    for (key, text) in [("oid", &matcher.oid), ("prefix", &matcher.prefix)] {
        if let Some(text) = text {
            oid(text, &place.key(key), problems);
        }
    }
    let outer = place.key("varbinds");
    if matcher.varbinds.len() > MAX_VARBIND_TESTS {
        problems.add(&outer, format!("at most {MAX_VARBIND_TESTS} conditions on varbinds are possible"));
    }
    for (index, test) in matcher.varbinds.iter().enumerate().take(MAX_VARBIND_TESTS) {
        let place = outer.index(index);
        oid(&test.oid, &place.key("oid"), problems);
        if test.equals.as_ref().is_some_and(|text| text.len() > MAX_CONDITION_BYTES) {
            problems.add(&place.key("equals"), format!("at most {MAX_CONDITION_BYTES} bytes are possible"));
        }
        if let Some(Err(error)) = test.regex.as_deref().map(pattern::compile) {
            problems.add(&place.key("regex"), error);
        }
    }
    networks(&matcher.sources, &place.key("sources"), problems);
}

/// Returns the named groups of the regular expression, when there is a good one.
fn syslog(matcher: &SyslogMatch, place: &Place<'_>, problems: &mut Problems<'_>) -> Option<BTreeSet<String>> {
    let facilities = place.key("facilities");
    for (index, keyword) in matcher.facilities.iter().enumerate() {
        if keyword::facility(keyword).is_none() {
            let known = keyword::FACILITIES.join(", ");
            problems.add(&facilities.index(index), format!("there is no such facility: write one of {known}"));
        }
    }
    if matcher.max_severity.is_some_and(|severity| severity > 7) {
        problems.add(&place.key("max_severity"), "a syslog severity is 0 (emergency) to 7 (debug)");
    }
    texts(&matcher.programs, &place.key("programs"), problems);
    texts(&matcher.hosts, &place.key("hosts"), problems);
    texts(&matcher.msgids, &place.key("msgids"), problems);
    fields(&matcher.fields, &place.key("fields"), problems);
    networks(&matcher.sources, &place.key("sources"), problems);
    match pattern::compile(matcher.regex.as_deref()?) {
        Ok(regex) => Some(regex.capture_names().flatten().map(str::to_owned).collect()),
        Err(error) => {
            problems.add(&place.key("regex"), error);
            None
        }
    }
}

fn push(matcher: &PushMatch, place: &Place<'_>, problems: &mut Problems<'_>) {
    texts(&matcher.kinds, &place.key("kinds"), problems);
    fields(&matcher.fields, &place.key("fields"), problems);
    networks(&matcher.sources, &place.key("sources"), problems);
}

fn fields(fields: &BTreeMap<String, String>, place: &Place<'_>, problems: &mut Problems<'_>) {
    if fields.len() > MAX_ENTRIES {
        problems.add(place, format!("at most {MAX_ENTRIES} entries are possible"));
    }
    for (name, text) in fields.iter().take(MAX_ENTRIES) {
        if text.len() > MAX_CONDITION_BYTES || name.is_empty() || name.len() > MAX_CONDITION_BYTES {
            problems.add(&place.key(name), format!("names have 1 to {MAX_CONDITION_BYTES} bytes, texts at most as many"));
        }
    }
}

fn oid(text: &str, place: &Place<'_>, problems: &mut Problems<'_>) {
    if let Err(error) = text.parse::<Oid>() {
        problems.add(place, error);
    }
}

fn networks(list: &[String], place: &Place<'_>, problems: &mut Problems<'_>) {
    if list.len() > MAX_ENTRIES {
        problems.add(place, format!("at most {MAX_ENTRIES} entries are possible"));
    }
    for (index, text) in list.iter().enumerate().take(MAX_ENTRIES) {
        if let Err(error) = pattern::network(text) {
            problems.add(&place.index(index), error);
        }
    }
}

fn texts(list: &[String], place: &Place<'_>, problems: &mut Problems<'_>) {
    if list.len() > MAX_ENTRIES {
        problems.add(place, format!("at most {MAX_ENTRIES} entries are possible"));
    }
    for (index, text) in list.iter().enumerate().take(MAX_ENTRIES) {
        if text.is_empty() || text.len() > MAX_CONDITION_BYTES {
            problems.add(&place.index(index), format!("a text here has 1 to {MAX_CONDITION_BYTES} bytes"));
        }
    }
}

/// What a rule could release.
struct Releasing<'d> {
    kind: EventKind,
    /// Named groups of the rule's regular expression; `None` without a good one.
    groups: Option<BTreeSet<String>>,
    around: &'d Surroundings<'d>,
}

fn releases(release: &BTreeMap<String, Release>, from: &Releasing<'_>, place: &Place<'_>, problems: &mut Problems<'_>) {
    if release.len() > MAX_RELEASES {
        problems.add(place, format!("a rule releases at most {MAX_RELEASES} fields"));
    }
    for (name, entry) in release {
        let place = place.key(name);
        if !is_name(name) {
            problems.add_key(&place, "a name has 1 to 64 of the characters a-z, 0-9 and '_'");
        }
        if !(1..=MAX_RELEASE_BYTES).contains(&entry.max_bytes) {
            problems.add(&place.key("max_bytes"), format!("max_bytes is 1 to {MAX_RELEASE_BYTES}"));
        }
        let selector = place.key("from");
        let fields = match entry.fields(name) {
            Ok(fields) => fields,
            Err(error) => {
                problems.add(&selector, error);
                continue;
            }
        };
        for field in fields {
            if !field.applies_to(from.kind) {
                problems.add(&selector, format!("an event that matches `{}` has no field {field}", from.kind.name()));
            } else if let Some(group) = capture(&field)
                && !from.groups.as_ref().is_some_and(|groups| groups.contains(group))
            {
                problems.add(&selector, format!("the rule's regular expression has no group (?P<{group}>…)"));
            }
            if let Field::Lookup { table, .. } = &field
                && !from.around.tables.contains_key(table)
            {
                problems.add(&selector, format!("the document has no table {table}: list it under `tables`"));
            }
        }
    }
}

fn raise(raise: &Raise, release: &BTreeMap<String, Release>, place: &Place<'_>, problems: &mut Problems<'_>) {
    required(&raise.resource, release, &place.key("resource"), problems);
    required(&raise.kind, release, &place.key("kind"), problems);
    template(&raise.qualifier, release, &place.key("qualifier"), problems);
    required(&raise.summary, release, &place.key("summary"), problems);
    if raise.clear_after_s.is_some_and(|seconds| !(1..=MAX_CLEAR_AFTER_S).contains(&seconds)) {
        problems.add(&place.key("clear_after_s"), format!("clear_after_s is 1 to {MAX_CLEAR_AFTER_S} seconds"));
    }
    let labels = place.key("labels");
    if raise.labels.len() > MAX_LABELS {
        problems.add(&labels, format!("an alert has at most {MAX_LABELS} labels"));
    }
    for (name, text) in &raise.labels {
        let place = labels.key(name);
        if !is_name(name) {
            problems.add_key(&place, "a name has 1 to 64 of the characters a-z, 0-9 and '_'");
        }
        template(text, release, &place, problems);
    }
    if let SeverityChoice::Map(choice) = &raise.severity {
        let place = place.key("severity");
        if !release.contains_key(&choice.by) {
            problems.add(&place.key("by"), not_released(&choice.by));
        }
        if choice.map.len() > MAX_ENTRIES {
            problems.add(&place.key("map"), format!("at most {MAX_ENTRIES} entries are possible"));
        }
    }
}

fn key(key: &Key, release: &BTreeMap<String, Release>, place: &Place<'_>, problems: &mut Problems<'_>) {
    required(&key.resource, release, &place.key("resource"), problems);
    required(&key.kind, release, &place.key("kind"), problems);
    template(&key.qualifier, release, &place.key("qualifier"), problems);
}

fn required(text: &str, release: &BTreeMap<String, Release>, place: &Place<'_>, problems: &mut Problems<'_>) {
    if text.is_empty() {
        problems.add(place, "a text is needed here");
    }
    template(text, release, place, problems);
}

fn template(text: &str, release: &BTreeMap<String, Release>, place: &Place<'_>, problems: &mut Problems<'_>) {
    match Template::parse(text) {
        Ok(template) => {
            for name in template.names() {
                if !release.contains_key(name) {
                    problems.add(place, not_released(name));
                }
            }
        }
        Err(error) => problems.add(place, error),
    }
}

fn not_released(name: &str) -> String {
    format!("{name} is not released: list it under `release`, with a limit")
}
