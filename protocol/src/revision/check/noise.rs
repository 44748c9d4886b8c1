//! The meaning of `noise`, `windows`, `dependencies` and `silences`, and of the thresholds, rates and flaps of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::Problems;
use crate::id::RuleId;
use crate::revision::document::{Action, Rule};
use crate::revision::locate::Place;
use crate::revision::noise::{
    Dependency, Flap, Monthly, Noise, Once, Rate, Scope, Silence, Storm, Switch, Threshold, Weekly, When, Window,
};
use crate::revision::pattern;
use crate::revision::time_zone::TimeZone;
use crate::revision::window_time;

/// Most windows: each is held against every new alert.
const MAX_WINDOWS: usize = 256;

/// Most dependencies.
const MAX_DEPENDENCIES: usize = 4_096;

/// Most silences: each is held against every new source.
const MAX_SILENCES: usize = 64;

/// Most entries of one list of a scope.
const MAX_ENTRIES: usize = 1_024;

/// Most kinds of a dependency.
const MAX_KINDS: usize = 32;

/// Most bytes of a name.
const MAX_NAME_BYTES: usize = 512;

/// Most bytes of a description.
const MAX_DESCRIPTION_BYTES: usize = 2_048;

const DAY_S: u32 = 86_400;

/// Checks the `noise` section.
pub(super) fn noise(noise: &Noise, place: &Place<'_>, problems: &mut Problems<'_>) {
    if let Switch::On(settings) = &noise.flap {
        flap(settings, &place.key("flap"), problems);
    }
    if let Switch::On(Storm { per_source, per_gateway, within_s, quiet_s }) = &noise.storm {
        let place = place.key("storm");
        within(*per_source, 2..=100_000, &place.key("per_source"), problems);
        within(*per_gateway, 2..=100_000, &place.key("per_gateway"), problems);
        within(*within_s, 1..=3_600, &place.key("within_s"), problems);
        within(*quiet_s, 1..=DAY_S, &place.key("quiet_s"), problems);
    }
}

/// Checks what a rule says about noise.
pub(super) fn rule(rule: &Rule, place: &Place<'_>, problems: &mut Problems<'_>) {
    if !matches!(rule.then, Action::Raise(_)) {
        for (key, given) in [("threshold", rule.threshold.is_some()), ("rate", rule.rate.is_some()), ("flap", rule.flap.is_some())] {
            if given {
                problems.add(&place.key(key), "only a rule that raises has this: leave it out");
            }
        }
        return;
    }
    if let Some(Threshold { count, within_s, per: _ }) = &rule.threshold {
        let place = place.key("threshold");
        within(*count, 2..=10_000, &place.key("count"), problems);
        within(*within_s, 1..=DAY_S, &place.key("within_s"), problems);
    }
    if let Some(limits) = &rule.rate {
        rate(rule, limits, &place.key("rate"), problems);
    }
    if let Some(Switch::On(settings)) = &rule.flap {
        flap(settings, &place.key("flap"), problems);
    }
}

fn rate(rule: &Rule, rate: &Rate, place: &Place<'_>, problems: &mut Problems<'_>) {
    let Rate { of, per_s, above, below } = rate;
    if !rule.release.contains_key(of) {
        problems.add(&place.key("of"), format!("{of} is not released: list it under `release`, with a limit"));
    }
    within(*per_s, 1..=DAY_S, &place.key("per_s"), problems);
    match (above, below) {
        (None, None) => problems.add(place, "give above, below or both: nothing would ever be raised"),
        (Some(above), Some(below)) if above < below => {
            problems.add(&place.key("above"), "above is less than below: everything would be raised");
        }
        (Some(_) | None, _) => {}
    }
}

fn flap(flap: &Flap, place: &Place<'_>, problems: &mut Problems<'_>) {
    let Flap { changes, within_s, quiet_s } = *flap;
    within(changes, 4..=64, &place.key("changes"), problems);
    within(within_s, 1..=DAY_S, &place.key("within_s"), problems);
    within(quiet_s, 1..=DAY_S, &place.key("quiet_s"), problems);
}

/// Checks the `windows` section.
pub(super) fn windows(windows: &[Window], place: &Place<'_>, problems: &mut Problems<'_>) {
    bounded(windows.len(), MAX_WINDOWS, place, problems);
    unique(windows.iter().map(|window| &window.id), "windows", (place, problems));
    for (index, window) in windows.iter().enumerate().take(MAX_WINDOWS) {
        let place = place.index(index);
        if window.description.len() > MAX_DESCRIPTION_BYTES {
            problems.add(&place.key("description"), format!("a description has at most {MAX_DESCRIPTION_BYTES} bytes"));
        }
        scope(&window.affects, &place.key("affects"), problems);
        when(&window.when, &place.key("when"), problems);
    }
}

fn when(when: &When, place: &Place<'_>, problems: &mut Problems<'_>) {
    match when {
        When::Once(Once { from, until }) => {
            let place = place.key("once");
            let from = good(window_time::instant(from), &place.key("from"), problems);
            let until = good(window_time::instant(until), &place.key("until"), problems);
            if let (Some(from), Some(until)) = (from, until)
                && until <= from
            {
                problems.add(&place.key("until"), "the window ends before it begins");
            }
        }
        When::Weekly(Weekly { days, at, minutes, time_zone }) => {
            let place = place.key("weekly");
            if days.is_empty() {
                problems.add(&place.key("days"), "name at least one day, such as \"sun\"");
            }
            let mut seen = BTreeSet::new();
            for (index, day) in days.iter().enumerate() {
                if !seen.insert(*day as u8) {
                    problems.add(&place.key("days").index(index), "this day is there twice: keep one");
                }
            }
            repeated(at, (*minutes, time_zone.as_deref()), &place, problems);
        }
        When::Monthly(Monthly { nth, day: _, at, minutes, time_zone }) => {
            let place = place.key("monthly");
            if !matches!(nth, -1 | 1..=4) {
                problems.add(&place.key("nth"), "write 1 to 4, or -1 for the last of the month");
            }
            repeated(at, (*minutes, time_zone.as_deref()), &place, problems);
        }
    }
}

fn repeated(at: &str, (minutes, zone): (u32, Option<&str>), place: &Place<'_>, problems: &mut Problems<'_>) {
    good(window_time::time_of_day(at), &place.key("at"), problems);
    within(minutes, 1..=10_080, &place.key("minutes"), problems);
    if let Some(zone) = zone {
        good(TimeZone::parse(zone), &place.key("time_zone"), problems);
    }
}

/// Checks the `dependencies` section.
pub(super) fn dependencies(dependencies: &[Dependency], place: &Place<'_>, problems: &mut Problems<'_>) {
    bounded(dependencies.len(), MAX_DEPENDENCIES, place, problems);
    unique(dependencies.iter().map(|dependency| &dependency.id), "dependencies", (place, problems));
    for (index, dependency) in dependencies.iter().enumerate().take(MAX_DEPENDENCIES) {
        let place = place.index(index);
        name(&dependency.parent, &place.key("parent"), problems);
        let kinds = place.key("kinds");
        bounded(dependency.kinds.len(), MAX_KINDS, &kinds, problems);
        for (index, kind) in dependency.kinds.iter().enumerate().take(MAX_KINDS) {
            name(kind, &kinds.index(index), problems);
        }
        if dependency.children == Scope::default() {
            problems.add(&place.key("children"), "say what depends on it: networks, sources, groups, rules or tags");
        }
        scope(&dependency.children, &place.key("children"), problems);
        within(dependency.before_s, 0..=3_600, &place.key("before_s"), problems);
    }
}

/// Checks the `silences` section. `rules` are those of the document: alerts carry a silence's id as their rule.
pub(super) fn silences<'r>(silences: &[Silence], rules: impl Iterator<Item = &'r Rule>, place: &Place<'_>, problems: &mut Problems<'_>) {
    bounded(silences.len(), MAX_SILENCES, place, problems);
    unique(silences.iter().map(|silence| &silence.id), "silences", (place, problems));
    let rules: BTreeSet<_> = rules.map(|rule| &rule.id).collect();
    for (index, silence) in silences.iter().enumerate().take(MAX_SILENCES) {
        let place = place.index(index);
        if rules.contains(&silence.id) {
            problems.add(&place.key("id"), format!("a rule has the id {} already: alerts carry it as their rule", silence.id));
        }
        let of = place.key("of");
        scope(&silence.of, &of, problems);
        if !silence.of.rules.is_empty() {
            problems.add(&of.key("rules"), "sources are watched, whatever rule is about their events: leave this out");
        }
        if let Some(seconds) = silence.every_s {
            within(seconds, 1..=604_800, &place.key("every_s"), problems);
        }
        if let Some(times) = silence.times {
            within(times, 2..=1_000, &place.key("times"), problems);
        }
    }
}

fn scope(scope: &Scope, place: &Place<'_>, problems: &mut Problems<'_>) {
    let Scope { networks, sources, groups, rules, tags } = scope;
    for (key, list) in [("networks", networks), ("sources", sources), ("groups", groups), ("rules", rules), ("tags", tags)] {
        let place = place.key(key);
        bounded(list.len(), MAX_ENTRIES, &place, problems);
        for (index, text) in list.iter().enumerate().take(MAX_ENTRIES) {
            name(text, &place.index(index), problems);
        }
    }
    for (index, text) in networks.iter().enumerate().take(MAX_ENTRIES).filter(|(_, text)| !text.is_empty()) {
        good(pattern::network(text), &place.key("networks").index(index), problems);
    }
    for (index, text) in rules.iter().enumerate().take(MAX_ENTRIES).filter(|(_, text)| !text.is_empty()) {
        let begin = text.strip_suffix('*').unwrap_or(text);
        if !begin.is_empty() && RuleId::new(begin).is_err() {
            problems.add(&place.key("rules").index(index), "write a rule's id, or how ids begin and a * at the end, such as cisco.*");
        }
    }
}

fn name(text: &str, place: &Place<'_>, problems: &mut Problems<'_>) {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        problems.add(place, format!("a text here has 1 to {MAX_NAME_BYTES} bytes"));
    }
}

fn unique<'i>(ids: impl Iterator<Item = &'i RuleId>, list: &str, (place, problems): (&Place<'_>, &mut Problems<'_>)) {
    let mut seen = BTreeMap::new();
    for (index, id) in ids.enumerate() {
        if let Some(first) = seen.get(id) {
            problems.add(&place.index(index).key("id"), format!("{list}[{first}] has the id {id} already"));
        } else {
            seen.insert(id, index);
        }
    }
}

fn good<T, E: Display>(result: Result<T, E>, place: &Place<'_>, problems: &mut Problems<'_>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            problems.add(place, error);
            None
        }
    }
}

fn within(value: u32, range: RangeInclusive<u32>, place: &Place<'_>, problems: &mut Problems<'_>) {
    if !range.contains(&value) {
        problems.add(place, format!("must be {} to {}", range.start(), range.end()));
    }
}

fn bounded(count: usize, most: usize, place: &Place<'_>, problems: &mut Problems<'_>) {
    if count > most {
        problems.add(place, format!("{count} entries are more than {most}"));
    }
}
